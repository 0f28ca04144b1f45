"""The dynamic provider of a fleet's sets without an engine: what it calls a change, what it takes, and what stays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pulumi.dynamic import Config, ConfigureRequest, CreateResult, ReadResult, UpdateResult
from pulumi.dynamic.dynamic import serialize_provider
from snapset.emulator.client import EmbeddedEC2
from snapset.resources.fleet_set import FleetSetProvider
from snapset.sets import tags

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

Props = dict[str, Any]
Configure = Callable[..., FleetSetProvider]
ID = "fleet-0123456789abcdef0"


def outs_of(result: CreateResult | ReadResult | UpdateResult) -> Props:
    return dict(result.outs or {})


def set_ids(outputs: Props) -> dict[str, str]:
    return {key: record["set_id"] for key, record in outputs["sets"].items()}


@pytest.fixture
def configure(no_account: None, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A provider of a stack whose config names the embedded EC2, and has these keys too."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", "0")
    keys = {"aws:region": "us-east-1", "aws:accessKey": "testing", "aws:secretKey": "testing"}

    def make(**more: str) -> FleetSetProvider:
        provider = FleetSetProvider()
        config = {**keys, "aws:endpoints": f'[{{"ec2": "{ec2.endpoint}"}}]', **more}
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
        "on_delete": "retain",
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


def existing(client: EC2Client) -> set[str]:
    found = client.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return {tag["Value"] for each in found for tag in each["Tags"] if tag["Key"] == tags.SET}


def test_the_state_holds_the_providers_name_and_not_its_code() -> None:
    assert len(serialize_provider(FleetSetProvider())) < 200


def test_an_unchanged_fleet_is_checked_and_compared_without_a_call(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    diff = provider.diff(ID, state, provider.check(state, props).inputs)
    assert (diff.changes, diff.replaces) == (False, [])
    assert ec2.calls() == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"instance_ids": "i-0123456789abcdef0"}, "is not a list of instance ids"),
        ({"instance_ids": ["i-0123456789abcdef0", "i-0123456789abcdef0"]}, "is listed twice"),
        ({"instance_ids": ["vol-0123456789abcdef0"]}, "is not an instance id"),
        ({"tags": {"aws:a": "b"}}, "aws:"),
    ],
)
def test_bad_inputs_are_refused(provider: FleetSetProvider, props: Props, given: Props, reason: str) -> None:
    [failure] = provider.check({}, {**props, **given}).failures
    assert reason in failure.reason


def test_another_order_of_the_instances_takes_nothing(
    provider: FleetSetProvider, client: EC2Client, props: Props, state: Props
) -> None:
    turned = {**props, "instance_ids": props["instance_ids"][::-1]}
    updated = outs_of(provider.update(ID, state, provider.check(state, turned).inputs))
    assert set_ids(updated) == set_ids(state)
    assert existing(client) == set(set_ids(state).values())


def test_a_set_that_is_in_error_or_not_whole_is_taken_anew_and_the_others_stay(
    provider: FleetSetProvider, client: EC2Client, props: Props, state: Props
) -> None:
    first, second, third = props["instance_ids"]
    state["sets"][first]["snapshots"][0]["state"] = "error"
    client.delete_snapshot(SnapshotId=state["sets"][second]["snapshot_ids"][0])
    read = outs_of(provider.read(ID, state))
    # A refresh says how they are now.
    read["sets"][first]["snapshots"][0]["state"] = "error"
    assert provider.diff(ID, read, props).changes
    updated = outs_of(provider.update(ID, read, provider.check(read, props).inputs))
    assert set_ids(updated)[third] == set_ids(state)[third]
    assert not {set_ids(updated)[key] for key in (first, second)} & set(set_ids(state).values())


def test_what_could_not_be_taken_anew_stays_in_the_state(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    first = props["instance_ids"][0]
    state["sets"][first]["snapshots"][0]["state"] = "error"
    ec2.fault(action="CreateSnapshots", kind="deny")
    updated = outs_of(provider.update(ID, state, provider.check(state, props).inputs))
    assert set_ids(updated) == set_ids(state)
    assert updated["failures"].keys() == {first}
    assert provider.diff(ID, updated, props).changes


def test_an_adopted_set_that_another_resource_holds_too_is_taken_anew(
    provider: FleetSetProvider, client: EC2Client, props: Props, taken: Props
) -> None:
    state = taken
    adopted = outs_of(provider.create(provider.check({}, props).inputs))
    assert set_ids(adopted) == set_ids(state)
    assert not provider.diff(ID, adopted, props).changes
    first = props["instance_ids"][0]
    client.create_tags(
        Resources=adopted["sets"][first]["snapshot_ids"], Tags=[{"Key": tags.CLAIM, "Value": state["claim"]}]
    )
    assert provider.diff(ID, adopted, props).changes
    updated = outs_of(provider.update(ID, adopted, provider.check(adopted, props).inputs))
    assert set_ids(updated)[first] != set_ids(state)[first]
    assert {key: id_ for key, id_ in set_ids(updated).items() if key != first} == {
        key: id_ for key, id_ in set_ids(state).items() if key != first
    }
    assert set_ids(state)[first] in existing(client)


def test_what_has_left_is_deleted_only_if_the_state_and_the_program_say_so(
    provider: FleetSetProvider, client: EC2Client, props: Props, state: Props
) -> None:
    fewer = {**props, "instance_ids": props["instance_ids"][1:]}
    kept = outs_of(provider.update(ID, state, provider.check(state, fewer).inputs))
    assert set_ids(kept) == set_ids(state)
    for old, new, keeps, deleted in (
        ("retain", "delete", False, False),
        ("delete", "retain", False, False),
        ("delete", "delete", True, False),
        ("delete", "delete", False, True),
    ):
        checked = provider.check(state, {**fewer, "on_delete": new, "keep_left": keeps}).inputs
        provider.diff(ID, {**state, "on_delete": old}, checked)
        outs = outs_of(provider.update(ID, {**state, "on_delete": old}, checked))
        assert (set_ids(state)[props["instance_ids"][0]] not in existing(client)) is deleted
        assert (len(outs["sets"]) == 3) is (keeps or new == "retain")


def test_a_change_is_served_once_whatever_else_differs(
    provider: FleetSetProvider, ec2: EmbeddedEC2, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    state = outs_of(provider.create({**props, "change_id": "42"}))
    joined = [*props["instance_ids"], ec2.launch().instance_id]
    other = {**props, "change_id": "42", "description": "another", "instance_ids": joined}
    diff = provider.diff(ID, state, other)
    assert (diff.changes, diff.replaces) == (True, [])
    assert "change 42 was served with another description" in capsys.readouterr().err
    updated = outs_of(provider.update(ID, state, other))
    assert set_ids(state).items() <= set_ids(updated).items()
    assert updated["sets"].keys() == set(joined)
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
    configure().check({}, {**props, "is_preview": True})
    assert "ec2:CreateSnapshots" in capsys.readouterr().err
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
    assert made["sets"].keys() == set(props["instance_ids"])
    assert "the snapshots' devices are not recorded" in capsys.readouterr().err


def test_a_set_that_the_program_restores_from_stays(
    provider: FleetSetProvider, client: EC2Client, props: Props, state: Props
) -> None:
    used = set_ids(state)[props["instance_ids"][0]]
    provider.check(state, {**props, "on_delete": "delete", "sets_in_use": [used]})
    provider.delete(ID, {**state, "on_delete": "delete"})
    assert existing(client) == {used}


def test_an_import_is_refused_in_one_line(provider: FleetSetProvider) -> None:
    with pytest.raises(Exception, match=r"^importing fleet-0: sets can't be imported, they are taken\.$"):
        provider.read("fleet-0", {})
