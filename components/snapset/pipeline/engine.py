"""Run the Pulumi engine from the command line: which one, on which state, and how it ends."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from pulumi import automation
from pulumi.automation._stack import StackInitMode
from pulumi.automation.errors import create_command_error
from semver import VersionInfo

from snapset import errors

PROJECT = "snapset"
OLDEST = VersionInfo(3, 259, 0)

# How an engine hands the stack's config to a program: as a whole, or key by key.
_OUTER_CONFIG = re.compile(r"PULUMI_CONFIG(_SECRET_KEYS|_AWS_.*|_SNAPSET_.*)?")

# What the engine, and what it starts, reads paths from.
_PATHS = (
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "PATH",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
    "PULUMI_HOME",
)
_RELATIVE_STATE = re.compile(r"file://(?![/~])(.*)")

_SET_BACKEND = "Set PULUMI_BACKEND_URL, or HOME."


class EngineCommand(automation.PulumiCommand):
    """The `pulumi` command, which can be interrupted while it runs, as Ctrl-C in a terminal does."""

    def __init__(self) -> None:
        # The Automation API asks what the engine can do. Asking the engine itself takes another process, so
        # `find_version` does that only once something failed.
        self.version = OLDEST
        self.interrupted = threading.Event()
        self._running: subprocess.Popen[str] | None = None

    @cached_property
    def command(self) -> str:  # type: ignore[override]
        """The path of the engine, looked for when it is needed: what is served already needs none.

        Raises:
            SnapsetError: there is no engine.
        """
        folder = engine_folder()
        return os.path.join(folder, "pulumi") if folder else "pulumi"

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: Callable[[str], object] | None = None,
        on_error: Callable[[str], object] | None = None,
    ) -> automation.CommandResult:
        """Run one command to its end; see `pulumi.automation.PulumiCommand.run`.

        Raises:
            SnapsetError: the run was interrupted before, or the engine can't be started.
        """
        if self.interrupted.is_set():
            raise errors.SnapsetError("running the Pulumi engine: interrupted.")
        command = [self.command, "--non-interactive", *args]
        env = {**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"}
        if os.path.isabs(self.command):
            env["PATH"] = os.pathsep.join([os.path.dirname(self.command), env.get("PATH", "")])
        # A session of its own, so that the terminal's Ctrl-C does not reach the engine beside interrupt().
        try:
            self._running = subprocess.Popen(  # noqa: S603
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(error) from error
        if self.interrupted.is_set():
            # The interrupt came just before there was anything to interrupt.
            self._running.send_signal(signal.SIGINT)
        stdout, stderr = self._running.communicate()
        result = automation.CommandResult(stdout, stderr, self._running.returncode)
        if result.code:
            raise create_command_error(result)
        return result

    def find_version(self) -> str:
        """Ask the engine for its version.

        Raises:
            SnapsetError: it is too old, or does not answer.
        """
        root = os.path.dirname(os.path.dirname(self.command)) or None
        try:
            return str(automation.PulumiCommand(root=root, version=OLDEST).version)
        except (automation.InvalidVersionError, OSError, subprocess.CalledProcessError) as error:
            raise _not_started(error) from error

    def interrupt(self) -> None:
        """Ask the engine to end in order, as Ctrl-C does: it writes the state and unlocks the stack."""
        # Once only: at a second signal the engine would drop everything.
        if not self.interrupted.is_set():
            self.interrupted.set()
            if self._running and self._running.poll() is None:
                self._running.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the engine, and all that it has started, at once. It leaves its lock."""
        if self._running and self._running.poll() is None:
            os.killpg(self._running.pid, signal.SIGKILL)


class Workspace(automation.LocalWorkspace):
    """A workspace whose stacks are created when they are selected, by the same process."""

    # Whether the stack was there before.
    existed = False

    def select_stack(self, stack_name: str) -> None:
        """Select the stack; create it if there is none."""
        command = ["stack", "select", "--create", "--stack", stack_name]
        shown = self.pulumi_command.run(command, self.work_dir, self.env_vars)
        self.existed = "Created stack" not in shown.stdout + shown.stderr


