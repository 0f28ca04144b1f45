"""One run at a time: a second one reports who holds the lock, since when, and what to do."""

from __future__ import annotations

import getpass
import json
import re
import socket
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.calls import Place
from support.crash import Case, Scene
from support.project import Project, Run, until

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
    from support.command_line import CommandLine
    from support.processes import Processes

pytestmark = pytest.mark.long

WHO = f"{getpass.getuser()}@{socket.gethostname()}"
SHARED = ("--stack", "shared", "--change-id", "x", "--json", "--lock-timeout", "1s")
ENGINE_KILLED = Case("create", Place("CreateSnapshots", 1), "engine", "before")


def assert_names_holder_and_advice(message: str, *, pid: int, advice: str) -> None:
    assert WHO in message
    assert re.search(rf"\bpid {pid}\b", message)
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", message)
    assert advice in message


def advice_in(run: Run) -> str:
    """The command at the end of the last line on stderr, with `--yes` because there is no terminal to ask on."""
    return run.stderr.splitlines()[-1].rpartition("clear its lock first: ")[2] + " --yes"


def test_of_two_commands_at_once_one_works_and_the_other_exits_with_5(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, processes: Processes
) -> None:
    ec2.fault(action="CreateSnapshots", kind="delay_after", seconds=15)
    with snapset.start("backup", instance.instance_id, *SHARED) as first:
        until(lambda: ec2.calls("CreateSnapshots"))
        [pid] = processes.running("engine")
        second = snapset("backup", instance.instance_id, *SHARED).failed()
        stdout, stderr = first.communicate(timeout=60)
    assert first.returncode == 0, stderr
    assert second.code == 5
    assert_names_holder_and_advice(second.stderr.splitlines()[-1], pid=pid, advice="snapset unlock --stack shared")
    error = json.loads(second.stdout)["error"]
    assert error["type"] == "LockedError"
    assert_names_holder_and_advice(error["message"], pid=pid, advice="snapset unlock --stack shared")
    [taken] = json.loads(stdout)["sets"]
    [again] = json.loads(snapset("backup", instance.instance_id, *SHARED).ok().stdout)["sets"]
    assert again["set_id"] == taken["set_id"]
    assert sum(call["carried_out"] for call in ec2.calls("CreateSnapshots")) == 1


def test_while_a_command_waits_for_its_set_it_holds_no_lock(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, processes: Processes
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    with snapset.start("backup", instance.instance_id, *SHARED) as first:
        until(lambda: len(ec2.calls("CreateTags")) == 2 and not processes.running("engine"))
        second = json.loads(snapset("backup", instance.instance_id, *SHARED, "--no-wait").ok().stdout)
        assert first.poll() is None
        ec2.complete()
        stdout, stderr = first.communicate(timeout=60)
    assert first.returncode == 0, stderr
    assert second["sets"][0]["set_id"] == json.loads(stdout)["sets"][0]["set_id"]


def test_of_two_ups_at_once_one_works_and_the_other_fails(
    stack: Project, ec2: EmbeddedEC2, processes: Processes
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    stack.config["wait"] = True
    with stack.start("up", "--yes", "--skip-preview") as first:
        until(lambda: ec2.calls("CreateTags"))
        [pid] = processes.running("engine")
        second = stack.up().failed()
        ec2.complete()
        stdout, stderr = first.communicate(timeout=60)
    assert first.returncode == 0, stdout + stderr
    assert_names_holder_and_advice(second.text, pid=pid, advice="pulumi cancel")
    assert sum(call["carried_out"] for call in ec2.calls("CreateSnapshots")) == 1


def test_the_lock_of_a_killed_engine_is_reported_and_the_advice_clears_it(
    scene_of_command: Callable[..., Scene],
) -> None:
    scene = scene_of_command("backup", "--change-id", "c", "--no-wait", "--json", "--lock-timeout", "1s")
    scene.run_with(ENGINE_KILLED).failed()
    locked = scene.run().failed()
    assert locked.code == 5
    subprocess.run(["sh", "-c", advice_in(locked)], cwd=scene.folder, env=scene.env, check=True, capture_output=True)
    scene.run().ok()
    scene.assert_exactly_one_set()


def test_the_advice_also_works_for_the_state_in_the_users_data_folder(
    scene_of_command: Callable[..., Scene], ec2: EmbeddedEC2
) -> None:
    scene = scene_of_command("backup", "--change-id", "c", "--no-wait", "--json", "--lock-timeout", "1s")
    del scene.env["PULUMI_BACKEND_URL"], scene.env["PULUMI_CONFIG_PASSPHRASE"]
    scene.env["XDG_DATA_HOME"] = str(scene.folder / "their data")
    scene.run_with(ENGINE_KILLED).failed()
    locked = scene.run().failed()
    assert locked.code == 5
    subprocess.run(["sh", "-c", advice_in(locked)], cwd=scene.folder, env=scene.env, check=True, capture_output=True)
    [taken] = json.loads(scene.run().ok().stdout)["sets"]
    assert set(scene.taken()) == set(taken["snapshot_ids"])


def test_the_lock_of_a_killed_up_is_reported_and_pulumi_cancel_clears_it(
    scene_of: Callable[..., Scene], stack: Project
) -> None:
    scene = scene_of("up")
    scene.run_with(ENGINE_KILLED)
    locked = scene.run().failed()
    assert WHO in locked.text
    assert "pulumi cancel" in locked.text
    stack.pulumi("cancel", "--yes").ok()
    scene.run().ok()
    scene.assert_exactly_one_set()


@pytest.mark.parametrize("step", [ENGINE_KILLED, Case("claim", Place("CreateTags", 2), "engine", "before")])
def test_a_command_whose_engine_is_killed_fails_with_one_line(
    scene_of_command: Callable[..., Scene], step: Case
) -> None:
    scene = scene_of_command("backup", "--change-id", "c", "--no-wait", "--json")
    killed = scene.run_with(step).failed()
    assert killed.code == 1
    last = killed.stderr.splitlines()[-1]
    assert last.startswith("snapset: updating stack c.us-east-1: ")
    assert "stdout:" not in last
    assert "UserWarning" not in killed.stderr
