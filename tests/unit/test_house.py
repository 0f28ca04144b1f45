"""The house: imports go one way, files stay small, and importing snapset is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from support.project import REPOSITORY

PACKAGE = REPOSITORY / "components/snapset"
# From the top to the bottom; what shares a floor does not import one another, but for `inputs` and its `tags`.
FLOORS = [
    ["cli"],
    ["backup", "doctor"],
    ["state"],
    ["engine", "restore"],
    ["component", "guard"],
    ["keeping"],
    ["finish"],
    ["waiting", "resource", "restore_provider", "line", "mocks"],
    ["provider", "restoring", "aws_provider"],
    ["preflight", "restore_plan", "attaching", "dynamic"],
    ["pruning", "volumes"],
    ["catalog", "restore_inputs"],
    ["lifecycle"],
    ["ec2", "caller"],
    ["session"],
    ["aws_errors", "call_log", "inputs"],
    ["patience", "tags", "backup_request"],
    ["errors"],
]
HEIGHT = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FILES = [*PACKAGE.glob("cli/*.py"), *(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")]


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{each.name}" for each in node.names} | {node.module}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path) -> None:
    own = "cli" if path.parent.name == "cli" else path.stem
    rooms = {name.split(".")[1] for name in imported(path.read_text()) if name.startswith("snapset.")}
    assert {room for room in rooms & HEIGHT.keys() - {own} if HEIGHT[room] <= HEIGHT[own]} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_lowest_rooms_know_boto3(path) -> None:
    outside = {name.split(".")[0] for name in imported(path.read_text())}
    assert not outside & {"boto3", "botocore"} or path.stem in ("session", "aws_errors")
    assert "moto" not in outside


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), REPOSITORY / "__main__.py"], ids=str)
def test_files_stay_small(path) -> None:
    assert len(path.read_text().splitlines()) <= (
        20 if path.name == "__main__.py" and path.parent == REPOSITORY else 250
    )


@pytest.mark.parametrize("program", ["import snapset", "from snapset.cli.app import app; app(['--help'])"])
def test_importing_snapset_and_asking_for_help_import_no_sdk(program: str) -> None:
    check = (
        "import atexit, sys\n"
        "heavy = {'boto3', 'botocore', 'moto', 'pulumi', 'pulumi_aws'}\n"
        "atexit.register(lambda: sys.stderr.write(','.join(sorted(heavy & sys.modules.keys()))))\n"
    )
    ran = subprocess.run([sys.executable, "-c", check + program], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
