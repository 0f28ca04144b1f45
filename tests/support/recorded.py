"""The Pulumi states that released versions wrote, and an EC2 as it was when they were written.

A state is three files in `tests/upgrade/states/<version>/`: the program, the checkpoint as the file backend has it,
and what the program ran with: its config, and what EC2 had. The last two are templates: an id that EC2 made up is a
placeholder in them, such as `@INSTANCE@` or `@SNAPSHOT:/dev/sda1@`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from support.project import Project
from support.restores import ROOT

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

STATES = Path(__file__).resolve().parents[1] / "upgrade" / "states"
# How old the snapshots are by the time that the state is used again.
AGE_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class RecordedState:
    version: str
    name: str

    def __str__(self) -> str:
        return f"{self.version}-{self.name}"

    @property
    def program(self) -> str:
        return self._file("py").read_text()

    @cached_property
    def checkpoint(self) -> dict[str, Any]:
        checkpoint: dict[str, Any] = json.loads(self._file("json").read_text())
        return checkpoint

    @cached_property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(self._file("yaml").read_text())["config"]
        return config

    @cached_property
    def in_ec2(self) -> dict[str, Any]:
        """By device: the `sizes` of the instance's volumes, and the tags of `snapshots`."""
        found: dict[str, Any] = yaml.safe_load(self._file("yaml").read_text())["ec2"]
        return found

    @property
    def resources(self) -> list[dict[str, Any]]:
        resources: list[dict[str, Any]] = self.checkpoint["checkpoint"]["latest"]["resources"]
        return resources

    def _file(self, suffix: str) -> Path:
        return STATES / self.version / f"{self.name}.{suffix}"


def find_recorded() -> list[RecordedState]:
    """All recorded states, in order of their paths."""
    return [RecordedState(path.parent.name, path.stem) for path in sorted(STATES.glob("*/*.json"))]


def open_project(state: RecordedState, ec2: EmbeddedEC2, folder: Path) -> tuple[Project, dict[str, str]]:
    """Return a project whose stack is in the state, with what it holds in EC2, and the ids there by placeholder."""
    project = Project(folder, environment=ec2.environment(), program=state.program)
    ids = {"@SALT@": project.salt["encryptionsalt"], **launch(ec2, state.in_ec2["sizes"])}
    ids |= _take_set(ec2, state.in_ec2["snapshots"], ids)
    project.config = fill_in(state.config, ids)
    project.state_file.write_text(json.dumps(fill_in(state.checkpoint, ids)))
    return project, ids


def launch(ec2: EmbeddedEC2, sizes: Mapping[str, int]) -> dict[str, str]:
    """Launch an instance with volumes of these sizes; return the ids by placeholder."""
    data = [(size, device, {"Name": device}) for device, size in sizes.items() if device != ROOT]
    source = ec2.launch(data, root_size=sizes[ROOT])
    volumes = {f"@VOLUME:{device}@": volume_id for device, volume_id in source.volume_ids.items()}
    return {"@INSTANCE@": source.instance_id, **volumes}


def fill_in(template: Any, ids: Mapping[str, str]) -> Any:
    """Return the JSON value with the ids in place of their placeholders."""
    text = json.dumps(template)
    for placeholder, id_ in ids.items():
        text = text.replace(placeholder, id_)
    assert not (left := re.findall(r"@[A-Z]+(?::[^@]+)?@", text)), left
    return json.loads(text)


def ids_by_device(what: str, ids: Mapping[str, str]) -> dict[str, str]:
    """Return the ids of the placeholders `@WHAT:device@`, by device."""
    start = f"@{what}:"
    return {key.removeprefix(start)[:-1]: id_ for key, id_ in ids.items() if key.startswith(start)}


def _take_set(ec2: EmbeddedEC2, tags: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, str]:
    """Take snapshots that have exactly these tags, by device."""
    client = ec2.ec2()
    devices = {volume_id: device for device, volume_id in ids_by_device("VOLUME", ids).items()}
    common = dict(set.intersection(*(set(of_one.items()) for of_one in tags.values())))
    common = {key: value for key, value in common.items() if "@SNAPSHOT:" not in value}
    taken = client.create_snapshots(
        InstanceSpecification={
            "InstanceId": ids["@INSTANCE@"],
            "ExcludeBootVolume": ROOT not in tags,
            "ExcludeDataVolumeIds": [key for key, device in devices.items() if device not in {ROOT, *tags}],
        },
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": _tag_list(fill_in(common, ids))}],
    )["Snapshots"]
    made = {f"@SNAPSHOT:{devices[snapshot['VolumeId']]}@": snapshot["SnapshotId"] for snapshot in taken}
    # A snapshot's own id is among its tags.
    for device, of_one in fill_in(tags, {**ids, **made}).items():
        client.create_tags(Resources=[made[f"@SNAPSHOT:{device}@"]], Tags=_tag_list(of_one))
    ec2.age(made.values(), seconds=AGE_SECONDS)
    [first, *_] = client.describe_snapshots(SnapshotIds=list(made.values()))["Snapshots"]
    started = first["StartTime"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return {**made, "@ACCOUNT@": first["OwnerId"], "@TIME@": started}


def _tag_list(tags: Mapping[str, str]) -> Any:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
