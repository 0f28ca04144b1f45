"""Properties in the protocol's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from standin.resource import Path, Properties


def from_struct(struct: Struct) -> Properties:
    """Properties as plain values. Unknown ones stay `rpc.UNKNOWN`, the engine's own marker.

    No secrets are among them: like the real plugin, `Configure` leaves keeping secrets to the engine.
    """
    properties: Properties = _plain(MessageToDict(struct))
    return {name: value for name, value in properties.items() if value is not None}


def to_struct(properties: Mapping[str, Any]) -> Struct:
    """The reverse of `from_struct`."""
    struct = Struct()
    struct.update({name: value for name, value in properties.items() if value is not None})
    return struct


def shown(path: Path) -> str:
    """A path in the engine's format."""
    first, *rest = path
    return first + "".join(f".{name}" if name.isidentifier() else f"[{json.dumps(name)}]" for name in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    # The protocol has only floats, but boto3 needs integers as int.
    return int(value) if isinstance(value, float) and value.is_integer() else value
