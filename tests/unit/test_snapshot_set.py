"""The dynamic provider without an engine: what it checks, what it calls a change, and what it hands to the state."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pulumi.dynamic import Config, ConfigureRequest, CreateResult, ReadResult
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.output import Unknown
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.resources.set_state import set_from_state
from snapset.resources.snapshot_set import SnapshotSetProvider
from snapset.rules import UNKNOWN
from snapset.sets import tags

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

Props = dict[str, Any]
Configure = Callable[..., SnapshotSetProvider]


def outs_of(result: CreateResult | ReadResult) -> Props:
    return dict(result.outs or {})


def unknown() -> Any:
    """A value that is not known yet, as Pulumi's SDK has it."""
    return Unknown()


@pytest.fixture
def configure(no_account: None, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A provider of a stack whose config names the embedded EC2, and has these keys too."""
    # The provider owns its process and limits its tracebacks; this process is pytest's.
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    monkeypatch.delenv("SNAPSET_DEBUG", raising=False)
    keys = {"aws:region": "us-east-1", "aws:accessKey": "testing", "aws:secretKey": "testing"}

    def make(**more: str) -> SnapshotSetProvider:
        provider = SnapshotSetProvider()
        config = {**keys, "aws:endpoints": f'[{{"ec2": "{ec2.endpoint}", "sts": "{ec2.endpoint}"}}]', **more}
        provider.configure(ConfigureRequest(Config(config, "shop")))
        return provider

    return make


@pytest.fixture
def provider(configure: Configure) -> SnapshotSetProvider:
    return configure()


@pytest.fixture
def props(instance: LaunchedInstance) -> Props:
    """The inputs as the resource gives them in a preview."""
    return {
        "is_preview": True,
        "scope": "org/shop/prod/web",
        "instance_id": instance.instance_id,
        "region": "us-east-1",
    }


@pytest.fixture
def state(provider: SnapshotSetProvider, props: Props) -> Props:
    """The outputs of a set that was taken."""
    return outs_of(provider.create(provider.check({}, props).inputs))


def test_the_state_holds_the_providers_name_and_not_its_code() -> None:
    assert len(serialize_provider(SnapshotSetProvider())) < 200
    assert SnapshotSetProvider.serialize_as_secret_always is False


def test_what_is_not_known_yet_passes_the_check_and_calls_nothing(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props
) -> None:
    ec2.clear_calls()
    not_known = {"instance_id": unknown(), "tags": {"app": unknown()}, "exclude_data_volume_ids": [unknown()]}
    checked = provider.check({}, {**props, **not_known})
    assert checked.failures == []
    assert checked.inputs["instance_id"] == UNKNOWN
    assert checked.inputs["tags"] == {"app": UNKNOWN}
    assert checked.inputs["exclude_data_volume_ids"] == [UNKNOWN]
    assert ec2.calls() == []


def test_the_default_tags_of_the_stack_are_given_to_the_set_and_its_own_win(
    configure: Configure, props: Props, client: EC2Client
) -> None:
    provider = configure(**{"aws:defaultTags": '{"tags": {"team": "ops", "app": "all"}}'})
    checked = provider.check({}, {**props, "tags": {"app": "shop"}})
    assert checked.failures == []
    assert checked.inputs["tags"] == {"app": "shop"}
    made = outs_of(provider.create(checked.inputs))
    [first, *_] = client.describe_snapshots(SnapshotIds=made["snapshot_ids"])["Snapshots"]
    theirs = {tag["Key"]: tag["Value"] for tag in first["Tags"] if not tag["Key"].startswith("snapset:")}
    assert theirs == {"team": "ops", "app": "shop"}


def test_another_default_tag_takes_no_new_set(configure: Configure, props: Props, state: Props) -> None:
    provider = configure(**{"aws:defaultTags": '{"tags": {"commit": "1a2b3c"}}'})
    diff = provider.diff(state["set_id"], state, provider.check(state, props).inputs)
    assert (diff.changes, diff.replaces) == (False, [])


def test_default_tags_count_against_the_limit(configure: Configure, props: Props) -> None:
    provider = configure(**{"aws:defaultTags": '{"tags": {"team": "ops"}}'})
    [failure] = provider.check({}, {**props, "tags": {f"k{number}": "" for number in range(35)}}).failures
    assert failure.property == "tags"
    assert "36 tags are too many" in failure.reason


def test_an_unchanged_set_is_checked_without_a_call(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    assert provider.check(state, props).failures == []
    assert ec2.calls() == []


def dry_runs(ec2: EmbeddedEC2) -> list[bool]:
    """Of every CreateSnapshots so far: whether it was a dry run."""
    return [call["dry_run"] for call in ec2.calls("CreateSnapshots")]


def test_a_check_makes_the_dry_run_in_a_preview_when_a_new_set_would_be_taken(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    assert provider.check({}, props).failures == []
    assert dry_runs(ec2) == [True]
    assert provider.check(state, {**props, "triggers": "another"}).failures == []
    assert dry_runs(ec2) == [True, True]
    assert provider.check(state, {**props, "triggers": "another", "is_preview": False}).failures == []
    assert dry_runs(ec2) == [True, True]
    served = {**state, "change_id": "42"}
    assert provider.check(served, {**props, "change_id": "42", "description": "another"}).failures == []
    assert dry_runs(ec2) == [True, True]


def test_a_set_that_aws_would_refuse_fails_the_check(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props
) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    [failure] = provider.check({}, props).failures
    assert failure.property == "instance_id"
    assert failure.reason.startswith("NotPermittedError: dry run: creating snapshots of ")


def test_a_check_says_what_does_not_fit_and_a_stack_can_do_without_it(
    configure: Configure, ec2: EmbeddedEC2, props: Props
) -> None:
    not_attached = {**props, "exclude_data_volume_ids": ["vol-01234567"]}
    [failure] = configure().check({}, not_attached).failures
    assert failure.property == "exclude_data_volume_ids"
    assert "vol-01234567 is not attached" in failure.reason
    provider = configure(**{"snapset:preflight": "false"})
    ec2.clear_calls()
    assert provider.check({}, not_attached).failures == []
    assert ec2.calls() == []
    [failure] = provider.check({}, {**props, "instance_id": "i-1"}).failures
    assert failure.property == "instance_id"


@pytest.mark.parametrize(
    ("change", "changes", "replaces"),
    [
        ({}, False, []),
        ({"description": None}, False, []),
        ({"description": "d"}, True, ["description"]),
        ({"triggers": 1.0, "tags": {"a": "b"}}, True, ["tags", "triggers"]),
        ({"instance_id": unknown()}, True, ["instance_id"]),
    ],
)
def test_a_set_is_replaced_if_what_shaped_it_changed_and_else_updated_or_left_alone(
    provider: SnapshotSetProvider, props: Props, state: Props, change: Props, changes: bool, replaces: list[str]
) -> None:
    diff = provider.diff(state["set_id"], state, provider.check(state, {**props, **change}).inputs)
    assert (diff.changes, diff.replaces) == (changes, replaces)
    assert diff.delete_before_replace is False


def test_a_set_in_error_or_of_which_a_snapshot_is_gone_is_replaced(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, state: Props, client: EC2Client
) -> None:
    failed = [{**state["snapshots"][0], "state": "error"}, *state["snapshots"][1:]]
    assert provider.diff(state["set_id"], {**state, "snapshots": failed}, props).replaces == ["snapshots"]
    old = aged(ec2, state)
    client.delete_snapshot(SnapshotId=old["snapshot_ids"][1])
    read = outs_of(provider.read(old["set_id"], old))
    assert provider.diff(old["set_id"], read, props).replaces == ["snapshots"]


def test_an_adopted_set_that_another_resource_holds_too_is_replaced(
    provider: SnapshotSetProvider, props: Props, state: Props, client: EC2Client
) -> None:
    adopted = outs_of(provider.create(provider.check({}, props).inputs))
    assert provider.diff(adopted["set_id"], adopted, props).replaces == []
    client.create_tags(Resources=adopted["snapshot_ids"], Tags=[{"Key": tags.CLAIM, "Value": state["claim"]}])
    assert provider.diff(adopted["set_id"], adopted, props).replaces == ["claim"]
    # The one that took it keeps it.
    assert provider.diff(state["set_id"], state, props).replaces == []


def test_an_import_is_refused_in_one_line(provider: SnapshotSetProvider) -> None:
    with pytest.raises(Exception, match=r"^importing set-0123456789abcdef0: a set can't be imported, it is taken\."):
        provider.read("set-0123456789abcdef0", {})


def test_a_change_is_served_once_whatever_else_differs(
    provider: SnapshotSetProvider, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    state = outs_of(provider.create({**props, "change_id": "42"}))
    same = provider.diff(state["set_id"], state, {**props, "change_id": "42", "description": "another"})
    assert (same.changes, same.replaces) == (False, [])
    assert f"{state['set_id']} was taken for the same change, with another description" in capsys.readouterr().err
    other = provider.diff(state["set_id"], state, {**props, "change_id": "43"})
    assert other.replaces == ["change_id"]
    none = provider.diff(state["set_id"], state, props)
    assert none.replaces == ["change_id"]


def test_a_failed_call_is_shown_as_its_name_and_its_message(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props
) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    with pytest.raises(Exception, match=r"^creating snapshots of i-\w+: UnauthorizedOperation: ") as caught:
        provider.create(props)
    # Pulumi shows module and class; of what is built in, the class alone.
    assert (type(caught.value).__module__, type(caught.value).__name__) == ("builtins", "NotPermittedError")


def test_the_provider_in_the_inputs_takes_the_place_of_the_stacks(configure: Configure, props: Props) -> None:
    provider = configure(**{"aws:defaultTags": '{"tags": {"team": "ops"}}'})
    aws = {"region": "eu-west-1", "profile": None, "token": False, "defaultTags": '{"tags": {"app": "shop"}}'}
    checked = provider.check({}, {**props, "instance_id": unknown(), "region": None, "aws": aws})
    assert checked.failures == []
    assert checked.inputs["region"] == "eu-west-1"
    assert checked.inputs["aws"] == {"region": "eu-west-1", "defaultTags": aws["defaultTags"]}
    own_region = provider.check({}, {**props, "instance_id": unknown(), "aws": aws})
    assert own_region.inputs["region"] == "us-east-1"


def test_what_is_not_known_yet_of_the_provider_is_not_known_of_the_set(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props
) -> None:
    ec2.clear_calls()
    aws = {"region": unknown(), "defaultTags": unknown(), "assumeRoles": unknown()}
    checked = provider.check({}, {**props, "region": None, "aws": aws})
    assert checked.failures == []
    assert checked.inputs["region"] == UNKNOWN
    assert provider.check({}, {**props, "aws": {"assumeRoles": unknown()}}).failures == []
    assert ec2.calls() == []


def test_another_provider_updates_the_set_replaces_nothing_and_calls_nothing(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    aws = {"region": "us-east-1", "profile": "ops"}
    diff = provider.diff(state["set_id"], state, {**props, "tags": {}, "aws": aws})
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update(state["set_id"], state, {**props, "aws": aws}).outs
    assert updated == {**state, "aws": aws}
    assert provider.update(state["set_id"], updated, props).outs == {**state, "aws": None}
    assert ec2.calls() == []


@pytest.mark.parametrize("name", ["accessKey", "secretKey", "token", "assumeRoleWithWebIdentity"])
def test_a_provider_with_credentials_is_refused_without_naming_the_property_that_holds_them(
    provider: SnapshotSetProvider, props: Props, name: str
) -> None:
    [failure] = provider.check({}, {**props, "aws": {name: True}}).failures
    assert failure.property == ""
    assert failure.reason.startswith("InputError: reading ")
    assert name in failure.reason


def test_the_inputs_have_the_stacks_region_and_no_part_that_only_the_program_knows(
    provider: SnapshotSetProvider, props: Props
) -> None:
    kept = {name: value for name, value in props.items() if name != "is_preview"}
    for is_preview in (True, False):
        assert provider.check({}, {**props, "region": None, "is_preview": is_preview}).inputs == kept


SECRET = "q8Zx-external-id-Vw1"


def test_malformed_roles_of_the_provider_are_refused_without_their_value(
    provider: SnapshotSetProvider, props: Props
) -> None:
    roles = f'[{{"roleArn": "arn:aws:iam::123456789012:role/backup", "externalId": "{SECRET}"}}'
    [failure] = provider.check({}, {**props, "aws": {"assumeRoles": roles}}).failures
    assert failure.property == ""
    assert failure.reason.startswith("InputError: reading aws:assumeRoles: the value is not JSON (")
    assert SECRET not in failure.reason


def test_malformed_roles_of_the_stack_are_refused_without_their_value(configure: Configure) -> None:
    with pytest.raises(Exception, match=r"^reading aws:assumeRoles: the value is not JSON \(") as caught:
        configure(**{"aws:assumeRoles": f'[{{"externalId": "{SECRET}"'})
    assert type(caught.value).__name__ == "InputError"
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_set_that_a_killed_run_left_behind_is_adopted_and_no_claim_is_made_before_the_state_holds_it(
    provider: SnapshotSetProvider, props: Props, state: Props, client: EC2Client
) -> None:
    again = provider.create(provider.check({}, props).inputs)
    outs = outs_of(again)
    assert (again.id, outs["outcome"]) == (state["set_id"], "adopted")
    for name in ("snapshot_id", "device_name", "volume_id", "start_time"):
        assert [record[name] for record in outs["snapshots"]] == [record[name] for record in state["snapshots"]]
    assert outs["claim"] != state["claim"]
    there = client.describe_snapshots(SnapshotIds=outs["snapshot_ids"])["Snapshots"]
    assert tags.CLAIM not in {tag["Key"] for snapshot in there for tag in snapshot["Tags"]}


def test_the_outputs_are_the_set_as_it_was_taken_the_root_volume_first(
    state: Props, instance: LaunchedInstance, client: EC2Client
) -> None:
    assert [record["device_name"] for record in state["snapshots"]] == ["/dev/sda1", "/dev/sdf", "/dev/sdg"]
    assert {record["device_name"]: record["volume_id"] for record in state["snapshots"]} == instance.volume_ids
    assert state["outcome"] == "created"
    taken = set_from_state(state)
    assert (taken.set_id, taken.instance_id, taken.count) == (state["set_id"], state["instance_id"], 3)
    assert taken.snapshot_ids == state["snapshot_ids"]
    assert taken.records() == state["snapshots"]
    [first, *_] = client.describe_snapshots(SnapshotIds=state["snapshot_ids"])["Snapshots"]
    assert state["owner_id"] == first["OwnerId"]
    assert state["start_time"] == taken.start_time == f"{first['StartTime']:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def test_without_the_permission_to_describe_the_set_is_taken_without_devices(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in ("DescribeVolumes", "DescribeInstances"):
        ec2.fault(action=action, kind="deny")
    state = outs_of(provider.create({**props, "triggers": "unseen"}))
    assert [record["device_name"] for record in state["snapshots"]] == [""] * 3
    shown = capsys.readouterr().err
    assert "the snapshots' devices are not recorded: " in shown
    assert "Allow ec2:DescribeInstances." in shown


def aged(ec2: EmbeddedEC2, state: Props) -> Props:
    """The same set, long since taken."""
    ec2.age(state["snapshot_ids"], seconds=3600)
    records = [{**record, "start_time": "2020-01-01T00:00:00.000Z"} for record in state["snapshots"]]
    return {**state, "snapshots": records}


def test_a_refresh_updates_the_states(provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    state = outs_of(provider.create(provider.check({}, props).inputs))
    assert {record["state"] for record in state["snapshots"]} == {"pending"}
    ec2.complete()
    read = provider.read(state["set_id"], state)
    outs = outs_of(read)
    assert read.id == state["set_id"]
    assert {(record["state"], record["progress"]) for record in outs["snapshots"]} == {("completed", "100%")}
    done = [{**record, "state": "completed", "progress": "100%"} for record in state["snapshots"]]
    assert outs == {**state, "snapshots": done}


def test_a_refresh_leaves_out_what_is_gone_and_forgets_a_set_of_which_nothing_is_left(
    provider: SnapshotSetProvider,
    ec2: EmbeddedEC2,
    state: Props,
    client: EC2Client,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, [root, *rest] = aged(ec2, state), state["snapshot_ids"]
    client.delete_snapshot(SnapshotId=root)
    outs = outs_of(provider.read(old["set_id"], old))
    assert outs["snapshot_ids"] == rest
    assert [record["snapshot_id"] for record in outs["snapshots"]] == rest
    assert f"{old['set_id']} of {old['instance_id']}: {root} no longer exists\n" in capsys.readouterr().err
    for snapshot_id in rest:
        client.delete_snapshot(SnapshotId=snapshot_id)
    gone = provider.read(old["set_id"], old)
    assert (gone.id, gone.outs) == ("", {})
    assert f"{', '.join(sorted([root, *rest]))} no longer exist\n" in capsys.readouterr().err


def test_a_refresh_keeps_a_young_set_that_is_not_visible_yet(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, state: Props
) -> None:
    ec2.settings(visibility_seconds=600)
    read = provider.read(state["set_id"], state)
    assert (read.id, read.outs) == (state["set_id"], state)


def test_a_refresh_with_the_credentials_of_another_account_forgets_nothing(
    configure: Configure, state: Props, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", "0")
    stranger = configure(**{"aws:assumeRoles": '[{"roleArn": "arn:aws:iam::222222222222:role/deploy"}]'})
    with pytest.raises(Exception, match="of account 123456789012, and the credentials are of 222222222222"):
        stranger.read(state["set_id"], state)


def test_a_claimed_set_is_never_adopted_by_a_replacement(
    provider: SnapshotSetProvider, props: Props, state: Props, client: EC2Client
) -> None:
    client.create_tags(Resources=state["snapshot_ids"], Tags=[{"Key": tags.CLAIM, "Value": state["claim"]}])
    again = outs_of(provider.create(provider.check({}, props).inputs))
    assert again["outcome"] == "created"
    assert not set(again["snapshot_ids"]) & set(state["snapshot_ids"])


def test_a_delete_calls_nothing_and_says_in_one_line_what_stays_and_how_to_delete_it(
    provider: SnapshotSetProvider,
    ec2: EmbeddedEC2,
    instance: LaunchedInstance,
    state: Props,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ec2.clear_calls()
    capsys.readouterr()
    set_id = state["set_id"]
    provider.delete(set_id, state)
    command = f"snapset delete {set_id} --region us-east-1"
    assert capsys.readouterr().err == (f"{set_id} of {instance.instance_id} stays in AWS. To delete it: {command}\n")
    assert ec2.calls() == []


def test_a_set_is_not_adopted_once_the_resource_has_taken_another_one(
    provider: SnapshotSetProvider, props: Props, ec2: EmbeddedEC2
) -> None:
    """Neither one that was recorded and could not be marked, nor one of a killed run: it shows what was before B."""

    def take(trigger: str, **more: Any) -> Props:
        return outs_of(provider.create(provider.check({}, {**props, "triggers": trigger, **more}).inputs))

    first = take("A")
    assert take("A")["set_id"] == first["set_id"]
    # That of another resource is of no account.
    ec2.age(first["snapshot_ids"], seconds=60)
    other = take("A", scope="organization/urn:pulumi:dev::shop::other")
    again = take("A")
    assert (again["outcome"], again["set_id"]) == ("adopted", first["set_id"] != other["set_id"] and first["set_id"])
    second = take("B")
    third = take("A")
    assert third["outcome"] == "created"
    assert len({first["set_id"], second["set_id"], third["set_id"], other["set_id"]}) == 4


def test_how_to_delete_it_is_not_said_of_a_set_that_the_new_resource_has_adopted(
    provider: SnapshotSetProvider, state: Props, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forced replacement of a resource whose set could not be marked."""
    new = outs_of(provider.create(provider.check({}, props).inputs))
    assert (new["outcome"], new["set_id"]) == ("adopted", state["set_id"])
    capsys.readouterr()
    provider.delete(state["set_id"], state)
    assert "stays: the resource that comes in its place has adopted it" in capsys.readouterr().err
