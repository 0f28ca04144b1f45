"""`RestoredVolumes`: the volumes of a set again, attached where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import pulumi
from pulumi.dynamic import Resource
from typing_extensions import Required, TypedDict, Unpack

from snapset.resources.aws_provider import find_provider, inputs_of
from snapset.resources.claim_and_wait import finish
from snapset.resources.instance_snapshots import DEFAULT_TIMEOUT, InstanceSnapshots
from snapset.resources.restored_set import RestoredSetProvider
from snapset.resources.snapshot_set import SnapshotSet
from snapset.retry import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping


class VolumeRecord(TypedDict):
    """One restored volume, as the outputs give it. `size_gib` in GiB, `state` is EC2's."""

    volume_id: str
    snapshot_id: str
    device_name: str
    size_gib: int
    availability_zone: str
    state: str


class RestoredVolumesArgs(TypedDict, total=False):
    """The inputs of `RestoredVolumes`.

    Attributes:
        source: an `InstanceSnapshots`, a `SnapshotSet`, or the id of a set, which is enough where the instance, and
            the state that took the set, are gone.
        instance: an `aws.ec2.Instance`, or the id of an instance, to attach the volumes to, at the devices that they
            had; they are made in its zone.
        availability_zone: instead of `instance`: where to make the volumes, attached to none.
        exclude_boot_volume: leave the root volume's snapshot out.
        volume_type: of every volume, such as `gp3`; AWS's default if left out.
        iops: I/O operations per second of every volume; for `io1`, `io2` and `gp3`.
        throughput: of every volume, in MiB/s; for `gp3`.
        encrypted: encrypt every volume; those of encrypted snapshots are in any case.
        kms_key_id: the key to encrypt with, which implies `encrypted`.
        tags: for every volume, beside those that its snapshot has.
        region: where the set is; the source's Region, or the stack's `aws:region`, if left out.
    """

    source: Required[pulumi.Input[str] | InstanceSnapshots | SnapshotSet]
    instance: pulumi.Input[str] | pulumi.CustomResource | None
    availability_zone: pulumi.Input[str] | None
    exclude_boot_volume: pulumi.Input[bool] | None
    volume_type: pulumi.Input[Literal["gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"]] | None
    iops: pulumi.Input[int] | None
    throughput: pulumi.Input[int] | None
    encrypted: pulumi.Input[bool] | None
    kms_key_id: pulumi.Input[str] | None
    tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None
    region: pulumi.Input[str] | None


