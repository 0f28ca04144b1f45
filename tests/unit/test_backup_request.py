"""`BackupRequest`: a change id of any kind becomes names that Pulumi takes, and no two the same."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from snapset.pipeline.request import BackupRequest, new_change_id

INSTANCE, REGION = "i-0123456789abcdef0", "us-east-1"
# https://www.pulumi.com/docs/iac/concepts/stacks/: alphanumeric, hyphens, underscores and periods; at most 100.
STACK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
SAFE = string.ascii_letters + string.digits + "_.-"

plain = st.text(alphabet=SAFE, min_size=1, max_size=60)
# Near misses: the same but for what a name can't hold, or but for its end.
tricky = st.lists(st.sampled_from(["a", "-", " ", "/", "::", "\n", "ä", "x" * 60]), min_size=1, max_size=6).map(
    "".join
)
change_ids = st.text(min_size=1) | plain | tricky


def request(change_id: str, **given_too: Any) -> BackupRequest:
    return BackupRequest(**{"instance_ids": (INSTANCE,), "region": REGION, "change_id": change_id, **given_too})


@given(change_ids)
@example("feature/login")
@example("refs/heads/main@{1}")
@example("ä" * 300)
@example("\n")
def test_a_slug_is_safe_in_the_names_of_stacks_and_resources(change_id: str) -> None:
    made = request(change_id)
    assert STACK_NAME.fullmatch(made.stack_name)
    assert STACK_NAME.fullmatch(made.resource_name)


@given(st.lists(change_ids, min_size=2, unique=True))
@example(["a/b", "a-b", "a b", "a//b", "a/b ", "a-b-"])
@example(["x" * 60, "x" * 61, "x" * 62, "x" * 60 + "/"])
def test_different_changes_have_different_stacks_and_resources(distinct: list[str]) -> None:
    made = [request(change_id) for change_id in distinct]
    assert len({one.stack_name for one in made}) == len(distinct)
    assert len({one.resource_name for one in made}) == len(distinct)


@given(plain)
def test_a_change_id_that_pulumi_takes_is_its_own_slug(change_id: str) -> None:
    if change_id[0].isalnum() and not re.search(r"-[0-9a-f]{8}$", change_id):
        assert request(change_id).slug == change_id


@given(change_ids)
def test_the_same_change_has_the_same_slug(change_id: str) -> None:
    assert request(change_id).slug == request(change_id, stack="prod").slug


@pytest.mark.parametrize("change_id", ["-x", "--help", "-"])
def test_a_slug_can_not_pass_for_an_option(change_id: str) -> None:
    assert not request(change_id).slug.startswith("-")


def test_the_slug_of_one_change_is_not_the_id_of_another() -> None:
    made = request("a b").slug
    assert request(made).slug != made


def test_the_names_can_be_read() -> None:
    made = request("feature/login-42")
    assert made.slug.startswith("feature-login-42-")
    assert made.stack_name == f"{made.slug}.us-east-1"
    assert made.resource_name == f"sets-{made.slug}.us-east-1"


def test_a_stack_that_is_named_keeps_its_name_and_the_resources_their_change() -> None:
    made = request("42", stack="prod")
    assert made.stack_name == "prod"
    assert made.resource_name == "sets-42.us-east-1"
    assert request("42", stack="prod", region="eu-west-1").resource_name == "sets-42.eu-west-1"


def test_a_change_has_its_own_stack_and_token_in_every_region_and_no_other_input_counts() -> None:
    here, there = request("42"), request("42", region="eu-west-1")
    assert len({here.stack_name, there.stack_name}) == len({here.resource_name, there.resource_name}) == 2
    other = request("42", stack="prod", profile="ops", served_within=1.0, inputs={"description": "another"})
    [[own], [same], [elsewhere]] = [made.wanted for made in (here, other, there)]
    assert own.token == same.token != elsewhere.token
    assert (same.description, own.scope, same.scope) == ("another", "", "")


def test_a_run_that_names_no_change_is_one_of_its_own() -> None:
    made = [new_change_id() for _ in range(20)]
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", change_id) for change_id in made)
    assert all(request(change_id).slug == change_id for change_id in made)
    assert len(set(made)) > 15
