"""`FleetSet`: the dynamic resource of the sets of many instances, and its provider.

Most programs use `FleetSnapshots` instead; `snapset backup` declares it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult
from typing_extensions import Required, Unpack

from snapset import errors, rules
from snapset.resources.engine_watch import engine_is_there
from snapset.resources.provider_base import SetsProvider, adopted_here, for_engine, is_sound, say, with_sentinels
from snapset.resources.set_args import SetArgs, resource_properties
from snapset.resources.set_state import SetState, state_of
from snapset.rules import UNKNOWN, Problem, has_unknown
from snapset.sets import attempts, preflight, tags
from snapset.sets import inputs as set_inputs
from snapset.sets.create import Taken
from snapset.sets.take import take_sets

TYPE = "pulumi-python:dynamic/snapset:FleetSet"

_OUTPUTS = ("sets", "current", "failures", "region", "claim", "change_id")
# A command that names more sets than that is too long to read.
_NAMED = 20


class FleetSetProvider(SetsProvider):
    """Check, diff, create, read, update and delete of the sets of a fleet. Nothing here waits for them."""

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace all sets if what shaped them changed; else update if an instance has no whole set of its own."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        of_some = [_of_some_instance(props) for props in (olds, news)]
        replaces = set_inputs.find_changes(*of_some)
        # Where any set of the change serves, a new one is taken just because none does.
        keeps = not replaces and news.get("served_within") is None
        if ignored := keeps and set_inputs.find_differences(*of_some):
            number = len(current_sets(olds))
            stays = "its set stays as it is" if number == 1 else f"its {number} sets stay as they are"
            say(f"the same change was served with another {', '.join(ignored)}: {stays}")
        instance_ids = news["instance_ids"]
        if has_unknown(instance_ids):
            return DiffResult(changes=True, replaces=replaces)
        missing = instance_ids if replaces else self._find_missing(olds, news)
        if self._looks_ahead:
            with for_engine():
                self._warn_of_problems(news, missing)
        # A set of Python's has another order in each run.
        changed = olds.get("aws") != news.get("aws") or set(olds["instance_ids"]) != set(instance_ids)
        return DiffResult(changes=bool(replaces or missing) or changed, replaces=replaces)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Take the set of each instance; those that could not be taken are in the output `failures`."""
        with for_engine():
            outputs = self._take(props, props["instance_ids"])
        return CreateResult(f"fleet-{secrets.token_hex(9)[:17]}", {**props, **outputs, "claim": tags.new_claim()})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; what no longer exists is left out, and the next update takes it anew."""
        with for_engine():
            if not props.get("claim"):
                raise errors.InputError(f"importing {id_}: sets can't be imported, they are taken.")
            refreshed = self._refresh(list(props["sets"].values()), props)
        return ReadResult(id_, {**props, "sets": refreshed})

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Take what is missing. What was recorded before stays in the record."""
        with for_engine():
            taken = self._take(news, self._find_missing(olds, news))
        kept = {name: {**olds[name], **taken[name]} for name in ("sets", "current")}
        return UpdateResult({**news, **taken, **kept, "claim": olds["claim"]})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Say that the sets stay. Calls nothing, and deletes nothing."""
        # Those that only served a change are another run's.
        own = (key for key, state in props["sets"].items() if state["outcome"] != "unchanged")
        set_ids = sorted(key for key in own if key not in adopted_here)
        region = props["region"]
        if not set_ids:
            return
        named = " ".join(set_ids)
        if len(set_ids) > _NAMED:
            named = f"$(snapset list --tag {tags.CLAIM}={props['claim']} --ids --region {region})"
        stay = "1 set stays" if len(set_ids) == 1 else f"{len(set_ids)} sets stay"
        say(f"{stay} in AWS. To delete: snapset delete {named} --region {region}")

    def _take(self, props: Mapping[str, Any], instance_ids: Sequence[str]) -> dict[str, Any]:
        """Return the outputs after a set of each of these instances was taken, or could not be."""
        if not instance_ids:
            return {"sets": {}, "current": {}, "failures": {}}
        outcome = take_sets(
            self._ec2(props),
            [self._inputs_of(_of_instance(props, instance_id)) for instance_id in instance_ids],
            still_wanted=engine_is_there,
            cut_off=attempts.cut_off_elsewhere(),
            served_within=props.get("served_within"),
        )
        adopted_here.update(taken.set.set_id for taken in outcome.taken.values() if taken.outcome == "adopted")
        return {
            "sets": {taken.set.set_id: _state(taken, outcome.attributes) for taken in outcome.taken.values()},
            "current": {key: taken.set.set_id for key, taken in outcome.taken.items()},
            "failures": {key: errors.record_of(error) for key, error in outcome.failures.items()},
        }

    def _find_missing(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
        """Return the instances that have no sound set of their own.

        `snapset backup` lists only instances that no set in EC2 serves, whatever the state has.
        """
        if news.get("served_within") is not None:
            return list(news["instance_ids"])
        states = current_sets(olds)
        shared = self._find_shared(list(states.values()), olds)
        sound = {key for key, state in states.items() if is_sound(state) and state["set_id"] not in shared}
        return [key for key in news["instance_ids"] if key not in sound]

    def _check_inputs(self, news: Mapping[str, Any]) -> list[Problem]:
        found = super()._check_inputs(_of_some_instance(news))
        if reason := _instance_ids(news["instance_ids"]):
            found.append(Problem(property="instance_ids", reason=reason))
        return found

    def _check_against_ec2(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[Problem]:
        if not olds.get("instance_ids"):
            # There is no resource yet, and no diff().
            try:
                self._warn_of_problems(news, news["instance_ids"])
            except errors.SnapsetError as error:
                return [Problem(property="instance_ids", reason=errors.show(error), error=error)]
        return []

    def _warn_of_problems(self, news: Mapping[str, Any], instance_ids: Sequence[str]) -> None:
        """Warn of instances that would get no set. One failure does not affect the others.

        Raises:
            SnapsetError: none would get a set, since EC2 can't be asked, or refuses the call.
        """
        if not instance_ids or has_unknown(news):
            return
        wanted = [self._inputs_of(_of_instance(news, instance_id)) for instance_id in instance_ids]
        try:
            problems = preflight.preview_sets(self._ec2(news).once(), wanted).problems
        except (errors.ThrottledError, errors.NoAnswerError) as error:
            say(f"warning: the instances are not checked: {error}")
            return
        for instance_id, some in problems.items():
            say(f"warning: {preflight.error_of(instance_id, some)}")


class FleetSetArgs(SetArgs, total=False):
    """The inputs of `FleetSet`."""

    instance_ids: Required[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """The instances; each gets one set."""
    served_within: float | None
    """In a run of `snapset backup`: any set of the change that is so many seconds old serves, whoever holds it."""


class FleetSet(Resource, module="snapset", name="FleetSet"):
    """The sets of many instances, each taken by one CreateSnapshots call.

    A change of what shaped them replaces all. An instance that joins gets a set; one that leaves loses none.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
    """

    # Pulumi reads the annotations, and does not know what a TypedDict is.
    instance_ids: pulumi.Output[list[str]]
    """The instances."""
    sets: pulumi.Output[dict[str, Any]]
    """The record of each set, by its id; with those of instances that have left."""
    current: pulumi.Output[dict[str, str]]
    """The id of the set that counts for each instance."""
    failures: pulumi.Output[dict[str, Any]]
    """Why an instance has no set, by instance."""
    region: pulumi.Output[str]
    """Where they are."""
    change_id: pulumi.Output[str | None]
    """The change that they were taken for."""
    claim: pulumi.Output[str]
    """The tag value that the sets bear once the state holds them."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, **inputs: Unpack[FleetSetArgs]) -> None:
        """Declare the sets.

        Args:
            name: the resource's name.
            opts: Pulumi's resource options; the calls follow an `aws.Provider` in them, or in the parent's.
            inputs: see `FleetSetArgs`.

        Raises:
            RunError: an input's name is unknown.
        """
        props = resource_properties(
            inputs, FleetSetArgs, outputs=_OUTPUTS, of=type(self).__name__, name=name, type_=TYPE, opts=opts
        )
        super().__init__(FleetSetProvider(), name, props, opts)


