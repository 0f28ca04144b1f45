"""`pulumi_aws` with the `aws` plugin, on which snapset's tests of whole stacks rely.

Where the real plugin is installed, these tests run with it, which shows that the stand-in behaves like it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import Project, Run, changes, mutating

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

pytestmark = pytest.mark.long

REGION = "eu-west-1"
AMI, NEWER_AMI = "ami-12345678", "ami-87654321"
DEVICES = ["/dev/sdf", "/dev/sdg"]

SERVER = f"""
import pulumi
import pulumi_aws as aws

config = pulumi.Config()
provider = aws.Provider("there", region="{REGION}", default_tags={{"tags": {{"owner": "shop", "cost:center": "7"}}}})
options = pulumi.ResourceOptions(provider=provider)
server = aws.ec2.Instance(
    "server",
    ami=config.get("ami") or "{AMI}",
    instance_type=config.get("type") or "t3.micro",
    availability_zone="{REGION}a",
    root_block_device={{"volume_size": 12}},
    tags=config.get_object("tags") or {{"Name": "web"}},
    user_data=config.get_secret("userData"),
    opts=pulumi.ResourceOptions(provider=provider, delete_before_replace=config.get_bool("deleteFirst")),
)
pulumi.export("id", server.id)
pulumi.export("ip", server.private_ip)
pulumi.export("root", server.root_block_device.volume_id)
for device in config.get_object("devices") or []:
    volume = aws.ebs.Volume(f"volume {{device}}", availability_zone="{REGION}a", size=20, opts=options)
    aws.ec2.VolumeAttachment(
        f"attachment {{device}}", device_name=device, instance_id=server.id, volume_id=volume.id, opts=options
    )
"""


def fails(project: Project) -> Run:
    """Check that `pulumi up` fails. The program does not import snapset, and may end with a traceback of Pulumi's."""
    failed = project.up()
    assert failed.code != 0
    return failed


@pytest.fixture
def aws_program(program: Callable[[str], Project]) -> Callable[[str], Project]:
    def make(source: str) -> Project:
        project = program(source)
        aws_plugin.install(project.env)
        return project

    return make


@pytest.fixture
def server(aws_program: Callable[[str], Project]) -> Project:
    return aws_program(SERVER)


@pytest.fixture
def server_with_volumes(server: Project) -> Project:
    server.config["devices"] = DEVICES
    return server


def instances_in(ec2: EmbeddedEC2) -> dict[str, dict[str, Any]]:
    """The instances that are not terminated, by id."""
    reservations = ec2.ec2(region=REGION).describe_instances()["Reservations"]
    found: list[Any] = [instance for reservation in reservations for instance in reservation["Instances"]]
    return {instance["InstanceId"]: instance for instance in found if instance["State"]["Name"] != "terminated"}


def tags_of(resource: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource["Tags"]}


def recorded(project: Project, kind: str) -> list[dict[str, Any]]:
    return [resource for resource in project.state()["deployment"]["resources"] if resource["type"] == kind]


def test_a_preview_plans_everything_and_prints_no_warning_about_the_plugin(
    server_with_volumes: Project, ec2: EmbeddedEC2
) -> None:
    planned = server_with_volumes.preview().ok()
    assert "+ 7 to create" in planned.stdout
    assert "warning" not in planned.text
    assert mutating(ec2.calls()) == []


def test_up_makes_the_resources_and_the_outputs_match_ec2(server_with_volumes: Project, ec2: EmbeddedEC2) -> None:
    server_with_volumes.up().ok()
    outputs = server_with_volumes.outputs()
    [(instance_id, instance)] = instances_in(ec2).items()
    blocks = {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]}
    volumes = {volume["VolumeId"]: volume for volume in ec2.ec2(region=REGION).describe_volumes()["Volumes"]}
    assert outputs == {"id": instance_id, "ip": instance["PrivateIpAddress"], "root": blocks.pop("/dev/sda1")}
    assert tags_of(instance) == {"Name": "web", "owner": "shop", "cost:center": "7"}
    assert sorted(blocks) == DEVICES
    assert {tags_of(volumes[volume_id])["owner"] for volume_id in blocks.values()} == {"shop"}
    assert sorted(volume["Size"] for volume in volumes.values()) == [12, 20, 20]
    [state] = recorded(server_with_volumes, "aws:ec2/instance:Instance")
    assert state["outputs"]["arn"] == f"arn:aws:ec2:{REGION}:123456789012:instance/{instance_id}"
    assert state["outputs"]["tags"] == {"Name": "web"}
    assert state["outputs"]["tagsAll"] == tags_of(instance)
    assert state["outputs"]["region"] == REGION


def test_up_and_refresh_without_changes_change_nothing(server_with_volumes: Project, ec2: EmbeddedEC2) -> None:
    server_with_volumes.up().ok()
    ec2.clear_calls()
    assert changes(server_with_volumes.up().ok()) == {"unchanged": 7}
    assert changes(server_with_volumes.refresh().ok()) == {"unchanged": 7}
    assert changes(server_with_volumes.up().ok()) == {"unchanged": 7}
    assert mutating(ec2.calls()) == []


