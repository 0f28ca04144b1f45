"""`backup_before_change`: a set is taken of an instance before an update or delete of it goes ahead.

https://www.pulumi.com/docs/iac/concepts/resources/options/hooks/
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import pulumi

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.errors import INVALID_INSTANCE_NOT_FOUND
from snapset.aws.records import Instance
from snapset.aws.session import find_region, refuse_other_account
from snapset.durations import parse_duration
from snapset.limits import Limits
from snapset.resources.arguments import bad_call_as_error
from snapset.resources.aws_provider import read_provider, settings_in
from snapset.resources.late_guard import find_unguarded
from snapset.resources.program import end_quietly_on_interrupt, is_mocked, say_in_program, waiting
from snapset.restore.way_back import rollback_command
from snapset.retry import Say
from snapset.rules import UNKNOWN
from snapset.sets import preflight
from snapset.sets import tags as tag_rules
from snapset.sets.claims import claim_set
from snapset.sets.inputs import SetInputs, check_inputs, parse, shape_of
from snapset.sets.model import SnapshotSet
from snapset.sets.take import take_set
from snapset.sets.threads import run_in_thread
from snapset.sets.wait import wait_for_set
from snapset.text import DEBUG, clean, show_traceback

Change = Literal["update", "delete"]

_INSTANCE = "aws:ec2/instance:Instance"
_ATTACHMENT = "aws:ec2/volumeAttachment:VolumeAttachment"

_LONGEST_DESCRIPTION = 255
# What the name of a guard's hook ends with.
_HOOK = "-before"

# For so long an instance that EC2 does not know is looked for once more: a new one may not be visible yet.
_LOOK_AGAIN_SECONDS = 5.0

# The guards of each program by name: what it was called with, and what it returned. A program runs in one event loop.
_guards: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, tuple[Mapping[str, Any], pulumi.ResourceOptions]]] = (
    WeakKeyDictionary()
)


@bad_call_as_error
def backup_before_change(
    name: str = "backup-before-change",
    *,
    on: Sequence[Change] = ("update", "delete"),
    on_failure: Literal["block", "warn"] = "block",
    wait: bool = False,
    wait_timeout: str = "2h",
    exclude_boot_volume: bool = False,
    exclude_data_volume_ids: Sequence[str] = (),
    exclude_data_volume_tags: Mapping[str, str] | None = None,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    copy_tags_from_source: Literal["volume"] | None = None,
    copy_tags_from_instance: bool = False,
    provider: pulumi.ProviderResource | None = None,
) -> pulumi.ResourceOptions:
    """Return options that guard an `aws.ec2.Instance`: before a change of it goes ahead, a set of it is taken.

    A replacement deletes the old instance, so `delete` guards it too. Give the same options to the instance's
    `aws.ec2.VolumeAttachment`s: Pulumi deletes those first; a set taken after that would miss their volumes.
    One run takes one set of an instance, and every later run takes its own: a set shows the instance right before the
    change. An instance that is gone already needs none. Leave the guard in the program until the instance is deleted.

    Args:
        name: names the hook, which the state of the instance refers to until it is deleted: keep it. The same name
            again, with the same options, is the same guard; one with other options needs a name of its own.
        on: the kinds of change to guard against.
        on_failure: `block` the change if the set can't be taken, or `warn` and let it go ahead.
        wait: wait until the set has completed, not only until it is taken; its content is fixed by then.
        wait_timeout: how long, such as `90s`, `30m` or `2h`.
        exclude_boot_volume: leave the root volume out.
        exclude_data_volume_ids: data volumes to leave out, at most 40.
        exclude_data_volume_tags: leave out the data volumes that have one of these tags by then.
        description: for every snapshot, at most 255 characters; the change if left out.
        tags: for every snapshot, at most 25.
        copy_tags_from_source: `volume` copies each volume's own tags to its snapshot.
        copy_tags_from_instance: put the instance's tags on every snapshot; `tags` win.
        provider: the instance's `aws.Provider`, if it has one of its own; the options give it to the instance, too.

    Raises:
        RunError: an option has an invalid value, or the name is that of another guard. Pulumi shows it in one line,
            where it would show a traceback.
    """
    shape = {
        "exclude_boot_volume": exclude_boot_volume,
        "exclude_data_volume_ids": exclude_data_volume_ids,
        "exclude_data_volume_tags": exclude_data_volume_tags,
        "description": description,
        "tags": tags,
        "copy_tags_from_source": copy_tags_from_source,
        "copy_tags_from_instance": copy_tags_from_instance,
    }
    options = {
        **shape_of(shape),
        "on": set(on or ()),
        "on_failure": on_failure,
        "wait": wait,
        "wait_timeout": wait_timeout,
        "provider": provider,
    }
    try:
        _refuse_problems(shape, on=on, on_failure=on_failure, wait=wait)
        _refuse_wrong_types(name, provider)
        timeout = parse_duration(wait_timeout, name="backup_before_change: wait_timeout")
        limits = Limits.from_environment()
    except errors.InputError as error:
        raise pulumi.RunError(errors.show(error)) from None
    if is_mocked():
        # Nothing calls hooks there, and Pulumi would serve them in a thread that outlives the test.
        return pulumi.ResourceOptions(provider=provider)
    known_options, before = _guards.setdefault(asyncio.get_running_loop(), {}).get(name, (options, None))
    if known_options != options:
        reason = f"{name!r} is the name of another guard, with other options. Give this one a name of its own."
        raise pulumi.RunError(errors.show(errors.InputError(f"reading backup_before_change: {reason}")))
    if before is None:
        stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
        guard = _Guard(
            shape=shape,
            timeout=timeout if wait else None,
            blocks=on_failure == "block",
            # A set of an earlier run is never adopted: the instance may have changed since.
            scope=f"{stack}/{name}/{tag_rules.new_claim()}",
            provider_settings=read_provider(provider) if provider else None,
            limits=limits,
            say=say_in_program(),
        )
        end_quietly_on_interrupt()
        before = guard.options(name, on=on, provider=provider)
        _guards[asyncio.get_running_loop()][name] = (options, before)
    return before


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The change that a hook was called before."""

    instance_id: str
    change: Change
    name: str
    region: str | None
    # Whose instance it is, as far as the state says so.
    account: str
    # Of an attachment, which has no ARN: a volume that is seen is of these credentials' account.
    volume_id: str | None

    @classmethod
    def of(cls, args: pulumi.ResourceHookArgs, *, change: Change, old_id: str, outputs: Mapping[str, Any]) -> _Step:
        return cls(
            instance_id=old_id if args.type == _INSTANCE else str(outputs["instanceId"]),
            change=change,
            name=" ".join(clean(args.name).split()),
            region=outputs.get("region") or _part_of(outputs.get("arn"), 3),
            account=_part_of(outputs.get("arn"), 4) or "",
            volume_id=outputs.get("volumeId") if args.type == _ATTACHMENT else None,
        )

    def __str__(self) -> str:
        return f"the {self.change} of {self.name}"

    def way_back(self, set_id: str) -> str:
        """Return the command that goes back to the set. An instance that is deleted needs another in its place."""
        to = "NEW" if self.change == "delete" and not self.volume_id else ""
        return rollback_command(self.instance_id, set_id, region=self.region, to=to)


