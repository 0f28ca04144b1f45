"""`stacks/outpost_server.py` on the real engine: a set is stored where its instance is, or in the Region."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import Project, changes, mutating

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

pytestmark = pytest.mark.long

OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
ANOTHER = "arn:aws:outposts:us-east-1:123456789012:outpost/op-fedcba98765432100"
ZONE, LOCAL_ZONE = "us-east-1a", "us-east-1-bos-1a"


@pytest.fixture
def stack(project: Project) -> Project:
    aws_plugin.install(project.env)
    project.config = {"program": "outpost_server"}
    return project


def make_subnet(ec2: EmbeddedEC2, zone: str, **place: Any) -> str:
    client = ec2.ec2()
    vpc_id = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made = client.create_subnet(VpcId=vpc_id, CidrBlock="10.0.0.0/24", AvailabilityZone=zone, **place)
    return made["Subnet"]["SubnetId"]


def sets_in(ec2: EmbeddedEC2) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        found.setdefault(tags["snapset:set"], []).append(snapshot)
    return found


def test_the_set_of_an_instance_on_an_outpost_is_stored_there_or_in_the_region(
    stack: Project, ec2: EmbeddedEC2
) -> None:
    stack.config |= {"subnetId": make_subnet(ec2, ZONE, OutpostArn=OUTPOST), "outpostArn": OUTPOST}
    ec2.clear_calls()
    planned = stack.preview().ok()
    assert "+ 6 to create" in planned.stdout
    assert mutating(ec2.calls()) == []

    stack.up().ok()
    outputs = stack.outputs()
    [reservation] = ec2.ec2().describe_instances(InstanceIds=[outputs["instanceId"]])["Reservations"]
    assert reservation["Instances"][0]["OutpostArn"] == OUTPOST
    [there] = sets_in(ec2).values()
    assert {snapshot["OutpostArn"] for snapshot in there} == {OUTPOST}
    assert sorted(snapshot["VolumeSize"] for snapshot in there) == [8, 20]
    assert {snapshot["SnapshotId"] for snapshot in there} == set(outputs["snapshotIds"])
    assert outputs["completed"] is True

    ec2.clear_calls()
    assert changes(stack.up().ok()) == {"unchanged": 6}
    stack.refresh().ok()
    assert changes(stack.up().ok()) == {"unchanged": 6}
    assert mutating(ec2.calls()) == []

    del stack.config["outpostArn"]
    assert changes(stack.up().ok())["replaced"] == 1
    set_id = stack.outputs()["setId"]
    in_region = sets_in(ec2)[set_id]
    assert len(in_region) == 2
    assert not any("OutpostArn" in snapshot for snapshot in in_region)

    assert f"{set_id} of {stack.outputs()['instanceId']} stays in AWS" in stack.destroy().ok().text
    assert len(sets_in(ec2)) == 2


def test_the_set_of_an_instance_in_a_local_zone_is_stored_there_or_in_the_region(
    stack: Project, ec2: EmbeddedEC2
) -> None:
    stack.config |= {"subnetId": make_subnet(ec2, LOCAL_ZONE), "location": "local"}
    stack.up().ok()
    [there] = sets_in(ec2).values()
    assert [snapshot["AvailabilityZone"] for snapshot in there] == [LOCAL_ZONE] * 2
    stack.config["location"] = "regional"
    stack.up().ok()
    in_region = sets_in(ec2)[stack.outputs()["setId"]]
    assert len(in_region) == 2
    assert not any("AvailabilityZone" in snapshot for snapshot in in_region)


@pytest.mark.parametrize(
    ("place", "wanted", "expected"),
    [
        ({"OutpostArn": OUTPOST}, {"outpostArn": ANOTHER}, rf"outpostArn: subnet-\w+ is on {OUTPOST}"),
        ({}, {"outpostArn": OUTPOST}, r"outpostArn: subnet-\w+ is not on an Outpost"),
        ({}, {"location": "local"}, rf"location: subnet-\w+ is in {ZONE}, which is not a Local Zone"),
    ],
    ids=["another Outpost", "not on an Outpost", "not in a Local Zone"],
)
def test_config_that_does_not_fit_the_subnet_is_refused_before_the_instance_exists(
    stack: Project, ec2: EmbeddedEC2, place: dict[str, str], wanted: dict[str, str], expected: str
) -> None:
    stack.config |= {"subnetId": make_subnet(ec2, ZONE, **place), **wanted}
    ec2.clear_calls()
    assert re.search(f"reading snapset:{expected}", stack.preview().failed().text)
    assert mutating(ec2.calls()) == []
