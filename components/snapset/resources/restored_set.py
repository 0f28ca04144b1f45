"""The dynamic provider behind `RestoredSet`: decides what to do, and lets `restoring` do it.

Like `SnapshotSetProvider` it is importable, captures nothing and is built without arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
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

from snapset.aws.volumes import VolumeEc2, connect_for_volumes
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
from snapset.restore import plan as restore_plan
from snapset.restore import volumes as restoring
from snapset.restore.inputs import changed_restore, parse_restore, restore_problems_of
from snapset.sets.inputs import has_unknown


class RestoredSetProvider(ResourceProvider):
    """Check, diff, create, read, update and delete of the volumes of one set.

    All resources of a run share one process with four threads; a restore holds one until its volumes are attached.
    """

    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Read the stack's `aws` config. Runs once, in the provider's own process only."""
        self._preflight = wants_preflight(req)
        self._settings = read_settings(req)

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse bad inputs, and inputs that do not fit the set and the target as they are now."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        failures = follow_provider(news, self._settings)
        failures += [CheckFailure(each.property, each.reason) for each in restore_problems_of(news)]
        if not failures and self._preflight and changed_restore(olds, news) and not has_unknown(news):
            inputs = parse_restore(news)
            found = restore_plan.find_problems(self._ec2(news), inputs, say=say)
            failures = [CheckFailure(each.property, each.reason) for each in found]
        return answer_check(news, failures)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace the volumes if anything that shaped them changed; the old ones go first, to free their devices."""
        olds, news = with_sentinels(olds), with_sentinels(news)
        replaces = changed_restore(olds, news)
        changed = (olds.get("tags") or {}) != (news.get("tags") or {}) or olds.get("aws") != news.get("aws")
        return DiffResult(changes=bool(replaces) or changed, replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the volumes, attach them, and wait until they are."""
        with shown_in_one_line():
            inputs = parse_restore(props)
            made = restoring.restore_set(self._ec2(props), inputs, say=say)
        return CreateResult(f"restore-{inputs.token[:17]}", {**props, **_outputs([asdict(each) for each in made])})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Refresh the states; volumes that are gone are left out, and without any the restore is gone."""
        with shown_in_one_line():
            found = self._ec2(props).describe_volumes(props["volume_ids"])
        there = {each.volume_id: each for each in found}
        gone = [each for each in props["volume_ids"] if each not in there]
        if gone:
            say(f"{id_}: {', '.join(gone)} no longer exist{'s' if len(gone) == 1 else ''}")
        if not there:
            return ReadResult("", {})
        records = [
            {**each, "state": now.state, "size_gib": now.size_gib}
            for each in props["volumes"]
            if (now := there.get(each["volume_id"]))
        ]
        return ReadResult(id_, {**props, **_outputs(records)})

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Change the tags of the volumes, and take over a changed provider."""
        was, wanted = olds.get("tags") or {}, news.get("tags") or {}
        with shown_in_one_line():
            ec2 = self._ec2(news)
            if wanted and wanted != was:
                ec2.tag_volumes(olds["volume_ids"], wanted)
            if removed := was.keys() - wanted.keys():
                ec2.untag_volumes(olds["volume_ids"], sorted(removed))
        kept = {name: value for name, value in olds.items() if name != "aws"}
        return UpdateResult({**kept, "tags": wanted, **({"aws": news["aws"]} if "aws" in news else {})})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Detach the volumes, and delete them."""
        with shown_in_one_line():
            ec2 = self._ec2(props)
            restoring.delete_volumes(ec2, props["volume_ids"], instance_id=props.get("instance_id"), say=say)

    def _ec2(self, props: Mapping[str, Any]) -> VolumeEc2:
        return connect_for_volumes(settings_of(props, self._settings).in_region(props["region"]))


def _outputs(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"volume_ids": [each["volume_id"] for each in records], "volumes": list(records)}