@dataclass(kw_only=True)
class _Guard:
    shape: Mapping[str, Any]
    timeout: float | None
    blocks: bool
    scope: str
    provider_settings: pulumi.Output[dict[str, Any]] | None
    limits: Limits
    say: Say
    # By instance: its set, or why there is nothing to take one of.
    taken: dict[str, asyncio.Task[SnapshotSet | str]] = field(default_factory=dict)

    # The instances that have a set of this run; in a preview, those that would have one.
    guarded: set[str] = field(default_factory=set)

    # The guarded resources that are deleted before they are created anew, as far as the program says so.
    deleted_first: set[tuple[str, str]] = field(default_factory=set)

    def options(
        self, name: str, *, on: Sequence[Change], provider: pulumi.ProviderResource | None
    ) -> pulumi.ResourceOptions:
        """Return the options of what is guarded."""
        in_previews = pulumi.ResourceHookOptions(on_dry_run=True)
        before = pulumi.ResourceHook(f"{name}{_HOOK}", self.before, in_previews)
        before_create = pulumi.ResourceHook(f"{name}-before-create", self.before_create, in_previews)
        hooks = pulumi.ResourceHookBinding(
            before_create=[before_create] if "delete" in on else None,
            before_update=[before] if "update" in on else None,
            before_delete=[before] if "delete" in on else None,
        )

        def note(args: pulumi.ResourceTransformationArgs) -> None:
            # What is inside the resource inherits this function, but not the hooks.
            given = args.opts.hooks
            if not given or before not in [*(given.before_update or []), *(given.before_delete or [])]:
                return
            if args.type_ not in (_INSTANCE, _ATTACHMENT):
                reason = f"its aws.ec2.VolumeAttachments, not {args.type_}: what is inside it would not be guarded"
                raise pulumi.RunError(
                    f"InputError: guarding {args.name}: backup_before_change guards aws.ec2.Instance and {reason}. "
                    "Give the options to the instance itself."
                )
            if args.opts.delete_before_replace:
                self.deleted_first.add((args.type_, args.name))

        return pulumi.ResourceOptions(provider=provider, hooks=hooks, transformations=[note])

    async def before_create(self, args: pulumi.ResourceHookArgs) -> None:
        """Guard the instance that the new one replaces, if the state does not know this guard yet."""
        hooks = [f"{name}{_HOOK}" for name in _guards[asyncio.get_running_loop()]]
        try:
            old = await find_unguarded(args.urn, hooks=hooks)
        except errors.SnapsetError as error:
            self._refuse(
                f"whether {args.name} replaces an instance without a guard is not known: {errors.show(error)} "
                'Have `pulumi` on PATH, or use on_failure="warn".'
            )
            return
        if old is None:
            return
        step = _Step.of(args, change="delete", old_id=old.id, outputs=old.outputs)
        if not old.is_deleted and (args.type, args.name) not in self.deleted_first:
            await self._guard(step)
        # An attachment goes before its instance does, whose set may have been taken by now.
        elif step.instance_id not in self.guarded:
            tense = "was" if old.is_deleted else "would be"
            self._refuse(
                f"InputError: guarding {args.name}: {step.instance_id} {tense} deleted without a set, since the "
                "guard came in the same run. Run `pulumi up` with the guard alone first, then with the replacement."
            )

    async def before(self, args: pulumi.ResourceHookArgs) -> None:
        """Take the set of the instance that is about to change, once in this run."""
        change: Change = "update" if args.new_inputs is not None else "delete"
        await self._guard(_Step.of(args, change=change, old_id=args.id, outputs=args.old_outputs or {}))

    async def _guard(self, step: _Step) -> None:
        act = self._check if pulumi.runtime.is_dry_run() else self._back_up
        try:
            await _fault_as_error(act, step)
            self.guarded.add(step.instance_id)
        except errors.SnapsetError as error:
            outcome = "is not changed" if self.blocks else "is changed although its backup failed"
            self._refuse(f"{step.instance_id} {outcome}: {errors.show(error)}")

    def _refuse(self, text: str) -> None:
        """Block the change that a hook was called before, or warn."""
        if self.blocks:
            raise pulumi.RunError(text) from None
        _log(pulumi.log.warn, text)

    async def _check(self, step: _Step) -> None:
        """Say what would be taken, and find what would stand in the way. Creates nothing."""
        ec2, inputs = await self._connect(step)
        if reason := await run_in_thread(lambda: self._find_nothing_to_lose(ec2, inputs, step)):
            _say_nothing_left(step, reason)
            return
        for problem in await run_in_thread(lambda: preflight.check_against_ec2(ec2, inputs)):
            raise problem.error or errors.InputError(f"checking the backup before {step}: {problem.reason}.")
        _log(pulumi.log.info, f"would take a snapshot set of {step.instance_id} before {step}")

    async def _back_up(self, step: _Step) -> None:
        is_first = step.instance_id not in self.taken
        if is_first:
            self.taken[step.instance_id] = asyncio.create_task(self._take(step))
        taken = await self.taken[step.instance_id]
        if isinstance(taken, str):
            # Of an attachment that may be so although its instance has more to lose.
            self.taken.pop(step.instance_id, None)
            _say_nothing_left(step, taken)
        else:
            way = f". To go back: {step.way_back(taken.set_id)}" if is_first else ""
            _log(pulumi.log.info, f"{taken.set_id} of {step.instance_id} is taken before {step}{way}")

    async def _take(self, step: _Step) -> SnapshotSet | str:
        ec2, inputs = await self._connect(step)

        def take() -> SnapshotSet | str:
            return self._find_nothing_to_lose(ec2, inputs, step) or take_set(ec2, inputs).set

        taken = await run_in_thread(take)
        if isinstance(taken, str):
            return taken
        await self._mark(ec2, taken)
        if self.timeout is not None:
            await self._wait(ec2, taken, timeout=self.timeout)
        return taken

    async def _mark(self, ec2: Ec2, taken: SnapshotSet) -> None:
        """Claim the set at once, whatever becomes of the change: it can be restored, and nobody adopts it."""
        claim = tag_rules.new_claim()
        try:
            await run_in_thread(lambda: claim_set(ec2, taken, claim=claim))
        except errors.SnapsetError as error:
            _log(pulumi.log.warn, f"{taken.set_id} is taken, but its snapshots could not be tagged: {error}")

    async def _wait(self, ec2: Ec2, taken: SnapshotSet, *, timeout: float) -> None:
        try:
            with waiting():
                await wait_for_set(ec2.saying(say_in_program(ephemeral=True)), taken, timeout=timeout)
        except errors.WaitTimeoutError as error:
            raise errors.WaitTimeoutError(
                f"{error} This change takes a set of its own in every run: give a longer wait_timeout, or leave wait "
                "out, since the content of a set is fixed once it is taken."
            ) from error

    def _find_nothing_to_lose(self, ec2: Ec2, inputs: SetInputs, step: _Step) -> str | None:
        """Return why no set is needed, if so.

        Raises:
            SnapsetError: the answer of AWS; or the instance can't be found, and need not be gone.
        """
        instance = self._find(ec2, step)
        if instance is None or instance.is_gone:
            return "is gone"
        if step.change == "delete" and not preflight.resolve_volumes(ec2, inputs, instance):
            # A run that was cut off may have detached the data volumes, and has taken its set.
            return "has no volume left" if not instance.devices else "has no volume left that is not excluded"
        return None

    def _find(self, ec2: Ec2, step: _Step) -> Instance | None:
        """Return the instance, or None if there is none any more, which only a delete can bear."""
        give_up = time.monotonic() + _LOOK_AGAIN_SECONDS
        while True:
            try:
                return ec2.describe_instance(step.instance_id)
            except errors.NotFoundError as error:
                if error.code != INVALID_INSTANCE_NOT_FOUND:
                    raise
                if time.monotonic() > give_up:
                    self._refuse_if_not_gone(ec2, step, error)
                    return None
            time.sleep(1)

    def _refuse_if_not_gone(self, ec2: Ec2, step: _Step, error: errors.SnapsetError) -> None:
        """Raise an error unless the instance's account was asked: only then is it gone."""
        advice = "If it has an aws.Provider of its own, name that: backup_before_change(provider=...)."
        if step.change == "update":
            raise errors.NotFoundError(f"{error} {advice}", code=error.code)
        if step.volume_id and ec2.describe_volumes([step.volume_id]):
            return
        try:
            refuse_other_account(ec2.settings, step.account, doing=f"describing instance {step.instance_id}")
        except errors.NotFoundError as refusal:
            raise errors.NotFoundError(f"{refusal} {advice}", code=error.code) from error

    async def _connect(self, step: _Step) -> tuple[Ec2, SetInputs]:
        settings = await settings_in(self.provider_settings)
        region = step.region or find_region(settings)
        inputs = parse(
            {
                **self.shape,
                "scope": self.scope,
                "region": region,
                "instance_id": step.instance_id,
                "description": self.shape["description"] or f"before {step}"[:_LONGEST_DESCRIPTION],
                "change_id": f"{step.change} of {step.name}",
            }
        )
        ec2 = Ec2(settings.in_region(region), self.limits, self.say)
        return ec2, replace(inputs, default_tags=settings.default_tags)


