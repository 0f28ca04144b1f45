"""`FleetSet`: the dynamic resource of the sets of many instances, and its provider. Programs use `FleetSnapshots`.

One resource for all: the engine writes its whole state for each resource, so that hundreds of them take longer than
the calls to AWS.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult
from typing_extensions import Required, Unpack

from snapset import errors, rules
from snapset.aws.records import ERROR
from snapset.resources.engine_watch import engine_is_there
from snapset.resources.provider_base import one_line_errors, say, with_sentinels
from snapset.resources.sets_provider import BEHAVIOUR, SetArgs, SetsProvider, declared, record_of, set_of
from snapset.rules import Problem, has_unknown
from snapset.sets import inputs as set_inputs
from snapset.sets import tags
from snapset.sets.claim import announce_claim, find_other_claims
from snapset.sets.create import Taken
from snapset.sets.fleet import find_refused, take_sets
from snapset.sets.threads import for_each

TYPE = "pulumi-python:dynamic/snapset:FleetSet"

# Set in the engine's environment where the state says that a run was cut off while it took sets.
CUT_OFF = "SNAPSET_CUT_OFF"

_OUTPUTS = ("sets", "failures", "region", "claim")
_Records = Mapping[str, Mapping[str, Any]]


class FleetSetProvider(SetsProvider):
    """Check, diff, create, read, update and delete of the sets of a fleet. Nothing here waits for them."""

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace all sets if what shaped them changed; else update if an instance has no whole set of its own."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        self._on_delete[id_] = news["on_delete"]
        of_some = [_of_some_instance(props) for props in (olds, news)]
        replaces = set_inputs.find_changes(*of_some)
        if ignored := not replaces and set_inputs.find_differences(*of_some):
            kept = [record["set_id"] for record in olds["sets"].values()]
            stays = f"{kept[0]} stays as it is" if len(kept) == 1 else f"{len(kept)} sets stay as they are"
            say(f"change {news['change_id']} was served with another {', '.join(ignored)}: {stays}")
        instance_ids = news["instance_ids"]
        if has_unknown(instance_ids):
            return DiffResult(changes=True, replaces=replaces)
        shared = self._find_shared(olds)
        for instance_id in shared:
            set_id = olds["sets"][instance_id]["set_id"]
            say(f"{set_id}: another resource has claimed this set, too: a new one takes its place")
        missing = instance_ids if replaces else _missing(olds, instance_ids, shared)
        if self._is_preview:
            self._say_refused(news, missing)
        changed = any(olds.get(name) != news.get(name) for name in (*BEHAVIOUR, "instance_ids"))
        return DiffResult(changes=bool(replaces or missing) or changed, replaces=replaces)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Take the set of each instance; those that could not be taken are in the output `failures`."""
        with one_line_errors():
            outputs = self._take(props, props["instance_ids"], claim=tags.new_claim())
        return CreateResult(f"fleet-{secrets.token_hex(9)[:17]}", {**props, **outputs})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; what no longer exists is left out, and the next update takes it anew."""
        with one_line_errors():
            if not props.get("claim"):
                raise errors.InputError(f"importing {id_}: sets can't be imported, they are taken.")
            sets = {key: set_of(record) for key, record in props["sets"].items()}
            there = self._ec2(props).describe_snapshots([key for one in sets.values() for key in one.snapshot_ids])
        by_id = {snapshot.snapshot_id: snapshot for snapshot in there}
        records: dict[str, Any] = {}
        for instance_id, recorded in sets.items():
            found = recorded.as_seen([by_id[key] for key in recorded.snapshot_ids if key in by_id])
            gone = sorted(set(recorded.snapshot_ids) - set(found.snapshot_ids))
            if gone and self._retry.may_be_invisible(recorded.age):
                records[instance_id] = props["sets"][instance_id]
                continue
            if gone:
                verb = "exists" if len(gone) == 1 else "exist"
                say(f"{recorded.set_id} of {instance_id}: {', '.join(gone)} no longer {verb}")
            if found.snapshots:
                changes = {"snapshots": found.records(), "snapshot_ids": found.snapshot_ids}
                records[instance_id] = {**props["sets"][instance_id], **changes}
        return ReadResult(id_, {**props, "sets": records})

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Take what is missing. What has left stays, in the record too, unless `on_delete` says otherwise."""
        records: dict[str, Any] = dict(olds["sets"])
        with one_line_errors():
            missing = _missing(olds, news["instance_ids"], self._find_shared(olds))
            taken = self._take(news, missing, claim=olds["claim"])
            gone = [key for key in records if key in taken["sets"]]
            if news["on_delete"] == "delete" and not news.get("keep_left"):
                gone += [key for key in records if key not in news["instance_ids"]]
            old = {key: records.pop(key) for key in gone}
            self._let_all_go(old, olds, why_retained=self._why_retained(id_, olds))
        return UpdateResult({**news, **taken, "sets": {**records, **taken["sets"]}})

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Delete the snapshots if `on_delete` says so, in the state and in the program; else say which sets stay."""
        with one_line_errors():
            self._let_all_go(props["sets"], props, why_retained=self._why_retained(id_, props))

    def _take(self, props: Mapping[str, Any], instance_ids: Sequence[str], *, claim: str) -> dict[str, Any]:
        """Return the outputs after a set of each of these instances was taken, or could not be."""
        if not instance_ids:
            return {"sets": {}, "failures": {}, "claim": claim}
        ec2 = self._ec2(props)
        wanted = [self._inputs_of({**props, "instance_id": instance_id}) for instance_id in instance_ids]
        cut_off = bool(os.environ.get(CUT_OFF))
        fleet = take_sets(ec2, wanted, retry=self._retry, still_wanted=engine_is_there, cut_off=cut_off)
        if adopted := [taken.set for taken in fleet.taken.values() if taken.outcome == "adopted"]:
            self._adopted |= {found.set_id for found in adopted}
            announce_claim(ec2, adopted, claim=claim, retry=self._retry)
        return {
            "sets": {key: _record(taken, fleet.attributes) for key, taken in fleet.taken.items()},
            "failures": {key: errors.show(error) for key, error in fleet.failures.items()},
            "claim": claim,
        }

    def _let_all_go(self, records: _Records, props: Mapping[str, Any], *, why_retained: str | None) -> None:
        failures: list[errors.SnapsetError] = []

        def let_go(record: Mapping[str, Any]) -> None:
            try:
                self._let_go(record, props, why_retained=why_retained)
            except errors.SnapsetError as error:
                failures.append(error)

        for_each(let_go, list(records.values()))
        if failures:
            raise type(failures[0])(" ".join(map(str, failures)), code=failures[0].code)

    def _find_shared(self, olds: Mapping[str, Any]) -> list[str]:
        """Return the instances whose adopted set another resource holds, too; as far as that can be seen now."""
        adopted = {
            key: record["snapshot_ids"] for key, record in olds["sets"].items() if record["outcome"] == "adopted"
        }
        if not adopted:
            return []
        ids = [snapshot_id for some in adopted.values() for snapshot_id in some]
        try:
            others = find_other_claims(self._ec2(olds), ids, claim=olds["claim"])
        except errors.SnapsetError as error:
            say(f"warning: whether other resources have claimed the adopted sets is not known: {error}")
            return []
        return [key for key, some in adopted.items() if not set(some).isdisjoint(others)]

    def _find_problems(self, news: Mapping[str, Any]) -> list[Problem]:
        found = super()._find_problems(_of_some_instance(news))
        if reason := _instance_ids(news["instance_ids"]):
            found.append(Problem(property="instance_ids", reason=reason))
        return found

    def _find_obstacles(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[Problem]:
        if self._is_preview and not olds.get("instance_ids"):
            # There is no resource yet, and no diff().
            self._say_refused(news, news["instance_ids"])
        return []

    def _say_refused(self, news: Mapping[str, Any], instance_ids: Sequence[str]) -> None:
        """Say which instances would get no set. None of them keeps the others from theirs."""
        if not instance_ids or not self._preflight or has_unknown(news):
            return
        wanted = [self._inputs_of({**news, "instance_id": instance_id}) for instance_id in instance_ids]
        try:
            refused = find_refused(self._ec2(news), wanted, retry=self._retry)
        except errors.SnapsetError as error:
            say(f"warning: the instances are not checked: {error}")
            return
        for reason in refused.values():
            say(f"warning: {reason}")


class FleetSetArgs(SetArgs, total=False):
    """The inputs of `FleetSet`."""

    instance_ids: Required[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """The instances; each gets one set."""
    keep_left: bool | None
    """Keep the sets of instances that are no longer listed, also if `on_delete` is `delete`."""


class FleetSet(Resource, module="snapset", name="FleetSet"):
    """The sets of many instances, each taken by one CreateSnapshots call.

    A change of what shaped them replaces all. An instance that joins gets a set; one that leaves loses none, unless
    `on_delete` is `delete`. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
    """

    # Pulumi reads the annotations, and does not know what a TypedDict is.
    instance_ids: pulumi.Output[list[str]]
    """The instances."""
    sets: pulumi.Output[dict[str, Any]]
    """The record of each set, by instance; with those that have left, unless `on_delete` is `delete`."""
    failures: pulumi.Output[dict[str, str]]
    """Why an instance has no set, by instance."""
    region: pulumi.Output[str]
    """Where they are."""
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
        props = declared(
            inputs, FleetSetArgs, outputs=_OUTPUTS, of=type(self).__name__, name=name, type_=TYPE, opts=opts
        )
        super().__init__(FleetSetProvider(), name, props, opts)


def _record(taken: Taken, attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return the outputs that describe a set, with how its volumes were, if that was seen: marks will say it."""
    found = record_of(taken)
    known = {key: attributes[key] for key in taken.set.volume_ids if key in attributes}
    # An adopted set was taken earlier, and the volumes may have been others then.
    return {**found, "volumes": known} if known and taken.outcome == "created" else found


