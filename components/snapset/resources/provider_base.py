"""The base of snapset's dynamic providers: the stack's settings, unknown values, checks, and errors in one line.

Pulumi stores a provider by its module and class name (about forty bytes), so each provider class is importable,
captures nothing and is built without arguments. The names of these classes are in users' states: they stay.
https://www.pulumi.com/docs/iac/concepts/resources/dynamic-providers/

Nothing that Pulumi does deletes a snapshot. A resource that is replaced, removed or destroyed says which sets stay.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pulumi.dynamic import CheckFailure, CheckResult, ConfigureRequest, ResourceProvider
from pulumi.output import Unknown

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR
from snapset.aws.session import find_region, refuse_other_account
from snapset.aws.settings import AwsSettings
from snapset.end import end_now
from snapset.limits import Limits
from snapset.resources.engine_watch import end_with_engine
from snapset.resources.set_state import set_from_state
from snapset.rules import UNKNOWN, Problem, has_unknown
from snapset.sets import inputs as set_inputs
from snapset.sets.claims import find_other_claims
from snapset.sets.inputs import SetInputs
from snapset.text import DEBUG, clean, hide, show_traceback

# The sets that this process has adopted. A forced replacement may adopt the very set of what it replaces, if that
# could not be marked: then the delete that follows must not tell how to delete it.
adopted_here: set[str] = set()


class SetsProvider(ResourceProvider):
    """What the providers of one set and of many have in common. All resources of a run share one process."""

    serialize_as_secret_always = False
    # What check() learns. Before a delete-first replacement the engine calls diff() of what depends on it without it.
    _is_preview = False

    def configure(self, req: ConfigureRequest) -> None:
        """Read the stack's `aws` config. Runs once, in the provider's own process only."""
        spec = sys.modules["__main__"].__spec__
        if spec and spec.name == "pulumi.dynamic.__main__":
            # The engine waits for this process to end. By the time this is called, all threads have ended.
            atexit.register(end_now, 0)
            threading.Thread(target=end_with_engine, daemon=True).start()
        hide_tracebacks()
        self._preflight = str(req.config.get("snapset:preflight")).lower() != "false"
        with for_engine():
            self._limits = Limits.from_environment()
            self._settings = AwsSettings.from_config(lambda key: req.config.get(f"aws:{key}"))

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse bad inputs; in a preview, also inputs that do not fit what EC2 has now."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        for path in news.pop("secrets", None) or []:
            hide(_at(path, news))
        # With ignore_changes=["*"], the inputs are those of the state, which has no such input.
        self._is_preview = news.pop("is_preview", None) is True
        failures = self._follow_provider(news)
        problems = [] if failures else self._check_inputs(news)
        if not failures and not problems and self._looks_ahead and not has_unknown(news):
            problems = self._check_against_ec2(olds, news)
        for problem in problems:
            failures.append(CheckFailure(problem.property, clean(problem.reason.replace(UNKNOWN, "[unknown]"))))
        return CheckResult(news, failures)

    @property
    def _looks_ahead(self) -> bool:
        """Whether EC2 is asked what stands in the way. Without a preview, the call itself follows, and tells."""
        return self._preflight and self._is_preview

    def _check_inputs(self, news: Mapping[str, Any]) -> list[Problem]:
        """Return what is wrong with the inputs as far as they are known."""
        given = news.get("tags") or {}
        if isinstance(given, Mapping):
            # All of them have to fit on a snapshot.
            news = {**news, "tags": {**self._settings_of(news).default_tags, **given}}
        return set_inputs.check_inputs(news)

    @abstractmethod
    def _check_against_ec2(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[Problem]:
        """Return what in EC2 stands in the way of a change from the old inputs to the new."""

    def _inputs_of(self, props: Mapping[str, Any]) -> SetInputs:
        return replace(set_inputs.parse(props), default_tags=self._settings_of(props).default_tags)

    def _find_shared(self, states: Sequence[Mapping[str, Any]], olds: Mapping[str, Any]) -> list[str]:
        """Return the adopted sets that another resource has claimed, too; as far as that can be seen now."""
        adopted = [state for state in states if state["outcome"] == "adopted"]
        if not adopted:
            return []
        try:
            ids = [snapshot_id for state in adopted for snapshot_id in state["snapshot_ids"]]
            others = set(find_other_claims(self._ec2(olds), ids, claim=olds["claim"]))
        except errors.SnapsetError as error:
            say(f"warning: whether other resources have claimed the adopted sets is not known: {error}")
            return []
        shared = [state["set_id"] for state in adopted if others & set(state["snapshot_ids"])]
        for set_id in shared:
            say(f"{set_id}: another resource has claimed this set, too: a new one takes its place")
        return shared

    def _refresh(self, states: Sequence[Mapping[str, Any]], props: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the sets as they are now, by id; what no longer exists is left out, unless it may be invisible."""
        recorded, ec2 = [set_from_state(state) for state in states], self._ec2(props)
        there = ec2.describe_snapshots([key for one in recorded for key in one.snapshot_ids])
        by_id = {snapshot.snapshot_id: snapshot for snapshot in there}
        refreshed: dict[str, dict[str, Any]] = {}
        for state, one in zip(states, recorded, strict=True):
            found = one.as_seen([by_id[key] for key in one.snapshot_ids if key in by_id])
            gone = sorted(set(one.snapshot_ids) - set(found.snapshot_ids))
            if gone and self._limits.may_be_invisible(one.age):
                refreshed[one.set_id] = dict(state)
                continue
            if gone:
                refuse_other_account(ec2.settings, one.owner_id, doing=f"refreshing {one.set_id}")
                verb = "exists" if len(gone) == 1 else "exist"
                say(f"{one.set_id} of {one.instance_id}: {', '.join(gone)} no longer {verb}")
            if found.snapshots:
                changes = {"snapshots": found.records(), "snapshot_ids": found.snapshot_ids}
                refreshed[one.set_id] = {**state, **changes}
        return refreshed

    def _ec2(self, props: Mapping[str, Any]) -> Ec2:
        return Ec2(self._settings_of(props).in_region(props["region"]), self._limits, say)

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
        if not news.get("region") and given and has_unknown(given.get("region")):
            news["region"] = UNKNOWN
        try:
            news["region"] = news.get("region") or find_region(settings)
        except errors.SnapsetError as error:
            return [CheckFailure("region", errors.show(error))]
        return []


