"""The dynamic provider without an engine: what it checks, what it calls a change, and what it hands to the state."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pulumi.dynamic import Config, ConfigureRequest
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.output import Unknown
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.resources.snapshot_set_provider import SnapshotSetProvider
from snapset.sets.inputs import UNKNOWN

Props = dict[str, Any]


@pytest.fixture
def configure(no_account: None, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A provider of a stack whose config names the embedded EC2, and has these keys too."""
    # The provider owns its process and limits its tracebacks; this process is pytest's.
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    monkeypatch.delenv("SNAPSET_DEBUG", raising=False)
    keys = {"aws:region": "us-east-1", "aws:accessKey": "testing", "aws:secretKey": "testing"}

    def make(**more: str) -> SnapshotSetProvider:
        provider = SnapshotSetProvider()
        config = {**keys, "aws:endpoints": f'[{{"ec2": "{ec2.endpoint}"}}]', **more}
        provider.configure(ConfigureRequest(Config(config, "shop")))
        return provider

    return make


@pytest.fixture
def provider(configure: Any) -> SnapshotSetProvider:
    made: SnapshotSetProvider = configure()
    return made


@pytest.fixture
def props(instance: LaunchedInstance) -> Props:
    """The inputs as the resource gives them."""
    return {
        "scope": "org/shop/prod/web",
        "instance_id": instance.instance_id,
        "region": "us-east-1",
        "on_delete": "retain",
    }


@pytest.fixture
def state(provider: SnapshotSetProvider, props: Props) -> Props:
    """The outputs of a set that was taken."""
    return dict(provider.create(provider.check({}, props).inputs).outs or {})


def test_the_state_holds_the_providers_name_and_not_its_code() -> None:
    assert len(serialize_provider(SnapshotSetProvider())) < 200
    assert SnapshotSetProvider.serialize_as_secret_always is False


def test_a_record_is_made_of_each_snapshot_the_root_volume_first(state: Props, instance: LaunchedInstance) -> None:
    assert [each["device_name"] for each in state["snapshots"]] == ["/dev/sda1", "/dev/sdf", "/dev/sdg"]
    assert [each["snapshot_id"] for each in state["snapshots"]] == state["snapshot_ids"]
    assert {each["device_name"]: each["volume_id"] for each in state["snapshots"]} == instance.volume_ids
    assert state["outcome"] == "created"


def test_what_is_not_known_yet_passes_the_check_and_calls_nothing(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props
) -> None:
    ec2.clear_calls()
    unknown = {"instance_id": Unknown(), "tags": {"app": Unknown()}, "exclude_data_volume_ids": [Unknown()]}
    checked = provider.check({}, {**props, **unknown})
    assert checked.failures == []
    assert checked.inputs["instance_id"] == UNKNOWN
    assert checked.inputs["tags"] == {"app": UNKNOWN}
    assert checked.inputs["exclude_data_volume_ids"] == [UNKNOWN]
    assert ec2.calls() == []


def test_the_region_of_the_stack_is_filled_in(provider: SnapshotSetProvider, props: Props) -> None:
    assert provider.check({}, {**props, "region": None}).inputs["region"] == "us-east-1"


def test_the_default_tags_of_the_stack_are_given_to_the_set_and_its_own_win(configure: Any, props: Props) -> None:
    provider = configure(**{"aws:defaultTags": '{"tags": {"team": "ops", "app": "all"}}'})
    checked = provider.check({}, {**props, "tags": {"app": "shop"}})
    assert checked.failures == []
    assert checked.inputs["tags"] == {"team": "ops", "app": "shop"}


