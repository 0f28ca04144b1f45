"""The sets of a fleet, of one instance here."""

from typing import Any

import pulumi
from snapset import FleetSnapshots

config = pulumi.Config()
on_delete: Any = config.require("onDelete")

fleet = FleetSnapshots(
    "fleet",
    instances=[config.require("instance")],
    exclude_data_volume_ids=config.require_object("excluded"),
    description="before the release",
    tags={"app": "shop"},
    triggers=config.require("trigger"),
    on_delete=on_delete,
    wait_timeout="5m",
)

pulumi.export("sets", fleet.sets)
