"""`snapset backup` as a pipeline runs it: its output and exit codes. What needs no engine runs in this process."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import CommandLine, InProcess
from support.project import Run, mutating, run_environment, until

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return CommandLine(run_environment(tmp_path, ec2.environment()), tmp_path)


@pytest.fixture
def in_process(snapset: CommandLine) -> CommandLine:
    return InProcess(snapset.env, snapset.folder)


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch([(20, "/dev/sdf", {"Name": "data"}), (100, "/dev/sdg", {})])


def document(run: Run) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(run.stdout)
    return parsed


def snapshots_in(ec2: EmbeddedEC2) -> list[Any]:
    return ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]


def test_stdout_is_one_document_that_matches_describe_snapshots_and_stderr_has_plain_progress_lines(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.settings(snapshot_seconds=2.5)
    options = ("--tag", "app=shop", "--tag", "note=a=b", "--description", "before 42", "--json")
    run = snapset("backup", instance.instance_id, *options).ok()
    assert "0 of 3 snapshots completed" in run.stderr
    assert "\x1b" not in run.stderr
    assert list(document(run)) == ["version", "sets"]
    [taken] = document(run)["sets"]
    assert taken["state"] == "completed"
    there = ec2.ec2().describe_snapshots(
        Filters=[
            {"Name": "tag:app", "Values": ["shop"]},
            {"Name": "tag:note", "Values": ["a=b"]},
            {"Name": "description", "Values": ["before 42"]},
        ]
    )["Snapshots"]
    assert {snapshot["SnapshotId"] for snapshot in there} == set(taken["snapshot_ids"])
    assert taken["instance_id"] == instance.instance_id
    assert taken["region"] == "us-east-1"
    assert (taken["outcome"], taken["missing_volume_ids"], taken["surplus_set_ids"]) == ("created", [], [])
    assert re.fullmatch(r"set-[0-9a-f]{17}", taken["set_id"])
    assert [snapshot["device_name"] for snapshot in taken["snapshots"]] == ["/dev/sda1", "/dev/sdf", "/dev/sdg"]
    assert [snapshot["size_gib"] for snapshot in taken["snapshots"]] == [8, 20, 100]


def test_the_options_for_volumes_and_tags_reach_the_call(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    scratch = instance.volume_ids["/dev/sdg"]
    snapset(
        "backup", instance.instance_id, "--exclude-boot", "--exclude-volume", scratch, "--copy-tags", "--no-wait"
    ).ok()
    [params] = [call["params"] for call in ec2.calls("CreateSnapshots") if not call["dry_run"]]
    assert params["InstanceSpecification.ExcludeBootVolume"] == "true"
    assert params["InstanceSpecification.ExcludeDataVolumeId.1"] == scratch
    assert params["CopyTagsFromSource"] == "volume"


def test_volumes_are_left_out_by_their_tags_and_the_instances_tags_are_copied(
    snapset: CommandLine, in_process: CommandLine, ec2: EmbeddedEC2
) -> None:
    instance = ec2.launch([(20, "/dev/sdf", {}), (100, "/dev/sdg", {"backup": "no"})], tags={"app": "shop"})
    options = ("--exclude-volume-tag", "backup=no", "--copy-instance-tags", "--change-id", "c", "--json")
    planned = document(in_process("backup", instance.instance_id, *options, "--preview").ok())["planned"]
    assert [volume["device_name"] for volume in planned[0]["volumes"]] == ["/dev/sda1", "/dev/sdf"]
    [taken] = document(snapset("backup", instance.instance_id, *options).ok())["sets"]
    assert [snapshot["device_name"] for snapshot in taken["snapshots"]] == ["/dev/sda1", "/dev/sdf"]
    tags = [{tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} for snapshot in snapshots_in(ec2)]
    assert {of_one["app"] for of_one in tags} == {"shop"}


def test_outpost_and_location_and_region_reach_the_call(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    outpost = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
    on_outpost = ec2.launch().instance_id
    ec2.place(on_outpost, outpost_arn=outpost)
    local = ec2.launch(zone="us-west-2-lax-1a", region="us-west-2").instance_id
    snapset("backup", on_outpost, "--outpost-arn", outpost, "--no-wait").ok()
    snapset("backup", local, "--location", "local", "--region", "us-west-2", "--no-wait").ok()
    first, second = (call for call in ec2.calls("CreateSnapshots") if not call["dry_run"])
    assert first["params"]["OutpostArn"] == outpost
    assert second["params"]["Location"] == "local"
    assert second["region"] == "us-west-2"


def test_a_filter_backs_up_all_matches_and_the_named_instances(
    snapset: CommandLine, in_process: CommandLine, ec2: EmbeddedEC2
) -> None:
    web = [ec2.launch(tags={"app": "web", "stage": stage}).instance_id for stage in ("live", "test", "live")]
    named, gone = ec2.launch().instance_id, ec2.launch(tags={"app": "web"}).instance_id
    ec2.ec2().terminate_instances(InstanceIds=[gone])
    ec2.clear_calls()
    for filters in (["tag:stage=dev"], ["app"], ["tag:app="]):
        refused = in_process("backup", *(word for value in filters for word in ("--filter", value))).failed()
        assert refused.code == 2
        assert len(refused.stderr.splitlines()) == 1
    assert mutating(ec2.calls()) == []
    wanted = ("--filter", "tag:app=web", "--filter", "tag:stage=live,test", "--change-id", "c", "--json")
    taken = document(snapset("backup", named, web[1], *wanted).ok())["sets"]
    assert [record["instance_id"] for record in taken] == [named, web[1], *sorted([web[0], web[2]])]
    again = document(snapset("backup", named, *wanted).ok())["sets"]
    assert {record["set_id"] for record in again} == {record["set_id"] for record in taken}
    assert len(snapshots_in(ec2)) == 4


def test_only_verbose_shows_each_call_with_its_request_id_and_time(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    def shown(run: Run) -> list[str]:
        return [line for line in run.stderr.splitlines() if line.startswith("aws: ")]

    assert shown(snapset("backup", instance.instance_id, "--change-id", "a").ok()) == []
    ec2.clear_calls()
    verbose = snapset("--verbose", "backup", instance.instance_id, "--change-id", "b", "--json").ok()
    lines = shown(verbose)
    assert sorted(line.split()[1].rstrip(":") for line in lines) == sorted(call["action"] for call in ec2.calls())
    assert all(re.fullmatch(r"aws: \w+: HTTP 200, request \S+, \d+\.\d{3} s", line) for line in lines)
    assert snapset.env["AWS_SECRET_ACCESS_KEY"] not in verbose.stderr
    json.loads(verbose.stdout)
    ec2.fault(action="DescribeVolumes", kind="close_before", times=3)
    lines = shown(snapset("--verbose", "backup", instance.instance_id, "--change-id", "c").failed())
    assert any(re.match(r"aws: DescribeVolumes: no answer: \w+, ", line) for line in lines)


def test_without_a_change_id_each_run_takes_a_new_set_and_shows_it_in_80_columns(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    for _ in range(2):
        shown = snapset("backup", instance.instance_id).ok().stdout
        assert f"of {instance.instance_id}: completed, created" in shown
        assert all(volume_id in shown for volume_id in instance.volume_ids.values())
        *table, way_back = shown.splitlines()
        assert max(map(len, table)) <= 80
        assert re.fullmatch(
            rf"To go back: snapset rollback {instance.instance_id} --set set-\w+ --region \S+", way_back
        )
    assert len(snapshots_in(ec2)) == 6


def test_a_preview_reports_what_would_be_done_and_changes_nothing(
    snapset: CommandLine, in_process: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.clear_calls()
    preview = ("backup", instance.instance_id, "--change-id", "c", "--preview")
    shown = in_process(*preview).ok().stdout
    assert f"{instance.instance_id} would get a set of" in shown
    assert all(volume_id in shown for volume_id in instance.volume_ids.values())
    [planned] = document(in_process(*preview, "--json").ok())["planned"]
    assert [(volume["device_name"], volume["size_gib"]) for volume in planned["volumes"]] == [
        ("/dev/sda1", 8),
        ("/dev/sdf", 20),
        ("/dev/sdg", 100),
    ]
    assert planned["set_id"] is None
    assert mutating(ec2.calls()) == []
    assert not list(snapset.folder.rglob("c.*json"))
    [taken] = document(snapset("backup", instance.instance_id, "--change-id", "c", "--json").ok())["sets"]
    assert document(in_process(*preview, "--json").ok())["planned"][0]["set_id"] == taken["set_id"]


def test_a_preview_finds_what_the_backup_would_be_refused_for_and_exits_with_3(
    in_process: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    refused = in_process("backup", instance.instance_id, "--preview", "--json").failed()
    assert refused.code == 3
    assert (document(refused)["sets"], document(refused)["error"]["type"]) == ([], "NotPermittedError")


def test_one_instance_that_fails_does_not_keep_the_others_from_their_sets(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    gone, denied, full = "i-0123456789abcdef0", ec2.launch().instance_id, ec2.launch().instance_id
    ec2.fault(action="CreateSnapshots", kind="deny", match=denied, times=None)
    code = "SnapshotLimitExceeded"
    ec2.fault(action="CreateSnapshots", kind="error", code=code, message="Too many.", match=full, times=None)
    run = snapset("backup", denied, gone, instance.instance_id, full, "--change-id", "c", "--json").failed()
    # That of the first that failed.
    assert run.code == 3
    assert [taken["instance_id"] for taken in document(run)["sets"]] == [instance.instance_id]
    assert document(run)["sets"][0]["state"] == "completed"
    failures = {failure["instance_id"]: failure["type"] for failure in document(run)["failures"]}
    assert failures == {denied: "NotPermittedError", gone: "NotFoundError", full: "SnapsetError"}
    assert gone in run.stderr
    assert f"snapset: creating snapshots of {full}: {code}" in run.stderr
    assert run.stderr.splitlines()[-1].startswith(f"snapset: creating snapshots of {denied}: UnauthorizedOperation")
    assert "Allow ec2:CreateSnapshots" in run.stderr
    ec2.clear_faults()
    again = snapset("backup", instance.instance_id, denied, "--change-id", "c", "--json").ok()
    assert [taken["outcome"] for taken in document(again)["sets"]] == ["unchanged", "created"]


def test_a_set_whose_tags_were_refused_is_adopted_by_the_next_run(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    command = ("backup", instance.instance_id, "--change-id", "c", "--json")
    ec2.fault(action="CreateTags", kind="deny", times=None)
    first = snapset(*command).ok()
    assert "is taken, but its snapshots could not be tagged" in first.stderr
    ec2.clear_faults()
    for outcome in ("adopted", "unchanged"):
        [again] = document(snapset(*command).ok())["sets"]
        assert (again["set_id"], again["outcome"]) == (document(first)["sets"][0]["set_id"], outcome)


def test_a_named_profile_wins_over_the_keys_of_the_environment_and_the_config_of_a_program_around_it(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n")
    snapset.env["AWS_SHARED_CREDENTIALS_FILE"] = str(credentials)
    snapset.env |= {"PULUMI_CONFIG": '{"aws:profile": "theirs"', "PULUMI_CONFIG_AWS_REGION": "eu-west-1"}
    ec2.clear_calls()
    snapset("backup", instance.instance_id, "--profile", "other").ok()
    assert {(call["access_key"], call["region"]) for call in ec2.calls()} == {("AKIAOTHER", "us-east-1")}


def test_what_ec2_refuses_exits_with_2_and_creates_nothing(
    in_process: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.clear_calls()
    refused = in_process("backup", instance.instance_id, "--exclude-volume", instance.root_volume_id).failed()
    assert (refused.code, "is the root volume" in refused.stderr) == (2, True)
    assert mutating(ec2.calls()) == []
    in_process.env["AWS_ENDPOINT_URL_EC2"] = "http://127.0.0.1:9"
    refused = in_process("backup", instance.instance_id).failed()
    assert (refused.code, "http://127.0.0.1:9" in refused.stderr) == (2, True)


def test_a_wait_that_times_out_exits_with_4_and_prints_the_set(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    run = snapset("backup", instance.instance_id, "--timeout", "1s", "--json").failed()
    assert run.code == 4
    [taken] = document(run)["sets"]
    assert taken["state"] == "pending"
    assert taken["set_id"] in run.stderr
    assert "The snapshots go on" in run.stderr
    assert "--change-id" in run.stderr


def test_a_set_that_fails_exits_with_4_and_the_message_of_aws(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.settings(snapshot_seconds=60)
    ec2.fail(message="Given key ID is not accessible")
    run = snapset("backup", instance.instance_id).failed()
    assert run.code == 4
    assert "Given key ID is not accessible" in run.stderr


def test_without_an_engine_the_error_says_so_and_a_bad_instance_is_refused_nevertheless(
    in_process: CommandLine, instance: LaunchedInstance, tmp_path: Path
) -> None:
    in_process.env |= {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    in_process.env.pop("SNAPSET_ENGINE_DIR", None)
    run = in_process("backup", instance.instance_id).failed()
    assert run.code == 1
    assert "there is no `pulumi` on PATH" in run.stderr
    run = in_process("backup", "i-0123456789abcdef0").failed()
    assert run.code == 2
    assert "InvalidInstanceID.NotFound" in run.stderr


@pytest.mark.parametrize("backend", ["file:///proc/nope", "gopher://x"])
def test_a_backend_that_can_not_be_used_is_named(
    snapset: CommandLine, instance: LaunchedInstance, backend: str
) -> None:
    snapset.env["PULUMI_BACKEND_URL"] = backend
    refused = snapset("backup", instance.instance_id, "--json").failed()
    assert document(refused)["error"]["message"].endswith("Check PULUMI_BACKEND_URL.")


def test_an_engine_that_is_damaged_is_one_line(
    snapset: CommandLine, instance: LaunchedInstance, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pulumi").touch(0o755)
    snapset.env["PATH"] = str(tmp_path / "bin")
    said = snapset("backup", instance.instance_id).failed().stderr.splitlines()[-1]
    assert re.fullmatch(r"snapset: starting the Pulumi engine: \[Errno 8\] .*\. Install it again\.", said)


def test_without_a_backend_the_state_is_in_the_users_data_folder_and_nothing_grows_elsewhere(
    snapset: CommandLine, instance: LaunchedInstance, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    snapset.env["TMPDIR"] = str(tmp_path / "tmp")
    del snapset.env["PULUMI_BACKEND_URL"], snapset.env["PULUMI_CONFIG_PASSPHRASE"]
    snapset.env["XDG_DATA_HOME"] = str(tmp_path / "data")
    snapset("backup", instance.instance_id, "--change-id", "c", "--no-wait").ok()
    assert list((tmp_path / "data" / "snapset" / "state").rglob("c.us-east-1.json"))
    snapset("unlock", "--change-id", "c").ok()
    # The engine's logs are its own, and it deletes old ones.
    left = {*tmp_path.joinpath("tmp").rglob("*"), *Path(snapset.env["PULUMI_HOME"]).rglob("*.json")}
    assert left == set()


def test_a_run_whose_progress_nobody_reads_ends_with_its_document(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    with snapset.start("backup", instance.instance_id, "--json") as process:
        assert process.stderr
        process.stderr.close()
        try:
            stdout, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert [record["state"] for record in json.loads(stdout)["sets"]] == ["completed"]


def test_a_signal_that_comes_later_ends_a_run_that_does_not_end_in_order(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.fault(action="CreateSnapshots", kind="delay", seconds=600)
    with snapset.start("backup", instance.instance_id, "--change-id", "c", "--json") as process:
        until(lambda: bool(ec2.calls("CreateSnapshots")))
        began = time.monotonic()

        def has_ended() -> bool:
            os.kill(process.pid, signal.SIGINT)
            return process.poll() is not None

        until(has_ended)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert 3 < time.monotonic() - began < 30
    assert json.loads(stdout)["error"]["type"] == "Interrupted"
    assert stderr.splitlines()[-1].endswith("clear its lock: snapset unlock --change-id c --region us-east-1")
    assert snapset("unlock", "--change-id", "c", "--yes").ok().stdout.endswith("the lock is cleared\n")


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_during_the_wait_exits_at_once_with_the_set_recorded(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance, interrupt: signal.Signals
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    with snapset.start("backup", instance.instance_id, "--change-id", "c", "--json") as process:
        until(lambda: len(ec2.calls("DescribeSnapshots")) > 2)
        began = time.monotonic()
        # Whoever is in a hurry sends it twice.
        for _ in range(2):
            os.kill(process.pid, interrupt)
        stdout, stderr = process.communicate(timeout=30)
        ended = time.monotonic() - began
    assert process.returncode == 130
    assert ended < 8  # well under 2 s on an idle machine, but tests run in parallel
    [taken] = json.loads(stdout)["sets"]
    assert f"interrupted: recorded: {taken['set_id']}; AWS goes on" in stderr
    ec2.complete()
    again = document(snapset("backup", instance.instance_id, "--change-id", "c", "--json").ok())
    assert [record["set_id"] for record in again["sets"]] == [taken["set_id"]]
    assert again["sets"][0]["state"] == "completed"
