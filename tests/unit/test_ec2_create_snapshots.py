"""`Ec2.create_snapshots`: what reaches AWS for each input, how often, and what comes back."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.session import make_ec2_client
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.sets.inputs import SetInputs
from snapset.sets.tags import fit

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

DATA, SCRATCH = "/dev/sdf", "/dev/sdg"
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
SET = "set-0123456789abcdef0"

Param = dict[str, str]


def without_tags(call: dict[str, Any]) -> Param:
    return {key: value for key, value in call["params"].items() if not key.startswith("TagSpecification.1.Tag.")}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"exclude_boot_volume": True}, {"InstanceSpecification.ExcludeBootVolume": "true"}),
        ({"description": "before release 42 - ü"}, {"Description": "before release 42 - ü"}),
        ({"description": ""}, {}),
        ({"copy_tags_from_source": "volume"}, {"CopyTagsFromSource": "volume"}),
        ({"outpost_arn": OUTPOST}, {"OutpostArn": OUTPOST}),
        ({"location": "regional"}, {"Location": "regional"}),
        ({"scope": "a/b/c/d", "triggers": {"a": 1}, "region": "us-west-2"}, {}),
    ],
)
def test_each_input_is_one_parameter_and_what_is_left_out_is_not_sent(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, given: dict[str, Any], sent: Param
) -> None:
    ec2.place(inputs.instance_id, outpost_arn=OUTPOST)
    aws.create_snapshots(replace(inputs, **given).request(set_id=SET))
    [call] = ec2.calls("CreateSnapshots")
    always = {
        "InstanceSpecification.InstanceId": inputs.instance_id,
        "TagSpecification.1.ResourceType": "snapshot",
    }
    assert without_tags(call) == {**always, **sent}


def test_exclusions_are_sent_one_by_one(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, instance: LaunchedInstance
) -> None:
    data, scratch = instance.volume_ids[DATA], instance.volume_ids[SCRATCH]
    [taken] = aws.create_snapshots(replace(inputs, exclude_data_volume_ids=(data, scratch)).request(set_id=SET))
    params = ec2.calls("CreateSnapshots")[0]["params"]
    prefix = "InstanceSpecification.ExcludeDataVolumeId."
    assert {params[key] for key in params if key.startswith(prefix)} == {data, scratch}
    assert taken.volume_id == instance.root_volume_id


def test_all_tags_are_in_the_one_call(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, client: EC2Client) -> None:
    inputs = replace(inputs, tags={"app": "shop"}, change_id="c" * 300)
    wanted = {
        "app": "shop",
        "snapset:set": SET,
        "snapset:token": inputs.token,
        "snapset:resource": inputs.resource,
        "snapset:instance": inputs.instance_id,
        "snapset:change": fit("c" * 300),
    }
    taken = aws.create_snapshots(inputs.request(set_id=SET))
    params = ec2.calls("CreateSnapshots")[0]["params"]
    sent = {
        params[key]: params[key.replace(".Key", ".Value")]
        for key in params
        if re.fullmatch(r"TagSpecification\.1\.Tag\.\d+\.Key", key)
    }
    assert sent == wanted
    assert [snapshot.tags for snapshot in taken] == [wanted] * 3
    there = client.describe_snapshots(SnapshotIds=[snapshot.snapshot_id for snapshot in taken])["Snapshots"]
    assert [{tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} for snapshot in there] == [wanted] * 3
    assert ec2.calls("CreateTags") == []


def test_the_answer_is_what_describe_snapshots_says_later(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, instance: LaunchedInstance, client: EC2Client
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    taken = aws.create_snapshots(inputs.request(set_id=SET))
    seen = aws.describe_snapshots([snapshot.snapshot_id for snapshot in taken])
    assert {snapshot.snapshot_id: snapshot for snapshot in seen} == {
        snapshot.snapshot_id: snapshot for snapshot in taken
    }
    assert {(snapshot.volume_id, snapshot.size_gib) for snapshot in taken} == {
        (instance.root_volume_id, 8),
        (instance.volume_ids[DATA], 20),
        (instance.volume_ids[SCRATCH], 100),
    }
    assert {(snapshot.state, snapshot.progress, snapshot.encrypted) for snapshot in taken} == {
        ("pending", "0%", False)
    }
    [raw, *_] = client.describe_snapshots(SnapshotIds=[taken[0].snapshot_id])["Snapshots"]
    assert {snapshot.owner_id for snapshot in taken} == {raw["OwnerId"]}
    assert {snapshot.start_time for snapshot in taken} == {f"{raw['StartTime']:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"}


@pytest.mark.parametrize("code", ["InternalError", "RequestLimitExceeded"])
@pytest.mark.parametrize("kind", ["error", "error_after", "close_before", "close_after"])
def test_one_call_is_one_request_whatever_becomes_of_it(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, kind: str, code: str
) -> None:
    ec2.fault(action="CreateSnapshots", kind=kind, code=code, times=None)
    with pytest.raises((errors.NoAnswerError, errors.ThrottledError)):
        aws.create_snapshots(inputs.request(set_id=SET))
    assert len(ec2.calls("CreateSnapshots")) == 1


@pytest.mark.parametrize(("retries", "requests"), [(True, 3), (False, 1)])
@pytest.mark.parametrize("kind", ["error", "close_before"])
def test_a_client_tries_three_times_with_retries_and_once_without(
    settings: AwsSettings, ec2: EmbeddedEC2, kind: str, retries: bool, requests: int
) -> None:
    ec2.fault(action="DescribeInstances", kind=kind, times=None)
    client = make_ec2_client(settings, retries=retries)
    with pytest.raises(Exception, match=r"InternalError|Connection was closed"):
        client.describe_instances()
    assert len(ec2.calls("DescribeInstances")) == requests


def test_a_check_is_a_dry_run_of_the_same_call_and_creates_nothing(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, client: EC2Client
) -> None:
    inputs = replace(inputs, exclude_boot_volume=True, description="d", copy_tags_from_source="volume")
    aws.dry_run().create_snapshots(inputs.request(set_id=SET))
    assert client.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    aws.create_snapshots(inputs.request(set_id=SET))
    check, create = ec2.calls("CreateSnapshots")
    assert check["params"] == {**create["params"], "DryRun": "true"}
    assert (check["dry_run"], create["dry_run"]) == (True, False)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UnauthorizedOperation", errors.NotPermittedError),
        ("InvalidInstanceID.NotFound", errors.NotFoundError),
        ("SnapshotLimitExceeded", errors.SnapsetError),
    ],
)
def test_a_check_raises_what_the_call_would(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, code: str, kind: type[errors.SnapsetError]
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code=code)
    with pytest.raises(kind, match=f"dry run: creating snapshots of {inputs.instance_id}: {code}"):
        aws.dry_run().create_snapshots(inputs.request(set_id=SET))
