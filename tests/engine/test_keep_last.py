"""`keep_last`: older sets of the resource's own line go once the new set has completed, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.project import Project, mutating
from support.restores import snapshots_of, take_set

if TYPE_CHECKING:
    from snapset.demo.ec2.client import EmbeddedEC2

HOUR = 3600.0


def ids_of(project: Project) -> list[str]:
    """The snapshots of the set that the state holds, and is not about to let go of."""
    [recorded] = [each for each in project.sets() if not each.get("delete")]
    ids: list[str] = recorded["outputs"]["snapshot_ids"]
    return ids


def left(ec2: EmbeddedEC2) -> set[str]:
    return {each["SnapshotId"] for each in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]}


def test_older_sets_of_the_own_line_go_once_the_new_one_has_completed_and_no_others(
    project: Project, ec2: EmbeddedEC2
) -> None:
    instance = ec2.launch([(20, "/dev/sdf", {})])
    # What another stack's state holds, and what a rerun of some other run would adopt.
    others = {
        *snapshots_of(ec2, take_set(ec2, instance)),
        *snapshots_of(ec2, take_set(ec2, instance, marked=False, triggers=1)),
        ec2.ec2().create_snapshot(VolumeId=instance.root_volume_id)["SnapshotId"],
    }
    ec2.age(others, seconds=99 * HOUR)

    def up(*arguments: str, **config: Any) -> str:
        project.config |= config
        return project.up(*arguments).ok().text

    project.config = {"instanceId": instance.instance_id, "keepLast": 1}
    up(triggers="1")
    first = ids_of(project)
    ec2.age(first, seconds=9 * HOUR)
    ec2.clear_calls()
    up()
    assert mutating(ec2.calls()) == []

    up(triggers="2", wait=False)
    second = ids_of(project)
    ec2.age(second, seconds=8 * HOUR)
    ec2.settings(snapshot_seconds=float("inf"))
    project.config |= {"triggers": "3", "wait": True, "waitTimeout": "1s"}
    assert "snapshots go on" in project.up().failed().text
    third = ids_of(project)
    assert left(ec2) == others | {*first, *second, *third}

    ec2.complete()
    ec2.lock(first[:1])
    project.preview().ok()
    assert left(ec2) == others | {*first, *second, *third}
    said = up()
    assert left(ec2) == others | {first[0], *third}
    assert "(2 of 2 snapshots): keep_last is 1" in said
    assert f"stay: deleting {first[0]}: OperationNotPermitted" in said
    ec2.age(third, seconds=7 * HOUR)

    ec2.unlock(first[:1])
    ec2.settings(snapshot_seconds=0)
    [recorded] = project.sets()
    said = up("--replace", recorded["urn"], keepLast=2)
    assert left(ec2) == others | {*third, *ids_of(project)}
    assert "(1 of 1 snapshots): keep_last is 2" in said
    assert "on_delete is retain" not in said
