"""`snapset list`, `show`, `wait` and `prune`, without an engine and without a state."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import CommandLine, InProcess
from support.project import Run, mutating, run_environment, until
from support.restores import DATA, ROOT, SCRATCH, launch_source, snapshots_of, take_set, terminate

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

UNKNOWN = "set-0123456789abcdef0"
HOUR = 3600.0

Take = Callable[..., str]


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    env = run_environment(tmp_path, ec2.environment())
    # Without an engine and without a state.
    nothing = {"PATH": "", "PULUMI_BACKEND_URL": "file:///nonexistent", "COLUMNS": "80"}
    return InProcess({**env, **nothing, "SNAPSET_CONSISTENCY_SECONDS": "1"}, tmp_path)


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return launch_source(ec2)


@pytest.fixture
def take(ec2: EmbeddedEC2, instance: LaunchedInstance) -> Take:
    """Take a set of the instance, or of another, and make it so many hours old."""

    def make(*, hours: float, of: LaunchedInstance | None = None, **inputs: Any) -> str:
        set_id = take_set(ec2, of or instance, triggers=hours, **inputs)
        ec2.age(snapshots_of(ec2, set_id), seconds=hours * HOUR)
        return set_id

    return make


def document(run: Run) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(run.stdout)
    return parsed


def ids_in(run: Run) -> list[str]:
    return [record["set_id"] for record in document(run)["sets"]]


def left(ec2: EmbeddedEC2) -> set[str]:
    return {snapshot["SnapshotId"] for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]}


@contextmanager
def terminal(snapset: CommandLine, *arguments: str, streams: tuple[str, ...]) -> Iterator[tuple[Any, int]]:
    """Start the command with these streams on a terminal, and open the other end."""
    ours, theirs = os.openpty()
    others = {name: theirs if name in streams else subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    try:
        with CommandLine({**snapset.env, "TERM": "xterm"}, snapset.folder).fork(*arguments, **others) as process:
            yield process, ours
    finally:
        os.close(ours)
        os.close(theirs)


def answer(
    snapset: CommandLine, *arguments: str, say: str = "", streams: tuple[str, ...] = ("stdin", "stderr")
) -> Run:
    """Run the command in a terminal, and answer its question."""
    with terminal(snapset, *arguments, streams=streams) as (process, ours):
        os.write(ours, say.encode())
        stdout, stderr = process.communicate(timeout=60)
        seen = os.read(ours, 1 << 16).decode()
    return Run(process.returncode, stdout or seen, stderr or seen)


def test_no_answer_to_a_question_is_an_interrupt(snapset: CommandLine, take: Take) -> None:
    for hours in (2, 1):
        take(hours=hours)
    ended = answer(snapset, "prune", "--keep-last", "1", "--json", say="\x04", streams=("stdin", "stderr"))
    assert ended.code == 130
    assert document(ended)["error"] == {"type": "Interrupted", "message": "interrupted"}
    assert ended.stderr.splitlines()[-1] == "snapset: interrupted: run it again to go on."


def test_sets_are_listed_newest_first_even_if_the_instance_no_longer_exists(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, take: Take
) -> None:
    old = take(hours=50, change_id="refs/heads/main@0123456789")
    other = ec2.launch()
    new, theirs = take(hours=2), take(hours=1, of=other)
    ec2.ec2().create_snapshot(VolumeId=other.root_volume_id, Description="somebody else's")
    terminate(ec2, instance)
    ec2.clear_calls()
    listed = snapset("list", "--json").ok()
    assert ids_in(listed) == [theirs, new, old]
    assert ids_in(snapset("list", "--json", "--instance", instance.instance_id).ok()) == [new, old]
    assert {call["action"] for call in ec2.calls()} == {"DescribeSnapshots"}

    record = document(listed)["sets"][2]
    assert (record["state"], record["change_id"]) == ("completed", "refs/heads/main@0123456789")
    assert [snapshot["device_name"] for snapshot in record["snapshots"]] == [ROOT, DATA, SCRATCH]
    assert {**record, "image_ids": []} == document(snapset("show", old, "--json").ok())["sets"][0]

    table = snapset("list").ok().stdout
    [line] = [line for line in table.splitlines() if old in line]
    assert re.fullmatch(rf"{old} {instance.instance_id}\s+2 d\s+128 completed\s+refs/heads/ma…", line.rstrip())
    assert max(map(len, table.splitlines())) <= 80
    shown = snapset("show", old).ok().stdout
    assert all(snapshot_id in shown for snapshot_id in record["snapshot_ids"])
    assert "outcome" not in record


def test_only_the_sets_of_the_given_region_are_listed(snapset: CommandLine, take: Take) -> None:
    take(hours=1)
    run = snapset("list", "--region", "eu-central-1", "--json").ok()
    assert (document(run)["sets"], run.stderr) == ([], "")
    assert snapset("list", "--region", "eu-central-1").ok().stdout == "There are no sets.\n"


def test_colours_appear_only_in_a_terminal_and_not_with_no_color(snapset: CommandLine, take: Take) -> None:
    take(hours=1)
    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    assert colour.search(answer(snapset, "list", streams=("stdout",)).ok().stdout)
    snapset.env["NO_COLOR"] = "1"
    assert not colour.search(answer(snapset, "list", streams=("stdout",)).ok().stdout)
    del snapset.env["NO_COLOR"]
    assert "\x1b" not in snapset("list").ok().text


@pytest.mark.parametrize("command", ["show", "wait"])
def test_an_unknown_set_exits_with_2_and_the_error_names_the_region(snapset: CommandLine, command: str) -> None:
    run = snapset(command, UNKNOWN, "--json").failed()
    assert run.code == 2
    assert document(run)["error"]["type"] == "NotFoundError"
    assert f"looking for {UNKNOWN}: no snapshot in us-east-1" in run.stderr


def test_a_missing_permission_exits_with_3_and_is_named(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    ec2.fault(action="DescribeSnapshots", kind="deny")
    run = snapset("list", "--json").failed()
    assert run.code == 3
    assert "Allow ec2:DescribeSnapshots" in run.stderr
    assert document(run) == {
        "version": 1,
        "sets": [],
        "error": {"type": "NotPermittedError", "message": run.stderr.removeprefix("snapset: ").strip()},
    }


def test_a_wait_ends_when_the_set_has_completed(snapset: CommandLine, ec2: EmbeddedEC2, take: Take) -> None:
    # As in EC2, the snapshots become visible only after a moment.
    snapset.env["SNAPSET_CONSISTENCY_SECONDS"] = "20"
    ec2.settings(snapshot_seconds=float("inf"), visibility_seconds=1.5)
    set_id = take(hours=0)
    ec2.clear_calls()
    with snapset.start("wait", set_id, "--json") as process:
        until(lambda: any("SnapshotId.1" in call["params"] for call in ec2.calls("DescribeSnapshots")))
        ec2.complete()
        stdout, stderr = process.communicate(timeout=60)
    run = Run(process.returncode, stdout, stderr).ok()
    assert [(record["set_id"], record["state"]) for record in document(run)["sets"]] == [(set_id, "completed")]
    assert re.search(r"\d of 3 snapshots completed, \d+%", run.stderr)


def test_a_wait_that_times_out_exits_with_4_and_says_how_to_go_on(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    run = snapset("wait", take(hours=1), "--timeout", "1s", "--json").failed()
    assert run.code == 4
    assert [record["state"] for record in document(run)["sets"]] == ["pending"]
    assert run.stderr.splitlines()[-1].endswith(" or the next run waits for them again.")


def test_waiting_for_a_failed_or_incomplete_set_exits_with_4(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    failed, partly = take(hours=2), take(hours=1)
    ec2.fail(list(snapshots_of(ec2, failed))[:1], message="Given key ID is not accessible")
    ec2.ec2().delete_snapshot(SnapshotId=next(iter(snapshots_of(ec2, partly))))
    run = snapset("wait", failed).failed()
    assert run.code == 4
    assert "Given key ID is not accessible. There is no backup: take a new set" in run.stderr
    run = snapset("wait", partly, "--json").failed()
    assert run.code == 4
    assert "2 of 3 snapshots are left. There is no backup" in run.stderr
    assert [record["state"] for record in document(run)["sets"]] == ["incomplete"]


def test_an_interrupt_during_the_wait_exits_at_once_and_prints_the_set(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    set_id = take(hours=1)
    ec2.clear_calls()
    with snapset.start("wait", set_id, "--json") as process:
        until(lambda: len(ec2.calls("DescribeSnapshots")) > 2)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 8  # well under a second on an idle machine
    assert stderr.splitlines() == [
        f"{set_id}: 0 of 3 snapshots completed, 0%",
        "snapset: interrupted: run it again to go on.",
    ]
    assert [record["set_id"] for record in json.loads(stdout)["sets"]] == [set_id]


def test_prune_deletes_the_old_sets_of_every_instance_and_nothing_else(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    other = ec2.launch()
    old = [take(hours=90), take(hours=80)]
    kept = [take(hours=70), take(hours=500, of=other)]
    ec2.settings(snapshot_seconds=float("inf"))
    kept.append(take(hours=99))
    foreign = ec2.ec2().create_snapshot(VolumeId=other.root_volume_id)["SnapshotId"]
    ec2.clear_calls()
    run = snapset("prune", "--older-than", "2d", "--yes", "--json").ok()
    assert ids_in(run) == old
    assert {record["result"] for record in document(run)["sets"]} == {"deleted"}
    assert mutating(ec2.calls()) == ["DeleteSnapshot"] * 6
    assert {call["action"] for call in ec2.calls()} == {"DescribeSnapshots", "DescribeInstances", "DeleteSnapshot"}
    assert left(ec2) == {foreign, *(snapshot_id for set_id in kept for snapshot_id in snapshots_of(ec2, set_id))}
    assert snapset("prune", "--keep-last", "1", "--yes").ok().stdout == "There is nothing to delete.\n"


def test_prune_keeps_what_is_pinned_and_looks_at_what_has_the_tag(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    pinned, old, tagged = take(hours=90), take(hours=80), take(hours=70, tags={"app": "till"})
    newest = take(hours=1)
    assert snapset("prune", "--pin", pinned).ok().stdout == "Done.\n"
    assert ", pinned\n" in snapset("show", pinned).ok().stdout
    shown = document(snapset("list", "--json").ok())["sets"]
    assert [one["set_id"] for one in shown if one["pinned"]] == [pinned]
    # Of those with the tag, it is the newest.
    assert ids_in(snapset("prune", "--keep-last", "1", "--tag", "app=till", "--yes", "--json").ok()) == []
    assert ids_in(snapset("prune", "--keep-daily", "1", "--yes", "--json").ok()) == [old, tagged]
    assert ids_in(snapset("prune", "--unpin", pinned, "--keep-last", "1", "--yes", "--json").ok()) == [pinned]
    assert left(ec2) == set(snapshots_of(ec2, newest))


def test_a_wide_list_has_clock_times_and_tags_and_nothing_is_cut_where_it_is_piped(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    set_id = take(hours=2, change_id="release-of-the-whole-shop-42", tags={"app": "shop", "team": "ops"})
    [start] = {item["StartTime"].strftime("%Y-%m-%d %H:%M") for item in snapshots_of(ec2, set_id).values()}
    narrow = snapset("list").ok().stdout
    assert "release-of-th…" in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    del snapset.env["COLUMNS"]
    for text in (set_id, start, "release-of-the-whole-shop-42", "app=shop, team=ops"):
        assert text in snapset("list").ok().stdout
    shown = snapset("show", set_id).ok().stdout
    assert f"taken {start} UTC, 2 h ago" in shown
    assert "tags: app=shop, team=ops" in shown


def test_list_shows_what_is_asked_for(snapset: CommandLine, ec2: EmbeddedEC2, take: Take) -> None:
    first, second = take(hours=3, change_id="release-*"), take(hours=2, change_id="release-42", tags={"app": "till"})
    ec2.settings(snapshot_seconds=float("inf"))
    third = take(hours=1, change_id="release-42")
    asked: list[tuple[list[str], list[str]]] = [
        ([], [third, second, first]),
        (["--change-id", "release-42"], [third, second]),
        (["--change-id", "release-*"], [first]),
        (["--state", "completed"], [second, first]),
        (["--tag", "app=till"], [second]),
        (["--tag", "app=till", "--state", "pending"], []),
    ]
    for options, expected in asked:
        assert ids_in(snapset("list", *options, "--json").ok()) == expected


def test_prune_of_one_instance_keeps_the_sets_of_others(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, take: Take
) -> None:
    other = ec2.launch()
    theirs = [take(hours=9, of=other), take(hours=8, of=other)]
    old, _ = take(hours=7), take(hours=6)
    run = snapset("prune", "--keep-last", "1", "--instance", instance.instance_id, "--yes", "--json").ok()
    assert ids_in(run) == [old]
    assert all(snapshots_of(ec2, set_id) for set_id in theirs)


def test_prune_keeps_the_set_of_a_rollback_that_began_after_it_was_chosen(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, take: Take
) -> None:
    needed, _ = take(hours=9), take(hours=8)
    ec2.clear_calls()
    ec2.fault(action="DescribeSnapshots", kind="delay_after", seconds=2, skip=1)
    with snapset.start("prune", "--keep-last", "1", "--yes") as process:
        until(lambda: len([call for call in ec2.calls("DescribeSnapshots") if call["carried_out"]]) == 2)
        begun = f"rb-0123456789abcdef0 {needed} running 2026-11-27T15:00:00Z"
        ec2.ec2().create_tags(Resources=[instance.instance_id], Tags=[{"Key": "snapset:rollback", "Value": begun}])
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (
        f"keeping {needed}: it is needed now: newer ones were deleted meanwhile, or a rollback has begun." in stderr
    )
    assert snapshots_of(ec2, needed)


def test_prune_keeps_what_an_image_uses_as_a_whole_and_what_is_locked_and_says_why(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    imaged, partly, whole, gone = (take(hours=hours) for hours in (9, 8, 7, 6))
    take(hours=5)
    by_device = {item["tags"]["snapset:device"]: key for key, item in snapshots_of(ec2, imaged).items()}
    mapping: Any = {"DeviceName": ROOT, "Ebs": {"SnapshotId": by_device[ROOT]}}
    image = ec2.ec2().register_image(Name="golden", RootDeviceName=ROOT, BlockDeviceMappings=[mapping])["ImageId"]
    ec2.lock(snapshots_of(ec2, whole))
    [locked] = [key for key, item in snapshots_of(ec2, partly).items() if item["tags"]["snapset:device"] == DATA]
    ec2.lock([locked])
    run = snapset("prune", "--keep-last", "1", "--yes", "--json").ok()
    records = {record["set_id"]: record for record in document(run)["sets"]}
    assert {set_id: (record["result"], len(record["kept"])) for set_id, record in records.items()} == {
        imaged: ("kept", 3),
        partly: ("partly deleted", 1),
        whole: ("kept", 3),
        gone: ("deleted", 0),
    }
    assert len(snapshots_of(ec2, imaged)) == 3
    [reason] = {kept["reason"] for kept in records[imaged]["kept"]}
    assert f"InvalidSnapshot.InUse: The snapshot {by_device[ROOT]} is currently in use by {image}" in reason
    assert reason.endswith(f"or deregister the image: aws ec2 deregister-image --image-id {image}.")
    assert reason in run.stderr
    assert [kept["snapshot_id"] for kept in records[partly]["kept"]] == [locked]
    table = snapset("prune", "--keep-last", "1", "--yes").ok().stdout
    assert re.search(rf"{partly} .* incomplete kept", table)
    assert max(map(len, table.splitlines())) <= 80


def test_prune_without_the_permission_deletes_nothing_and_exits_with_3(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    take(hours=9), take(hours=8)
    ec2.fault(action="DeleteSnapshot", kind="deny")
    run = snapset("prune", "--keep-last", "1", "--yes", "--json").failed()
    assert run.code == 3
    assert "Allow ec2:DeleteSnapshot" in run.stderr
    assert document(run)["sets"][0]["result"] == "kept"
    assert len(left(ec2)) == 6


@pytest.mark.parametrize("command", ["prune --keep-last 1", "delete {old}"])
def test_what_deletes_asks_in_a_terminal_and_is_refused_elsewhere_without_yes(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take, command: str
) -> None:
    old, _ = take(hours=9), take(hours=8)
    arguments = command.format(old=old).split()
    doing = {"prune": "pruning", "delete": "deleting"}[arguments[0]]
    ec2.clear_calls()
    refused = snapset(*arguments, "--json").failed()
    assert refused.code == 2
    assert refused.stderr.splitlines()[-1] == f"snapset: {doing}: not a terminal, so I can't ask. Add --yes."
    assert old in refused.stderr
    assert [record["result"] for record in document(refused)["sets"]] == ["chosen"]
    no = answer(snapset, *arguments, say="n\n")
    assert (no.code, old in no.stderr) == (1, True)
    assert "the answer was no. Nothing is deleted." in no.stderr
    assert mutating(ec2.calls()) == []
    yes = answer(snapset, *arguments, "--json", say="y\n").ok()
    assert "Delete 1 set with 3 snapshots for good?" in yes.stderr
    assert ids_in(yes) == [old]
    assert snapshots_of(ec2, old) == {}


def test_prune_keeps_a_set_that_became_the_newest_before_the_answer(
    snapset: CommandLine, ec2: EmbeddedEC2, take: Take
) -> None:
    older, old, newest = take(hours=9), take(hours=8), take(hours=7)
    doomed = list(snapshots_of(ec2, newest))
    ec2.clear_calls()
    command = ("prune", "--keep-last", "1", "--json")
    with terminal(snapset, *command, streams=("stdin", "stderr")) as (process, ours):
        until(lambda: ec2.calls("DescribeSnapshots"))
        for snapshot_id in doomed:
            ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
        os.write(ours, b"y\n")
        stdout, _ = process.communicate(timeout=60)
    results = {record["set_id"]: record["result"] for record in json.loads(stdout)["sets"]}
    assert (process.returncode, results) == (0, {older: "deleted", old: "kept"})
    assert len(left(ec2)) == 3