class RestoredSet(Resource, module="snapset", name="RestoredSet"):
    """The volumes of one set, attached to an instance or not. Most programs use `RestoredVolumes` instead.

    Create-only but for its tags: any other change replaces the volumes, and the old ones are deleted first.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html

    Attributes:
        set_id: the set.
        volume_ids: the root volume's first, then in the order of the devices.
        volumes: one record a volume, in the same order.
        region: where they are.
    """

    set_id: pulumi.Output[str]
    volume_ids: pulumi.Output[list[str]]
    volumes: pulumi.Output[list[dict[str, Any]]]
    region: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        set_id: pulumi.Input[str],
        instance_id: pulumi.Input[str] | None = None,
        availability_zone: pulumi.Input[str] | None = None,
        exclude_boot_volume: pulumi.Input[bool] | None = None,
        volume_type: pulumi.Input[str] | None = None,
        iops: pulumi.Input[int] | None = None,
        throughput: pulumi.Input[int] | None = None,
        encrypted: pulumi.Input[bool] | None = None,
        kms_key_id: pulumi.Input[str] | None = None,
        tags: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        devices: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        region: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the volumes.

        Args:
            name: the resource's name.
            set_id: the set.
            instance_id: the instance to attach them to.
            availability_zone: instead of `instance_id`: where to make them.
            exclude_boot_volume: leave the root volume's snapshot out.
            volume_type: of every volume; AWS's default if left out.
            iops: I/O operations per second of every volume.
            throughput: of every volume, in MiB/s.
            encrypted: encrypt every volume.
            kms_key_id: the key to encrypt with.
            tags: for every volume, beside those that its snapshot has.
            devices: the snapshots' devices by snapshot id, where their tags lack them.
            region: where the set is; the stack's `aws:region` if left out.
            opts: Pulumi's resource options; the calls follow an `aws.Provider` in them, or in the parent's.
        """
        inputs = {
            "scope": f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}/{name}",
            "set_id": set_id,
            "instance_id": instance_id,
            "availability_zone": availability_zone,
            "exclude_boot_volume": exclude_boot_volume,
            "volume_type": volume_type,
            "iops": iops,
            "throughput": throughput,
            "encrypted": encrypted,
            "kms_key_id": kms_key_id,
            "tags": tags,
            "devices": devices,
            "region": region,
            "aws": inputs_of(find_provider(opts)),
        }
        # A forced replacement does not ask the provider, and would find the old volumes for the new ones.
        first = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(delete_before_replace=True), opts)
        super().__init__(RestoredSetProvider(), name, {**inputs, "volume_ids": None, "volumes": None}, first)


class RestoredVolumes(pulumi.ComponentResource):
    """One volume of each snapshot of a set, made in a zone, or attached to an instance where they were.

    The volumes have the sizes and the tags of their snapshots. A change of any input but `tags` replaces them, with
    what was written to them since: so does another set from the `source`. Give the option `protect` to volumes that
    are in use.

    Attributes:
        set_id: the set.
        volume_ids: the root volume's first, then in the order of the devices.
        volumes: one record a volume, in the same order.
        region: where they are.
    """

    set_id: pulumi.Output[str]
    volume_ids: pulumi.Output[list[str]]
    volumes: pulumi.Output[list[VolumeRecord]]
    region: pulumi.Output[str]

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
        """
        super().__init__("snapset:index:RestoredVolumes", name, {}, opts)
        given: dict[str, Any] = {**(args or {}), **inputs}
        source, instance = given.pop("source"), given.pop("instance", None)
        taken = source.set if isinstance(source, InstanceSnapshots) else source
        provider = find_provider(opts, instance, taken)
        if isinstance(instance, pulumi.CustomResource):
            given["region"] = given.get("region") or getattr(instance, "region", None)
            instance = instance.id
        if isinstance(source, (InstanceSnapshots, SnapshotSet)):
            given["region"] = given.get("region") or source.region
            given["devices"] = source.snapshots.apply(_devices)
            source = _completed(source)
        self.restored: RestoredSet = RestoredSet(
            name,
            set_id=source,
            instance_id=instance,
            **given,
            opts=pulumi.ResourceOptions(parent=self, provider=provider),
        )
        self.set_id = self.restored.set_id
        self.volume_ids = self.restored.volume_ids
        self.volumes = self.restored.volumes.apply(lambda volumes: [_record(each) for each in volumes or []])
        self.region = self.restored.region
        self.register_outputs(
            {
                "set_id": self.set_id,
                "volume_ids": self.volume_ids,
                "volumes": self.volumes,
                "region": self.region,
            }
        )


def _completed(source: InstanceSnapshots | SnapshotSet) -> pulumi.Output[str]:
    """Return the id of the set once it has completed, or once the program has waited for it as long as it would."""
    if isinstance(source, SnapshotSet):
        finished = finish(source, wait=True, timeout=parse_duration(DEFAULT_TIMEOUT))
    else:
        finished = source.finished
    return pulumi.Output.all(source.set_id, finished).apply(lambda both: str(both[0]))


def _devices(records: Any) -> dict[str, str]:
    return {each["snapshot_id"]: each["device_name"] for each in records or []}


def _record(raw: dict[str, Any]) -> VolumeRecord:
    # Pulumi carries every number as a float.
    return cast(VolumeRecord, {**raw, "size_gib": int(raw["size_gib"])})
