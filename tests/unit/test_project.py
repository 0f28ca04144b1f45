"""The project's own files: its workflows, what it depends on, its locks, and what a release checks."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import distributions, metadata, requires
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

from support.project import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))

from release_check import find_mistakes

PACKAGE = REPOSITORY / "components/snapset"
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
LOCK, RUNTIME_LOCK = REPOSITORY / "requirements.lock", REPOSITORY / "ci/requirements.lock"
RELEASED = "# Changelog\n\n## 1.2.3 (2030-01-31)\n\n- All of it.\n\n## 1.2.2 (2029-12-24)\n"


def steps_of(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        yield from job.get("steps", [])


def declared(extra: str = "") -> dict[str, Requirement]:
    """What pyproject.toml declares, with this extra or with none, by name."""
    found = [Requirement(each) for each in requires("snapset") or []]
    return {
        canonicalize_name(each.name): each
        for each in found
        if not each.marker or each.marker.evaluate({"extra": extra})
    }


def pins(lock: Path) -> dict[str, set[str]]:
    """The versions of each package in the lock; which one is for which Python is left out."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def imports_of(files: Iterable[Path]) -> set[str]:
    """The packages that these files import when they run, less Python's own and this one."""

    def names_in(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        for child in ast.iter_child_nodes(node):
            yield from names_in(child)

    names = {name.partition(".")[0] for file in files for name in names_in(ast.parse(file.read_text()))}
    return names - set(sys.stdlib_module_names) - {"snapset"}


def homes() -> dict[str, set[str]]:
    """What is installed, by the packages in it. Python 3.10's own list has only what comes with a top_level.txt."""
    found: dict[str, set[str]] = {}
    for each in distributions():
        for package in {file.parts[0].removesuffix(".py") for file in each.files or () if file.suffix == ".py"}:
            found.setdefault(package, set()).add(canonicalize_name(each.metadata["Name"]))
    return found


def undeclared(imports: Iterable[str], declarations: Iterable[str]) -> list[str]:
    found = homes()
    return [name for name in imports if not found[name] & set(declarations)]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_only_calls_make_so_that_everyone_can_run_what_it_runs(workflow: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for step in steps_of(workflow):
        for line in step.get("run", "").splitlines():
            called = re.fullmatch(r"make ([a-z-]+)( [A-Z_]+=\S*(\$\{\{ [\w.]+ \}\})?)*", line)
            assert called, line
            assert called[1] in targets


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_the_least_permissions_and_pins_its_actions(workflow: Path) -> None:
    document = yaml.safe_load(workflow.read_text())
    assert document["permissions"] in ({}, {"contents": "read"})
    assert document["concurrency"]
    for step in steps_of(workflow):
        assert "run" in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])


def test_the_tests_run_on_every_python_and_the_oldest_sdk_that_are_declared() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    oldest = f"{declared()['pulumi'].specifier}"
    assert [each["sdk"] for each in matrix["include"]] == [f"{re.findall(r'>=([0-9.]+)', oldest)[0]}.0", "3.*"]
    classifiers = metadata("snapset").get_all("Classifier") or []
    assert matrix["python"] == [each.rpartition(" ")[2] for each in classifiers if re.search(r" 3\.\d+$", each)]


def test_other_files_that_the_host_reads_are_yaml() -> None:
    for file in [*(REPOSITORY / ".github").rglob("*.yml"), REPOSITORY / ".pre-commit-config.yaml"]:
        assert yaml.safe_load(file.read_text())


def test_what_the_package_imports_is_declared() -> None:
    embedded = set(PACKAGE.glob("emulator/**/*.py"))
    assert undeclared(imports_of(set(PACKAGE.rglob("*.py")) - embedded), declared()) == []
    assert undeclared(imports_of(embedded), declared("demo")) == []


@pytest.mark.parametrize("lock", [LOCK, RUNTIME_LOCK], ids=["requirements.lock", "ci/requirements.lock"])
def test_a_lock_has_a_hash_of_every_package_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index" not in text
    assert [each for each in re.split(r"(?<!\\)\n", text) if each and "--hash=sha256:" not in each] == []


def test_the_locks_have_what_is_declared_and_agree() -> None:
    everything, runtime = pins(LOCK), pins(RUNTIME_LOCK)
    assert {name: versions for name, versions in runtime.items() if versions - everything[name]} == {}
    assert declared().keys() <= runtime.keys()
    for extra in ("", "demo", "dev", "docs"):
        for name, requirement in declared(extra).items():
            assert list(requirement.specifier.filter(everything[name])), name


def test_the_engine_that_is_built_is_the_version_that_is_asked_for() -> None:
    [asked] = re.findall(r'^VERSION = "([^"]+)"', (REPOSITORY / "tools/engine/install.py").read_text(), re.MULTILINE)
    [built] = re.findall(r"pulumi/pkg/v3 v(\S+)", (REPOSITORY / "tools/engine/cli/go.mod").read_text())
    assert built == asked


def test_a_release_that_says_one_version_everywhere_may_go_out() -> None:
    given: dict[str, Any] = {
        "changelog": RELEASED,
        "package_version": "1.2.3",
        "urls": ["Homepage, https://example.com"],
    }
    assert list(find_mistakes("v1.2.3", **given)) == []


@pytest.mark.parametrize(
    ("tag", "change", "said"),
    [
        ("v1.2.4", {"package_version": "1.2.4"}, "CHANGELOG.md's newest heading is '1.2.3 (2030-01-31)'"),
        ("v1.2.3", {"package_version": "1.2.4"}, "pyproject.toml has the version 1.2.4, not 1.2.3."),
        ("v1.2.3", {"changelog": RELEASED.replace("2030-01-31", "unreleased")}, "CHANGELOG.md's newest heading is"),
        ("v1.2.3", {"changelog": ""}, "CHANGELOG.md's newest heading is 'none'"),
        ("v1.2.3", {"urls": ["Homepage, https://github.com/your-org/snapset"]}, "[project.urls] in pyproject.toml"),
        ("v1.2", {"package_version": "1.2"}, "'v1.2' is not a version like 1.2.3."),
    ],
)
def test_a_release_is_refused_while_something_says_otherwise(tag: str, change: dict[str, Any], said: str) -> None:
    given = {"changelog": RELEASED, "package_version": "1.2.3", "urls": []} | change
    assert next(find_mistakes(tag, **given)).startswith(said)
