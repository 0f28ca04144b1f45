"""CreateSnapshots: what a set contains, and which requests are refused without a trace."""

from __future__ import annotations

import collections
import concurrent.futures
from typing import Any

import pytest
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

UNKNOWN_INSTANCE = "i-0123456789abcdef0"
UNKNOWN_VOLUME = "vol-0123456789abcdef0"


def snapshot_tags(tags: Any, resource_type: str = "snapshot") -> Any:
    return {"ResourceType": resource_type, "Tags": [{"Key": key, "Value": value} for key, value in tags]}


def tags_of(snapshot: Any) -> Any:
    return {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    return ec2_server.launch([(20, "/dev/sdf", {"disk": "logs"}), (30, "/dev/sdg", {})], root_size=10)


@pytest.fixture
def create(ec2: Any, instance: LaunchedInstance) -> Any:
    def create_snapshots(
        instance_id: str | None = None, *, boot: Any = None, data: Any = None, **parameters: Any
    ) -> Any:
        spec = {"InstanceId": instance.instance_id if instance_id is None else instance_id}
        spec |= {} if boot is None else {"ExcludeBootVolume": boot}
        spec |= {} if data is None else {"ExcludeDataVolumeIds": data}
        return ec2.create_snapshots(InstanceSpecification=spec, **parameters)["Snapshots"]

    return create_snapshots


def test_a_set_has_one_snapshot_of_every_attached_volume(create: Any, instance: LaunchedInstance) -> None:
    made = create(Description="before the upgrade")
    assert {snapshot["VolumeId"]: snapshot["VolumeSize"] for snapshot in made} == {
        instance.root_volume_id: 10,
        instance.volume_ids["/dev/sdf"]: 20,
        instance.volume_ids["/dev/sdg"]: 30,
    }
    assert len({snapshot["StartTime"] for snapshot in made}) == 1
    for snapshot in made:
        assert snapshot["SnapshotId"].startswith("snap-")
        assert (snapshot["State"], snapshot["Progress"]) == ("pending", "")
        assert (snapshot["OwnerId"], snapshot["Encrypted"]) == ("123456789012", False)
        assert snapshot["Description"] == "before the upgrade"
        assert not {"OutpostArn", "AvailabilityZone"} & set(snapshot)


def test_the_answer_and_describe_snapshots_agree(create: Any, ec2: Any) -> None:
    made = create(Description="d", TagSpecifications=[snapshot_tags([("k", "v")])])
    described = ec2.describe_snapshots(SnapshotIds=[snapshot["SnapshotId"] for snapshot in made])["Snapshots"]
    for before, after in zip(made, described, strict=True):
        assert {**before, "State": "completed", "Progress": "100%"}.items() <= after.items()


@pytest.mark.parametrize(
    "excluded", [["/dev/sda1"], ["/dev/sdf"], ["/dev/sdf", "/dev/sdg"], ["/dev/sda1", "/dev/sdg"]]
)
def test_excluded_volumes_have_no_snapshot(create: Any, instance: LaunchedInstance, excluded: Any) -> None:
    data = [instance.volume_ids[device] for device in excluded if device != "/dev/sda1"]
    made = create(boot="/dev/sda1" in excluded, data=data)
    expected = {volume_id for device, volume_id in instance.volume_ids.items() if device not in excluded}
    assert {snapshot["VolumeId"] for snapshot in made} == expected


def test_a_detached_volume_is_no_longer_part_of_the_set(create: Any, ec2: Any, instance: LaunchedInstance) -> None:
    ec2.detach_volume(VolumeId=instance.volume_ids["/dev/sdf"])
    assert instance.volume_ids["/dev/sdf"] not in {snapshot["VolumeId"] for snapshot in create()}


def test_a_snapshot_keeps_its_size_when_the_volume_grows(create: Any, ec2: Any, instance: LaunchedInstance) -> None:
    made = create(boot=True, data=[instance.volume_ids["/dev/sdg"]])
    ec2.modify_volume(VolumeId=instance.volume_ids["/dev/sdf"], Size=200)
    (snapshot,) = ec2.describe_snapshots(SnapshotIds=[made[0]["SnapshotId"]])["Snapshots"]
    assert snapshot["VolumeSize"] == 20


def test_a_stopped_instance_can_be_snapshotted(create: Any, ec2: Any, instance: LaunchedInstance) -> None:
    ec2.stop_instances(InstanceIds=[instance.instance_id])
    assert len(create()) == 3


def test_each_call_makes_a_new_set(create: Any) -> None:
    assert not {s["SnapshotId"] for s in create()} & {s["SnapshotId"] for s in create()}


def test_tags_of_the_call_are_on_every_snapshot_from_the_start(create: Any) -> None:
    made = create(TagSpecifications=[snapshot_tags([("team", "web"), ("empty", "")])])
    assert [tags_of(snapshot) for snapshot in made] == [{"team": "web", "empty": ""}] * 3


def test_volume_tags_are_copied_but_tags_of_the_call_win(create: Any, ec2: Any, instance: LaunchedInstance) -> None:
    ec2.create_tags(Resources=[instance.volume_ids["/dev/sdg"]], Tags=[{"Key": "team", "Value": "db"}])
    made = create(CopyTagsFromSource="volume", TagSpecifications=[snapshot_tags([("team", "web")])])
    assert {snapshot["VolumeId"]: tags_of(snapshot) for snapshot in made} == {
        instance.root_volume_id: {"team": "web"},
        instance.volume_ids["/dev/sdf"]: {"team": "web", "disk": "logs"},
        instance.volume_ids["/dev/sdg"]: {"team": "web"},
    }


def test_volume_tags_are_not_copied_by_default(create: Any) -> None:
    assert [tags_of(snapshot) for snapshot in create()] == [{}, {}, {}]


def test_values_at_the_limits_are_accepted(create: Any, instance: LaunchedInstance) -> None:
    tags = [(f"{number:0128}", "v" * 256) for number in range(50)]
    made = create(Description="d" * 255, TagSpecifications=[snapshot_tags(tags)])
    assert [len(snapshot["Tags"]) for snapshot in made] == [50] * 3


TOO_MANY_TAGS = [(str(number), "") for number in range(51)]

REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no instance id": (
        {"instance_id": ""},
        "MissingParameter InstanceSpecification.InstanceId",
    ),
    "malformed instance": ({"instance_id": "i-123"}, "InvalidInstanceID.Malformed i-123"),
    "instance id of 9 digits": ({"instance_id": "i-123456789"}, "InvalidInstanceID.Malformed i-123456789"),
    "instance id in capitals": ({"instance_id": "i-0123456789ABCDEF0"}, "InvalidInstanceID.Malformed ABC"),
    "a volume's id as the instance": ({"instance_id": UNKNOWN_VOLUME}, "InvalidInstanceID.Malformed vol-"),
    "unknown instance": ({"instance_id": UNKNOWN_INSTANCE}, f"InvalidInstanceID.NotFound {UNKNOWN_INSTANCE}"),
    "unknown short instance": ({"instance_id": "i-01234567"}, "InvalidInstanceID.NotFound i-01234567"),
    "malformed exclusion": ({"data": ["vol-xyz"]}, "InvalidVolumeID.Malformed vol-xyz"),
    "exclusion not attached": ({"data": [UNKNOWN_VOLUME]}, f"InvalidParameterValue {UNKNOWN_VOLUME}"),
    "41 exclusions": ({"data": [f"vol-{n:017x}" for n in range(41)]}, "InvalidParameterValue 40"),
    "long description": ({"Description": "d" * 256}, "InvalidParameterValue 255"),
    "unknown tag source": ({"CopyTagsFromSource": "instance"}, "InvalidParameterValue instance"),
    "unknown location": ({"Location": "lunar"}, "InvalidParameterValue lunar"),
    "local in a region": ({"Location": "local"}, "InvalidParameterValue local"),
    "tags of another type": (
        {"TagSpecifications": [snapshot_tags([("k", "v")], "volume")]},
        "InvalidParameterValue volume",
    ),
    "a resource type twice": (
        {"TagSpecifications": [snapshot_tags([("k", "v")]), snapshot_tags([("l", "v")])]},
        "InvalidParameterValue resource",
    ),
    "a specification without tags": ({"TagSpecifications": [snapshot_tags([])]}, "InvalidParameterValue one"),
    "51 tags": ({"TagSpecifications": [snapshot_tags(TOO_MANY_TAGS)]}, "TagLimitExceeded maximum"),
    "long key": ({"TagSpecifications": [snapshot_tags([("k" * 129, "")])]}, "InvalidParameterValue 128"),
    "long value": ({"TagSpecifications": [snapshot_tags([("k", "v" * 257)])]}, "InvalidParameterValue 256"),
    "empty key": ({"TagSpecifications": [snapshot_tags([("", "v")])]}, "InvalidParameterValue empty"),
    "reserved key": ({"TagSpecifications": [snapshot_tags([("aws:x", "v")])]}, "InvalidParameterValue aws:"),
    "reserved key in capitals": (
        {"TagSpecifications": [snapshot_tags([("AWS:x", "")])]},
        "InvalidParameterValue AWS:x",
    ),
    "a key twice": (
        {"TagSpecifications": [snapshot_tags([("k", "1"), ("k", "2")])]},
        "InvalidParameterValue Duplicate",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_call_leaves_no_snapshot_and_no_tag(create: Any, ec2: Any, refused: Any, case: Any) -> None:
    request, error = REFUSALS[case]
    with refused(*error.split()):
        create(**request)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["snapshot"]}])["Tags"] == []


