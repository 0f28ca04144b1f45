"""Outposts and Local Zones: where a set may be stored, and how its snapshots show that."""

from __future__ import annotations

from typing import Any

import pytest
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
OTHER_OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-fedcba98765432100"
LOCAL_ZONE = "us-east-1-bos-1a"


@pytest.fixture
def on_outpost(ec2_server: EmbeddedEC2) -> Any:
    instance = ec2_server.launch([(1, "/dev/sdf", {})])
    ec2_server.place(instance.instance_id, outpost_arn=OUTPOST)
    return instance


@pytest.fixture
def in_local_zone(ec2_server: EmbeddedEC2) -> Any:
    return ec2_server.launch([(1, "/dev/sdf", {})], zone=LOCAL_ZONE)


@pytest.fixture
def create(ec2: Any) -> Any:
    def create_snapshots(instance: LaunchedInstance, **parameters: Any) -> Any:
        return ec2.create_snapshots(InstanceSpecification={"InstanceId": instance.instance_id}, **parameters)[
            "Snapshots"
        ]

    return create_snapshots


def describe(ec2: Any, instance: LaunchedInstance) -> Any:
    return ec2.describe_instances(InstanceIds=[instance.instance_id])["Reservations"][0]["Instances"][0]


class TestOutposts:
    def test_an_instance_and_its_volumes_say_where_they_are(self, ec2: Any, on_outpost: LaunchedInstance) -> None:
        assert describe(ec2, on_outpost)["OutpostArn"] == OUTPOST
        volumes = ec2.describe_volumes(VolumeIds=list(on_outpost.volume_ids.values()))["Volumes"]
        assert {volume["OutpostArn"] for volume in volumes} == {OUTPOST}

    def test_a_set_can_be_stored_on_the_outpost(self, ec2: Any, create: Any, on_outpost: LaunchedInstance) -> None:
        made = create(on_outpost, OutpostArn=OUTPOST)
        described = ec2.describe_snapshots(SnapshotIds=[snapshot["SnapshotId"] for snapshot in made])["Snapshots"]
        assert [snapshot["OutpostArn"] for snapshot in made + described] == [OUTPOST] * 4

    def test_a_set_can_be_stored_in_the_region(self, create: Any, on_outpost: LaunchedInstance) -> None:
        assert not any("OutpostArn" in snapshot for snapshot in create(on_outpost))

    def test_a_set_can_not_be_stored_on_another_outpost(
        self, create: Any, on_outpost: LaunchedInstance, refused: Any
    ) -> None:
        with refused("InvalidParameterValue", OTHER_OUTPOST):
            create(on_outpost, OutpostArn=OTHER_OUTPOST)

    def test_a_set_of_an_instance_in_the_region_can_not_be_stored_on_an_outpost(
        self, create: Any, ec2_server: EmbeddedEC2, refused: Any
    ) -> None:
        with refused("InvalidParameterValue", OUTPOST):
            create(ec2_server.launch(), OutpostArn=OUTPOST)

    @pytest.mark.parametrize(
        "malformed",
        [
            "op-0123456789abcdef0",
            "arn:aws:outposts:us-east-1:123456789012:outpost/op-1",
            "arn:aws:ec2:us-east-1:123456789012:outpost/op-0123456789abcdef0",
            "arn:aws:outposts:us-east-1:1234:outpost/op-0123456789abcdef0",
        ],
    )
    def test_a_malformed_arn_is_refused(
        self, create: Any, ec2: Any, on_outpost: LaunchedInstance, refused: Any, malformed: Any
    ) -> None:
        with refused("InvalidParameterValue", malformed):
            create(on_outpost, OutpostArn=malformed)
        assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []

    @pytest.mark.parametrize("location", ["local", "regional"])
    def test_an_outpost_with_a_location_is_refused(
        self, create: Any, on_outpost: LaunchedInstance, refused: Any, location: str
    ) -> None:
        with refused("InvalidParameterCombination", "OutpostArn", "Location"):
            create(on_outpost, OutpostArn=OUTPOST, Location=location)

    def test_an_instance_is_on_the_outpost_of_its_subnet(self, ec2: Any) -> None:
        vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(
            VpcId=vpc_id, CidrBlock="10.0.0.0/24", AvailabilityZone="us-east-1a", OutpostArn=OUTPOST
        )["Subnet"]
        assert subnet["OutpostArn"] == OUTPOST
        launched = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, SubnetId=subnet["SubnetId"])
        assert launched["Instances"][0]["OutpostArn"] == OUTPOST


class TestLocalZones:
    def test_an_instance_and_its_volumes_say_where_they_are(self, ec2: Any, in_local_zone: Any) -> None:
        assert describe(ec2, in_local_zone)["Placement"]["AvailabilityZone"] == LOCAL_ZONE
        volumes = ec2.describe_volumes(VolumeIds=list(in_local_zone.volume_ids.values()))["Volumes"]
        assert {volume["AvailabilityZone"] for volume in volumes} == {LOCAL_ZONE}

    def test_a_local_set_is_stored_in_the_local_zone(self, ec2: Any, create: Any, in_local_zone: Any) -> None:
        made = create(in_local_zone, Location="local")
        described = ec2.describe_snapshots(SnapshotIds=[snapshot["SnapshotId"] for snapshot in made])["Snapshots"]
        assert [snapshot["AvailabilityZone"] for snapshot in made + described] == [LOCAL_ZONE] * 4

    @pytest.mark.parametrize("parameters", [{}, {"Location": "regional"}])
    def test_other_sets_are_stored_in_the_region(self, create: Any, in_local_zone: Any, parameters: Any) -> None:
        assert not any("AvailabilityZone" in snapshot for snapshot in create(in_local_zone, **parameters))

    def test_local_zones_are_listed_only_on_request(self, ec2: Any) -> None:
        def zones(**parameters: Any) -> Any:
            return ec2.describe_availability_zones(**parameters)["AvailabilityZones"]

        (zone,) = zones(ZoneNames=[LOCAL_ZONE])
        assert (zone["ZoneType"], zone["RegionName"]) == ("local-zone", "us-east-1")
        assert (zone["ParentZoneName"], zone["GroupName"]) == ("us-east-1a", "us-east-1-bos-1")
        assert LOCAL_ZONE in [zone["ZoneName"] for zone in zones(AllAvailabilityZones=True)]
        assert LOCAL_ZONE in [
            zone["ZoneName"] for zone in zones(Filters=[{"Name": "zone-type", "Values": ["local-zone"]}])
        ]
        assert {zone["ZoneType"] for zone in zones()} == {"availability-zone"}

    def test_a_subnet_can_be_in_a_local_zone(self, ec2: Any, create: Any) -> None:
        vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet_id = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.0.0/24", AvailabilityZone=LOCAL_ZONE)["Subnet"][
            "SubnetId"
        ]
        launched = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, SubnetId=subnet_id)
        spec = {"InstanceId": launched["Instances"][0]["InstanceId"]}
        made = ec2.create_snapshots(InstanceSpecification=spec, Location="local")["Snapshots"]
        assert [snapshot["AvailabilityZone"] for snapshot in made] == [LOCAL_ZONE]

    def test_a_volume_of_another_zone_can_not_be_attached(self, ec2: Any, in_local_zone: Any, refused: Any) -> None:
        volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
        with refused("InvalidVolume.ZoneMismatch"):
            ec2.attach_volume(VolumeId=volume_id, InstanceId=in_local_zone.instance_id, Device="/dev/sdg")
