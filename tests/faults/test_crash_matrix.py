"""Whatever fails at any AWS call: after at most one rerun there is exactly one set, and the state holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.calls import Place
from support.crash import KNOBS, Case, Scene, cases_of
from support.project import DELETE_FIRST, STACK, Project, Run

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2

# Each row is a call: its step, its action, its number. Looks are counted within their step, all other calls from the
# start of the run. Each column is a failure. A cell says when the failure comes: before the call is carried out (b),
# after it (a), or both (two cases).
#
# provider, program, engine, command: this process is killed during the call
# refused: the connection is refused
# closed: the connection is closed; if after the call is carried out, its answer is lost
# late: the answer comes after the read time-out
#
# `make soak` tries every failure at every call, but for `-`: there is no such process yet, or a run that can't make
# the call does not end there, so that it can't be counted. The calls share the code that retries, so that a cell or
# two of each are enough for `make test`.
UP = """
                                provider program engine refused throttled 500 closed late
create DescribeVolumes   1             b       .      .       -         b   .      .    .
create DescribeSnapshots 1             .       .      .       b         .   b      .    .
create CreateSnapshots   1            ba       b     ba       b         b  ba     ba   ba
claim  DescribeSnapshots 1             .       .      b       .         .   .      .    b
claim  DescribeVolumes   1             b       .      .       -         .   .      .    .
claim  CreateTags        1             .       b      b       -         b   a      a    .
claim  CreateTags        2             .       .      a       -         .   .      .    .
"""
# Before the engine is started, the command itself looks for a set that serves the change; the provider looks again.
COMMAND = """
                                 command provider engine throttled 500 closed late
look   DescribeVolumes   1             .        -      -         .   b      .    .
look   DescribeSnapshots 1             b        -      -         b   .      .    .
create DescribeVolumes   2             .        b      .         .   .      .    .
create DescribeSnapshots 2             b        .      .         .   .      b    .
create CreateSnapshots   1            ba        a     ba         b   a     ba   ba
claim  CreateTags        1             b        .      .         .   .      a    .
claim  CreateTags        2             b        .      b         .   .      .    .
"""
# The run in which a set is replaced, or an instance joins a fleet.
CHANGED = """
                         provider program engine throttled 500 closed late
create CreateSnapshots 1       ba       .      a         .   .      a    .
claim  CreateTags      1        .       b      .         .   .      .    .
"""
PROGRAM = (
    DELETE_FIRST
    + """
from snapset import FleetSnapshots, InstanceSnapshots

config = pulumi.Config()


given = config.require_object("instances")
if config.get_bool("fleet"):
    FleetSnapshots("backup", instances=given, wait=False)
else:
    options = pulumi.ResourceOptions(transformations=[delete_first])
    InstanceSnapshots("backup", instance=given[0], triggers=given[1], wait=False, opts=options)
