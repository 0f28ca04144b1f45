"""One backup from the command line: an inline Pulumi program, run through the Automation API.

https://www.pulumi.com/docs/iac/automation-api/
"""

from __future__ import annotations

import asyncio
import re
import shlex
import tempfile
import threading
import warnings
from contextlib import suppress
from functools import partial

from pulumi import automation

from snapset import errors
from snapset.aws.ec2 import connect
from snapset.aws.session import find_region
from snapset.aws.settings import AwsSettings
from snapset.pipeline.engine import EngineCommand, Stack, Workspace, environment
from snapset.pipeline.request import BackupRequest
from snapset.pipeline.state import PROJECT, last_error, locks_in, settle_ties
from snapset.resources.claim_and_wait import Finished, claim_and_wait
from snapset.resources.snapshot_set import SnapshotSet
from snapset.retry import Say
from snapset.sets.model import SetRecord

# More than the four that the provider's process works at.
_AT_ONCE = 16


class Backup:
    """One run of the engine. `interrupt` may be called from another thread, or from a signal handler."""

    def __init__(self, request: BackupRequest) -> None:
        self.request = request
        # The sets that are taken, by instance; filled while the run goes on.
        self.sets: dict[str, SetRecord] = {}
        self._failures: list[str] = []
        self._command = EngineCommand()
        self._interrupted = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, say: Say) -> None:
        """Take the sets. What is known of them is in `sets`, also after a failure.

        Raises:
            LockedError: another run holds the stack.
            SnapsetError: the first failure, as its own class.
        """
        # While the engine is at its first command, this process has nothing else to do.
        threading.Thread(target=self._prepare_ec2, daemon=True).start()
        with tempfile.TemporaryDirectory(prefix="snapset-") as folder:
            workspace = Workspace(
                work_dir=folder,
                program=self._program,
                env_vars=environment(),
                project_settings=automation.ProjectSettings(name=PROJECT, runtime="python"),
                pulumi_command=self._command,
            )
            # A killed engine is reported in one line, below.
            warnings.filterwarnings("ignore", message="Error in event stream")
            try:
                stack = settle_ties(lambda: self._open_stack(workspace), interrupted=self._interrupted)
                run = stack.preview if self.request.preview else stack.up
                settle_ties(
                    lambda: run(on_event=partial(self._on_event, say), target=self._targets()),
                    interrupted=self._interrupted,
                )
            except automation.CommandError as error:
                # Too old an engine explains the failure better: then this raises.
                self._command.find_version()
                raise self._failure(error) from error
            finally:
                self._end_program()

    def interrupt(self) -> None:
        """End the run in order; a set that was taken is in the state."""
        self._interrupted.set()
        self._command.interrupt()

    def _prepare_ec2(self) -> None:
        settings = AwsSettings()
        try:
            connect(settings.in_region(self.request.inputs.get("region") or find_region(settings))).prepare()
        except errors.SnapsetError:
            # The engine meets the same error, and reports it.
            return

    def _open_stack(self, workspace: Workspace) -> Stack:
        # Another run for the same change may have made it a moment ago.
        with suppress(automation.StackAlreadyExistsError):
            return Stack(self.request.stack_name, workspace)
        return Stack(self.request.stack_name, workspace)

    async def _program(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Each time that a value becomes known, Pulumi goes through all that are not. Hundreds would be too many.
        room = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._declare(instance_id, room) for instance_id in self.request.instance_ids))

    async def _declare(self, instance_id: str, room: asyncio.Semaphore) -> None:
        async with room:
            # Without the component around it, the engine has half as much to record.
            taken = SnapshotSet(
                self.request.resource_name(instance_id),
                instance_id=instance_id,
                change_id=self.request.change_id,
                **self.request.inputs,
            )
            claim_and_wait(taken, wait=self.request.wait, timeout=self.request.timeout, report=self._keep).apply(
                self._keep
            )
            await taken.set_id.future()

    def _end_program(self) -> None:
        # After an interrupt the engine is gone, and the program would still wait for a set, for hours.
        if not self._loop:
            return
        try:
            for task in asyncio.all_tasks(self._loop):
                self._loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:
            # The loop was closed meanwhile: the program has ended by itself.
            return

    def _keep(self, finished: Finished) -> None:
        record = finished.set.record(region=finished.region, outcome=finished.outcome)
        self.sets[finished.set.instance_id] = record

    def _targets(self) -> list[str]:
        # Other changes may share the stack: this run must not touch their sets.
        stack = self.request.stack_name.rsplit("/", 1)[-1]
        kind = f"urn:pulumi:{stack}::{PROJECT}::pulumi-python:dynamic/snapset:SnapshotSet"
        return [f"{kind}::{self.request.resource_name(instance_id)}" for instance_id in self.request.instance_ids]

    def _on_event(self, say: Say, event: automation.EngineEvent) -> None:
        step = event.resource_pre_event.metadata if event.resource_pre_event else None
        if step and step.op == automation.OpType.CREATE and step.type.endswith(":SnapshotSet"):
            taking = "would take" if self.request.preview else "taking"
            say(f"{taking} a set for {step.urn.rsplit('::', 1)[1]}")
        if diagnostic := event.diagnostic_event:
            text = re.sub(r"<\{%.*?%\}>", "", diagnostic.message).strip()
            if diagnostic.severity == "error":
                self._failures.append(text)
            elif diagnostic.severity in ("info", "info#err", "warning") and text:
                say(text)

    def _failure(self, error: automation.CommandError) -> errors.SnapsetError:
        for text in self._failures:
            if known := errors.parse_shown(text):
                return known
        for text in self._failures:
            if match := re.search(r"property (\S+) value .* has a problem: (.*)", text, re.DOTALL):
                return errors.InputError(f"reading {match[1]}: {match[2].strip()}.")
        if isinstance(error, automation.ConcurrentUpdateError):
            return self._locked(error)
        if killed := re.search(r"code: -(\d+)", str(error)):
            return errors.SnapsetError(
                f"updating stack {self.request.stack_name}: the Pulumi engine was ended by signal {killed[1]}. A set "
                f"that was taken is taken up by the next run with --change-id {self.request.change_id}; if the stack "
                f"is locked then, clear the lock first: {self._unlock_command()}"
            )
        return errors.SnapsetError(
            f"updating stack {self.request.stack_name}: {self._failures[0] if self._failures else last_error(error)}"
        )

    def _locked(self, error: automation.CommandError) -> errors.LockedError:
        holders = "; ".join(str(lock) for lock in locks_in(str(error))) or "another run holds it"
        return errors.LockedError(
            f"updating stack {self.request.stack_name}: {holders}. Wait for that run to end, and run this again; "
            f"if it was killed, clear its lock first: {self._unlock_command()}"
        )

    def _unlock_command(self) -> str:
        request = self.request
        which = ["--stack", request.stack] if request.stack else ["--change-id", request.change_id]
        return shlex.join(["snapset", "unlock", *which])
