"""The dynamic provider of restored volumes, without an engine: its checks, changes, and what it calls."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from pulumi.dynamic import Config, ConfigureRequest, CreateResult, ReadResult
from pulumi.dynamic.dynamic import serialize_provider
from snapset.emulator.client import EmbeddedEC2
from snapset.resources.restored_set import RestoredSetProvider
from snapset.restore.volumes import VolumeRecord
from snapset.rules import UNKNOWN
from snapset.sets.model import SnapshotSet

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

STATE: dict[str, Any] = {
    "scope": "org/shop/prod/web",
    "set_id": "set-0123456789abcdef0",
    "availability_zone": "us-east-1a",
    "region": "us-east-1",
    "tags": {"app": "shop"},
    "volume_ids": ["vol-0123456789abcdef0"],
}


def outs_of(result: CreateResult | ReadResult) -> dict[str, Any]:
    return dict(result.outs or {})


@pytest.fixture
def provider(no_account: None, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> RestoredSetProvider:
    # The provider owns its process and limits its tracebacks; this process is pytest's.
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    made = RestoredSetProvider()
    keys = {"aws:accessKey": "testing", "aws:secretKey": "testing", "aws:endpoints": f'[{{"ec2": "{ec2.endpoint}"}}]'}
    made.configure(ConfigureRequest(Config(keys, "shop")))
    return made


def test_another_provider_is_taken_over_without_a_call(provider: RestoredSetProvider, ec2: EmbeddedEC2) -> None:
    ec2.clear_calls()
    aws = {"region": "us-east-1", "profile": "ops"}
    diff = provider.diff("restore-1", STATE, {**STATE, "aws": aws})
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update("restore-1", STATE, {**STATE, "aws": aws}).outs
    assert updated == {**STATE, "aws": aws}
    assert provider.update("restore-1", dict(updated or {}), STATE).outs == STATE
    assert ec2.calls() == []


def test_the_check_takes_region_and_tags_from_the_provider_and_refuses_its_credentials(
    provider: RestoredSetProvider, ec2: EmbeddedEC2
) -> None:
    ec2.clear_calls()
    news = {**STATE, "set_id": UNKNOWN, "region": None}
    aws = {"region": "us-east-1", "profile": None, "defaultTags": '{"tags": {"team": "ops"}}'}
    checked = provider.check({}, {**news, "aws": aws})
    assert checked.failures == []
    assert (checked.inputs["region"], checked.inputs["tags"]) == ("us-east-1", {"team": "ops", "app": "shop"})
    [failure] = provider.check({}, {**news, "aws": {**aws, "token": True}}).failures
    assert "it holds token" in failure.reason
    assert ec2.calls() == []


@pytest.fixture
def props(claimed: SnapshotSet) -> dict[str, Any]:
    """The inputs of a restore of a set in a zone."""
    return {
        "scope": "org/shop/prod/again",
        "set_id": claimed.set_id,
        "availability_zone": "us-east-1a",
        "region": "us-east-1",
        "tags": {"app": "shop"},
    }


@pytest.fixture
def state(provider: RestoredSetProvider, props: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a restore."""
    return outs_of(provider.create(props))


def tags_of(client: EC2Client, volume_id: str) -> dict[str, str]:
    [volume] = client.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return {tag["Key"]: tag["Value"] for tag in volume["Tags"]}


def test_the_state_holds_the_providers_name_and_not_its_code() -> None:
    assert len(serialize_provider(RestoredSetProvider())) < 200
    assert RestoredSetProvider.serialize_as_secret_always is False


def test_a_restore_is_recorded_volume_by_volume(
    provider: RestoredSetProvider, props: dict[str, Any], claimed: SnapshotSet
) -> None:
    created = provider.create(props)
    outs = outs_of(created)
    volumes: list[VolumeRecord] = outs["volumes"]
    assert [volume["volume_id"] for volume in volumes] == outs["volume_ids"]
    assert [volume["snapshot_id"] for volume in volumes] == claimed.snapshot_ids
    assert [volume["device_name"] for volume in volumes] == [claimed.devices[key] for key in claimed.snapshot_ids]
    assert created.id.startswith("restore-")
    assert props.items() <= outs.items()


