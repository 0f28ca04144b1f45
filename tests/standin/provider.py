"""The provider protocol: https://pulumi-developer-docs.readthedocs.io/latest/docs/_generated/proto/provider.html."""

# ruff: noqa: N802 - the protocol defines the method names

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime import proto, rpc
from pulumi.runtime.proto import provider_pb2_grpc

from standin.cloud import Cloud, region_in_environment
from standin.functions import FUNCTIONS
from standin.images import Ami
from standin.instances import Instance
from standin.resource import Properties, Resource, differences, seen
from standin.volumes import Volume, VolumeAttachment
from standin.wire import from_struct, shown, to_struct

_RESOURCES: dict[str, type[Resource]] = {
    "aws:ebs/volume:Volume": Volume,
    "aws:ec2/ami:Ami": Ami,
    "aws:ec2/instance:Instance": Instance,
    "aws:ec2/volumeAttachment:VolumeAttachment": VolumeAttachment,
}

# The real plugin's mark of the inputs that the program has left out.
_DEFAULTS = "__defaults"
_RANDOM_DIGITS = 7

_VERBS = {
    "CreateRequest": "creating",
    "DeleteRequest": "deleting",
    "ReadRequest": "reading",
    "UpdateRequest": "updating",
}


def _answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Report any error to the engine in one line, without a traceback."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except Exception as error:
            context.abort(grpc.StatusCode.UNKNOWN, _error_message(error, request))

    return answer


class AwsProvider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider, default or explicit, as the engine configures it."""

    def __init__(self) -> None:
        self._cloud = Cloud({})

    @_answering
    def GetPluginInfo(self, request: Any) -> Any:
        """Report the SDK's version, because the engine records it in the state as the plugin's."""
        return proto.PluginInfo(version=_version())

    @_answering
    def GetSchema(self, request: Any) -> Any:
        """Return only the schema's head; the engine needs the rest only to generate code."""
        return proto.GetSchemaResponse(schema=json.dumps({"name": "aws", "version": _version()}))

    @_answering
    def CheckConfig(self, request: Any) -> Any:
        """Add the environment's Region to the configuration, and so to the state."""
        inputs = Struct()
        inputs.CopyFrom(request.news)
        region = region_in_environment()
        if "region" not in inputs and region:
            inputs["region"] = region
        return proto.CheckResponse(inputs=inputs)

    @_answering
    def DiffConfig(self, request: Any) -> Any:
        """Never replace the provider; each resource's own Diff decides what the change means for it."""
        same = from_struct(request.old_inputs) == from_struct(request.news)
        return proto.DiffResponse(changes=proto.DiffResponse.DIFF_NONE if same else proto.DiffResponse.DIFF_SOME)

    @_answering
    def Configure(self, request: Any) -> Any:
        """Support previews, and leave secrets to the engine, as the real plugin does."""
        config, _ = rpc.deserialize_properties_unwrap_secrets(request.args)
        self._cloud = Cloud(config)
        return proto.ConfigureResponse(supportsPreview=True)

    @_answering
    def Check(self, request: Any) -> Any:
        """Check the inputs, and add the Region, `tagsAll` and a name."""
        kind, inputs = _kind(request), from_struct(request.news)
        if kind.names_itself and not inputs.get("name"):
            inputs |= _chosen_name(request)
        failures = [proto.CheckFailure(property=name, reason=reason) for name, reason in kind.problems(inputs)]
        if not inputs.get("region") and self._cloud.region:
            inputs["region"] = self._cloud.region
        if kind.tagged:
            tags = inputs.get("tags")
            unknown = tags == rpc.UNKNOWN or rpc.UNKNOWN in (tags or {}).values()
            inputs["tagsAll"] = rpc.UNKNOWN if unknown else self._cloud.tags_all(tags)
        return proto.CheckResponse(inputs=to_struct(inputs), failures=failures)

    @_answering
    def Diff(self, request: Any) -> Any:
        """Compare the inputs with the recorded outputs."""
        kind, news = _kind(request), from_struct(request.news)
        found = differences(kind, from_struct(request.olds), news)
        found = {path: change for path, change in found.items() if path[0] not in request.ignoreChanges}
        replaces = {path for path in found if kind.replaces(path, news)}
        return proto.DiffResponse(
            changes=proto.DiffResponse.DIFF_SOME if found else proto.DiffResponse.DIFF_NONE,
            replaces=sorted({path[0] for path in replaces}),
            stables=sorted(kind.replacing & kind.inputs() - {path[0] for path in replaces}),
            diffs=sorted({path[0] for path in found}),
            detailedDiff={
                shown(path): proto.PropertyDiff(kind=_diff_kind(change, path in replaces))
                for path, change in found.items()
            },
            hasDetailedDiff=True,
        )

    @_answering
    def Create(self, request: Any) -> Any:
        """Create the resource, or in a preview only predict its outputs."""
        kind, inputs = _kind(request), from_struct(request.properties)
        if request.preview:
            return proto.CreateResponse(properties=to_struct(kind.planned(inputs)))
        resource_id, outputs = kind.create(self._cloud, inputs)
        return proto.CreateResponse(id=resource_id, properties=to_struct(outputs))

    @_answering
    def Read(self, request: Any) -> Any:
        """Look up the resource; an empty answer means that it no longer exists."""
        kind, state, inputs = _kind(request), from_struct(request.properties), from_struct(request.inputs)
        outputs = kind.read(self._cloud, request.id, state)
        if outputs is None:
            return proto.ReadResponse()
        # A value that the program does not set is not drift. An import has no inputs yet, and takes all values.
        names = inputs.keys() & kind.inputs() if inputs else kind.inputs()
        known: Properties = {name: inputs[name] for name in (_DEFAULTS,) if name in inputs}
        known |= {name: seen(inputs.get(name), outputs[name]) for name in names if name in outputs}
        return proto.ReadResponse(id=outputs["id"], properties=to_struct(outputs), inputs=to_struct(known))

    @_answering
    def Update(self, request: Any) -> Any:
        """Change the resource in place, or in a preview only predict its outputs."""
        kind, olds, news = _kind(request), from_struct(request.olds), from_struct(request.news)
        if request.preview:
            return proto.UpdateResponse(properties=to_struct(_planned_update(kind, olds, news)))
        return proto.UpdateResponse(properties=to_struct(kind.update(self._cloud, request.id, olds, news)))

    @_answering
    def Delete(self, request: Any) -> Any:
        """Delete the resource."""
        _kind(request).delete(self._cloud, request.id, from_struct(request.properties))
        return Empty()

    @_answering
    def Invoke(self, request: Any) -> Any:
        """Call a function."""
        if request.tok not in FUNCTIONS:
            raise NotImplementedError(f"the stand-in for the aws plugin has no function {request.tok}")
        return proto.InvokeResponse(
            **{"return": to_struct(FUNCTIONS[request.tok](self._cloud, from_struct(request.args)))}
        )

    @_answering
    def Cancel(self, request: Any) -> Any:
        """Do nothing: no call takes long."""
        return Empty()


