"""A model of Pulumi's engine for one dynamic resource, in process: the order of its calls and of its state writes.

It follows pulumi 3.259 to 3.274, pkg/v3/resource/deploy (step_generator.go, step.go, deployment_executor.go), and the
Python SDK's dynamic/__main__.py:

- `check` gets the old and the new inputs, `diff` the old outputs and the checked inputs. Before a replacement the new
  inputs are checked again, without old ones. A forced replacement (`--replace`) does only that second check.
- A created resource is in the state before its outputs resolve in the program. A replaced resource stays in the
  state, marked for deletion, until it is deleted, after the program has ended. With `deleteBeforeReplace` it is
  deleted first, right after `diff`.
- If a create or the program fails, the run ends before any deletion. The engine deletes in parallel, in any order.
- `destroy` and `refresh` cover everything in the state, marked resources included, and don't run the program.
- Every run has its own provider process, and so its own provider.

The program is the component's: `claim_and_wait`, without the wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import pulumi
from botocore.httpsession import URLLib3Session
from pulumi.runtime import rpc
from snapset.errors import InputError, SnapsetError
from snapset.resources.claim_and_wait import claim_and_wait
from snapset.resources.snapshot_set import SnapshotSetProvider

# The boundaries of a run. There are also `before ACTION` and `after ACTION` for each EC2 call that changes something.
CREATED = "create has returned, the state is not written"
RECORDED = "the state is written, the program has not claimed"
PROGRAM_ENDED = "the program has ended, nothing is deleted"
DELETED = "delete has returned, the state is not written"

Boundary = Callable[[str], None]


class Killed(BaseException):
    """The run was killed with -9. Not an Exception, so that no code under test catches it."""


@dataclass(frozen=True)
class Resource:
    """One resource in the state."""

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    marked: bool = False

    @property
    def snapshot_ids(self) -> set[str]:
        return set(self.outputs["snapshot_ids"])

    @property
    def claim(self) -> str:
        return str(self.outputs["claim"])


@dataclass
class Run:
    """What one command did.

    created: the resources that it added to the state.
    deleted: the resources that it removed from the state after the provider's `delete`.
    """

    error: Exception | None = None
    killed: bool = False
    created: list[Resource] = field(default_factory=list)
    deleted: list[Resource] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.error is None and not self.killed


class Engine:
    """One stack with one `SnapshotSet`. `config` is the stack's config, such as `aws:region`."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self._config = config
        self.state: list[Resource] = []

    @property
    def live(self) -> Resource | None:
        return next((resource for resource in self.state if not resource.marked), None)

    def up(
        self, news: Mapping[str, Any], *, boundary: Boundary, force: bool = False, delete_first: bool = False
    ) -> Run:
        """`pulumi up --skip-preview` of a program with one set; `force` adds `--replace` for it.

        delete_first: the set has the option `delete_before_replace`.
        """
        with _running(boundary) as run:
            provider = self._start_provider()
            props = _over_the_wire({**news, "is_preview": False, "__provider": "gASV"})
            self._register(run, provider, props, force, boundary, delete_first=delete_first)
            boundary(RECORDED)
            self._run_program()
            boundary(PROGRAM_ENDED)
            self._delete(run, provider, [resource for resource in self.state if resource.marked], boundary)
        return run

    def destroy(self, *, boundary: Boundary, oldest_first: bool = True) -> Run:
        """`pulumi destroy`."""
        with _running(boundary) as run:
            doomed = self.state if oldest_first else self.state[::-1]
            self._delete(run, self._start_provider(), list(doomed), boundary)
        return run

    def refresh(self, *, boundary: Boundary) -> Run:
        """`pulumi refresh`."""
        with _running(boundary) as run:
            provider = self._start_provider()
            for old in list(self.state):
                read = provider.read(old.id, _over_the_wire(old.outputs))
                if read.id:
                    self._replace(old, replace(old, id=read.id, outputs=_over_the_wire(read.outs or {})))
                else:
                    self.state.remove(old)
        return run

    def _start_provider(self) -> SnapshotSetProvider:
        provider = SnapshotSetProvider()
        provider.configure(SimpleNamespace(config=SimpleNamespace(get=self._config.get)))  # type: ignore[arg-type]
        return provider

    def _register(
        self,
        run: Run,
        provider: SnapshotSetProvider,
        news: dict[str, Any],
        force: bool,
        boundary: Boundary,
        *,
        delete_first: bool,
    ) -> None:
        old = self.live
        inputs = _check(provider, {} if force or not old else _over_the_wire(old.inputs), news)
        if old and not force:
            diff = provider.diff(old.id, _over_the_wire(old.outputs), dict(inputs))
            if not diff.replaces:
                outputs = old.outputs
                if diff.changes:
                    outputs = provider.update(old.id, _over_the_wire(old.outputs), dict(inputs)).outs or {}
                self._replace(old, replace(old, inputs=inputs, outputs=_over_the_wire(outputs)))
                return
            inputs = _check(provider, {}, news)
        if old and delete_first:
            self._delete(run, provider, [old], boundary)
            old = None
        created = provider.create(dict(inputs))
        boundary(CREATED)
        new = Resource(created.id, inputs, _over_the_wire(created.outs or {}))
        if old:
            self._replace(old, replace(old, marked=True))
        self.state.append(new)
        run.created.append(new)

    def _run_program(self) -> None:
        async def program(known: Mapping[str, Any]) -> None:
            # asyncio runs this in a new context, and Pulumi keeps the config in the context.
            pulumi.runtime.set_all_config(dict(self._config))
            taken = SimpleNamespace(**known, get_provider=lambda _: None, _name="backup")
            await claim_and_wait(taken, wait=False, timeout=1).future()  # type: ignore[arg-type]

        assert self.live
        asyncio.run(program(_over_the_wire(self.live.outputs)))

    def _delete(self, run: Run, provider: SnapshotSetProvider, doomed: list[Resource], boundary: Boundary) -> None:
        for resource in doomed:
            provider.delete(resource.id, _over_the_wire(resource.outputs))
            boundary(DELETED)
            self.state.remove(resource)
            run.deleted.append(resource)

    def _replace(self, old: Resource, new: Resource) -> None:
        self.state[self.state.index(old)] = new


