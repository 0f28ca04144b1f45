"""RegisterImage, DescribeImages, and instances that are run from an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

ROOT, DATA = "/dev/xvda", "/dev/sda1"
UNKNOWN_SNAPSHOT = "snap-0123456789abcdef0"


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    return ec2_server.launch([(20, DATA, {})], image={"root_device_name": ROOT})


@pytest.fixture
def snapshots(ec2: Any, instance: LaunchedInstance) -> dict[str, str]:
    """The snapshots of a set of the instance, by device."""
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance.instance_id})["Snapshots"]
    devices = {volume_id: device for device, volume_id in instance.volume_ids.items()}
    return {devices[snapshot["VolumeId"]]: snapshot["SnapshotId"] for snapshot in made}


@pytest.fixture
def request_(snapshots: Mapping[str, str]) -> dict[str, Any]:
    """A request that says as little as it can."""
    root = {"DeviceName": ROOT, "Ebs": {"SnapshotId": snapshots[ROOT]}}
    return {"Name": "golden", "RootDeviceName": ROOT, "BlockDeviceMappings": [root]}


def described(ec2: Any, instance_id: str) -> Any:
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def run(ec2: Any, image_id: str, **more: Any) -> Any:
    made = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, **more)["Instances"][0]
    return described(ec2, made["InstanceId"])


def volumes_of(ec2: Any, instance: Any) -> dict[str, Any]:
    """The instance's volumes by device."""
    mine = [{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
    return {volume["Attachments"][0]["Device"]: volume for volume in ec2.describe_volumes(Filters=mine)["Volumes"]}


class TestRegistering:
    def test_an_image_has_all_that_it_was_registered_with(
        self, ec2: Any, request_: dict[str, Any], snapshots: Any
    ) -> None:
        data = {"SnapshotId": snapshots[DATA], "VolumeSize": 25, "VolumeType": "gp3", "Iops": 4000, "Throughput": 300}
        properties = {
            "Architecture": "arm64",
            "BootMode": "uefi",
            "Description": "of a set",
            "EnaSupport": True,
            "TpmSupport": "v2.0",
            "VirtualizationType": "hvm",
        }
        tags = [{"Key": "snapset:set", "Value": "set-1"}]
        request_["BlockDeviceMappings"].append({"DeviceName": DATA, "Ebs": {**data, "DeleteOnTermination": False}})
        image_id = ec2.register_image(
            **request_, **properties, TagSpecifications=[{"ResourceType": "image", "Tags": tags}]
        )["ImageId"]
        (image,) = ec2.describe_images(ImageIds=[image_id])["Images"]
        assert properties.items() <= image.items()
        assert (image["Name"], image["RootDeviceName"], image["RootDeviceType"]) == ("golden", ROOT, "ebs")
        assert (image["State"], image["Public"], image["Tags"]) == ("available", False, tags)
        assert image["UsageOperation"] == "RunInstances"
        mappings = {mapping["DeviceName"]: mapping["Ebs"] for mapping in image["BlockDeviceMappings"]}
        assert mappings[DATA] == {**data, "DeleteOnTermination": False, "Encrypted": False}
        assert mappings[ROOT]["SnapshotId"] == snapshots[ROOT]
        assert mappings[ROOT]["VolumeSize"] == 8
        assert mappings[ROOT]["DeleteOnTermination"] is True

    def test_the_attributes_of_an_image_are_told_and_its_instances_have_its_uefi_data(
        self, ec2: Any, request_: dict[str, Any], refused: Any
    ) -> None:
        store = "QU1aTlVFRkk="
        image_id = ec2.register_image(**request_, BootMode="uefi", TpmSupport="v2.0", UefiData=store)["ImageId"]

        def attribute(name: str) -> Any:
            answer = ec2.describe_image_attribute(ImageId=image_id, Attribute=name)
            return answer[name[0].upper() + name[1:]].get("Value")

        assert [attribute(name) for name in ("uefiData", "bootMode", "tpmSupport")] == [store, "uefi", "v2.0"]
        assert attribute("imdsSupport") is None
        with refused("InvalidAMIID.NotFound", "ami-0123456789abcdef0"):
            ec2.describe_image_attribute(ImageId="ami-0123456789abcdef0", Attribute="uefiData")
        made = run(ec2, image_id)["InstanceId"]
        assert ec2.get_instance_uefi_data(InstanceId=made)["UefiData"] == store

    def test_an_image_without_uefi_data_has_none(self, ec2: Any, instance: LaunchedInstance) -> None:
        assert ec2.get_instance_uefi_data(InstanceId=instance.instance_id)["UefiData"] == ""

    def test_defaults_are_of_another_time(self, ec2: Any, request_: dict[str, Any]) -> None:
        ec2.register_image(**request_)
        (image,) = ec2.describe_images(Owners=["self"])["Images"]
        assert image["VirtualizationType"] == "paravirtual"
        assert image["EnaSupport"] is False
        assert not image.keys() & {"BootMode", "TpmSupport", "Description"}

    def test_an_image_is_found_by_name_owner_snapshot_and_tag(
        self, ec2: Any, ec2_server: EmbeddedEC2, request_: dict[str, Any], snapshots: Any
    ) -> None:
        image_id = ec2.register_image(**request_)["ImageId"]
        others = ec2_server.add_image()
        ec2.create_tags(Resources=[image_id], Tags=[{"Key": "app", "Value": "web"}])

        def found(name: str, value: str, **more: Any) -> list[str]:
            images = ec2.describe_images(Filters=[{"Name": name, "Values": [value]}], **more)["Images"]
            return [image["ImageId"] for image in images]

        assert found("name", "gol*") == found("tag:app", "web") == [image_id]
        assert found("block-device-mapping.snapshot-id", snapshots[ROOT], Owners=["self"]) == [image_id]
        assert found("block-device-mapping.snapshot-id", snapshots[DATA]) == []
        assert others not in [image["ImageId"] for image in ec2.describe_images(Owners=["self"])["Images"]]
        assert others in [image["ImageId"] for image in ec2.describe_images(Owners=["amazon"])["Images"]]

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"Name": "a:b:c"}, "InvalidAMIName.Malformed"),
            ({"RootDeviceName": "/dev/sda1"}, "InvalidBlockDeviceMapping /dev/sda1"),
            ({"BlockDeviceMappings": []}, f"InvalidBlockDeviceMapping {ROOT}"),
            ({"snapshot": UNKNOWN_SNAPSHOT}, f"InvalidSnapshot.NotFound {UNKNOWN_SNAPSHOT}"),
            ({"snapshot": "snap-1"}, "InvalidSnapshotID.Malformed snap-1"),
            ({"size": 7}, "InvalidBlockDeviceMapping 7GB"),
            ({"TagSpecifications": [{"ResourceType": "snapshot", "Tags": []}]}, "InvalidParameterValue snapshot"),
            ({"twice": True}, "InvalidBlockDeviceMapping"),
        ],
    )
    def test_what_is_wrong_registers_nothing(
        self, ec2: Any, request_: dict[str, Any], refused: Any, wrong: dict[str, Any], error: str
    ) -> None:
        (mapping,) = request_["BlockDeviceMappings"]
        mapping["Ebs"]["SnapshotId"] = wrong.pop("snapshot", mapping["Ebs"]["SnapshotId"])
        mapping["Ebs"] |= {"VolumeSize": wrong.pop("size")} if "size" in wrong else {}
        request_["BlockDeviceMappings"] *= 2 if wrong.pop("twice", False) else 1
        with refused(*error.split()):
            ec2.register_image(**request_ | wrong)
        assert ec2.describe_images(Owners=["self"])["Images"] == []

    def test_a_name_is_taken_until_its_image_is_deregistered(
        self, ec2: Any, request_: dict[str, Any], refused: Any
    ) -> None:
        image_id = ec2.register_image(**request_)["ImageId"]
        with refused("InvalidAMIName.Duplicate", "golden", image_id):
            ec2.register_image(**request_)
        ec2.deregister_image(ImageId=image_id)
        assert ec2.register_image(**request_)["ImageId"] != image_id

    def test_a_snapshot_has_to_be_completed(
        self, ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance, request_: dict[str, Any], refused: Any
    ) -> None:
        ec2_server.settings(snapshot_seconds="forever")
        pending = ec2.create_snapshot(VolumeId=instance.root_volume_id)["SnapshotId"]
        request_["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] = pending
        with refused("IncorrectState", pending):
            ec2.register_image(**request_)

    def test_a_dry_run_registers_nothing(self, ec2: Any, request_: dict[str, Any], refused: Any) -> None:
        with refused("DryRunOperation", status=412):
            ec2.register_image(**request_, DryRun=True)
        assert ec2.describe_images(Owners=["self"])["Images"] == []


class TestRunning:
    @pytest.fixture
    def image_id(self, ec2: Any, request_: dict[str, Any], snapshots: Any) -> Any:
        data = {"SnapshotId": snapshots[DATA], "VolumeType": "gp3", "Iops": 4000, "Throughput": 300}
        request_["BlockDeviceMappings"].append({"DeviceName": DATA, "Ebs": {**data, "DeleteOnTermination": False}})
        return ec2.register_image(**request_, Architecture="x86_64", BootMode="uefi-preferred", EnaSupport=True)[
            "ImageId"
        ]

    def test_an_instance_has_its_images_volumes(self, ec2: Any, snapshots: Any, image_id: str) -> None:
        instance = run(ec2, image_id, InstanceType="t3.micro")
        volumes = volumes_of(ec2, instance)
        assert {device: volume["SnapshotId"] for device, volume in volumes.items()} == snapshots
        assert {device: volume["Size"] for device, volume in volumes.items()} == {ROOT: 8, DATA: 20}
        data = volumes[DATA]
        assert (data["VolumeType"], data["Iops"], data["Throughput"]) == ("gp3", 4000, 300)
        kept = {device: not volume["Attachments"][0]["DeleteOnTermination"] for device, volume in volumes.items()}
        assert kept == {ROOT: False, DATA: True}
        assert (instance["RootDeviceName"], instance["ImageId"], instance["InstanceType"]) == (
            ROOT,
            image_id,
            "t3.micro",
        )
        assert (instance["BootMode"], instance["CurrentInstanceBootMode"]) == ("uefi-preferred", "uefi")

    def test_a_request_overrides_the_images_mappings(self, ec2: Any, snapshots: Any, image_id: str) -> None:
        mappings = [
            {"DeviceName": ROOT, "Ebs": {"VolumeSize": 30, "DeleteOnTermination": False}},
            {"DeviceName": DATA, "NoDevice": ""},
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5}},
        ]
        volumes = volumes_of(ec2, run(ec2, image_id, BlockDeviceMappings=mappings))
        assert {device: volume["Size"] for device, volume in volumes.items()} == {ROOT: 30, "/dev/sdf": 5}
        assert volumes[ROOT]["SnapshotId"] == snapshots[ROOT]
        assert not any(volume["Attachments"][0]["DeleteOnTermination"] for volume in volumes.values())

    def test_an_image_that_was_deregistered_runs_no_more(self, ec2: Any, image_id: str, refused: Any) -> None:
        ec2.deregister_image(ImageId=image_id)
        with refused("InvalidAMIID.Unavailable", image_id):
            run(ec2, image_id)

    def test_an_image_is_not_run_with_a_root_that_is_too_small(self, ec2: Any, image_id: str, refused: Any) -> None:
        with refused("InvalidBlockDeviceMapping", "7GB"):
            run(ec2, image_id, BlockDeviceMappings=[{"DeviceName": ROOT, "Ebs": {"VolumeSize": 7}}])


