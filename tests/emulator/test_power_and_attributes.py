"""Instances that stop and start over time; what a volume is, and what of it its attachment says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

ZONE = "us-east-1a"
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
OTHER = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0fedcba9876543210"
DEADLINE_SECONDS = 20


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    return ec2_server.launch([(20, "/dev/sdf", {})])


def state_of(ec2: Any, instance: LaunchedInstance) -> Any:
    described = ec2.describe_instances(InstanceIds=[instance.instance_id])["Reservations"][0]["Instances"][0]
    return described["State"]["Name"]


def wait_for(ec2: Any, instance: LaunchedInstance, state: str) -> None:
    give_up = time.monotonic() + DEADLINE_SECONDS
    while state_of(ec2, instance) != state:
        assert time.monotonic() < give_up
        time.sleep(0.05)


class TestPower:
    def test_stopping_and_starting_take_their_time(
        self, ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance, refused: Any
    ) -> None:
        ids = [instance.instance_id]
        ec2_server.settings(instance_seconds=1.0)
        [stopping] = ec2.stop_instances(InstanceIds=ids)["StoppingInstances"]
        assert (stopping["PreviousState"]["Name"], stopping["CurrentState"]["Name"]) == ("running", "stopping")
        assert state_of(ec2, instance) == "stopping"
        with refused("IncorrectInstanceState", instance.instance_id):
            ec2.start_instances(InstanceIds=ids)
        wait_for(ec2, instance, "stopped")
        [starting] = ec2.start_instances(InstanceIds=ids)["StartingInstances"]
        assert (starting["PreviousState"]["Name"], starting["CurrentState"]["Name"]) == ("stopped", "pending")
        with refused("IncorrectInstanceState", instance.instance_id):
            ec2.stop_instances(InstanceIds=ids)
        wait_for(ec2, instance, "running")

    def test_both_can_be_repeated(self, ec2: Any, instance: LaunchedInstance) -> None:
        ids = [instance.instance_id]
        [again] = ec2.start_instances(InstanceIds=ids)["StartingInstances"]
        assert (again["PreviousState"]["Name"], again["CurrentState"]["Name"]) == ("running", "running")
        for _ in range(2):
            ec2.stop_instances(InstanceIds=ids)
            assert state_of(ec2, instance) == "stopped"

    def test_a_terminated_instance_can_neither_stop_nor_start(
        self, ec2: Any, instance: LaunchedInstance, refused: Any
    ) -> None:
        ec2.terminate_instances(InstanceIds=[instance.instance_id])
        for change in (ec2.stop_instances, ec2.start_instances):
            with refused("IncorrectInstanceState", instance.instance_id):
                change(InstanceIds=[instance.instance_id])

    def test_stop_protection_and_one_time_spot_instances_are_respected(
        self, ec2: Any, instance: LaunchedInstance, refused: Any
    ) -> None:
        ec2.modify_instance_attribute(InstanceId=instance.instance_id, DisableApiStop={"Value": True})
        with refused("OperationNotPermitted", instance.instance_id):
            ec2.stop_instances(InstanceIds=[instance.instance_id])
        options = {"MarketType": "spot"}
        launched = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, InstanceMarketOptions=options)
        spot = launched["Instances"][0]["InstanceId"]
        with refused("UnsupportedOperation", spot):
            ec2.stop_instances(InstanceIds=[spot])

    def test_the_root_volume_leaves_a_stopped_instance_only_and_is_needed_to_start(
        self, ec2: Any, instance: LaunchedInstance, refused: Any
    ) -> None:
        with refused("OperationNotPermitted", instance.root_volume_id):
            ec2.detach_volume(VolumeId=instance.root_volume_id)
        ec2.stop_instances(InstanceIds=[instance.instance_id])
        ec2.detach_volume(VolumeId=instance.root_volume_id)
        with refused("IncorrectInstanceState", "/dev/sda1"):
            ec2.start_instances(InstanceIds=[instance.instance_id])
        ec2.attach_volume(VolumeId=instance.root_volume_id, InstanceId=instance.instance_id, Device="/dev/sda1")
        ec2.start_instances(InstanceIds=[instance.instance_id])
        assert state_of(ec2, instance) == "running"


class TestStatus:
    @pytest.fixture
    def status_of(self, ec2: Any) -> Any:
        """The state of each instance, and what its checks found."""

        def ask(**options: Any) -> dict[str, tuple[str, str, str]]:
            return {
                entry["InstanceId"]: (
                    entry["InstanceState"]["Name"],
                    entry["SystemStatus"]["Status"],
                    entry["InstanceStatus"]["Status"],
                )
                for entry in ec2.describe_instance_status(**options)["InstanceStatuses"]
            }

        return ask

    def test_only_running_instances_are_told_unless_all_are_asked_for(
        self, ec2: Any, ec2_server: EmbeddedEC2, status_of: Any
    ) -> None:
        running, stopped, gone = (ec2_server.launch().instance_id for _ in range(3))
        ec2.stop_instances(InstanceIds=[stopped])
        ec2.terminate_instances(InstanceIds=[gone])
        well, unknown = ("running", "ok", "ok"), ("not-applicable", "not-applicable")
        assert status_of() == status_of(InstanceIds=[running, stopped]) == {running: well}
        everything = {running: well, stopped: ("stopped", *unknown), gone: ("terminated", *unknown)}
        assert status_of(IncludeAllInstances=True) == everything
        assert status_of(IncludeAllInstances=True, InstanceIds=[stopped]) == {stopped: everything[stopped]}
        only = [{"Name": "instance-state-name", "Values": ["stopped"]}]
        assert status_of(IncludeAllInstances=True, Filters=only) == {stopped: everything[stopped]}

    def test_a_check_says_what_it_checked(self, ec2: Any, instance: LaunchedInstance) -> None:
        [status] = ec2.describe_instance_status(InstanceIds=[instance.instance_id])["InstanceStatuses"]
        passed = {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}
        assert status["InstanceStatus"] == status["SystemStatus"] == passed
        assert status["AvailabilityZone"] == ZONE

    def test_checks_take_their_time_after_a_launch_and_after_a_start(
        self, ec2: Any, ec2_server: EmbeddedEC2, status_of: Any
    ) -> None:
        ec2_server.settings(status_seconds="forever")
        instance_id = ec2_server.launch().instance_id
        assert status_of() == {instance_id: ("running", "initializing", "initializing")}
        ec2.stop_instances(InstanceIds=[instance_id])
        ec2_server.settings(status_seconds=0.7)
        ec2.start_instances(InstanceIds=[instance_id])
        assert status_of() == {instance_id: ("running", "initializing", "initializing")}
        ec2.get_waiter("instance_status_ok").wait(
            InstanceIds=[instance_id], WaiterConfig={"Delay": 0.05, "MaxAttempts": 400}
        )
        assert status_of() == {instance_id: ("running", "ok", "ok")}

    def test_a_pending_instance_has_no_status_yet(self, ec2: Any, ec2_server: EmbeddedEC2, status_of: Any) -> None:
        instance_id = ec2_server.launch().instance_id
        ec2.stop_instances(InstanceIds=[instance_id])
        ec2_server.settings(instance_seconds="forever")
        ec2.start_instances(InstanceIds=[instance_id])
        assert status_of() == {}
        assert status_of(IncludeAllInstances=True) == {instance_id: ("pending", "not-applicable", "not-applicable")}

    def test_there_are_pages(self, ec2: Any, ec2_server: EmbeddedEC2) -> None:
        ids = [ec2_server.launch().instance_id for _ in range(3)]
        pages = ec2.get_paginator("describe_instance_status").paginate(PaginationConfig={"PageSize": 2})
        assert [[entry["InstanceId"] for entry in page["InstanceStatuses"]] for page in pages] == [ids[:2], ids[2:]]

    def test_what_ec2_refuses_is_refused(self, ec2: Any, instance: LaunchedInstance, refused: Any) -> None:
        unknown = "i-0123456789abcdef0"
        with refused("InvalidInstanceID.NotFound", unknown):
            ec2.describe_instance_status(InstanceIds=[unknown])
        with refused("InvalidInstanceID.Malformed", "i-xyz"):
            ec2.describe_instance_status(InstanceIds=["i-xyz"])
        with refused("InvalidParameterCombination", "maxResults"):
            ec2.describe_instance_status(InstanceIds=[instance.instance_id], MaxResults=10)
        with refused("InvalidPaginationToken"):
            ec2.describe_instance_status(NextToken="nonsense")
        with refused("DryRunOperation", status=412):
            ec2.describe_instance_status(DryRun=True)


class TestDeleteOnTermination:
    def test_an_attached_volume_stays_unless_its_attachment_is_changed(
        self, ec2: Any, instance: LaunchedInstance, refused: Any
    ) -> None:
        data = instance.volume_ids["/dev/sdf"]

        def says() -> Any:
            return ec2.describe_volumes(VolumeIds=[data])["Volumes"][0]["Attachments"][0]["DeleteOnTermination"]

        assert says() is False
        mapping = {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}
        ec2.modify_instance_attribute(InstanceId=instance.instance_id, BlockDeviceMappings=[mapping])
        assert says() is True
        with refused("InvalidInstanceAttributeValue", "/dev/sdq"):
            ec2.modify_instance_attribute(
                InstanceId=instance.instance_id, BlockDeviceMappings=[{**mapping, "DeviceName": "/dev/sdq"}]
            )
        ec2.terminate_instances(InstanceIds=[instance.instance_id])
        assert ec2.describe_volumes()["Volumes"] == []


class TestAttributes:
    @pytest.mark.parametrize(
        ("asked", "made"),
        [
            ({}, {"VolumeType": "gp2", "Iops": 100}),
            ({"Size": 1000}, {"VolumeType": "gp2", "Iops": 3000}),
            ({"VolumeType": "gp3"}, {"VolumeType": "gp3", "Iops": 3000, "Throughput": 125}),
            (
                {"VolumeType": "gp3", "Iops": 6000, "Throughput": 250},
                {"VolumeType": "gp3", "Iops": 6000, "Throughput": 250},
            ),
            ({"VolumeType": "io2", "Iops": 4000, "MultiAttachEnabled": True}, {"MultiAttachEnabled": True}),
        ],
    )
    def test_a_volume_has_what_was_asked_for_and_the_defaults_of_its_type(
        self, ec2: Any, asked: dict[str, Any], made: dict[str, Any]
    ) -> None:
        volume_id = ec2.create_volume(**{"AvailabilityZone": ZONE, "Size": 8, **asked})["VolumeId"]
        [volume] = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
        assert made.items() <= volume.items()

    def test_the_volume_of_an_encrypted_snapshot_has_its_key(self, ec2: Any) -> None:
        asked = {"AvailabilityZone": ZONE, "Size": 8, "Encrypted": True, "KmsKeyId": "alias/shop"}
        snapshot = ec2.create_snapshot(VolumeId=ec2.create_volume(**asked)["VolumeId"])
        again = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot["SnapshotId"])
        assert (again["Encrypted"], again["KmsKeyId"], again["VolumeType"]) == (True, "alias/shop", "gp2")
        other = ec2.create_volume(
            AvailabilityZone=ZONE, SnapshotId=snapshot["SnapshotId"], Encrypted=True, KmsKeyId="alias/other"
        )
        assert other["KmsKeyId"] == "alias/other"

    def test_an_archived_snapshot_makes_no_volume(self, ec2: Any, instance: LaunchedInstance, refused: Any) -> None:
        snapshot_id = ec2.create_snapshot(VolumeId=instance.root_volume_id)["SnapshotId"]
        ec2.modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")
        assert ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["StorageTier"] == "archive"
        with refused("IncorrectState", snapshot_id, "archived"):
            ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)

    def test_a_rate_of_initialization_is_for_snapshots_only_and_has_limits(
        self, ec2: Any, instance: LaunchedInstance, refused: Any
    ) -> None:
        snapshot_id = ec2.create_snapshot(VolumeId=instance.root_volume_id)["SnapshotId"]
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id, VolumeInitializationRate=300)
        for wrong in ({"SnapshotId": snapshot_id, "VolumeInitializationRate": 99}, {"VolumeInitializationRate": 200}):
            with refused("InvalidParameterValue", "volumeInitializationRate"):
                ec2.create_volume(**{"AvailabilityZone": ZONE, "Size": 8, **wrong})


class TestOutposts:
    def test_a_volume_is_on_the_outpost_that_it_was_made_for_and_fits_instances_there(
        self, ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance, refused: Any
    ) -> None:
        ec2_server.place(instance.instance_id, outpost_arn=OUTPOST)
        there = ec2.create_volume(AvailabilityZone=ZONE, Size=1, OutpostArn=OUTPOST)["VolumeId"]
        assert ec2.describe_volumes(VolumeIds=[there])["Volumes"][0]["OutpostArn"] == OUTPOST
        ec2.attach_volume(VolumeId=there, InstanceId=instance.instance_id, Device="/dev/sdg")
        elsewhere = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
        with refused("InvalidVolume.ZoneMismatch", elsewhere, "Outpost"):
            ec2.attach_volume(VolumeId=elsewhere, InstanceId=instance.instance_id, Device="/dev/sdh")
        with refused("InvalidParameterValue", "outpostArn"):
            ec2.create_volume(AvailabilityZone=ZONE, Size=1, OutpostArn="arn:aws:outposts")

    def test_a_snapshot_on_an_outpost_is_usable_there_only(
        self, ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance, refused: Any
    ) -> None:
        ec2_server.place(instance.instance_id, outpost_arn=OUTPOST)
        specification = {"InstanceId": instance.instance_id}
        taken = ec2.create_snapshots(InstanceSpecification=specification, OutpostArn=OUTPOST)["Snapshots"]
        snapshot_id = taken[0]["SnapshotId"]
        for wrong in ({}, {"OutpostArn": OTHER}):
            with refused("InvalidParameterValue", snapshot_id, OUTPOST):
                ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id, **wrong)
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id, OutpostArn=OUTPOST)
