"""`SnapshotSet`: which snapshots make up a set, in which order, whether it is whole, its JSON record. Calls nothing.

Taking, listing, waiting, pruning and restoring all ask it.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from typing_extensions import NotRequired, TypedDict

from snapset import rules
from snapset.aws import clock
from snapset.aws.records import COMPLETED, ERROR, PENDING, RECOVERABLE, InstanceFacts, Snapshot
from snapset.sets import instance_tag, tags

# Some snapshots of the set no longer exist, or how many it was taken with is not known: what is there may not restore
# the instance as it was.
INCOMPLETE = "incomplete"
# All of it has completed, and some is in the archive: it can't be restored before that is brought back, for hours.
ARCHIVED = "archived"

# Where it is not recorded which of the volumes was the root's: AWS keeps these names for it.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html#available-ec2-device-names
BOOT_DEVICES = ("/dev/sda1", "/dev/xvda")

# CopySnapshot gives a copy this volume. A tool that copies the tags too does not make the copy a part of the set.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html
_VOLUME_OF_COPIES = "vol-ffffffff"

# AWS gives all snapshots of a set one start time. Other endpoints take a moment for each.
_START_TIMES_WITHIN = datetime.timedelta(seconds=60)


class SnapshotRecord(TypedDict):
    """One snapshot of a set, in outputs and JSON documents. `size_gib` in GiB, `start_time` in ISO 8601 UTC.

    `state_message` is AWS's reason of a state, where it gives one.
    """

    snapshot_id: str
    volume_id: str
    device_name: str
    size_gib: int
    encrypted: bool
    state: str
    progress: str
    start_time: str
    state_message: NotRequired[str]


class SetRecord(TypedDict):
    """One set, in JSON documents.

    In the document of `snapset backup` only: `outcome` is `created` by this run, `adopted` from an earlier run that
    could not record it, or `unchanged`; `missing_volume_ids` are attached to the instance, and neither in the set nor
    excluded; `surplus_set_ids` were taken for the same change by other runs at the same time. `tags`, in the others'
    documents, are the user's that all its snapshots have. `image_ids`, in that of `snapset show` only, are the images
    that use it, if that is known. `start_time` in ISO 8601 UTC.
    """

    set_id: str
    instance_id: str
    region: str
    state: str
    start_time: str
    change_id: NotRequired[str]
    tags: NotRequired[dict[str, str]]
    pinned: NotRequired[bool]
    outcome: NotRequired[str]
    missing_volume_ids: NotRequired[list[str]]
    surplus_set_ids: NotRequired[list[str]]
    image_ids: NotRequired[list[str]]
    snapshot_ids: list[str]
    snapshots: list[SnapshotRecord]


@dataclass(frozen=True, kw_only=True)
class SnapshotSet:
    """A set of snapshots that one CreateSnapshots call took.

    Attributes:
        set_id: `set-` and 17 hex digits.
        instance_id: the instance that it was taken of.
        snapshots: those that exist as far as was seen: the root volume's first, then by device.
        devices: the device of each snapshot's volume by snapshot id; empty where it is not known.
        count: how many snapshots it was taken with, or None if that is not known.
    """

    set_id: str
    instance_id: str
    snapshots: tuple[Snapshot, ...]
    devices: Mapping[str, str]
    count: int | None

    @classmethod
    def of(
        cls,
        snapshots: Iterable[Snapshot],
        *,
        set_id: str,
        instance_id: str,
        devices: Mapping[str, str] | None = None,
        count: int | None = None,
    ) -> SnapshotSet:
        """Return the set of these snapshots, with devices and count from their tags if they are not given."""
        members = list(snapshots)
        if devices is None:
            devices = {snapshot.snapshot_id: snapshot.tags.get(tags.DEVICE, "") for snapshot in members}
        if count is None:
            count = _count_of([snapshot for snapshot in members if is_marked(snapshot)]) or _count_of(members)

        roots = _roots_of(_was_of(members))

        def order(snapshot: Snapshot) -> tuple[bool, str, str]:
            device = devices[snapshot.snapshot_id]
            return device not in roots, device, snapshot.snapshot_id

        ordered = tuple(sorted(members, key=order))
        return cls(set_id=set_id, instance_id=instance_id, snapshots=ordered, devices=devices, count=count)

    @classmethod
    def recorded(
        cls, records: Sequence[SnapshotRecord], *, set_id: str, instance_id: str, count: int, owner_id: str
    ) -> SnapshotSet:
        """Return the set as a stack's state has it."""
        snapshots = (
            Snapshot(
                snapshot_id=record["snapshot_id"],
                volume_id=record["volume_id"],
                # Pulumi carries every number as a float.
                size_gib=int(record["size_gib"]),
                encrypted=record["encrypted"],
                state=record["state"],
                progress=record["progress"],
                start_time=record["start_time"],
                owner_id=owner_id,
                state_message=record.get("state_message", ""),
            )
            for record in records
        )
        return cls(
            snapshots=tuple(snapshots),
            set_id=set_id,
            instance_id=instance_id,
            devices={record["snapshot_id"]: record["device_name"] for record in records},
            count=count,
        )

    def as_seen(self, found: Iterable[Snapshot]) -> SnapshotSet:
        """Return the set with its snapshots as they were found now; those that were not found are left out."""
        by_id = {snapshot.snapshot_id: snapshot for snapshot in found}
        return replace(self, snapshots=tuple(by_id[key] for key in self.snapshot_ids if key in by_id))

    def with_devices_of(self, volumes: Mapping[str, str]) -> SnapshotSet:
        """Return the set, its devices and order taken from those of the instance's volumes, by volume id."""
        return SnapshotSet.of(
            self.snapshots,
            set_id=self.set_id,
            instance_id=self.instance_id,
            devices={snapshot.snapshot_id: volumes.get(snapshot.volume_id, "") for snapshot in self.snapshots},
            count=self.count,
        )

    @property
    def snapshot_ids(self) -> list[str]:
        """The ids of the snapshots, in their order."""
        return [snapshot.snapshot_id for snapshot in self.snapshots]

    @property
    def owner_id(self) -> str:
        """The AWS account that owns it; empty if that is not known."""
        return self.snapshots[0].owner_id

    @property
    def volume_ids(self) -> set[str]:
        """The volumes that were snapshotted."""
        return {snapshot.volume_id for snapshot in self.snapshots}

    @property
    def start_time(self) -> str:
        """When it was taken, ISO 8601 UTC."""
        return min(snapshot.start_time for snapshot in self.snapshots)

    @property
    def started(self) -> datetime.datetime:
        """When it was taken."""
        return min(map(_time_of, self.snapshots))

    def began_after(self, moment: str) -> bool:
        """Tell whether it was surely taken after the moment. AWS may give the moment in whole seconds."""
        return self.start_time[:19] > moment[:19]

    @property
    def age(self) -> float:
        """The seconds since it was taken, by AWS's clock."""
        return clock.age_of(self.start_time)

    @property
    def claims(self) -> set[str]:
        """The claims of the resources that hold it, or held it once."""
        return {claim for snapshot in self.snapshots if (claim := snapshot.tags.get(tags.CLAIM))}

    @property
    def is_whole(self) -> bool:
        """Whether it is known that no snapshot of it is missing, or in the Recycle Bin."""
        return self.count is not None and len(self.there) >= max(self.count, 1)

    @property
    def there(self) -> list[Snapshot]:
        """The snapshots that are not in the Recycle Bin."""
        return [snapshot for snapshot in self.snapshots if snapshot.state != RECOVERABLE]

    @property
    def state(self) -> str:
        """`error`, `pending`, `incomplete`, `archived` or `completed`: the first that holds."""
        states = {snapshot.state for snapshot in self.there}
        if ERROR in states:
            return ERROR
        if states - {COMPLETED}:
            return PENDING
        if not self.is_whole:
            return INCOMPLETE
        return ARCHIVED if any(snapshot.is_archived for snapshot in self.snapshots) else COMPLETED

    @property
    def has_completed(self) -> bool:
        """Whether all of it is there and has completed, also in the archive."""
        return self.state in (COMPLETED, ARCHIVED)

    @property
    def missing_devices(self) -> list[str]:
        """The devices of the snapshots that are missing, as far as the tags of the others name them."""
        taken = {
            device for snapshot in self.snapshots for device in tags.devices_of(snapshot.tags.get(tags.DEVICES, ""))
        }
        return sorted(taken - {self.devices[snapshot.snapshot_id] for snapshot in self.there})

    @property
    def excluded(self) -> list[str]:
        """The volumes that it leaves out, as `tags.excluded_text` writes them."""
        return sorted({word for one in self.snapshots for word in one.tags.get(tags.EXCLUDED, "").split()})

    @property
    def is_pinned(self) -> bool:
        """Whether somebody said that it is never to be pruned."""
        return any(snapshot.tags.get(tags.PINNED) for snapshot in self.snapshots)

    @property
    def in_use_until(self) -> str:
        """Until when something else needs it, ISO 8601 UTC; empty if nothing does."""
        return max(one.tags.get(tags.IN_USE_UNTIL, "") for one in self.snapshots)

    @property
    def was(self) -> InstanceFacts | None:
        """What the instance was, or None if that is not recorded."""
        return _was_of(self.snapshots)

    @property
    def roots(self) -> Sequence[str]:
        """The device of the root volume, as recorded; else the names that it usually has."""
        return _roots_of(self.was)

    @property
    def resource(self) -> str:
        """Whose set it is: a hash; empty for what the command took."""
        return self.snapshots[0].tags.get(tags.RESOURCE, "")

    @property
    def change_id(self) -> str | None:
        """The change that it was taken for."""
        return self.snapshots[0].tags.get(tags.CHANGE) or None

    @property
    def rolled_back_to(self) -> str | None:
        """The set to which the rollback went that took this one of what it replaced, if one did."""
        prefix, _, set_id = (self.change_id or "").partition(tags.SAFETY_CHANGE)
        return set_id if not prefix and tags.SET_ID.fullmatch(set_id) else None

    @property
    def is_safety_set(self) -> bool:
        """Whether a rollback took it of what it replaced, which is not where to go back to."""
        return self.rolled_back_to is not None

    @property
    def common_tags(self) -> dict[str, str]:
        """The tags that all its snapshots have, but for snapset's own and AWS's."""
        common = set.intersection(*(set(snapshot.tags.items()) for snapshot in self.snapshots))
        return {key: value for key, value in sorted(common) if not key.startswith(("aws:", tags.PREFIX))}

    def has_tags(self, wanted: Mapping[str, str]) -> bool:
        """Tell whether every snapshot of it has these tags."""
        return all(wanted.items() <= snapshot.tags.items() for snapshot in self.snapshots)

    def records(self) -> list[SnapshotRecord]:
        """Return the snapshots as outputs and JSON documents have them."""
        return [_record(snapshot, self.devices[snapshot.snapshot_id]) for snapshot in self.snapshots]

    def record(self, *, region: str, outcome: str | None = None) -> SetRecord:
        """Return the set as JSON documents have it."""
        record = SetRecord(
            set_id=self.set_id,
            instance_id=self.instance_id,
            region=region,
            state=self.state,
            start_time=self.start_time,
            snapshot_ids=self.snapshot_ids,
            snapshots=self.records(),
        )
        if outcome:
            record["outcome"] = outcome
            return record
        record["tags"], record["pinned"] = self.common_tags, self.is_pinned
        if self.change_id:
            record["change_id"] = self.change_id
        return record


