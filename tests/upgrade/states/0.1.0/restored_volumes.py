"""A set, and its data volumes attached to another instance."""

from typing import Any

import pulumi
from snapset import InstanceSnapshots, RestoredVolumes

config = pulumi.Config()
volume_type: Any = config.get("volumeType")

backup = InstanceSnapshots("backup", instance=config.require("instance"), tags={"app": "shop"})
restored = RestoredVolumes(
    "restored",
    source=backup,
    instance=config.require("target"),
    exclude_boot_volume=True,
    volume_type=volume_type,
    tags={"case": config.require("case")},
)

pulumi.export("volumeIds", restored.volume_ids)
pulumi.export("volumes", restored.volumes)
