"""What AWS, or the way to it, answers: which error of snapset's that is, and the one line that it says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.errors import calling_aws
from snapset.aws.session import AwsSettings
from snapset.emulator.client import EmbeddedEC2
from snapset.sets.inputs import SetInputs

SNAPSHOT = "snap-0123456789abcdef0"
NEEDS = "ec2:CreateSnapshots and ec2:CreateTags"

# Code, HTTP status, class, and what is to be done about it.
ANSWERS: list[tuple[str, int, type[errors.SnapsetError], str]] = [
    *((code, 503, errors.ThrottledError, "Try again later.") for code in sorted(errors.THROTTLE_CODES)),
    *((code, 403, errors.NotPermittedError, f"Allow {NEEDS}.") for code in sorted(errors.PERMISSION_CODES)),
    *((code, 401, errors.NotPermittedError, "the AWS credentials.") for code in sorted(errors.CREDENTIAL_CODES)),
    *((code, 500, errors.NoAnswerError, "whether the call happened.") for code in sorted(errors.SERVER_FAULT_CODES)),
    ("InternalError", 400, errors.NoAnswerError, "whether the call happened."),
    ("SomethingNew", 502, errors.NoAnswerError, "whether the call happened."),
    ("InvalidInstanceID.NotFound", 400, errors.NotFoundError, "Check the id, the Region and the account."),
    ("InvalidVolume.NotFound", 400, errors.NotFoundError, "Check the id, the Region and the account."),
    ("InvalidInstanceID.Malformed", 400, errors.InputError, "Correct the input."),
    ("InvalidParameterValue", 400, errors.InputError, "Correct the input."),
    ("InvalidParameterCombination", 400, errors.InputError, "Correct the input."),
    ("MissingParameter", 400, errors.InputError, "Correct the input."),
    ("UnsupportedOperation", 400, errors.InputError, "Correct the input."),
    ("IncorrectInstanceState", 400, errors.InputError, "Correct the input."),
    ("MalformedQueryString", 400, errors.InputError, "Correct the input."),
    ("UnknownParameter", 400, errors.InputError, "Correct the input."),
    ("SnapshotLimitExceeded", 400, errors.SnapsetError, "It is said here."),
]

# Every call of Ec2: what it is doing, the action, and the permission that it needs.
CALLS: dict[str, tuple[Callable[[Ec2, SetInputs], Any], str, str]] = {
    "describing instance {}": (
        lambda aws, inputs: aws.describe_instance(inputs.instance_id),
        "DescribeInstances",
        "ec2:DescribeInstances",
    ),
    "describing zone us-east-1a": (
        lambda aws, inputs: aws.describe_zone_type("us-east-1a"),
        "DescribeAvailabilityZones",
        "ec2:DescribeAvailabilityZones",
    ),
    "creating snapshots of {}": (
        lambda aws, inputs: aws.create_snapshots(inputs, {"a": "b"}),
        "CreateSnapshots",
        NEEDS,
    ),
    "checking snapshots of {}": (
        lambda aws, inputs: aws.check_create_snapshots(inputs, {"a": "b"}),
        "CreateSnapshots",
        NEEDS,
    ),
    "describing snapshots in us-east-1": (
        lambda aws, inputs: aws.find_snapshots({"tag:a": ["b"]}),
        "DescribeSnapshots",
        "ec2:DescribeSnapshots",
    ),
    f"tagging {SNAPSHOT}": (
        lambda aws, inputs: aws.tag_snapshots([SNAPSHOT], {"a": "b"}),
        "CreateTags",
        "ec2:CreateTags",
    ),
    f"deleting {SNAPSHOT}": (
        lambda aws, inputs: aws.delete_snapshot(SNAPSHOT),
        "DeleteSnapshot",
        "ec2:DeleteSnapshot",
    ),
}


@contextmanager
def listener(answer: bytes) -> Iterator[str]:
    """Something that is no EC2: it takes each connection, says this, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(("code", "status", "kind", "advice"), ANSWERS)
