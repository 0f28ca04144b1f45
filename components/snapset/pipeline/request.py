"""What to back up, and under which names its record is kept. Pure."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from snapset.aws.settings import AwsSettings
from snapset.sets.inputs import SetInputs, parse

_NAME_LENGTH = 60


@dataclass(frozen=True, kw_only=True)
class BackupRequest:
    """What to back up, and under which name.

    Attributes:
        instance_ids: one set is taken of each.
        region: where the instances are.
        inputs: the inputs of `SnapshotSet` that all sets share.
        change_id: the change that the backup is for; a change that was served gets no second set.
        served_within: how old a set of the change may be to serve, in seconds.
        wait: wait until the sets have completed.
        timeout: for how many seconds.
        stack: the Pulumi stack that keeps the record; if None, each change and Region has its own.
        profile: the AWS profile to use, also where the environment has credentials; if None, the environment's.
        lock_timeout: for how many seconds to wait for another run that holds the stack.
    """

    instance_ids: tuple[str, ...]
    region: str
    change_id: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    served_within: float = 24 * 3600.0
    wait: bool = True
    timeout: float = 7200.0
    stack: str | None = None
    profile: str | None = None
    lock_timeout: float = 0.0

    @property
    def settings(self) -> AwsSettings:
        """Where calls go and as whom."""
        return AwsSettings(region=self.region, profile=self.profile)

    @cached_property
    def wanted(self) -> list[SetInputs]:
        """The inputs of each set; their tokens name no resource.

        Raises:
            InputError: an input is refused.
        """
        shared = {**self.inputs, "region": self.region, "change_id": self.change_id}
        return [parse({**shared, "instance_id": instance_id}) for instance_id in self.instance_ids]

    @property
    def slug(self) -> str:
        """The change id as a part of names: as it is if Pulumi takes it, else readable, with a hash."""
        # An id that ends like such a hash gets one too, so that no two ids have the same slug.
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}(?<!-[0-9a-f]{8})", self.change_id):
            return self.change_id
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.change_id)[:_NAME_LENGTH].strip("-.") or "change"
        return f"{readable}-{hashlib.sha256(self.change_id.encode()).hexdigest()[:8]}"

    @property
    def stack_name(self) -> str:
        """The name of the stack."""
        return self.stack or f"{self.slug}.{self.region}"

    @property
    def resource_name(self) -> str:
        """The name of the resource that holds the sets of the change."""
        return f"sets-{self.slug}.{self.region}"


def new_change_id() -> str:
    """Return an id for a run that names no change, such as `20261123-231500-1f3a`."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