def test_an_unchanged_set_is_checked_without_a_call(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    assert provider.check(state, {**props, "on_delete": "delete"}).failures == []
    assert ec2.calls() == []


def test_a_check_says_what_does_not_fit_and_where(provider: SnapshotSetProvider, props: Props) -> None:
    [failure] = provider.check({}, {**props, "exclude_data_volume_ids": ["vol-01234567"]}).failures
    assert failure.property == "exclude_data_volume_ids"
    assert "vol-01234567 is not attached" in failure.reason


@pytest.mark.parametrize(
    ("change", "changes", "replaces"),
    [
        ({}, False, []),
        ({"description": None}, False, []),
        ({"on_delete": "delete"}, True, []),
        ({"description": "d"}, True, ["description"]),
        ({"triggers": 1.0, "tags": {"a": "b"}, "on_delete": "delete"}, True, ["tags", "triggers"]),
        ({"instance_id": Unknown()}, True, ["instance_id"]),
    ],
)
def test_a_set_is_replaced_if_what_shaped_it_changed_and_else_updated_or_left_alone(
    provider: SnapshotSetProvider, props: Props, state: Props, change: Props, changes: bool, replaces: list[str]
) -> None:
    diff = provider.diff(state["set_id"], state, provider.check(state, {**props, **change}).inputs)
    assert (diff.changes, diff.replaces) == (changes, replaces)
    assert diff.delete_before_replace is False


def test_a_set_in_error_is_replaced(provider: SnapshotSetProvider, props: Props, state: Props) -> None:
    state["snapshots"][0]["state"] = "error"
    assert provider.diff(state["set_id"], state, props).replaces == ["snapshots"]


def test_a_change_is_served_once_whatever_else_differs(
    provider: SnapshotSetProvider, props: Props, capsys: pytest.CaptureFixture[str]
) -> None:
    state = dict(provider.create({**props, "change_id": "42"}).outs or {})
    same = provider.diff(state["set_id"], state, {**props, "change_id": "42", "description": "another"})
    assert (same.changes, same.replaces) == (False, [])
    assert f"{state['set_id']} stays as it is" in capsys.readouterr().err
    other = provider.diff(state["set_id"], state, {**props, "change_id": "43"})
    assert other.replaces == ["change_id"]
    none = provider.diff(state["set_id"], state, props)
    assert none.replaces == ["change_id"]


def test_an_update_takes_over_the_knob_and_keeps_every_output(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    ec2.clear_calls()
    updated = provider.update(state["set_id"], state, {**props, "on_delete": "delete"})
    assert updated.outs == {**state, "on_delete": "delete"}
    assert ec2.calls() == []


def test_a_failed_call_is_shown_as_its_name_and_its_message(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props
) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    with pytest.raises(Exception, match=r"^creating snapshots of i-\w+: UnauthorizedOperation: ") as caught:
        provider.create(props)
    # Pulumi shows module and class; of what is built in, the class alone.
    assert (type(caught.value).__module__, type(caught.value).__name__) == ("builtins", "NotPermittedError")


def test_the_provider_in_the_inputs_takes_the_place_of_the_stacks(configure: Any, props: Props) -> None:
    provider = configure(**{"aws:defaultTags": '{"tags": {"team": "ops"}}'})
    aws = {"region": "eu-west-1", "profile": None, "token": False, "defaultTags": '{"tags": {"app": "shop"}}'}
    checked = provider.check({}, {**props, "instance_id": Unknown(), "region": None, "aws": aws})
    assert checked.failures == []
    assert (checked.inputs["region"], checked.inputs["tags"]) == ("eu-west-1", {"app": "shop"})
    assert checked.inputs["aws"] == {"region": "eu-west-1", "defaultTags": aws["defaultTags"]}
    own_region = provider.check({}, {**props, "instance_id": Unknown(), "aws": aws})
    assert own_region.inputs["region"] == "us-east-1"


def test_what_is_not_known_yet_of_the_provider_is_not_known_of_the_set(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props
) -> None:
    ec2.clear_calls()
    aws = {"region": Unknown(), "defaultTags": Unknown(), "assumeRoles": Unknown()}
    checked = provider.check({}, {**props, "region": None, "aws": aws})
    assert checked.failures == []
    assert checked.inputs["region"] == checked.inputs["tags"] == UNKNOWN
    assert provider.check({}, {**props, "aws": {"assumeRoles": Unknown()}}).failures == []
    assert ec2.calls() == []


def test_another_provider_updates_the_set_and_replaces_nothing(
    provider: SnapshotSetProvider, ec2: EmbeddedEC2, props: Props, state: Props
) -> None:
    aws = {"region": "us-east-1", "profile": "ops"}
    diff = provider.diff(state["set_id"], state, {**props, "tags": {}, "aws": aws})
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update(state["set_id"], state, {**props, "aws": aws}).outs
    assert updated == {**state, "aws": aws}
    assert provider.update(state["set_id"], updated, props).outs == state


@pytest.mark.parametrize("name", ["accessKey", "secretKey", "token", "assumeRoleWithWebIdentity"])
def test_a_provider_with_credentials_is_refused_without_naming_the_property_that_holds_them(
    provider: SnapshotSetProvider, props: Props, name: str
) -> None:
    [failure] = provider.check({}, {**props, "aws": {name: True}}).failures
    assert failure.property == ""
    assert failure.reason.startswith("InputError: reading ")
    assert name in failure.reason
