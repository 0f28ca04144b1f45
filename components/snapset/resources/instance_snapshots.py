"""`InstanceSnapshots`: what people put in their stacks, beside an instance."""

from __future__ import annotations

import pulumi
from typing_extensions import Required, Unpack

from snapset.resources.arguments import bad_call_as_error, gather_inputs, options_inside, take_wait
from snapset.resources.aws_provider import find_provider
from snapset.resources.claim_and_wait import claim_and_wait
from snapset.resources.program import is_mocked
from snapset.resources.set_args import SetArgs
from snapset.resources.snapshot_set import SnapshotSet
from snapset.sets.model import SnapshotRecord


class InstanceSnapshotsArgs(SetArgs, total=False):
    """The inputs of `InstanceSnapshots`."""

    instance: Required[pulumi.Input[str] | pulumi.CustomResource]
    """An `aws.ec2.Instance`, or the id of an instance."""
    wait: bool | None
    """Wait until the set has completed (default), or only until it is taken."""
    wait_timeout: str | None
    """How long to wait, such as `90s`, `30m` or `2h` (default)."""


class InstanceSnapshots(pulumi.ComponentResource):
    """A crash-consistent set of snapshots of all volumes of an instance, taken in one call.

    Create-only: the set is taken when the resource is created, and again, as a new set, when an input that shaped
    it changes. The old set stays in AWS.
    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-creating-snapshot.html#ebs-create-snapshot-multi-volume
    """

    set_id: pulumi.Output[str]
    """`set-` and 17 hex digits."""
    snapshot_ids: pulumi.Output[list[str]]
    """The root volume's snapshot first, then by device."""
    snapshots: pulumi.Output[list[SnapshotRecord]]
    """One record a snapshot, in the same order, with its state at the end of the run."""
    region: pulumi.Output[str]
    """Where the set is."""
    owner_id: pulumi.Output[str]
    """The AWS account that owns it."""
    start_time: pulumi.Output[str]
    """ISO 8601 UTC; the same for the whole set."""
    completed: pulumi.Output[bool]
    """True once every snapshot has completed; without `wait`, whether it had when the set was recorded."""
    change_id: pulumi.Output[str | None]
    """The change that the set was taken for, known once the set has completed; never if it fails. A run that leaves
    the set out (`--target`, `--exclude`) has the change of the last run here."""

    @bad_call_as_error
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
            RunError: an input is unknown or missing, or has a value that none of its kind can have.
        """
        super().__init__("snapset:index:InstanceSnapshots", name, {}, opts)
        of = f"{type(self).__name__} {name}"
        given = gather_inputs(args, inputs, InstanceSnapshotsArgs, of=of, needs="instance")
        instance, (wait, timeout) = given.pop("instance"), take_wait(given, of=of)
        provider = find_provider(opts, instance)
        if isinstance(instance, pulumi.CustomResource):
            given["region"] = given.get("region") or getattr(instance, "region", None)
            instance = instance.id
        self.set: SnapshotSet = SnapshotSet(
            name,
            instance_id=instance,
            **given,
            opts=options_inside(self, opts, provider, of=of, instance="instance_id"),
        )
        self.set_id = self.set.set_id
        self.snapshot_ids = self.set.snapshot_ids
        self.region = self.set.region
        self.owner_id = self.set.owner_id
        self.start_time = self.set.start_time
        self.finished = claim_and_wait(self.set, wait=wait, timeout=timeout)
        self.snapshots = self.finished.apply(lambda finished: finished.set.records())
        # A unit test's mocks know no snapshots.
        is_foreseen = wait and is_mocked()
        self.completed = self.finished.apply(lambda finished: finished.completed or is_foreseen)
        self.change_id = self.finished.apply(lambda _: self.set.change_id)
        self.register_outputs({name: getattr(self, name) for name in InstanceSnapshots.__annotations__})
