"""The HTTP API that controls this EC2: JSON under `/_snapset/`.

    POST   faults                  a fault, or a list of them (see `faults`); GET lists those left, DELETE clears
    GET    calls[?action=A]        the log (see `calls`); DELETE clears it
    POST   settings                {snapshot_seconds, visibility_seconds, instance_seconds, status_seconds,
                                   volume_seconds, block_token_seconds}; a number may be "forever"
    POST   snapshots/complete      {snapshot_ids}; without it, all pending snapshots
    POST   snapshots/fail          {snapshot_ids, message}, or {next: true, message, after_seconds}
    POST   snapshots/lock          {snapshot_ids}; snapshots/unlock likewise
    POST   snapshots/age           {snapshot_ids, seconds}: set the start time to so many seconds ago
    POST   instances/ID            {outpost_arn, availability_zone, auto_scaling_group, root_device_type}
    POST   images                  {region, root_device_name, architecture, boot_mode, tpm_support, ena_support,
                                   usage_operation, platform, platform_details, product_codes}: add an image of AWS
    POST   content/VOLUME          {offset, data}: write these bytes, in base64
    GET    content/ID              {digest} of all content of a volume or snapshot; ?offset=&length= for {data}
    POST   reset                   restore the initial state

Answers are JSON: the result, or `{"error": "..."}` with 400 or 404.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BackendDict
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends

from . import content
from .calls import CallLog
from .faults import Script, read_fault
from .life import FOREVER, Failure
from .world import WORLD

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PREFIX = "/_snapset/"

_GIB = 1024**3
_FAILURE_MESSAGE = "The snapshot could not be completed."


class _NothingThereError(Exception):
    """There is no such route or instance."""


class Control:
    """The answers under `/_snapset/`."""

    def __init__(self, script: Script, log: CallLog, one_at_a_time: AbstractContextManager[Any]) -> None:
        self._script = script
        self._log = log
        self._one_at_a_time = one_at_a_time
        self._routes: dict[tuple[str, str], Callable[[Any], object]] = {
            ("GET", "calls"): lambda query: [call.as_json() for call in log.matching(query)],
            ("DELETE", "calls"): lambda query: log.clear(),
            ("GET", "faults"): lambda query: self._list_faults(),
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): lambda query: script.clear(),
            ("GET", "settings"): lambda query: _show_settings(),
            ("POST", "settings"): _change_settings,
            ("POST", "snapshots/complete"): _complete_snapshots,
            ("POST", "snapshots/fail"): _fail_snapshots,
            ("POST", "snapshots/lock"): lambda body: WORLD.locked.update(body["snapshot_ids"]),
            ("POST", "snapshots/unlock"): lambda body: WORLD.locked.difference_update(body["snapshot_ids"]),
            ("POST", "snapshots/age"): _age_snapshots,
            ("POST", "images"): _add_image,
            ("POST", "reset"): lambda body: self._reset(),
        }

    def answer(self, environ: "WSGIEnvironment") -> tuple[str, bytes]:
        """The status line and JSON body that answer one request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(PREFIX).strip("/")
        try:
            with self._one_at_a_time:
                result = self._find_route(method, path)(_read_argument(environ))
        except _NothingThereError as error:
            return "404 Not Found", _dump({"error": str(error)})
        except (EC2ClientError, KeyError, TypeError, ValueError) as error:
            return "400 Bad Request", _dump({"error": str(error)})
        return "200 OK", _dump(result)

    def _find_route(self, method: str, path: str) -> Callable[[Any], object]:
        route = self._routes.get((method, path))
        if route:
            return route
        head, _, resource_id = path.partition("/")
        about = {
            ("POST", "instances"): _place_instance,
            ("POST", "content"): _write_content,
            ("GET", "content"): _read_content,
        }
        if resource_id and (method, head) in about:
            return partial(about[method, head], resource_id)
        raise _NothingThereError(f"no route {method} {PREFIX}{path}")

    def _add_faults(self, body: Any) -> object:
        faults = [read_fault(entry) for entry in (body if isinstance(body, list) else [body])]
        for fault in faults:
            self._script.add(fault)
        return self._list_faults()

    def _list_faults(self) -> list[dict[str, object]]:
        return [
            asdict(fault) | {"remaining": None if times == FOREVER else times}
            for fault, times in self._script.remaining()
        ]

    def _reset(self) -> None:
        self._script.clear()
        self._log.clear()
        WORLD.reset()
        BackendDict.reset()


