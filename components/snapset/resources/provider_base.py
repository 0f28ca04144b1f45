"""The base of snapset's dynamic providers: the stack's settings, unknown values, checks, and errors in one line.

Pulumi stores a provider by its module and class name (about forty bytes), so each provider class is importable,
captures nothing and is built without arguments. The names of these classes are in users' states: they stay.
https://www.pulumi.com/docs/iac/concepts/resources/dynamic-providers/
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pulumi.dynamic import CheckFailure, CheckResult, ConfigureRequest, ResourceProvider
from pulumi.output import Unknown

from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.aws.session import find_region
from snapset.aws.settings import AwsSettings
from snapset.end import end_now
from snapset.resources.engine_watch import end_with_engine
from snapset.retry import Retry
from snapset.rules import UNKNOWN, Problem, has_unknown

DEBUG = "SNAPSET_DEBUG"


class SnapsetProvider(ResourceProvider):
    """What snapset's dynamic providers share. All resources of a run share one process with four threads."""

    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Read the stack's `aws` config. Runs once, in the provider's own process only."""
        spec = sys.modules["__main__"].__spec__
        if spec and spec.name == "pulumi.dynamic.__main__":
            # The engine waits for this process to end. By the time this is called, all threads have ended.
            atexit.register(end_now, 0)
            threading.Thread(target=end_with_engine, daemon=True).start()
        if not os.environ.get(DEBUG):
            # Pulumi shows a handler's exception with its traceback; this leaves the message.
            sys.tracebacklimit = 0
        self._preflight = str(req.config.get("snapset:preflight")).lower() != "false"
        with one_line_errors():
            self._retry = Retry.from_environment(say)
            self._settings = AwsSettings.from_config(lambda key: req.config.get(f"aws:{key}"))

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse bad inputs, and inputs that do not fit what EC2 has now."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        hidden = [text for name in news.pop("secrets", None) or [] for text in texts_in(news.get(name))]
        failures = self._follow_provider(news)
        problems = [] if failures else self._find_problems(news)
        if not failures and not problems and self._preflight and not has_unknown(news):
            problems = self._find_obstacles(olds, news)
        failures += [CheckFailure(problem.property, hide(problem.reason, hidden)) for problem in problems]
        return CheckResult(news, failures)

    @abstractmethod
    def _find_problems(self, news: Mapping[str, Any]) -> list[Problem]:
        """Return what is wrong with the inputs as far as they are known."""

    @abstractmethod
    def _find_obstacles(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[Problem]:
        """Return what in EC2 stands in the way of a change from the old inputs to the new, if there is one."""

    def _ec2(self, props: Mapping[str, Any]) -> Ec2:
        return connect(self._settings_of(props).in_region(props["region"]))

    def _settings_of(self, props: Mapping[str, Any]) -> AwsSettings:
        """Return the settings of the `aws.Provider` in the inputs, as far as they are known, else the stack's."""
        given = props.get("aws")
        if given is None:
            return self._settings
        return AwsSettings.from_provider({key: value for key, value in given.items() if not has_unknown(value)})

    def _follow_provider(self, news: dict[str, Any]) -> list[CheckFailure]:
        """Fill in the Region of the `aws.Provider`, or of the stack; return what is wrong."""
        given = news.get("aws")
        if given is not None:
            given = news["aws"] = {key: value for key, value in given.items() if value}
        try:
            settings = self._settings_of(news)
        except errors.SnapsetError as error:
            # Name no property: the engine would print its value, secrets included.
            return [CheckFailure("", errors.show(error))]
        unknown = {key for key, value in (given or {}).items() if has_unknown(value)}
        if not news.get("region") and "region" in unknown:
            news["region"] = UNKNOWN
        try:
            news["region"] = news.get("region") or find_region(settings)
        except errors.SnapsetError as error:
            return [CheckFailure("region", errors.show(error))]
        return []


def hide(reason: str, secrets: Sequence[str]) -> str:
    """Return the text without the secrets."""
    for secret in secrets:
        reason = reason.replace(secret, "[secret]")
    return reason


def texts_in(value: Any) -> list[str]:
    """Return the strings in a value, the longest first."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        return sorted((text for item in value for text in texts_in(item)), key=len, reverse=True)
    return [str(value)] if value not in (None, "", UNKNOWN, True, False) else []


def with_sentinels(value: Any) -> Any:
    """Return the value with Pulumi's sentinel string in place of each value that is not yet known.

    The wire has that string; Pulumi's Python SDK has an object, which does not compare.
    """
    if isinstance(value, Mapping):
        return {name: with_sentinels(item) for name, item in value.items()}
    if isinstance(value, list):
        return [with_sentinels(item) for item in value]
    return UNKNOWN if isinstance(value, Unknown) else value


def say(text: str) -> None:
    """Show one line as a diagnostic of the stack: Pulumi shows what a provider prints."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class _Shown(Exception):  # noqa: N818
    """An error that reaches the engine as `Name: message` with every SDK.

    From 3.260 on the SDK sends the traceback, which puts the class before `str()`. 3.259 leaves it to gRPC, which
    sends what `format()` makes of the error. So only that has the name, and no SDK shows it twice.
    """

    def __format__(self, spec: str) -> str:
        return format(f"{type(self).__name__}: {self!s}", spec)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show an error of snapset's as `Name: message`, without the module path and the chain behind it."""
    try:
        yield
    except errors.SnapsetError as error:
        if os.environ.get(DEBUG):
            raise
        shown = type(type(error).__name__, (_Shown,), {"__module__": "builtins"})
        raise shown(str(error)) from None
