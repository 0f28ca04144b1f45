"""The sets of a fleet, of one instance here."""

import pulumi
from snapset import FleetSnapshots

config = pulumi.Config()

fleet = FleetSnapshots(
    "fleet",
    instances=[config.require("instance")],
    exclude_data_volume_ids=config.require_object("excluded"),
    description="before the release",
    tags={"app": "shop"},
    triggers=config.require("trigger"),
    wait_timeout="5m",
)

pulumi.export("sets", fleet.sets)
