"""Availability Zones, Local Zones and Outposts."""

from typing import Any

from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone

from . import errors, rules

LOCAL_ZONE = "local-zone"

# A few real Local Zones, with their real ids.
_LOCAL_ZONES = {
    "us-east-1": {"us-east-1-bos-1a": "use1-bos1-az1", "us-east-1-nyc-1a": "use1-nyc1-az1"},
    "us-west-2": {"us-west-2-lax-1a": "usw2-lax1-az1", "us-west-2-lax-1b": "usw2-lax1-az2"},
}


class LocalZone(Zone):  # type: ignore[misc]
    """A Local Zone. moto's serializer reads the attributes by their snake_case names."""

    def __init__(self, name: str, region: str, zone_id: str) -> None:
        super().__init__(name, region, zone_id, LOCAL_ZONE)
        self.zone_name = name
        self.group_name = name[:-1]
        self.network_border_group = name[:-1]
        self.parent_zone_name = f"{region}a"
        self.opt_in_status = "opted-in"


def add_local_zones() -> None:
    """Add the Local Zones to moto's table of zones, which its subnets use."""
    for region, zones in _LOCAL_ZONES.items():
        known = {zone.name for zone in RegionsAndZonesBackend.zones[region]}
        RegionsAndZonesBackend.zones[region] += [
            LocalZone(name, region, zone_id) for name, zone_id in zones.items() if name not in known
        ]


class ZonesBackend:
    """The part of one region's backend that knows zones and places instances."""

    region_name: str
    tags: dict[str, dict[str, str]]
    get_instance: Any
    get_subnet: Any
    get_volume: Any

    def describe_availability_zones(
        self,
        filters: Any = None,
        zone_names: list[str] | None = None,
        zone_ids: list[str] | None = None,
        *,
        every: bool = False,
    ) -> list[Zone]:
        """The region's zones. Local Zones only on request, because moto would put default subnets there."""
        zones = super().describe_availability_zones(filters, zone_names, zone_ids)  # type: ignore[misc]
        asked = every or zone_names or zone_ids or any(name in ("zone-type", "zone-name") for name in filters or {})
        return [zone for zone in zones if asked or zone.zone_type != LOCAL_ZONE]

    def get_zone_by_name(self, name: str) -> Zone | None:
        """The zone with this name, Local Zones included."""
        return next((zone for zone in self.describe_availability_zones(every=True) if zone.name == name), None)

    def is_local_zone(self, name: str) -> bool:
        """Whether this is the name of a Local Zone of the region."""
        zone = self.get_zone_by_name(name)
        return zone is not None and zone.zone_type == LOCAL_ZONE

    def check_zone(self, name: str) -> None:
        """Refuse a zone that the region does not have."""
        if self.get_zone_by_name(name) is None:
            raise errors.EC2Error("InvalidZone.NotFound", f"The zone '{name}' does not exist.")

    def place_instance(
        self,
        instance_id: str,
        *,
        outpost_arn: str | None = None,
        availability_zone: str | None = None,
        auto_scaling_group: str | None = None,
        root_device_type: str | None = None,
    ) -> None:
        """Move an instance and its volumes to this Outpost, zone or Auto Scaling group, or change its root's type."""
        instance = self.get_instance(instance_id)
        volumes = [self.get_volume(block.volume_id) for _, block in instance.get_block_device_mapping]
        if outpost_arn is not None:
            rules.check_outpost_arn(outpost_arn)
        if availability_zone is not None:
            self.check_zone(availability_zone)
            instance.placement.zone = availability_zone
        if auto_scaling_group:
            # Only AWS itself sets such a tag.
            self.tags.setdefault(instance_id, {})["aws:autoscaling:groupName"] = auto_scaling_group
        instance.root_device_type = root_device_type or instance.root_device_type
        for resource in [instance, *volumes]:
            resource.outpost_arn = outpost_arn or getattr(resource, "outpost_arn", None)
        for volume in volumes:
            volume.zone = self.get_zone_by_name(instance.availability_zone)
