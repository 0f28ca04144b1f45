"""`get_snapshots`: a set that exists already, with what `aws.ebs.Volume` and `aws.ec2.Ami` need to make it anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import MockCallArgs
from pulumi.runtime.settings import get_monitor

from snapset import errors, rules
from snapset.aws.ec2 import connect
from snapset.aws.records import COMPLETED
from snapset.aws.session import find_region
from snapset.aws.settings import AwsSettings
from snapset.resources.arguments import bad_call_as_error
from snapset.resources.aws_provider import find_provider, settings_of
from snapset.resources.program import is_mocked
from snapset.restore.image import image_of
from snapset.sets import tags
from snapset.sets.find import find_latest, find_set
from snapset.sets.model import SnapshotRecord, SnapshotSet
from snapset.sets.threads import run_in_thread
from snapset.sets.volume_arguments import volume_arguments
from snapset.text import hide

TOKEN = "snapset:index:getSnapshots"  # noqa: S105 - the name that a unit test's mocks know it by


@dataclass(frozen=True, kw_only=True)
class GetSnapshotsResult:
    """A whole and completed set.

    Attributes:
        set_id: `set-` and 17 hex digits.
        instance_id: the instance that it was taken of.
        region: where it is.
        start_time: ISO 8601 UTC; the same for the whole set.
        change_id: the change that it was taken for, if one was named.
        snapshot_ids: the root volume's first, then by device.
        snapshots: one record a snapshot, in the same order.
        by_device: the id of each snapshot, by the device of its volume, such as `/dev/sdf`; for a device that the set
            does not have, it raises a `RunError`.
        volumes: what `volume` returns beside the snapshot's id, by device.
        image_arguments: what `image` returns.
        image_obstacle: why `image` raises an error, in one line; empty if it does not.
    """

    set_id: str
    instance_id: str = ""
    region: str = ""
    start_time: str = ""
    change_id: str | None = None
    snapshot_ids: list[str] = field(default_factory=list)
    snapshots: list[SnapshotRecord] = field(default_factory=list)
    by_device: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    image_arguments: Mapping[str, Any] = field(default_factory=dict)
    image_obstacle: str = ""

    def volume(self, device: str) -> dict[str, Any]:
        """Return the arguments with which a stack declares its own `aws.ebs.Volume` as the set has it.

        They are `snapshot_id`, `type`, `iops`, `throughput` (MiB/s), `size` (GiB), `encrypted`, `kms_key_id`,
        `outpost_arn`, `multi_attach_enabled` and `tags` (the volume's own). What has no value is left out. So are
        `type` and what belongs to it where the set does not record how its volumes were.

        Args:
            device: where the volume was attached, such as `/dev/sdf`.

        Raises:
            RunError: the set has no snapshot of this device; in one line.
        """
        return {"snapshot_id": self.by_device[device], **self.volumes.get(device, {})}

    def image(self, *, exclude_data: bool = False) -> dict[str, Any]:
        """Return the arguments of an `aws.ec2.Ami`: an instance of it is as the set's was.

        They are `description`, `architecture`, `root_device_name`, `virtualization_type`, `ena_support`, `boot_mode`,
        `tpm_support`, `ebs_block_devices` and `tags`. `name` is left out, so that Pulumi chooses one. What has no
        value is left out, too.

        Args:
            exclude_data: the root volume only.

        Raises:
            RunError: an instance would not boot from it, or that is not known; in one line, with the other way.
        """
        if self.image_obstacle:
            raise pulumi.RunError(self.image_obstacle)
        arguments = dict(self.image_arguments)
        if exclude_data and "ebs_block_devices" in arguments:
            root = arguments["root_device_name"]
            blocks = arguments["ebs_block_devices"]
            arguments["ebs_block_devices"] = [block for block in blocks if block["device_name"] == root]
        return arguments


class _ByDevice(dict[str, str]):
    """The id of each snapshot by the device of its volume."""

    def __init__(self, found: SnapshotSet) -> None:
        super().__init__({device: snapshot_id for snapshot_id, device in found.devices.items() if device})
        self._set_id = found.set_id

    def __missing__(self, device: str) -> str:
        reason = f"{self._set_id} has no snapshot of {device}, but of {', '.join(sorted(self)) or 'no known device'}"
        raise pulumi.RunError(errors.show(errors.InputError(f"reading get_snapshots: {reason}. Choose another set.")))


@bad_call_as_error
def get_snapshots(
    *,
    set_id: str | None = None,
    instance: str | None = None,
    change_id: str | None = None,
    latest: bool = False,
    region: str | None = None,
) -> GetSnapshotsResult:
    """Return a set that exists already; the calls are made as the stack's `aws` config says.

    Args:
        set_id: the id of the set; then leave `instance`, `change_id` and `latest` out.
        instance: the id of the instance that it was taken of, with `change_id` or `latest`.
        change_id: the change that it was taken for. If it has several whole and completed sets, they are named.
        latest: the newest whole and completed set of the instance; those that a rollback took are passed over.
        region: where the set is, if not in the Region of the stack.

    Raises:
        RunError: there is no such set, it is not whole or not completed, or AWS refuses; in one line.
    """
    settings = AwsSettings.from_config(lambda key: pulumi.runtime.get_config(f"aws:{key}"))
    wanted = {"set_id": set_id, "instance": instance, "change_id": change_id, "latest": latest, "region": region}
    return _find(settings, wanted)


@bad_call_as_error
def get_snapshots_output(
    *,
    set_id: pulumi.Input[str] | None = None,
    instance: pulumi.Input[str] | pulumi.CustomResource | None = None,
    change_id: pulumi.Input[str] | None = None,
    latest: pulumi.Input[bool] = False,
    region: pulumi.Input[str] | None = None,
    opts: pulumi.InvokeOptions | None = None,
) -> pulumi.Output[GetSnapshotsResult]:
    """Return the same as `get_snapshots`, for inputs that are not known yet, or with an `aws.Provider` in `opts`."""
    given = pulumi.ResourceOptions(provider=opts.provider if opts else None, parent=opts.parent if opts else None)
    provider = find_provider(given, instance)
    if isinstance(instance, pulumi.CustomResource):
        region = region or getattr(instance, "region", None)
        instance = instance.id
    wanted = {"set_id": set_id, "instance": instance, "change_id": change_id, "latest": latest, "region": region}

    given_as = pulumi.Output.from_input(wanted)

    async def find(known: dict[str, Any]) -> GetSnapshotsResult:
        settings = await settings_of(provider)
        if await given_as.is_secret():
            hide([known["set_id"], known["instance"], known["change_id"]])
        return await run_in_thread(lambda: _find(settings, known))

    return given_as.apply(find)


def _find(settings: AwsSettings, wanted: Mapping[str, Any]) -> GetSnapshotsResult:
    if is_mocked():
        monitor: Any = get_monitor()
        return GetSnapshotsResult(**{"set_id": "", **monitor.mocks.call(MockCallArgs(TOKEN, dict(wanted), ""))})
    try:
        _refuse_problems(wanted)
        region = wanted["region"] or find_region(settings)
        return _look(settings.in_region(region), wanted, region=region)
    except errors.SnapsetError as error:
        raise pulumi.RunError(errors.show(error)) from None


def _refuse_problems(wanted: Mapping[str, Any]) -> None:
    doing = "reading get_snapshots"
    if later := ", ".join(
        name for name, value in wanted.items() if isinstance(value, (pulumi.Output, pulumi.Resource))
    ):
        raise errors.InputError(f"{doing}: {later} is known later only. Call get_snapshots_output instead.")
    set_id, instance, change_id, latest = (wanted[name] for name in ("set_id", "instance", "change_id", "latest"))
    if bool(set_id) == bool(instance or change_id):
        raise errors.InputError(f"{doing}: give set_id, or instance with latest=True, or change_id.")
    if reason := rules.boolean(latest):
        raise errors.InputError(f"{doing}: latest: {reason}.")
    if latest and (set_id or change_id or not instance):
        raise errors.InputError(f"{doing}: latest=True goes with an instance alone. Leave one of the others out.")
    if instance and not change_id and not latest:
        raise errors.InputError(f"{doing}: of {instance} there may be many sets. Give change_id, or latest=True.")
    if set_id and (reason := rules.matches(tags.SET_ID, "the id of a set", "set-0123456789abcdef0")(set_id)):
        raise errors.InputError(f"{doing}: {reason}.")
    if instance and (reason := rules.instance_id(instance)):
        raise errors.InputError(f"{doing}: {reason}.")


def _look(settings: AwsSettings, wanted: Mapping[str, Any], *, region: str) -> GetSnapshotsResult:
    ec2 = connect(settings)
    if wanted["set_id"]:
        found = find_set(ec2, wanted["set_id"])
        if not found.is_whole or found.state != COMPLETED:
            raise errors.InputError(
                f"looking for {found.set_id}: it is {found.state}. Wait for it, or choose another."
            )
    else:
        found = find_latest(ec2, instance_id=wanted["instance"], change_id=wanted["change_id"])
    return _result_of(found, region=region)


def _result_of(found: SnapshotSet, *, region: str) -> GetSnapshotsResult:
    return GetSnapshotsResult(
        set_id=found.set_id,
        instance_id=found.instance_id,
        region=region,
        start_time=found.start_time,
        change_id=found.change_id,
        snapshot_ids=found.snapshot_ids,
        snapshots=found.records(),
        by_device=_ByDevice(found),
        volumes={
            found.devices[snapshot.snapshot_id]: volume_arguments(snapshot)
            for snapshot in found.snapshots
            if found.devices[snapshot.snapshot_id]
        },
        **_image_of(found),
    )


def _image_of(found: SnapshotSet) -> dict[str, Any]:
    try:
        image = image_of(found, exclude_data=False, doing=f"making an image of {found.set_id}")
    except errors.InputError as error:
        return {"image_obstacle": errors.show(error)}
    return {"image_arguments": image.arguments()}
