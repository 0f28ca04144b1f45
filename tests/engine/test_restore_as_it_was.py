"""A volume comes back as it was: what AWS forgets of it is on its snapshot, in one tag."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.command_line import CommandLine
from support.project import mutating
from support.restores import ROOT, launch_empty, snapshots_of, take_set, terminate, without_engine
from support.volume_kinds import KINDS, attributes_at, launch_kinds

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

pytestmark = pytest.mark.long

ZONE = "us-east-1a"
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return without_engine(ec2, tmp_path)


@pytest.fixture
def source(ec2: EmbeddedEC2) -> LaunchedInstance:
    return launch_kinds(ec2)


def test_every_attribute_is_as_it_was_though_instance_and_volumes_are_gone(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    was = attributes_at(ec2, source.instance_id)
    assert {device: volume["VolumeType"] for device, volume in was.items()} == {
        ROOT: "gp2",
        **{device: made_with["VolumeType"] for device, (made_with, _, _) in KINDS.items()},
    }
    set_id = take_set(ec2, source, tags={}, copy_tags_from_source=None)
    terminate(ec2, source)
    target = launch_empty(ec2)
    snapset("restore", set_id, "--to", target).ok()
    assert attributes_at(ec2, target) == was


def test_a_rollback_keeps_every_attribute(snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance) -> None:
    multi = ("--exclude-volume", source.volume_ids["/dev/sdj"])
    was = attributes_at(ec2, source.instance_id)
    take_set(ec2, source, tags={}, copy_tags_from_source=None)
    snapset("rollback", source.instance_id, *multi, "--yes").ok()
    assert attributes_at(ec2, source.instance_id) == was


def test_explicit_options_win(snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance) -> None:
    set_id = take_set(ec2, source, tags={})
    options = ("--volume-type", "gp3", "--throughput", "500", "--initialization-rate", "200")
    run = snapset("restore", set_id, "--availability-zone", ZONE, *options, "--json").ok()
    made = {volume["volume_id"]: volume["device_name"] for volume in json.loads(run.stdout)["volumes"]}
    for volume in ec2.ec2().describe_volumes(VolumeIds=list(made))["Volumes"]:
        iops = 6000 if made[volume["VolumeId"]] == "/dev/sdf" else 3000
        assert (volume["VolumeType"], volume["Iops"], volume["Throughput"]) == ("gp3", iops, 500)
    assert {call["params"]["VolumeInitializationRate"] for call in ec2.calls("CreateVolume")[-6:]} == {"200"}


def forget(ec2: EmbeddedEC2, set_id: str) -> None:
    """Take away what is written of the volumes, as on a set of which nobody could describe them."""
    ec2.ec2().create_tags(Resources=list(snapshots_of(ec2, set_id)), Tags=[{"Key": "snapset:volume", "Value": "?"}])


def test_what_is_not_written_is_asked_of_the_volume_that_still_exists(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    set_id = take_set(ec2, source, tags={})
    forget(ec2, set_id)
    run = snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok()
    kinds = {volume["device_name"]: volume["volume_id"] for volume in json.loads(run.stdout)["volumes"]}
    [volume] = ec2.ec2().describe_volumes(VolumeIds=[kinds["/dev/sdf"]])["Volumes"]
    assert (volume["VolumeType"], volume["Iops"], volume["Throughput"]) == ("gp3", 6000, 250)


def test_without_both_the_default_of_aws_is_used_and_said(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    set_id = take_set(ec2, source, tags={})
    forget(ec2, set_id)
    terminate(ec2, source)
    run = snapset("restore", set_id, "--availability-zone", ZONE).ok()
    for snapshot_id in snapshots_of(ec2, set_id):
        assert snapshot_id in run.stderr
    assert "was is not known: AWS's default is used" in run.stderr


def test_without_the_permission_to_describe_volumes_the_set_is_marked_all_the_same(
    ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    ec2.fault(action="DescribeVolumes", kind="deny")
    set_id = take_set(ec2, source, tags={})
    marks = [snapshot["tags"] for snapshot in snapshots_of(ec2, set_id).values()]
    assert {tags["snapset:volume"] for tags in marks} == {""}
    assert all(tags["snapset:device"] for tags in marks)


def test_an_archived_snapshot_is_refused_in_one_line(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    set_id = take_set(ec2, source, tags={})
    archived = next(iter(snapshots_of(ec2, set_id)))
    ec2.ec2().modify_snapshot_tier(SnapshotId=archived, StorageTier="archive")
    ec2.clear_calls()
    run = snapset("restore", set_id, "--availability-zone", ZONE).failed()
    assert run.code == 2
    assert f"{archived} is in the archive. Bring it back first: aws ec2 restore-snapshot-tier" in run.stderr
    assert mutating(ec2.calls()) == []


def test_a_restore_to_an_outpost_makes_its_volumes_there(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    source = ec2.launch([(20, "/dev/sdf", {})])
    ec2.place(source.instance_id, outpost_arn=OUTPOST)
    set_id = take_set(ec2, source, tags={}, outpost_arn=OUTPOST)
    target, elsewhere = ec2.launch(), ec2.launch()
    ec2.place(target.instance_id, outpost_arn=OUTPOST)
    snapset("restore", set_id, "--to", target.instance_id, "--exclude-boot").ok()
    assert attributes_at(ec2, target.instance_id)["/dev/sdf"]["OutpostArn"] == OUTPOST
    refused = snapset("restore", set_id, "--to", elsewhere.instance_id, "--exclude-boot").failed()
    assert refused.code == 2
    assert f"is stored on {OUTPOST}, where {elsewhere.instance_id} is not" in refused.stderr
    # In a zone, the volumes are made where the snapshots are.
    snapset("restore", set_id, "--availability-zone", ZONE).ok()


def test_an_incomplete_set_is_restored_only_if_that_is_asked_for_and_what_is_missing_is_named(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    set_id = take_set(ec2, source, tags={}, change_id="release-42")
    lost = [key for key, item in snapshots_of(ec2, set_id).items() if item["tags"]["snapset:device"] == "/dev/sdg"]
    ec2.ec2().delete_snapshot(SnapshotId=lost[0])
    refused = snapset("restore", set_id, "--availability-zone", ZONE).failed()
    assert refused.code == 2
    assert "5 of its 6 snapshots are left; /dev/sdg is missing" in refused.stderr
    by_change = ("--change-id", "release-42", "--availability-zone", ZONE)
    run = snapset("restore", *by_change, "--allow-incomplete", "--json").ok()
    assert f"warning: {set_id} is not whole: 5 of its 6 snapshots are left; /dev/sdg is missing" in run.stderr
    assert len(json.loads(run.stdout)["volumes"]) == 5


@pytest.mark.parametrize("by", [["--latest", "--of", "{instance}"], ["--change-id", "release-42"]])
def test_the_set_is_found_by_its_instance_or_its_change(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, by: list[str]
) -> None:
    older = take_set(ec2, source, tags={}, change_id="release-41")
    wanted = take_set(ec2, source, tags={}, change_id="release-42")
    ec2.age(list(snapshots_of(ec2, older)), seconds=60)
    arguments = [text.format(instance=source.instance_id) for text in by]
    run = snapset("restore", *arguments, "--availability-zone", ZONE, "--json").ok()
    document = json.loads(run.stdout)
    assert document["set_id"] == wanted
    assert {volume["snapshot_id"] for volume in document["volumes"]} == set(snapshots_of(ec2, wanted))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of SET_ID, --latest with --of INSTANCE, and --change-id"),
        (["set-0123456789abcdef0", "--latest", "--of", "i-0123456789abcdef0"], "give one of"),
        (["--latest"], "of which instance? Add --of INSTANCE."),
        (["--change-id", "nonesuch"], "looking for a set for change nonesuch: there is none in us-east-1"),
        (["set-0123456789abcdef0", "--of", "i-0123456789abcdef0"], "Leave --of out"),
    ],
)
def test_it_must_be_clear_which_set_is_meant(snapset: CommandLine, arguments: list[str], said: str) -> None:
    run = snapset("restore", *arguments, "--availability-zone", ZONE, "--json").failed()
    assert run.code == 2
    assert said in run.stderr
    assert json.loads(run.stdout)["error"]["type"] in ("InputError", "NotFoundError")
