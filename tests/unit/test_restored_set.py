"""The dynamic provider of restored volumes, without an engine: another `aws.Provider` makes no other volumes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pulumi.dynamic import Config, ConfigureRequest
from snapset.emulator.client import EmbeddedEC2
from snapset.resources.restored_set import RestoredSetProvider
from snapset.sets.inputs import UNKNOWN

STATE: dict[str, Any] = {
    "scope": "org/shop/prod/web",
    "set_id": "set-0123456789abcdef0",
    "availability_zone": "us-east-1a",
    "region": "us-east-1",
    "tags": {"app": "shop"},
    "volume_ids": ["vol-0123456789abcdef0"],
}


@pytest.fixture
def provider(no_account: None, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> RestoredSetProvider:
    # The provider owns its process and limits its tracebacks; this process is pytest's.
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    made = RestoredSetProvider()
    made.configure(ConfigureRequest(Config({"aws:endpoints": f'[{{"ec2": "{ec2.endpoint}"}}]'}, "shop")))
    return made


def test_another_provider_is_taken_over_without_a_call(provider: RestoredSetProvider, ec2: EmbeddedEC2) -> None:
    ec2.clear_calls()
    aws = {"region": "us-east-1", "profile": "ops"}
    diff = provider.diff("restore-1", STATE, {**STATE, "aws": aws})
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update("restore-1", STATE, {**STATE, "aws": aws}).outs
    assert updated == {**STATE, "aws": aws}
    assert provider.update("restore-1", dict(updated or {}), STATE).outs == STATE
    assert ec2.calls() == []


def test_the_check_takes_region_and_tags_from_the_provider_and_refuses_its_credentials(
    provider: RestoredSetProvider, ec2: EmbeddedEC2
) -> None:
    ec2.clear_calls()
    news = {**STATE, "set_id": UNKNOWN, "region": None}
    aws = {"region": "us-east-1", "profile": None, "defaultTags": '{"tags": {"team": "ops"}}'}
    checked = provider.check({}, {**news, "aws": aws})
    assert checked.failures == []
    assert (checked.inputs["region"], checked.inputs["tags"]) == ("us-east-1", {"team": "ops", "app": "shop"})
    [failure] = provider.check({}, {**news, "aws": {**aws, "token": True}}).failures
    assert "it holds token" in failure.reason
    assert ec2.calls() == []
