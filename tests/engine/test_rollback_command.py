"""`snapset rollback` as an on-call engineer runs it: without an engine."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from snapset import errors
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from support.command_line import CommandLine
from support.project import Run, mutating
from support.restores import DATA, ROOT, SCRATCH, restored_in, take_set, without_engine
from support.rollbacks import (
    DEVICES,
    Deployed,
    assert_rolled_back,
    deploy,
    described,
    devices_of,
    safety_sets,
    tags_of,
)

if TYPE_CHECKING:
    from pathlib import Path

STATES = ["running", "stopped"]


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return without_engine(ec2, tmp_path, SNAPSET_CONSISTENCY_SECONDS="2")


@pytest.fixture
def deployed(ec2: EmbeddedEC2) -> Deployed:
    return deploy(ec2)


def rollback_in(run: Run) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run.stdout)
    assert document["version"] == 1
    found: dict[str, Any] = document["rollback"]
    return found


@pytest.mark.parametrize("state", STATES)
def test_the_instance_is_back_on_the_volumes_of_the_set_twice_in_a_row(
    snapset: CommandLine, ec2: EmbeddedEC2, state: str
) -> None:
    deployed = deploy(ec2, running=state == "running")
    ec2.settings(instance_seconds=0.7)
    ec2.clear_calls()
    first = devices_of(ec2, deployed.instance_id)
    run = snapset("rollback", deployed.instance_id, "--change-id", "release-42", "--yes", "--json").ok()
    assert_rolled_back(ec2, deployed, state=state, before=first)
    found = rollback_in(run)
    assert (found["instance_id"], found["set_id"], found["state"]) == (deployed.instance_id, deployed.set_id, state)
    assert [device["device_name"] for device in found["devices"]] == list(DEVICES)
    second = devices_of(ec2, deployed.instance_id)
    assert {device["device_name"]: device["old_volume_id"] for device in found["devices"]} == first
    assert {device["device_name"]: device["new_volume_id"] for device in found["devices"]} == second
    assert set(safety_sets(ec2, deployed)) == {found["safety_set_id"]}
    # The newest completed set is the safety set by now, and is not where to go back to.
    snapset("rollback", deployed.instance_id, "--yes").ok()
    assert_rolled_back(ec2, deployed, state=state, before=second, times=2)
    assert len(safety_sets(ec2, deployed)) == 2
    assert ("StopInstances" in mutating(ec2.calls())) == (state == "running")


def test_a_preview_shows_the_plan_and_changes_nothing(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.clear_calls()
    shown = snapset("rollback", deployed.instance_id, "--preview").ok()
    assert f"{deployed.instance_id} (running) would go back to {deployed.set_id}" in shown.stdout
    for device, volume_id in deployed.instance.volume_ids.items():
        assert any(line.split()[:3] == [device, volume_id, "new"] for line in shown.stdout.splitlines())
    assert max(map(len, shown.stdout.splitlines())) <= 100
    planned = rollback_in(snapset("rollback", deployed.instance_id, "--preview", "--json").ok())
    assert [device["new_volume_id"] for device in planned["devices"]] == [None] * 3
    assert mutating(ec2.calls()) == []


def test_where_nobody_can_be_asked_the_plan_is_shown_and_nothing_is_done(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.clear_calls()
    run = snapset("rollback", deployed.instance_id).failed()
    assert run.code == 2
    assert "would go back to" in run.stderr
    assert run.stderr.splitlines()[-1] == "snapset: rolling back: not a terminal, so I can't ask. Add --yes."
    assert mutating(ec2.calls()) == []


def test_each_step_is_a_line(snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed) -> None:
    run = snapset("rollback", deployed.instance_id, "--yes").ok()
    said = [line for line in run.stderr.splitlines() if line.strip()]
    assert [line.split()[0] for line in said] == ["making", "taking", "stopping", DATA, SCRATCH, ROOT, "starting"]
    assert f"{deployed.instance_id} is running, on the volumes of {deployed.set_id}" in run.stdout


def test_excluded_volumes_stay_as_they_are(snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed) -> None:
    snapset(
        "rollback", deployed.instance_id, "--exclude-boot", "--exclude-volume", deployed.before[SCRATCH], "--yes"
    ).ok()
    after = devices_of(ec2, deployed.instance_id)
    assert {device for device in DEVICES if deployed.before[device] != after[device]} == {DATA}
    assert len(restored_in(ec2)) == 1


def test_a_volume_that_came_later_stays_and_one_that_was_detached_comes_back(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    client = ec2.ec2()
    client.detach_volume(VolumeId=deployed.before[SCRATCH])
    later = client.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    client.attach_volume(VolumeId=later, InstanceId=deployed.instance_id, Device="/dev/sdx")
    run = snapset("rollback", deployed.instance_id, "--yes").ok()
    after = devices_of(ec2, deployed.instance_id)
    assert f"/dev/sdx: {later} stays as it is" in run.stdout
    assert after["/dev/sdx"] == later
    assert set(after) == {*DEVICES, "/dev/sdx"}


def test_replaced_volumes_are_deleted_only_if_asked_for_and_once_the_safety_set_is_complete(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.clear_calls()
    run = snapset("rollback", deployed.instance_id, "--delete-replaced", "--yes", "--json").ok()
    there = {volume["VolumeId"] for volume in ec2.ec2().describe_volumes()["Volumes"]}
    assert not there & set(deployed.before.values())
    assert set(rollback_in(run)["deleted_volume_ids"]) == set(deployed.before.values())
    # What was written until the stop is in the set.
    done = mutating(ec2.calls())
    assert done.index("StopInstances") < done.index("CreateSnapshots") < done.index("DetachVolume")
    assert list(safety_sets(ec2, deployed).values()) == [set(deployed.before.values())]


def test_a_safety_set_that_fails_keeps_the_replaced_volumes_and_the_rollback_ends(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    ec2.fail()
    run = snapset("rollback", deployed.instance_id, "--delete-replaced", "--yes").ok()
    assert "is in error" in run.stderr
    assert f"{', '.join(sorted(deployed.before.values()))} stays: no set has all that is on it" in run.stderr
    assert described(ec2, deployed.instance_id).get("Tags", []) == []
    there = {volume["VolumeId"] for volume in ec2.ec2().describe_volumes()["Volumes"]}
    assert set(deployed.before.values()) <= there


def test_without_a_safety_set_none_is_taken(snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed) -> None:
    ec2.clear_calls()
    run = snapset("rollback", deployed.instance_id, "--no-safety-set", "--yes", "--json").ok()
    assert rollback_in(run)["safety_set_id"] is None
    assert "CreateSnapshots" not in mutating(ec2.calls())


def test_what_stands_in_the_way_is_said_before_anything_is_touched(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    client, instance_id = ec2.ec2(), deployed.instance_id

    def refused(*options: str) -> str:
        ec2.clear_calls()
        run = snapset("rollback", instance_id, "--yes", *options).failed()
        assert run.code == 2, run.text
        assert mutating(ec2.calls()) == []
        assert "Traceback" not in run.text
        return run.stderr.splitlines()[-1]

    client.modify_instance_attribute(InstanceId=instance_id, DisableApiStop={"Value": True})
    ec2.place(instance_id, auto_scaling_group="web")
    both = refused()
    assert "protected from being stopped" in both
    assert "its Auto Scaling group web would replace it" in both
    client.modify_instance_attribute(InstanceId=instance_id, DisableApiStop={"Value": False})
    ec2.place(instance_id, root_device_type="instance-store")
    assert "its root is an instance store" in refused()
    assert "is neither attached to it nor in the set" in refused("--exclude-volume", "vol-0123456789abcdef0")
    other = ec2.launch()
    theirs = take_set(ec2, other, tags={})
    assert f"{theirs} was taken of {other.instance_id}" in refused("--set", theirs)
    assert "looking for a set" in refused("--change-id", "release-41")
    # A filter of EC2 would take the star for anything.
    assert "looking for a set" in refused("--change-id", "release-*")
    assert "'i-1' is not an instance id" in snapset("rollback", "i-1", "--yes").failed().stderr
    # Nothing would have what is on them.
    assert "reading --delete-replaced: " in refused("--delete-replaced", "--no-safety-set")
    client.terminate_instances(InstanceIds=[instance_id])
    assert "it is terminated" in refused()


def test_a_one_time_spot_instance_is_refused(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    spot = ec2.ec2().run_instances(
        ImageId="ami-12345678", MinCount=1, MaxCount=1, InstanceMarketOptions={"MarketType": "spot"}
    )["Instances"][0]["InstanceId"]
    volume_ids = devices_of(ec2, spot)
    take_set(ec2, LaunchedInstance(spot, volume_ids[ROOT], volume_ids), tags={})
    run = snapset("rollback", spot, "--yes").failed()
    assert run.code == 2
    assert "a one-time Spot Instance, which can't be stopped" in run.stderr


@pytest.mark.parametrize(
    ("action", "needs"),
    [
        ("StopInstances", "ec2:StopInstances"),
        ("StartInstances", "ec2:StartInstances"),
        ("DetachVolume", "ec2:DetachVolume"),
        ("AttachVolume", "ec2:AttachVolume"),
        ("CreateVolume", "ec2:CreateVolume and ec2:CreateTags"),
        ("CreateSnapshots", "ec2:CreateSnapshots and ec2:CreateTags"),
        ("DeleteTags", "ec2:DeleteTags"),
        ("ModifyInstanceAttribute", "ec2:ModifyInstanceAttribute"),
    ],
)
def test_a_missing_permission_is_found_before_the_instance_is_stopped(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed, action: str, needs: str
) -> None:
    ec2.fault(action=action, kind="deny")
    ec2.clear_calls()
    run = snapset("rollback", deployed.instance_id, "--yes").failed()
    assert run.code == 3
    assert f"Allow {needs}." in run.stderr
    assert mutating(ec2.calls()) == []


def test_an_instance_that_does_not_stop_in_time_is_named_and_a_rerun_goes_on(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.settings(instance_seconds=6)
    run = snapset("rollback", deployed.instance_id, "--timeout", "2s", "--yes", "--json").failed()
    assert run.code == 4
    [line] = [line for line in run.stderr.splitlines() if line.startswith("snapset: ")]
    assert f"stopping {deployed.instance_id}: it is still stopping after 2 s." in line
    assert "was last seen stopping, with 0 of 3 volumes swapped. Run the same command again: it goes on" in line
    assert rollback_in(run)["state"] == "stopping"
    assert tags_of(described(ec2, deployed.instance_id))["snapset:rollback"].split()[2] == "running"
    # Later it has stopped by itself.
    ec2.settings(instance_seconds=0)
    again = snapset("rollback", deployed.instance_id, "--timeout", "90s", "--yes").ok()
    assert f"going on with the rollback to {deployed.set_id}" in again.stderr
    assert_rolled_back(ec2, deployed)


def test_another_set_can_take_over_and_what_the_first_rollback_made_is_deleted_only_if_told_so_and_never_attached(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    other = take_set(ec2, deployed.instance, change_id="release-41", tags={})
    ec2.fault(action="AttachVolume", kind="error", code="InvalidParameterValue", message="not now", skip=2, times=9)
    failed = snapset("rollback", deployed.instance_id, "--set", deployed.set_id, "--yes").failed()
    assert failed.code == 1
    assert "was last seen stopped, with 1 of 3 volumes swapped" in failed.stderr
    ec2.clear_faults()
    by_device = {volume.tags["snapset:restored-device"]: volume.volume_id for volume in restored_in(ec2)}
    # Somebody puts aside what was swapped in. Of the second one, only the call that failed tells that it was not.
    ec2.ec2().detach_volume(VolumeId=by_device[DATA])
    run = snapset("rollback", deployed.instance_id, "--set", other, "--yes", "--json").ok()
    assert sorted(rollback_in(run)["leftover_volume_ids"]) == sorted(by_device.values())
    assert rollback_in(run)["deleted_volume_ids"] == []
    instance = described(ec2, deployed.instance_id)
    assert instance["State"]["Name"] == "running"
    now = set(devices_of(ec2, deployed.instance_id).values())
    assert {volume.tags["snapset:restored-from"] for volume in restored_in(ec2) if volume.volume_id in now} == {other}
    again = ("rollback", deployed.instance_id, "--set", other, "--delete-leftovers")
    ec2.fault(action="DeleteVolume", kind="deny")
    assert "Allow ec2:DeleteVolume." in snapset(*again, "--yes").failed().stderr
    ec2.clear_faults()
    shown = snapset(*again, "--preview").ok().stdout
    [line] = [line for line in shown.splitlines() if line.startswith("made by an earlier rollback")]
    assert all(volume_id in line for volume_id in by_device.values())
    run = snapset(*again, "--yes", "--json").ok()
    assert rollback_in(run)["deleted_volume_ids"] == [by_device[ROOT]]
    assert set(rollback_in(run)["leftover_volume_ids"]) == {by_device[DATA], by_device[SCRATCH]}
    there = {volume.volume_id for volume in restored_in(ec2)}
    assert there >= now | {by_device[DATA], by_device[SCRATCH]}
    assert by_device[ROOT] not in there


def test_of_several_sets_of_a_change_one_has_to_be_named(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    snapset("rollback", deployed.instance_id, "--yes").ok()
    second = take_set(ec2, deployed.instance, change_id="release-42", tags={})
    ec2.clear_calls()
    unclear = snapset("rollback", deployed.instance_id, "--change-id", "release-42", "--yes").failed()
    assert unclear.code == 2
    listed = rf"there are 2: {second} \(taken \S+Z\), {deployed.set_id} \(taken \S+Z, before the rollback at \S+Z\)\."
    assert re.search(listed, unclear.stderr)
    ec2.fault(action="AttachVolume", kind="error", code="InvalidParameterValue", skip=2, times=9)
    snapset("rollback", deployed.instance_id, "--set", deployed.set_id, "--yes").failed()
    ec2.clear_faults()
    # The one to which a rollback is under way need not be named again.
    run = snapset("rollback", deployed.instance_id, "--change-id", "release-42", "--yes", "--json").ok()
    assert rollback_in(run)["set_id"] == deployed.set_id


def test_a_rollback_of_long_ago_that_was_not_ended_is_asked_about_whatever_yes_says(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    change = ("--change-id", "release-42")
    another = ("--set", take_set(ec2, deployed.instance, change_id="release-41", tags={}), "--resume")
    journal = f"rb-0123456789abcdef0 {deployed.set_id} running 2026-11-01T00:00:00Z"
    tag: Any = {"Key": "snapset:rollback", "Value": journal}
    ec2.ec2().create_tags(Resources=[deployed.instance_id], Tags=[tag])
    for named in (("--set", deployed.set_id), change):
        unclear = snapset("rollback", deployed.instance_id, *named, "--yes").failed()
        assert unclear.code == 2
        asked = f"a rollback to {deployed.set_id} that began at 2026-11-01T00:00:00Z was not ended"
        advice = "--resume goes on with it, --start-over forgets it."
        assert unclear.stderr.splitlines()[-1] == f"snapset: rolling back: {asked}: {advice}"
    unclear = snapset("rollback", deployed.instance_id, *another, "--yes").failed()
    assert f"{asked}: --set {deployed.set_id} goes on with it, --start-over forgets it." in unclear.stderr
    shown = snapset("rollback", deployed.instance_id, *change, "--preview").ok()
    assert "it goes on with the rollback that began at 2026-11-01T00:00:00Z" in shown.stdout
    assert devices_of(ec2, deployed.instance_id) == deployed.before
    for option, goes_on in (("--start-over", False), ("--resume", True)):
        ec2.ec2().create_tags(Resources=[deployed.instance_id], Tags=[tag])
        run = snapset("rollback", deployed.instance_id, *change, option, "--yes").ok()
        assert ("going on with the rollback" in run.stderr) == goes_on
    assert described(ec2, deployed.instance_id).get("Tags", []) == []


def test_neither_prune_nor_check_takes_what_a_rollback_replaced_for_a_backup(
    snapset: CommandLine, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    def sets() -> set[str]:
        return {found["set_id"] for found in json.loads(snapset("list", "--json").ok().stdout)["sets"]}

    def prune() -> None:
        snapset("prune", "--keep-last", "1", "--instance", deployed.instance_id, "--yes").ok()

    newer = take_set(ec2, deployed.instance, change_id="release-43", tags={})
    back = ("rollback", deployed.instance_id, "--set", deployed.set_id, "--yes")
    ec2.fault(action="AttachVolume", kind="error", code="InvalidParameterValue", skip=2, times=9)
    snapset(*back).failed()
    ec2.clear_faults()
    [safety_set_id] = safety_sets(ec2, deployed)
    # The rollback that is under way needs its sets.
    prune()
    assert sets() == {deployed.set_id, safety_set_id, newer}
    check = ("check", "--instance", deployed.instance_id, "--max-age", "1h", "--json")
    assert json.loads(snapset(*check).ok().stdout)["instances"][0]["set_id"] == newer
    # What is attached now is of two moments.
    with pytest.raises(errors.InputError, match="End it with snapset rollback"):
        take_set(ec2, deployed.instance, change_id="release-44", tags={})
    snapset(*back).ok()
    prune()
    assert sets() == {safety_set_id, newer}
    last = take_set(ec2, deployed.instance, change_id="release-44", tags={})
    prune()
    assert sets() == {last}
