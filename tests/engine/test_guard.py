"""`backup_before_change`: a change happens only after exactly one set of the old instance was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import Project, changes, mutating
from support.sets import find_taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapset.emulator.client import EmbeddedEC2
    from support.project import Run

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/backup"
NOT_FOUND = {"action": "DescribeInstances", "kind": "error", "code": "InvalidInstanceID.NotFound"}

ALONE = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
guard = backup_before_change(
    on_failure=config.get("onFailure") or "block",
    wait=config.get_bool("wait") or False,
    on=config.get_object("on") or ["update", "delete"],
    wait_timeout=config.get("waitTimeout") or "2h",
    exclude_data_volume_ids=config.get_object("exclude") or [],
)
server = aws.ec2.Instance(
    "server", ami=config.get("ami") or "ami-12345678", instance_type=config.get("instanceType") or "t3.micro",
    availability_zone="us-east-1a", opts=guard,
)
pulumi.export("instanceId", server.id)
"""

ELSEWHERE = f"""
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
there = aws.Provider(
    "there", region="{REGION}", assume_roles=[aws.ProviderAssumeRoleArgs(role_arn="{ROLE}")],
    default_tags={{"tags": {{"team": "ops"}}}}, access_key=config.get("key"), secret_key=config.get("key"),
)
guard = backup_before_change(provider=there)
server = aws.ec2.Instance(
    "server", ami=config.get("ami") or "ami-12345678", instance_type="t3.micro", availability_zone="{REGION}a",
    opts=pulumi.ResourceOptions.merge(guard, pulumi.ResourceOptions(delete_before_replace=True)),
)
volume = aws.ebs.Volume(
    "data", availability_zone="{REGION}a", size=20, opts=pulumi.ResourceOptions(provider=there)
)
aws.ec2.VolumeAttachment(
    "data", device_name=config.get("device") or "/dev/sdf", instance_id=server.id, volume_id=volume.id,
    opts=pulumi.ResourceOptions.merge(guard, pulumi.ResourceOptions(delete_before_replace=True)),
)
pulumi.export("instanceId", server.id)
"""

FORGOTTEN = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

role = aws.ProviderAssumeRoleArgs(role_arn="arn:aws:iam::222222222222:role/deploy")
there = aws.Provider("there", region="us-east-1", assume_roles=[role])
server = aws.ec2.Instance(
    "server", ami=pulumi.Config().get("ami") or "ami-12345678", instance_type="t3.micro",
    opts=pulumi.ResourceOptions.merge(backup_before_change(), pulumi.ResourceOptions(provider=there)),
)
pulumi.export("instanceId", server.id)
"""

SHOPS = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
there = aws.Provider("there", region="us-east-1") if config.get_bool("there") else None
for name in (config.get("names") or "cache,shop").split(","):
    guard = backup_before_change(
        f"guard-of-{name}" if config.get_bool("named") else "guard",
        tags={"of": name} if config.get_bool("own") else None, provider=there,
    )
    aws.ec2.Instance(
        name, ami=config.get(f"{name}Ami") or "ami-12345678", instance_type=config.get("instanceType") or "t3.micro",
        availability_zone="us-east-1a", opts=guard,
    )
backup_before_change("guard", tags={}, exclude_data_volume_ids=[], on=["delete", "update"], provider=there)
for ids in (["vol-0123456789abcdef1", "vol-0123456789abcdef0"], ("vol-0123456789abcdef0", "vol-0123456789abcdef1")):
    backup_before_change("other", exclude_data_volume_ids=ids, on=["delete"], provider=there)
"""

SEVERAL = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
for name in ("a", "b"):
    aws.ec2.Instance(
        name, ami="ami-12345678", instance_type=config.get("instanceType") or "t3.micro",
        availability_zone="us-east-1a", opts=backup_before_change(),
    )
if config.get_bool("volume"):
    aws.ebs.Volume("data", availability_zone="us-east-1a", size=20, opts=backup_before_change())