def current_sets(props: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what the state has of the set that counts for each instance, by instance."""
    sets, current = props["sets"] or {}, props["current"] or {}
    return {instance_id: sets[set_id] for instance_id, set_id in current.items() if set_id in sets}


async def await_outputs(taken: FleetSet) -> dict[str, Any]:
    """Return the outputs of the resource as they are known, but for the sets.

    Not by `Output.all`, which makes an output of each value in them: with the sets, of tens of thousands.
    """
    outputs = {name: getattr(taken, name) for name in ("instance_ids", "current", "failures", "region", "claim")}
    return {name: await output.future() for name, output in outputs.items()}


def _state(taken: Taken, attributes: Mapping[str, str]) -> SetState:
    """Return the outputs that describe a set, with how its volumes were: the marks will tell."""
    state = state_of(taken)
    state["confirmed"] = taken.is_confirmed
    # An adopted set was taken earlier, and the volumes may have been others then.
    if taken.outcome == "created":
        state["volumes"] = {key: attributes[key] for key in taken.set.volume_ids if key in attributes}
    return state


def _of_instance(props: Mapping[str, Any], instance_id: str) -> dict[str, Any]:
    """Return the inputs of one instance. Where any set of the change serves, its token names no resource."""
    scope = props["scope"] if props.get("served_within") is None else ""
    return {**props, "instance_id": instance_id, "scope": scope}


def _of_some_instance(props: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the inputs of all instances have in common, as the inputs of some instance."""
    return {**props, "instance_id": "i-0123456789abcdef0"}


def _instance_ids(value: Any) -> str | None:
    if value == UNKNOWN:
        return None
    if not isinstance(value, (list, tuple)):
        return f"{value!r} is not a list of instance ids"
    known = [instance_id for instance_id in value if not has_unknown(instance_id)]
    reasons: Iterable[str | None] = map(rules.instance_id, known)
    if reason := next(filter(None, reasons), None):
        return reason
    twice = ", ".join(sorted({instance_id for instance_id in known if known.count(instance_id) > 1}))
    return f"{twice} is listed twice" if twice else None
