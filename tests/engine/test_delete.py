"""A set that can't be deleted completely stays in the state until it can, and the error gives the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.project import Project

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2


@pytest.fixture
def taken(project: Project, ec2: EmbeddedEC2) -> tuple[Project, list[str]]:
    """A stack with `onDelete: delete`, and the ids of its set's three snapshots."""
    instance = ec2.launch([(20, "/dev/sdf", {}), (30, "/dev/sdg", {})])
    project.config = {"instanceId": instance.instance_id, "onDelete": "delete"}
    project.up().ok()
    [recorded] = project.sets()
    return project, recorded["outputs"]["snapshot_ids"]


def left(ec2: EmbeddedEC2) -> set[str]:
    return {snapshot["SnapshotId"] for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]}


def test_a_snapshot_in_use_is_reported_with_its_image_and_the_rest_is_deleted(
    taken: tuple[Project, list[str]], ec2: EmbeddedEC2
) -> None:
    project, (root, first, second) = taken
    image = ec2.ec2().register_image(
        Name="golden",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": root}}],
    )["ImageId"]
    ec2.lock([second])
    failed = project.destroy().failed()
    assert left(ec2) == {root, second}
    assert "InvalidSnapshot.InUse" in failed.text
    assert image in failed.text
    assert "2 of 3 snapshots stay" in failed.text
    assert second in failed.text
    assert first not in failed.text.partition("snapshots stay")[2]
    assert len(project.sets()) == 1

    ec2.ec2().deregister_image(ImageId=image)
    ec2.unlock([second])
    project.destroy().ok()
    assert left(ec2) == set()
    assert project.sets() == []


def test_a_snapshot_that_no_longer_exists_counts_as_deleted(
    taken: tuple[Project, list[str]], ec2: EmbeddedEC2
) -> None:
    project, (root, *_) = taken
    ec2.ec2().delete_snapshot(SnapshotId=root)
    project.destroy().ok()
    assert left(ec2) == set()


def test_snapshots_that_another_resource_has_claimed_are_kept(
    taken: tuple[Project, list[str]], ec2: EmbeddedEC2
) -> None:
    project, snapshot_ids = taken
    ec2.ec2().create_tags(Resources=snapshot_ids, Tags=[{"Key": "snapset:claim", "Value": "another"}])
    destroyed = project.destroy().ok()
    assert "another resource has claimed" in destroyed.text
    assert left(ec2) == set(snapshot_ids)