async def known_of(taken: FleetSet) -> dict[str, Any]:
    """Return the outputs of the resource as they are known, but for the sets.

    Not by `Output.all`, which makes an output of each value in them: with the sets, of tens of thousands.
    """
    outputs = {name: getattr(taken, name) for name in ("instance_ids", "failures", "region", "claim")}
    return {name: await output.future() for name, output in outputs.items()}


def _missing(olds: Mapping[str, Any], instance_ids: Sequence[str], shared: Sequence[str]) -> list[str]:
    """Return the instances that have no set, or one that is in error, not whole, or another resource's, too."""
    sets = {key: set_of(record) for key, record in olds["sets"].items()}
    sound = {key for key, recorded in sets.items() if recorded.state != ERROR and recorded.is_whole}
    sound -= set(shared)
    return [key for key in instance_ids if key not in sound]


def _of_some_instance(props: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the inputs of all instances have in common, as the inputs of some instance."""
    return {**props, "instance_id": "i-0123456789abcdef0"}


def _instance_ids(value: Any) -> str | None:
    if has_unknown(value) and not isinstance(value, (list, tuple)):
        return None
    if not isinstance(value, (list, tuple)):
        return f"{value!r} is not a list of instance ids"
    known = [instance_id for instance_id in value if not has_unknown(instance_id)]
    reasons: Iterable[str | None] = map(rules.instance_id, known)
    if reason := next(filter(None, reasons), None):
        return reason
    twice = ", ".join(sorted({instance_id for instance_id in known if known.count(instance_id) > 1}))
    return f"{twice} is listed twice" if twice else None