def _kind(request: Any) -> type[Resource]:
    token = request.type or request.urn.split("::")[2].split("$")[-1]
    if token not in _RESOURCES:
        raise NotImplementedError(f"the stand-in for the aws plugin has no type {token}")
    return _RESOURCES[token]


def _chosen_name(request: Any) -> Properties:
    """The name that the real plugin chooses, which it keeps until the resource is replaced."""
    olds = from_struct(request.olds)
    if "name" in olds.get(_DEFAULTS, []):
        return {"name": olds["name"], _DEFAULTS: ["name"]}
    digits = hashlib.sha256(request.randomSeed).hexdigest() if request.randomSeed else secrets.token_hex()
    return {"name": f"{request.urn.split('::')[-1]}-{digits[:_RANDOM_DIGITS]}", _DEFAULTS: ["name"]}


def _planned_update(kind: type[Resource], olds: Properties, news: Properties) -> Properties:
    left_out = kind.inputs() - kind.kept - news.keys()
    blocks = {
        name: {**olds[name], **value}
        for name, value in news.items()
        if isinstance(value, Mapping) and "volumeId" in (olds.get(name) or {})
    }
    return {name: value for name, value in {**olds, **news, **blocks}.items() if name not in left_out}


def _diff_kind(change: str, replaces: bool) -> Any:
    name = change.upper() + ("_REPLACE" if replaces else "")
    return proto.PropertyDiff.Kind.Value(name)


def _error_message(error: Any, request: Any) -> str:
    answer = getattr(error, "response", None)
    if answer:
        status, problem = answer.get("ResponseMetadata", {}), answer["Error"]
        message = (
            f"operation error EC2: {error.operation_name}, https response error "
            f"StatusCode: {status.get('HTTPStatusCode')}, RequestID: {status.get('RequestId')}, "
            f"api error {problem['Code']}: {problem['Message']}"
        )
    else:
        message = str(error)
    verb, token = _VERBS.get(type(request).__name__), getattr(request, "type", "")
    if verb and token in _RESOURCES:
        known_as = f" ({request.id})" if getattr(request, "id", "") else ""
        message = f"{verb} {_RESOURCES[token].noun}{known_as}: {message}"
    return f"1 error occurred:\n\t* {message}\n\n"


@functools.cache
def _version() -> str:
    return importlib.metadata.version("pulumi-aws")
