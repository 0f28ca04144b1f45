"""The calls of `Ec2` but CreateSnapshots: describing, in pages and in portions; tagging, deleting, and volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.aws.errors import INVALID_INSTANCE_NOT_FOUND
from snapset.aws.records import Instance, Snapshot
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.limits import Limits
from snapset.sets.inputs import SetInputs

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

DATA, SCRATCH = "/dev/sdf", "/dev/sdg"
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
SET = "set-0123456789abcdef0"
GONE = "snap-0123456789abcdef0"


@pytest.fixture
def taken(aws: Ec2, inputs: SetInputs) -> list[Snapshot]:
    return aws.create_snapshots(replace(inputs, tags={"set": "one"}).request(set_id=SET))


def ids(snapshots: list[Snapshot]) -> list[str]:
    return [snapshot.snapshot_id for snapshot in snapshots]


def tags_of(aws: Ec2, snapshots: list[Snapshot]) -> dict[str, dict[str, str]]:
    return {snapshot.snapshot_id: dict(snapshot.tags) for snapshot in aws.describe_snapshots(ids(snapshots))}


def filter_values(call: dict[str, Any]) -> list[str]:
    return [value for key, value in call["params"].items() if key.startswith("Filter.1.Value.")]


def test_an_instance_is_described_with_its_volumes(aws: Ec2, instance: LaunchedInstance) -> None:
    described = aws.describe_instance(instance.instance_id)
    assert described.instance_id == instance.instance_id
    assert described.devices == {volume_id: device for device, volume_id in instance.volume_ids.items()}
    assert described.root_volume_id == instance.root_volume_id
    assert (described.state, described.root_device_name) == ("running", "/dev/sda1")
    assert described.outpost_arn is None
    assert described.availability_zone.startswith("us-east-1")


def test_an_instance_on_an_outpost_names_it(aws: Ec2, ec2: EmbeddedEC2, instance: LaunchedInstance) -> None:
    ec2.place(instance.instance_id, outpost_arn=OUTPOST)
    assert aws.describe_instance(instance.instance_id).outpost_arn == OUTPOST


@pytest.mark.parametrize(
    ("root_device_name", "devices", "root_volume_id"),
    [
        ("/dev/xvda", {"vol-1": "/dev/xvdb", "vol-2": "/dev/xvda"}, "vol-2"),
        ("/dev/xvda", {"vol-1": "/dev/xvdb"}, None),
        ("/dev/xvda", {}, None),
        (None, {"vol-1": "/dev/xvda"}, None),
    ],
)
def test_the_root_volume_is_the_one_at_the_root_device(
    root_device_name: str | None, devices: dict[str, str], root_volume_id: str | None
) -> None:
    described = Instance(
        instance_id="i-1",
        state="running",
        root_device_name=root_device_name,
        devices=devices,
        availability_zone="us-east-1a",
        outpost_arn=None,
    )
    assert described.root_volume_id == root_volume_id


def test_a_detached_volume_is_not_among_the_devices(aws: Ec2, instance: LaunchedInstance, client: EC2Client) -> None:
    client.detach_volume(VolumeId=instance.volume_ids[DATA])
    devices = aws.describe_instance(instance.instance_id).devices
    assert set(devices) == {instance.root_volume_id, instance.volume_ids[SCRATCH]}


def test_an_instance_that_does_not_exist_is_not_found(aws: Ec2) -> None:
    with pytest.raises(
        errors.NotFoundError, match=r"describing instance i-0123456789abcdef0: InvalidInstanceID\.NotF"
    ) as caught:
        aws.describe_instance("i-0123456789abcdef0")
    assert caught.value.code == INVALID_INSTANCE_NOT_FOUND


def test_instances_are_found_by_tag_sorted_and_without_those_that_have_no_volumes(
    aws: Ec2, ec2: EmbeddedEC2, client: EC2Client
) -> None:
    web = [ec2.launch(tags={"app": "web"}).instance_id for _ in range(3)]
    ec2.launch(tags={"app": "db"})
    client.stop_instances(InstanceIds=web[:1])
    client.terminate_instances(InstanceIds=web[2:])
    assert aws.find_instances({"tag:app": ["web"]}) == sorted(web[:2])
    ec2.settings(instance_seconds=600)
    client.start_instances(InstanceIds=web[:1])
    assert aws.describe_instance(web[0]).state == "pending"
    assert aws.find_instances({"tag:app": ["web"]}) == sorted(web[:2])
    assert aws.find_instances({"tag:app": ["nothing"]}) == []


@pytest.mark.parametrize(
    ("zone", "kind"),
    [("us-west-2a", "availability-zone"), ("us-west-2-lax-1a", "local-zone"), ("us-west-2z", None)],
)
def test_a_zone_is_of_a_type_or_does_not_exist(aws: Ec2, zone: str, kind: str | None) -> None:
    there = Ec2(aws.settings.in_region("us-west-2"), aws.limits)
    assert there.describe_zone_type(zone) == kind


def test_every_page_is_read_even_past_an_empty_one(
    aws: Ec2, ec2: EmbeddedEC2, client: EC2Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapset.aws.ec2._SNAPSHOTS_A_PAGE", 5)
    volume = client.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    made = [client.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(17)]
    # EC2 cuts its pages before it filters them: nothing of the second page is asked for.
    wanted = [*made[:2], *made[11:13], made[16]]
    client.create_tags(Resources=wanted, Tags=[{"Key": "set", "Value": "one"}])
    ec2.clear_calls()
    assert set(ids(aws.find_snapshots({"tag:set": ["one"]}))) == set(wanted)
    pages = ec2.calls("DescribeSnapshots")
    assert [call["params"]["MaxResults"] for call in pages] == ["5"] * 4
    assert ["NextToken" in call["params"] for call in pages] == [False, True, True, True]


def test_a_page_is_as_large_as_ec2_allows(aws: Ec2, ec2: EmbeddedEC2) -> None:
    assert aws.find_snapshots({"tag:set": ["one"]}) == []
    [call] = ec2.calls("DescribeSnapshots")
    assert call["params"]["MaxResults"] == "1000"
    assert call["params"]["Owner.1"] == "self"


def test_all_filters_must_match(aws: Ec2, taken: list[Snapshot]) -> None:
    one = taken[0]
    assert ids(aws.find_snapshots({"tag:set": ["one", "two"], "volume-id": [one.volume_id]})) == [one.snapshot_id]
    assert aws.find_snapshots({"tag:set": ["two"], "volume-id": [one.volume_id]}) == []


def test_snapshots_that_are_gone_or_never_were_are_left_out(
    aws: Ec2, client: EC2Client, taken: list[Snapshot]
) -> None:
    first, *stay = ids(taken)
    client.delete_snapshot(SnapshotId=first)
    assert set(ids(aws.describe_snapshots([first, GONE, *stay]))) == set(stay)
    assert aws.describe_snapshots([GONE]) == []


def test_snapshots_that_are_not_visible_yet_are_left_out(aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]) -> None:
    ec2.settings(visibility_seconds=600)
    assert aws.describe_snapshots(ids(taken)) == []


def test_where_all_are_there_they_are_asked_for_by_one_call(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]
) -> None:
    assert set(ids(aws.describe_snapshots(ids(taken)))) == set(ids(taken))
    assert aws.describe_snapshots([]) == []
    [call] = ec2.calls("DescribeSnapshots")
    assert call["params"]["Owner.1"] == "self"
    assert {value for key, value in call["params"].items() if key.startswith("SnapshotId.")} == set(ids(taken))


@pytest.mark.parametrize(("count", "portions"), [(200, [200]), (201, [200, 1]), (450, [200, 200, 50])])
def test_where_one_is_missing_200_ids_are_asked_for_at_a_time(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot], count: int, portions: list[int]
) -> None:
    others = [f"snap-{number:017x}" for number in range(count - 2)]
    asked = [taken[0].snapshot_id, *others, taken[1].snapshot_id]
    assert set(ids(aws.describe_snapshots(asked))) == {asked[0], asked[-1]}
    by_id, *by_filter = ec2.calls("DescribeSnapshots")
    assert by_id["code"] == "InvalidSnapshot.NotFound"
    calls = [filter_values(call) for call in by_filter]
    assert [len(values) for values in calls] == portions
    assert [value for values in calls for value in values] == asked


def test_the_reason_for_an_error_is_reported(aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]) -> None:
    ec2.fail(ids(taken), message="Given key ID is not accessible")
    seen = aws.describe_snapshots(ids(taken))
    assert [(snapshot.state, snapshot.state_message) for snapshot in seen] == [
        ("error", "Given key ID is not accessible")
    ] * 3


def test_tagging_adds_overwrites_and_can_be_repeated(aws: Ec2, taken: list[Snapshot]) -> None:
    first, second, third = ids(taken)
    before = tags_of(aws, taken)
    assert before[third]["set"] == "one"
    for _ in range(2):
        aws.add_tags([first, second], {"set": "two", "device": DATA})
    assert tags_of(aws, taken) == {
        first: {**before[first], "set": "two", "device": DATA},
        second: {**before[second], "set": "two", "device": DATA},
        third: before[third],
    }


def test_removing_tags_removes_those_of_the_keys_and_can_be_repeated(aws: Ec2, taken: list[Snapshot]) -> None:
    first, second, third = ids(taken)
    before = tags_of(aws, taken)
    for _ in range(2):
        aws.remove_tags([first, second], ["set", "never-there"])
    without = {snapshot_id: {key: tags[key] for key in tags if key != "set"} for snapshot_id, tags in before.items()}
    assert tags_of(aws, taken) == {first: without[first], second: without[second], third: before[third]}


def test_a_check_of_tags_is_a_dry_run_and_tags_nothing(aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]) -> None:
    before = tags_of(aws, taken)
    aws.dry_run().add_tags(ids(taken), {"set": "two"})
    assert tags_of(aws, taken) == before
    assert [call["dry_run"] for call in ec2.calls("CreateTags")] == [True]
    ec2.fault(action="CreateTags", kind="deny")
    with pytest.raises(errors.NotPermittedError, match="dry run: tagging snap-"):
        aws.dry_run().add_tags(ids(taken), {"set": "two"})


def test_deleting_twice_says_that_it_is_gone(aws: Ec2, taken: list[Snapshot]) -> None:
    aws.delete_snapshot(taken[0].snapshot_id)
    with pytest.raises(errors.NotFoundError) as caught:
        aws.delete_snapshot(taken[0].snapshot_id)
    assert caught.value.code == "InvalidSnapshot.NotFound"
    assert set(ids(aws.describe_snapshots(ids(taken)))) == set(ids(taken)[1:])


def volume_request(snapshot: Snapshot, **more: Any) -> dict[str, Any]:
    tags = [{"Key": "app", "Value": "shop"}]
    return {
        "SnapshotId": snapshot.snapshot_id,
        "AvailabilityZone": "us-east-1a",
        "TagSpecifications": [{"ResourceType": "volume", "Tags": tags}],
        **more,
    }


def test_a_volume_is_made_once_for_one_client_token_with_its_tags(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]
) -> None:
    made = {aws.create_volume(volume_request(taken[0]), client_token="one") for _ in range(2)}
    other = aws.create_volume(volume_request(taken[0]), client_token="two")
    assert len(made) == 1
    assert other not in made
    [volume] = aws.describe_volumes(list(made))
    assert (volume.snapshot_id, volume.size_gib, volume.tags) == (
        taken[0].snapshot_id,
        taken[0].size_gib,
        {"app": "shop"},
    )
    assert (volume.availability_zone, volume.state) == ("us-east-1a", "available")
    assert (volume.instance_id, volume.device_name, volume.attachment) == ("", "", "")


def test_a_volume_without_an_answer_is_one_request(aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]) -> None:
    ec2.fault(action="CreateVolume", kind="close_after", times=None)
    with pytest.raises(errors.NoAnswerError):
        aws.create_volume(volume_request(taken[0]), client_token="one")
    assert len(ec2.calls("CreateVolume")) == 1


def test_a_check_of_a_volume_is_a_dry_run_and_creates_nothing(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]
) -> None:
    aws.dry_run().create_volume(volume_request(taken[0]), client_token="t")
    assert aws.find_volumes({"snapshot-id": [taken[0].snapshot_id]}) == []
    assert [call["dry_run"] for call in ec2.calls("CreateVolume")] == [True]


def test_a_volume_is_attached_detached_and_deleted(aws: Ec2, ec2: EmbeddedEC2, taken: list[Snapshot]) -> None:
    target = ec2.launch(zone="us-east-1a").instance_id
    volume_id = aws.create_volume(volume_request(taken[0]), client_token="one")
    aws.attach_volume(volume_id, instance_id=target, device=DATA)
    [attached] = aws.describe_volumes([volume_id])
    assert (attached.instance_id, attached.device_name, attached.attachment, attached.state) == (
        target,
        DATA,
        "attached",
        "in-use",
    )
    aws.detach_volume(volume_id, instance_id=target)
    [detached] = aws.describe_volumes([volume_id])
    assert (detached.instance_id, detached.state) == ("", "available")
    aws.delete_volume(volume_id)
    assert aws.describe_volumes([volume_id]) == []
    with pytest.raises(errors.NotFoundError):
        aws.delete_volume(volume_id)


@pytest.mark.parametrize(("count", "portions"), [(200, [200]), (201, [200, 1])])
def test_more_than_200_volumes_are_asked_for_in_portions(
    aws: Ec2, ec2: EmbeddedEC2, instance: LaunchedInstance, count: int, portions: list[int]
) -> None:
    own = list(instance.volume_ids.values())
    asked = [own[0], *(f"vol-{number:017x}" for number in range(count - 2)), own[1]]
    assert {volume.volume_id for volume in aws.describe_volumes(asked)} == {own[0], own[1]}
    calls = [filter_values(call) for call in ec2.calls("DescribeVolumes")]
    assert [len(values) for values in calls] == portions
    assert [value for values in calls for value in values] == asked


def test_settings_that_are_alike_share_their_clients_and_no_lines() -> None:
    said: list[str] = []
    one, same = Ec2(AwsSettings(region="us-east-1"), Limits()), connect(AwsSettings(region="us-east-1"))
    assert one._clients is same._clients is one.saying(said.append)._clients
    for other in (AwsSettings(region="x"), AwsSettings(region="us-east-1", default_tags={"team": "ops"})):
        assert Ec2(other, Limits())._clients is not one._clients
    one.say("nobody hears this")
    one.saying(said.append).say("one")
    assert said == ["one"]


def test_the_limits_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPSET_THROTTLE_SECONDS", "7")
    assert connect(AwsSettings(region="us-east-1")).limits == Limits(throttle=7.0)