async def _fault_as_error(act: Callable[[_Step], Awaitable[None]], step: _Step) -> None:
    """Report a fault of snapset's own as one line, where Pulumi would show its traceback."""
    try:
        await act(step)
    except errors.SnapsetError:
        raise
    except Exception as error:
        show_traceback()
        where = f"Set {DEBUG}=1 to see where."
        raise errors.SnapsetError(f"backing up before {step}: {type(error).__name__}: {error}. {where}") from error


def _log(show: Callable[[str], None], text: str) -> None:
    # Not `say`: a hook may be called after the program's last line.
    show(clean(text))


def _say_nothing_left(step: _Step, reason: str) -> None:
    _log(pulumi.log.info, f"{step.instance_id} {reason}: no snapshot set is taken before {step}")


def _part_of(arn: Any, at: int) -> str | None:
    """Return a part of an ARN: the Region is at 3, the account at 4; None if it is not known.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
    """
    parts = arn.split(":") if isinstance(arn, str) else []
    return parts[at] or None if len(parts) > at else None


def _refuse_problems(shape: Mapping[str, Any], *, on: Sequence[str], on_failure: str, wait: object) -> None:
    doing = "reading backup_before_change"
    if isinstance(on, str) or not on or set(on) - set(get_args(Change)):
        raise errors.InputError(f"{doing}: on is {on!r}. Give a list of {' and '.join(get_args(Change))}, or of one.")
    if on_failure not in ("block", "warn"):
        raise errors.InputError(f"{doing}: on_failure is {on_failure!r}. Use block or warn.")
    if not isinstance(wait, bool):
        raise errors.InputError(f"{doing}: wait is neither True nor False.")
    if outputs := ", ".join(name for name, value in shape.items() if _has_output(value)):
        raise errors.InputError(
            f"{doing}: {outputs}: an Output is not known when the change begins. Give plain values."
        )
    for problem in check_inputs({**shape, "instance_id": UNKNOWN}):
        raise errors.InputError(f"{doing}: {problem.property}: {problem.reason}.")


def _refuse_wrong_types(name: object, provider: object) -> None:
    doing = "reading backup_before_change"
    if not isinstance(name, str) or not name.strip():
        raise errors.InputError(f"{doing}: name is {name!r}. Give a string; it names the hook in the state.")
    if provider is not None and getattr(provider, "package", None) != "aws":
        raise errors.InputError(f"{doing}: provider is of type {type(provider).__name__}. Give an aws.Provider.")


def _has_output(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_output, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_output, value))
    return isinstance(value, pulumi.Output)
