"""The `aws.Provider` that the calls follow, and its settings: as an input of a resource, and for the program itself.

The settings are read from the engine. The SDK's provider object leaves lists and objects unset, and at preview can't
tell "unset" from "unknown". What a dynamic provider does with them is in `provider_base`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.runtime import rpc
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import get_monitor

from snapset.aws.settings import CREDENTIALS, KNOWN_KEYS, PROVIDER_KEYS, UNKNOWN_KEYS, AwsSettings

# Any type of the package: Pulumi's lookups take one.
_AWS = "aws:ec2/instance:Instance"


def find_provider(opts: pulumi.ResourceOptions | None, *beside: Any) -> pulumi.ProviderResource | None:
    """Return the `aws.Provider` of the options, else of the first resource that has one, else of the parent.

    Args:
        opts: those of the resource whose calls are to follow the provider.
        beside: what the resource is about, such as the instance; values that are not resources are passed over.

    Raises:
        RunError: the options name none, and what the resource is about has several.
    """
    given = (opts and opts.providers) or []
    in_options: list[Any] = [opts and opts.provider, *(given.values() if isinstance(given, Mapping) else given)]
    explicit = [provider for provider in in_options if provider is not None and provider.package == "aws"]
    theirs = [provider_of(resource) for resource in beside if isinstance(resource, pulumi.Resource)]
    if not explicit and len(set(theirs)) > 1:
        advice = "Make one resource for those of each, or name the provider in the options."
        raise pulumi.RunError(f"InputError: reading the instances: they are of several providers. {advice}")
    parents = [provider_of(opts.parent)] if opts and opts.parent else []
    found: list[pulumi.ProviderResource | None] = [*explicit, *theirs, *parents]
    return next((provider for provider in found if provider is not None), None)


def provider_of(resource: pulumi.Resource) -> pulumi.ProviderResource | None:
    """Return the `aws.Provider` that the resource was given, or has from its parent."""
    found: pulumi.ProviderResource | None = resource.get_provider(_AWS)
    return found


def inputs_of(provider: pulumi.ProviderResource | None) -> dict[str, pulumi.Output[Any]] | None:
    """Return the settings as an input of a resource; each is secret, or not yet known, where the provider's is.

    Of credentials it is only said whether there are any: no state may hold them.
    """
    if provider is None:
        return None
    settings = read_provider(provider)

    def input_of(key: str) -> pulumi.Output[Any]:
        async def read() -> tuple[Any, bool]:
            seen = await settings.future(with_unknowns=True) or {}
            if key == UNKNOWN_KEYS:
                return _unknown_in(seen), False
            value = seen.get(key)
            if key in CREDENTIALS:
                return value is not None, False
            return rpc.unwrap_rpc_secret(value), rpc.is_rpc_secret(value)

        def settle(read: tuple[Any, bool]) -> Any:
            value, is_secret = read
            return pulumi.Output.secret(value) if is_secret else value

        known: pulumi.Output[tuple[Any, bool]] = provider.urn.apply(lambda _: read())
        return known.apply(settle)

    return {key: input_of(key) for key in (*PROVIDER_KEYS, *CREDENTIALS, UNKNOWN_KEYS)}


def read_provider(provider: pulumi.ProviderResource) -> pulumi.Output[dict[str, Any]]:
    """Return the provider's settings as the engine has them; it is asked while the program runs, and not later.

    Once the program has ended, and the engine deletes what has left it, the engine answers no such question.
    """
    # From the URN, so that what comes of it depends on the provider.
    settings: pulumi.Output[dict[str, Any]] = provider.urn.apply(lambda _: _ask_engine(provider))
    return settings


async def settings_of(provider: pulumi.ProviderResource | None) -> AwsSettings:
    """Return the settings for calls of the program's own: the provider's, else those of the stack's config.

    Raises:
        InputError: the provider holds credentials, or a setting can't be read.
    """
    return await settings_in(read_provider(provider) if provider else None)


async def settings_in(settings: pulumi.Output[dict[str, Any]] | None) -> AwsSettings:
    """Return the settings that `read_provider` has found, else those of the stack's config.

    Raises:
        InputError: the provider holds credentials, or a setting can't be read.
    """
    if settings is None:
        return AwsSettings.from_config(lambda key: pulumi.runtime.get_config(f"aws:{key}"))
    seen = await settings.future(with_unknowns=True) or {}
    known = {key: rpc.unwrap_rpc_secret(value) for key, value in seen.items()}
    return AwsSettings.from_provider({**known, UNKNOWN_KEYS: _unknown_in(seen)})


def _unknown_in(seen: Mapping[str, Any]) -> str | None:
    """Return the names of the settings that snapset does not know, which are neither followed nor ignored."""
    given = {key for key, value in seen.items() if value is not None and not key.startswith("__")}
    return ", ".join(sorted(given - KNOWN_KEYS - {"version", "pluginDownloadURL"})) or None


async def _ask_engine(provider: pulumi.ProviderResource) -> dict[str, Any]:
    urn = await provider.urn.future()
    request = resource_pb2.ResourceInvokeRequest(
        tok="pulumi:pulumi:getResource", args=await rpc.serialize_properties({"urn": urn}, {})
    )
    monitor: Any = get_monitor()
    answer = await asyncio.get_running_loop().run_in_executor(None, monitor.Invoke, request)
    return dict(rpc.deserialize_properties(getattr(answer, "return")["state"], keep_unknowns=True))