def group(snapshots: Iterable[Snapshot]) -> list[SnapshotSet]:
    """Return the sets that the snapshots make up, the newest first; what snapset did not take is left out."""
    candidates: defaultdict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        if _may_be_member(snapshot):
            candidates[snapshot.tags[tags.SET]].append(snapshot)
    members = {set_id: _members_of(found) for set_id, found in candidates.items()}
    sets = [
        SnapshotSet.of(found, set_id=set_id, instance_id=found[0].tags[tags.INSTANCE])
        for set_id, found in members.items()
        # A set whose snapshots name two instances was tagged by someone else.
        if len({snapshot.tags[tags.INSTANCE] for snapshot in found}) == 1
    ]
    return sorted(sets, key=lambda found: (found.start_time, found.set_id), reverse=True)


def is_marked(snapshot: Snapshot) -> bool:
    """Tell whether the snapshot itself was marked as a part of its set, and is no copy of one that was."""
    return snapshot.snapshot_id in snapshot.tags.get(tags.SNAPSHOT, "").split(",")


def _was_of(snapshots: Iterable[Snapshot]) -> InstanceFacts | None:
    return next(filter(None, (instance_tag.parse(snapshot.tags) for snapshot in snapshots)), None)


def _roots_of(was: InstanceFacts | None) -> Sequence[str]:
    return (was.root_device,) if was and was.root_device else BOOT_DEVICES


