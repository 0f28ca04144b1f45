"""The log of every call: the request, the caller and the result. Credentials are left out."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from threading import Lock
from urllib.parse import parse_qsl

SERVICES = ("ec2", "sts", "ebs")

_CREDENTIAL = re.compile(r"Credential=(?P<key>[^/,\s]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_ENVELOPE = ("Action", "Version")
_SECRET = re.compile(r"x-amz-|signature|awsaccesskeyid|securitytoken|webidentitytoken|samlassertion|tokencode", re.I)
_FILTERS = ("action", "service", "region")
_UNSIGNED_STS = ("AssumeRoleWithSAML", "AssumeRoleWithWebIdentity")
# EBS direct tells a call by method and path.
_DIRECT = {
    "CompleteSnapshot": r"POST /snapshots/completion/(?P<SnapshotId>[^/]+)",
    "GetSnapshotBlock": r"GET /snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>[^/]+)",
    "ListChangedBlocks": r"GET /snapshots/(?P<SecondSnapshotId>[^/]+)/changedblocks",
    "ListSnapshotBlocks": r"GET /snapshots/(?P<SnapshotId>[^/]+)/blocks",
    "PutSnapshotBlock": r"PUT /snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>[^/]+)",
    "StartSnapshot": r"POST /snapshots",
}


@dataclass(frozen=True)
class Call:
    """One call.

    params: the form's parameters, flat as they were sent; for EBS direct those of the path and the query.
    access_key: the key's id, never the secret.
    status, code: the HTTP status and the AWS error code. None until the call ends, and None forever if the connection
        was closed without an answer.
    fault: the kind of the scripted fault that hit the call.
    carried_out: whether EC2 carried out the request, even if it sent no answer.
    """

    n: int
    time: str
    service: str
    action: str
    params: dict[str, str]
    region: str | None
    access_key: str | None
    dry_run: bool
    status: int | None = None
    code: str | None = None
    fault: str | None = None
    carried_out: bool = False

    def as_json(self) -> dict[str, object]:
        """The call as a JSON object."""
        return asdict(self)


def may_be_call(authorization: str) -> bool:
    """Whether a request with this header may be a call of `SERVICES`: signed for one of them, or not signed."""
    credential = _CREDENTIAL.search(authorization)
    return credential["service"] in SERVICES if credential else not authorization


def read_call(authorization: str, *, form: str, request: str, query: str) -> Call | None:
    """The call of `SERVICES` in this form, or in this request (`GET /path`), or None if it is another service's."""
    credential = _CREDENTIAL.search(authorization)
    params = dict(parse_qsl(form, keep_blank_values=True))
    action = params.get("Action")
    service = credential["service"] if credential else "sts" if action in _UNSIGNED_STS else None
    if service == "ebs":
        action, params = _read_direct(request, query)
    if not action or service not in SERVICES:
        return None
    return Call(
        n=0,
        time=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        service=service,
        action=action,
        params={key: value for key, value in params.items() if key not in _ENVELOPE and not _SECRET.match(key)},
        region=credential["region"] if credential else None,
        access_key=credential["key"] if credential else None,
        dry_run=params.get("DryRun", "").lower() == "true",
    )


def _read_direct(request: str, query: str) -> tuple[str | None, dict[str, str]]:
    """The action of EBS direct, and its parameters by the names that its reference and SDKs have for them."""
    for action, pattern in _DIRECT.items():
        if path := re.fullmatch(pattern, request):
            sent = {"nextToken" if name == "pageToken" else name: value for name, value in parse_qsl(query)}
            return action, path.groupdict() | {name[0].upper() + name[1:]: value for name, value in sent.items()}
    return None, {}


class CallLog:
    """The calls so far, numbered from 1 in the order of arrival."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: dict[int, Call] = {}
        self._count = 0

    def begin(self, call: Call) -> Call:
        """Add a call that has arrived, and return it with its number."""
        with self._lock:
            self._count += 1
            call = replace(call, n=self._count)
            self._calls[call.n] = call
            return call

    def end(self, call: Call) -> None:
        """Record the result of a call, unless the log was cleared meanwhile."""
        with self._lock:
            if call.n in self._calls:
                self._calls[call.n] = call

    def clear(self) -> None:
        """Forget all calls. The numbers continue."""
        with self._lock:
            self._calls.clear()

    def matching(self, filters: Mapping[str, str]) -> list[Call]:
        """The calls that match all filters, in order; raises ValueError for a filter not in `_FILTERS`."""
        if not set(filters) <= set(_FILTERS):
            raise ValueError(f"calls can be filtered by {', '.join(_FILTERS)}")
        with self._lock:
            calls = list(self._calls.values())
        return [call for call in calls if all(str(getattr(call, name)) == value for name, value in filters.items())]
