"""The dynamic resource itself: a set that no program claims."""

import pulumi
from snapset import SnapshotSet

config = pulumi.Config()

taken = SnapshotSet(
    "taken",
    instance_id=config.require("instance"),
    exclude_data_volume_ids=config.require_object("excluded"),
    description="before the release",
    tags={"app": "shop"},
    copy_tags_from_source="volume",
    triggers={"release": config.require("trigger"), "build": [1, 2.5, None, True]},
)

pulumi.export("setId", taken.set_id)
pulumi.export("snapshotIds", taken.snapshot_ids)
