"""A dynamic resource that does nothing, to measure what the engine takes by itself."""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class NothingProvider(ResourceProvider):
    """Creates nothing."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Report the resource as created."""
        return CreateResult("nothing", props)


class Nothing(Resource, module="benchmarks", name="Nothing"):
    """A resource that exists only in the state."""

    def __init__(self, name: str) -> None:
        super().__init__(NothingProvider(), name, {})
