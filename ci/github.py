"""Run `snapset backup` with the inputs of action.yml, then write the step's outputs and the job's summary.

action.yml passes the inputs as JSON in INPUTS. The runner names the files in GITHUB_OUTPUT and GITHUB_STEP_SUMMARY:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snapset.text import clean

# The options that a true or false input stands for.
FLAGS = {
    "exclude-boot": {"true": ["--exclude-boot"], "false": []},
    "copy-tags": {"true": ["--copy-tags"], "false": []},
    "copy-instance-tags": {"true": ["--copy-instance-tags"], "false": []},
    "preview": {"true": ["--preview"], "false": []},
    "wait": {"true": ["--wait"], "false": ["--no-wait"]},
}
ONE_A_LINE = ("filter", "exclude-volume", "exclude-volume-tag", "tag")
COLUMNS = ("set", "instance", "outcome", "snapshot", "volume", "device", "GiB", "state")


def change_of(given: str) -> str:
    """Return the change in one line. action.yml ends its default with the matrix, as JSON or null."""
    change, _, matrix = given.partition(" ")
    is_default = change.startswith("github-run-") and matrix.startswith(("{", "null"))
    if not is_default:
        return given
    values = json.loads(matrix) or {}
    named = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]
    return " ".join([change, *sorted(named)])


def arguments_of(inputs: Mapping[str, str]) -> list[str]:
    """Return the arguments of `snapset backup`. Empty inputs are left out."""
    options: list[str] = []
    for name, value in inputs.items():
        if not value or name == "instances":
            continue
        if name in FLAGS:
            if value not in FLAGS[name]:
                sys.stderr.write(f"::error title=snapset::reading {name}: it is neither true nor false.\n")
                sys.exit(2)
            options += FLAGS[name][value]
        else:
            given = change_of(value) if name == "change-id" else value
            lines = given.splitlines() if name in ONE_A_LINE else [given]
            options += [f"--{name}={line.strip()}" for line in lines if line.strip()]
    return [*options, "--", *inputs["instances"].split()]


def run_backup(arguments: list[str]) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and JSON document. Signals, such as a cancelled job's, are passed on."""
    command = [str(Path(sys.executable).with_name("snapset")), "backup", "--json", *arguments]
    # A runner of the attempt before may have been killed a moment ago: what it took may not be visible yet.
    is_rerun = os.environ.get("GITHUB_RUN_ATTEMPT", "1") != "1"
    env = {**os.environ, **({"SNAPSET_CUT_OFF": "1"} if is_rerun else {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:  # noqa: S603
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: process.send_signal(number))
        answer, _ = process.communicate()
    # Wrong usage has an error only.
    return process.returncode, {"sets": [], **json.loads(answer or "{}")}


def outputs_of(document: Mapping[str, Any]) -> str:
    """Return the outputs, one per line."""
    outputs = {
        "set-id": " ".join(taken["set_id"] for taken in document["sets"]),
        "snapshot-ids": " ".join(snapshot_id for taken in document["sets"] for snapshot_id in taken["snapshot_ids"]),
        "json": json.dumps(document),
    }
    return "".join(f"{name}={value}\n" for name, value in outputs.items())


def summary_of(document: Mapping[str, Any]) -> str:
    """Return the summary: a table with one row per snapshot, and the error, if any."""
    rows = [
        (
            taken["set_id"],
            taken["instance_id"],
            taken["outcome"],
            snapshot["snapshot_id"],
            snapshot["volume_id"],
            snapshot["device_name"],
            snapshot["size_gib"],
            snapshot["state"],
        )
        for taken in document["sets"]
        for snapshot in taken["snapshots"]
    ]
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows)]
    text = "### snapset backup\n\n" + ("\n".join(lines) if rows else "No set was taken.") + "\n"
    if "error" in document:
        text += f"\n<pre>{html.escape(clean(document['error']['message']))}</pre>\n"
    return text


def _cell(value: object) -> str:
    return html.escape(clean(str(value))).replace("|", "&#124;").replace("`", "&#96;")


def main() -> int:
    """Back up, and write the outputs and the summary for the runner."""
    code, document = run_backup(arguments_of(json.loads(os.environ["INPUTS"])))
    for variable, text in (("GITHUB_OUTPUT", outputs_of(document)), ("GITHUB_STEP_SUMMARY", summary_of(document))):
        with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
            file.write(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
