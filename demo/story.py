"""`make demo`: snapset's main job on the embedded EC2, then a guard, a failed deploy and its rollback, step by step.

Each step runs the command that a user would run, in a copy of this repository's Pulumi project. The guarded instance
is made by the tests' stand-in for the AWS provider, or by that itself where it is installed: it is a large download.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from snapset import errors
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.pipeline.engine import engine_folder

_PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_PROJECT / "tests"))

from support import aws_plugin  # noqa: E402 - it is beside the tests

_SNAPSHOT_SECONDS = 6.0
_READ_ONLY = ("Describe", "Get", "List")
_BY_HAND = """\
Go on by hand, in this folder:

  export PATH="$PWD/.venv/bin:$(cat .venv/engine-path):$PATH"
  snapset ec2 --seed   # an EC2 with an instance; paste what it prints
"""


def run_demo() -> None:
    """Run all steps, then clean up, even after Ctrl-C.

    Raises:
        SnapsetError: a command failed that should not have, or the other way round.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="snapset-demo-") as folder,
        EmbeddedEC2(snapshot_seconds=_SNAPSHOT_SECONDS) as server,
    ):
        _Story(server, Path(folder)).tell()


class _Story:
    def __init__(self, server: EmbeddedEC2, folder: Path) -> None:
        self._server = server
        self._console = Console(highlight=False)
        self._env = _environment(server, folder)
        self._project = _copy_project(folder)

    def tell(self) -> None:
        say = self._say
        say("1. An embedded EC2", f"runs at {self._server.endpoint}. No AWS account is needed or touched.")
        server = self._launch()
        scratch = server.volume_ids["/dev/sdg"]

        say("2. A stack", "is configured to snapshot that instance without its scratch volume.")
        self._pulumi("stack", "init", "demo")
        self._set("instanceId", server.instance_id)
        self._set("excludeDataVolumeIds[0]", scratch)
        self._set("tags.app", "shop")
        self._set("description", "before release 42")

        say("3. The preview", "checks the inputs against EC2: a wrong volume or a missing permission shows here.")
        self._pulumi("preview")

        say("4. The set", "is taken in one CreateSnapshots call; the stack then waits for it to complete.")
        self._up()
        self._show_sets()

        say("5. A second `up`", "changes nothing: the set exists.")
        self._server.clear_calls()
        self._up()
        changing = [call["action"] for call in self._server.calls() if not call["action"].startswith(_READ_ONLY)]
        self._console.print(f"Calls that changed anything in EC2: {len(changing)}", style="bold")

        say("6. A new trigger", "takes a new set. The first one stays: Pulumi deletes no snapshot.")
        self._set("triggers", "release 43")
        self._up()
        self._show_sets()

        self._show_guard()
        self._show_rollback(server)
        say("Done.", "The embedded EC2 and the stacks' states are gone now.")
        self._console.print(_BY_HAND, markup=False)

    def _show_guard(self) -> None:
        say = self._say
        say("7. A guard", "on an instance of another stack: each change of it takes a set first.")
        self._pulumi("stack", "init", "guarded")
        self._set("program", "guarded_server")
        self._up()

        say("8. A change without a backup", "does not happen: now EC2 refuses CreateSnapshots.")
        self._server.fault(action="CreateSnapshots", kind="deny")
        self._set("instanceType", "t3.large")
        self._up(fails=True)
        self._server.clear_faults()

    def _show_rollback(self, server: LaunchedInstance) -> None:
        say, change = self._say, ("--change-id", "release-44")
        say("9. A deploy", "takes its backup in the pipeline, by a command that needs no program.")
        self._run("snapset", "backup", server.instance_id, *change)

        say("10. The deploy fails,", "and the instance goes back, in place, to the volumes of that backup.")
        self._run("snapset", "rollback", server.instance_id, *change, "--yes")

    def _launch(self) -> LaunchedInstance:
        volumes = [(20, "/dev/sdf", {"Name": "data"}), (100, "/dev/sdg", {"Name": "scratch"})]
        instance = self._server.launch(volumes, root_size=8, tags={"Name": "shop-1"})
        table = Table(
            "device", "volume", "GiB", "name", title=f"Instance {instance.instance_id}", title_justify="left"
        )
        names = {"/dev/sdf": ("20", "data"), "/dev/sdg": ("100", "scratch")}
        for device, volume_id in instance.volume_ids.items():
            table.add_row(device, volume_id, *names.get(device, ("8", "root")))
        self._console.print(table)
        return instance

    def _show_sets(self) -> None:
        found = self._server.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
        table = Table("set", "snapshot", "device", "GiB", "state", title="What EC2 has", title_justify="left")
        shown = ""
        for snapshot in sorted(found, key=lambda snapshot: (snapshot["StartTime"], snapshot["VolumeSize"])):
            tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
            set_id = tags["snapset:set"]
            if shown and set_id != shown:
                table.add_section()
            first = set_id if set_id != shown else ""
            size = str(snapshot["VolumeSize"])
            table.add_row(first, snapshot["SnapshotId"], tags["snapset:device"], size, snapshot["State"])
            shown = set_id
        self._console.print(table)

    def _say(self, title: str, text: str) -> None:
        self._console.print(f"\n[bold cyan]{title}[/] {text}\n")

    def _set(self, key: str, value: str) -> None:
        self._pulumi("config", "set", "--path", key, value)

    def _up(self, *, fails: bool = False) -> None:
        self._pulumi("up", "--yes", "--skip-preview", "--suppress-outputs", fails=fails)

    def _pulumi(self, *arguments: str, fails: bool = False) -> None:
        self._run("pulumi", *arguments, fails=fails)

    def _run(self, *command: str, fails: bool = False) -> None:
        self._console.print(f"$ {shlex.join(command)}", style="green", markup=False)
        with subprocess.Popen(command, cwd=self._project, env=self._env, stdin=subprocess.DEVNULL) as process:  # noqa: S603
            try:
                code = process.wait()
            except KeyboardInterrupt:
                # Ctrl-C in a terminal reaches the engine too, but a SIGTERM reaches only this process.
                process.send_signal(signal.SIGINT)
                process.wait()
                raise
        if bool(code) != fails:
            raise errors.SnapsetError(f"running the demo: `{shlex.join(command[:2])}` ended with {code}; see above.")


def _copy_project(folder: Path) -> Path:
    project = folder / "project"
    shutil.copytree(_PROJECT / "stacks", project / "stacks")
    shutil.copy(_PROJECT / "__main__.py", project)
    settings = yaml.safe_load((_PROJECT / "Pulumi.yaml").read_text())
    settings["runtime"]["options"]["virtualenv"] = sys.prefix
    (project / "Pulumi.yaml").write_text(yaml.safe_dump(settings))
    return project


def _environment(server: EmbeddedEC2, folder: Path) -> Mapping[str, str]:
    state, home = folder / "state", folder / "home"
    state.mkdir()
    aws_plugin.install({"PULUMI_HOME": str(home)})
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
    path = [str(Path(sys.executable).parent), *filter(None, [engine_folder()]), os.environ.get("PATH", "")]
    return {
        **kept,
        **server.environment(),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PATH": os.pathsep.join(path),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def main() -> int:
    """Run the demo and return its exit code; a failure is reported in one line."""
    try:
        run_demo()
    except errors.SnapsetError as error:
        sys.stderr.write(f"demo: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
