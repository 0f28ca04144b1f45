"""Volumes from snapshots, attachments, DescribeInstances and DescribeVolumes."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

UNKNOWN_SNAPSHOT = "snap-0123456789abcdef0"
UNKNOWN_VOLUME = "vol-0123456789abcdef0"
UNKNOWN_INSTANCE = "i-0123456789abcdef0"
ZONE = "us-east-1a"
FIFTY_ONE_TAGS = {"ResourceType": "volume", "Tags": [{"Key": str(number), "Value": ""} for number in range(51)]}


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    return ec2_server.launch([(20, "/dev/sdf", {"disk": "logs"})], tags={"Name": "web"})


@pytest.fixture
def snapshot_id(ec2: Any, instance: LaunchedInstance) -> Any:
    return ec2.create_snapshot(VolumeId=instance.volume_ids["/dev/sdf"])["SnapshotId"]


@pytest.fixture
def volume_id(ec2: Any) -> Any:
    return ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]


class TestVolumesFromSnapshots:
    def test_a_volume_has_its_snapshots_size_or_more(self, ec2: Any, snapshot_id: str) -> None:
        same = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)
        assert (same["Size"], same["SnapshotId"], same["AvailabilityZone"]) == (20, snapshot_id, ZONE)
        assert ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id, Size=21)["Size"] == 21

    def test_a_volume_can_not_be_smaller_than_its_snapshot(self, ec2: Any, snapshot_id: str, refused: Any) -> None:
        with refused("InvalidParameterValue", snapshot_id, "20"):
            ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id, Size=19)

    def test_a_volume_needs_a_completed_snapshot(
        self, ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance, refused: Any
    ) -> None:
        ec2_server.settings(snapshot_seconds="forever")
        snapshot_id = ec2.create_snapshot(VolumeId=instance.root_volume_id)["SnapshotId"]
        with refused("IncorrectState", snapshot_id):
            ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)
        ec2_server.fail([snapshot_id])
        with refused("IncorrectState", snapshot_id):
            ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)

    @pytest.mark.parametrize(
        ("parameters", "error"),
        [
            ({"SnapshotId": UNKNOWN_SNAPSHOT}, f"InvalidSnapshot.NotFound {UNKNOWN_SNAPSHOT}"),
            ({"SnapshotId": "snap-1"}, "InvalidSnapshotID.Malformed snap-1"),
            ({}, "MissingParameter size/snapshot"),
            ({"Size": 1, "TagSpecifications": [FIFTY_ONE_TAGS]}, "TagLimitExceeded"),
            ({"Size": 1, "AvailabilityZone": "us-east-1q"}, "InvalidZone.NotFound us-east-1q"),
            ({"Size": 1, "AvailabilityZone": "eu-west-1a"}, "InvalidZone.NotFound eu-west-1a"),
        ],
    )
    def test_invalid_requests_are_refused_with_the_cause(
        self, ec2: Any, refused: Any, parameters: Any, error: Any
    ) -> None:
        with refused(*error.split()):
            ec2.create_volume(**{"AvailabilityZone": ZONE, **parameters})
        assert ec2.describe_volumes()["Volumes"] == []

    def test_a_volume_gets_its_tags_and_can_be_found(self, ec2: Any, snapshot_id: str) -> None:
        specification = [{"ResourceType": "volume", "Tags": [{"Key": "from", "Value": "backup"}]}]
        volume_id = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id, TagSpecifications=specification)[
            "VolumeId"
        ]
        for name, value in [("tag:from", "backup"), ("snapshot-id", snapshot_id), ("status", "available")]:
            found = ec2.describe_volumes(Filters=[{"Name": name, "Values": [value]}])["Volumes"]
            assert [volume["VolumeId"] for volume in found] == [volume_id]


class TestAClientToken:
    def test_the_same_request_answers_with_the_same_volume(self, ec2: Any, snapshot_id: str) -> None:
        request = {"AvailabilityZone": ZONE, "SnapshotId": snapshot_id, "ClientToken": "one"}
        made = {ec2.create_volume(**request)["VolumeId"] for _ in range(2)}
        assert {volume["VolumeId"] for volume in ec2.describe_volumes(VolumeIds=list(made))["Volumes"]} == made
        assert len(made) == 1
        assert ec2.create_volume(**request | {"ClientToken": "other"})["VolumeId"] not in made

    def test_a_different_request_is_refused(self, ec2: Any, refused: Any) -> None:
        ec2.create_volume(AvailabilityZone=ZONE, Size=1, ClientToken="one")
        with refused("IdempotentParameterMismatch", "'one'"):
            ec2.create_volume(AvailabilityZone=ZONE, Size=2, ClientToken="one")
        with refused("IdempotentParameterMismatch", "'one'"):
            ec2.create_volume(AvailabilityZone=ZONE, Size=1, ClientToken="one", VolumeType="gp3")

    def test_a_refused_request_does_not_use_up_the_token(self, ec2: Any) -> None:
        with pytest.raises(ClientError):
            ec2.create_volume(AvailabilityZone="us-east-1q", Size=1, ClientToken="one")
        assert ec2.create_volume(AvailabilityZone=ZONE, Size=1, ClientToken="one")["Size"] == 1

    def test_a_deleted_volume_is_answered_again(self, ec2: Any, refused: Any) -> None:
        request = {"AvailabilityZone": ZONE, "Size": 1, "ClientToken": "one"}
        gone = ec2.create_volume(**request)["VolumeId"]
        ec2.delete_volume(VolumeId=gone)
        assert ec2.create_volume(**request)["VolumeId"] == gone
        with refused("InvalidVolume.NotFound", gone):
            ec2.describe_volumes(VolumeIds=[gone])

    def test_reset_forgets_tokens(self, ec2: Any, ec2_server: EmbeddedEC2) -> None:
        request = {"AvailabilityZone": ZONE, "Size": 1, "ClientToken": "one"}
        gone = ec2.create_volume(**request)["VolumeId"]
        ec2_server.reset()
        assert ec2.create_volume(**request)["VolumeId"] != gone


class TestAttaching:
    def test_volume_and_instance_both_show_the_attachment(
        self, ec2: Any, instance: LaunchedInstance, volume_id: str
    ) -> None:
        ec2.attach_volume(VolumeId=volume_id, InstanceId=instance.instance_id, Device="/dev/sdg")
        (volume,) = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
        (attachment,) = volume["Attachments"]
        assert volume["State"] == "in-use"
        assert (attachment["InstanceId"], attachment["Device"]) == (instance.instance_id, "/dev/sdg")
        described = ec2.describe_instances(InstanceIds=[instance.instance_id])["Reservations"][0]["Instances"][0]
        assert "/dev/sdg" in [mapping["DeviceName"] for mapping in described["BlockDeviceMappings"]]

    def test_needs_a_free_device(self, ec2: Any, instance: LaunchedInstance, volume_id: str, refused: Any) -> None:
        for device in ("/dev/sda1", "/dev/sdf"):
            with refused("InvalidParameterValue", device, "already in use"):
                ec2.attach_volume(VolumeId=volume_id, InstanceId=instance.instance_id, Device=device)
        assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available"

    def test_needs_a_free_volume(self, ec2: Any, instance: LaunchedInstance, refused: Any) -> None:
        with refused("VolumeInUse", instance.root_volume_id):
            ec2.attach_volume(VolumeId=instance.root_volume_id, InstanceId=instance.instance_id, Device="/dev/sdg")

    def test_needs_the_same_zone(self, ec2: Any, instance: LaunchedInstance, refused: Any) -> None:
        elsewhere = ec2.create_volume(AvailabilityZone="us-east-1b", Size=1)["VolumeId"]
        with refused("InvalidVolume.ZoneMismatch", elsewhere, instance.instance_id):
            ec2.attach_volume(VolumeId=elsewhere, InstanceId=instance.instance_id, Device="/dev/sdg")

    def test_needs_an_instance_that_is_not_terminated(
        self, ec2: Any, instance: LaunchedInstance, volume_id: str, refused: Any
    ) -> None:
        ec2.terminate_instances(InstanceIds=[instance.instance_id])
        with refused("IncorrectState", instance.instance_id):
            ec2.attach_volume(VolumeId=volume_id, InstanceId=instance.instance_id, Device="/dev/sdg")

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"VolumeId": "vol-1"}, "InvalidVolumeID.Malformed vol-1"),
            ({"VolumeId": UNKNOWN_VOLUME}, f"InvalidVolume.NotFound {UNKNOWN_VOLUME}"),
            ({"InstanceId": "i-1"}, "InvalidInstanceID.Malformed i-1"),
            ({"InstanceId": UNKNOWN_INSTANCE}, f"InvalidInstanceID.NotFound {UNKNOWN_INSTANCE}"),
        ],
    )
    def test_needs_a_volume_and_an_instance_that_exist(
        self, ec2: Any, instance: LaunchedInstance, volume_id: str, refused: Any, wrong: dict[str, str], error: Any
    ) -> None:
        right = {"VolumeId": volume_id, "InstanceId": instance.instance_id, "Device": "/dev/sdg"}
        with refused(*error.split()):
            ec2.attach_volume(**{**right, **wrong})

    def test_detaching_needs_no_instance_id(self, ec2: Any, instance: LaunchedInstance, refused: Any) -> None:
        volume_id = instance.volume_ids["/dev/sdf"]
        assert ec2.detach_volume(VolumeId=volume_id)["InstanceId"] == instance.instance_id
        with refused("IncorrectState", volume_id, "available"):
            ec2.detach_volume(VolumeId=volume_id)


class TestDescribing:
    def test_describe_instances_has_what_a_backup_needs(self, ec2: Any, instance: LaunchedInstance) -> None:
        described = ec2.describe_instances(InstanceIds=[instance.instance_id])["Reservations"][0]["Instances"][0]
        assert described["State"]["Name"] == "running"
        assert described["RootDeviceName"] == "/dev/sda1"
        assert described["Placement"]["AvailabilityZone"] == ZONE
        assert described["Tags"] == [{"Key": "Name", "Value": "web"}]
        assert "OutpostArn" not in described
        volumes = {mapping["DeviceName"]: mapping["Ebs"] for mapping in described["BlockDeviceMappings"]}
        assert {device: ebs["VolumeId"] for device, ebs in volumes.items()} == instance.volume_ids
        assert [ebs["Status"] for ebs in volumes.values()] == ["attached"] * 2
        assert volumes["/dev/sda1"]["DeleteOnTermination"]
        assert not volumes["/dev/sdf"]["DeleteOnTermination"]

    @pytest.mark.parametrize(
        ("ids", "error"),
        [
            (["i-1"], "InvalidInstanceID.Malformed i-1"),
            ([UNKNOWN_INSTANCE], f"InvalidInstanceID.NotFound {UNKNOWN_INSTANCE}"),
        ],
    )
    def test_unknown_or_malformed_instance_ids_are_refused(
        self, ec2: Any, instance: LaunchedInstance, refused: Any, ids: Any, error: Any
    ) -> None:
        with refused(*error.split()):
            ec2.describe_instances(InstanceIds=[instance.instance_id, *ids])

    @pytest.mark.parametrize(
        ("ids", "error"),
        [
            (["vol-1"], "InvalidVolumeID.Malformed vol-1"),
            ([UNKNOWN_VOLUME], f"InvalidVolume.NotFound '{UNKNOWN_VOLUME}'"),
        ],
    )
    def test_unknown_or_malformed_volume_ids_are_refused(
        self, ec2: Any, instance: LaunchedInstance, refused: Any, ids: Any, error: Any
    ) -> None:
        with refused(*error.split()):
            ec2.describe_volumes(VolumeIds=[instance.root_volume_id, *ids])

    def test_volumes_are_found_by_id_attachment_and_tag(self, ec2: Any, instance: LaunchedInstance) -> None:
        data, root = instance.volume_ids["/dev/sdf"], instance.root_volume_id
        looks: list[tuple[dict[str, Any], set[str]]] = [
            ({"VolumeIds": [root, root]}, {root}),
            ({"Filters": [{"Name": "attachment.instance-id", "Values": [instance.instance_id]}]}, {root, data}),
            ({"Filters": [{"Name": "tag:disk", "Values": ["logs"]}]}, {data}),
        ]
        for parameters, expected in looks:
            found = ec2.describe_volumes(**parameters)["Volumes"]
            assert {volume["VolumeId"] for volume in found} == expected

    def test_deleting_an_unknown_or_attached_volume_is_refused(
        self, ec2: Any, instance: LaunchedInstance, refused: Any
    ) -> None:
        with refused("InvalidVolumeID.Malformed", "vol-1"):
            ec2.delete_volume(VolumeId="vol-1")
        with refused("InvalidVolume.NotFound", UNKNOWN_VOLUME):
            ec2.delete_volume(VolumeId=UNKNOWN_VOLUME)
        with refused("VolumeInUse", instance.root_volume_id):
            ec2.delete_volume(VolumeId=instance.root_volume_id)

    def test_a_page_size_with_volume_ids_is_refused(self, ec2: Any, instance: LaunchedInstance, refused: Any) -> None:
        with refused("InvalidParameterCombination", "maxResults"):
            ec2.describe_volumes(VolumeIds=[instance.root_volume_id], MaxResults=5)


def test_a_launch_without_a_root_mapping_still_has_a_root_volume(ec2: Any) -> None:
    launched = ec2.run_instances(
        ImageId="ami-12345678",
        MinCount=1,
        MaxCount=1,
        BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5}}],
    )["Instances"][0]
    described = ec2.describe_instances(InstanceIds=[launched["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert {mapping["DeviceName"] for mapping in described["BlockDeviceMappings"]} == {"/dev/sda1", "/dev/sdf"}


def test_a_launch_template_keeps_its_mappings(ec2: Any) -> None:
    mappings = [{"DeviceName": device, "Ebs": {"VolumeSize": 5}} for device in ("/dev/sda1", "/dev/sdf")]
    ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData={"BlockDeviceMappings": mappings})
    launched = ec2.run_instances(
        ImageId="ami-12345678", MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": "t"}
    )["Instances"][0]
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": launched["InstanceId"]})["Snapshots"]
    assert [snapshot["VolumeSize"] for snapshot in made][-2:] == [5, 5]


def test_an_instance_of_a_registered_image_has_its_root_device(ec2: Any, snapshot_id: str) -> None:
    mappings = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}]
    image_id = ec2.register_image(Name="golden", RootDeviceName="/dev/xvda", BlockDeviceMappings=mappings)["ImageId"]
    launched = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)["Instances"][0]
    described = ec2.describe_instances(InstanceIds=[launched["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert described["RootDeviceName"] == "/dev/xvda"
    assert [mapping["DeviceName"] for mapping in described["BlockDeviceMappings"]] == ["/dev/xvda"]
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": launched["InstanceId"]})["Snapshots"]
    assert len(made) == 1
