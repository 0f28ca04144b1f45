"""docs/exactly-one-set.md, "A change is served once": after what a set serves the next run of its change, and where.

A run that is served starts no engine. So each row asks on a machine that has none: such a run ends with 0, or with
the error that it needs one to take a set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from snapset.emulator.client import EmbeddedEC2
from support.command_line import CommandLine
from support.pages import PAGES, name_of
from support.places import two_regions_and_two_accounts
from support.processes import Processes
from support.project import Run, mutating, run_environment, until
from support.sets import find_sets, find_taken

if TYPE_CHECKING:
    from pathlib import Path

CHANGE = "refs/heads/main@3f2a"
DATA = (20, "/dev/sdf", {"Name": "data"})
HOUR = 3600


@dataclass
class World:
    """One EC2, and machines that share nothing but it: each has its own home, its own state and its own notes."""

    ec2: EmbeddedEC2
    folder: Path
    machines: dict[str, CommandLine] = field(default_factory=dict)

    def machine(self, name: str, **env: str) -> CommandLine:
        """The machine of this name; a new one if there is none yet."""
        if name not in self.machines:
            folder = self.folder / name
            folder.mkdir()
            own = {"HOME": str(folder), "SNAPSET_CONSISTENCY_SECONDS": "1", "SNAPSET_LATE_SECONDS": "1"}
            self.machines[name] = CommandLine(run_environment(folder, {**self.ec2.environment(), **own}), folder)
        self.machines[name].env |= env
        return self.machines[name]

    def without_engine(self, name: str, **env: str) -> CommandLine:
        """The machine of this name, which has no engine."""
        return self.machine(name, PATH="", SNAPSET_ENGINE_DIR=str(self.folder / "nothing"), **env)

    def members(self, set_id: str) -> list[str]:
        """The ids of the set's snapshots."""
        return sorted(find_sets(self.ec2)[set_id].ids)


@pytest.fixture
def world(ec2: EmbeddedEC2, tmp_path: Path) -> Iterator[World]:
    made = World(ec2, tmp_path)
    yield made
    for machine in made.machines.values():
        Processes(machine.env).kill_all()


def back_up(machine: CommandLine, *arguments: str) -> Run:
    return machine("backup", *arguments, "--change-id", CHANGE, "--json")


def sets_in(run: Run) -> dict[str, dict[str, Any]]:
    """The sets of the JSON document, by instance."""
    return {record["instance_id"]: record for record in json.loads(run.stdout)["sets"]}


def is_served(machine: CommandLine, *arguments: str) -> bool:
    """Whether a run on a machine without an engine ends well; otherwise it must have wanted to take a set."""
    run = back_up(machine, *arguments)
    if run.code == 0:
        assert {record["outcome"] for record in sets_in(run).values()} == {"unchanged"}
        return True
    assert run.code == 1, run.text
    assert "starting the Pulumi engine: there is no `pulumi` on PATH" in run.stderr
    return False


# What happens between the first run and the retry, to an instance and its set.


def nothing(_world: World, _instance_id: str, _set_id: str) -> None:
    pass


def another_change(world: World, instance_id: str, _set_id: str) -> None:
    world.machine("other")("backup", instance_id, "--change-id", "another", "--no-wait").ok()


def rolled_back(world: World, instance_id: str, _set_id: str) -> None:
    world.without_engine("admin")("rollback", instance_id, "--change-id", CHANGE, "--yes").ok()


def a_day(world: World, _instance_id: str, set_id: str) -> None:
    world.ec2.age(world.members(set_id), seconds=24 * HOUR + 60)


def two_hours(world: World, _instance_id: str, set_id: str) -> None:
    world.ec2.age(world.members(set_id), seconds=2 * HOUR)


def deleted(world: World, _instance_id: str, set_id: str) -> None:
    world.without_engine("admin")("delete", set_id, "--yes").ok()


def damaged(world: World, _instance_id: str, set_id: str) -> None:
    world.ec2.ec2().delete_snapshot(SnapshotId=world.members(set_id)[0])


def in_error(world: World, _instance_id: str, set_id: str) -> None:
    world.ec2.fail(world.members(set_id)[:1], message="The key is gone.")


@dataclass(frozen=True)
class Row:
    """What happens after the first run, the options of both runs, and whether the set then serves the retry."""

    served: bool
    happens: Callable[[World, str, str], None] = nothing
    first: tuple[str, ...] = ()
    again: tuple[str, ...] = ()


