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
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from pulumi import automation

from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.pipeline.engine import (
    PROJECT,
    EngineCommand,
    Stack,
    Workspace,
    environment,
    folder_used_once,
    leave_outer_program,
)
from snapset.pipeline.look import Look
from snapset.pipeline.request import BackupRequest
from snapset.pipeline.stack_lock import describe_locks, is_unreadable, locks_in, wait_for_lock
from snapset.pipeline.state import last_error, was_cut_off
from snapset.resources.fleet_set import TYPE, FleetSet, await_outputs, current_sets
from snapset.resources.provider_process import find_starter
from snapset.resources.set_state import status_from_state
from snapset.retry import Say
from snapset.sets.attempts import CUT_OFF
from snapset.sets.claims import complete_claim
from snapset.sets.find import find_sets_by_token
from snapset.sets.finish import SetStatus, finish_sets, wait_for_sets
from snapset.sets.model import SetRecord
from snapset.sets.preflight import error_of
from snapset.sets.served import find_all_fitting

_T = TypeVar("_T")

_FOLDERS = "snapset-run-"
# What the engine says of a backend that it can't use.
_NO_BACKEND = re.compile("unable to open state|PULUMI_ACCESS_TOKEN must be set")
_OLD_FOLDER_SECONDS = 24 * 3600


