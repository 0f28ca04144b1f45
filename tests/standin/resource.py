"""The base of all resource types, and how changes of their properties are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from standin.cloud import Cloud

Properties = dict[str, Any]

# The place of a difference: property names from the outermost to the innermost.
Path = tuple[str, ...]

# These are compared key by key. In other objects only the keys that the program set are compared.
_MAPS = ("tags", "tagsAll", "volumeTags")

# Terraform's types have no null: an input with one of these values is the same as an input that is left out.
_UNSET: tuple[Any, ...] = (None, "", False, [], {})


class Resource:
    """One type of resource. The subclasses define everything that the stand-in knows about EC2."""

    noun: ClassVar[str]
    """The type's name in messages."""

    required: ClassVar[tuple[tuple[str, ...], ...]]
    """At least one input of each group must be set."""

    replacing: ClassVar[frozenset[str]]
    """A change of one of these inputs replaces the resource (`ForceNew`)."""

    kept: ClassVar[frozenset[str]]
    """These inputs keep EC2's value when they are left out (`Optional` and `Computed`)."""

    optional: ClassVar[frozenset[str]]
    """These inputs lose their value when they are left out."""

    computed: ClassVar[frozenset[str]]
    """Outputs that only EC2 sets."""

    tagged: ClassVar[bool] = True

    lost_in_blocks: ClassVar[frozenset[str]] = frozenset()
    """These inputs of a block lose their value when they are left out; the others keep EC2's."""

    names_itself: ClassVar[bool] = False
    """The provider chooses the input `name` if it is left out."""

    @classmethod
    def inputs(cls) -> frozenset[str]:
        """All known inputs."""
        return cls.kept | cls.optional | ({"tags", "tagsAll"} if cls.tagged else set())

    @classmethod
    def problems(cls, inputs: Properties) -> Iterator[tuple[str, str]]:
        """Yield each problem of the inputs as (property, reason)."""
        for name in sorted(inputs.keys() - cls.inputs() - {"__defaults"}):
            yield name, f"the stand-in for the aws plugin has no input {name} of {cls.noun}: see tests/standin"
        for group in cls.required:
            if not any(name in inputs for name in group):
                yield group[0], f"one of `{','.join(group)}` must be specified"

    @classmethod
    def replaces(cls, path: Path, news: Properties) -> bool:
        """Whether a difference here replaces the resource."""
        return path[0] in cls.replacing or ".".join(path) in cls.replacing

    @classmethod
    def planned(cls, inputs: Properties) -> Properties:
        """The outputs that a preview shows for a new resource."""
        unknown = (cls.kept | cls.computed) - inputs.keys()
        return {**inputs, **dict.fromkeys(unknown, UNKNOWN)}

    @classmethod
    def create(cls, cloud: Cloud, inputs: Properties) -> tuple[str, Properties]:
        """Create the resource, wait for it, and return its id and outputs."""
        raise NotImplementedError

    @classmethod
    def read(cls, cloud: Cloud, resource_id: str, state: Properties) -> Properties | None:
        """Return the current outputs, or None if the resource no longer exists."""
        raise NotImplementedError

    @classmethod
    def update(cls, cloud: Cloud, resource_id: str, olds: Properties, news: Properties) -> Properties:
        """Change the resource in place and return its outputs."""
        raise NotImplementedError

    @classmethod
    def delete(cls, cloud: Cloud, resource_id: str, state: Properties) -> None:
        """Delete the resource; it is no error if it no longer exists."""
        raise NotImplementedError


def differences(kind: type[Resource], olds: Properties, news: Properties) -> dict[Path, str]:
    """Return the differences between old outputs and new inputs: `add`, `update` or `delete`, by path."""
    found: dict[Path, str] = {}
    for name in sorted(kind.inputs()):
        old, new = olds.get(name), news.get(name)
        if new is None and name in kind.kept:
            continue
        found.update(_compare((name,), old, new))
        if _is_blocks(old) and _is_blocks(new) and _loses_a_value(kind, old, new):
            found[(name,)] = "update"
    return found


def seen(wanted: Any, there: Any) -> Any:
    """Return the part of an output that the program sets."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping) and "volumeId" in there:
        return {name: there[name] for name in wanted if name in there}
    if _is_blocks(wanted):
        devices = _by_device(wanted)
        return [seen(devices.get(name), block) for name, block in _by_device(there).items()]
    return there


def _compare(path: Path, old: Any, new: Any) -> Iterator[tuple[Path, str]]:
    if old == new or (old in _UNSET and new in _UNSET):
        return
    if path[-1] in _MAPS and new != UNKNOWN:
        old, new = old or {}, new or {}
        for key in sorted(old.keys() | new.keys()):
            yield from _compare((*path, key), old.get(key), new.get(key))
    elif isinstance(new, Mapping) and isinstance(old, Mapping):
        for name in sorted(new):
            yield from _compare((*path, name), old.get(name), new[name])
    elif not (_is_blocks(new) and _is_blocks(old) and _same_blocks(_by_device(old), _by_device(new))):
        yield path, "add" if old is None else "delete" if new is None else "update"


def _is_blocks(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _by_device(blocks: list[Properties]) -> dict[str, Properties]:
    return {block["deviceName"]: block for block in blocks}


def _loses_a_value(kind: type[Resource], olds: Any, news: Any) -> bool:
    there = _by_device(olds)
    return any(
        there[device].get(name) not in _UNSET and name not in block
        for device, block in _by_device(news).items()
        if device in there
        for name in kind.lost_in_blocks
    )


def _same_blocks(olds: dict[str, Properties], news: dict[str, Properties]) -> bool:
    # As in the real plugin's schema, a volume that was attached later counts too: see its docs on `ebsBlockDevices`.
    return olds.keys() == news.keys() and not any(list(_compare((name,), olds[name], news[name])) for name in news)
