"""Record the Pulumi states that this version of snapset writes: `make record-states`, by hand, at each release.

Runs each of `programs/` on the real engine against an embedded EC2, and keeps the checkpoint as a template. Two
recordings of the same code are the same files.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from snapset.emulator.client import EmbeddedEC2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.project import Project
from support.recorded import STATES, fill_in, ids_by_device, launch
from support.restores import DATA, ROOT, SCRATCH

PROGRAMS = Path(__file__).parent / "programs"
SIZES = {ROOT: 8, DATA: 20, SCRATCH: 100}
NAMES = ("instance_snapshots", "snapshot_set", "fleet_snapshots")
CONFIG: Mapping[str, Any] = {
    "aws:defaultTags": {"tags": {"team": "ops"}},
    "instance": "@INSTANCE@",
    "excluded": [f"@VOLUME:{SCRATCH}@"],
    "trigger": "release-42",
}

# Where in the code a resource was declared, with the paths of this machine.
_PLACES = ("sourcePosition", "stackTrace")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What snapset makes up: ids of sets, tokens and claims.
_MADE_UP = re.compile(r"(?<![0-9a-f])([0-9a-f]{16})[0-9a-f]{0,16}(?![0-9a-f])")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="overwrite the states that this version has already")
    again = parser.parse_args().again
    version = importlib.metadata.version("snapset")
    folder = STATES / version
    if folder.exists() and not again:
        sys.exit(
            f"the states of {version} are recorded already, and users may have such states by now. "
            "If this version is not released yet: make record-states RECORD_ARGS=--again"
        )
    with EmbeddedEC2() as ec2, tempfile.TemporaryDirectory() as work:
        recorded = Path(work) / "recorded"
        recorded.mkdir()
        for name in NAMES:
            ec2.reset()
            (stack := Path(work) / name).mkdir()
            record(name, ec2, stack, recorded)
        # All of them or none.
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(recorded, folder)
    print(f"recorded {', '.join(NAMES)} of {version}")


def record(name: str, ec2: EmbeddedEC2, stack: Path, folder: Path) -> None:
    program = (PROGRAMS / f"{name}.py").read_text()
    project = Project(stack, environment=ec2.environment(), program=program)
    ids = {"@SALT@": project.salt["encryptionsalt"], **launch(ec2, SIZES)}
    project.config = fill_in(CONFIG, ids)
    project.up().ok()

    devices = {volume_id: device for device, volume_id in ids_by_device("VOLUME", ids).items()}
    snapshots = {}
    for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        device = devices[snapshot["VolumeId"]]
        ids |= {f"@SNAPSHOT:{device}@": snapshot["SnapshotId"], "@ACCOUNT@": snapshot["OwnerId"]}
        snapshots[device] = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
    template = to_template(
        {
            "checkpoint": without_places(json.loads(project.state_file.read_text())),
            "run": {
                "config": project.config,
                "ec2": {"sizes": SIZES, "snapshots": snapshots},
            },
        },
        ids,
    )
    (folder / f"{name}.py").write_text(program)
    (folder / f"{name}.json").write_text(json.dumps(template["checkpoint"], indent=1) + "\n")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(template["run"]))


def without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_places(inner) for key, inner in value.items() if key not in _PLACES}
    return [without_places(inner) for inner in value] if isinstance(value, list) else value


def to_template(written: Any, ids: Mapping[str, str]) -> Any:
    """Return the JSON value with placeholders for ids and times, and a number for each id that snapset made up."""
    text = json.dumps(written)
    for placeholder, id_ in ids.items():
        text = text.replace(id_, placeholder)
    assert not (missed := re.findall(r"\b(?:i|vol|snap)-[0-9a-f]{8,}", text)), missed
    # In the order of their keys, some of which were ids.
    text = json.dumps(json.loads(text), sort_keys=True)
    text = _UUID.sub("00000000-0000-4000-8000-000000000000", _TIME.sub("@TIME@", text))
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[1], f"{len(numbers) + 1:x}").ljust(len(match[0]), "0")

    return json.loads(_MADE_UP.sub(number, text))


if __name__ == "__main__":
    main()