class Backup:
    """One backup: what a set serves already needs no engine; the rest is taken and recorded under the stack's lock.

    `interrupt` may be called from another thread, or from a signal handler.
    """

    def __init__(self, request: BackupRequest, look: Look, *, say: Say) -> None:
        """Prepare the run; `look`, begun before, finds what the change has already."""
        self.request = request
        self._look = look
        # How the set of each instance stands, and what failed, by instance.
        self.statuses: dict[str, SetStatus] = {}
        self.failures: dict[str, errors.SnapsetError] = {}
        # Other sets that were taken for the same change at the same time, by instance.
        self._surplus: dict[str, list[str]] = {}
        # The volumes that a set of each instance would hold now, as far as they are known.
        self._volumes: Mapping[str, Mapping[str, str]] = {}
        self._say = say
        self.was_killed = False
        # What the engine reported as errors.
        self._diagnostics: list[str] = []
        self._command = EngineCommand()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        """Take the sets, and wait for them. What is known of them is in `sets`, also after a failure.

        Raises:
            LockedError: another run holds the stack.
            SnapsetError: the first failure, as its own class; all are in `failures`.
        """
        leave_outer_program()
        ec2 = connect(self.request.settings, say=self._say)
        if missing := self._find_missing(ec2):
            self._record(missing)
        if self.request.wait and not self._is_interrupted:
            self._wait(ec2)
            if lost := self._drop_lost():
                self._record(lost)
                self._wait(ec2)
            self._find_surplus(ec2)
        if not self._is_interrupted:
            self._refuse_gaps()

    @property
    def sets(self) -> list[SetRecord]:
        """The sets, as they were last seen, in the order of the instances."""
        return [self._record_of(self.statuses[key]) for key in self.request.instance_ids if key in self.statuses]

    def interrupt(self) -> None:
        """End the run in order; a set that was taken is in the state."""
        self._command.interrupt()

    def kill(self) -> None:
        """End the engine at once, where it does not end in order."""
        self.was_killed = True
        self._command.kill()

    @property
    def _is_interrupted(self) -> bool:
        return self._command.interrupted.is_set()

    def _keep(self, status: SetStatus) -> None:
        self.statuses[status.instance_id] = status
        if status.failure:
            self.failures[status.instance_id] = status.failure

    def _record_of(self, status: SetStatus) -> SetRecord:
        record = status.set.record(region=self.request.region, outcome=status.outcome)
        expected = self._volumes.get(status.instance_id, {})
        record["missing_volume_ids"] = sorted(expected.keys() - status.set.volume_ids)
        record["surplus_set_ids"] = self._surplus.get(status.instance_id, [])
        return record

    def _refuse_gaps(self) -> None:
        """Raise the first failure, or that an instance has no set: success takes a set that was seen."""
        for instance_id in self.request.instance_ids:
            status = self.statuses.get(instance_id)
            if instance_id not in self.failures and (not status or (self.request.wait and not status.completed)):
                reason = "the run ended without a set of it that was seen. Run it again"
                self.failures[instance_id] = errors.SnapsetError(f"backing up {instance_id}: {reason}.")
            if instance_id in self.failures:
                raise self.failures[instance_id]

    # Before the engine, and without it.

    def _find_missing(self, ec2: Ec2) -> list[str]:
        """Return the instances that no set serves, and that a set can be taken of."""
        served, inspection = self._look.result()
        self._volumes = inspection.volumes
        for found in served.values():
            volumes = inspection.volumes.get(found.instance_id, {})
            self._keep(SetStatus(set=complete_claim(ec2, found, volumes=volumes), outcome="unchanged"))
        self.failures = {key: error_of(key, some) for key, some in inspection.problems.items() if key not in served}
        return [key for key in self.request.instance_ids if key not in served and key not in self.failures]

    def _wait(self, ec2: Ec2) -> None:
        waited_for = [status for key, status in self.statuses.items() if key not in self.failures]

        async def wait() -> None:
            waiting = asyncio.ensure_future(
                wait_for_sets(ec2, waited_for, until="completed", timeout=self.request.timeout, report=self._keep)
            )
            while not waiting.done():
                await asyncio.wait([waiting], timeout=0.2)
                if self._is_interrupted:
                    waiting.cancel()
                    return
            for status in waiting.result():
                self._keep(status)

        asyncio.run(wait())

    def _drop_lost(self) -> list[str]:
        """Drop and return the instances whose set, of an earlier run, has failed since: a new one is taken."""
        lost = [
            key
            for key, error in self.failures.items()
            if isinstance(error, errors.SetFailedError) and self.statuses[key].outcome == "unchanged"
        ]
        for instance_id in lost:
            self._say(f"{self.failures.pop(instance_id)} Taking a new set of {instance_id}.")
            del self.statuses[instance_id]
        return lost

    def _find_surplus(self, ec2: Ec2) -> None:
        """Look for sets that other runs have taken for the same change meanwhile: of several, the oldest counts."""
        seen = self.statuses.keys() - self.failures.keys()
        done = [inputs for inputs in self.request.wanted if inputs.instance_id in seen]
        if self._is_interrupted or not done:
            return
        try:
            found_of = find_sets_by_token(ec2, [inputs.token for inputs in done])
            several = [inputs for inputs in done if len(found_of.get(inputs.token, ())) > 1]
            fitting = find_all_fitting(ec2, several, within=self.request.served_within) if several else {}
        except errors.SnapsetError as error:
            self._say(f"warning: whether another run took sets at the same time is not known: {error}")
            return
        replaced = False
        for instance_id, found in fitting.items():
            whole = [one for one in found if one.is_whole]
            if whole and whole[0].start_time < self.statuses[instance_id].set.start_time:
                self._keep(SetStatus(set=whole[0], outcome="unchanged"))
                replaced = True
            first = self.statuses[instance_id].set.set_id
            self._surplus[instance_id] = [one.set_id for one in whole if one.set_id != first]
        if replaced:
            self._wait(ec2)
        for instance_id, surplus in self._surplus.items():
            first = self.statuses[instance_id].set.set_id
            for set_id in surplus:
                self._say(f"warning: {set_id} of {instance_id} is surplus: {first} was taken for the same change")

    # Under the lock.

    def _record(self, missing: Sequence[str]) -> None:
        """Have the engine take the sets of these instances, and record them."""
        with _work_folder() as folder:
            # The look has waited for what cut-off runs took, so the provider need not.
            variables = {**environment(), "PULUMI_PYTHON_CMD": find_starter(), CUT_OFF: ""}
            workspace = Workspace(
                work_dir=folder,
                program=partial(self._program, missing),
                env_vars=variables,
                project_settings=automation.ProjectSettings(name=PROJECT, runtime="python"),
                pulumi_command=self._command,
            )
            # Keys in the environment would win over a profile there.
            config = {"aws:profile": self.request.profile} if self.request.profile else {}
            workspace.save_stack_settings(self.request.stack_name, automation.StackSettings(config=config))
            # A killed engine is reported in one line, below.
            warnings.filterwarnings("ignore", message="Error in event stream")
            try:
                stack = self._locking(lambda: self._open_stack(workspace))
                if workspace.existed and was_cut_off(workspace, self.request.stack_name, self._target):
                    variables[CUT_OFF] = "1"
                self._diagnostics.clear()
                watch = partial(self._on_event, missing)
                # Other changes may share the stack: leave their sets alone.
                self._locking(lambda: stack.up(on_event=watch, target=[self._target]))
            except automation.CommandError as error:
                # If the engine is too old, this raises the better explanation.
                self._command.find_version()
                raise self._failure(error) from error
            except errors.SnapsetError:
                if not self._is_interrupted:
                    raise
            finally:
                self._end_program()

    def _locking(self, attempt: Callable[[], _T]) -> _T:
        return wait_for_lock(
            attempt, timeout=self.request.lock_timeout, interrupted=self._command.interrupted, say=self._say
        )

    def _open_stack(self, workspace: Workspace) -> Stack:
        # Another run for the same change may have made it a moment ago.
        with suppress(automation.StackAlreadyExistsError):
            return Stack(self.request.stack_name, workspace)
        return Stack(self.request.stack_name, workspace)

    async def _program(self, missing: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        request = self.request
        # Without the component around it, the engine has half as much to record.
        taken = FleetSet(
            request.resource_name,
            instance_ids=list(missing),
            region=request.region,
            change_id=request.change_id,
            served_within=request.served_within,
            **request.inputs,
        )
        sets, known = await taken.sets.future(), await await_outputs(taken)
        if not known["claim"]:
            # It failed: the engine says why.
            return
        failed = {key: errors.from_record(failure) for key, failure in known["failures"].items()}
        self.failures |= failed
        # The state also has what earlier runs recorded, of these and of other instances.
        taken_now = set(missing) - failed.keys()
        states = [state for key, state in current_sets({**known, "sets": sets}).items() if key in taken_now]
        done = await finish_sets(
            connect(request.settings, say=self._say),
            [status_from_state(state, trusts_answer=True) for state in states],
            claim=known["claim"],
            until="seen",
            timeout=request.timeout,
            serves_anyone=True,
            attributes={key: text for state in states for key, text in (state.get("volumes") or {}).items()},
            tell=self._say,
            report=self._keep,
        )
        # One instance's failure must not end the program: the others are still to be claimed.
        for status in done:
            self._keep(status)

    def _end_program(self) -> None:
        # After an interrupt the engine is gone, and the program would still wait for a set.
        if self._loop:
            # The loop is closed if the program has ended by itself.
            with suppress(RuntimeError):
                for task in asyncio.all_tasks(self._loop):
                    self._loop.call_soon_threadsafe(task.cancel)

    @property
    def _target(self) -> str:
        stack = self.request.stack_name.rsplit("/", 1)[-1]
        return f"urn:pulumi:{stack}::{PROJECT}::{TYPE}::{self.request.resource_name}"

    # What the engine says.

    def _on_event(self, missing: Sequence[str], event: automation.EngineEvent) -> None:
        step = event.resource_pre_event.metadata if event.resource_pre_event else None
        if step and step.type == TYPE and step.op in (automation.OpType.CREATE, automation.OpType.UPDATE):
            number = f"sets of {len(missing)} instances" if len(missing) > 1 else f"a set of {missing[0]}"
            self._say(f"taking {number}")
        if diagnostic := event.diagnostic_event:
            text = re.sub(r"<\{%.*?%\}>", "", diagnostic.message).strip()
            if diagnostic.severity == "error":
                self._diagnostics.append(text)
            elif diagnostic.severity in ("info", "info#err", "warning") and text:
                self._say(text)

    def _failure(self, error: automation.CommandError) -> errors.SnapsetError:
        """Return why the run failed as a whole."""
        for text in self._diagnostics:
            if known := errors.parse_shown(text):
                return known
            if match := re.search(r"property (\S+) value .* has a problem: (.*)", text, re.DOTALL):
                return errors.InputError(f"reading {match[1]}: {match[2].strip()}.")
        doing, clear_it = f"updating stack {self.request.stack_name}", f"clear its lock first: {self.unlock_command}"
        if isinstance(error, automation.ConcurrentUpdateError):
            return errors.LockedError(
                f"{doing}: {describe_locks(locks_in(str(error)))}. Wait for that run to end, and run this again; "
                f"if it was killed, {clear_it}"
            )
        if killed := re.search(r"code: -(\d+)", str(error)):
            return errors.SnapsetError(
                f"{doing}: the Pulumi engine was ended by signal {killed[1]}. The next run with --change-id "
                f"{self.request.change_id} adopts a set that was taken; if the stack is locked then, {clear_it}"
            )
        why = self._diagnostics[0] if self._diagnostics else last_error(error)
        if _NO_BACKEND.search(why):
            why += ". Check PULUMI_BACKEND_URL."
        if is_unreadable(why):
            why += f". If a run was killed while it wrote its lock, {clear_it}"
        return errors.SnapsetError(f"{doing}: {why}")

    @property
    def unlock_command(self) -> str:
        """What clears the lock of the stack."""
        change = ["--change-id", self.request.change_id, "--region", self.request.region]
        which = ["--stack", self.request.stack] if self.request.stack else change
        return shlex.join(["snapset", "unlock", *which])


@contextmanager
def _work_folder() -> Iterator[str]:
    """Make a folder for the engine's files, and remove those that killed runs have left behind a day ago."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _OLD_FOLDER_SECONDS and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder)
    with folder_used_once(_FOLDERS) as made:
        yield made
