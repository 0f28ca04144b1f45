"""What every dynamic provider of snapset's needs: the stack's settings, unknown values, and one line for the user."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pulumi.dynamic import CheckFailure, CheckResult, ConfigureRequest
from pulumi.output import Unknown

from snapset import errors
from snapset.aws.session import AwsSettings, find_region
from snapset.sets.inputs import UNKNOWN, has_unknown

DEBUG = "SNAPSET_DEBUG"


def read_settings(req: ConfigureRequest) -> AwsSettings:
    """Return the stack's `aws` config, for a provider that has just begun, in a process of its own."""
    spec = sys.modules["__main__"].__spec__
    if spec and spec.name == "pulumi.dynamic.__main__":
        # The engine waits for this process to end, and Python takes a quarter of a second to take itself apart.
        # By the time this is called, all threads have ended. `end_slowly` takes it back.
        atexit.register(os._exit, 0)
    if not os.environ.get(DEBUG):
        # Pulumi shows a handler's exception with its traceback; this leaves the message.
        sys.tracebacklimit = 0
    with shown_in_one_line():
        return AwsSettings.from_config(lambda key: req.config.get(f"aws:{key}"))


def settings_of(props: Mapping[str, Any], stack: AwsSettings) -> AwsSettings:
    """Return the settings of the `aws.Provider` in the inputs, as far as they are known, else the stack's.

    Raises:
        InputError: the provider holds credentials, or a setting can't be read.
    """
    given = props.get("aws")
    if given is None:
        return stack
    return AwsSettings.from_provider({key: value for key, value in given.items() if not has_unknown(value)})


def follow_provider(news: dict[str, Any], stack: AwsSettings) -> list[CheckFailure]:
    """Fill in what the `aws.Provider` of the inputs says, or the stack's: Region and default tags.

    Returns:
        What is wrong with the provider.
    """
    given = news.get("aws")
    if given is not None:
        given = news["aws"] = {key: value for key, value in given.items() if value}
    try:
        settings = settings_of(news, stack)
    except errors.SnapsetError as error:
        # Of no property: the engine would print the property's value, with what is secret in it.
        return [CheckFailure("", errors.show(error))]
    unknown = {key for key, value in (given or {}).items() if has_unknown(value)}
    if "defaultTags" in unknown:
        news["tags"] = UNKNOWN
    elif isinstance(news.get("tags") or {}, Mapping):
        news["tags"] = {**settings.default_tags, **(news.get("tags") or {})}
    if not news.get("region") and "region" in unknown:
        news["region"] = UNKNOWN
    try:
        news["region"] = news.get("region") or find_region(settings)
    except errors.SnapsetError as error:
        return [CheckFailure("region", errors.show(error))]
    return []


def end_slowly() -> None:
    """Let this process end as Python does, which takes a quarter of a second. Called once something has failed.

    After a failed step Pulumi 3.274 tells the program that it is over, waits for this process to end, and then
    interrupts the program. Without the quarter of a second the program is interrupted before it has ended by itself,
    and a traceback of a whole page hides the line that says what failed.
    """
    atexit.unregister(os._exit)


def answer_check(news: dict[str, Any], failures: list[CheckFailure]) -> CheckResult:
    """Return what a check found."""
    if failures:
        end_slowly()
    return CheckResult(news, failures)


def wants_preflight(req: ConfigureRequest) -> bool:
    """Tell whether the stack's config leaves the checks against AWS at preview on."""
    return str(req.config.get("snapset:preflight")).lower() != "false"


def with_sentinels(value: Any) -> Any:
    """Return the value with Pulumi's text for what is not yet known."""
    # Pulumi's wire has a text for it; its Python SDK has an object, which does not compare.
    if isinstance(value, Mapping):
        return {name: with_sentinels(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_sentinels(each) for each in value]
    return UNKNOWN if isinstance(value, Unknown) else value


def say(text: str) -> None:
    """Show one line as a diagnostic of the stack."""
    # Pulumi takes what a provider prints for one.
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def shown_in_one_line() -> Iterator[None]:
    """Show an error of snapset's as `Name: message`, without the module path and the chain behind it."""
    try:
        yield
    except errors.SnapsetError as error:
        end_slowly()
        if os.environ.get(DEBUG):
            raise
        shown = type(type(error).__name__, (Exception,), {"__module__": "builtins"})
        raise shown(str(error)) from None
