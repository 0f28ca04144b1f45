"""The call log has every request and its result, but no credentials."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

UNKNOWN_INSTANCE = "i-0123456789abcdef0"


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    launched = ec2_server.launch()
    ec2_server.clear_calls()
    return launched


def test_a_call_is_logged_as_it_was_sent(ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance) -> None:
    ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance.instance_id},
        Description="a b&c",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "k", "Value": ""}]}],
    )
    (call,) = ec2_server.calls()
    assert call.pop("time").startswith("20")
    assert call.pop("n") > 0
    assert call == {
        "service": "ec2",
        "action": "CreateSnapshots",
        "params": {
            "InstanceSpecification.InstanceId": instance.instance_id,
            "Description": "a b&c",
            "TagSpecification.1.ResourceType": "snapshot",
            "TagSpecification.1.Tag.1.Key": "k",
            "TagSpecification.1.Tag.1.Value": "",
        },
        "region": "us-east-1",
        "access_key": "testing",
        "dry_run": False,
        "status": 200,
        "code": None,
        "fault": None,
        "carried_out": True,
    }


def attempt(call: Any, **parameters: Any) -> None:
    try:
        call(**parameters)
    except (ClientError, ConnectionClosedError, ReadTimeoutError):
        return


@pytest.mark.parametrize(
    ("script", "parameters", "outcome"),
    [
        ({}, {}, (200, None, None, True)),
        ({}, {"DryRun": True}, (412, "DryRunOperation", None, False)),
        ({}, {"InstanceId": UNKNOWN_INSTANCE}, (400, "InvalidInstanceID.NotFound", None, False)),
        ({"kind": "error"}, {}, (500, "InternalError", "error", False)),
        ({"kind": "error", "code": "RequestLimitExceeded"}, {}, (503, "RequestLimitExceeded", "error", False)),
        ({"kind": "error_after"}, {}, (500, "InternalError", "error_after", True)),
        (
            {"kind": "error_after"},
            {"InstanceId": UNKNOWN_INSTANCE},
            (500, "InternalError", "error_after", False),
        ),
        ({"kind": "close_before"}, {}, (None, None, "close_before", False)),
        ({"kind": "close_after"}, {}, (None, None, "close_after", True)),
        ({"kind": "delay"}, {}, (200, None, "delay", True)),
        ({"kind": "delay_after"}, {}, (200, None, "delay_after", True)),
        ({"kind": "deny"}, {}, (403, "UnauthorizedOperation", "deny", False)),
        ({"kind": "rate"}, {}, (503, "RequestLimitExceeded", "rate", False)),
    ],
)
def test_the_log_has_the_result_of_a_call(
    ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance, script: Any, parameters: Any, outcome: Any
) -> None:
    if script:
        ec2_server.fault(action="CreateSnapshots", **script)
    instance_id = parameters.get("InstanceId", instance.instance_id)
    rest = {name: value for name, value in parameters.items() if name != "InstanceId"}
    attempt(ec2.create_snapshots, InstanceSpecification={"InstanceId": instance_id}, **rest)
    (call,) = ec2_server.calls()
    assert (call["status"], call["code"], call["fault"], call["carried_out"]) == outcome
    assert call["dry_run"] == ("DryRun" in parameters)


def test_the_log_has_calls_that_have_not_ended(ec2_server: EmbeddedEC2, instance: LaunchedInstance) -> None:
    ec2_server.fault(kind="delay", action="CreateSnapshots", seconds=3600)
    spec = {"InstanceId": instance.instance_id}
    attempt(ec2_server.ec2(timeout=2).create_snapshots, InstanceSpecification=spec)
    (call,) = ec2_server.calls()
    assert (call["action"], call["status"], call["carried_out"]) == ("CreateSnapshots", None, False)


def test_calls_are_numbered_in_order_and_can_be_filtered_by_action(
    ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.describe_volumes()
    ec2.describe_snapshots()
    ec2.describe_volumes()
    calls = ec2_server.calls()
    assert [call["action"] for call in calls] == ["DescribeVolumes", "DescribeSnapshots", "DescribeVolumes"]
    assert [call["n"] for call in calls] == sorted({call["n"] for call in calls})
    assert ec2_server.calls("DescribeVolumes") == [calls[0], calls[2]]
    ec2_server.clear_calls()
    assert ec2_server.calls() == []


def test_the_log_has_the_region_of_the_call(ec2_server: EmbeddedEC2) -> None:
    ec2_server.ec2(region="eu-central-1").describe_volumes()
    assert [call["region"] for call in ec2_server.calls()] == ["eu-central-1"]


def test_the_log_has_no_credentials(ec2_server: EmbeddedEC2) -> None:
    secrets: dict[str, Any] = {"aws_secret_access_key": "very-secret-key", "aws_session_token": "very-secret-token"}
    services: list[tuple[Any, str]] = [("ec2", "describe_volumes"), ("sts", "get_caller_identity")]
    for service, action in services:
        client: Any = boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=ec2_server.endpoint,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            **secrets,
        )
        getattr(client, action)()
    client.assume_role_with_web_identity(
        RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="session", WebIdentityToken="very-secret-identity"
    )
    calls = ec2_server.calls()
    assert [call["service"] for call in calls] == ["ec2", "sts", "sts"]
    assert [call["access_key"] for call in calls] == ["AKIAIOSFODNN7EXAMPLE"] * 2 + [None]
    text = json.dumps(calls)
    assert "very-secret" not in text
    assert "Signature" not in text


def test_s3_calls_are_not_logged(ec2_server: EmbeddedEC2) -> None:
    s3 = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=ec2_server.endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    s3.create_bucket(Bucket="state")
    s3.put_object(Bucket="state", Key="k", Body=b"Action=CreateSnapshots")
    assert s3.get_object(Bucket="state", Key="k")["Body"].read() == b"Action=CreateSnapshots"
    assert ec2_server.calls() == []
