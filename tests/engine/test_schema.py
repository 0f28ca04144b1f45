"""What the commands print with `--json` matches `snapset schema`, after a success and after a failure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from support.command_line import CommandLine, InProcess
from support.project import REPOSITORY, run_environment
from support.restores import launch_source, take_set

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2

SCHEMA = json.loads((REPOSITORY / "components/snapset/schema.json").read_text())
SET = "set-0123456789abcdef0"
WITH_ENGINE = ("backup", "doctor", "unlock")


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    env = run_environment(tmp_path, ec2.environment())
    return CommandLine({**env, "SNAPSET_CONSISTENCY_SECONDS": "1"}, tmp_path)


@pytest.fixture
def without_engine(snapset: CommandLine) -> InProcess:
    return InProcess(snapset.env, snapset.folder)


def problems_of(command: str, document: Any) -> list[str]:
    validator = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{command}"}]})
    return [problem.message for problem in validator.iter_errors(document)]


def test_every_document_matches_the_schema(snapset: CommandLine, without_engine: InProcess, ec2: EmbeddedEC2) -> None:
    def run(command: str, *arguments: str, code: int = 0) -> Any:
        ran = (snapset if command in WITH_ENGINE else without_engine)(command, *arguments, "--json")
        assert ran.code == code, ran.text
        document = json.loads(ran.stdout)
        assert problems_of(command, document) == []
        assert ("error" in document) == (code != 0)
        return document

    source = launch_source(ec2)
    instance = source.instance_id
    [first] = run("backup", instance, "--change-id", "first")["sets"]
    ec2.settings(snapshot_seconds=float("inf"))
    [second] = run("backup", instance, "--change-id", "second", "--timeout", "1s", code=4)["sets"]
    # `list` prints the same record as `backup`, except for what only the backup's run knows.
    of_the_run = {"outcome": "created", "missing_volume_ids": [], "surplus_set_ids": []}
    assert {**run("list")["sets"][1], **of_the_run} == {**first, "change_id": "first", "tags": {}, "pinned": False}
    assert run("show", first["set_id"])["sets"][0]["snapshot_ids"] == first["snapshot_ids"]
    run("show", SET, code=2)
    run("wait", second["set_id"], "--timeout", "1s", code=4)
    ec2.complete()
    run("wait", second["set_id"])
    run("restore", first["set_id"], "--availability-zone", "us-east-1a")
    run("restore", SET, "--availability-zone", "us-east-1a", code=2)
    run("check")
    run("check", "--max-age", "1s", code=6)
    misspelt = snapset("check", "--max-agee", "1s", "--json")
    assert (misspelt.code, problems_of("notBegun", json.loads(misspelt.stdout))) == (2, [])
    run("rollback", instance, "--preview")
    run("rollback", instance, "--set", SET, "--yes", code=2)
    run("rollback", instance, "--change-id", "first", "--yes")
    run("prune", "--keep-last", "1", code=2)
    run("delete", second["set_id"], code=2)
    ec2.lock(first["snapshot_ids"][1:2])
    assert [record["result"] for record in run("prune", "--keep-last", "1", "--yes")["sets"]] == ["partly deleted"]
    assert [record["result"] for record in run("delete", first["set_id"], "--yes", code=1)["sets"]] == ["kept"]
    assert [record["result"] for record in run("delete", second["set_id"], "--yes")["sets"]] == ["deleted"]
    assert run("delete", second["set_id"], "--yes")["sets"] == []
    run("doctor")
    run("doctor", "--instance", "nonsense", code=2)
    # A change has a stack in each Region.
    run("unlock", "--change-id", "nonesuch", code=2)
    assert run("unlock", "--change-id", "first", "--region", "eu-west-1", code=2)["stack"] == "first.eu-west-1"
    lock = {"pid": 4242, "username": "ci", "hostname": "runner-7", "timestamp": "2026-01-02T03:04:05.678+01:00"}
    held = snapset.folder / "state/.pulumi/locks/organization/snapset/first.us-east-1/a.json"
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text(json.dumps(lock))
    assert run("unlock", "--change-id", "first", code=2)["cleared"] is False
    unlocked = run("unlock", "--change-id", "first", "--region", "us-east-1", "--yes")
    assert (unlocked["stack"], unlocked["cleared"], held.exists()) == ("first.us-east-1", True, False)
    assert unlocked["locks"][0]["pid"] == 4242
    assert run("unlock", "--change-id", "first")["locks"] == []
    ec2.fault(action="DescribeSnapshots", kind="deny")
    run("list", code=3)
    run("prune", "--keep-last", "1", code=3)


def test_the_documents_of_the_ways_back_of_an_instance_that_is_gone_match_the_schema(
    without_engine: InProcess, ec2: EmbeddedEC2
) -> None:
    gone = launch_source(ec2)
    set_id = take_set(ec2, gone, tags={})
    for named, code in ((set_id, 0), (SET, 2)):
        image = without_engine("image", named, "--json")
        assert (image.code, problems_of("image", json.loads(image.stdout))) == (code, [])
    ec2.ec2().terminate_instances(InstanceIds=[gone.instance_id])
    document = json.loads(without_engine("rollback", gone.instance_id, "--json").failed().stdout)
    assert problems_of("rollback", document) == []
    assert len(document["way_back"]) == 2


def test_the_schema_is_valid_and_printed_without_engine_or_credentials(snapset: CommandLine) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    snapset.env = {"PATH": ""}
    assert json.loads(snapset("schema").ok().stdout) == SCHEMA


def test_documents_with_missing_wrong_or_extra_fields_do_not_match() -> None:
    snapshot = {
        "snapshot_id": "snap-0123456789abcdef0",
        "volume_id": "vol-0123456789abcdef0",
        "device_name": "/dev/sdf",
        "size_gib": 8,
        "encrypted": False,
        "state": "completed",
        "progress": "100%",
        "start_time": "2026-11-23T23:15:00.000Z",
    }
    record = {
        "set_id": SET,
        "instance_id": "i-0123456789abcdef0",
        "region": "us-east-1",
        "state": "completed",
        "start_time": "2026-11-23T23:15:00.000Z",
        "snapshot_ids": ["snap-0123456789abcdef0"],
        "snapshots": [snapshot],
    }
    assert problems_of("list", {"version": 1, "sets": [record]}) == []
    wrong = [
        *({**record, name: None} for name in record),
        *({key: value for key, value in record.items() if key != name} for name in record),
        {**record, "surprise": 1},
        {**record, "outcome": "created"},
        *({**record, "snapshots": [{**snapshot, name: []}]} for name in snapshot),
    ]
    for entry in wrong:
        assert problems_of("list", {"version": 1, "sets": [entry]}), entry
    assert problems_of("list", {"sets": [record]})
    # Only the document of `backup` needs an `outcome`, and what else its run knows.
    assert problems_of("backup", {"version": 1, "sets": [record]})
    taken = {**record, "outcome": "created", "missing_volume_ids": [], "surplus_set_ids": []}
    assert problems_of("backup", {"version": 1, "sets": [taken]}) == []
    for name in ("outcome", "missing_volume_ids", "surplus_set_ids"):
        assert problems_of("backup", {"version": 1, "sets": [{**taken, name: None}]})