def _read_argument(environ: "WSGIEnvironment") -> Any:
    if environ["REQUEST_METHOD"] != "POST":
        return dict(parse_qsl(environ.get("QUERY_STRING", "")))
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return json.loads(body) if body else {}


def _dump(result: object) -> bytes:
    return json.dumps(result).encode()


def _backends() -> Iterator[Any]:
    for _, _, backend in ec2_backends.iter_backends():
        yield backend


def _read_seconds(value: object) -> float:
    seconds = FOREVER if value == "forever" else float(value)  # type: ignore[arg-type]
    if not seconds >= 0:
        raise ValueError(f"not a number of seconds: {value}")
    return seconds


def _change_settings(body: Mapping[str, Any]) -> object:
    changes: dict[str, object] = {}
    for name, value in body.items():
        if name == "volume_seconds":
            changes[name] = {volume_id: _read_seconds(seconds) for volume_id, seconds in value.items()}
        else:
            changes[name] = _read_seconds(value)
    WORLD.change(**changes)
    return _show_settings()


def _show_settings() -> object:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        return "forever" if value == FOREVER else value

    return plain(asdict(WORLD.settings))


def _complete_snapshots(body: Mapping[str, Any]) -> list[str]:
    return [
        snapshot_id for backend in _backends() for snapshot_id in backend.complete_snapshots(body.get("snapshot_ids"))
    ]


def _fail_snapshots(body: Mapping[str, Any]) -> list[str]:
    message = body.get("message") or _FAILURE_MESSAGE
    if body.get("next"):
        WORLD.next_failure = Failure(message, _read_seconds(body.get("after_seconds", 0)))
        return []
    snapshot_ids = body["snapshot_ids"]
    return [snapshot_id for backend in _backends() for snapshot_id in backend.fail_sets(snapshot_ids, message)]


def _age_snapshots(body: Mapping[str, Any]) -> None:
    for backend in _backends():
        backend.age_snapshots(body["snapshot_ids"], _read_seconds(body["seconds"]))


def _add_image(body: Mapping[str, Any]) -> str:
    described = dict(body)
    image = ec2_backends[DEFAULT_ACCOUNT_ID][described.pop("region")].add_usual_image(**described)
    return str(image.id)


def _find_content(resource_id: str) -> Any:
    for backend in _backends():
        if found := backend.volumes.get(resource_id) or backend.snapshots.get(resource_id):
            return found
    raise _NothingThereError(f"no volume or snapshot {resource_id}")


def _write_content(volume_id: str, body: Mapping[str, Any]) -> None:
    volume, offset, data = _find_content(volume_id), int(body["offset"]), b64decode(body["data"])
    if not volume_id.startswith("vol-") or not 0 <= offset <= volume.size * _GIB - len(data):
        raise ValueError(f"{volume_id} has no {len(data)} bytes to write at {offset}")
    volume.blocks = content.write(volume.blocks, offset, data)


def _read_content(resource_id: str, query: Mapping[str, str]) -> dict[str, str]:
    blocks = _find_content(resource_id).blocks
    if "offset" in query:
        return {"data": b64encode(content.read(blocks, int(query["offset"]), int(query["length"]))).decode()}
    return {"digest": content.digest(blocks)}


def _place_instance(instance_id: str, body: Mapping[str, Any]) -> None:
    for backend in _backends():
        if any(instance.id == instance_id for instance in backend.all_instances()):
            return backend.place_instance(instance_id, **body)  # type: ignore[no-any-return]
    raise _NothingThereError(f"no instance {instance_id}")
