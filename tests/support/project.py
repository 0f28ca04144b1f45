"""A Pulumi project on the real engine, with its own file backend and its own PULUMI_HOME."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support import warm

REPOSITORY = Path(__file__).resolve().parents[2]
STACK = "test"
READ_ONLY = ("Describe", "Get", "List")

# The files that `pulumi stack init` writes, by the project's name.
_NEW_STACKS: dict[str, dict[Path, bytes]] = {}


@dataclass
class Run:
    """The exit code and the output of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr

    def ok(self) -> Run:
        assert self.code == 0, self.text
        return self

    def failed(self) -> Run:
        assert self.code != 0, self.text
        assert "Traceback" not in self.text, self.text
        return self


# The beginning of a program whose components have a transformation that makes Pulumi delete their sets first.
DELETE_FIRST = """
import pulumi


def delete_first(args):
    first = pulumi.ResourceOptions(delete_before_replace=True)
    return pulumi.ResourceTransformationResult(args.props, pulumi.ResourceOptions.merge(args.opts, first))
"""


def run_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process, with the test's AWS and Pulumi settings instead of its own."""
    state = folder / "state"
    state.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
    return {
        **kept,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # The engine asks pip what is installed, in every run.
        "PYTHONPATH": str(REPOSITORY / "tests/support/quick"),
        "PULUMI_PYTHON_CMD": os.fspath(warm.PYTHON),
        "SNAPSET_TEST_WARM": warm.start(),
        "XDG_STATE_HOME": str(folder / "state-home"),
        **environment,
    }


def sets_among(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The resources of snapshot sets; each set of a fleet counts as one."""
    return [resource for resource in resources if resource["type"].endswith(":SnapshotSet")] + [
        {**fleet, "id": record["set_id"], "outputs": {**fleet["outputs"], **record}}
        for fleet in resources
        if fleet["type"].endswith(":FleetSet")
        for record in fleet.get("outputs", {}).get("sets", {}).values()
    ]


@dataclass
class Project:
    folder: Path
    environment: Mapping[str, str]
    program: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    virtualenv: Path = Path(sys.prefix)

    def __post_init__(self) -> None:
        self.env = run_environment(self.folder, self.environment)
        runtime: dict[str, Any] = {"name": "python"}
        # With one, the engine starts the provider by its Python: not as a fork, as the tests do.
        if self.virtualenv != Path(sys.prefix):
            del self.env["SNAPSET_TEST_WARM"]
            runtime["options"] = {"toolchain": "pip", "virtualenv": str(self.virtualenv)}
        self.cwd = self.folder / "project"
        self.cwd.mkdir()
        if self.program is None:
            self.namespace = "snapset"
            settings = yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text())
            shutil.copy(REPOSITORY / "__main__.py", self.cwd)
            shutil.copytree(REPOSITORY / "stacks", self.cwd / "stacks")
        else:
            self.namespace = "theirs"
            settings = {"name": self.namespace}
            (self.cwd / "__main__.py").write_text(self.program)
        (self.cwd / "Pulumi.yaml").write_text(yaml.safe_dump({**settings, "runtime": runtime}))
        self.config_file = self.cwd / f"Pulumi.{STACK}.yaml"
        self.state_file = self.folder / f"state/.pulumi/stacks/{self.namespace}/{STACK}.json"
        self._init_stack()
        self.salt = yaml.safe_load(self.config_file.read_text())

    def pulumi(self, *arguments: str, timeout: float = 120) -> Run:
        with self.start(*arguments) as process:
            stdout, stderr = process.communicate(timeout=timeout)
        return Run(process.returncode, stdout, stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = ["pulumi", *arguments, "--non-interactive"]
        if arguments[0] != "stack":
            config = {key if ":" in key else f"{self.namespace}:{key}": value for key, value in self.config.items()}
            self.config_file.write_text(yaml.safe_dump({**self.salt, "config": config}))
            command += ["--stack", STACK]
        return subprocess.Popen(
            command,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A separate process group, as in a terminal, so that a test can interrupt the whole group.
            start_new_session=True,
        )

    def up(self, *arguments: str) -> Run:
        return self.pulumi("up", "--yes", "--skip-preview", *arguments)

    def preview(self, *arguments: str) -> Run:
        return self.pulumi("preview", *arguments)

    def refresh(self) -> Run:
        return self.pulumi("refresh", "--yes", "--skip-preview")

    def destroy(self) -> Run:
        return self.pulumi("destroy", "--yes", "--skip-preview")

    def state(self) -> dict[str, Any]:
        """The state in the format of `pulumi stack export`, without the time that this command takes."""
        checkpoint = json.loads(self.state_file.read_text())["checkpoint"]
        return {"deployment": checkpoint["latest"] or {}}

    def sets(self) -> list[dict[str, Any]]:
        """The resources of the snapshot sets in the state; each set of a fleet counts as one."""
        return sets_among(self.state()["deployment"].get("resources", []))

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs. Secret ones stay encrypted."""
        resources = self.state()["deployment"].get("resources", [])
        [stack] = [resource for resource in resources if resource["type"] == "pulumi:pulumi:Stack"]
        outputs: dict[str, Any] = stack.get("outputs", {})
        return outputs

    def _init_stack(self) -> None:
        # `pulumi stack init` is slow and always writes the same files, so later tests copy those of the first.
        kept = _NEW_STACKS.get(self.namespace)
        if kept is None:
            self.pulumi("stack", "init", STACK).ok()
            made = [self.config_file, *(self.folder / "state").rglob("*")]
            files = {path.relative_to(self.folder): path.read_bytes() for path in made if path.is_file()}
            _NEW_STACKS[self.namespace] = files
            return
        for path, content in kept.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)


def mutating(calls: list[dict[str, Any]]) -> list[str]:
    """The actions of the calls that changed something or tried to."""
    return [call["action"] for call in calls if not call["action"].startswith(READ_ONLY) and not call["dry_run"]]


def changes(run: Run) -> dict[str, int]:
    """The counts below `Resources:` in the engine's output."""
    counted = re.findall(r"^\s+\D*(\d+) (created|deleted|replaced|updated|unchanged)$", run.stdout, re.MULTILINE)
    return {what: int(number) for number, what in counted}


def until(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Poll until the condition is true, and return its value."""
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, "the deadline passed"
        time.sleep(0.05)
    return value
