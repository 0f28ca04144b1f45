"""`backup_before_change`: a set is taken of an instance before an update or delete of it goes ahead.

https://www.pulumi.com/docs/iac/concepts/resources/options/hooks/
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pulumi

from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.aws.session import find_region
from snapset.resources.aws_provider import settings_of
from snapset.resources.context import end_quietly_on_interrupt, is_mocked, waiting
from snapset.retry import Retry, parse_duration
from snapset.rules import UNKNOWN
from snapset.sets import preflight
from snapset.sets import tags as tag_rules
from snapset.sets.claim import claim_set
from snapset.sets.create import create_set
from snapset.sets.inputs import SetInputs, find_problems, parse
from snapset.sets.model import SnapshotSet
from snapset.sets.wait import poller_for, run_in_thread, wait_for_set

Change = Literal["update", "delete"]

_INSTANCE_TYPE = "aws:ec2/instance:Instance"


def backup_before_change(
    name: str = "backup-before-change",
    *,
    on: Sequence[Change] = ("update", "delete"),
    on_failure: Literal["block", "warn"] = "block",
    wait: bool = False,
    wait_timeout: str = "2h",
    exclude_boot_volume: bool = False,
    exclude_data_volume_ids: Sequence[str] = (),
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    copy_tags_from_source: Literal["volume"] | None = None,
    provider: pulumi.ProviderResource | None = None,
) -> pulumi.ResourceOptions:
    """Return options that guard an `aws.ec2.Instance`: before a change of it goes ahead, a set of it is taken.

    A replacement deletes the old instance, so `delete` guards it too. Give the same options to the instance's
    `aws.ec2.VolumeAttachment`s: Pulumi deletes those first; a set taken after that would miss their volumes.
    One run takes one set of an instance. If a run fails after the set was taken, its repetition adopts that set.

    Args:
        name: names the hooks; unique in the program.
        on: the kinds of change to guard against.
        on_failure: `block` the change if the set can't be taken, or `warn` and let it go ahead.
        wait: wait until the set has completed, not only until it is taken; its content is fixed by then.
        wait_timeout: how long, such as `90s`, `30m` or `2h`.
        exclude_boot_volume: leave the root volume out.
        exclude_data_volume_ids: data volumes to leave out, at most 40.
        description: for every snapshot, at most 255 characters; the change if left out.
        tags: for every snapshot, at most 40.
        copy_tags_from_source: `volume` copies each volume's own tags to its snapshot.
        provider: the instance's `aws.Provider`, if it has one of its own; the options give it to the instance, too.

    Raises:
        RunError: an option has an invalid value. Pulumi shows it in one line, where it would show a traceback.
    """
    shape = {
        "exclude_boot_volume": exclude_boot_volume,
        "exclude_data_volume_ids": list(exclude_data_volume_ids),
        "description": description,
        "tags": dict(tags or {}),
        "copy_tags_from_source": copy_tags_from_source,
    }
    try:
        _refuse_problems(shape, on=on, on_failure=on_failure)
        timeout = parse_duration(wait_timeout, name="backup_before_change: wait_timeout")
        retry = Retry.from_environment(pulumi.log.info)
    except errors.InputError as error:
        raise pulumi.RunError(errors.show(error)) from None
    guard = _Guard(
        shape=shape,
        timeout=timeout if wait else None,
        blocks=on_failure == "block",
        scope=f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}/{name}",
        provider=provider,
        retry=retry,
    )
    if is_mocked():
        # Nothing calls hooks there, and Pulumi would serve them in a thread that outlives the test.
        return pulumi.ResourceOptions(provider=provider)
    end_quietly_on_interrupt()
    before = pulumi.ResourceHook(f"{name}-before", guard.before, pulumi.ResourceHookOptions(on_dry_run=True))
    after = pulumi.ResourceHook(f"{name}-after", guard.after)
    attached = pulumi.ResourceHook(f"{name}-attached", guard.attached)
    updates, deletes = "update" in on, "delete" in on
    return pulumi.ResourceOptions(
        provider=provider,
        hooks=pulumi.ResourceHookBinding(
            before_update=[before] if updates else None,
            after_update=[after] if updates else None,
            before_delete=[before] if deletes else None,
            after_delete=[after] if deletes else None,
            after_create=[attached] if deletes else None,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Backup:
    """A set that this run took or adopted, and where."""

    ec2: Ec2
    set: SnapshotSet


@dataclass(kw_only=True)
class _Guard:
    shape: Mapping[str, Any]
    timeout: float | None
    blocks: bool
    scope: str
    provider: pulumi.ProviderResource | None
    retry: Retry
    taken: dict[str, asyncio.Task[_Backup]] = field(default_factory=dict)

    async def before(self, args: pulumi.ResourceHookArgs) -> None:
        """Take the set of the instance that is about to change, once in this run."""
        instance_id = _instance_of(args)
        change: Change = "update" if args.new_inputs is not None else "delete"
        what = f"before the {change} of {args.name}"
        try:
            if pulumi.runtime.is_dry_run():
                await settings_of(self.provider)
                pulumi.log.info(f"would take a snapshot set of {instance_id} {what}")
                return
            if instance_id not in self.taken:
                self.taken[instance_id] = asyncio.create_task(self._take(instance_id, args, change))
            taken = await self.taken[instance_id]
            pulumi.log.info(f"{taken.set.set_id} of {instance_id} is taken {what}")
        except errors.SnapsetError as error:
            if self.blocks:
                raise pulumi.RunError(f"{instance_id} is not changed: {errors.show(error)}") from None
            pulumi.log.warn(f"{instance_id}: the change goes ahead although its backup failed: {errors.show(error)}")

    async def after(self, args: pulumi.ResourceHookArgs) -> None:
        """Claim the set once the change has happened: a later change must not adopt it."""
        if args.type == _INSTANCE_TYPE:
            await self._claim(args.id)

    async def attached(self, args: pulumi.ResourceHookArgs) -> None:
        """Claim the set once a volume is attached anew: the change was of the attachment, and the instance stays."""
        if args.type != _INSTANCE_TYPE:
            await self._claim(str((args.new_outputs or {})["instanceId"]))

    async def _claim(self, instance_id: str) -> None:
        task = self.taken.get(instance_id)
        if task is None or not task.done() or task.exception() is not None:
            return
        backup = task.result()
        try:
            claim = tag_rules.new_claim()
            await run_in_thread(lambda: claim_set(backup.ec2, backup.set, claim=claim, retry=self.retry))
        except errors.SnapsetError as error:
            pulumi.log.warn(f"{backup.set.set_id} is taken, but its snapshots could not be tagged: {error}")

    async def _take(self, instance_id: str, args: pulumi.ResourceHookArgs, change: Change) -> _Backup:
        settings = await settings_of(self.provider)
        region = (args.old_outputs or {}).get("region") or find_region(settings)
        ec2 = connect(settings.in_region(region))
        inputs = self._inputs(instance_id, args, change, region=region, default_tags=settings.default_tags)

        def take() -> SnapshotSet:
            volumes = preflight.volumes_of(inputs, ec2.describe_instance(instance_id))
            # A repeated delete finds fewer volumes than the run that began it, and must adopt that run's set.
            expected = volumes if change == "update" else None
            taken = create_set(ec2, inputs, volumes=expected, retry=self.retry).set
            return taken.with_devices_of(volumes)

        taken = await run_in_thread(take)
        if self.timeout is not None:
            with waiting():
                await wait_for_set(
                    poller_for(ec2).look,
                    taken,
                    seen=taken,
                    timeout=self.timeout,
                    retry=self.retry.saying(lambda text: pulumi.log.info(text, ephemeral=True)),
                )
        return _Backup(ec2=ec2, set=taken)

    def _inputs(
        self,
        instance_id: str,
        args: pulumi.ResourceHookArgs,
        change: Change,
        *,
        region: str,
        default_tags: Mapping[str, str],
    ) -> SetInputs:
        # A delete happens once in an instance's life; an update is told from the next one by what it changes.
        difference = [args.old_inputs, args.new_inputs] if change == "update" else []
        fingerprint = hashlib.sha256(json.dumps(difference, sort_keys=True, default=str).encode()).hexdigest()
        about = f"before the update of {args.name}" if change == "update" else f"before {instance_id} is deleted"
        return parse(
            {
                **self.shape,
                "scope": self.scope,
                "region": region,
                "instance_id": instance_id,
                "tags": {**default_tags, **self.shape["tags"]},
                "description": self.shape["description"] or about,
                "triggers": [change, fingerprint],
                "change_id": f"{change} of {args.name}" if change == "update" else f"delete of {instance_id}",
            }
        )


def _refuse_problems(shape: Mapping[str, Any], *, on: Sequence[str], on_failure: str) -> None:
    doing = "reading backup_before_change"
    if isinstance(on, str) or not on or set(on) - set(get_args(Change)):
        raise errors.InputError(f"{doing}: on is {on!r}. Give a list of {' and '.join(get_args(Change))}, or of one.")
    if on_failure not in ("block", "warn"):
        raise errors.InputError(f"{doing}: on_failure is {on_failure!r}. Use block or warn.")
    for problem in find_problems({**shape, "instance_id": UNKNOWN}):
        raise errors.InputError(f"{doing}: {problem.property}: {problem.reason}.")


def _instance_of(args: pulumi.ResourceHookArgs) -> str:
    if args.type == _INSTANCE_TYPE:
        return args.id
    return str((args.old_outputs or {})["instanceId"])
