"""The dynamic provider of a fleet's sets without an engine: what it calls a change, what it takes, and what stays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pulumi.dynamic import Config, ConfigureRequest, CreateResult, ReadResult, UpdateResult
from pulumi.dynamic.dynamic import serialize_provider
from snapset import errors
from snapset.emulator.client import EmbeddedEC2
from snapset.resources.fleet_set import FleetSetProvider
from snapset.rules import UNKNOWN
from snapset.sets import tags

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

Props = dict[str, Any]
Configure = Callable[..., FleetSetProvider]
ID = "fleet-0123456789abcdef0"


def outs_of(result: CreateResult | ReadResult | UpdateResult) -> Props:
    return dict(result.outs or {})


def set_of(outputs: Props, instance_id: str) -> Props:
    """The record of the set that counts for the instance."""
    return dict(outputs["sets"][outputs["current"][instance_id]])


@pytest.fixture
def configure(no_account: None, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A provider of a stack whose config names the embedded EC2, and has these keys too."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", "0")
    keys = {"aws:region": "us-east-1", "aws:accessKey": "testing", "aws:secretKey": "testing"}

    def make(**more: str) -> FleetSetProvider:
        provider = FleetSetProvider()
        config = {**keys, "aws:endpoints": f'[{{"ec2": "{ec2.endpoint}", "sts": "{ec2.endpoint}"}}]', **more}
        provider.configure(ConfigureRequest(Config(config, "shop")))
        return provider

    return make


@pytest.fixture
def provider(configure: Configure) -> FleetSetProvider:
    return configure()


@pytest.fixture
def instance_ids(ec2: EmbeddedEC2) -> list[str]:
    return [ec2.launch().instance_id for _ in range(3)]


@pytest.fixture
def props(instance_ids: list[str]) -> Props:
    """The inputs as the resource gives them in an update."""
    return {
        "is_preview": False,
        "scope": "org/shop/prod/web",
        "instance_ids": instance_ids,
        "region": "us-east-1",
    }


@pytest.fixture
def taken(provider: FleetSetProvider, props: Props) -> Props:
    """The outputs of a fleet that was taken, and not claimed yet."""
    return outs_of(provider.create(provider.check({}, props).inputs))


@pytest.fixture
def state(taken: Props, client: EC2Client) -> Props:
    """The outputs of a fleet that was taken and claimed."""
    ids = [snapshot_id for record in taken["sets"].values() for snapshot_id in record["snapshot_ids"]]
    client.create_tags(Resources=ids, Tags=[{"Key": tags.CLAIM, "Value": taken["claim"]}])
    return taken


def marks(client: EC2Client, key: str = tags.SET) -> set[str]:
    """The values of this tag of all snapshots; the ids of all sets."""
    found = client.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return {tag["Value"] for snapshot in found for tag in snapshot["Tags"] if tag["Key"] == key}


def test_the_state_holds_the_providers_name_and_not_its_code() -> None:
    assert len(serialize_provider(FleetSetProvider())) < 200


def test_an_unchanged_fleet_is_checked_and_compared_without_a_call(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    # A set of Python's has another order in each run.
    for order in (1, -1):
        turned = {**props, "instance_ids": props["instance_ids"][::order]}
        diff = provider.diff(ID, state, provider.check(state, turned).inputs)
        assert (diff.changes, diff.replaces) == (False, [])
    assert ec2.calls() == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"instance_ids": "i-0123456789abcdef0"}, "is not a list of instance ids"),
        ({"instance_ids": ["i-0123456789abcdef0", "i-0123456789abcdef0"]}, "is listed twice"),
        ({"instance_ids": ["vol-0123456789abcdef0"]}, "is not an instance id"),
        ({"tags": {"aws:a": "b"}}, "aws:"),
        # What is not known yet is in something that none of its values can be.
        ({"instance_ids": {"a": UNKNOWN}}, "{'a': '[unknown]'} is not a list of instance ids"),
        ({"exclude_data_volume_ids": {"a": UNKNOWN}}, "{'a': '[unknown]'} is not a list of volume ids"),
        ({"tags": [{"Key": "a", "Value": UNKNOWN}]}, "is not a map of tags"),
        ({"description": [UNKNOWN]}, "['[unknown]'] is not a string"),
    ],
)
def test_bad_inputs_are_refused(provider: FleetSetProvider, props: Props, given: Props, reason: str) -> None:
    [failure] = provider.check({}, {**props, **given}).failures
    assert reason in failure.reason


def test_another_order_of_the_instances_takes_nothing_and_one_that_has_left_keeps_its_record(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    turned = {**props, "instance_ids": props["instance_ids"][:0:-1]}
    diff = provider.diff(ID, state, provider.check(state, turned).inputs)
    assert (diff.changes, diff.replaces) == (True, [])
    updated = outs_of(provider.update(ID, state, turned))
    assert {name: updated[name] for name in ("sets", "current", "claim")} == {
        name: state[name] for name in ("sets", "current", "claim")
    }
    assert updated["instance_ids"] == turned["instance_ids"]
    assert ec2.calls() == []


def test_a_set_that_is_in_error_or_not_whole_is_taken_anew_and_the_older_records_stay(
    provider: FleetSetProvider, client: EC2Client, props: Props, state: Props
) -> None:
    first, second, third = props["instance_ids"]
    client.delete_snapshot(SnapshotId=set_of(state, second)["snapshot_ids"][0])
    read = outs_of(provider.read(ID, state))
    assert read["sets"].keys() == state["sets"].keys() - {state["current"][second]}
    read["sets"][read["current"][first]]["snapshots"][0]["state"] = "error"
    assert provider.diff(ID, read, props).changes
    updated = outs_of(provider.update(ID, read, provider.check(read, props).inputs))
    taken = {updated["current"][key] for key in (first, second)}
    assert updated["current"][third] == state["current"][third]
    assert not taken & state["sets"].keys()
    assert updated["sets"].keys() == read["sets"].keys() | taken
    assert not provider.diff(ID, updated, props).changes


def test_what_could_not_be_taken_anew_stays_in_the_state_and_its_failure_keeps_its_class_and_code(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    first = props["instance_ids"][0]
    state["sets"][state["current"][first]]["snapshots"][0]["state"] = "error"
    ec2.fault(action="CreateSnapshots", kind="deny")
    updated = outs_of(provider.update(ID, state, provider.check(state, props).inputs))
    assert (updated["sets"], updated["current"]) == (state["sets"], state["current"])
    [(failed, record)] = updated["failures"].items()
    assert (failed, record["type"], record["code"]) == (first, "NotPermittedError", "UnauthorizedOperation")
    error = errors.from_record(record)
    assert (type(error), str(error)) == (errors.NotPermittedError, record["message"])
    assert record["message"].startswith(f"creating snapshots of {first}: UnauthorizedOperation: ")
    assert provider.diff(ID, updated, props).changes
    ec2.clear_faults()
    again = outs_of(provider.update(ID, updated, props))
    assert again["failures"] == {}
    assert again["current"][first] not in state["sets"]


def test_an_adopted_set_that_another_resource_holds_too_is_taken_anew(
    provider: FleetSetProvider, client: EC2Client, props: Props, taken: Props
) -> None:
    adopted = outs_of(provider.create(provider.check({}, props).inputs))
    assert adopted["current"] == taken["current"]
    assert not provider.diff(ID, adopted, props).changes
    first, *others = props["instance_ids"]
    ids = set_of(adopted, first)["snapshot_ids"]
    client.create_tags(Resources=ids, Tags=[{"Key": tags.CLAIM, "Value": taken["claim"]}])
    assert provider.diff(ID, adopted, props).changes
    updated = outs_of(provider.update(ID, adopted, provider.check(adopted, props).inputs))
    assert updated["current"][first] != taken["current"][first]
    assert [updated["current"][key] for key in others] == [taken["current"][key] for key in others]
    assert marks(client) == updated["sets"].keys()


def test_a_change_is_served_once_whatever_else_differs(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    state = outs_of(provider.create({**props, "change_id": "42"}))
    joined = [*props["instance_ids"], ec2.launch().instance_id]
    other = {**props, "change_id": "42", "description": "another", "instance_ids": joined}
    # Without a check before it, as where a replacement of what the fleet depends on deletes first.
    diff = provider.diff(ID, state, other)
    assert (diff.changes, diff.replaces) == (True, [])
    assert "the same change was served with another description" in capsys.readouterr().err
    updated = outs_of(provider.update(ID, state, other))
    assert state["current"].items() <= updated["current"].items()
    assert updated["current"].keys() == set(joined)
    assert provider.diff(ID, state, {**props, "change_id": "43"}).replaces == ["change_id"]


def test_a_preview_names_what_would_get_no_set_and_a_missing_permission(
    configure: Configure, ec2: EmbeddedEC2, props: Props, state: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {**props, "is_preview": True, "instance_ids": [*props["instance_ids"], "i-0123456789abcdef0"]}
    ec2.clear_calls()
    for old in ({}, state):
        provider = configure()
        checked = provider.check(old, asked)
        assert checked.failures == []
        if old:
            provider.diff(ID, old, checked.inputs)
        assert "warning: creating snapshots of i-0123456789abcdef0: InvalidInstanceID" in capsys.readouterr().err
    ec2.fault(action="CreateSnapshots", kind="deny")
    [refused] = configure().check({}, {**props, "is_preview": True}).failures
    assert "Allow ec2:CreateSnapshots" in refused.reason
    assert not [call for call in ec2.calls("CreateSnapshots") if call["carried_out"]]
    unchecked = configure(**{"snapset:preflight": "false"})
    ec2.clear_calls()
    unchecked.diff(ID, state, unchecked.check(state, asked).inputs)
    assert ec2.calls() == []


def test_without_the_permission_to_describe_anything_the_sets_are_taken_all_the_same(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    ec2.fault(action="DescribeInstances", kind="deny", times=None)
    ec2.fault(action="DescribeVolumes", kind="deny", times=None)
    made = outs_of(provider.create(provider.check({}, props).inputs))
    assert made["current"].keys() == set(props["instance_ids"])
    assert "the snapshots' devices are not recorded" in capsys.readouterr().err


def test_an_import_is_refused_in_one_line(provider: FleetSetProvider) -> None:
    with pytest.raises(Exception, match=r"^importing fleet-0: sets can't be imported, they are taken\.$"):
        provider.read("fleet-0", {})


@pytest.mark.parametrize("number", [0, 1, 20, 21])
def test_a_delete_calls_nothing_and_gives_one_command_however_many_sets_stay(
    provider: FleetSetProvider, ec2: EmbeddedEC2, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    set_ids = [f"set-{count:017x}" for count in range(number)]
    ec2.clear_calls()
    sets = {set_id: {"outcome": "created"} for set_id in set_ids[::-1]}
    # Another run's, which has served one of this stack's.
    sets["set-fffffffffffffffff"] = {"outcome": "unchanged"}
    provider.delete(ID, {"sets": sets, "region": "us-east-1", "claim": "mine"})
    named = " ".join(set_ids)
    if number > 20:
        named = "$(snapset list --tag snapset:claim=mine --ids --region us-east-1)"
    stay = "1 set stays" if number == 1 else f"{number} sets stay"
    line = f"{stay} in AWS. To delete: snapset delete {named} --region us-east-1\n"
    assert capsys.readouterr().err == (line if number else "")
    assert ec2.calls() == []


def test_the_sets_of_a_backup_command_are_always_compared_with_ec2_and_never_replaced(
    provider: FleetSetProvider, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {**props, "change_id": "42", "served_within": 3600.0}
    state = outs_of(provider.create(provider.check({}, asked).inputs))
    others: list[Props] = [
        {},
        {"instance_ids": props["instance_ids"][:1]},
        {"description": "a"},
        {"served_within": 1.0},
    ]
    for other in others:
        diff = provider.diff(ID, state, provider.check(state, {**asked, **other}).inputs)
        assert (diff.changes, diff.replaces) == (True, [])
    assert capsys.readouterr().err == ""
    # Nobody has claimed them: they are adopted.
    again = outs_of(provider.update(ID, state, asked))
    assert again["current"] == state["current"]
    assert {record["outcome"] for record in again["sets"].values()} == {"adopted"}


def test_a_backup_command_is_served_by_what_another_stack_has_claimed_for_the_same_change(
    provider: FleetSetProvider, client: EC2Client, props: Props
) -> None:
    asked = {**props, "change_id": "42", "served_within": 3600.0}
    theirs = outs_of(provider.create({**asked, "scope": "org/shop/prod/theirs"}))
    ids = [snapshot_id for record in theirs["sets"].values() for snapshot_id in record["snapshot_ids"]]
    client.create_tags(Resources=ids, Tags=[{"Key": tags.CLAIM, "Value": theirs["claim"]}])
    served = outs_of(provider.create(asked))
    assert served["current"] == theirs["current"]
    assert {record["outcome"] for record in served["sets"].values()} == {"unchanged"}
    # A resource of a stack takes its own.
    own = outs_of(provider.create({**asked, "served_within": None}))
    assert not own["sets"].keys() & theirs["sets"].keys()
    assert marks(client) == own["sets"].keys() | theirs["sets"].keys()
    assert marks(client, tags.CLAIM) == {theirs["claim"]}
