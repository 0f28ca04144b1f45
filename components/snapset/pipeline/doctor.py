"""What a backup needs, checked part by part: engine, state, Region, credentials, permissions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.aws.session import find_caller, find_region
from snapset.aws.settings import AwsSettings
from snapset.pipeline.engine import EngineCommand
from snapset.pipeline.state import check_writable, find_backend, open_state
from snapset.retry import Say
from snapset.sets.inputs import parse
from snapset.sets.tags import new_set_id
from snapset.text import clean

_PLUGINS = ("pulumi-language-python", "pulumi-resource-pulumi-python")

# Ids that nothing has. assumption: AWS checks a caller's permission before it looks for the id.
_NO_INSTANCE = "i-00000000000000000"
_NO_VOLUME = "vol-00000000000000000"
_NO_SNAPSHOT = "snap-00000000000000000"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found: `ok` and a fact, or what is wrong and how to fix it."""

    check: str
    ok: bool
    message: str


def examine(settings: AwsSettings, *, instance_id: str | None, say: Say) -> Iterator[Finding]:
    """Check what a backup needs; what can't be checked before something else is fixed is left out.

    Permissions are asked for the instance. Without one, a policy that allows only some instances may seem too strict.
    """
    engine = _find("engine", _check_engine)
    yield engine
    if engine.ok:
        yield _find("plugins", _check_plugins)
        yield _find("state", _check_state)
    region = _find("region", partial(find_region, settings))
    yield region
    if not region.ok:
        return
    settings = settings.in_region(region.message)
    credentials = _find("credentials", partial(find_caller, settings))
    yield credentials
    if credentials.ok:
        yield from _permissions(connect(settings, say=say), instance_id)


def _find(check: str, probe: Callable[[], str]) -> Finding:
    try:
        return Finding(check=check, ok=True, message=probe())
    except errors.SnapsetError as error:
        return Finding(check=check, ok=False, message=clean(str(error)))


def _check_engine() -> str:
    command = EngineCommand()
    return f"pulumi {command.find_version()} at {shutil.which(command.command)}"


def _check_plugins() -> str:
    # The engine starts them from PATH, or from the folder that it lies in.
    engine = Path(shutil.which(EngineCommand().command) or "")
    path = os.pathsep.join([os.environ.get("PATH", ""), str(engine.parent), str(engine.resolve().parent)])
    missing = [name for name in _PLUGINS if not shutil.which(name, path=path)]
    if missing:
        raise errors.SnapsetError(
            f"looking for the engine's plugins: {' and '.join(missing)} missing on PATH and beside {engine}. "
            "Install Pulumi again: they belong to it."
        )
    return "those for Python are there"


def _check_state() -> str:
    with open_state() as state:
        backend = find_backend(state)
        # Pulumi Cloud would keep the project of the stack that is written.
        if not backend.startswith("http"):
            check_writable(state)
    return backend


def _permissions(ec2: Ec2, instance_id: str | None) -> Iterator[Finding]:
    region = ec2.settings.region
    inputs = parse({"scope": "snapset doctor", "instance_id": instance_id or _NO_INSTANCE, "region": region})
    probes: dict[str, Callable[[], object]] = {
        "ec2:DescribeInstances": partial(ec2.describe_instance, inputs.instance_id),
        "ec2:DescribeSnapshots": partial(ec2.describe_snapshots, [_NO_SNAPSHOT]),
        "ec2:DescribeVolumes": partial(ec2.describe_volumes, [_NO_VOLUME]),
        "ec2:CreateSnapshots": partial(ec2.dry_run().create_snapshots, inputs.request(set_id=new_set_id())),
        "ec2:CreateTags": partial(ec2.dry_run().add_tags, [_NO_SNAPSHOT], {"snapset:doctor": "dry run"}),
    }

    def probe(action: str) -> str:
        try:
            probes[action]()
        except errors.NotFoundError:
            if instance_id and action != "ec2:CreateTags":
                raise
        return "allowed"

    for action in probes:
        yield _find(action, partial(probe, action))
