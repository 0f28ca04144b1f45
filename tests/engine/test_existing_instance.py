"""`stacks/existing_instance.py` on the real engine: up, up again, replacement, refresh, destroy."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from snapset.sets.tags import OWN_KEYS
from support.project import Project, changes, mutating, until

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

DATA, SCRATCH = "/dev/sdf", "/dev/sdg"


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch([(20, DATA, {"Name": "data"}), (100, SCRATCH, {"Name": "scratch"})])


@pytest.fixture
def stack(project: Project, instance: LaunchedInstance) -> Project:
    project.config = {"instanceId": instance.instance_id}
    return project


def snapshots_in(ec2: EmbeddedEC2) -> dict[str, Any]:
    return {
        snapshot["SnapshotId"]: snapshot for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
    }


def tags_of(snapshot: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}


def test_every_input_in_the_config_reaches_create_snapshots(
    stack: Project, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    stack.config |= {
        "excludeBootVolume": True,
        "excludeDataVolumeIds": [instance.volume_ids[SCRATCH]],
        "description": "before release 42",
        "tags": {"app": "shop", "tier": "1"},
        "copyTagsFromSource": "volume",
        "triggers": "a",
        "waitTimeout": "5m",
    }
    stack.up().ok()
    [call] = [call for call in ec2.calls("CreateSnapshots") if not call["dry_run"]]
    tags = {
        call["params"][key]: call["params"][key.replace(".Key", ".Value")]
        for key in call["params"]
        if key.startswith("TagSpecification.1.Tag.") and key.endswith(".Key")
    }
    assert call["params"]["InstanceSpecification.InstanceId"] == instance.instance_id
    assert call["params"]["InstanceSpecification.ExcludeBootVolume"] == "true"
    assert call["params"]["InstanceSpecification.ExcludeDataVolumeId.1"] == instance.volume_ids[SCRATCH]
    assert call["params"]["Description"] == "before release 42"
    assert call["params"]["CopyTagsFromSource"] == "volume"
    assert call["params"]["TagSpecification.1.ResourceType"] == "snapshot"
    assert {"app": "shop", "tier": "1"}.items() <= tags.items()
    # All of snapset's own, so that none is copied from a volume.
    assert tags.keys() == {"app", "tier", *OWN_KEYS}
    [snapshot] = snapshots_in(ec2).values()
    assert tags_of(snapshot)["Name"] == "data"


def test_a_preview_and_an_up_without_changes_change_nothing_and_outputs_and_state_match_ec2(
    stack: Project, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    stack.env |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE1", "AWS_SECRET_ACCESS_KEY": "topsecretexample"}
    ec2.clear_calls()
    stack.preview().ok()
    assert mutating(ec2.calls()) == []
    assert [call["dry_run"] for call in ec2.calls("CreateSnapshots")] == [True]
    stack.up().ok()
    # Without a preview nothing is asked beforehand.
    assert [call["dry_run"] for call in ec2.calls("CreateSnapshots")] == [True, False]
    outputs, there = stack.outputs(), snapshots_in(ec2)
    assert set(outputs["snapshotIds"]) == set(there)
    assert [snapshot["device_name"] for snapshot in outputs["snapshots"]] == ["/dev/sda1", DATA, SCRATCH]
    assert [snapshot["size_gib"] for snapshot in outputs["snapshots"]] == [8, 20, 100]
    assert {snapshot["volume_id"] for snapshot in outputs["snapshots"]} == set(instance.volume_ids.values())
    assert outputs["completed"] is True
    for record in outputs["snapshots"]:
        snapshot = there[record["snapshot_id"]]
        tags = tags_of(snapshot)
        assert tags["snapset:set"] == outputs["setId"]
        assert tags["snapset:instance"] == instance.instance_id
        assert tags["snapset:device"] == record["device_name"]
        assert record["state"] == snapshot["State"] == "completed"
    [recorded] = stack.sets()
    assert recorded["id"] == outputs["setId"]
    assert {tags_of(snapshot)["snapset:claim"] for snapshot in there.values()} == {recorded["outputs"]["claim"]}
    assert len(recorded["inputs"]["__provider"]) < 200
    text = json.dumps(stack.state())
    assert "AKIAEXAMPLE1" not in text
    assert "topsecretexample" not in text
    ec2.clear_calls()
    assert changes(stack.up().ok()) == {"unchanged": 3}
    assert mutating(ec2.calls()) == []


def test_refresh_updates_states_and_reports_snapshots_that_no_longer_exist(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.up().ok()
    [taken] = stack.sets()
    assert {snapshot["state"] for snapshot in taken["outputs"]["snapshots"]} <= {"pending", "completed"}
    gone, *stay = taken["outputs"]["snapshot_ids"]
    ec2.ec2().delete_snapshot(SnapshotId=gone)
    # By default, a snapshot that is missing soon after its start counts as not visible yet.
    stack.env["SNAPSET_CONSISTENCY_SECONDS"] = "0"
    assert f"{gone} no longer exists" in stack.refresh().ok().text
    [refreshed] = stack.sets()
    assert refreshed["outputs"]["snapshot_ids"] == stay
    assert {snapshot["state"] for snapshot in refreshed["outputs"]["snapshots"]} == {"completed"}


def test_after_a_set_was_deleted_by_hand_refresh_drops_it_and_the_next_up_takes_a_new_one(
    stack: Project, ec2: EmbeddedEC2
) -> None:
    stack.up().ok()
    for snapshot_id in snapshots_in(ec2):
        ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
    stack.env["SNAPSET_CONSISTENCY_SECONDS"] = "0"
    stack.refresh().ok()
    assert stack.sets() == []
    stack.up().ok()
    assert len(snapshots_in(ec2)) == 3


def test_a_refresh_keeps_snapshots_that_are_not_visible_yet(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.config["wait"] = False
    stack.up().ok()
    ec2.settings(visibility_seconds=600)
    stack.refresh().ok()
    [recorded] = stack.sets()
    assert len(recorded["outputs"]["snapshot_ids"]) == 3


def test_ctrl_c_during_a_wait_exits_at_once_and_the_next_up_waits_for_the_same_set(
    stack: Project, ec2: EmbeddedEC2
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    with stack.start("up", "--yes", "--skip-preview") as process:
        until(lambda: ec2.calls("CreateTags"))
        until(lambda: len(ec2.calls("DescribeSnapshots")) > 2)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=30)
        ended = time.monotonic() - began
    assert process.returncode != 0
    assert "Traceback" not in "".join(output)
    assert ended < 8  # well under 2 s on an idle machine, but tests run in parallel
    [interrupted] = stack.sets()
    ec2.complete()
    ec2.clear_calls()
    stack.up().ok()
    assert [resource["id"] for resource in stack.sets()] == [interrupted["id"]]
    assert mutating(ec2.calls()) == []
    assert stack.outputs()["completed"] is True


def test_the_wait_reports_its_progress(stack: Project, ec2: EmbeddedEC2) -> None:
    ec2.settings(snapshot_seconds=2.5)
    shown = stack.up().ok().stdout
    assert "0 of 3 snapshots completed" in shown
    assert "3 of 3 snapshots completed, 100%" in shown


def test_a_set_in_error_fails_the_wait_and_is_replaced_after_a_refresh(stack: Project, ec2: EmbeddedEC2) -> None:
    ec2.settings(snapshot_seconds=60)
    ec2.fail(message="Given key ID is not accessible")
    failed = stack.up().failed()
    assert "is in error: Given key ID is not accessible" in failed.text
    [bad] = stack.sets()
    ec2.settings(snapshot_seconds=0)
    stack.refresh().ok()
    stack.up().ok()
    [good] = stack.sets()
    assert good["id"] != bad["id"]
    assert len(snapshots_in(ec2)) == 6


def test_a_wait_that_times_out_fails_and_says_that_the_snapshots_go_on(stack: Project, ec2: EmbeddedEC2) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    stack.config["waitTimeout"] = "1s"
    failed = stack.up().failed()
    assert "The snapshots go on" in failed.text
    assert len(stack.sets()) == 1


def test_an_aws_error_is_one_line_without_a_traceback(
    stack: Project, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="SnapshotLimitExceeded", message="Too many.")
    failed = stack.up().failed()
    assert f"creating snapshots of {instance.instance_id}: SnapshotLimitExceeded: Too many." in failed.text
    assert "snapset.errors" not in failed.text
    assert snapshots_in(ec2) == {}


def test_the_set_is_taken_in_the_region_of_the_stacks_aws_config(project: Project, ec2: EmbeddedEC2) -> None:
    there = ec2.launch(region="eu-west-1")
    project.config = {"instanceId": there.instance_id, "aws:region": "eu-west-1"}
    project.up().ok()
    [call] = [call for call in ec2.calls("CreateSnapshots") if not call["dry_run"]]
    assert call["region"] == "eu-west-1"
    assert project.outputs()["snapshotIds"]


def test_an_unknown_program_is_reported(project: Project) -> None:
    project.config = {"program": "nonesuch"}
    failed = project.preview().failed()
    assert "there is no stacks/nonesuch.py" in failed.text