"""
)
# The engine adds these lines to snapset's one error line.
ENGINES_OWN = (
    "error: update failed",
    "error: an unhandled error occurred: program exited with non-zero exit code: 1",
    # Pulumi 3.274 closes the program's connection once a step has failed, and the Python SDK reports that.
    "error: Resource monitor has terminated, shutting down",
)


def each_case_of(table: str, **begins: str) -> pytest.MarkDecorator:
    """A test for each cell of the table; `begins`: by step, the call after which it begins."""
    names, cases = zip(*cases_of(table, begins), strict=True)
    return pytest.mark.parametrize("case", cases, ids=names)


@pytest.mark.long
@each_case_of(UP, claim="CreateSnapshots 1")
def test_up_leaves_exactly_one_set(case: Case, scene_of: Callable[..., Scene]) -> None:
    scene = scene_of("up")
    first = scene.run_with(case)
    assert_one_error_line(first, case)
    # A set that could not be claimed does not fail the run, because the backup exists. The next run claims it.
    if first.code or case.step == "claim":
        scene.run_again().ok()
    scene.assert_exactly_one_set()


@pytest.mark.long
@pytest.mark.parametrize("elsewhere", [False, True], ids=["rerun_here", "rerun_elsewhere"])
@each_case_of(COMMAND)
def test_a_command_leaves_exactly_one_set(
    case: Case, elsewhere: bool, scene_of_command: Callable[..., Scene], tmp_path: Path
) -> None:
    """Elsewhere there are neither the state nor the notes of the first run."""
    scene = scene_of_command("backup", "--change-id", "c", "--no-wait", "--json")
    first = scene.run_with(case)
    assert "Traceback" not in first.text, first.text
    if elsewhere:
        fresh = tmp_path / "elsewhere"
        fresh.mkdir()
        scene.env |= {"PULUMI_BACKEND_URL": fresh.as_uri(), "XDG_STATE_HOME": str(fresh)}
    again = (scene.run() if elsewhere else scene.run_again()).ok()
    [told] = json.loads(again.stdout)["sets"]
    taken = scene.taken()
    assert set(taken) == set(told["snapshot_ids"])
    [(set_id, _claim)] = {(tags["snapset:set"], tags["snapset:claim"]) for tags in taken.values()}
    assert set_id == told["set_id"]
    assert elsewhere or scene.assert_exactly_one_set()["id"] == set_id


@pytest.mark.long
@pytest.mark.parametrize("fleet", [False, True], ids=["delete_first", "fleet"])
@each_case_of(CHANGED)
def test_a_replaced_set_and_an_instance_that_joins_get_one_set_and_none_is_lost(
    case: Case, fleet: bool, program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    project, (stays, leaves, joins) = program(PROGRAM), (ec2.launch() for _ in range(3))
    project.env |= KNOBS
    project.config = {"fleet": fleet, "instances": [stays.instance_id, leaves.instance_id]}
    project.up().ok()
    start = partial(project.start, "up", "--yes", "--skip-preview")
    stack = f"{project.namespace}/{STACK}"
    scene = Scene(ec2=ec2, instance=joins, env=project.env, folder=project.folder, start=start, stack=stack)
    before = scene.taken()
    project.config["instances"] = [stays.instance_id, joins.instance_id]
    first = scene.run_with(case)
    assert "Traceback" not in first.text, first.text
    if first.code or case.step == "claim":
        scene.run_again().ok()
    after, recorded = scene.taken(), {record["id"]: record["outputs"]["claim"] for record in scene.recorded()}
    assert {snapshot_id: after[snapshot_id] for snapshot_id in before} == before
    [(set_id, claim, instance_id)] = {
        (tags["snapset:set"], tags["snapset:claim"], tags["snapset:instance"])
        for snapshot_id, tags in after.items()
        if snapshot_id not in before
    }
    assert recorded[set_id] == claim
    assert instance_id == (joins if fleet else stays).instance_id


def test_neither_a_replacement_nor_a_destroy_that_fails_deletes_a_snapshot(
    scene_of: Callable[..., Scene], stack: Project, ec2: EmbeddedEC2
) -> None:
    stack.up().ok()
    scene = scene_of("up")
    old = scene.assert_exactly_one_set()
    stack.config["triggers"] = "b"
    scene.run_with(Case("create", Place("CreateSnapshots", 1), "provider", "after"))
    both = scene.taken()
    scene.run_again().ok()
    [new] = scene.recorded()
    assert scene.taken().keys() == both.keys()
    assert both.keys() == {*old["outputs"]["snapshot_ids"], *new["outputs"]["snapshot_ids"]}
    ec2.clear_calls()
    ec2.fault(kind="error", code="InternalError", times=None)
    destroyed = stack.destroy().ok()
    ec2.clear_faults()
    assert ec2.calls() == []
    assert f"snapset delete {new['id']} --region {ec2.region}" in destroyed.text
    assert scene.recorded() == []
    assert scene.taken().keys() == both.keys()


def assert_one_error_line(first: Run, case: Case) -> None:
    """If AWS made the run fail, snapset reports it in exactly one line. After a kill, Pulumi writes the output."""
    assert "Traceback" not in first.text, first.text
    if first.code and not case.kills:
        diagnostics = first.stdout.partition("Diagnostics:")[2].splitlines()
        reported = [line.strip() for line in diagnostics if line.strip().startswith("error: ")]
        [line] = [line for line in reported if line not in ENGINES_OWN]
        # The oldest SDK puts words of its own before the error.
        assert re.fullmatch(r"error: (Exception calling application: )?\w+Error: \w+ing \S.*: .+\.", line), line
