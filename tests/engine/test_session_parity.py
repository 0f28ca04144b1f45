"""Calls use the endpoint, role, profile and default tags of the stack's `aws` config. No credential is recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.project import Project, changes, mutating

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

pytestmark = pytest.mark.long

ROLE = "arn:aws:iam::123456789012:role/backup"
SECOND_ROLE = "arn:aws:iam::123456789012:role/second"


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch()


@pytest.fixture
def stack(project: Project, instance: LaunchedInstance) -> Project:
    project.config = {"instanceId": instance.instance_id}
    return project


def test_a_role_is_assumed_with_its_options_and_makes_all_calls(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.config["aws:assumeRoles"] = [
        {"roleArn": ROLE, "externalId": "x-1", "sessionName": "deploy", "duration": "30m"}
    ]
    ec2.clear_calls()
    stack.up().ok()
    assumed = ec2.calls("AssumeRole")
    assert {call["params"]["RoleArn"] for call in assumed} == {ROLE}
    assert {call["params"]["ExternalId"] for call in assumed} == {"x-1"}
    assert {call["params"]["RoleSessionName"] for call in assumed} == {"deploy"}
    assert {call["params"]["DurationSeconds"] for call in assumed} == {"1800"}
    used_keys = {call["access_key"] for call in ec2.calls() if call["action"] != "AssumeRole"}
    assert used_keys
    assert "testing" not in used_keys
    state = json.dumps(stack.state())
    assert not [key for key in used_keys if key in state]


def test_each_role_is_assumed_by_the_one_before(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.config["aws:assumeRoles"] = [{"roleArn": ROLE}, {"roleArn": SECOND_ROLE}]
    ec2.clear_calls()
    stack.preview().ok()
    first, second = ec2.calls("AssumeRole")[:2]
    assert [first["params"]["RoleArn"], second["params"]["RoleArn"]] == [ROLE, SECOND_ROLE]
    assert first["access_key"] == "testing" != second["access_key"]


def test_the_ec2_endpoint_of_the_stacks_config_is_used(stack: Project, ec2: EmbeddedEC2) -> None:
    del stack.env["AWS_ENDPOINT_URL_EC2"], stack.env["AWS_ENDPOINT_URL"]
    stack.config["aws:endpoints"] = [{"ec2": ec2.endpoint, "sts": ec2.endpoint}]
    stack.up().ok()
    assert len(stack.sets()) == 1


def test_a_profile_of_the_stacks_config_is_used(stack: Project, ec2: EmbeddedEC2) -> None:
    credentials = stack.folder / "credentials"
    credentials.write_text("[backup]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n")
    del stack.env["AWS_ACCESS_KEY_ID"], stack.env["AWS_SECRET_ACCESS_KEY"]
    stack.config |= {"aws:profile": "backup", "aws:sharedCredentialsFiles": [str(credentials)]}
    ec2.clear_calls()
    stack.up().ok()
    assert {call["access_key"] for call in ec2.calls()} == {"AKIAPROFILE"}


def test_every_snapshot_has_the_default_tags_but_the_resources_own_tags_win(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.config |= {"aws:defaultTags": {"tags": {"team": "ops", "app": "all"}}, "tags": {"app": "shop"}}
    stack.up().ok()
    for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        assert {"team": "ops", "app": "shop"}.items() <= tags.items()
    ec2.clear_calls()
    assert changes(stack.up().ok()) == {"unchanged": 3}
    assert mutating(ec2.calls()) == []


def test_an_unsupported_source_of_credentials_is_refused(stack: Project) -> None:
    stack.config["aws:assumeRoleWithWebIdentity"] = {"roleArn": ROLE}
    assert "Set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE" in stack.preview().failed().text


def test_the_preflight_can_be_switched_off(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.config["preflight"] = False
    ec2.clear_calls()
    stack.preview().ok()
    assert ec2.calls() == []


def test_where_nothing_can_be_described_the_set_is_taken_with_a_warning(stack: Project, ec2: EmbeddedEC2) -> None:
    for action in ("DescribeInstances", "DescribeVolumes"):
        ec2.fault(action=action, kind="deny", times=None)
    taken = stack.up().ok()
    assert "the snapshots' devices are not recorded" in taken.text
    assert "Allow ec2:DescribeInstances" in taken.text
    [recorded] = stack.sets()
    assert len(recorded["outputs"]["snapshot_ids"]) == 1
