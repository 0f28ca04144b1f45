"""Whatever fails at any AWS call: after at most one rerun there is exactly one set, and the state holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.crash import Case, Scene, cases_of

if TYPE_CHECKING:
    from support.project import Project, Run

# Each row is a call: its step, its action, its number. Looks are counted within their step, all other calls from the
# start of the run. Each column is a failure. A cell says when the failure comes: before the call is carried out (b),
# after it (a), or both (two cases). The create relies on the first call, which the check makes.
#
# provider, program, engine, command: this process is killed during the call
# refused: the connection is refused
# closed: the connection is closed; if after the call is carried out, its answer is lost
# late: the answer comes after the read time-out
#
# Not every failure comes at every call: the calls share the code that retries, and tests/faults/test_stateful.py has
# each failure at each call, on a model of the engine.
UP = """
                                provider program engine refused throttled 500 closed late
check  DescribeInstances 1             b       .      .       .         b   .      .    .
create DescribeSnapshots 1             .       .      .       b         .   b      .    .
create CreateSnapshots   1            ba       b     ba       b         b  ba     ba   ba
claim  DescribeSnapshots 1             .       .      b       .         .   .      .    b
claim  DescribeVolumes   1             b       .      .       .         .   .      .    .
claim  CreateTags        1             .       b      b       .         b   a      a    .
claim  CreateTags        2             .       .      a       .         .   .      .    .
"""
COMMAND = """
                                 command
check  DescribeVolumes 1               b
create CreateSnapshots 1              ba
claim  CreateTags      1               b
"""
DESTROY = """
                                provider engine refused throttled 500 closed late
delete DescribeSnapshots 1             .      .       b         .   .      .    b
delete DeleteSnapshot    1             b      a       .         .   a      .    .
delete DeleteSnapshot    2             .      b       .         b   .      .    a
"""
# It makes the same calls as `destroy`, after those of `up`; these cases test that the new set stays.
REPLACE = """
                                provider engine throttled 500 closed
delete DescribeSnapshots 1             .      b         .   .      .
delete DeleteSnapshot    1             a      .         b   .      .
delete DeleteSnapshot    2             .      .         .   .      a
"""
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


@each_case_of(COMMAND)
def test_a_command_that_is_killed_leaves_exactly_one_set(case: Case, scene_of_command: Callable[..., Scene]) -> None:
    scene = scene_of_command("backup", "--change-id", "c", "--no-wait", "--json")
    killed = scene.run_with(case)
    assert "Traceback" not in killed.text
    again = scene.run_again().ok()
    recorded = scene.assert_exactly_one_set()
    assert [record["set_id"] for record in json.loads(again.stdout)["sets"]] == [recorded["id"]]


@pytest.mark.long
@each_case_of(DESTROY)
def test_destroy_deletes_the_set_and_nothing_else(case: Case, scene_of: Callable[..., Scene], stack: Project) -> None:
    stack.config["onDelete"] = "delete"
    stack.up().ok()
    scene = scene_of("destroy")
    scene.assert_exactly_one_set()
    first = scene.run_with(case)
    assert_one_error_line(first, case)
    if first.code:
        scene.run_again().ok()
    assert scene.recorded() == []
    assert scene.taken() == {}


@pytest.mark.long
@each_case_of(REPLACE, delete="CreateTags 2")
def test_a_replacement_keeps_the_new_set_and_deletes_the_old(
    case: Case, scene_of: Callable[..., Scene], stack: Project
) -> None:
    stack.config["onDelete"] = "delete"
    stack.up().ok()
    scene = scene_of("up")
    old = scene.assert_exactly_one_set()
    stack.config["triggers"] = "b"
    first = scene.run_with(case)
    assert_one_error_line(first, case)
    if first.code:
        scene.run_again().ok()
    assert scene.assert_exactly_one_set()["id"] != old["id"]


def assert_one_error_line(first: Run, case: Case) -> None:
    """If AWS made the run fail, snapset reports it in exactly one line. After a kill, Pulumi writes the output."""
    assert "Traceback" not in first.text, first.text
    if first.code and not case.kills:
        diagnostics = first.stdout.partition("Diagnostics:")[2].splitlines()
        reported = [line.strip() for line in diagnostics if line.strip().startswith("error: ")]
        [line] = [line for line in reported if line not in ENGINES_OWN]
        # The engine adds the property's name and value to an error of the check.
        blamed = r"\S+ resource 'backup': property instance_id value \{\S+\} has a problem: "
        prefix = blamed if case.step == "check" else ""
        assert re.fullmatch(rf"error: {prefix}\w+Error: \w+ing \S.*: .+\.", line), line