def _record(snapshot: Snapshot, device: str) -> SnapshotRecord:
    record = SnapshotRecord(
        snapshot_id=snapshot.snapshot_id,
        volume_id=snapshot.volume_id,
        device_name=device,
        size_gib=snapshot.size_gib,
        encrypted=snapshot.encrypted,
        state=snapshot.state,
        progress=snapshot.progress,
        start_time=snapshot.start_time,
    )
    if snapshot.state_message:
        record["state_message"] = snapshot.state_message
    return record


def _may_be_member(snapshot: Snapshot) -> bool:
    return (
        tags.SET_ID.fullmatch(snapshot.tags.get(tags.SET, "")) is not None
        and rules.INSTANCE_ID.fullmatch(snapshot.tags.get(tags.INSTANCE, "")) is not None
        and bool(snapshot.tags.get(tags.TOKEN))
        and (is_marked(snapshot) or not snapshot.tags.get(tags.SNAPSHOT))
        and snapshot.volume_id != _VOLUME_OF_COPIES
    )


def _members_of(candidates: Sequence[Snapshot]) -> list[Snapshot]:
    """Drop snapshots that carry the tags of a set that was not marked yet, but started later, or repeat a volume."""
    in_order = sorted(candidates, key=lambda snapshot: (not is_marked(snapshot), snapshot.start_time))
    latest = _time_of(in_order[0]) + _START_TIMES_WITHIN
    members: dict[str, Snapshot] = {}
    for snapshot in in_order:
        if is_marked(snapshot) or _time_of(snapshot) <= latest:
            members.setdefault(snapshot.volume_id, snapshot)
    return list(members.values())


def _time_of(snapshot: Snapshot) -> datetime.datetime:
    return datetime.datetime.fromisoformat(snapshot.start_time.replace("Z", "+00:00"))


def _count_of(snapshots: Iterable[Snapshot]) -> int | None:
    counts = [text for snapshot in snapshots if (text := snapshot.tags.get(tags.COUNT, "")).isdecimal()]
    return max(map(int, counts), default=None)