def test_the_root_volume_can_not_be_excluded_as_a_data_volume(
    create: Any, instance: LaunchedInstance, refused: Any
) -> None:
    with refused("InvalidParameterValue", instance.root_volume_id, "ExcludeBootVolume"):
        create(data=[instance.root_volume_id])


def test_a_volume_can_not_be_excluded_twice(create: Any, instance: LaunchedInstance, refused: Any) -> None:
    with refused("InvalidParameterValue", instance.volume_ids["/dev/sdf"]):
        create(data=[instance.volume_ids["/dev/sdf"]] * 2)


def test_excluding_every_volume_is_refused(create: Any, instance: LaunchedInstance, refused: Any) -> None:
    with refused("InvalidParameterValue", "left"):
        create(boot=True, data=[instance.volume_ids["/dev/sdf"], instance.volume_ids["/dev/sdg"]])


def test_a_terminated_instance_is_refused(create: Any, ec2: Any, instance: LaunchedInstance, refused: Any) -> None:
    ec2.terminate_instances(InstanceIds=[instance.instance_id])
    with refused("IncorrectInstanceState", instance.instance_id, "terminated"):
        create()


def test_copied_tags_count_towards_the_tag_limit(
    create: Any, ec2: Any, instance: LaunchedInstance, refused: Any
) -> None:
    volume_tags = [{"Key": f"copied-{number}", "Value": ""} for number in range(48)]
    ec2.create_tags(Resources=[instance.volume_ids["/dev/sdf"]], Tags=volume_tags)
    own = [("one", ""), ("two", "")]
    with refused("TagLimitExceeded"):
        create(CopyTagsFromSource="volume", TagSpecifications=[snapshot_tags(own)])
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert len(create(CopyTagsFromSource="volume", TagSpecifications=[snapshot_tags(own[:1])])) == 3


