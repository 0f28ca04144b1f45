"""In front of moto: scripted faults for the calls of EC2, EBS direct and STS, and their log. S3 passes unlogged."""

import io
import json
import re
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from .calls import Call, CallLog, may_be_call, read_call
from .control import PREFIX, Control
from .faults import Fault, Script

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ERROR_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_SUCCESS = 300
_ACCOUNT = "123456789012"

_EC2_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>'
    "</Error></Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
)
_STS_ERROR = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>'
    "<Message>{message}</Message></Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
)
# assumption: an error that does not come from EBS direct itself, such as a denial by a policy, has one of these, too.
_REASONS = {
    "AccessDeniedException": "UNAUTHORIZED_ACCOUNT",
    "RequestThrottledException": "ACCOUNT_THROTTLED",
    "ResourceNotFoundException": "SNAPSHOT_NOT_FOUND",
    "ServiceQuotaExceededException": "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
    "ValidationException": "INVALID_PARAMETER_VALUE",
}
# EC2 appends this for DecodeAuthorizationMessage. A real one is several lines long.
_ENCODED_DENIAL = f"Encoded authorization failure message: {'c25hcHNldC1kZW1v' * 8}"
_MESSAGES = {
    "RequestLimitExceeded": "Request limit exceeded.",
    "InternalError": "An internal error has occurred",
    "InternalServerException": "An internal error has occurred",
    "RequestThrottledException": "The maximum request rate has been exceeded.",
    "ServiceUnavailable": "The request has failed due to a temporary failure of the server.",
}


class ScriptedCloseError(ConnectionError):
    """The script closed this connection. The server handles it as if the client had disconnected."""


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def status_code(self) -> int:
        """The number in the status line."""
        return int(self.status.split()[0])

    def send(self, start_response: "StartResponse") -> Iterable[bytes]:
        """Pass it to the WSGI server."""
        start_response(self.status, self.headers)
        return [self.body]


class FaultMiddleware:
    """The WSGI application that this process serves."""

    def __init__(self, app: "WSGIApplication", *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._app = app
        self._sleep = sleep
        self._script = Script(time.monotonic)
        self._log = CallLog()
        # moto's backends are not thread-safe, and a set must become visible as a whole.
        self._one_at_a_time = RLock()
        self._control = Control(self._script, self._log, self._one_at_a_time)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        if environ.get("PATH_INFO", "").startswith(PREFIX):
            status, body = self._control.answer(environ)
            return Answer(status, [("Content-Type", "application/json")], body).send(start_response)
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        call = _read_call(authorization, environ) if may_be_call(authorization) else None
        if call is None:
            return self._app(environ, start_response)
        return self._answer(self._log.begin(call), environ).send(start_response)

    def _answer(self, call: Call, environ: "WSGIEnvironment") -> Answer:
        with self._one_at_a_time:
            fault = self._script.take(call.action, call.params)
        if fault is None:
            return self._carry_out(call, environ)
        fault = fault.of_service(call.service)
        call = replace(call, fault=fault.kind)
        match fault.kind:
            case "delay":
                self._sleep(fault.seconds)
                return self._carry_out(call, environ)
            case "delay_after":
                answer = self._carry_out(call, environ)
                self._sleep(fault.seconds)
                return answer
            case "close_before":
                self._log.end(call)
                raise _close(environ)
            case "close_after":
                self._carry_out(call, environ, answered=False)
                raise _close(environ)
            case "error_after":
                self._carry_out(call, environ, error=fault)
                return _make_error(call, fault)
            case _:
                self._log.end(replace(call, status=fault.status, code=fault.code))
                return _make_error(call, fault)

    def _carry_out(
        self, call: Call, environ: "WSGIEnvironment", *, answered: bool = True, error: Fault | None = None
    ) -> Answer:
        with self._one_at_a_time:
            try:
                answer = _run(self._app, environ)
            except Exception as failure:  # whatever goes wrong in moto, the caller gets an EC2 error
                answer = _make_failure(call, failure)
        call = replace(call, carried_out=answer.status_code < _SUCCESS)
        if error:
            call = replace(call, status=error.status, code=error.code)
        elif answered:
            call = replace(call, status=answer.status_code, code=_code_in(answer))
        self._log.end(call)
        return answer


def _read_call(authorization: str, environ: "WSGIEnvironment") -> Call | None:
    request = f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}"
    return read_call(authorization, form=_read_form(environ), request=request, query=environ.get("QUERY_STRING", ""))


def _read_form(environ: "WSGIEnvironment") -> str:
    """The request's form, or an empty string if it has none. moto can still read it afterwards."""
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return ""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body.decode()


def _run(app: "WSGIApplication", environ: "WSGIEnvironment") -> Answer:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        started.append((status, headers))

    chunks = app(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return Answer(*started[-1], body)


def _code_in(answer: Answer) -> str | None:
    """The code of the error that this answer is, or None."""
    if answer.status_code < _SUCCESS:
        return None
    of_header = next((value for name, value in answer.headers if name.lower() == "x-amzn-errortype"), None)
    of_body = _ERROR_CODE.search(answer.body)
    return of_header or (of_body[1].decode() if of_body else None)


def _make_failure(call: Call, error: Exception) -> Answer:
    """The error for a failure of moto: a 501, which SDKs don't retry, if it lacks the feature, else a 500."""
    if isinstance(error, NotImplementedError):
        return _make_error(call, Fault("error", code="NotImplemented", status=501, message=str(error)))
    traceback.print_exception(error)
    failure = Fault("error", code="InternalError", status=500, message=repr(error))
    return _make_error(call, failure.of_service(call.service))


def _close(environ: "WSGIEnvironment") -> ScriptedCloseError:
    # Only shut it down: werkzeug still reads the rest of the request, then closes the socket.
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ScriptedCloseError("closed by the script")


def _make_error(call: Call, fault: Fault) -> Answer:
    code = fault.code
    message = fault.message or (_explain_denial(call) if fault.kind == "deny" else _MESSAGES.get(code, code))
    if call.service == "ebs":
        error = {"Message": message, "Reason": fault.reason or _REASONS.get(code)}
        headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)]
        return Answer(f"{fault.status} Scripted", headers, json.dumps(error).encode())
    template = _STS_ERROR if call.service == "sts" else _EC2_ERROR
    body = template.format(code=escape(code), message=escape(message)).encode()
    return Answer(f"{fault.status} Scripted", [("Content-Type", "text/xml;charset=UTF-8")], body)


def _explain_denial(call: Call) -> str:
    action = f"{call.service}:{call.action}"
    denial = f"User: arn:aws:iam::{_ACCOUNT}:user/{call.access_key} is not authorized to perform: {action}"
    if call.service == "ebs":
        snapshot_id = call.params.get("SnapshotId") or call.params.get("SecondSnapshotId", "*")
        denial += f" on resource: arn:aws:ec2:{call.region}::snapshot/{snapshot_id}"
    elif not call.action.startswith("Describe"):
        denial += f" on resource: arn:aws:{call.service}:{call.region}:{_ACCOUNT}:*"
    denial += f" because no identity-based policy allows the {action} action"
    if call.service != "ec2":
        return denial
    return f"You are not authorized to perform this operation. {denial}. {_ENCODED_DENIAL}"