class Stack(automation.Stack):
    """A stack without outputs and history, which nobody reads: the Automation API starts a process for each."""

    def __init__(self, name: str, workspace: Workspace) -> None:
        super().__init__(name, workspace, StackInitMode.SELECT)

    def outputs(self) -> automation.OutputMap:
        """Return nothing."""
        return {}

    def info(self, show_secrets: bool = True) -> automation.UpdateSummary:
        """Return that there was an update, and no more."""
        now = datetime.datetime.now(datetime.timezone.utc)
        return automation.UpdateSummary(
            kind="update", start_time=now, message="", environment={}, config={}, result="succeeded"
        )


def environment() -> dict[str, str]:
    """Return what the engine's environment needs beside the caller's own.

    The state goes to the backend that PULUMI_BACKEND_URL names or that Pulumi is logged in to; else to files in the
    user's data folder. snapset keeps no secrets, so an unset passphrase is no obstacle.
    """
    added = {
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # It needs no plugin: one that a state names is none of ours.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        # The dynamic provider is started with this Python, which has snapset, whatever `python3` is.
        "PULUMI_PYTHON_CMD": sys.executable,
    }
    if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & os.environ.keys():
        added["PULUMI_CONFIG_PASSPHRASE"] = ""
    added |= _absolute_paths()
    backend = _backend()
    if match := _RELATIVE_STATE.fullmatch(backend):
        added["PULUMI_BACKEND_URL"] = Path(match[1]).absolute().as_uri()
    elif not backend and not os.environ.get("PULUMI_ACCESS_TOKEN"):
        state = _data_folder() / "snapset" / "state"
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise errors.InputError(f"making {state}: {error.strerror}. {_SET_BACKEND}") from error
        added["PULUMI_BACKEND_URL"] = state.absolute().as_uri()
    return added


def _not_started(error: Exception) -> errors.SnapsetError:
    return errors.SnapsetError(f"starting the Pulumi engine: {str(error).rstrip('.')}. Install it again.")


@contextmanager
def folder_used_once(prefix: str) -> Iterator[str]:
    """Make a folder for the engine's files. At the end, what it has noted of that in the user's own goes, too."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        try:
            yield folder
        finally:
            project = os.path.realpath(os.path.join(folder, "Pulumi.yaml"))
            digest = hashlib.sha1(project.encode(), usedforsecurity=False).hexdigest()
            with suppress(OSError, RuntimeError):
                (_pulumi_home() / "workspaces" / f"{PROJECT}-{digest}-workspace.json").unlink()


def leave_outer_program() -> None:
    """Forget the config of a Pulumi program that has started this process: it is not this run's."""
    for name in list(os.environ):
        if _OUTER_CONFIG.fullmatch(name):
            del os.environ[name]


def _data_folder() -> Path:
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    if given.is_absolute():
        return given
    try:
        return Path.home() / ".local/share"
    except RuntimeError as error:
        raise errors.InputError(f"looking for a place for the state: there is no home. {_SET_BACKEND}") from error


def _absolute_paths() -> dict[str, str]:
    """Return the paths of the environment that are relative to this folder: the engine runs in another one."""
    absolute = {
        name: os.pathsep.join(map(_absolute, given.split(os.pathsep)))
        for name in _PATHS
        if (given := os.environ.get(name))
    }
    return {name: path for name, path in absolute.items() if path != os.environ[name]}


def _absolute(path: str) -> str:
    return path if path.startswith(("~", os.sep)) else os.path.abspath(path)


def _backend() -> str:
    """Return the backend that the environment names, or that Pulumi is logged in to; empty if there is none."""
    if url := os.environ.get("PULUMI_BACKEND_URL"):
        return url
    try:
        return str(json.loads((_pulumi_home() / "credentials.json").read_text()).get("current") or "")
    except (AttributeError, OSError, RuntimeError, ValueError):
        return ""


def _pulumi_home() -> Path:
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def engine_folder() -> str | None:
    """Return the folder of the engine that `make setup` installed, or None where `pulumi` is on PATH.

    Raises:
        SnapsetError: there is no engine.
    """
    if shutil.which("pulumi"):
        return None
    # Without a home, "~" stays as it is, and no engine is there.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "snapset" / "engine"
    installed = list(Path(os.environ.get("SNAPSET_ENGINE_DIR") or cache).glob("*/bin/pulumi"))
    if installed:
        newest = max(installed, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parts[-3])])
        return str(newest.parent)
    raise errors.SnapsetError(
        "starting the Pulumi engine: there is no `pulumi` on PATH. "
        "Install it from https://www.pulumi.com/docs/install/, or run `make setup` in a clone of snapset."
    )
