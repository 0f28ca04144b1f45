"""`snapset unlock` shows the lock of a killed run, and clears it only if the user confirms."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.calls import Place
from support.crash import Case
from support.project import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
    from support.command_line import CommandLine
    from support.crash import Scene

pytestmark = pytest.mark.long

ENGINE_KILLED = Case("create", Place("CreateSnapshots", 1), "engine", "before")
CHANGE = ("--change-id", "c", "--region", "us-east-1")
STACK = "c.us-east-1"
LOCK = {"pid": 4242, "username": "ci", "hostname": "runner-7", "timestamp": "2026-01-02T03:04:05.678+01:00"}


def answer(snapset: CommandLine, *arguments: str, typed: str) -> Run:
    """Run the command in a terminal, and answer its question."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            ["snapset", *arguments],
            cwd=snapset.folder,
            env=snapset.env,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(ours, typed.encode())
        stdout, stderr = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    return Run(process.returncode, stdout, stderr)


def test_the_lock_of_a_killed_run_is_shown_and_cleared_only_if_confirmed(
    scene_of_command: Callable[..., Scene], snapset: CommandLine
) -> None:
    scene = scene_of_command("backup", "--change-id", "c", "--no-wait", "--json")
    scene.run_with(ENGINE_KILLED).failed()
    [file] = scene.folder.glob("state/.pulumi/locks/organization/snapset/c.us-east-1/*.json")
    lock = json.loads(file.read_text())
    held = f"{lock['username']}@{lock['hostname']} (pid {lock['pid']}) holds it since {lock['timestamp'][:19]}"

    nobody_to_ask = snapset("unlock", *CHANGE, "--json")
    assert nobody_to_ask.code == 2
    assert held in nobody_to_ask.stderr
    assert re.search(r", \d+ s ago", nobody_to_ask.stderr)
    document = json.loads(nobody_to_ask.stdout)
    assert (document["stack"], document["cleared"], document["locks"][0]["pid"]) == (STACK, False, lock["pid"])

    declined = answer(snapset, "unlock", *CHANGE, typed="n\n")
    assert declined.code == 1
    assert held in declined.stderr
    assert file.exists()

    confirmed = answer(snapset, "unlock", *CHANGE, typed="y\n").ok()
    assert "the lock is cleared" in confirmed.stdout
    assert not file.exists()
    assert snapset("unlock", *CHANGE).ok().stdout == f"stack {STACK}: nobody holds it\n"
    scene.run().ok()
    scene.assert_exactly_one_set()


def test_several_old_locks_are_all_shown_with_their_age(snapset: CommandLine) -> None:
    (snapset.folder / "Pulumi.yaml").write_text("name: snapset\nruntime: python\n")
    subprocess.run(
        ["pulumi", "stack", "init", "organization/snapset/shared"],
        cwd=snapset.folder,
        env=snapset.env,
        check=True,
        capture_output=True,
    )
    locks = snapset.folder / "state/.pulumi/locks/organization/snapset/shared"
    locks.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        (locks / f"{number}.json").write_text(json.dumps({**LOCK, "pid": number, "username": "build agent"}))
    cleared = snapset("unlock", "--stack", "shared", "--yes").ok()
    for number in (1, 2):
        held = rf"build agent@runner-7 \(pid {number}\) holds it since 2026-01-02T03:04:05\+01:00, \d+ d ago"
        assert re.search(held, cleared.stderr)
    assert list(locks.iterdir()) == []


@pytest.mark.parametrize("content", ["", json.dumps({**LOCK, "username": "a\nb"})], ids=["empty", "other lines"])
def test_a_lock_that_can_not_be_read_is_cleared_with_the_command_that_the_backup_names(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, content: str
) -> None:
    options = ("--change-id", "c", "--no-wait", "--lock-timeout", "1s")
    snapset("backup", instance.instance_id, *options).ok()
    # It has no set yet, so that the stack is needed again.
    backup = ("backup", ec2.launch().instance_id, *options)
    locks = snapset.folder / "state/.pulumi/locks/organization/snapset/c.us-east-1"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "1.json").write_text(content)
    assert (
        snapset(*backup)
        .failed()
        .stderr.endswith("clear its lock first: snapset unlock --change-id c --region us-east-1\n")
    )
    cleared = snapset("unlock", *CHANGE, "--yes").ok()
    assert cleared.stderr == f"stack {STACK}: a lock that can't be read holds it\n"
    assert list(locks.iterdir()) == []
    snapset(*backup).ok()


def test_an_unknown_stack_is_bad_input_and_is_not_created(snapset: CommandLine) -> None:
    missing = snapset("unlock", "--change-id", "nobody-ran-this", "--region", "us-east-1", "--yes").failed()
    assert missing.code == 2
    assert missing.stderr.startswith("snapset: looking for stack nobody-ran-this.us-east-1: there is none in file://")
    assert missing.stderr.count("\n") == 1
    assert not list(snapset.folder.glob("state/.pulumi/stacks/snapset/*"))


@pytest.mark.parametrize("which", [(), ("--stack", "a", "--change-id", "b")])
def test_the_stack_must_be_named_by_exactly_one_option(snapset: CommandLine, which: tuple[str, ...]) -> None:
    refused = snapset("unlock", *which, "--yes").failed()
    assert refused.code == 2
    assert refused.stderr == "snapset: reading the options: name the stack by either --stack or --change-id.\n"