def test_tags_change_in_place_and_refresh_and_up_undo_changes_by_hand(server: Project, ec2: EmbeddedEC2) -> None:
    server.up().ok()
    before = server.outputs()
    ec2.clear_calls()
    server.config["tags"] = {"Name": "web2"}
    assert changes(server.up().ok()) == {"updated": 1, "unchanged": 2}
    assert server.outputs() == before
    assert mutating(ec2.calls()) == ["CreateTags"]
    ec2.ec2(region=REGION).create_tags(Resources=[before["id"]], Tags=[{"Key": "Name", "Value": "by hand"}])
    ec2.ec2(region=REGION).delete_tags(Resources=[before["id"]], Tags=[{"Key": "owner"}])
    assert changes(server.refresh().ok())["updated"] == 1
    assert changes(server.up().ok())["updated"] == 1
    assert tags_of(instances_in(ec2)[before["id"]]) == {"Name": "web2", "owner": "shop", "cost:center": "7"}


def test_a_new_type_or_new_user_data_stops_the_instance_and_keeps_it(server: Project, ec2: EmbeddedEC2) -> None:
    server.up().ok()
    instance_id = server.outputs()["id"]
    ec2.clear_calls()
    server.config |= {"type": "t3.small", "userData": "echo topsecret"}
    assert changes(server.up().ok())["updated"] == 1
    assert mutating(ec2.calls()) == ["StopInstances", *["ModifyInstanceAttribute"] * 2, "StartInstances"]
    assert instances_in(ec2)[instance_id]["InstanceType"] == "t3.small"
    assert "topsecret" not in json.dumps(server.state())


def test_a_new_image_makes_the_new_instance_before_terminating_the_old(server: Project, ec2: EmbeddedEC2) -> None:
    server.up().ok()
    ec2.clear_calls()
    server.config["ami"] = NEWER_AMI
    assert changes(server.up().ok())["replaced"] == 1
    assert mutating(ec2.calls()) == ["RunInstances", "TerminateInstances"]
    [instance] = instances_in(ec2).values()
    assert instance["ImageId"] == NEWER_AMI


def test_delete_before_replace_detaches_the_volumes_and_attaches_them_to_the_new_instance(
    server_with_volumes: Project, ec2: EmbeddedEC2
) -> None:
    server_with_volumes.config["deleteFirst"] = True
    server_with_volumes.up().ok()
    ec2.clear_calls()
    server_with_volumes.config["ami"] = NEWER_AMI
    server_with_volumes.up().ok()
    detached, attached = ["DetachVolume"] * 2, ["AttachVolume"] * 2
    assert mutating(ec2.calls()) == [*detached, "TerminateInstances", "RunInstances", *attached]
    [instance] = instances_in(ec2).values()
    assert sorted(mapping["DeviceName"] for mapping in instance["BlockDeviceMappings"]) == ["/dev/sda1", *DEVICES]


def test_volumes_can_not_be_attached_to_the_new_instance_while_attached_to_the_old(
    server_with_volumes: Project, ec2: EmbeddedEC2
) -> None:
    server_with_volumes.up().ok()
    server_with_volumes.config["ami"] = NEWER_AMI
    failed = fails(server_with_volumes)
    assert "VolumeInUse" in failed.text
    assert len(instances_in(ec2)) == 2


def test_functions_find_existing_resources(aws_program: Callable[[str], Project], ec2: EmbeddedEC2) -> None:
    web, other = ec2.launch(tags={"role": "web"}), ec2.launch(tags={"role": "db"})
    stopped = ec2.launch(tags={"role": "web"})
    ec2.ec2().stop_instances(InstanceIds=[stopped.instance_id])
    project = aws_program(
        """
import pulumi
import pulumi_aws as aws

pulumi.export("web", aws.ec2.get_instances(instance_tags={"role": "web"}).ids)
pulumi.export("database", aws.ec2.get_instance(filters=[{"name": "tag:role", "values": ["db"]}]).id)
pulumi.export("elsewhere", aws.ec2.get_instances_output(instance_tags={"role": "web"}, region="eu-west-1").ids)
pulumi.export("region", aws.get_region().region)
subnet = aws.ec2.get_subnet(filters=[{"name": "availability-zone", "values": ["us-east-1a"]}])
pulumi.export("subnet", [subnet.availability_zone, subnet.outpost_arn])
pulumi.export("zone", aws.get_availability_zone(name="us-east-1-bos-1a", all_availability_zones=True).zone_type)
"""
    )
    project.up().ok()
    assert project.outputs() == {
        "web": [web.instance_id],
        "database": other.instance_id,
        "elsewhere": [],
        "region": ec2.region,
        "subnet": ["us-east-1a", ""],
        "zone": "local-zone",
    }


