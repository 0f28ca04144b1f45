"""Snapshots, made as a set or one by one: pending at first, and not deleted while an image or a lock needs them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.utils import random_snapshot_id

from . import errors
from .life import COMPLETED, PENDING, Life
from .request import LOCAL, CreateSnapshotsRequest
from .sets import choose_volumes, find_source, merge_tags
from .world import WORLD

# CopySnapshot's reference says only that a copy's volume id is arbitrary; this is the one that AWS gives.
VOLUME_OF_COPIES = "vol-ffffffff"
ARCHIVE = "archive"

_SERIAL = count(1)


class StrictSnapshot(Snapshot):  # type: ignore[misc]
    """One snapshot with its own life. moto's serializer reads the attributes by their snake_case names."""

    def __init__(
        self,
        backend: Any,
        volume: Any,
        *,
        description: str,
        life: Life,
        start_time: datetime,
        owner_id: str | None = None,
        from_ami: str | None = None,
        kms_key_id: str | None = None,
        outpost_arn: str | None = None,
        availability_zone: str | None = None,
        is_copy: bool = False,
    ) -> None:
        self.life = life
        self._is_copy = is_copy
        super().__init__(
            ec2_backend=backend,
            snapshot_id=random_snapshot_id(),
            volume=volume,
            description=description,
            encrypted=volume.encrypted,
            kms_key_id=kms_key_id or volume.kms_key_id,
            owner_id=owner_id,
            from_ami=from_ami,
        )
        self.serial = next(_SERIAL)
        self.set_number = self.serial
        self.start_time = start_time
        self.outpost_arn = outpost_arn
        self.availability_zone = availability_zone
        self.blocks = volume.blocks
        # A volume can grow later; the snapshot's size must not.
        self._volume_size = int(volume.size)

    @property
    def volume_id(self) -> str:
        """The volume that it was taken of; a copy was taken of none."""
        return VOLUME_OF_COPIES if self._is_copy else str(self.volume.id)

    @property
    def volume_size(self) -> int:
        """The volume's size in GiB when the snapshot was taken."""
        return self._volume_size

    @property
    def status(self) -> str:
        """`pending`, `completed` or `error`."""
        return self.life.state(WORLD.now())

    @status.setter
    def status(self, value: str) -> None:
        """Ignore what moto's constructor assigns: the life decides the status."""

    @property
    def state(self) -> str:
        """The status, under its name in CreateSnapshots' answer."""
        return self.status

    @property
    def progress(self) -> str:
        """`0%` to `100%`."""
        return self.life.progress(WORLD.now())

    @property
    def state_message(self) -> str | None:
        """Why it is in `error`, or None."""
        return self.life.message(WORLD.now())

    @property
    def completion_time(self) -> datetime | None:
        """When it was completed, or None."""
        seconds = self.life.completed_after(WORLD.now())
        return None if seconds is None else self.start_time + timedelta(seconds=seconds)

    @property
    def is_visible(self) -> bool:
        """Whether DescribeSnapshots shows it yet."""
        return WORLD.now() - self.life.begun >= WORLD.settings.visibility_seconds

    def check_usable(self) -> None:
        """Refuse to use a snapshot that is not completed, or archived."""
        if self.status != COMPLETED:
            raise errors.EC2Error("IncorrectState", f"Snapshot '{self.id}' is not 'completed'.")
        if self.storage_tier == ARCHIVE:
            # assumption: the user guide says that an archived snapshot can't be used; no code is documented.
            raise errors.EC2Error("IncorrectState", f"Snapshot '{self.id}' is archived.")


