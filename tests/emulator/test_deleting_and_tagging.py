"""DeleteSnapshot, CreateTags and DeleteTags: what they refuse, and that a refused call changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from snapset.emulator.client import EmbeddedEC2

UNKNOWN = "snap-0123456789abcdef0"
MALFORMED = ["snap-1", "vol-0123456789abcdef0", "nonsense"]


def as_tags(**values: Any) -> Any:
    return [{"Key": key, "Value": value} for key, value in values.items()]


@pytest.fixture
def two(ec2: Any, ec2_server: EmbeddedEC2) -> Any:
    instance = ec2_server.launch([(1, "/dev/sdf", {})])
    made = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance.instance_id},
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": as_tags(team="web")}],
    )["Snapshots"]
    return [snapshot["SnapshotId"] for snapshot in made]


@pytest.fixture
def tags(ec2: Any) -> Any:
    def tags_of(snapshot_id: str) -> Any:
        (snapshot,) = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
        return {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}

    return tags_of


@pytest.fixture
def left(ec2: Any) -> Any:
    return lambda: [item["SnapshotId"] for item in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]]


class TestDeleting:
    def test_keeps_the_other_snapshots_of_the_set(self, ec2: Any, two: Any, left: Any) -> None:
        ec2.delete_snapshot(SnapshotId=two[0])
        assert left() == two[1:]

    def test_deletes_the_snapshots_tags(self, ec2: Any, two: Any) -> None:
        ec2.delete_snapshot(SnapshotId=two[0])
        tagged = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["team"]}])["Tags"]
        assert [tag["ResourceId"] for tag in tagged] == two[1:]

    def test_deletes_a_pending_snapshot(self, ec2: Any, ec2_server: EmbeddedEC2, left: Any) -> None:
        ec2_server.settings(snapshot_seconds="forever")
        volume_id = ec2_server.launch().root_volume_id
        ec2.delete_snapshot(SnapshotId=ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"])
        assert left() == []

    @pytest.mark.parametrize("malformed", MALFORMED)
    def test_refuses_malformed_ids(self, ec2: Any, refused: Any, malformed: Any) -> None:
        with refused("InvalidSnapshotID.Malformed", malformed):
            ec2.delete_snapshot(SnapshotId=malformed)

    def test_names_a_snapshot_that_does_not_exist(self, ec2: Any, two: Any, refused: Any) -> None:
        with refused("InvalidSnapshot.NotFound", UNKNOWN):
            ec2.delete_snapshot(SnapshotId=UNKNOWN)
        ec2.delete_snapshot(SnapshotId=two[0])
        with refused("InvalidSnapshot.NotFound", two[0]):
            ec2.delete_snapshot(SnapshotId=two[0])

    def test_names_the_registered_image_that_uses_the_snapshot(
        self, ec2: Any, two: Any, left: Any, refused: Any
    ) -> None:
        mappings = [
            {"DeviceName": "/dev/sdb", "Ebs": {"SnapshotId": two[1]}},
            {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": two[0]}},
        ]
        image_id = ec2.register_image(Name="golden", RootDeviceName="/dev/xvda", BlockDeviceMappings=mappings)[
            "ImageId"
        ]
        for snapshot_id in two:
            with refused("InvalidSnapshot.InUse", snapshot_id, image_id):
                ec2.delete_snapshot(SnapshotId=snapshot_id)
        assert left() == two
        ec2.deregister_image(ImageId=image_id)
        for snapshot_id in two:
            ec2.delete_snapshot(SnapshotId=snapshot_id)
        assert left() == []

    def test_names_the_created_image_that_uses_the_snapshot(
        self, ec2: Any, ec2_server: EmbeddedEC2, left: Any, refused: Any
    ) -> None:
        image_id = ec2.create_image(InstanceId=ec2_server.launch().instance_id, Name="golden")["ImageId"]
        (snapshot_id,) = left()
        with refused("InvalidSnapshot.InUse", snapshot_id, image_id):
            ec2.delete_snapshot(SnapshotId=snapshot_id)

    def test_refuses_a_locked_snapshot_until_it_is_unlocked(
        self, ec2: Any, ec2_server: EmbeddedEC2, two: Any, left: Any, refused: Any
    ) -> None:
        ec2_server.lock(two[:1])
        with refused("OperationNotPermitted", two[0], "locked"):
            ec2.delete_snapshot(SnapshotId=two[0])
        ec2_server.unlock(two[:1])
        ec2.delete_snapshot(SnapshotId=two[0])
        assert left() == two[1:]

    def test_is_not_done_by_a_dry_run(self, ec2: Any, two: Any, left: Any, refused: Any) -> None:
        with refused("DryRunOperation", status=412):
            ec2.delete_snapshot(SnapshotId=two[0], DryRun=True)
        assert left() == two


class TestTagging:
    def test_adds_and_replaces_tags(self, ec2: Any, two: Any, tags: Any) -> None:
        ec2.create_tags(Resources=two, Tags=as_tags(team="db", stage=""))
        assert [tags(snapshot_id) for snapshot_id in two] == [{"team": "db", "stage": ""}] * 2

    def test_refuses_an_unknown_resource_for_all(self, ec2: Any, two: Any, tags: Any, refused: Any) -> None:
        with refused("InvalidSnapshot.NotFound", UNKNOWN):
            ec2.create_tags(Resources=[two[0], UNKNOWN], Tags=as_tags(stage="prod"))
        assert tags(two[0]) == {"team": "web"}

    @pytest.mark.parametrize(
        ("resource", "code"),
        [
            ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
            ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
            ("nonsense", "InvalidID"),
        ],
    )
    def test_refuses_ids_that_do_not_exist_or_are_malformed(
        self, ec2: Any, two: Any, tags: Any, refused: Any, resource: Any, code: str
    ) -> None:
        with refused(code, resource):
            ec2.create_tags(Resources=[two[0], resource], Tags=as_tags(stage="prod"))
        assert tags(two[0]) == {"team": "web"}

    def test_tags_no_resource_if_one_would_have_more_than_fifty(
        self, ec2: Any, two: Any, tags: Any, refused: Any
    ) -> None:
        ec2.create_tags(Resources=two[:1], Tags=as_tags(**{str(number): "" for number in range(48)}))
        with refused("TagLimitExceeded"):
            ec2.create_tags(Resources=[two[1], two[0]], Tags=as_tags(one="", two=""))
        assert tags(two[1]) == {"team": "web"}
        ec2.create_tags(Resources=two, Tags=as_tags(one="", team="db"))
        assert len(tags(two[0])) == 50

    @pytest.mark.parametrize(
        ("key", "value", "word"),
        [("aws:x", "", "aws:"), ("k" * 129, "", "128"), ("k", "v" * 257, "256"), ("", "v", "empty")],
    )
    def test_refuses_invalid_keys_and_values(
        self, ec2: Any, two: Any, tags: Any, refused: Any, key: str, value: str, word: str
    ) -> None:
        with refused("InvalidParameterValue", word):
            ec2.create_tags(Resources=two, Tags=[{"Key": "fine", "Value": ""}, {"Key": key, "Value": value}])
        assert tags(two[0]) == {"team": "web"}

    def test_refuses_an_empty_list_of_tags(self, ec2: Any, two: Any, refused: Any) -> None:
        with refused("InvalidParameterValue", "one or more"):
            ec2.create_tags(Resources=two, Tags=[])

    def test_is_not_done_by_a_dry_run(self, ec2: Any, two: Any, tags: Any, refused: Any) -> None:
        with refused("DryRunOperation", status=412):
            ec2.create_tags(Resources=two, Tags=as_tags(team="db"), DryRun=True)
        assert tags(two[0]) == {"team": "web"}


class TestUntagging:
    def test_deletes_a_key_only_if_the_given_value_matches(self, ec2: Any, two: Any, tags: Any) -> None:
        ec2.create_tags(Resources=two[:1], Tags=as_tags(stage="prod", other=""))
        ec2.delete_tags(Resources=two[:1], Tags=[{"Key": "team"}, {"Key": "stage", "Value": "test"}, {"Key": "none"}])
        assert tags(two[0]) == {"stage": "prod", "other": ""}

    def test_deletes_all_tags_if_none_are_named(self, ec2: Any, two: Any, tags: Any) -> None:
        ec2.delete_tags(Resources=two)
        assert [tags(snapshot_id) for snapshot_id in two] == [{}, {}]

    def test_refuses_an_unknown_resource_for_all(self, ec2: Any, two: Any, tags: Any, refused: Any) -> None:
        with refused("InvalidSnapshot.NotFound", UNKNOWN):
            ec2.delete_tags(Resources=[two[0], UNKNOWN], Tags=[{"Key": "team"}])
        assert tags(two[0]) == {"team": "web"}

    def test_refuses_tags_that_belong_to_aws(self, ec2: Any, two: Any, refused: Any) -> None:
        with refused("InvalidParameterValue", "aws:"):
            ec2.delete_tags(Resources=two, Tags=[{"Key": "aws:x"}])
