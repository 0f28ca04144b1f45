"""A set by the dynamic resource itself, which nobody claims."""

from typing import Any

import pulumi
from snapset import SnapshotSet

config = pulumi.Config()
on_delete: Any = config.require("onDelete")

taken = SnapshotSet(
    "taken",
    instance_id=config.require("instance"),
    exclude_boot_volume=True,
    triggers=[config.require("trigger"), 1],
    on_delete=on_delete,
)

pulumi.export("setId", taken.set_id)
pulumi.export("snapshotIds", taken.snapshot_ids)
