"""What snapset uses of Pulumi's SDK beyond its documented API: listed here, with what it relies on, and checked.

A name that is not listed may not be imported. Where Pulumi changes a listed one, a check fails, and says which.
The documented API: https://www.pulumi.com/docs/reference/pkg/python/pulumi/
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pulumi
import pytest
import snapset
from pulumi import automation
from pulumi.automation._stack import StackInitMode
from pulumi.automation.errors import create_command_error
from pulumi.dynamic import ResourceProvider
from pulumi.output import Unknown
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.proto import provider_pb2, resource_pb2
from pulumi.runtime.proto.resource_pb2_grpc import ResourceMonitorStub
from pulumi.runtime.settings import get_monitor
from support.names import names_used

Struct: Any = importlib.import_module("google.protobuf.struct_pb2").Struct

SOURCES = Path(snapset.__file__).parent

# The names of the documented modules. `pulumi.log` is in no list, but documented. The modules `pulumi.runtime.rpc`,
# `pulumi.automation.errors` and `.events` are in a list; what is in them is documented where it is in others' lists.
PUBLIC = {
    f"{module}.{name}"
    for module, names in {
        "pulumi": {*pulumi.__all__, "log"},
        "pulumi.automation": {*automation.__all__} - {"errors", "events"},
        "pulumi.dynamic": {*importlib.import_module("pulumi.dynamic").__all__},
        "pulumi.runtime": {*pulumi.runtime.__all__} - {"rpc"},
    }.items()
    for name in names
}

SECRET_KEY, SECRET_MARK = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


def is_public(name: str) -> bool:
    """Tell whether a name is documented, or an attribute of one that is."""
    if name.startswith(("pulumi.automation.", "pulumi.dynamic.", "pulumi.runtime.")):
        return any(name == public or name.startswith(f"{public}.") for public in PUBLIC if public.count(".") > 1)
    return ".".join(name.split(".")[:2]) in PUBLIC


def private_names() -> set[str]:
    used = {name for path in SOURCES.rglob("*.py") for name in names_used(path.read_text(), of="pulumi")}
    return {name for name in used if not is_public(name)}


def check_mock_monitor() -> None:
    """`set_mocks` makes one the monitor: `is_mocked` asks for it, in a process of its own."""
    program = (
        "import pulumi\n"
        "from snapset.resources.program import is_mocked\n"
        "class Mocks(pulumi.runtime.Mocks):\n"
        "    def new_resource(self, args): return '', {}\n"
        "    def call(self, args): return {}\n"
        "pulumi.runtime.set_mocks(Mocks())\n"
        "assert is_mocked()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert inspect.isclass(MockMonitor)


def check_get_monitor() -> None:
    """It takes nothing; what it returns has `Invoke`, by which `getResource` reads a provider's settings."""
    required = [
        parameter.name
        for parameter in inspect.signature(get_monitor).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    assert required == []
    # gRPC's stub gets its methods from a channel.
    assert "self.Invoke = " in inspect.getsource(ResourceMonitorStub.__init__)
    assert list(inspect.signature(MockMonitor.Invoke).parameters)[:2] == ["self", "request"]


def check_rpc() -> None:
    """Properties go to the wire and back; unknowns can be kept, and a secret is told from a plain value."""
    sent = asyncio.run(rpc.serialize_properties({"urn": "urn:pulumi:a"}, {}))
    assert rpc.deserialize_properties(sent) == {"urn": "urn:pulumi:a"}
    wire = Struct()
    wire.update({"unknown": rpc.UNKNOWN, "plain": "p", "secret": {SECRET_KEY: SECRET_MARK, "value": "s"}})
    read = rpc.deserialize_properties(wire, keep_unknowns=True)
    assert {name: rpc.is_rpc_secret(read[name]) for name in ("plain", "secret")} == {"plain": False, "secret": True}
    assert {name: rpc.unwrap_rpc_secret(read[name]) for name in ("plain", "secret")} == {"plain": "p", "secret": "s"}
    assert isinstance(read["unknown"], Unknown)


def check_resource_pb2() -> None:
    """`getResource` is an invoke: a request with `tok` and `args`, an answer with `return`."""
    assert {"tok", "args"} <= set(resource_pb2.ResourceInvokeRequest.DESCRIPTOR.fields_by_name)
    assert "return" in provider_pb2.InvokeResponse.DESCRIPTOR.fields_by_name
    request = resource_pb2.ResourceInvokeRequest(tok="pulumi:pulumi:getResource", args=Struct())
    assert request.tok == "pulumi:pulumi:getResource"


def check_unknown() -> None:
    """A dynamic provider gets one in place of a value that is not known yet; see `check_rpc`. It has no equal."""
    first, second = (Unknown() for _ in range(2))
    assert isinstance(first, Unknown)
    assert first != second


class SelectingWorkspace(automation.LocalWorkspace):
    """A workspace that only remembers which stacks were selected."""

    def __init__(self) -> None:
        self.selected: list[str] = []

    def select_stack(self, stack_name: str) -> None:
        self.selected.append(stack_name)


def check_stack_init_mode() -> None:
    """`Stack(name, workspace, SELECT)` selects the stack through the workspace, and does nothing else."""
    workspace = SelectingWorkspace()
    stack = automation.Stack("org/shop/prod", workspace, StackInitMode.SELECT)
    assert workspace.selected == ["org/shop/prod"]
    assert (stack.name, stack.workspace) == ("org/shop/prod", workspace)


def check_create_command_error() -> None:
    """What the engine printed becomes the error class by which snapset tells a lock, or no stack, from a failure."""
    classes = {
        "error: [409] Conflict: Another update is currently in progress.": automation.ConcurrentUpdateError,
        "error: the stack is currently locked by 1 lock(s).": automation.ConcurrentUpdateError,
        "error: no stack named 'prod' found": automation.StackNotFoundError,
        "error: stack 'prod' already exists": automation.StackAlreadyExistsError,
        "error: something else": automation.CommandError,
    }
    for stderr, error_class in classes.items():
        error = create_command_error(automation.CommandResult("", stderr, 255))
        assert type(error) is error_class
        assert stderr in str(error)


# Each name that snapset imports beyond the documented API, and the check of what it relies on.
LISTED: dict[str, Callable[[], None]] = {
    "pulumi.automation._stack.StackInitMode": check_stack_init_mode,
    "pulumi.automation.errors.create_command_error": check_create_command_error,
    "pulumi.output.Unknown": check_unknown,
    "pulumi.runtime.mocks.MockMonitor": check_mock_monitor,
    "pulumi.runtime.proto.resource_pb2": check_resource_pb2,
    "pulumi.runtime.rpc": check_rpc,
    "pulumi.runtime.settings.get_monitor": check_get_monitor,
}


def test_every_private_name_that_is_used_is_listed_and_no_other() -> None:
    assert sorted(private_names()) == sorted(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_what_snapset_relies_on_has_not_changed(name: str) -> None:
    assert LISTED[name].__doc__
    LISTED[name]()


@pytest.mark.parametrize(
    ("source", "private"),
    [
        ("import pulumi\npulumi.Output.all(1)\npulumi.log.info('x')\npulumi.runtime.is_dry_run()", set()),
        ("from pulumi import automation\nfrom pulumi.dynamic import Resource", set()),
        ("def f():\n    from pulumi.runtime.stack import run_pulumi_func", {"pulumi.runtime.stack.run_pulumi_func"}),
        ("import pulumi.runtime.known_types", {"pulumi.runtime.known_types"}),
        ("import pulumi\npulumi.runtime.settings.SETTINGS", {"pulumi.runtime.settings.SETTINGS"}),
        ("import pulumi\npulumi._utils", {"pulumi._utils"}),
        ("from pulumi.runtime import rpc", {"pulumi.runtime.rpc"}),
        ("from pulumi.automation import _cmd", {"pulumi.automation._cmd"}),
        ("import pulumilike\nfrom pulumi_aws import ec2", set()),
    ],
)
def test_a_private_name_is_seen_however_it_is_reached(source: str, private: set[str]) -> None:
    seen = {name for name in names_used(source, of="pulumi") if not is_public(name)}
    assert {name for name in seen if not any(name != other and other.startswith(name) for other in seen)} == private


# What snapset relies on without an import.


def test_the_provider_process_is_still_the_module_that_the_provider_looks_for() -> None:
    spec = importlib.util.find_spec("pulumi.dynamic.__main__")
    assert spec is not None
    assert spec.name == "pulumi.dynamic.__main__"


def test_a_provider_still_says_whether_it_is_a_secret() -> None:
    assert get_type_hints(ResourceProvider)["serialize_as_secret_always"] is bool
    assert ResourceProvider.serialize_as_secret_always is True


def parameters_of(function: Callable[..., Any]) -> Iterator[str]:
    yield from inspect.signature(function).parameters


def test_the_methods_that_snapset_overrides_still_take_what_it_takes() -> None:
    assert list(parameters_of(automation.PulumiCommand.run)) == [
        "self",
        "args",
        "cwd",
        "additional_env",
        "on_output",
        "on_error",
    ]
    assert list(parameters_of(automation.LocalWorkspace.select_stack)) == ["self", "stack_name"]
    assert list(parameters_of(automation.Stack.outputs)) == ["self"]
    assert list(parameters_of(automation.Stack.info)) == ["self", "show_secrets"]
    assert list(parameters_of(ResourceProvider.check)) == ["self", "_olds", "news"]
    assert list(parameters_of(ResourceProvider.diff)) == ["self", "_id", "_olds", "_news"]
    assert list(parameters_of(ResourceProvider.update)) == ["self", "_id", "_olds", "_news"]
    assert list(parameters_of(ResourceProvider.read)) == ["self", "id_", "props"]
    assert list(parameters_of(ResourceProvider.delete)) == ["self", "_id", "_props"]