# By what happens, as the table in docs/exactly-one-set.md has it.
ROWS = {
    "a retry on a fresh machine, without any shared state": Row(True),
    "a state in `file://.`, which is another folder in each run": Row(True),
    "three machines, one after the other": Row(True),
    "change A, change B, then A again": Row(False, another_change),
    "a retry after a rollback": Row(False, rolled_back),
    "a retry after more than 24 hours": Row(False, a_day),
    "a retry after the set was pruned or deleted": Row(False, deleted),
    "a retry after the set went to error": Row(False, in_error),
    "first without the root volume, then with it": Row(False, first=("--exclude-boot",)),
    "first with the root volume, then without it": Row(True, again=("--exclude-boot",)),
}
MORE = {
    "one of its snapshots was deleted": Row(False, damaged),
    "it is older than --served-within": Row(False, two_hours, again=("--served-within", "90m")),
    "it is younger than --served-within": Row(True, two_hours, again=("--served-within", "1d")),
    "another description and other tags": Row(True, again=("--description", "job 2", "--tag", "job=2")),
}
HALF = "300 instances, half of which another machine has backed up"
# Each of these has a test of its own, below.
ELSEWHERE = {
    "two Regions, by turns": True,
    "two accounts, by turns": True,
    "a retry while the set is pending": True,
    "a run was killed in CreateSnapshots, and is repeated on another machine": True,
    HALF: True,
}


def test_the_table_of_the_page_is_the_one_here() -> None:
    [page] = [page.read_text() for page in PAGES if name_of(page) == "docs/exactly-one-set.md"]
    _, _, below = page.partition("test_served.py. -->")
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", below.partition("\n## ")[0], re.MULTILINE)[2:])
    assert {what: word.startswith(("yes", "that half")) for what, word in rows.items()} == {
        **{what: row.served for what, row in ROWS.items()},
        **ELSEWHERE,
    }


def test_what_serves_a_change_and_what_does_not(world: World) -> None:
    ec2, rows = world.ec2, {**ROWS, **MORE}
    # Each run has its state in its own folder.
    here = {"PULUMI_BACKEND_URL": "file://."}
    instances = {what: ec2.launch([DATA]).instance_id for what in rows}
    half, other_half = ([ec2.launch().instance_id for _ in range(15)] for _ in range(2))
    plain = [instance_id for what, instance_id in instances.items() if not rows[what].first]
    first = sets_in(back_up(world.machine("first", **here), *plain, *half).ok())
    for what, row in rows.items():
        if row.first:
            first |= sets_in(back_up(world.machine("first"), instances[what], *row.first).ok())
    assert {tag for found in find_sets(ec2).values() for tag in found.changes} == {CHANGE}
    for what, row in rows.items():
        row.happens(world, instances[what], first[instances[what]]["set_id"])

    ec2.clear_calls()
    second = world.without_engine("second", **here)
    assert {what: is_served(second, instances[what], *row.again) for what, row in rows.items()} == {
        what: row.served for what, row in rows.items()
    }
    assert is_served(world.without_engine("third"), instances["three machines, one after the other"])
    retry = back_up(second, *half, *other_half).failed()
    assert {key: record["set_id"] for key, record in sets_in(retry).items()} == {
        key: first[key]["set_id"] for key in half
    }
    assert mutating(ec2.calls()) == []

    # Where there is an engine, just what no set serves is taken; and that serves from then on.
    everything = [*instances.values(), *half, *other_half]
    unserved = {what for what, row in rows.items() if not row.served} - {"it is older than --served-within"}
    missing = {instances[what] for what in unserved} | set(other_half)
    there = set(find_sets(ec2))
    taken = sets_in(back_up(world.machine("fourth", **here), *everything).ok())
    assert {key for key, record in taken.items() if record["outcome"] == "created"} == missing
    assert {key: record["set_id"] for key, record in taken.items() if key not in missing} == {
        key: first[key]["set_id"] for key in everything if key not in missing
    }
    assert {record["state"] for record in taken.values()} == {"completed"}
    assert set(find_sets(ec2)) - there == {taken[key]["set_id"] for key in missing}
    again = sets_in(back_up(world.without_engine("fifth"), *everything).ok())
    assert {key: record["set_id"] for key, record in again.items()} == {
        key: record["set_id"] for key, record in taken.items()
    }

    # A person sees how old it is, and what it lacks.
    instance_id, client = half[0], ec2.ec2()
    volume_id = client.create_volume(AvailabilityZone="us-east-1a", Size=5)["VolumeId"]
    client.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device="/dev/sdh")
    assert sets_in(back_up(second, instance_id).ok())[instance_id]["missing_volume_ids"] == [volume_id]
    shown = second("backup", instance_id, "--change-id", CHANGE).ok().stdout
    assert f"{first[instance_id]['set_id']} of {instance_id}: completed, unchanged" in shown
    assert re.search(r"^taken \d{4}-\d\d-\d\d \d\d:\d\d UTC, \d+ \w+ ago by an earlier run$", shown, re.MULTILINE)
    assert f"not in it, but attached now: {volume_id}" in shown


