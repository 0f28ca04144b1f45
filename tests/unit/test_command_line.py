"""The `snapset` command before any engine is started: its help, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from snapset import errors
from snapset.cli import app
from snapset.cli.options import parse_filters, parse_tags
from support.command_line import CommandLine, InProcess
from support.project import Run

INSTANCE = "i-0123456789abcdef0"
WIDTH = 80

RUN = "from snapset.cli import main; main()"
SDKS = {"boto3", "botocore", "moto", "pulumi", "pulumi_aws"}


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_", "SNAPSET_"))}
    return {**kept, "COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}


def run_program(program: str, *arguments: str) -> Run:
    """Run it in a process of its own: for what must not be imported, and for signals."""
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return Run(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def snapset(tmp_path: Path) -> CommandLine:
    return InProcess(environment(), tmp_path)


@pytest.fixture
def help_of_backup(snapset: CommandLine) -> str:
    return snapset("backup", "--help").ok().stdout


@pytest.fixture
def help_of_snapset(snapset: CommandLine) -> str:
    return snapset("--help").ok().stdout


def test_the_help_shows_an_example_that_is_valid(help_of_snapset: str, help_of_backup: str) -> None:
    assert "Example: snapset backup i-" in help_of_snapset
    [example] = re.findall(r"Example: snapset (.*)", help_of_backup)
    assert example.split() == ["backup", INSTANCE, "--change-id", '"$GIT_SHA"', "--json"]


def test_the_help_names_every_exit_code(help_of_snapset: str, help_of_backup: str) -> None:
    used = {0} | {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}
    for text in (help_of_snapset, help_of_backup):
        plain = " ".join(text.replace("│", " ").split())
        named = re.search(r"Exit codes: (.*?run\.)", plain)
        assert named
        assert {int(code) for code in re.findall(r"\b(\d)\b", named[1])} == used


def test_the_help_names_every_option_of_the_design(help_of_backup: str) -> None:
    options = "exclude-boot exclude-volume tag copy-tags description outpost-arn location change-id stack region"
    options += " served-within profile wait no-wait timeout lock-timeout preview json"
    assert not [option for option in options.split() if f"--{option} " not in f"{help_of_backup} "]


@pytest.mark.parametrize("command", ["", *(command.name for command in app.registered_commands)])
def test_the_help_of_every_command_shows_an_example_and_fits_a_terminal(snapset: CommandLine, command: str) -> None:
    ran = snapset(*command.split(), "--help").ok()
    assert ran.stderr == ""
    assert f"Example: snapset {command}" in ran.stdout
    assert max(len(line.rstrip()) for line in ran.stdout.splitlines()) <= WIDTH


def test_a_backup_that_is_refused_for_its_input_imports_no_sdk() -> None:
    # The command ends without Python's own clean-up, so the last thing that it calls is where to look.
    found = f"print(*sorted({SDKS} & sys.modules.keys()), flush=True)"
    report = f"import os, sys; end = os._exit; os._exit = lambda code: ({found}, end(code))\n"
    ran = run_program(report + RUN, "backup", "i-1")
    assert (ran.code, ran.stdout) == (2, "\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backup"], "reading the instances: there is none. Name one, or a --filter that finds some."),
        (["backup", "i-1"], "reading INSTANCE: 'i-1' is not an instance id (like i-0123456789abcdef0)."),
        (["backup", INSTANCE, INSTANCE], f"reading the instances: {INSTANCE} is listed twice."),
        (["backup", INSTANCE, "--tag", "app"], "reading --tag 'app': there is no '='. Write it as KEY=VALUE."),
        (["backup", INSTANCE, "--tag", "a=b", "--tag", "a=c"], "reading --tag 'a=c': the key 'a' is given twice."),
        (["backup", INSTANCE, "--tag", "aws:a=b"], "reading --tag: tag key 'aws:a': keys that start with 'aws:'"),
        (
            ["backup", INSTANCE, "--timeout", "soon"],
            "reading --timeout: 'soon' is not a duration. Use 90s, 30m or 2h.",
        ),
        (["backup", INSTANCE, "--served-within", "24"], "reading --served-within: '24' has no unit. Use 90s, 12h or"),
        (["backup", INSTANCE, "--change-id", " "], "reading --change-id: ' ' names no change."),
        (["backup", INSTANCE, "--change-id", "a\x1b"], "reading --change-id: 'a\\x1b' can't be printed."),
        (["rollback", INSTANCE, "--change-id", ""], "reading --change-id: it is empty, as a variable is that is"),
        (["restore", "--change-id=", "--to", INSTANCE], "reading --change-id: it is empty, as a variable is that is"),
        (["list", ""], "reading an argument: it is empty, as a variable is that is not set."),
        (["backup", INSTANCE, "--stack", "a b"], "reading --stack: 'a b' is not the name of a stack"),
        (
            ["backup", INSTANCE, "--exclude-volume", "vol-1"],
            "reading --exclude-volume: 'vol-1' is not a volume",
        ),
        (["backup", INSTANCE, "--region", "mars"], "reading --region: 'mars' is not a Region"),
        (["list", "--instance", "i-1"], "reading --instance: 'i-1' is not an instance id"),
        (["list", *["--instance", INSTANCE] * 201], "reading --instance: 201 are too many; give at most 200."),
        (
            ["list", "--region", "us-east-1", "--region=us-west-2"],
            "reading --region: it is given twice. Give it once.",
        ),
        (
            ["backup", INSTANCE, "--wait", "--no-wait"],
            "reading --wait or --no-wait: it is given twice. Give it once.",
        ),
        (["check", "--filter", "tag:app=web,"], "reading --filter 'tag:app=web,': write it as NAME=VALUE"),
        (["list", "--region", "mars"], "reading --region: 'mars' is not a Region"),
        (["doctor", "--region", "mars"], "reading --region: 'mars' is not a Region"),
        (["doctor", "--instance", "mars"], "reading --instance: 'mars' is not an instance id"),
        (["check", "--instance", "i-1"], "reading --instance: 'i-1' is not an instance id"),
        (["show", "set-1"], "reading SET_ID: 'set-1' is not the id of a set"),
        (["wait", "set-0123456789abcdef0", "--timeout", "soon"], "reading --timeout: 'soon' is not a duration"),
        (["delete", "set-1"], "reading SET: 'set-1' is not the id of a set"),
        (["unlock", "--stack", "a", "--change-id", "b"], "reading the options: name the stack by either --stack or"),
        (["prune"], "reading the rule: give --keep-last, --keep-daily, --older-than or another one."),
        (["prune", "--keep-last", "1", "--older-than", ""], "reading --older-than: it is empty, as a variable is"),
        (["prune", "--pin", "set-1"], "reading --pin: 'set-1' is not the id of a set"),
        (["rollback", "i-1"], "reading INSTANCE: 'i-1' is not an instance id"),
        (["rollback", "i-0123456789abcdef0", "--set", "set-1"], "reading --set: 'set-1' is not the id of a set"),
        (["rollback", "i-0123456789abcdef0", "--timeout", "5x"], "reading --timeout: '5x' is not a duration"),
        (["check", "--max-age", "24"], "reading --max-age: '24' has no unit"),
        (["prune", "--older-than", "old", "--yes"], "reading --older-than: 'old' is not a duration"),
        (["backup", INSTANCE, "--description", "d" * 256], "reading --description: it has 256 characters"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_starts_no_engine(
    snapset: CommandLine, tmp_path: Path, arguments: list[str], said: str
) -> None:
    started = tmp_path / "started"
    (tmp_path / "pulumi").write_text(f"#!/bin/sh\ntouch {started}\n")
    (tmp_path / "pulumi").chmod(0o755)
    snapset.env["PATH"] = str(tmp_path)
    ran = snapset(*arguments)
    assert ran.code == 2
    assert ran.stderr.startswith(f"snapset: {said}")
    assert ran.stderr.count("\n") == 1
    assert ran.stdout == ""
    assert not started.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["rollback"],
        ["prune", "--keep-last", "0"],
        ["backup", INSTANCE, "--location", "here"],
        ["backup", INSTANCE, "--nonsense"],
        ["none"],
    ],
)
def test_bad_usage_is_exit_code_2_one_line_and_one_document(snapset: CommandLine, arguments: list[str]) -> None:
    ran = snapset(*arguments, "--json")
    assert ran.code == 2
    assert re.fullmatch(r"snapset: reading the arguments: .*\. See snapset( [a-z]+)? --help\.\n", ran.stderr)
    assert error_in(ran)["message"] == ran.stderr.removeprefix("snapset: ").rstrip("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["backup"],
        ["check", "--max-age", "24"],
        ["delete", "set-1"],
        ["doctor", "--region", "mars"],
        ["list", "--ids"],
        ["prune"],
        ["restore", "set-1"],
        ["rollback", "i-1"],
        ["show", "set-1"],
        ["unlock"],
        ["wait", "set-1"],
        ["list", ""],
    ],
    ids=" ".join,
)
def test_no_document_is_without_a_version(snapset: CommandLine, arguments: list[str]) -> None:
    ran = snapset(*arguments, "--json")
    assert ran.code == 2
    assert f"snapset: {error_in(ran)['message']}\n" in ran.stderr


def error_in(ran: Run) -> dict[str, str]:
    """The error in the one document of a run, which begins with its version."""
    document = json.loads(ran.stdout)
    assert next(iter(document.items())) == ("version", 1)
    error: dict[str, str] = document["error"]
    return error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_command_is_loaded_ends_it_in_order(number: signal.Signals) -> None:
    early = f"""
import os, signal, sys

class Early:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), {int(number)})

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Early())
from snapset.__main__ import main; main()
"""
    ran = run_program(early, "list", "--json")
    assert (ran.code, ran.stderr) == (130, "snapset: interrupted\n")
    assert error_in(ran)["type"] == "Interrupted"


def test_the_values_of_a_filter_are_split_at_commas_that_are_not_escaped() -> None:
    assert parse_filters([r"tag:app=web\,eu,db", "tag:app=till", "x=a=b"]) == {
        "tag:app": ["web,eu", "db", "till"],
        "x": ["a=b"],
    }


def test_a_tag_is_split_at_the_first_equals_sign() -> None:
    pairs = ["app=shop", "note=a=b", "empty=", "key with spaces= x "]
    assert parse_tags(pairs) == {"app": "shop", "note": "a=b", "empty": "", "key with spaces": " x "}
    assert parse_tags([]) == {}