def is_sound(state: Mapping[str, Any]) -> bool:
    """Tell whether the set in a state is whole and not in error, as far as the state knows."""
    recorded = set_from_state(state)
    return recorded.state != ERROR and recorded.is_whole


def _at(path: Sequence[str | float], value: Any) -> Any:
    """Return what is at the path. Pulumi carries every number as a float."""
    for step in path:
        value = value[step if isinstance(step, str) else int(step)]
    return value


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
    sys.stderr.write(f"{clean(text)}\n")
    sys.stderr.flush()


def hide_tracebacks() -> None:
    """Leave the message of an exception, which Pulumi would show with its traceback."""
    if not os.environ.get(DEBUG):
        sys.tracebacklimit = 0


class _Shown(errors.SnapsetError):
    """An error that reaches the engine as `Name: message` with every SDK.

    From 3.260 on the SDK sends the traceback, which puts the class before `str()`. 3.259 leaves it to gRPC, which
    sends what `format()` makes of the error. So only that has the name, and no SDK shows it twice.
    """

    def __format__(self, spec: str) -> str:
        return format(f"{type(self).__name__}: {self!s}", spec)


@contextmanager
def for_engine() -> Iterator[None]:
    """Show an error of snapset's as `Name: message`, without the module path and the chain behind it."""
    try:
        yield
    except errors.SnapsetError as error:
        show_traceback()
        shown = type(type(error).__name__, (_Shown,), {"__module__": "builtins"})
        raise shown(str(error)) from None