"""

ATTACHED_THERE = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change
from snapset.resources import guard

# A preview and an update wait for it in vain.
guard._LOOK_AGAIN_SECONDS = 0.0
merge = pulumi.ResourceOptions.merge
role = aws.ProviderAssumeRoleArgs(role_arn="arn:aws:iam::222222222222:role/deploy")
there = pulumi.ResourceOptions(provider=aws.Provider("there", region="us-east-1", assume_roles=[role]))
server = aws.ec2.Instance(
    "server", ami="ami-12345678", instance_type="t3.micro", availability_zone="us-east-1a",
    opts=merge(backup_before_change(), there),
)
volume = aws.ebs.Volume("data", availability_zone="us-east-1a", size=20, opts=there)
if not pulumi.Config().get_bool("gone"):
    aws.ec2.VolumeAttachment(
        "data", device_name="/dev/sdf", instance_id=server.id, volume_id=volume.id,
        opts=merge(backup_before_change(), there),
    )
"""

BOXED = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

class Box(pulumi.ComponentResource):
    def __init__(self, name, opts):
        super().__init__("acme:index:Box", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        aws.ec2.Instance("server", ami="ami-12345678", instance_type="t3.micro", opts=inside)

Box("box", backup_before_change())
"""

LATE = """
import os

import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
if config.get_bool("withoutEngine"):
    os.environ["PATH"] = ""
guard = backup_before_change() if config.get_bool("guarded") else None
server = aws.ec2.Instance(
    "server", ami=config.get("ami") or "ami-12345678", instance_type="t3.micro", availability_zone="us-east-1a",
    opts=pulumi.ResourceOptions.merge(
        guard, pulumi.ResourceOptions(delete_before_replace=config.get_bool("deleteFirst"))
    ),
)
if config.get_bool("data"):
    volume = aws.ebs.Volume("data", availability_zone="us-east-1a", size=20)
    aws.ec2.VolumeAttachment(
        "data", device_name="/dev/sdf", instance_id=server.id, volume_id=volume.id,
        opts=pulumi.ResourceOptions.merge(guard, pulumi.ResourceOptions(delete_before_replace=True)),
    )
pulumi.export("instanceId", server.id)
"""

NAMED = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
aws.ec2.Instance(
    config.require("name"), ami="ami-12345678", instance_type=config.get("instanceType") or "t3.micro",
    availability_zone="us-east-1a", opts=backup_before_change(),
)
"""

CHANGES = {"DetachVolume", "ModifyInstanceAttribute", "RunInstances", "StopInstances", "TerminateInstances"}


@pytest.fixture
def stack(project: Project) -> Project:
    """`stacks/guarded_server.py`."""
    aws_plugin.install(project.env)
    project.config = {"program": "guarded_server"}
    return project


@pytest.fixture
def alone(program: Callable[[str], Project]) -> Project:
    """A guarded instance without data volumes, already deployed."""
    project = program(ALONE)
    aws_plugin.install(project.env)
    project.up().ok()
    return project


def destroy(stack: Project, *arguments: str) -> Run:
    return stack.pulumi("destroy", "--run-program", *arguments)


def sets_in(ec2: EmbeddedEC2, region: str = "us-east-1") -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for snapshot in ec2.ec2(region=region).describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        found.setdefault(tags["snapset:set"], []).append({**snapshot, "tags": tags})
    return found


def sizes_in(snapshots: list[dict[str, Any]]) -> list[int]:
    return sorted(snapshot["VolumeSize"] for snapshot in snapshots)


def values_of(tag: str, snapshots: list[dict[str, Any]]) -> set[str]:
    return {snapshot["tags"][tag] for snapshot in snapshots}


def actions(ec2: EmbeddedEC2) -> list[str]:
    return [call["action"] for call in ec2.calls() if call["carried_out"] and not call["dry_run"]]


def the_set_before(ec2: EmbeddedEC2, *changes: str) -> str:
    """The one set in the call log. Checks that it was taken before these calls, and that they came in this order."""
    [set_id] = find_taken(ec2)
    done = actions(ec2)
    assert [done.index(action) for action in changes] == sorted(done.index(action) for action in changes)
    assert done.index("CreateSnapshots") < done.index(changes[0])
    return set_id


def refuses(ec2: EmbeddedEC2, run: Callable[[], Run], instance_id: str) -> None:
    """Check that the change fails, and does not touch the instance, while EC2 refuses CreateSnapshots."""
    ec2.clear_calls()
    ec2.fault(action="CreateSnapshots", kind="deny", times=None)
    failed = run().failed()
    assert f"{instance_id} is not changed: NotPermittedError: creating snapshots of {instance_id}" in failed.text
    assert not CHANGES & set(actions(ec2))
    ec2.clear_faults()
    ec2.clear_calls()


def test_an_update_and_a_destroy_happen_only_after_one_complete_set(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.preview().ok()
    assert mutating(ec2.calls()) == []
    stack.up().ok()
    instance_id = stack.outputs()["instanceId"]
    assert sets_in(ec2) == {}
    ec2.clear_calls()
    assert changes(stack.up().ok()) == {"unchanged": 6}
    stack.refresh().ok()
    assert mutating(ec2.calls()) == []

    stack.config["instanceType"] = "t3.large"
    assert f"would take a snapshot set of {instance_id} before the update of server" in stack.preview().ok().text
    assert mutating(ec2.calls()) == []
    refuses(ec2, stack.up, instance_id)
    stack.up().ok()
    updated = the_set_before(ec2, "StopInstances", "ModifyInstanceAttribute")
    assert stack.outputs()["instanceId"] == instance_id
    snapshots = sets_in(ec2)[updated]
    assert sizes_in(snapshots) == [8, 20, 100]
    assert values_of("snapset:instance", snapshots) == {instance_id}
    assert values_of("snapset:change", snapshots) == {"update of server"}
    assert values_of("snapset:device", snapshots) == {"/dev/sda1", "/dev/sdf", "/dev/sdg"}
    assert values_of("app", snapshots) == {"shop"}

    planned = destroy(stack, "--preview-only").ok()
    assert f"would take a snapshot set of {instance_id} before the delete of server" in planned.text
    refuses(ec2, lambda: destroy(stack, "--yes", "--skip-preview"), instance_id)
    destroy(stack, "--yes", "--skip-preview").ok()
    destroyed = the_set_before(ec2, "DetachVolume", "TerminateInstances")
    assert sizes_in(sets_in(ec2)[destroyed]) == [8, 20, 100]
    assert set(sets_in(ec2)) == {updated, destroyed}


def test_a_replacement_happens_only_after_one_complete_set_of_the_old_instance(
    stack: Project, ec2: EmbeddedEC2
) -> None:
    stack.up().ok()
    old = stack.outputs()["instanceId"]
    stack.config["ami"] = "ami-87654321"
    refuses(ec2, stack.up, old)
    stack.up().ok()
    assert stack.outputs()["instanceId"] != old
    replaced = the_set_before(ec2, "DetachVolume", "TerminateInstances", "RunInstances")
    assert sizes_in(sets_in(ec2)[replaced]) == [8, 20, 100]
    assert values_of("snapset:instance", sets_in(ec2)[replaced]) == {old}


@pytest.mark.long
def test_a_guard_for_deletes_ignores_updates_and_keeps_the_old_instance_if_the_set_fails(
    alone: Project, ec2: EmbeddedEC2
) -> None:
    old = alone.outputs()["instanceId"]
    alone.config |= {"on": ["delete"], "instanceType": "t3.large"}
    alone.up().ok()
    assert sets_in(ec2) == {}
    alone.config["ami"] = "ami-87654321"
    assert f"would take a snapshot set of {old} before the delete of server" in alone.preview().ok().text
    ec2.fault(action="CreateSnapshots", kind="deny", times=None)
    ec2.clear_calls()
    failed = alone.up().failed()
    assert f"{old} is not changed: NotPermittedError" in failed.text
    assert "RunInstances" in actions(ec2)
    assert "TerminateInstances" not in actions(ec2)
    ec2.clear_faults()
    alone.up().ok()
    replaced = the_set_before(ec2, "TerminateInstances")
    assert values_of("snapset:instance", sets_in(ec2)[replaced]) == {old}
    assert alone.outputs()["instanceId"] != old


@pytest.mark.long
def test_with_warn_the_change_goes_ahead_without_a_set(alone: Project, ec2: EmbeddedEC2) -> None:
    instance_id = alone.outputs()["instanceId"]
    ec2.fault(action="CreateSnapshots", kind="deny")
    alone.config |= {"instanceType": "t3.large", "onFailure": "warn"}
    changed = alone.up().ok()
    assert f"{instance_id} is changed although its backup failed: " in changed.text
    assert "ModifyInstanceAttribute" in actions(ec2)
    assert sets_in(ec2) == {}


def test_with_wait_the_change_happens_after_the_set_has_completed(alone: Project, ec2: EmbeddedEC2) -> None:
    ec2.settings(snapshot_seconds=2)
    alone.config |= {"instanceType": "t3.large", "wait": True}
    ec2.clear_calls()
    alone.up().ok()
    done = actions(ec2)
    assert "DescribeSnapshots" in done[done.index("CreateSnapshots") : done.index("ModifyInstanceAttribute")]


def test_every_run_takes_its_own_set_which_is_marked_whatever_becomes_of_the_change(
    alone: Project, ec2: EmbeddedEC2
) -> None:
    ec2.fault(action="ModifyInstanceAttribute", kind="error", code="InvalidInstanceAttributeValue", status=400)
    alone.config["instanceType"] = "t3.large"
    alone.up().failed()
    [of_the_refused] = sets_in(ec2).values()
    assert values_of("snapset:device", of_the_refused) == {"/dev/sda1"}
    assert values_of("snapset:count", of_the_refused) == {"1"}
    assert values_of("snapset:claim", of_the_refused) != {""}
    ec2.clear_faults()
    for instance_type, sets in (("t3.large", 2), ("t3.micro", 3)):
        alone.config["instanceType"] = instance_type
        alone.up().ok()
        assert len(sets_in(ec2)) == sets


@pytest.mark.long
def test_a_set_that_could_not_be_marked_is_never_taken_for_a_later_change(alone: Project, ec2: EmbeddedEC2) -> None:
    ec2.fault(action="CreateTags", kind="deny", times=None)
    alone.config["instanceType"] = "t3.large"
    assert "is taken, but its snapshots could not be tagged" in alone.up().ok().text
    for instance_type in ("t3.micro", "t3.large"):
        alone.config["instanceType"] = instance_type
        alone.up().ok()
    assert len(sets_in(ec2)) == 3


def test_a_wait_that_times_out_blocks_the_change_and_says_what_to_do(alone: Project, ec2: EmbeddedEC2) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    alone.config |= {"instanceType": "t3.large", "wait": True, "waitTimeout": "1s"}
    ec2.clear_calls()
    blocked = alone.up().failed()
    [set_id] = sets_in(ec2)
    assert f"is not changed: WaitTimeoutError: waiting for {set_id}: " in blocked.text
    assert "This change takes a set of its own in every run: give a longer wait_timeout" in blocked.text
    assert values_of("snapset:count", sets_in(ec2)[set_id]) == {"1"}
    assert "ModifyInstanceAttribute" not in actions(ec2)


def test_an_instance_that_is_gone_already_needs_no_set(alone: Project, ec2: EmbeddedEC2) -> None:
    instance_id = alone.outputs()["instanceId"]
    ec2.ec2().terminate_instances(InstanceIds=[instance_id])
    destroyed = destroy(alone, "--yes", "--skip-preview").ok()
    assert f"{instance_id} is gone: no snapshot set is taken before the delete of server" in destroyed.text
    assert sets_in(ec2) == {}


def test_an_instance_that_is_not_found_is_looked_for_again(alone: Project, ec2: EmbeddedEC2) -> None:
    ec2.fault(**NOT_FOUND, times=1)
    alone.config["ami"] = "ami-87654321"
    ec2.clear_calls()
    alone.up().ok()
    assert actions(ec2).index("CreateSnapshots") < actions(ec2).index("TerminateInstances")


@pytest.mark.long
def test_an_instance_that_can_not_be_found_is_not_taken_for_gone(alone: Project, ec2: EmbeddedEC2) -> None:
    instance_id = alone.outputs()["instanceId"]
    alone.config["instanceType"] = "t3.large"
    ec2.fault(**NOT_FOUND, times=None)
    refused = alone.up().failed()
    assert f"{instance_id} is not changed: NotFoundError: describing instance {instance_id}" in refused.text
    assert "If it has an aws.Provider of its own, name that: backup_before_change(provider=...)." in refused.text


@pytest.mark.long
def test_credentials_of_another_account_do_not_make_an_instance_gone(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = program(FORGOTTEN)
    aws_plugin.install(project.env)
    project.up().ok()
    instance_id = project.outputs()["instanceId"]
    project.config["ami"] = "ami-87654321"
    ec2.clear_calls()
    refused = project.up().failed()
    assert (
        f"{instance_id} is not changed: NotFoundError: describing instance {instance_id}: it was not" in refused.text
    )
    assert "of account 222222222222, and the credentials are of 123456789012." in refused.text
    assert "TerminateInstances" not in actions(ec2)


@pytest.mark.long
def test_a_detached_volume_of_another_account_does_not_make_its_instance_gone(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = program(ATTACHED_THERE)
    aws_plugin.install(project.env)
    project.up().ok()
    project.config["gone"] = True
    ec2.clear_calls()
    for refused in (project.preview().failed(), project.up().failed()):
        assert "it is of an account that is not known, and the credentials are of 123456789012." in refused.text
    assert "DetachVolume" not in actions(ec2)


def test_the_options_of_a_component_are_refused_in_its_first_preview(program: Callable[[str], Project]) -> None:
    project = program(BOXED)
    aws_plugin.install(project.env)
    refused = project.preview().failed()
    assert "InputError: guarding box: backup_before_change guards aws.ec2.Instance and its" in refused.text
    assert "not acme:index:Box: what is inside it would not be guarded." in refused.text


def test_a_guard_that_comes_with_the_replacement_takes_its_set_or_refuses_in_the_preview(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = program(LATE)
    aws_plugin.install(project.env)
    project.config["data"] = True
    project.up().ok()
    old = project.outputs()["instanceId"]
    project.config |= {"guarded": True, "ami": "ami-87654321", "withoutEngine": True}
    unread = "whether server replaces an instance without a guard is not known: SnapsetError: reading the state of"
    assert unread in project.preview().failed().text
    del project.config["withoutEngine"]
    assert f"would take a snapshot set of {old} before the delete of server" in project.preview().ok().text
    ec2.clear_calls()
    project.up().ok()
    assert actions(ec2).index("CreateSnapshots") < actions(ec2).index("TerminateInstances")
    # The attachment has gone by then, and its volume is in the set.
    [taken] = sets_in(ec2).values()
    assert values_of("snapset:instance", taken) == {old}
    assert values_of("snapset:device", taken) == {"/dev/sda1", "/dev/sdf"}


def test_a_guard_that_comes_with_a_delete_first_replacement_refuses_in_the_preview(
    program: Callable[[str], Project],
) -> None:
    project = program(LATE)
    aws_plugin.install(project.env)
    project.config["deleteFirst"] = True
    project.up().ok()
    old = project.outputs()["instanceId"]
    project.config |= {"guarded": True, "ami": "ami-87654321"}
    refused = project.preview().failed()
    assert f"InputError: guarding server: {old} would be deleted without a set" in refused.text


@pytest.mark.long
@pytest.mark.parametrize("name", ["shop\u00a0web", "tab\tname", "x" * 240])
def test_a_set_is_taken_whatever_the_instance_is_called(
    program: Callable[[str], Project], ec2: EmbeddedEC2, name: str
) -> None:
    project = program(NAMED)
    aws_plugin.install(project.env)
    project.config["name"] = name
    project.up().ok()
    project.config["instanceType"] = "t3.large"
    project.up().ok()
    assert len(find_taken(ec2)) == 1


def test_a_preview_finds_what_would_stand_in_the_way(alone: Project, ec2: EmbeddedEC2) -> None:
    instance_id = alone.outputs()["instanceId"]
    alone.config["instanceType"] = "t3.large"
    ec2.clear_calls()
    ec2.fault(action="CreateSnapshots", kind="deny")
    refused = alone.preview().failed()
    assert (
        f"{instance_id} is not changed: NotPermittedError: dry run: creating snapshots of {instance_id}"
        in refused.text
    )
    alone.config["exclude"] = ["vol-0123456789abcdef0"]
    assert f"vol-0123456789abcdef0 is not attached to {instance_id}" in alone.preview().failed().text
    assert mutating(ec2.calls()) == []


@pytest.mark.long
def test_a_guard_is_for_several_instances_and_other_resources_are_refused(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = program(SEVERAL)
    aws_plugin.install(project.env)
    project.up().ok()
    project.config["instanceType"] = "t3.large"
    project.up().ok()
    assert len(find_taken(ec2)) == 2
    project.config["volume"] = True
    refused = project.preview().failed()
    assert (
        "backup_before_change guards aws.ec2.Instance and its aws.ec2.VolumeAttachments, not aws:ebs" in refused.text
    )


@pytest.mark.long
def test_no_guard_gets_the_name_and_the_options_of_another(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = program(SHOPS)
    aws_plugin.install(project.env)
    project.config = {"names": "shop"}
    project.up().ok()
    # Another instance comes before it, the instance is replaced, and leaves later: each change has its set.
    project.config = {"names": "cache,shop", "shopAmi": "ami-87654321"}
    project.up().ok()
    [replaced] = sets_in(ec2).values()
    project.config = {"names": "cache"}
    project.up().ok()
    assert len(sets_in(ec2)) == 2
    assert values_of("snapset:change", replaced) == {"delete of shop"}
    project.config = {"names": "cache", "own": True}
    ec2.clear_calls()
    refused = project.up().failed()
    assert (
        "'guard' is the name of another guard, with other options. Give this one a name of its own." in refused.text
    )
    assert mutating(ec2.calls()) == []
    project.config |= {"named": True}
    project.up().ok()
    # A guard that leaves with its instance, or before it, keeps the engine from deleting the instance.
    project.config = {"names": "shop"}
    left = project.up().failed()
    assert "guard-of-cache-before" in left.text
    assert "TerminateInstances" not in actions(ec2)


@pytest.mark.long
def test_a_guard_of_an_own_provider_works_after_the_program_has_ended(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = program(SHOPS)
    aws_plugin.install(project.env)
    project.config = {"there": True, "names": "shop"}
    project.up().ok()
    project.config["shopAmi"] = "ami-87654321"
    ec2.clear_calls()
    # The old instance is deleted once the new one is there.
    project.up().ok()
    done = actions(ec2)
    assert done.index("RunInstances") < done.index("CreateSnapshots") < done.index("TerminateInstances")
    ec2.clear_calls()
    destroy(project, "--yes", "--skip-preview").ok()
    assert actions(ec2).index("CreateSnapshots") < actions(ec2).index("TerminateInstances")


@pytest.mark.long
def test_a_guard_uses_the_given_provider_and_takes_separate_sets_for_volume_and_instance(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project = program(ELSEWHERE)
    aws_plugin.install(project.env)
    project.up().ok()
    instance_id = project.outputs()["instanceId"]
    project.config["device"] = "/dev/sdg"
    ec2.clear_calls()
    project.up().ok()
    moved = the_set_before(ec2, "DetachVolume", "AttachVolume")
    assert {call["region"] for call in ec2.calls("CreateSnapshots")} == {REGION}
    assert not [call for call in ec2.calls("CreateSnapshots") if not call["access_key"].startswith("ASIA")]
    assert values_of("team", sets_in(ec2, REGION)[moved]) == {"ops"}

    project.config["ami"] = "ami-87654321"
    ec2.clear_calls()
    project.up().ok()
    replaced = the_set_before(ec2, "DetachVolume", "TerminateInstances")
    assert replaced != moved
    assert values_of("snapset:instance", sets_in(ec2, REGION)[replaced]) == {instance_id}
    assert values_of("snapset:device", sets_in(ec2, REGION)[replaced]) == {"/dev/sda1", "/dev/sdg"}

    project.config |= {"key": "AKIAEXAMPLE1", "ami": "ami-12345678"}
    refused = project.preview().failed()
    assert "is not changed: InputError: reading the aws.Provider: it holds accessKey and secretKey" in refused.text
