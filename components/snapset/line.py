"""`SetLine`: what the sets of one resource, one after the other, have in common, kept in the stack's state.

Names can't tell it: two states may give a resource the same name, in backends of their own, say. And a set's own
resource does not last: `pulumi up --replace` makes it anew without a look at what it was.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from snapset import tags


class SetLineProvider(ResourceProvider):
    """Makes up a mark once. Calls nothing."""

    serialize_as_secret_always = False

    def create(self, _props: dict[str, Any]) -> CreateResult:
        """Make the mark up; it is the resource's id."""
        return CreateResult(tags.new_line(), {})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Stay as it is."""
        return DiffResult(changes=False)


class SetLine(Resource, module="snapset", name="SetLine"):
    """The line of the sets that one resource takes. Its id is in the tag `snapset:line` of each."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the line.

        Args:
            name: the resource's name.
            opts: Pulumi's resource options.
        """
        super().__init__(SetLineProvider(), name, {}, opts)
