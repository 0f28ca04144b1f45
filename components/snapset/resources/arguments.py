"""What a program gives to snapset: which inputs there are, what a state can keep, and whom a set is for."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

import pulumi

from snapset import errors
from snapset.durations import parse_duration
from snapset.text import hide

_P = ParamSpec("_P")
_T = TypeVar("_T")

DEFAULT_TIMEOUT = "2h"
# Pulumi carries every number as a float.
_LARGEST = 2**53


async def scope_of(name: str, type_: str, opts: pulumi.ResourceOptions | None) -> str:
    """Return whom a set, or its volumes, are for: the organization and the URN of the resource, parents included."""
    urn = pulumi.create_urn(name, type_, parent=opts.parent if opts else None)
    # Not the output itself: the resource would depend on its parent, which waits for it.
    return f"{pulumi.get_organization()}/{await urn.future()}"


def refuse_unknown(given: Mapping[str, Any], args: type, *, of: str) -> None:
    """Raise a `RunError`, which Pulumi shows in one line, if an input is not among those of the TypedDict `args`."""
    known = sorted(args.__annotations__)
    for name in sorted(given.keys() - set(known)):
        near = [*difflib.get_close_matches(name, known, n=1), *(each for each in known if name.startswith(each))]
        hint = f"Did you mean {near[0]}?" if near else f"Use {', '.join(known)}."
        raise pulumi.RunError(f"InputError: reading {of}: there is no input {name}. {hint}")


def bad_call_as_error(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Report wrong arguments of a function, or a class, as one Pulumi error line."""
    signature = inspect.signature(function)
    called = function.__qualname__.removesuffix(".__init__")
    takes = ", ".join(name for name in signature.parameters if name != "self")

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise pulumi.RunError(f"InputError: calling {called}: {error}. It takes {takes}.") from None
        return function(*args, **kwargs)

    return call


def gather_inputs(
    args: Mapping[str, Any] | None, inputs: Mapping[str, Any], kind: type, *, of: str, needs: str
) -> dict[str, Any]:
    """Return the inputs of a component, given as one value, as keywords, or both; a keyword wins.

    Args:
        args: the one value.
        inputs: the keywords.
        kind: the TypedDict that has all of them.
        of: the component's class and name, for messages.
        needs: the input that must be there.

    Raises:
        RunError: `args` is no mapping, an input is not known, or the needed one is missing. Shown in one line.
    """
    if args is not None and not isinstance(args, Mapping):
        raise pulumi.RunError(f"InputError: reading {of}: the inputs are keywords. Add {needs}=... to it.")
    given = {**(args or {}), **inputs}
    refuse_unknown(given, kind, of=of)
    if given.get(needs) is None:
        raise pulumi.RunError(f"InputError: reading {of}: {needs} is missing. Add {needs}=... to it.")
    if not isinstance(given[needs], (pulumi.Resource, pulumi.Output)) and hasattr(given[needs], "id"):
        kind_of_it = type(given[needs]).__name__
        raise pulumi.RunError(f"InputError: reading {of}: {needs} is of type {kind_of_it}. Give the id in it.")
    return given


def take_wait(given: dict[str, Any], *, of: str) -> tuple[bool, float]:
    """Take `wait` and `wait_timeout` out of a component's inputs: whether to wait, and for how many seconds.

    Raises:
        RunError: one has an invalid value.
    """
    wait, timeout = given.pop("wait", None), given.pop("wait_timeout", None)
    if not (wait is None or isinstance(wait, bool)):
        raise pulumi.RunError(f"InputError: reading {of}: wait is neither True nor False.")
    try:
        return wait is not False, parse_duration(timeout or DEFAULT_TIMEOUT, name=f"{of}: wait_timeout")
    except errors.InputError as error:
        raise pulumi.RunError(errors.show(error)) from None


def options_inside(
    component: pulumi.ComponentResource,
    opts: pulumi.ResourceOptions | None,
    provider: pulumi.ProviderResource | None,
    *,
    of: str,
    **renamed: str,
) -> pulumi.ResourceOptions:
    """Return the options of the resource inside a component, with those that Pulumi does not hand down.

    Args:
        component: the component.
        opts: its options.
        provider: the `aws.Provider` that the calls follow.
        of: its class and name, for messages.
        renamed: what an input of the component is called inside, where it differs.

    Raises:
        RunError: `import_` is among the options.
    """
    given = opts or pulumi.ResourceOptions()
    if given.import_:
        advice = "get_snapshots and snapset restore take the id of any set."
        raise pulumi.RunError(f"InputError: reading {of}: import_: a set can't be imported, it is taken. {advice}")
    return pulumi.ResourceOptions(
        parent=component,
        provider=provider,
        ignore_changes=[renamed.get(name, name) for name in given.ignore_changes or []] or None,
        additional_secret_outputs=given.additional_secret_outputs,
    )


def check_storable(value: Any, *, of: str) -> Any:
    """Return the value of an input, checked as far as it is known by now, and later as a whole.

    Args:
        value: the value.
        of: the resource and its input, for messages.

    Raises:
        RunError: it, or something in it, can't be a part of the state, or could not be read from there again.
    """
    check = partial(check_storable, of=of)
    if isinstance(value, pulumi.Output):
        return value.apply(check)
    if isinstance(value, Mapping):
        return {key: check(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [check(item) for item in value]
    if isinstance(value, (pulumi.Asset, pulumi.Archive)):
        advice = "Give a hash of the content, such as hashlib.sha256(data).hexdigest()."
        raise pulumi.RunError(f"InputError: reading {of}: a Pulumi asset can't be kept in the state. {advice}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise pulumi.RunError(f"InputError: reading {of}: {value} can't be kept exactly. Give it as a string.")
    if value is None or isinstance(value, (str, bool, int, float, pulumi.Resource)) or inspect.isawaitable(value):
        return value
    advice = "Give the id in it." if hasattr(value, "id") else "Give a string, or a list."
    raise pulumi.RunError(f"InputError: reading {of}: a value of type {type(value).__name__} can't be kept. {advice}")


async def secrets_among(value: Any, path: Sequence[str | int] = ()) -> list[list[str | int]]:
    """Return the paths of the secrets in the inputs, and hide their values in all messages of this program."""
    if isinstance(value, pulumi.Output):
        if not await value.is_secret():
            return []
        hide(await value.future())
        return [list(path)]
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    return [found for key, item in items for found in await secrets_among(item, (*path, key))]