def test_a_check_makes_the_dry_run_when_volumes_would_be_made(
    provider: RestoredSetProvider, ec2: EmbeddedEC2, props: dict[str, Any], state: dict[str, Any]
) -> None:
    ec2.clear_calls()
    assert provider.check(state, {**props, "tags": {"app": "till"}}).failures == []
    assert ec2.calls() == []
    assert provider.check(state, {**props, "availability_zone": "us-east-1b"}).failures == []
    assert [call["dry_run"] for call in ec2.calls("CreateVolume")] == [True]


def test_a_check_refuses_a_set_that_is_not_whole(
    provider: RestoredSetProvider, client: EC2Client, props: dict[str, Any], claimed: SnapshotSet
) -> None:
    client.delete_snapshot(SnapshotId=claimed.snapshot_ids[1])
    [failure] = provider.check({}, props).failures
    assert failure.property == "set_id"
    assert failure.reason == (
        f"InputError: restoring {claimed.set_id}: 2 of its 3 snapshots are left; /dev/sdf is missing. "
        "Restore a set that is whole, or set allow_incomplete."
    )


def test_a_failed_restore_is_shown_as_its_name_and_its_message(
    provider: RestoredSetProvider, client: EC2Client, props: dict[str, Any], claimed: SnapshotSet
) -> None:
    client.delete_snapshot(SnapshotId=claimed.snapshot_ids[1])
    with pytest.raises(Exception, match=r"^restoring set-\w+: 2 of its 3 snapshots are left; ") as caught:
        provider.create(props)
    assert (type(caught.value).__module__, type(caught.value).__name__) == ("builtins", "InputError")


@pytest.mark.parametrize(
    ("change", "changes", "replaces"),
    [
        ({}, False, []),
        ({"volume_type": ""}, False, []),
        ({"tags": {"app": "till"}}, True, []),
        ({"devices": {"snap-1": "/dev/sdf"}}, False, []),
        ({"volume_type": "gp3"}, True, ["volume_type"]),
        ({"set_id": UNKNOWN}, True, ["set_id"]),
        ({"availability_zone": "us-east-1b", "encrypted": True}, True, ["availability_zone", "encrypted"]),
    ],
)
def test_volumes_are_replaced_if_what_they_are_changed_the_old_ones_first(
    provider: RestoredSetProvider, change: dict[str, Any], changes: bool, replaces: list[str]
) -> None:
    diff = provider.diff("restore-1", STATE, {**STATE, **change})
    assert (diff.changes, diff.replaces, diff.delete_before_replace) == (changes, replaces, True)


def test_an_update_changes_the_tags_of_the_volumes(
    provider: RestoredSetProvider, client: EC2Client, props: dict[str, Any], state: dict[str, Any]
) -> None:
    before = tags_of(client, state["volume_ids"][0])
    assert before["app"] == "shop"
    updated = provider.update("restore-1", state, {**props, "tags": {"team": "ops"}})
    assert updated.outs == {**state, "tags": {"team": "ops"}}
    rest = {key: value for key, value in before.items() if key != "app"}
    for volume_id in state["volume_ids"]:
        assert tags_of(client, volume_id).items() >= {"team": "ops"}.items()
        assert "app" not in tags_of(client, volume_id)
    assert tags_of(client, state["volume_ids"][0]) == {**rest, "team": "ops"}


def test_a_refresh_updates_the_volumes_and_leaves_out_what_is_gone(
    provider: RestoredSetProvider, client: EC2Client, state: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first, *rest = state["volume_ids"]
    client.delete_volume(VolumeId=first)
    read = provider.read("restore-1", state)
    outs = outs_of(read)
    assert (read.id, outs["volume_ids"]) == ("restore-1", rest)
    assert outs["volumes"] == [record for record in state["volumes"] if record["volume_id"] in rest]
    assert f"restore-1: {first} no longer exists\n" in capsys.readouterr().err
    for volume_id in rest:
        client.delete_volume(VolumeId=volume_id)
    gone = provider.read("restore-1", state)
    assert (gone.id, gone.outs) == ("", {})


def test_deleting_the_resource_deletes_its_volumes(
    provider: RestoredSetProvider, client: EC2Client, state: dict[str, Any]
) -> None:
    for _ in range(2):
        provider.delete("restore-1", state)
    left = client.describe_volumes(Filters=[{"Name": "volume-id", "Values": state["volume_ids"]}])["Volumes"]
    assert left == []
