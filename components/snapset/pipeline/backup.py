"""One backup from the command line: an inline Pulumi program, run through the Automation API.

https://www.pulumi.com/docs/iac/automation-api/
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pulumi import automation

from snapset import errors
from snapset.aws.ec2 import connect
from snapset.aws.records import Snapshot
from snapset.aws.session import find_region
from snapset.pipeline.engine import EngineCommand, Stack, Workspace, environment, leave_outer_program
from snapset.pipeline.request import BackupRequest
from snapset.pipeline.stack_lock import is_unreadable, locks_in, wait_for_lock
from snapset.pipeline.state import PROJECT, Recorded, last_error, read_recorded
from snapset.resources.claim_and_wait import Finished, finish_sets
from snapset.resources.fleet_set import CUT_OFF, TYPE, FleetSet, known_of
from snapset.resources.provider_process import find_starter
from snapset.retry import Retry, Say
from snapset.sets.model import SetRecord
from snapset.sets.wait import poller_for, wait_for_set
from snapset.text import redact

_T = TypeVar("_T")

_FOLDERS = "snapset-run-"
_OLD_FOLDER_SECONDS = 24 * 3600


class Backup:
    """One backup: the sets are taken and recorded under the stack's lock, and waited for without it.

    `interrupt` may be called from another thread, or from a signal handler.
    """

    def __init__(self, request: BackupRequest) -> None:
        self.request = request
        # What failed, by instance, and the sets that are taken, as they were last seen; filled while the run goes on.
        self.failures: dict[str, errors.SnapsetError] = {}
        self._taken: dict[str, Finished] = {}
        # What the state had before: the run that took such a set was an earlier one, even if it could not claim it.
        self._before = Recorded()
        # What the engine reported as errors.
        self._diagnostics: list[str] = []
        self._command = EngineCommand()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, say: Say) -> None:
        """Take the sets, and wait for them. What is known of them is in `sets`, also after a failure.

        Raises:
            LockedError: another run holds the stack.
            SnapsetError: the first failure, as its own class; all are in `failures`.
        """
        self._record(say)
        if self.request.wait and not self._is_interrupted:
            asyncio.run(self._wait_for_all(say))
        for instance_id in self.request.instance_ids:
            if instance_id in self.failures:
                raise self.failures[instance_id]

    @property
    def sets(self) -> dict[str, SetRecord]:
        """The sets that are taken, as they were last seen, by instance."""
        taken = self._taken.items()
        return {key: one.set.record(region=one.region, outcome=one.outcome) for key, one in taken}

    def interrupt(self) -> None:
        """End the run in order; a set that was taken is in the state."""
        self._command.interrupt()

    @property
    def _is_interrupted(self) -> bool:
        return self._command.interrupted.is_set()

    def _prepare_ec2(self) -> None:
        settings = self.request.settings
        try:
            connect(settings.in_region(self.request.inputs.get("region") or find_region(settings))).prepare()
        except errors.SnapsetError:
            # The engine meets the same error, and reports it.
            return

    # Under the lock.

    def _record(self, say: Say) -> None:
        leave_outer_program()
        with _work_folder() as folder:
            variables = {**environment(), "PULUMI_PYTHON_CMD": find_starter()}
            workspace = Workspace(
                work_dir=folder,
                program=self._program,
                env_vars=variables,
                project_settings=automation.ProjectSettings(name=PROJECT, runtime="python"),
                pulumi_command=self._command,
            )
            if self.request.profile:
                # A profile in the environment would lose to keys that are there, too.
                config = {"aws:profile": self.request.profile}
                workspace.save_stack_settings(self.request.stack_name, automation.StackSettings(config=config))
            # A killed engine is reported in one line, below.
            warnings.filterwarnings("ignore", message="Error in event stream")
            # While the engine is at its first command, this process has nothing else to do.
            threading.Thread(target=self._prepare_ec2, daemon=True).start()
            try:
                stack = self._locking(lambda: self._open_stack(workspace), say)
                if workspace.existed:
                    self._before = read_recorded(workspace, self.request.stack_name, self._target)
                if self._before.was_cut_off:
                    variables[CUT_OFF] = "1"
                self._up(stack, say)
                if lost := self._lost():
                    self._take_again(stack, lost, say)
            except automation.CommandError as error:
                # Too old an engine explains the failure better: then this raises.
                self._command.find_version()
                raise self._failure(error) from error
            except errors.SnapsetError:
                if not self._is_interrupted:
                    raise
            finally:
                self._end_program()

    def _locking(self, attempt: Callable[[], _T], say: Say) -> _T:
        return wait_for_lock(
            attempt, timeout=self.request.lock_timeout, interrupted=self._command.interrupted, say=say
        )

    def _open_stack(self, workspace: Workspace) -> Stack:
        # Another run for the same change may have made it a moment ago.
        with suppress(automation.StackAlreadyExistsError):
            return Stack(self.request.stack_name, workspace)
        return Stack(self.request.stack_name, workspace)

    def _up(self, stack: Stack, say: Say, *, refresh: bool = False) -> None:
        """Run the engine. What failed of single instances is in `failures`.

        Args:
            stack: the stack.
            say: shows one line.
            refresh: read from EC2 what is left of each set; one in error, or not whole, is taken anew.

        Raises:
            CommandError: the run failed as a whole.
        """
        self._diagnostics.clear()
        watch = partial(self._on_event, say)
        # Other changes may share the stack: this run must not touch their sets.
        self._locking(lambda: stack.up(on_event=watch, target=[self._target], refresh=refresh), say)

    def _lost(self) -> list[str]:
        """Return the instances whose set an earlier run has taken, and is no backup any more."""
        return [
            instance_id
            for instance_id, error in self.failures.items()
            if isinstance(error, errors.SetFailedError) and self._taken[instance_id].outcome == "unchanged"
        ]

    def _take_again(self, stack: Stack, lost: list[str], say: Say) -> None:
        for instance_id in lost:
            say(f"{self.failures.pop(instance_id)} Taking a new set of {instance_id}.")
            del self._taken[instance_id]
        self._up(stack, say, refresh=True)

    async def _program(self) -> None:
        self._loop = asyncio.get_running_loop()
        request = self.request
        # Without the component around it, the engine has half as much to record.
        taken = FleetSet(
            request.resource_name,
            instance_ids=list(request.instance_ids),
            change_id=request.change_id,
            # A run for some of the instances leaves the sets of the others alone.
            keep_left=True,
            **request.inputs,
        )
        recorded, known = await taken.sets.future() or {}, await known_of(taken)
        if not known["claim"]:
            # It failed: the engine says why.
            return
        # Sets of other instances, which an earlier run took for the same change, are in the state, too.
        records = {key: recorded[key] for key in request.instance_ids if key in recorded}
        for instance_id, text in known["failures"].items():
            self.failures[instance_id] = errors.parse_shown(text) or errors.SnapsetError(text)
        where = {"region": known["region"], "claim": known["claim"]}
        done, failures = await finish_sets(
            taken, records, **where, wait=False, timeout=request.timeout, report=self._keep
        )
        for finished in done.values():
            self._keep(finished)
        # One instance's failure must not end the program, and with it the claims of the others.
        self.failures |= failures

    def _end_program(self) -> None:
        # After an interrupt the engine is gone, and the program would still wait for a set.
        if not self._loop:
            return
        try:
            for task in asyncio.all_tasks(self._loop):
                self._loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:
            # The loop was closed meanwhile: the program has ended by itself.
            return

    def _keep(self, finished: Finished) -> None:
        instance_id = finished.set.instance_id
        if finished.set.set_id in self._before.set_ids:
            finished = replace(finished, outcome="unchanged")
        self._taken[instance_id] = finished

    @property
    def _target(self) -> str:
        stack = self.request.stack_name.rsplit("/", 1)[-1]
        return f"urn:pulumi:{stack}::{PROJECT}::{TYPE}::{self.request.resource_name}"

    # Without the lock.

    async def _wait_for_all(self, say: Say) -> None:
        retry = Retry.from_environment(say)
        waited_for = [finished for key, finished in self._taken.items() if key not in self.failures]
        # How far each of many is would fill the screen.
        of_each = retry if len(waited_for) == 1 else retry.saying(lambda text: None)
        tasks = {asyncio.create_task(self._wait_for(finished, retry=of_each)) for finished in waited_for}
        while tasks:
            _, still = await asyncio.wait(tasks, timeout=0.2)
            if len(waited_for) > 1 and len(still) < len(tasks):
                failed = sum(one.set.instance_id in self.failures for one in waited_for)
                say(f"{len(waited_for) - len(still) - failed} of {len(waited_for)} sets completed")
            tasks = still
            if self._is_interrupted:
                for task in tasks:
                    task.cancel()
                return

    async def _wait_for(self, taken: Finished, *, retry: Retry) -> None:
        ec2 = connect(self.request.settings.in_region(taken.region))
        poller = poller_for(ec2)

        async def look(snapshot_ids: Sequence[str]) -> list[Snapshot]:
            found = await poller.look(snapshot_ids)
            if (seen := taken.set.as_seen(found)).is_whole:
                self._keep(replace(taken, set=seen))
            return found

        try:
            await wait_for_set(look, taken.set, seen=taken.set, timeout=self.request.timeout, retry=retry)
        except errors.SnapsetError as error:
            self.failures[taken.set.instance_id] = error

    # What the engine says.

    def _on_event(self, say: Say, event: automation.EngineEvent) -> None:
        step = event.resource_pre_event.metadata if event.resource_pre_event else None
        if step and step.type == TYPE and step.op in (automation.OpType.CREATE, automation.OpType.UPDATE):
            say(f"taking {_number_of_sets(self.request.instance_ids)}")
        if diagnostic := event.diagnostic_event:
            text = redact(re.sub(r"<\{%.*?%\}>", "", diagnostic.message).strip())
            if diagnostic.severity == "error":
                self._diagnostics.append(text)
            elif diagnostic.severity in ("info", "info#err", "warning") and text:
                say(text)

    def _failure(self, error: automation.CommandError) -> errors.SnapsetError:
        """Return why the run failed as a whole."""
        for text in self._diagnostics:
            if known := errors.parse_shown(text):
                return known
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
        why = self._diagnostics[0] if self._diagnostics else last_error(error)
        if is_unreadable(why):
            why += f". If a run was killed while it wrote its lock, clear its lock first: {self._unlock_command()}"
        return errors.SnapsetError(f"updating stack {self.request.stack_name}: {why}")

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


def _number_of_sets(instance_ids: Sequence[str]) -> str:
    return f"a set of {instance_ids[0]}" if len(instance_ids) == 1 else f"sets of {len(instance_ids)} instances"


@contextmanager
def _work_folder() -> Iterator[str]:
    """Make a folder for the engine's files, and remove those that killed runs have left behind a day ago."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _OLD_FOLDER_SECONDS and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=_FOLDERS, ignore_cleanup_errors=True) as made:
        yield made
