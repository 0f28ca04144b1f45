"""Show each AWS call on stderr, with its request id and time, where SNAPSET_VERBOSE asks for it.

What is shown is the action, how it ended and how long it took: neither parameters nor credentials.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TypeVar, cast

VERBOSE = "SNAPSET_VERBOSE"
_CALL = "snapset_call"

_C = TypeVar("_C")


def with_calls_shown(client: _C) -> _C:
    """Return the boto3 client, each call of which is shown from here on if somebody asks for it."""
    if os.environ.get(VERBOSE):
        events = cast(Any, client).meta.events
        events.register("before-call", _begin)
        events.register("after-call", _show_answer)
        events.register("after-call-error", _show_failure)
    return client


def _begin(*, model: Any, context: dict[str, Any], **_: Any) -> None:
    context[_CALL] = (model.name, time.monotonic())


def _show_answer(*, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
    about = parsed.get("ResponseMetadata", {})
    code = parsed.get("Error", {}).get("Code", "")
    retries = about.get("RetryAttempts")
    how = f"HTTP {about.get('HTTPStatusCode')} {code}".rstrip() + (f" after {retries} retries" if retries else "")
    _show(context, f"{how}, request {about.get('RequestId')}")


def _show_failure(*, exception: Exception, context: Mapping[str, Any], **_: Any) -> None:
    _show(context, f"no answer: {type(exception).__name__}")


def _show(context: Mapping[str, Any], how: str) -> None:
    action, began = context[_CALL]
    sys.stderr.write(f"aws: {action}: {how}, {time.monotonic() - began:.3f} s\n")
    sys.stderr.flush()
