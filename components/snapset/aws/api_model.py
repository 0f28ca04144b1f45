"""A small copy of botocore's model of EC2, of the calls that snapset makes: reading the whole one takes long.

botocore itself looks for models in folders that it is told of, before its own:
https://botocore.amazonaws.com/v1/documentation/api/latest/reference/loaders.html
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

OPERATIONS = (
    "AttachVolume",
    "CreateSnapshots",
    "CreateTags",
    "CreateVolume",
    "DeleteSnapshot",
    "DeleteTags",
    "DeleteVolume",
    "DescribeAvailabilityZones",
    "DescribeImages",
    "DescribeInstanceAttribute",
    "DescribeInstances",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeVolumes",
    "DetachVolume",
    "ModifyInstanceAttribute",
    "RegisterImage",
    "StartInstances",
    "StopInstances",
)
_NAME = "service-2"


def make_loader() -> Any:
    """Return a loader that finds the small model first; botocore's own where it can't be written."""
    import botocore
    from botocore.loaders import create_loader

    calls = hashlib.sha256(repr(OPERATIONS).encode()).hexdigest()[:8]
    if not (cache := _cache_folder()):
        return create_loader()
    folder = cache / f"botocore-{botocore.__version__}-{calls}"
    if not (is_sound := _is_sound(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            _write(folder, create_loader())
        is_sound = _is_sound(folder)
    return create_loader(str(folder)) if is_sound else create_loader()


def _is_sound(folder: Path) -> bool:
    """Tell whether the small model is there as a whole: a full disk may have cut it."""
    try:
        [file] = folder.glob(f"ec2/*/{_NAME}.json")
        return set(json.loads(file.read_text(encoding="utf-8"))["operations"]) == set(OPERATIONS)
    except (KeyError, OSError, TypeError, ValueError):
        return False


def _cache_folder() -> Path | None:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "snapset"
    except RuntimeError:
        # There is no home.
        return None


def _write(folder: Path, loader: Any) -> None:
    """Write the small model, as a whole or not at all: other processes may be at it too."""
    version = loader.determine_latest_version("ec2", _NAME)
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    (part / "ec2" / version).mkdir(parents=True, mode=0o700)
    small = _make_small(loader.load_service_model("ec2", _NAME))
    with (part / "ec2" / version / f"{_NAME}.json").open("w", encoding="utf-8") as file:
        json.dump(small, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _make_small(whole: dict[str, Any]) -> dict[str, Any]:
    operations = {name: _without_texts(whole["operations"][name]) for name in OPERATIONS}
    shapes: dict[str, Any] = {}
    wanted = set(_shapes_in(operations))
    while wanted:
        name = wanted.pop()
        shapes[name] = _without_texts(whole["shapes"][name])
        wanted |= set(_shapes_in(shapes[name])) - shapes.keys()
    return {**whole, "operations": operations, "shapes": shapes}


def _shapes_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("shape"), str):
            yield value["shape"]
        for item in value.values():
            yield from _shapes_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _shapes_in(item)


def _without_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_texts(item) for name, item in value.items() if name != "documentation"}
    return [_without_texts(item) for item in value] if isinstance(value, list) else value