def test_a_set_has_128_snapshots_at_most(create: Any, ec2_server: EmbeddedEC2, refused: Any) -> None:
    devices: list[tuple[int, str, dict[str, str]]] = [(1, f"/dev/xvd{number}", {}) for number in range(128)]
    crowded = ec2_server.launch(devices)
    with refused("InvalidParameterValue", "128", "129"):
        create(crowded.instance_id)
    assert len(create(crowded.instance_id, boot=True)) == 128


def test_describe_snapshots_never_shows_part_of_a_set(create: Any, ec2: Any, ec2_server: EmbeddedEC2) -> None:
    def make(number: int) -> None:
        create(TagSpecifications=[snapshot_tags([("set", str(number))])])

    def look() -> Any:
        seen = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return collections.Counter(tags_of(snapshot)["set"] for snapshot in seen)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        makers = [pool.submit(make, number) for number in range(16)]
        while not all(maker.done() for maker in makers):
            assert set(look().values()) <= {3}
    assert look() == {str(number): 3 for number in range(16)}


class TestDryRun:
    def test_answers_dry_run_operation_for_a_valid_call(self, create: Any, ec2: Any, refused: Any) -> None:
        with refused("DryRunOperation", "DryRun flag is set", status=412):
            create(DryRun=True)
        assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []

    def test_still_refuses_a_malformed_id(self, create: Any, refused: Any) -> None:
        with refused("InvalidInstanceID.Malformed"):
            create("i-123", DryRun=True)

    def test_does_not_look_up_the_instance(self, create: Any, refused: Any) -> None:
        with refused("DryRunOperation", status=412):
            create(UNKNOWN_INSTANCE, DryRun=True)

    def test_reports_a_missing_permission(self, create: Any, ec2_server: EmbeddedEC2, refused: Any) -> None:
        ec2_server.fault(kind="deny", action="CreateSnapshots")
        with refused("UnauthorizedOperation", "ec2:CreateSnapshots", status=403):
            create(DryRun=True)
