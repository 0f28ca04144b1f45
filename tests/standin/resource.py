"""What a type of resource has to tell, and how a change of it is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from standin.cloud import Cloud

Properties = dict[str, Any]

# Where a difference lies: the names from the top down.
Path = tuple[str, ...]

# These are compared key by key; of other objects only what the program set counts.
_MAPS = ("tags", "tagsAll", "volumeTags")

# Terraform's types have no null: it does not tell these from an input that is left out.
_UNSET: tuple[Any, ...] = (None, "", False, [], {})


class Resource:
    """One type of resource; its subclasses are the stand-in's whole knowledge of EC2."""

    noun: ClassVar[str]
    """What messages call it."""

    required: ClassVar[tuple[tuple[str, ...], ...]]
    """Of each of these groups of inputs one must be set."""

    replacing: ClassVar[frozenset[str]]
    """The inputs of which a change makes a new resource (`ForceNew`)."""

    kept: ClassVar[frozenset[str]]
    """The inputs that keep what EC2 chose when they are left out (`Optional` and `Computed`)."""

    optional: ClassVar[frozenset[str]]
    """The inputs that are taken away when they are left out."""

    computed: ClassVar[frozenset[str]]
    """What only EC2 sets."""

    tagged: ClassVar[bool] = True

    @classmethod
    def inputs(cls) -> frozenset[str]:
        """Every input it knows."""
        return cls.kept | cls.optional | ({"tags", "tagsAll"} if cls.tagged else set())

    @classmethod
    def problems(cls, inputs: Properties) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the inputs: the property and the reason."""
        for name in sorted(inputs.keys() - cls.inputs() - {"__defaults"}):
            yield name, f"the stand-in for the aws plugin has no input {name} of {cls.noun}: see tests/standin"
        for group in cls.required:
            if not any(name in inputs for name in group):
                yield group[0], f"one of `{','.join(group)}` must be specified"

    @classmethod
    def replaces(cls, path: Path, news: Properties) -> bool:
        """Whether a difference here can't be made in place."""
        return path[0] in cls.replacing or ".".join(path) in cls.replacing

    @classmethod
    def planned(cls, inputs: Properties) -> Properties:
        """What a preview can say of a resource that is not there yet."""
        unknown = (cls.kept | cls.computed) - inputs.keys()
        return {**inputs, **dict.fromkeys(unknown, UNKNOWN)}

    @classmethod
    def create(cls, cloud: Cloud, inputs: Properties) -> tuple[str, Properties]:
        """Make it, wait for it, and return its id and outputs."""
        raise NotImplementedError

    @classmethod
    def read(cls, cloud: Cloud, resource_id: str, state: Properties) -> Properties | None:
        """Return its outputs as they are now; None if it is gone."""
        raise NotImplementedError

    @classmethod
    def update(cls, cloud: Cloud, resource_id: str, olds: Properties, news: Properties) -> Properties:
        """Change it in place and return its outputs."""
        raise NotImplementedError

    @classmethod
    def delete(cls, cloud: Cloud, resource_id: str, state: Properties) -> None:
        """Delete it; that it is gone already is no failure."""
        raise NotImplementedError


def differences(kind: type[Resource], olds: Properties, news: Properties) -> dict[Path, str]:
    """Return where the inputs differ from what is there: `add`, `update` or `delete` for each path."""
    found: dict[Path, str] = {}
    for name in sorted(kind.inputs()):
        old, new = olds.get(name), news.get(name)
        if new is None and name in kind.kept:
            continue
        found.update(_compare((name,), old, new))
    return found


def seen(wanted: Any, there: Any) -> Any:
    """Return of what is there the part that the program has a say in."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping) and "volumeId" in there:
        return {name: there[name] for name in wanted if name in there}
    if _is_blocks(wanted):
        devices = _by_device(wanted)
        return [seen(devices.get(name), each) for name, each in _by_device(there).items()]
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
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def _by_device(blocks: list[Properties]) -> dict[str, Properties]:
    return {each["deviceName"]: each for each in blocks}


def _same_blocks(olds: dict[str, Properties], news: dict[str, Properties]) -> bool:
    # A volume that was attached later counts too, with the real plugin's schema: see its docs on `ebsBlockDevices`.
    return olds.keys() == news.keys() and not any(list(_compare((name,), olds[name], news[name])) for name in news)