class TestLaunching:
    def test_an_instance_is_usual_unless_its_image_is_not(self, ec2: Any, ec2_server: EmbeddedEC2) -> None:
        usual = described(ec2, ec2_server.launch().instance_id)
        assert usual["Architecture"] == "x86_64"
        assert usual["CurrentInstanceBootMode"] == "legacy-bios"
        assert usual["UsageOperation"] == "RunInstances"
        assert usual["EnaSupport"] is True
        assert not usual.get("ProductCodes")
        assert not usual.keys() & {"BootMode", "TpmSupport"}

    def test_an_instance_is_what_its_image_is(self, ec2: Any, ec2_server: EmbeddedEC2) -> None:
        image = {"architecture": "arm64", "root_device_name": "xvda", "tpm_support": "v2.0"}
        image |= {"usage_operation": "RunInstances:0010", "boot_mode": "uefi"}
        launched = ec2_server.launch([(5, "/dev/sda1", {})], image={**image, "product_codes": ["abc"]})
        instance = described(ec2, launched.instance_id)
        assert (instance["Architecture"], instance["RootDeviceName"]) == ("arm64", "xvda")
        assert (instance["BootMode"], instance["CurrentInstanceBootMode"]) == ("uefi", "uefi")
        assert (instance["UsageOperation"], instance["TpmSupport"]) == ("RunInstances:0010", "v2.0")
        assert instance["ProductCodes"] == [{"ProductCodeId": "abc", "ProductCodeType": "marketplace"}]
        assert launched.volume_ids.keys() == {"xvda", "/dev/sda1"}
        assert launched.root_volume_id == launched.volume_ids["xvda"]
