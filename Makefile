PYTHON ?= python3
# Another Pulumi SDK than the locked one: PULUMI_SDK=3.259.0, or 3.* for the newest. `make clean` leads back to the lock.
PULUMI_SDK ?=
PYTEST_ARGS ?= -n 4 --dist loadgroup
UV ?= uv

engine_files := $(wildcard tools/engine/*.py tools/engine/*/go.mod tools/engine/*/go.sum)
engine_gone := $(shell test -x "$$(cat .venv/engine-path 2>/dev/null)/pulumi" || echo look-again)

# .venv comes first: Pulumi runs the python3 that it finds on PATH, and the engine's folder may hold another one.
# Python keeps what it has compiled, whatever the machine says: every engine run starts it several times.
in_venv = PYTHONDONTWRITEBYTECODE= PATH="$(CURDIR)/.venv/bin:$$(cat .venv/engine-path):$$PATH" \
	PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true PULUMI_SKIP_UPDATE_CHECK=true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test soak record-states bench lint docs doc-tables pictures lock dist release-check \
	clean clean-engine look-again

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/engine-path ## install the package into .venv, and find or install Pulumi

demo: setup ## show the whole story on an embedded EC2, without an AWS account
	$(in_venv) .venv/bin/python demo/story.py

test: setup ## run the tests; PYTEST_ARGS='-k guard' chooses
	$(in_venv) .venv/bin/python -m pytest $(PYTEST_ARGS)

# What the tests cover is measured here: measuring takes as much processor time as most tests do themselves.
soak: setup ## run every case of the long tests, longer state machines, and each race ten times; show what they cover
	.venv/bin/coverage erase
	SNAPSET_SOAK=1 HYPOTHESIS_PROFILE=thorough $(in_venv) .venv/bin/coverage run -m pytest $(PYTEST_ARGS)
	.venv/bin/coverage combine --quiet
	.venv/bin/coverage report

record-states: setup ## record the states that this version writes, for tests/upgrade; RECORD_ARGS=--again overwrites
	$(in_venv) .venv/bin/python tests/upgrade/record.py $(RECORD_ARGS)

bench: setup ## measure snapset beside what a user would run instead; BENCH_ARGS='--many 10' chooses
	$(in_venv) .venv/bin/python benchmarks $(BENCH_ARGS)

lint: .venv/installed ## check style, types and the way of the imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	@# By itself: the benchmarks have a __main__ too, and mypy wants each module's name once.
	.venv/bin/mypy __main__.py
	.venv/bin/lint-imports

docs: .venv/installed ## build the site of docs/ into site/; a warning is an error
	@# What it says about its own successor is no warning about a page.
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

doc-tables: .venv/installed ## write the tables in docs/ anew that follow from the code
	.venv/bin/python tools/doc_tables.py

pictures: setup ## draw the picture of the demo anew, from a real run of it
	$(in_venv) .venv/bin/python tools/pictures.py

# No address of an index gets into a lock, so that everyone installs from their own.
compile = $(UV) pip compile --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --group build --quiet

lock: ## write the locks anew, for pyproject.toml; needs uv; LOCK_ARGS=--upgrade takes the newest versions
	$(compile) $(LOCK_ARGS) --extra demo --extra dev --extra docs --output-file requirements.lock pyproject.toml
	$(compile) --constraint requirements.lock --output-file ci/requirements.lock pyproject.toml

dist: .venv/installed ## build the sdist and the wheel into dist/
	rm -rf build dist
	.venv/bin/python -m build --no-isolation

release-check: .venv/installed ## fail if what is about to be released does not say VERSION everywhere
	.venv/bin/python tools/release_check.py '$(VERSION)'

clean: ## remove .venv, caches and build output
	rm -rf .venv build dist site components/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage*

clean-engine: ## remove the Pulumi that setup installed
	$(PYTHON) tools/engine/install.py --remove

# A stamp is written last, so what was interrupted is done again.
.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "snapset needs Python 3.10 or newer, and $(PYTHON) is not. Name one: make setup PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@

# What pip says is in a log, and shown if it fails.
pip_install = .venv/bin/python -m pip install --disable-pip-version-check $(1) >> .venv/pip.log 2>&1 || \
	{ tail -n 20 .venv/pip.log >&2; echo "pip failed; all that it said is in .venv/pip.log" >&2; exit 1; }

.venv/installed: .venv/created requirements.lock pyproject.toml $(if $(PULUMI_SDK),look-again)
	@rm -f $@ .venv/pip.log
	@echo "Installing the pinned packages into .venv (log: .venv/pip.log)"
	@$(call pip_install,--require-hashes -r requirements.lock)
	@$(if $(PULUMI_SDK),$(call pip_install,--upgrade 'pulumi==$(PULUMI_SDK)'))
	@$(call pip_install,--no-deps --no-build-isolation -e .)
	@touch $@

.venv/engine-path: .venv/installed $(engine_files) $(engine_gone)
	.venv/bin/python tools/engine/install.py > $@.part
	@mv $@.part $@
