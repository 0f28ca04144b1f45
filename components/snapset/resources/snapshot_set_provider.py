"""The dynamic provider behind `SnapshotSet`: decides what to do, and lets `lifecycle` do it.

Pulumi stores the provider by its module and class name (about forty bytes), so the class is importable, captures
nothing and is built without arguments. https://www.pulumi.com/docs/iac/concepts/resources/dynamic-providers/
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Any

from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)

from snapset import errors
from snapset.aws.ec2 import Ec2, Snapshot, connect
from snapset.resources.provider_base import (
    answer_check,
    follow_provider,
    read_settings,
    say,
    settings_of,
    shown_in_one_line,
    wants_preflight,
    with_sentinels,
)
from snapset.retry import Patience, may_be_invisible, wait_out_throttling
from snapset.sets import create as lifecycle
from snapset.sets import preflight, tags
from snapset.sets.inputs import SetInputs, changed_shape, has_unknown, is_served, parse, problems_of, shape_of

BEHAVIOUR = ("on_delete", "aws")


class SnapshotSetProvider(ResourceProvider):
    """Check, diff, create, read, update and delete of one snapshot set.

    All sets of a run share one process with four threads, so nothing here waits for a snapshot to complete.
    """

    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Read the stack's `aws` config. Runs once, in the provider's own process only."""
        self._wanted: dict[str, str] = {}
        self._adopted: set[str] = set()
        self._preflight = wants_preflight(req)
        self._settings = read_settings(req)

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse bad inputs, and inputs that do not fit the instance as it is now."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        previews = news.pop("previews", True)
        self._wanted[news["scope"]] = news["on_delete"]
        failures = follow_provider(news, self._settings)
        failures += [CheckFailure(each.property, each.reason) for each in problems_of(news)]
        is_new = changed_shape(olds, news) and not is_served(olds, news)
        if not failures and not has_unknown([shape_of(news), news.get("aws")]) and is_new:
            inputs = parse(news)
            failures = self._preflight_failures(news, inputs, previews=previews) if self._preflight else []
        return answer_check(news, failures)

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace the set if anything that shaped it changed, or if AWS set it to `error`."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        replaces = changed_shape(olds, news)
        if replaces and is_served(olds, news):
            which = ", ".join(replaces)
            say(f"change {news['change_id']} was served with another {which}: {id_} stays as it is")
            replaces = []
        if any(each["state"] == lifecycle.ERROR for each in olds.get("snapshots", [])):
            replaces.append("snapshots")
        changed = any(olds.get(knob) != news.get(knob) for knob in BEHAVIOUR)
        return DiffResult(changes=bool(replaces) or changed, replaces=replaces, delete_before_replace=False)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Adopt or create the set: one short transaction."""
        claim = tags.new_claim()
        with shown_in_one_line():
            inputs = parse(props)
            ec2 = self._ec2(props)
            volumes = self._volumes(ec2, inputs)
            made = lifecycle.create_set(
                ec2, inputs, volume_ids=volumes or None, say=say, still_wanted=_engine_is_there
            )
            if made.adopted:
                self._adopted.add(made.set_id)
                lifecycle.announce_claim(ec2, made, claim=claim)
        by_volume = {each.volume_id: each for each in made.snapshots}
        order = [*(each for each in volumes if each in by_volume), *(by_volume.keys() - volumes.keys())]
        snapshots = [_record(by_volume[each], device=volumes.get(each, "")) for each in order]
        return CreateResult(
            made.set_id,
            {
                **props,
                "set_id": made.set_id,
                "snapshot_ids": [each["snapshot_id"] for each in snapshots],
                "snapshots": snapshots,
                "owner_id": made.snapshots[0].owner_id,
                "start_time": made.snapshots[0].start_time,
                "claim": claim,
                "outcome": "adopted" if made.adopted else "created",
            },
        )

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; snapshots that are gone are left out, and an empty set is gone."""
        with shown_in_one_line():
            records = {each["snapshot_id"]: each for each in props["snapshots"]}
            found = lifecycle.find_set(self._ec2(props), list(records))
        there = {each.snapshot_id for each in found}
        gone = [each for each in records if each not in there]
        if gone and may_be_invisible(props["start_time"]):
            return ReadResult(id_, props)
        if gone:
            say(f"{id_}: {', '.join(gone)} no longer exist{'s' if len(gone) == 1 else ''}")
        if not found:
            return ReadResult("", {})
        snapshots = [_record(each, device=records[each.snapshot_id]["device_name"]) for each in found]
        snapshot_ids = [each["snapshot_id"] for each in snapshots]
        return ReadResult(id_, {**props, "snapshots": snapshots, "snapshot_ids": snapshot_ids})

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Take over a changed behaviour knob. Calls nothing."""
        kept = {name: value for name, value in olds.items() if name not in BEHAVIOUR}
        return UpdateResult({**kept, **{knob: news[knob] for knob in BEHAVIOUR if knob in news}})

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Delete the snapshots if `on_delete` says so; else say which set stays."""
        # A forced replacement may adopt the very set that the old resource holds, if that was never claimed.
        if id_ in self._adopted:
            say(f"{id_} stays: the resource that replaces this one has adopted it")
            return
        # A program that asks for `retain` now keeps the set that it replaces, whatever it asked for before.
        if {props["on_delete"], self._wanted.get(props["scope"], "delete")} != {"delete"}:
            say(f"{id_} stays: {', '.join(props['snapshot_ids'])} (on_delete is retain)")
            return
        with shown_in_one_line():
            ec2, ids = self._ec2(props), props["snapshot_ids"]
            others = lifecycle.delete_set(ec2, ids, set_id=id_, claim=props["claim"])
        if others:
            say(f"{id_} stays: another resource has claimed {', '.join(others)}")

    def _preflight_failures(
        self, props: Mapping[str, Any], inputs: SetInputs, *, previews: bool
    ) -> list[CheckFailure]:
        # Without a preview the call itself follows at once, and a dry run would count against its rate limit.
        found = preflight.find_problems(self._ec2(props), inputs, dry_run=previews, say=say)
        return [CheckFailure(each.property, each.reason) for each in found]

    def _ec2(self, props: Mapping[str, Any]) -> Ec2:
        return connect(settings_of(props, self._settings).in_region(props["region"]))

    def _volumes(self, ec2: Ec2, inputs: SetInputs) -> dict[str, str]:
        try:
            instance = ec2.recall_instance(inputs.instance_id) or wait_out_throttling(
                lambda: ec2.describe_instance(inputs.instance_id),
                doing=f"describing instance {inputs.instance_id}",
                patience=Patience.from_environment(),
                say=say,
            )
            return preflight.volumes_of(inputs, instance)
        except errors.NotPermittedError as error:
            say(f"warning: {inputs.instance_id}: the snapshots' devices are not recorded: {error}")
            return {}


def _record(snapshot: Snapshot, *, device: str) -> dict[str, Any]:
    return {
        "snapshot_id": snapshot.snapshot_id,
        "volume_id": snapshot.volume_id,
        "device_name": device,
        "size_gib": snapshot.size_gib,
        "encrypted": snapshot.encrypted,
        "state": snapshot.state,
        "start_time": snapshot.start_time,
    }


def _engine_is_there() -> bool:
    # The engine starts this process with its own address; a killed engine leaves the process behind for a while.
    host, _, port = (sys.argv[1:] or [""])[0].rpartition(":")
    if not port.isdigit():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True