def test_each_code_of_aws_is_one_kind_of_error_and_one_line(
    aws: Ec2,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    code: str,
    status: int,
    kind: type[errors.SnapsetError],
    advice: str,
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code=code, status=status, message="It is\n  said here")
    with pytest.raises(errors.SnapsetError) as caught:
        aws.create_snapshots(inputs, {"a": "b"})
    assert type(caught.value) is kind
    assert caught.value.code == code
    text = str(caught.value)
    assert text.startswith(f"creating snapshots of {inputs.instance_id}: {code}: It is said here.")
    assert text.endswith(advice)
    assert "\n" not in text


@pytest.mark.parametrize("doing", CALLS)
def test_a_refused_call_names_what_was_being_done_and_the_permission_that_is_missing(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, doing: str
) -> None:
    call, action, needs = CALLS[doing]
    ec2.fault(action=action, kind="deny")
    with pytest.raises(errors.NotPermittedError) as caught:
        call(aws, inputs)
    text = str(caught.value)
    assert text.startswith(f"{doing.format(inputs.instance_id)}: UnauthorizedOperation: You are not authorized")
    assert text.endswith(f" because no identity-based policy allows the ec2:{action} action. Allow {needs}.")
    assert caught.value.exit_code == 3


def test_the_encoded_authorization_message_is_cut_off(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    encoded = "4h2-Yx" * 500
    message = f"You are not authorized. Encoded authorization failure message: {encoded}"
    ec2.fault(action="CreateSnapshots", kind="error", code="UnauthorizedOperation", status=403, message=message)
    with pytest.raises(errors.NotPermittedError) as caught:
        aws.create_snapshots(inputs, {"a": "b"})
    assert str(caught.value) == (
        f"creating snapshots of {inputs.instance_id}: UnauthorizedOperation: You are not authorized. Allow {NEEDS}."
    )


@pytest.mark.parametrize("kind", ["close_before", "close_after"])
def test_a_closed_connection_is_no_answer(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, kind: str) -> None:
    ec2.fault(action="CreateSnapshots", kind=kind)
    with pytest.raises(errors.NoAnswerError, match=r"creating snapshots of i-\w+: no answer: ") as caught:
        aws.create_snapshots(inputs, {"a": "b"})
    assert caught.value.code is None
    assert ec2.endpoint in str(caught.value)
    assert [call["carried_out"] for call in ec2.calls("CreateSnapshots")] == [kind == "close_after"]


def test_a_500_after_the_call_was_carried_out_is_no_answer(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    ec2.fault(action="CreateSnapshots", kind="error_after")
    with pytest.raises(errors.NoAnswerError, match="AWS does not say whether the call happened"):
        aws.create_snapshots(inputs, {"a": "b"})
    assert [call["carried_out"] for call in ec2.calls("CreateSnapshots")] == [True]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_an_answer_that_is_not_from_ec2_is_no_answer(settings: AwsSettings, inputs: SetInputs, answer: bytes) -> None:
    with listener(answer) as endpoint, pytest.raises(errors.NoAnswerError) as caught:
        Ec2(replace(settings, endpoint_url=endpoint)).create_snapshots(inputs, {"a": "b"})
    assert str(caught.value).startswith(f"creating snapshots of {inputs.instance_id}: ")
    assert "\n" not in str(caught.value)


def test_a_refused_connection_is_unreachable_and_names_the_endpoint(
    settings: AwsSettings, inputs: SetInputs, closed_port: int
) -> None:
    endpoint = f"http://127.0.0.1:{closed_port}"
    aws = Ec2(replace(settings, endpoint_url=endpoint))
    for call in (lambda: aws.create_snapshots(inputs, {"a": "b"}), lambda: aws.describe_instance(inputs.instance_id)):
        with pytest.raises(errors.UnreachableError) as caught:
            call()
        assert endpoint in str(caught.value)
        assert "AWS_ENDPOINT_URL_EC2" in str(caught.value)


def test_what_the_block_raises_itself_passes_through() -> None:
    with pytest.raises(KeyError), calling_aws("doing", needs="nothing"):
        raise KeyError("x")
    with pytest.raises(errors.SetFailedError), calling_aws("doing", needs="nothing"):
        raise errors.SetFailedError("x")


def test_the_error_of_boto3_stays_the_cause(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    with pytest.raises(errors.NotPermittedError) as caught:
        aws.create_snapshots(inputs, {"a": "b"})
    assert type(caught.value.__cause__).__name__ == "ClientError"
