"""Which resources can be tagged: moto lets an instance pass that does not exist."""

from typing import Any

from moto.ec2.models import validate_resource_ids

from . import errors, rules

_MAX_RESOURCES = 1000


class TagsBackend:
    """moto's backend of one region, where it tags resources."""

    get_instance: Any
    do_resources_exist: Any

    def check_resources(self, resource_ids: list[str]) -> None:
        """Refuse ids that are malformed or unknown, so that no resource is tagged unless all are."""
        if len(resource_ids) > _MAX_RESOURCES:
            raise errors.invalid_value(f"You can specify up to {_MAX_RESOURCES} resources.")
        validate_resource_ids(resource_ids)
        for resource_id in resource_ids:
            if resource_id.startswith(f"{rules.INSTANCE}-"):
                self.get_instance(resource_id)
        self.do_resources_exist(resource_ids)