class SnapshotsBackend:
    """The part of one region's backend that makes, finds and deletes snapshots."""

    account_id: str
    amis: dict[str, Any]
    snapshots: dict[str, StrictSnapshot]
    tags: dict[str, dict[str, str]]
    get_instance: Any
    get_volume: Any

    def create_set(self, request: CreateSnapshotsRequest) -> list[StrictSnapshot]:
        """Make a set. All checks come first, so that a refused call leaves no snapshot behind."""
        instance = find_source(self, request)
        chosen = choose_volumes(self, instance, request)
        tags = {volume.id: merge_tags(self.tags.get(volume.id, {}), request) for volume in chosen}
        failure, start_time = WORLD.take_failure(), _start_time()
        made = [
            StrictSnapshot(
                self,
                volume,
                description=request.description,
                life=WORLD.life_of(volume.id, failure),
                start_time=start_time,
                outpost_arn=request.outpost_arn,
                availability_zone=instance.availability_zone if request.location == LOCAL else None,
            )
            for volume in chosen
        ]
        for snapshot in made:
            snapshot.set_number = made[0].serial
            self.tags[snapshot.id] = tags[snapshot.volume_id]
            self.snapshots[snapshot.id] = snapshot
        return made

    def create_snapshot(
        self, volume_id: str, description: str, owner_id: str | None = None, from_ami: str | None = None
    ) -> StrictSnapshot:
        """Make a single snapshot. moto calls this for CreateSnapshot and for images."""
        snapshot = StrictSnapshot(
            self,
            self.get_volume(volume_id),
            description=description or "",
            life=WORLD.life_of(volume_id, None),
            start_time=_start_time(),
            owner_id=owner_id,
            from_ami=from_ami,
        )
        self.snapshots[snapshot.id] = snapshot
        return snapshot

    def copy_snapshot(
        self, source_snapshot_id: str, source_region: str, description: str, kms_key_id: str | None
    ) -> StrictSnapshot:
        """Copy a completed snapshot into this region."""
        from moto.ec2.models import ec2_backends

        source = ec2_backends[self.account_id][source_region].get_snapshot(source_snapshot_id)
        source.check_usable()
        snapshot = StrictSnapshot(
            self,
            source.volume,
            description=description or "",
            life=WORLD.life_of(source.volume_id, None),
            start_time=_start_time(),
            kms_key_id=kms_key_id,
            is_copy=True,
        )
        snapshot.blocks = source.blocks
        self.snapshots[snapshot.id] = snapshot
        return snapshot

    def get_snapshot(self, snapshot_id: str) -> StrictSnapshot:
        """The snapshot with this id; the error names the id, as EC2's does and moto's does not."""
        snapshot = self.snapshots.get(snapshot_id)
        if snapshot is None:
            raise errors.snapshot_not_found(snapshot_id)
        return snapshot

    def delete_snapshot(self, snapshot_id: str) -> StrictSnapshot:
        """Delete a snapshot, unless a registered image uses it or it is locked."""
        snapshot = self.get_snapshot(snapshot_id)
        image_id = self._image_that_uses(snapshot)
        if image_id:
            raise errors.snapshot_in_use(snapshot_id, image_id)
        if snapshot_id in WORLD.locked:
            raise errors.snapshot_locked(snapshot_id)
        self.tags.pop(snapshot_id, None)
        return self.snapshots.pop(snapshot_id)

    def complete_snapshots(self, snapshot_ids: Iterable[str] | None = None) -> list[str]:
        """Complete these pending snapshots now, or all if None; return the ids of those completed."""
        now = WORLD.now()
        named = None if snapshot_ids is None else set(snapshot_ids)
        completed = []
        for snapshot in self.snapshots.values():
            if snapshot.status == PENDING and (named is None or snapshot.id in named):
                snapshot.life = snapshot.life.ended(now)
                completed.append(snapshot.id)
        return completed

    def fail_sets(self, snapshot_ids: Sequence[str], message: str) -> list[str]:
        """Put the sets that contain these snapshots into `error`; return the ids of the failed snapshots."""
        now = WORLD.now()
        sets = {snapshot.set_number for snapshot in self.snapshots.values() if snapshot.id in snapshot_ids}
        failed = [snapshot for snapshot in self.snapshots.values() if snapshot.set_number in sets]
        for snapshot in failed:
            snapshot.life = snapshot.life.failed(now, message)
        return [snapshot.id for snapshot in failed]

    def age_snapshots(self, snapshot_ids: Sequence[str], seconds: float) -> None:
        """Set the start time of these snapshots to so many seconds ago. Their states do not change."""
        for snapshot_id in self.snapshots.keys() & set(snapshot_ids):
            self.snapshots[snapshot_id].start_time = _start_time() - timedelta(seconds=seconds)

    def _image_that_uses(self, snapshot: StrictSnapshot) -> str | None:
        for image in self.amis.values():
            if any(mapping["Ebs"].get("SnapshotId") == snapshot.id for mapping in image.block_device_mappings):
                return str(image.id)
        return None


def _start_time() -> datetime:
    now = datetime.now(timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