def _check(provider: SnapshotSetProvider, olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    checked = provider.check(olds, dict(news))
    if checked.failures:
        raise InputError(" ".join(f"{failure.property}: {failure.reason}" for failure in checked.failures))
    return _over_the_wire(checked.inputs)


def _over_the_wire(props: Mapping[str, Any]) -> dict[str, Any]:
    """Properties as the other process gets them: without None values, and with every number as a float."""
    sent = asyncio.run(rpc.serialize_properties(dict(props), {}))
    return dict(rpc.deserialize_properties(sent))


@contextmanager
def _running(boundary: Boundary) -> Iterator[Run]:
    """Run one command. It may be killed, or fail with an error of snapset or the program; other errors are raised."""
    send = URLLib3Session.send

    def send_between_boundaries(session: Any, request: Any) -> Any:
        action = _changing_action(request.body)
        if action:
            boundary(f"before {action}")
        answer = send(session, request)
        if action:
            boundary(f"after {action}")
        return answer

    run = Run()
    with mock.patch.object(URLLib3Session, "send", send_between_boundaries):
        try:
            yield run
        except Killed:
            run.killed = True
        except (SnapsetError, pulumi.RunError) as error:
            run.error = error


def _changing_action(body: Any) -> str | None:
    query = body.decode() if isinstance(body, bytes) else str(body)
    form = {name: values[0] for name, values in parse_qs(query).items()}
    action = form.get("Action", "Describe")
    return None if action.startswith("Describe") or form.get("DryRun") == "true" else action
