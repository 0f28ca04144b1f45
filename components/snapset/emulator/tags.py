"""Which resources can be tagged. moto tags instances that do not exist."""

from typing import Any

from moto.ec2.models import validate_resource_ids

from . import errors, rules

_MAX_RESOURCES = 1000


class TagsBackend:
    """The part of one region's backend that tags resources."""

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
