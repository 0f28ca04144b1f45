PYTHON ?= python3
PYTEST_ARGS ?= -n 4 --dist loadgroup

engine_files := $(wildcard tools/engine/*.py tools/engine/*/go.mod tools/engine/*/go.sum)
engine_gone := $(shell test -x "$$(cat .venv/engine-path 2>/dev/null)/pulumi" || echo look-again)

# .venv comes first: Pulumi runs the python3 that it finds on PATH, and the engine's folder may hold another one.
# Python keeps what it has compiled, whatever the machine says: every engine run starts it several times.
in_venv = PYTHONDONTWRITEBYTECODE= PATH="$(CURDIR)/.venv/bin:$$(cat .venv/engine-path):$$PATH" \
	PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true PULUMI_SKIP_UPDATE_CHECK=true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test record-states bench lint clean clean-engine look-again

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/engine-path ## install the package into .venv, and find or install Pulumi

demo: setup ## show the whole story on an embedded EC2, without an AWS account
	$(in_venv) .venv/bin/python demo/story.py

test: setup ## run every test; PYTEST_ARGS='-k guard' chooses
	$(in_venv) .venv/bin/python -m pytest $(PYTEST_ARGS)

record-states: setup ## record the states that this version writes, for tests/upgrade; RECORD_ARGS=--again overwrites
	$(in_venv) .venv/bin/python tests/upgrade/record.py $(RECORD_ARGS)

bench: setup ## measure snapset beside what a user would run instead; BENCH_ARGS='--many 10' chooses
	$(in_venv) .venv/bin/python benchmarks $(BENCH_ARGS)

lint: .venv/installed ## check style and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/mypy --strict tools/engine/*.py ci/github.py

clean: ## remove .venv, caches and build output
	rm -rf .venv build dist components/*.egg-info .mypy_cache .pytest_cache .ruff_cache

clean-engine: ## remove the Pulumi that setup installed
	$(PYTHON) tools/engine/install.py --remove

# A stamp is written last, so what was interrupted is done again.
.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "snapset needs Python 3.10 or newer, and $(PYTHON) is not. Name one: make setup PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv --clear .venv
	@# The engine has pip list the packages in every run, and the pip that comes with Python 3.11 takes twice as long.
	.venv/bin/python -m pip install --disable-pip-version-check --quiet pip==25.3
	@touch $@

.venv/installed: .venv/created requirements.lock pyproject.toml
	@rm -f $@
	.venv/bin/python -m pip install --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/engine-path: .venv/installed $(engine_files) $(engine_gone)
	.venv/bin/python tools/engine/install.py > $@.part
	@mv $@.part $@
