"""`RestoredVolumes`: the volumes of a set again, attached where they were."""

from __future__ import annotations

from typing import Any, cast

import pulumi
from typing_extensions import Required, Unpack

from snapset.resources.aws_provider import find_provider
from snapset.resources.claim_and_wait import claim_and_wait
from snapset.resources.context import gather_inputs, ignored_of, in_one_line
from snapset.resources.instance_snapshots import DEFAULT_TIMEOUT, InstanceSnapshots
from snapset.resources.restored_set import RestoreArgs, RestoredSet
from snapset.resources.snapshot_set import SnapshotSet
from snapset.restore.volumes import VolumeRecord
from snapset.retry import parse_duration


class RestoredVolumesArgs(RestoreArgs, total=False):
    """The inputs of `RestoredVolumes`."""

    source: Required[pulumi.Input[str] | InstanceSnapshots | SnapshotSet]
    """An `InstanceSnapshots`, a `SnapshotSet`, or the id of a set, which is enough where the instance, and the state
    that took the set, are gone."""
    instance: pulumi.Input[str] | pulumi.CustomResource | None
    """An `aws.ec2.Instance`, or the id of an instance, to attach the volumes to, at the devices that they had; they
    are made in its zone."""


class RestoredVolumes(pulumi.ComponentResource):
    """One volume of each snapshot of a set, made in a zone, or attached to an instance where they were.

    The volumes have the sizes and the tags of their snapshots. A change of any input except `tags`, or another set
    from `source`, replaces the volumes: what was written to them since is lost. Give the option `protect` to volumes
    that are in use.
    """

    set_id: pulumi.Output[str]
    """The set."""
    volume_ids: pulumi.Output[list[str]]
    """The root volume's first, then by device."""
    volumes: pulumi.Output[list[VolumeRecord]]
    """One record a volume, in the same order."""
    region: pulumi.Output[str]
    """Where they are."""

    @in_one_line
    def __init__(
        self,
        name: str,
        args: RestoredVolumesArgs | None = None,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[RestoredVolumesArgs],
    ) -> None:
        """Declare the volumes.

        Args:
            name: the resource's name.
            args: the inputs as one value; the same as keywords.
            opts: Pulumi's resource options. The calls follow an `aws.Provider` in them, else the instance's own, else
                the source's.
            inputs: the inputs as keywords; see `RestoredVolumesArgs`.

        Raises:
            RunError: an input is unknown or missing.
        """
        super().__init__("snapset:index:RestoredVolumes", name, {}, opts)
        given = gather_inputs(args, inputs, RestoredVolumesArgs, of=type(self).__name__, needs="source")
        source, instance = given.pop("source"), given.pop("instance", None)
        taken = source.set if isinstance(source, InstanceSnapshots) else source
        provider = find_provider(opts, instance, taken)
        if isinstance(instance, pulumi.CustomResource):
            given["region"] = given.get("region") or getattr(instance, "region", None)
            instance = instance.id
        if isinstance(source, (InstanceSnapshots, SnapshotSet)):
            given["region"] = given.get("region") or source.region
            given["devices"] = source.snapshots.apply(_devices)
            source = _when_completed(source)
        self.restored: RestoredSet = RestoredSet(
            name,
            set_id=source,
            instance_id=instance,
            **given,
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=provider,
                ignore_changes=ignored_of(opts, source="set_id", instance="instance_id"),
            ),
        )
        self.set_id = self.restored.set_id
        self.volume_ids = self.restored.volume_ids
        self.volumes = self.restored.volumes.apply(lambda volumes: [_as_recorded(volume) for volume in volumes or []])
        self.region = self.restored.region
        outputs = ("set_id", "volume_ids", "volumes", "region")
        self.register_outputs({name: getattr(self, name) for name in outputs})


def _when_completed(source: InstanceSnapshots | SnapshotSet) -> pulumi.Output[str]:
    """Return the id of the set once it has completed; at once if the source does not wait."""
    if isinstance(source, SnapshotSet):
        timeout = parse_duration(DEFAULT_TIMEOUT, name="wait_timeout")
        finished = claim_and_wait(source, wait=True, timeout=timeout)
    else:
        finished = source.finished
    return pulumi.Output.all(source.set_id, finished).apply(lambda both: str(both[0]))


def _devices(records: Any) -> dict[str, str]:
    return {record["snapshot_id"]: record["device_name"] for record in records or []}


def _as_recorded(volume: Any) -> VolumeRecord:
    # Pulumi carries every number as a float.
    return cast(VolumeRecord, {**volume, "size_gib": int(volume["size_gib"])})
