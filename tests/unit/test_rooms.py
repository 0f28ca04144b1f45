"""Who may know Pulumi, AWS's SDK and the demo, and how little the leaves know: read from the imports themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support.project import REPOSITORY

PACKAGE = REPOSITORY / "components/snapset"
PRODUCT = [path for path in PACKAGE.rglob("*.py") if "demo" not in path.relative_to(PACKAGE).parts]
DEMO = list((PACKAGE / "demo").rglob("*.py"))

# The dynamic provider speaks Pulumi's protocol; what it stands on does not know Pulumi.
BELOW_THE_RESOURCE = ["aws_errors", "ec2", "errors", "inputs", "lifecycle", "patience", "preflight", "session"]
BELOW_THE_RESOURCE += ["tags", "waiting", "caller", "catalog", "pruning"]


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {str(node.module), *(f"{node.module}.{each.name}" for each in node.names)}
    return names


def packages_in(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)}


def rooms_in(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("snapset.")}


@pytest.mark.parametrize("room", BELOW_THE_RESOURCE)
def test_what_is_below_the_resource_does_not_know_pulumi(room: str) -> None:
    assert not packages_in(PACKAGE / f"{room}.py") & {"pulumi", "pulumi_aws"}


def test_only_the_boundary_knows_the_sdk_of_aws() -> None:
    assert {path.stem for path in PRODUCT if packages_in(path) & {"boto3", "botocore"}} == {"aws_errors", "session"}


def test_moto_is_known_in_the_demo_only() -> None:
    assert {path.stem for path in PRODUCT if "moto" in packages_in(path)} == set()
    assert any("moto" in packages_in(path) for path in DEMO)


def test_of_the_product_only_the_command_line_knows_the_demo() -> None:
    assert {path.parent.name for path in PRODUCT if "demo" in rooms_in(path)} == {"cli"}


def test_the_leaves_know_nothing_but_other_leaves() -> None:
    assert rooms_in(PACKAGE / "errors.py") == rooms_in(PACKAGE / "tags.py") == set()
    assert rooms_in(PACKAGE / "inputs.py") == {"errors", "tags"}
