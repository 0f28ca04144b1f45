"""The snapshot sets in the embedded EC2, and those that its call log shows as taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from snapset.emulator.client import EmbeddedEC2
from snapset.sets import tags

from support.project import until

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_CLOSED = ("close_before", "close_after")


@dataclass(frozen=True)
class Snapshot:
    volume_id: str
    state: str
    tags: Mapping[str, str]

    @property
    def claims(self) -> set[str]:
        return {self.tags[tags.CLAIM]} if self.tags.get(tags.CLAIM) else set()


@dataclass(frozen=True)
class SetInEC2:
    """A set in EC2, or the snapshots that are left of it."""

    token: str = ""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)

    @property
    def ids(self) -> set[str]:
        return set(self.snapshots)

    @property
    def claims(self) -> set[str]:
        return {claim for snapshot in self.snapshots.values() for claim in snapshot.claims}

    @property
    def changes(self) -> set[str]:
        return {snapshot.tags.get(tags.CHANGE, "") for snapshot in self.snapshots.values()}

    @property
    def failed(self) -> bool:
        return any(snapshot.state == "error" for snapshot in self.snapshots.values())


def find_sets(ec2: EmbeddedEC2, client: EC2Client | None = None) -> dict[str, SetInEC2]:
    """All sets by id, including those that were not visible yet; with `client`, those that it sees."""
    ec2.settings(visibility_seconds=0)
    found: dict[str, SetInEC2] = {}
    for item in (client or ec2.ec2()).describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        tagged = {tag["Key"]: tag["Value"] for tag in item["Tags"]}
        members = found.setdefault(tagged[tags.SET], SetInEC2(token=tagged[tags.TOKEN])).snapshots
        members[item["SnapshotId"]] = Snapshot(item["VolumeId"], item["State"], tagged)
    return found


def find_taken(ec2: EmbeddedEC2) -> list[str]:
    """The ids of the sets taken by the calls in the log, in order, including unanswered calls."""
    calls = [call for call in ec2.calls("CreateSnapshots") if call["carried_out"] and not call["dry_run"]]
    return [_tags_in(call["params"])[tags.SET] for call in calls]


def wait_for_calls(ec2: EmbeddedEC2) -> None:
    """Wait until every call has ended."""
    until(lambda: all(call["status"] or call["fault"] in _CLOSED for call in ec2.calls()))


def _tags_in(params: Mapping[str, str]) -> dict[str, str]:
    keys = [name.removesuffix(".Key") for name in params if name.startswith("TagSpecification.1.Tag.")]
    return {params[f"{name}.Key"]: params[f"{name}.Value"] for name in keys if f"{name}.Key" in params}
