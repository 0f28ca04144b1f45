"""Which resources can be tagged, and which tags one has. moto tags instances that do not exist."""

import re
from typing import Any

from moto.ec2.models import validate_resource_ids
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from . import errors, rules

_MAX_RESOURCES = 1000
_ONE_ID = re.compile(r"[a-z]+-[0-9a-f]+")


class TagsBackend:
    """The part of one region's backend that tags resources."""

    tags: dict[str, dict[str, str]]
    get_instance: Any
    do_resources_exist: Any

    def check_resources(self, resource_ids: list[str]) -> None:
        """Refuse malformed or unknown ids, so that either all resources are tagged or none is."""
        if len(resource_ids) > _MAX_RESOURCES:
            raise errors.invalid_value(f"You can specify up to {_MAX_RESOURCES} resources.")
        validate_resource_ids(resource_ids)
        for resource_id in resource_ids:
            if resource_id.startswith(f"{rules.INSTANCE}-"):
                self.get_instance(resource_id)
        self.do_resources_exist(resource_ids)

    def describe_tags(self, filters: dict[str, list[str]] | None = None) -> list[dict[str, str]]:
        """Return the tags that match. moto compares every tag of the region, even for those of one resource."""
        if filters and filters.keys() == {"resource-id"} and _ONE_ID.fullmatch(",".join(filters["resource-id"])):
            [resource_id] = filters["resource-id"]
            kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource_id), "")
            of_one = {"resource_id": resource_id, "resource_type": kind}
            return [{**of_one, "key": key, "value": value} for key, value in self.tags.get(resource_id, {}).items()]
        found: list[dict[str, str]] = super().describe_tags(filters)  # type: ignore[misc]
        return found
