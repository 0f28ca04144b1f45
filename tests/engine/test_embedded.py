"""snapset in a user's Pulumi project: installed from a wheel, without any other file of this repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.project import REPOSITORY, Project, Run, changes, mutating
from support.sets import find_sets, find_taken

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

PROGRAM = """
import pulumi
import pulumi_aws as aws
import snapset

server = aws.ec2.Instance(
    "server", ami="ami-12345678", instance_type="t3.micro", opts=snapset.backup_before_change()
)
backup = snapset.InstanceSnapshots("backup", instance=server)
pulumi.export("snapset", snapset.__file__)
pulumi.export("snapshotIds", backup.snapshot_ids)
"""


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Run:
    ran = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    return Run(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The wheel, built by the pinned build backend, from a copy because a build leaves files behind."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "components", source / "components", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "-w", tmp_path, source, cwd=tmp_path).ok()
    shutil.rmtree(source)
    [built] = tmp_path.glob("*.whl")
    return built


@pytest.fixture
def their_python(wheel: Path, tmp_path: Path) -> Path:
    """A virtual environment with the wheel and its dependencies, but without this repository."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    [packages] = home.glob("lib/python*/site-packages")
    # Python searches a folder named in a .pth file, but ignores .pth files in it, such as the editable install's.
    (packages / "dependencies.pth").write_text("\n".join(map(sysconfig.get_path, ("purelib", "platlib"))))
    # pip also finds the editable install, and would try to replace it.
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "--ignore-installed"]
    run(*pip, "--no-deps", "--no-index", wheel, cwd=tmp_path).ok()
    return python


def test_the_wheel_has_the_package_its_types_and_its_command_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
        assert "snapset = snapset.__main__:main" in archive.read(entry_points).decode()
    sources = {
        str(path.relative_to(REPOSITORY / "components")) for path in REPOSITORY.glob("components/snapset/**/*.py")
    }
    assert {name for name in names if ".dist-info/" not in name} == sources | {
        "snapset/py.typed",
        "snapset/schema.json",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_everything_works_in_a_project_that_has_snapset_from_the_wheel(
    their_python: Path, ec2: EmbeddedEC2, tmp_path: Path
) -> None:
    path = os.pathsep.join([str(their_python.parent), os.environ["PATH"]])
    project = Project(
        tmp_path, {**ec2.environment(), "PATH": path}, program=PROGRAM, virtualenv=their_python.parents[1]
    )
    aws_plugin.install(project.env)
    project.preview().ok()
    assert mutating(ec2.calls()) == []

    project.up().ok()
    outputs = project.outputs()
    assert Path(outputs["snapset"]).is_relative_to(their_python.parents[1])
    [(set_id, taken)] = find_sets(ec2).items()
    assert set(outputs["snapshotIds"]) == taken.ids

    ec2.clear_calls()
    assert changes(project.up().ok()).keys() == {"unchanged"}
    assert mutating(ec2.calls()) == []

    guarded = project.pulumi("destroy", "--yes", "--skip-preview", "--run-program").ok()
    assert "before the delete of server" in guarded.text
    assert len(find_sets(ec2)) == 2
    assert f"To delete it: snapset delete {set_id} --region us-east-1" in guarded.text

    other = ec2.launch()
    ec2.clear_calls()
    command: list[str | Path] = [their_python.with_name("snapset"), "backup", other.instance_id, "--json"]
    [made] = json.loads(run(*command, cwd=project.cwd, env=project.env).ok().stdout)["sets"]
    assert find_taken(ec2) == [made["set_id"]]
    assert made["instance_id"] == other.instance_id
