"""`InstanceSnapshots`: what people put in their stacks, beside an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pulumi
from typing_extensions import Required, TypedDict, Unpack

from snapset import errors
from snapset.resources.aws_provider import find_provider
from snapset.resources.claim_and_wait import claim_and_wait
from snapset.resources.snapshot_set import SnapshotSet
from snapset.retry import parse_duration
from snapset.sets.model import SnapshotRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_TIMEOUT = "2h"


class InstanceSnapshotsArgs(TypedDict, total=False):
    """The inputs of `InstanceSnapshots`."""

    instance: Required[pulumi.Input[str] | pulumi.CustomResource]
    """An `aws.ec2.Instance`, or the id of an instance."""
    exclude_boot_volume: pulumi.Input[bool] | None
    """Leave the root volume out."""
    exclude_data_volume_ids: pulumi.Input[Sequence[pulumi.Input[str]]] | None
    """Data volumes to leave out, at most 40."""
    description: pulumi.Input[str] | None
    """For every snapshot, at most 255 characters."""
    tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    """For every snapshot, at most 40; `aws:` and `snapset:` keys are reserved."""
    copy_tags_from_source: pulumi.Input[Literal["volume"]] | None
    """`volume` copies each volume's own tags to its snapshot."""
    outpost_arn: pulumi.Input[str] | None
    """The instance's Outpost, to store the snapshots there instead of in its Region."""
    location: pulumi.Input[Literal["regional", "local"]] | None
    """Where the snapshots of an instance in a Local Zone are stored."""
    region: pulumi.Input[str] | None
    """Where the instance runs; its own Region, or the stack's `aws:region`, if left out."""
    triggers: Any
    """Any value; a change of it means a new set."""
    change_id: pulumi.Input[str] | None
    """The change that the set is for, such as a commit: while it stays the same, the set is kept, whatever else
    changes; another one means a new set. In the tag `snapset:change`."""
    on_delete: pulumi.Input[Literal["retain", "delete"]] | None
    """`retain` (default) or `delete` the snapshots when the resource is replaced or deleted."""
    wait: bool | None
    """Wait until the set has completed (default), or only until it is taken."""
    wait_timeout: str | None
    """How long to wait, such as `90s`, `30m` or `2h` (default)."""


class InstanceSnapshots(pulumi.ComponentResource):
    """A crash-consistent set of snapshots of all volumes of an instance, taken in one call.

    Create-only: the set is taken when the resource is created, and again, as a new set, when an input that shaped
    it changes. The old set stays in AWS unless `on_delete` is `delete`.
    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-creating-snapshot.html#ebs-create-snapshot-multi-volume

    Attributes:
        set_id: `set-` and 17 hex digits.
        snapshot_ids: the root volume's snapshot first, then by device.
        snapshots: one record a snapshot, in the same order, with its state at the end of the run.
        region: where the set is.
        owner_id: the AWS account that owns it.
        start_time: ISO 8601 UTC; the same for the whole set.
        completed: true once every snapshot has completed; without `wait`, whether it had when the set was recorded.
    """

    set_id: pulumi.Output[str]
    snapshot_ids: pulumi.Output[list[str]]
    snapshots: pulumi.Output[list[SnapshotRecord]]
    region: pulumi.Output[str]
    owner_id: pulumi.Output[str]
    start_time: pulumi.Output[str]
    completed: pulumi.Output[bool]

    def __init__(
        self,
        name: str,
        args: InstanceSnapshotsArgs | None = None,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[InstanceSnapshotsArgs],
    ) -> None:
        """Declare the set.

        Args:
            name: the resource's name.
            args: the inputs as one value; the same as keywords.
            opts: Pulumi's resource options. The calls follow an `aws.Provider` in them, else the instance's own.
            inputs: the inputs as keywords; see `InstanceSnapshotsArgs`.

        Raises:
            RunError: `wait_timeout` is not a duration.
        """
        super().__init__("snapset:index:InstanceSnapshots", name, {}, opts)
        given: dict[str, Any] = {**(args or {}), **inputs}  # type: ignore[dict-item]
        instance = given.pop("instance")
        wait: bool = given.pop("wait", None) is not False
        try:
            timeout = parse_duration(given.pop("wait_timeout", None) or DEFAULT_TIMEOUT, name="wait_timeout")
        except errors.InputError as error:
            raise pulumi.RunError(errors.show(error)) from None
        provider = find_provider(opts, instance)
        if isinstance(instance, pulumi.CustomResource):
            given["region"] = given.get("region") or getattr(instance, "region", None)
            instance = instance.id
        self.set: SnapshotSet = SnapshotSet(
            name, instance_id=instance, **given, opts=pulumi.ResourceOptions(parent=self, provider=provider)
        )
        self.set_id = self.set.set_id
        self.snapshot_ids = self.set.snapshot_ids
        self.region = self.set.region
        self.owner_id = self.set.owner_id
        self.start_time = self.set.start_time
        self.finished = claim_and_wait(self.set, wait=wait, timeout=timeout)
        self.snapshots = self.finished.apply(lambda finished: finished.set.records())
        self.completed = self.finished.apply(lambda finished: finished.completed)
        self.register_outputs(
            {
                "set_id": self.set_id,
                "snapshot_ids": self.snapshot_ids,
                "snapshots": self.snapshots,
                "region": self.region,
                "owner_id": self.owner_id,
                "start_time": self.start_time,
                "completed": self.completed,
            }
        )
