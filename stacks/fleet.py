"""Snapshot every instance that has certain tags: one set per instance, in one run, with a summary.

An instance that joins the fleet gets a set. When an instance leaves, its set stays in AWS, as all sets do. One that
can't be snapshotted is named, and fails the run, after the sets of the others were taken.

pulumi config set program fleet && pulumi config set --path filterTags.app web && pulumi up
"""

import io
from typing import Any

import pulumi
import pulumi_aws as aws
from rich.console import Console
from rich.table import Table
from snapset import FleetSnapshots

config = pulumi.Config()

wanted = config.get_object("filterTags")
if not wanted or not all(isinstance(value, str) for value in wanted.values()):
    # Without a tag, every instance would match.
    raise pulumi.RunError(
        "reading snapset:filterTags: it is empty, or a value is not a string. Name at least one tag, such as app=web."
    )
# In other states an instance has no volumes to snapshot.
fleet = aws.ec2.get_instances(instance_tags=wanted, instance_state_names=["running", "stopping", "stopped"])
matching = ", ".join(f"{key}={value}" for key, value in sorted(wanted.items()))
if not fleet.ids:
    pulumi.log.warn(f"no instance in {fleet.region} matches {matching}: no set is taken")

backup = FleetSnapshots(
    "fleet",
    instances=sorted(fleet.ids),
    exclude_boot_volume=config.get_bool("excludeBootVolume"),
    exclude_data_volume_tags=config.get_object("excludeDataVolumeTags"),
    description=config.get("description") or None,
    tags=config.get_object("tags"),
    copy_tags_from_source=config.get("copyTagsFromSource") or None,
    copy_tags_from_instance=config.get_bool("copyTagsFromInstance"),
    triggers=config.get("triggers") or None,
    change_id=config.get("changeId") or None,
    wait=config.get_bool("wait"),
    wait_timeout=config.get("waitTimeout") or None,
)
summary = backup.sets.apply(
    lambda sets: {
        instance_id: {
            "setId": found["set_id"],
            "snapshotIds": found["snapshot_ids"],
            "completed": found["state"] == "completed",
        }
        for instance_id, found in sets.items()
    }
)


def show(rows: dict[str, Any]) -> None:
    """Print the summary as a table."""
    table = Table("instance", "set", "snapshots", "completed", title=f"sets of {matching}", title_justify="left")
    for instance_id, row in rows.items():
        table.add_row(instance_id, row["setId"], str(len(row["snapshotIds"])), "yes" if row["completed"] else "no")
    text = io.StringIO()
    Console(file=text, width=100).print(table)
    pulumi.log.info(text.getvalue())


if fleet.ids:
    summary.apply(show)
pulumi.export("sets", summary)
