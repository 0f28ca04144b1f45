"""The engine's own floor: dynamic resources that do nothing."""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class NothingProvider(ResourceProvider):
    """Creates at once, and nothing."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Say that there is one."""
        return CreateResult("nothing", props)


class Nothing(Resource, module="benchmarks", name="Nothing"):
    """A resource that is only recorded."""

    def __init__(self, name: str) -> None:
        super().__init__(NothingProvider(), name, {})