def test_a_resource_can_have_its_own_region(aws_program: Callable[[str], Project], ec2: EmbeddedEC2) -> None:
    project = aws_program(
        """
import pulumi_aws as aws

aws.ebs.Volume("here", availability_zone="us-east-1a", size=1)
aws.ebs.Volume("there", availability_zone="eu-west-1a", size=1, region="eu-west-1")
"""
    )
    project.up().ok()
    assert sorted(call["region"] for call in ec2.calls("CreateVolume")) == ["eu-west-1", "us-east-1"]
    project.destroy().ok()
    assert sorted(call["region"] for call in ec2.calls("DeleteVolume")) == ["eu-west-1", "us-east-1"]


def test_an_instance_terminated_by_hand_is_dropped_by_refresh_and_made_again(
    server: Project, ec2: EmbeddedEC2
) -> None:
    server.up().ok()
    ec2.ec2(region=REGION).terminate_instances(InstanceIds=[server.outputs()["id"]])
    server.refresh().ok()
    assert recorded(server, "aws:ec2/instance:Instance") == []
    assert changes(server.up().ok())["created"] == 1
    assert list(instances_in(ec2)) == [server.outputs()["id"]]


def test_destroy_deletes_everything_and_needs_no_program(server_with_volumes: Project, ec2: EmbeddedEC2) -> None:
    server_with_volumes.up().ok()
    (server_with_volumes.cwd / "__main__.py").write_text("raise SystemExit('it ran')")
    assert changes(server_with_volumes.refresh().ok()) == {"unchanged": 7}
    assert changes(server_with_volumes.destroy().ok()) == {"deleted": 7}
    assert instances_in(ec2) == {}
    assert ec2.ec2(region=REGION).describe_volumes()["Volumes"] == []


def test_an_ec2_error_fails_the_resource_with_what_ec2_said(server: Project, ec2: EmbeddedEC2) -> None:
    ec2.fault(action="RunInstances", kind="error", code="UnauthorizedOperation", message="You are not authorized.")
    failed = fails(server)
    assert "api error UnauthorizedOperation: You are not authorized." in failed.text
    assert instances_in(ec2) == {}


@aws_plugin.on_standin_only
def test_an_input_that_the_stand_in_does_not_know_is_refused(
    aws_program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = aws_program(
        """
import pulumi_aws as aws

aws.ebs.Volume("volume", availability_zone="us-east-1a", size=1, final_snapshot=True)
"""
    )
    failed = project.preview().failed()
    assert "no input finalSnapshot" in failed.text
    assert mutating(ec2.calls()) == []


IMAGE = f"""
import pulumi
import pulumi_aws as aws

snapshots = pulumi.Config().require_object("snapshots")
provider = aws.Provider("there", region="{REGION}")
image = aws.ec2.Ami(
    "golden",
    name=pulumi.Config().get("name"),
    root_device_name="/dev/xvda",
    ebs_block_devices=[
        {{"device_name": device, "snapshot_id": snapshot_id}} for device, snapshot_id in snapshots.items()
    ],
    opts=pulumi.ResourceOptions(provider=provider),
)
server = aws.ec2.Instance(
    "server", ami=image.id, instance_type="t3.micro", opts=pulumi.ResourceOptions(provider=provider)
)
pulumi.export("image", image.id)
pulumi.export("root", server.root_block_device.volume_id)
"""


def test_an_image_of_snapshots_and_an_instance_of_it(aws_program: Callable[[str], Project], ec2: EmbeddedEC2) -> None:
    client = ec2.ec2(region=REGION)
    source = ec2.launch([(20, "/dev/sda1", {})], image={"root_device_name": "/dev/xvda"}, region=REGION)
    snapshots = {
        device: client.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        for device, volume_id in source.volume_ids.items()
    }
    project = aws_program(IMAGE)
    project.config["snapshots"] = snapshots
    project.up().ok()
    outputs = project.outputs()
    (image,) = client.describe_images(ImageIds=[outputs["image"]])["Images"]
    assert re.fullmatch("golden-[0-9a-f]{7}", image["Name"])
    assert (image["RootDeviceName"], image["Architecture"]) == ("/dev/xvda", "x86_64")
    assert (image["VirtualizationType"], image["EnaSupport"]) == ("paravirtual", False)
    ebs = {mapping["DeviceName"]: mapping["Ebs"] for mapping in image["BlockDeviceMappings"]}
    assert {device: volume["SnapshotId"] for device, volume in ebs.items()} == snapshots
    assert {(volume["VolumeType"], volume["DeleteOnTermination"]) for volume in ebs.values()} == {("standard", True)}
    (root,) = client.describe_volumes(VolumeIds=[outputs["root"]])["Volumes"]
    assert root["SnapshotId"] == snapshots["/dev/xvda"]
    for _ in range(2):
        assert changes(project.up("--refresh").ok()) == {"unchanged": 4}
    for name in ("by-hand", ""):
        project.config["name"] = name
        project.up().ok()
        (replaced,) = client.describe_images(Owners=["self"])["Images"]
        assert re.fullmatch(name or "golden-[0-9a-f]{7}", replaced["Name"])
        assert replaced["Name"] != image["Name"]
    project.destroy().ok()
    assert client.describe_images(Owners=["self"])["Images"] == []
    assert len(client.describe_snapshots(SnapshotIds=list(snapshots.values()))["Snapshots"]) == 2
