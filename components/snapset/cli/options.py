"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from snapset import rules
from snapset.errors import InputError
from snapset.sets.tags import INSTANCE, SET_ID

SetId = Annotated[str, typer.Argument(metavar="SET_ID", help="Id of the set, such as set-0123456789abcdef0.")]
Instances = Annotated[
    list[str] | None, typer.Option("--instance", metavar="I", help="Only sets of this instance; repeatable.")
]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="NAME=V", help="Instances that this filter matches: tag:app=web; repeatable."),
]
WithTags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="K=V", help="Only sets whose snapshots all have this tag; repeatable."),
]
ExcludeBoot = Annotated[bool, typer.Option("--exclude-boot", help="Leave the root volume out.")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to wait: 90s, 30m, 2h.")]
Region = Annotated[
    str | None, typer.Option("--region", help="AWS Region; if left out, AWS_REGION, else the profile's.")
]
Profile = Annotated[str | None, typer.Option("--profile", help="AWS profile.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def check(name: str, value: object, rule: rules.Rule) -> None:
    """Raise an `InputError` if the option was given and its value breaks the rule."""
    if value is not None and (reason := rule(value)):
        raise InputError(f"reading {name}: {reason}.")


def check_set_id(set_id: str, *, name: str = "SET_ID") -> None:
    """Raise an `InputError` if it is not the id of a set."""
    check(name, set_id, rules.matches(SET_ID, "the id of a set", "set-0123456789abcdef0"))


def parse_tags(pairs: Sequence[str], *, name: str = "--tag") -> dict[str, str]:
    """Return the tags in `K=V` strings.

    Raises:
        InputError: a string has no `=`, or a key is given twice.
    """
    tags: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InputError(f"reading {name} {pair!r}: there is no '='. Write it as KEY=VALUE.")
        if key in tags:
            raise InputError(f"reading {name} {pair!r}: the key {key!r} is given twice.")
        tags[key] = value
    return tags


def parse_filters(texts: Sequence[str]) -> dict[str, list[str]]:
    r"""Return the filters in `NAME=VALUE[,VALUE]` strings; of one name given twice, any of the values matches.

    A comma in a value is written as `\,`.

    Raises:
        InputError: a string has another form.
    """
    filters: dict[str, list[str]] = {}
    for text in texts:
        name, _, joined = text.partition("=")
        values = [value.replace(r"\,", ",") for value in re.split(r"(?<!\\),", joined)]
        if not name or not all(values):
            raise InputError(f"reading --filter {text!r}: write it as NAME=VALUE, such as tag:app=web.")
        filters.setdefault(name, []).extend(values)
    return filters


def parse_instances(instance_ids: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the filters of DescribeSnapshots for the sets of these instances, or of all if there are none.

    Raises:
        InputError: one is not an instance id, or there are more than AWS takes.
    """
    from snapset.aws.ec2 import FILTER_VALUES

    for instance_id in instance_ids:
        check("--instance", instance_id, rules.instance_id)
    if len(instance_ids) > FILTER_VALUES:
        raise InputError(f"reading --instance: {len(instance_ids)} are too many; give at most {FILTER_VALUES}.")
    return {f"tag:{INSTANCE}": instance_ids} if instance_ids else {}