def test_two_regions_and_two_accounts_by_turns_are_each_served_by_their_own_set(world: World) -> None:
    places = two_regions_and_two_accounts(world.ec2)
    instances = {name: place.launch() for name, place in places.items()}

    def run(machine: CommandLine, name: str) -> dict[str, Any]:
        there = CommandLine({**machine.env, **places[name].keys}, machine.folder)
        return sets_in(back_up(there, instances[name], "--region", places[name].region).ok())[instances[name]]

    first = {place: run(world.machine("first"), place) for place in places}
    assert {record["outcome"] for record in first.values()} == {"created"}
    assert len({record["set_id"] for record in first.values()}) == len(places)
    assert [first[place]["region"] for place in places] == ["us-east-1", "eu-west-1", "us-east-1"]
    for place in [*places, *places]:
        again = run(world.without_engine("second"), place)
        assert (again["set_id"], again["outcome"]) == (first[place]["set_id"], "unchanged")


def test_a_pending_set_is_waited_for_and_if_it_fails_one_is_taken_in_the_same_run(world: World) -> None:
    ec2 = world.ec2
    completes, fails = ec2.launch().instance_id, ec2.launch().instance_id
    ec2.settings(snapshot_seconds=float("inf"))
    first = sets_in(back_up(world.machine("first"), completes, fails, "--no-wait").ok())

    def retry(machine: CommandLine, instance_id: str, then: Callable[[list[str]], object]) -> Run:
        members = first[instance_id]["snapshot_ids"]
        ec2.clear_calls()
        with machine.start("backup", instance_id, "--change-id", CHANGE, "--json") as process:
            until(lambda: any(members[0] in call["params"].values() for call in ec2.calls("DescribeSnapshots")))
            then(members)
            stdout, stderr = process.communicate(timeout=60)
        return Run(process.returncode, stdout, stderr)

    done = sets_in(retry(world.without_engine("second"), completes, ec2.complete).ok())[completes]
    assert (done["set_id"], done["state"]) == (first[completes]["set_id"], "completed")

    def fail(members: list[str]) -> None:
        ec2.settings(snapshot_seconds=0)
        ec2.fail(members, message="The key is gone.")

    other = retry(world.machine("third"), fails, fail).ok()
    assert "The key is gone. There is no backup: take a new set" in other.stderr
    assert f"Taking a new set of {fails}." in other.stderr
    taken = sets_in(other)[fails]
    assert (taken["outcome"], taken["state"]) == ("created", "completed")
    assert taken["set_id"] != first[fails]["set_id"]
    assert is_served(world.without_engine("second"), fails)


@pytest.mark.parametrize("part", ["command", "provider"])
def test_what_a_killed_run_has_taken_is_adopted_on_another_machine(world: World, part: str) -> None:
    ec2, first = world.ec2, world.machine("first")
    instance_id = ec2.launch([DATA]).instance_id
    ec2.fault(action="CreateSnapshots", kind="delay_after", seconds=2)
    with first.start("backup", instance_id, "--change-id", CHANGE, "--json") as process:
        until(lambda: any(call["fault"] == "delay_after" for call in ec2.calls("CreateSnapshots")))
        Processes(first.env).kill(part)
        process.communicate(timeout=60)
    assert process.returncode != 0
    [there] = find_sets(ec2)
    adopted = sets_in(back_up(world.machine("second"), instance_id).ok())[instance_id]
    assert (adopted["set_id"], adopted["outcome"], adopted["state"]) == (there, "adopted", "completed")
    assert is_served(world.without_engine("third"), instance_id)
    assert find_taken(ec2) == [there]


def test_of_two_runs_at_the_same_moment_both_count_the_first_set_and_name_the_other(world: World) -> None:
    ec2 = world.ec2
    instance_id = ec2.launch([DATA]).instance_id
    # Neither sees what the other has taken, before both have taken one.
    ec2.settings(visibility_seconds=float("inf"))
    running = []
    for number, name in enumerate(("first", "second"), start=1):
        machine = world.machine(name, SNAPSET_CONSISTENCY_SECONDS="120")
        running.append(machine.start("backup", instance_id, "--change-id", CHANGE, "--json"))
        until(lambda number=number: len(find_taken(ec2)) == number, seconds=60)  # type: ignore[misc]
    counts, surplus = find_taken(ec2)
    ec2.settings(visibility_seconds=0)
    for process, outcome in zip(running, ("created", "unchanged"), strict=True):
        with process:
            stdout, stderr = process.communicate(timeout=60)
        record = sets_in(Run(process.returncode, stdout, stderr).ok())[instance_id]
        assert (record["set_id"], record["outcome"]) == (counts, outcome)
        assert (record["state"], record["surplus_set_ids"]) == ("completed", [surplus])
        assert f"warning: {surplus} of {instance_id} is surplus: {counts} was taken for the same change" in stderr
    shown = world.without_engine("third")("backup", instance_id, "--change-id", CHANGE).ok()
    assert f"{counts} of {instance_id}: completed, unchanged" in shown.stdout
    assert f"taken for the same change, too: {surplus}" in shown.stdout
    assert find_taken(ec2) == [counts, surplus]
