"""snapset uses the Region, the credentials and the default tags of an explicit `aws.Provider`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.project import Project, changes
from support.sets import find_taken

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

pytestmark = pytest.mark.long

REGION = "eu-west-1"
ROLE, SECOND_ROLE = (f"arn:aws:iam::123456789012:role/{name}" for name in ("backup", "second"))

BY_ID = f"""
import pulumi
import pulumi_aws as aws
from snapset import InstanceSnapshots

config = pulumi.Config()
role = config.get("role")
if role == "not known yet":
    role = aws.ebs.Volume("volume", availability_zone="us-east-1a", size=1).arn
there = aws.Provider(
    "there",
    region="{REGION}",
    profile="ops",
    shared_credentials_files=[config.require("credentials")],
    assume_roles=[aws.ProviderAssumeRoleArgs(role_arn=role, external_id=pulumi.Output.secret("topsecret"))],
    endpoints=[dict.fromkeys(("ec2", "sts"), config.require("endpoint"))],
    default_tags={{"tags": {{"team": "ops", "app": "all"}}}},
    access_key=config.get("accessKey"),
)
backup = InstanceSnapshots(
    "backup", instance=config.require("instanceId"), tags={{"app": "shop"}},
    opts=pulumi.ResourceOptions(provider=there),
)
pulumi.export("snapshots", backup.snapshots)
"""

INHERITED = f"""
import pulumi
import pulumi_aws as aws
from snapset import InstanceSnapshots

config = pulumi.Config()
one, other = (
    aws.Provider(name, region="{REGION}", default_tags={{"tags": {{"from": name}}}}) for name in ("one", "other")
)

class Shop(pulumi.ComponentResource):
    def __init__(self, name, opts):
        super().__init__("theirs:index:Shop", name, {{}}, opts)
        self.by_id = InstanceSnapshots(
            "by-id", instance=config.require("instanceId"), opts=pulumi.ResourceOptions(parent=self)
        )
        server = aws.ec2.Instance(
            "server", ami="ami-12345678", instance_type="t3.micro", availability_zone="{REGION}a",
            opts=pulumi.ResourceOptions(parent=self, provider=other),
        )
        self.beside = InstanceSnapshots("beside", instance=server, opts=pulumi.ResourceOptions(parent=self))

shop = Shop("shop", pulumi.ResourceOptions(providers=[one]))
"""


def make(program: Callable[[str], Project], source: str, instance_id: str) -> Project:
    project = program(source)
    aws_plugin.install(project.env)
    project.config["instanceId"] = instance_id
    return project


def make_by_id(program: Callable[[str], Project], ec2: EmbeddedEC2) -> Project:
    """The program `BY_ID`, in an environment where only the provider has an endpoint and credentials."""
    project = make(program, BY_ID, ec2.launch(region=REGION).instance_id)
    credentials = project.folder / "credentials"
    credentials.write_text("[ops]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n")
    for name in ("AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del project.env[name]
    project.config |= {"credentials": str(credentials), "endpoint": ec2.endpoint, "role": ROLE}
    ec2.clear_calls()
    return project


def assumed(ec2: EmbeddedEC2) -> set[str]:
    """The roles that were assumed. Checks that all other calls used such a role."""
    assert {call["access_key"] for call in ec2.calls("AssumeRole")} <= {"AKIAPROFILE"}
    others = [call for call in ec2.calls() if call["action"] not in ("AssumeRole", "GetCallerIdentity")]
    assert not [call for call in others if not call["access_key"].startswith("ASIA") or call["region"] != REGION]
    return {call["params"]["RoleArn"] for call in ec2.calls("AssumeRole")}


def tags_in(ec2: EmbeddedEC2) -> list[dict[str, str]]:
    found = ec2.ec2(region=REGION).describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return [{tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} for snapshot in found]


def test_a_set_is_taken_with_the_region_role_and_tags_of_the_provider(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = make_by_id(program, ec2)
    project.preview().ok()
    assert [call["dry_run"] for call in ec2.calls("CreateSnapshots")] == [True]
    project.up().ok()
    assert assumed(ec2) == {ROLE}
    [tags] = tags_in(ec2)
    assert {"team": "ops", "app": "shop"}.items() <= tags.items()
    assert "snapset:claim" in tags
    assert project.outputs()["snapshots"][0]["state"] == "completed"
    assert "topsecret" not in json.dumps(project.state())

    ec2.clear_calls()
    assert changes(project.up().ok()) == {"unchanged": 4}
    assert changes(project.refresh().ok())["unchanged"] >= 3
    project.config["role"] = SECOND_ROLE
    assert changes(project.up().ok()) == {"updated": 2, "unchanged": 2}
    assert find_taken(ec2) == []

    assert assumed(ec2) == {ROLE, SECOND_ROLE}


def test_a_provider_with_credentials_is_refused_and_one_with_unknown_settings_calls_nothing_at_preview(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = make_by_id(program, ec2)
    project.config["accessKey"] = "AKIAEXAMPLE1"
    refused = project.preview().failed()
    assert "it holds accessKey, and the state must hold no credentials. Let it use a profile" in refused.text
    assert "AKIAEXAMPLE1" not in refused.text
    assert "topsecret" not in refused.text
    del project.config["accessKey"]
    project.config["role"] = "not known yet"
    project.preview().ok()
    assert ec2.calls() == []


def test_a_backup_uses_its_instances_provider_else_that_of_the_component_around_it(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = make(program, INHERITED, ec2.launch(region=REGION).instance_id)
    project.up().ok()
    assert {call["region"] for call in ec2.calls("CreateSnapshots")} == {REGION}
    by_set = {tags["snapset:set"]: tags["from"] for tags in tags_in(ec2)}
    assert {resource["urn"].split("::")[-1]: by_set[resource["id"]] for resource in project.sets()} == {
        "by-id": "one",
        "beside": "other",
    }
