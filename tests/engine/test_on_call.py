"""docs/on-call.md: each block of lines, pasted as it is printed, does what its heading asks for; nothing is lost."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.pages import find_blocks
from support.project import REPOSITORY, STACK, Project, Run, run_environment
from support.restores import launch_source, restored_in, snapshots_of, take_set
from support.rollbacks import assert_rolled_back, contents_of, deploy, described, devices_of
from support.sets import find_sets

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2

PAGE = "On call"
_FOUND = find_blocks(REPOSITORY / "docs/on-call.md")
BLOCKS = {block.heading: block.text for block in _FOUND if block.language == "sh"}

PROGRAM = """
import pulumi
import pulumi_aws as aws
from snapset import InstanceSnapshots, backup_before_change

config = pulumi.Config()
server = aws.ec2.Instance(
    "server", ami=config.get("ami") or "ami-12345678", instance_type="t3.micro", availability_zone="us-east-1a",
    ebs_block_devices=[{"device_name": "/dev/sdf", "volume_size": 20}],
    opts=backup_before_change() if config.require_bool("guarded") else None,
)
if not config.require_bool("guarded"):
    InstanceSnapshots("backup", instance=server, triggers=config.get("triggers"))
pulumi.export("instanceId", server.id)
"""


@dataclass
class Shell:
    """A terminal in which somebody pastes what a page shows, and answers yes to each question."""

    env: dict[str, str]
    folder: Path

    def enter(self, project: Project) -> None:
        """Go to the project's folder, and select its stack."""
        self.folder = project.cwd
        self.paste(f"pulumi stack select {STACK}")

    def paste(self, lines: str, *, instance: str = "", change: str = "release-42") -> str:
        """Return what the terminal shows, once all has ended well."""
        run = self.run(lines, instance=instance, change=change)
        assert run.code == 0, run.text
        return run.stdout

    def run(self, lines: str, *, instance: str, change: str) -> Run:
        ours, theirs = os.openpty()
        env = {**self.env, "TERM": "dumb", "COLUMNS": "400", "INSTANCE": instance, "CHANGE": change}
        process = subprocess.Popen(
            ["bash", "-e", "-c", lines], cwd=self.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        os.write(ours, b"y\n" * 3)
        shown = b"".join(_read(ours, until=time.monotonic() + 120))
        os.close(ours)
        return Run(process.wait(timeout=10), re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", shown.decode()), "")


def _read(terminal: int, *, until: float) -> Iterator[bytes]:
    while select.select([terminal], [], [], max(0, until - time.monotonic()))[0]:
        try:
            yield os.read(terminal, 1 << 16)
        except OSError:
            # Nobody writes to it any more.
            return
    raise AssertionError("the lines have not ended")


@pytest.fixture
def shell(ec2: EmbeddedEC2, tmp_path: Path) -> Shell:
    env = run_environment(tmp_path, ec2.environment())
    path = os.pathsep.join([str(REPOSITORY / "tests/support/bin"), env["PATH"]])
    more = {"PATH": path, "SNAPSET_CONSISTENCY_SECONDS": "2", "PULUMI_SKIP_CONFIRMATIONS": "true"}
    return Shell({**env, **more}, tmp_path)


@pytest.fixture
def stack(program: Callable[[str], Project]) -> Project:
    """A stack with an instance, which has a guard or a set beside it."""
    project = program(PROGRAM)
    aws_plugin.install(project.env)
    return project


def launch(project: Project, ec2: EmbeddedEC2, *, guarded: bool) -> str:
    """Launch the stack's instance, and return it once something was written to its volumes."""
    project.config["guarded"] = guarded
    project.up().ok()
    for volume_id in devices_of(ec2, project.outputs()["instanceId"]).values():
        ec2.write(volume_id, 4096, f"of {volume_id}".encode())
    return str(project.outputs()["instanceId"])


def instances(ec2: EmbeddedEC2) -> set[str]:
    found = ec2.ec2().describe_instances()["Reservations"]
    return {instance["InstanceId"] for reservation in found for instance in reservation["Instances"]}


def bring_back(shell: Shell, ec2: EmbeddedEC2, gone: str) -> str:
    """Paste the two commands that the page's own command prints, and return the new instance."""
    shown = shell.run(BLOCKS["The instance is gone"], instance=gone, change="")
    assert shown.code == 2, shown.text
    commands = [line for line in shown.stdout.splitlines() if line.startswith(("NEW=", "snapset rollback"))]
    assert len(commands) == 2, shown.text
    before = instances(ec2)
    shell.paste("\n".join(commands))
    [new] = instances(ec2) - before
    assert described(ec2, new)["State"]["Name"] == "running"
    return new


def test_every_block_of_the_page_is_pasted_here() -> None:
    source = (REPOSITORY / "tests/engine/test_on_call.py").read_text()
    assert [heading for heading in BLOCKS if heading != PAGE and f'BLOCKS["{heading}"]' not in source] == []


def test_a_deploy_that_failed_is_taken_back(shell: Shell, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    shell.paste(BLOCKS["The deploy failed"], instance=deployed.instance_id)
    assert_rolled_back(ec2, deployed)


def test_an_instance_that_was_terminated_comes_back_on_another(shell: Shell, ec2: EmbeddedEC2) -> None:
    source = launch_source(ec2)
    was = contents_of(ec2, source.instance_id)
    take_set(ec2, source)
    ec2.ec2().terminate_instances(InstanceIds=[source.instance_id])
    assert contents_of(ec2, bring_back(shell, ec2, source.instance_id)) == was


@pytest.mark.long
def test_an_instance_that_was_destroyed_with_its_guard_comes_back(
    shell: Shell, stack: Project, ec2: EmbeddedEC2
) -> None:
    gone = launch(stack, ec2, guarded=True)
    was = contents_of(ec2, gone)
    stack.pulumi("destroy", "--yes", "--skip-preview", "--run-program").ok()
    assert contents_of(ec2, bring_back(shell, ec2, gone)) == was


@pytest.mark.long
@pytest.mark.parametrize("guarded", [True, False])
def test_an_instance_that_pulumi_replaced_comes_back_on_the_new_one(
    shell: Shell, stack: Project, ec2: EmbeddedEC2, guarded: bool
) -> None:
    old = launch(stack, ec2, guarded=guarded)
    was = contents_of(ec2, old)
    if not guarded:
        stack.config["triggers"] = "release-42"
        stack.up().ok()
    stack.config["ami"] = "ami-87654321"
    stack.up().ok()
    new = stack.outputs()["instanceId"]
    assert contents_of(ec2, new) != was
    shell.enter(stack)
    shell.paste(BLOCKS["Pulumi replaced it"], instance=old)
    assert contents_of(ec2, new) == was


@pytest.mark.long
def test_a_stack_brings_its_volumes_back_itself(shell: Shell, project: Project, ec2: EmbeddedEC2) -> None:
    aws_plugin.install(project.env)
    project.config["program"] = "app_server"
    project.up().ok()
    instance_id = project.outputs()["instanceId"]
    devices = devices_of(ec2, instance_id)
    was = contents_of(ec2, instance_id)
    for volume_id in (devices["/dev/sda1"], devices["/dev/sdf"]):
        ec2.write(volume_id, 0, f"written to {volume_id} since".encode())
    shell.enter(project)
    shell.paste(BLOCKS["The stack has the volumes"], instance=instance_id)
    assert contents_of(ec2, project.outputs()["instanceId"]) == was


def test_a_job_that_was_killed_is_run_again_and_takes_no_second_set(shell: Shell, ec2: EmbeddedEC2) -> None:
    instance_id = ec2.launch().instance_id
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="DescribeSnapshots", kind="error", code="UnauthorizedOperation", status=403, skip=1)
    assert shell.run(BLOCKS["The job was killed"], instance=instance_id, change="release-42").code != 0
    ec2.clear_faults()
    shell.paste(BLOCKS["The job was killed"], instance=instance_id)
    assert len(find_sets(ec2)) == 1


def test_the_lock_of_a_run_that_was_killed_is_cleared(shell: Shell, ec2: EmbeddedEC2) -> None:
    lock = {"pid": 4242, "username": "ci", "hostname": "runner-7", "timestamp": "2026-01-02T03:04:05.678+01:00"}
    shell.paste(BLOCKS["The job was killed"], instance=ec2.launch().instance_id)
    folder = shell.folder / "state/.pulumi/locks/organization/snapset/release-42.us-east-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock.json").write_text(json.dumps(lock))
    shown = shell.paste(BLOCKS["The stack is locked"])
    assert "ci@runner-7 (pid 4242) holds it since 2026-01-02T03:04:05" in shown
    assert list(folder.iterdir()) == []


def test_a_set_in_error_is_shown_and_the_same_backup_takes_a_new_one(shell: Shell, ec2: EmbeddedEC2) -> None:
    instance_id = ec2.launch().instance_id
    ec2.fail(message="Given key ID is not accessible")
    backup = f"snapset backup {instance_id} --change-id release-42"
    assert shell.run(backup, instance=instance_id, change="").code == 4
    shown = shell.paste(BLOCKS["The set is in error"], instance=instance_id)
    assert "Given key ID is not accessible" in shown
    assert sorted(found.failed for found in find_sets(ec2).values()) == [False, True]


def test_old_sets_are_deleted_once_that_is_confirmed(shell: Shell, ec2: EmbeddedEC2) -> None:
    source = ec2.launch()
    taken = [take_set(ec2, source, triggers=number) for number in range(8)]
    shell.paste(BLOCKS["Too many snapshots"], instance=source.instance_id)
    assert len(find_sets(ec2)) == 7
    assert taken[-1] in find_sets(ec2)


def test_the_volumes_of_a_set_are_put_beside_those_in_use(shell: Shell, ec2: EmbeddedEC2) -> None:
    source = launch_source(ec2)
    set_id = take_set(ec2, source)
    was = contents_of(ec2, source.instance_id)
    shell.paste(BLOCKS["One file back"], instance=source.instance_id)
    now = contents_of(ec2, source.instance_id)
    assert {device: now[device] for device in was} == was
    beside = {volume.attached_to: volume.snapshot_id for volume in restored_in(ec2)}
    assert set(beside) == {(source.instance_id, device) for device in ("/dev/sdp", "/dev/sdq", "/dev/sdr")}
    assert set(beside.values()) == set(snapshots_of(ec2, set_id))
    assert {now["/dev/sdp"], now["/dev/sdq"], now["/dev/sdr"]} == set(was.values())
