"""`snapset delete`, and what leads to it: `snapset list --ids`, and the id that a stack exports before it goes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import CommandLine
from support.pages import PAGES, find_blocks, name_of
from support.project import STACK, Project, Run, mutating, run_environment
from support.restores import launch_source, snapshots_of, take_set
from support.sets import find_sets

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

UNKNOWN = "set-0123456789abcdef0"


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    """A machine without an engine and without a state."""
    env = run_environment(tmp_path, ec2.environment())
    return CommandLine({**env, "PATH": "", "PULUMI_BACKEND_URL": "file:///nonexistent"}, tmp_path)


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return launch_source(ec2)


def results_in(run: Run) -> dict[str, str]:
    return {record["set_id"]: record["result"] for record in json.loads(run.stdout)["sets"]}


def test_the_named_sets_are_deleted_whole_and_again_is_no_error(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    first, second, other = (take_set(ec2, instance, triggers=number) for number in range(3))
    stays = set(snapshots_of(ec2, other))
    client = ec2.ec2()
    foreign = client.create_snapshot(VolumeId=instance.root_volume_id)["SnapshotId"]
    # What was deleted by hand already does not matter.
    client.delete_snapshot(SnapshotId=next(iter(snapshots_of(ec2, first))))
    ec2.clear_calls()
    run = snapset("delete", first, second, first, "--yes", "--json").ok()
    assert results_in(run) == {first: "deleted", second: "deleted"}
    assert mutating(ec2.calls()) == ["DeleteSnapshot"] * 5
    left = {item["SnapshotId"] for item in client.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    assert left == {foreign, *stays}
    again = snapset("delete", first, "--yes").ok()
    assert again.stdout == "There is nothing to delete.\n"
    assert again.stderr.splitlines()[-1] == f"{first} is not there: no snapshot in us-east-1 belongs to it"


def pin(snapset: CommandLine, _ec2: EmbeddedEC2, set_id: str) -> None:
    snapset("prune", "--pin", set_id).ok()


def image(_snapset: CommandLine, ec2: EmbeddedEC2, set_id: str) -> None:
    [root] = [key for key, one in snapshots_of(ec2, set_id).items() if one["tags"]["snapset:device"] == "/dev/sda1"]
    mapping: Any = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": root}}
    ec2.ec2().register_image(Name=f"of-{set_id}", RootDeviceName="/dev/sda1", BlockDeviceMappings=[mapping])


def lock(_snapset: CommandLine, ec2: EmbeddedEC2, set_id: str) -> None:
    ec2.lock(snapshots_of(ec2, set_id))


def copy(_snapset: CommandLine, ec2: EmbeddedEC2, set_id: str) -> None:
    until = [{"Key": "snapset:in-use-until", "Value": "2099-01-01T00:00:00Z"}]
    ec2.ec2().create_tags(Resources=list(snapshots_of(ec2, set_id)), Tags=until)  # type: ignore[arg-type]


def rollback(_snapset: CommandLine, ec2: EmbeddedEC2, set_id: str) -> None:
    [instance_id] = {one["tags"]["snapset:instance"] for one in snapshots_of(ec2, set_id).values()}
    begun = f"rb-0123456789abcdef0 {set_id} running 2026-11-27T15:00:00Z"
    ec2.ec2().create_tags(Resources=[instance_id], Tags=[{"Key": "snapset:rollback", "Value": begun}])


NEEDED: dict[str, tuple[Callable[[CommandLine, EmbeddedEC2, str], None], str]] = {
    "pinned": (pin, "keeping {set}: it is pinned. Unpin it first: snapset prune --unpin {set}."),
    "used by an image": (image, "InvalidSnapshot.InUse"),
    "locked": (lock, "is locked"),
    "being copied": (copy, "keeping {set}: something else needs it until 2099-01-01T00:00:00Z"),
    "being rolled back to": (rollback, "keeping {set}: an instance is being rolled back to it."),
}


def test_what_something_needs_is_kept_whole_by_name_and_the_rest_is_deleted(
    snapset: CommandLine, ec2: EmbeddedEC2
) -> None:
    sets = {what: take_set(ec2, launch_source(ec2)) for what in NEEDED}
    rolled_back = sets["being rolled back to"]
    # The safety set of that rollback stays, too.
    safety = take_set(ec2, launch_source(ec2), change_id=f"rollback to {rolled_back}")
    free = take_set(ec2, launch_source(ec2))
    for what, (make_needed, _) in NEEDED.items():
        make_needed(snapset, ec2, sets[what])
    before = {key for set_id in [*sets.values(), safety] for key in snapshots_of(ec2, set_id)}
    run = snapset("delete", *sets.values(), safety, free, "--yes", "--json")
    assert run.code == 1
    assert results_in(run) == {**dict.fromkeys([*sets.values(), safety], "kept"), free: "deleted"}
    assert {key for found in find_sets(ec2).values() for key in found.ids} == before
    reasons = {record["set_id"]: record["kept"] for record in json.loads(run.stdout)["sets"]}
    for what, (_, said) in NEEDED.items():
        for kept in reasons[sets[what]]:
            assert said.format(set=sets[what]) in kept["reason"]
            assert kept["reason"] in run.stderr
    assert "it is the safety set of a rollback that has not ended" in reasons[safety][0]["reason"]
    assert run.stderr.splitlines()[-1] == "snapset: deleting: 6 of 7 sets kept, whole or in part."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set-1", "--yes"], "reading SET: 'set-1' is not the id of a set"),
        (["{set}"], "deleting: not a terminal, so I can't ask. Add --yes."),
        (["{set}", "--region", "mars", "--yes"], "'mars' is not a Region"),
        ([], "Missing argument 'SET'"),
    ],
)
def test_bad_input_ends_with_2_and_deletes_nothing(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, arguments: list[str], said: str
) -> None:
    set_id = take_set(ec2, instance)
    run = snapset("delete", *(argument.replace("{set}", set_id) for argument in arguments), "--json").failed()
    assert run.code == 2
    assert said in run.stderr
    assert len(snapshots_of(ec2, set_id)) == 3


def test_a_missing_permission_ends_with_3_and_is_named(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    set_id = take_set(ec2, instance)
    ec2.fault(action="DeleteSnapshot", kind="deny", times=None)
    run = snapset("delete", set_id, "--yes", "--json").failed()
    assert run.code == 3
    assert "Allow ec2:DeleteSnapshot" in run.stderr
    assert results_in(run) == {set_id: "kept"}
    ec2.clear_faults()
    assert results_in(snapset("delete", set_id, "--yes", "--json").ok()) == {set_id: "deleted"}


def test_the_ids_of_a_list_are_what_delete_takes(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    wanted = [take_set(ec2, launch_source(ec2), change_id="release-42") for _ in range(2)]
    other = take_set(ec2, instance, change_id="release-43")
    ids = snapset("list", "--change-id", "release-42", "--ids").ok().stdout.split()
    assert sorted(ids) == sorted(wanted)
    assert snapset("list", "--change-id", "nonesuch", "--ids").ok().stdout == ""
    assert snapset("list", "--ids", "--json").failed().code == 2
    snapset("delete", *ids, "--yes").ok()
    assert set(find_sets(ec2)) == {other}


def test_a_stack_that_lives_for_an_hour_cleans_up_as_the_faq_says(project: Project, ec2: EmbeddedEC2) -> None:
    [page] = [page for page in PAGES if name_of(page) == "docs/faq.md"]
    [script] = [block.text for block in find_blocks(page) if "pulumi stack output" in block.text]
    project.config = {"instanceId": launch_source(ec2).instance_id}
    project.up().ok()
    set_id = project.outputs()["setId"]
    project.env |= {"PULUMI_STACK": STACK}
    ran = subprocess.run(
        ["bash", "-euc", script.replace("destroy --yes", "destroy --yes --skip-preview --non-interactive")],
        cwd=project.cwd,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    run = Run(ran.returncode, ran.stdout, ran.stderr).ok()
    assert f"To delete it: snapset delete {set_id} --region us-east-1" in run.stdout
    assert project.sets() == []
    assert find_sets(ec2) == {}
