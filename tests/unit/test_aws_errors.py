"""What AWS, or the way to it, answers: which error of snapset's that is, and the one line that it says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.errors import (
    ACCOUNT_CODES,
    CREDENTIAL_CODES,
    PERMISSION_CODES,
    SERVER_FAULT_CODES,
    THROTTLE_CODES,
    calling_aws,
)
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2
from snapset.limits import Limits
from snapset.sets.inputs import SetInputs

SET, SNAPSHOT, VOLUME = "set-0123456789abcdef0", "snap-0123456789abcdef0", "vol-0123456789abcdef0"
NEEDS = "ec2:CreateSnapshots and ec2:CreateTags"
VOLUME_REQUEST = {"SnapshotId": SNAPSHOT, "AvailabilityZone": "us-east-1a"}

# Code, HTTP status, class, and what is to be done about it.
ANSWERS: list[tuple[str, int, type[errors.SnapsetError], str]] = [
    *((code, 503, errors.ThrottledError, "Try again later.") for code in sorted(THROTTLE_CODES)),
    *((code, 403, errors.NotPermittedError, f"Allow {NEEDS}.") for code in sorted(PERMISSION_CODES)),
    *((code, 401, errors.NotPermittedError, "the AWS credentials.") for code in sorted(CREDENTIAL_CODES)),
    *((code, 403, errors.NotPermittedError, f"{advice}.") for code, advice in ACCOUNT_CODES.items()),
    *((code, 500, errors.NoAnswerError, "whether the call happened.") for code in sorted(SERVER_FAULT_CODES)),
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
    ("SnapshotLimitExceeded", 400, errors.SnapsetError, "or delete what is no longer needed."),
    ("SomethingNew", 400, errors.SnapsetError, "Mend what AWS names, and run it again."),
]

Call = Callable[[Ec2, SetInputs], Any]

# Every call of Ec2: what it is doing, the call, and the action.
CALLS: list[tuple[str, Call, str]] = [
    ("describing instance {}", lambda aws, inputs: aws.describe_instance(inputs.instance_id), "DescribeInstances"),
    ("describing instance {}", lambda aws, inputs: aws.describe_instances([inputs.instance_id]), "DescribeInstances"),
    (
        "describing volumes in us-east-1",
        lambda aws, inputs: aws.find_attached([inputs.instance_id]),
        "DescribeVolumes",
    ),
    ("looking for instances in us-east-1", lambda aws, _: aws.find_instances({"tag:a": ["b"]}), "DescribeInstances"),
    (
        "looking for instances in us-east-1",
        lambda aws, _: aws.describe_matching({"tag:a": ["b"]}),
        "DescribeInstances",
    ),
    ("describing zone us-east-1a", lambda aws, _: aws.describe_zone_type("us-east-1a"), "DescribeAvailabilityZones"),
    (
        "creating snapshots of {}",
        lambda aws, inputs: aws.create_snapshots(inputs.request(set_id=SET)),
        "CreateSnapshots",
    ),
    (
        "dry run: creating snapshots of {}",
        lambda aws, inputs: aws.dry_run().create_snapshots(inputs.request(set_id=SET)),
        "CreateSnapshots",
    ),
    ("describing snapshots in us-east-1", lambda aws, _: aws.describe_snapshots([SNAPSHOT]), "DescribeSnapshots"),
    ("describing snapshots in us-east-1", lambda aws, _: aws.find_snapshots({"tag:a": ["b"]}), "DescribeSnapshots"),
    (f"deleting {SNAPSHOT}", lambda aws, _: aws.delete_snapshot(SNAPSHOT), "DeleteSnapshot"),
    (f"tagging {SNAPSHOT}", lambda aws, _: aws.add_tags([SNAPSHOT], {"a": "b"}), "CreateTags"),
    (f"removing tags of {SNAPSHOT}", lambda aws, _: aws.remove_tags([SNAPSHOT], ["a"]), "DeleteTags"),
    ("describing volumes in us-east-1", lambda aws, _: aws.describe_volumes([VOLUME]), "DescribeVolumes"),
    ("describing volumes in us-east-1", lambda aws, _: aws.find_volumes({"tag:a": ["b"]}), "DescribeVolumes"),
    (
        f"creating the volume of {SNAPSHOT}",
        lambda aws, _: aws.create_volume(VOLUME_REQUEST, client_token="t"),
        "CreateVolume",
    ),
    (
        f"attaching {VOLUME} to {{}} at /dev/sdf",
        lambda aws, inputs: aws.attach_volume(VOLUME, instance_id=inputs.instance_id, device="/dev/sdf"),
        "AttachVolume",
    ),
    (
        f"detaching {VOLUME} from {{}}",
        lambda aws, inputs: aws.detach_volume(VOLUME, instance_id=inputs.instance_id),
        "DetachVolume",
    ),
    (
        "setting DeleteOnTermination of /dev/sdf of {}",
        lambda aws, inputs: aws.set_delete_on_termination(inputs.instance_id, ["/dev/sdf"]),
        "ModifyInstanceAttribute",
    ),
    ("stopping {}", lambda aws, inputs: aws.stop_instance(inputs.instance_id), "StopInstances"),
    ("starting {}", lambda aws, inputs: aws.start_instance(inputs.instance_id), "StartInstances"),
    (
        "describing stop protection of {}",
        lambda aws, inputs: aws.is_stop_protected(inputs.instance_id),
        "DescribeInstanceAttribute",
    ),
    (
        "describing the request of {}",
        lambda aws, inputs: aws.has_persistent_spot_request(inputs.instance_id),
        "DescribeSpotInstanceRequests",
    ),
    (f"deleting {VOLUME}", lambda aws, _: aws.delete_volume(VOLUME), "DeleteVolume"),
    ("registering x", lambda aws, _: aws.register_image({"Name": "web"}, doing="registering x"), "RegisterImage"),
    ("looking for images in us-east-1", lambda aws, _: aws.find_images({"name": ["x"]}), "DescribeImages"),
]
CALLS_NOTHING = {"bearing", "dry_run", "once", "saying"}


@contextmanager
def listener(answer: bytes) -> Iterator[str]:
    """Something that is no EC2: it takes every connection, says this, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                # Whoever hangs up on unread bytes loses what it has said.
                with connection, connection.makefile("rb") as request:
                    length = 0
                    while (line := request.readline()) not in (b"", b"\r\n"):
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    request.read(length)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(("code", "status", "kind", "advice"), ANSWERS)
def test_every_code_of_aws_is_one_kind_of_error_and_one_line(
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
        aws.create_snapshots(inputs.request(set_id=SET))
    assert type(caught.value) is kind
    assert caught.value.code == code
    text = str(caught.value)
    assert text.startswith(f"creating snapshots of {inputs.instance_id}: {code}: It is said here.")
    assert text.endswith(advice)
    assert "\n" not in text


@pytest.mark.parametrize(("doing", "call", "action"), CALLS)
def test_a_refused_call_names_what_was_being_done_and_the_permission_that_is_missing(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, doing: str, call: Call, action: str
) -> None:
    ec2.fault(action=action, kind="deny")
    with pytest.raises(errors.NotPermittedError) as caught:
        call(aws, inputs)
    text = str(caught.value)
    assert text.startswith(f"{doing.format(inputs.instance_id)}: UnauthorizedOperation: You are not authorized")
    also = " and ec2:CreateTags" if action in ("CreateSnapshots", "CreateVolume", "RegisterImage") else ""
    assert text.endswith(f" policy allows the ec2:{action} action. Allow ec2:{action}{also}.")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("doing", "call", "action"), CALLS)
def test_every_call_but_create_snapshots_is_made_again_while_it_is_throttled(
    aws: Ec2,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    doing: str,
    call: Call,
    action: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    # boto3 itself tries three times.
    ec2.fault(action=action, kind="error", code="RequestLimitExceeded", times=4)
    ec2.fault(action=action, kind="deny")
    said: list[str] = []
    is_the_call = doing.startswith("creating snapshots")
    with pytest.raises(errors.ThrottledError if is_the_call else errors.NotPermittedError):
        call(aws.saying(said.append), inputs)
    assert bool(said) != is_the_call
    assert all(text.startswith(f"{doing.format(inputs.instance_id)}: RequestLimitExceeded: trying") for text in said)


def test_every_call_of_ec2_is_in_the_table_above() -> None:
    public = {name for name, value in vars(Ec2).items() if callable(value) and not name.startswith("_")}
    named = {name for _, call, _ in CALLS for name in call.__code__.co_names}
    assert public - CALLS_NOTHING == (public & named) - CALLS_NOTHING


def test_the_encoded_authorization_message_is_cut_off(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    encoded = "4h2-Yx" * 500
    message = f"You are not authorized. Encoded authorization failure message: {encoded}"
    ec2.fault(action="CreateSnapshots", kind="error", code="UnauthorizedOperation", status=403, message=message)
    with pytest.raises(errors.NotPermittedError) as caught:
        aws.create_snapshots(inputs.request(set_id=SET))
    assert str(caught.value) == (
        f"creating snapshots of {inputs.instance_id}: UnauthorizedOperation: You are not authorized. Allow {NEEDS}."
    )


@pytest.mark.parametrize("kind", ["close_before", "close_after"])
def test_a_closed_connection_is_no_answer(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, kind: str) -> None:
    ec2.fault(action="CreateSnapshots", kind=kind)
    with pytest.raises(errors.NoAnswerError, match=r"creating snapshots of i-\w+: no answer: ") as caught:
        aws.create_snapshots(inputs.request(set_id=SET))
    assert caught.value.code is None
    assert ec2.endpoint in str(caught.value)
    assert [call["carried_out"] for call in ec2.calls("CreateSnapshots")] == [kind == "close_after"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n<?xml version='1'?><a/>",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_an_answer_that_is_not_from_ec2_is_no_answer(settings: AwsSettings, inputs: SetInputs, answer: bytes) -> None:
    with listener(answer) as endpoint, pytest.raises(errors.LateAnswerError) as caught:
        Ec2(replace(settings, endpoint_url=endpoint), Limits()).create_snapshots(inputs.request(set_id=SET))
    assert str(caught.value).startswith(f"creating snapshots of {inputs.instance_id}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("action", "says", "lacks"),
    [
        ("CreateSnapshots", "", "AWS's answer has no Snapshots."),
        (
            "CreateSnapshots",
            "<snapshotSet><item><snapshotId>snap-1</snapshotId></item></snapshotSet>",
            "has no VolumeId.",
        ),
        ("CreateSnapshots", "<snapshotSet><item><volumeSize/></item></snapshotSet>", "no answer: invalid literal"),
        ("DescribeSnapshots", "", "AWS's answer has no Snapshots."),
        ("DescribeInstances", "<reservationSet><item/></reservationSet>", "AWS's answer has no Instances."),
        ("DescribeVolumes", "<volumeSet><item><volumeId>vol-1</volumeId></item></volumeSet>", "answer has no Size."),
        ("DescribeInstanceAttribute", "<instanceId>i-1</instanceId>", "AWS's answer has no DisableApiStop."),
        ("CreateVolume", "<size>1</size>", "AWS's answer has no VolumeId."),
    ],
)
def test_an_answer_that_lacks_something_is_one_line_and_does_not_say_that_nothing_has_happened(
    settings: AwsSettings, inputs: SetInputs, action: str, says: str, lacks: str
) -> None:
    doing, call = next((doing, call) for doing, call, name in CALLS if name == action)
    body = f"<{action}Response>{says}</{action}Response>".encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with listener(answer) as endpoint, pytest.raises(errors.LateAnswerError) as caught:
        call(Ec2(replace(settings, endpoint_url=endpoint), Limits()), inputs)
    assert str(caught.value).startswith(f"{doing.format(inputs.instance_id)}: ")
    assert lacks in str(caught.value)


def test_what_an_answer_names_twice_is_one(settings: AwsSettings, inputs: SetInputs) -> None:
    item = (
        "<item><snapshotId>snap-1</snapshotId><volumeId>vol-1</volumeId><volumeSize>1</volumeSize>"
        "<startTime>2026-11-23T23:15:00.000Z</startTime><ownerId>123456789012</ownerId></item>"
    )
    body = f"<CreateSnapshotsResponse><snapshotSet>{item * 2}</snapshotSet></CreateSnapshotsResponse>".encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with listener(answer) as endpoint:
        aws = Ec2(replace(settings, endpoint_url=endpoint), Limits())
        assert [one.snapshot_id for one in aws.create_snapshots(inputs.request(set_id=SET))] == ["snap-1"]


def test_a_refused_connection_is_unreachable_and_names_the_endpoint(
    settings: AwsSettings, inputs: SetInputs, closed_port: int
) -> None:
    endpoint = f"http://127.0.0.1:{closed_port}"
    aws = Ec2(replace(settings, endpoint_url=endpoint), Limits())
    for call in (
        lambda: aws.create_snapshots(inputs.request(set_id=SET)),
        lambda: aws.describe_instance(inputs.instance_id),
    ):
        with pytest.raises(errors.UnreachableError) as caught:
            call()
        assert endpoint in str(caught.value)
        assert "AWS_ENDPOINT_URL_EC2" in str(caught.value)


def test_credentials_in_an_endpoint_are_not_shown(settings: AwsSettings, closed_port: int) -> None:
    aws = Ec2(replace(settings, endpoint_url=f"http://jane:hunter2@127.0.0.1:{closed_port}"), Limits())
    with pytest.raises(errors.UnreachableError, match=rf"http://\*\*\*\*@127\.0\.0\.1:{closed_port}") as caught:
        aws.delete_snapshot(SNAPSHOT)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("message", ["<Message/>", "", "<Message>  \n </Message>"])
def test_an_error_of_aws_without_a_message_is_one_line(settings: AwsSettings, message: str) -> None:
    body = f"<Response><Errors><Error><Code>AccessDenied</Code>{message}</Error></Errors></Response>".encode()
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with listener(answer) as endpoint, pytest.raises(errors.NotPermittedError) as caught:
        Ec2(replace(settings, endpoint_url=endpoint), Limits()).delete_snapshot(SNAPSHOT)
    assert caught.value.code == "AccessDenied"
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"deleting {SNAPSHOT}: AccessDenied: ")
    assert line.endswith("Allow ec2:DeleteSnapshot.")
    assert "None" not in line


@pytest.mark.parametrize(("code", "seconds"), THROTTLE_CODES.items())
def test_a_throttled_call_says_how_long_aws_asks_to_wait(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, code: str, seconds: float | None
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code=code)
    with pytest.raises(errors.ThrottledError) as caught:
        aws.create_snapshots(inputs.request(set_id=SET))
    assert caught.value.asks_for == seconds


def test_no_code_of_aws_belongs_to_two_families() -> None:
    families = [THROTTLE_CODES, PERMISSION_CODES, CREDENTIAL_CODES, ACCOUNT_CODES, SERVER_FAULT_CODES]
    assert sum(len(family) for family in families) == len(frozenset().union(*families))


def test_what_the_block_raises_itself_passes_through() -> None:
    with pytest.raises(KeyError), calling_aws("doing", needs="nothing"):
        raise KeyError("x")
    with pytest.raises(errors.SetFailedError), calling_aws("doing", needs="nothing"):
        raise errors.SetFailedError("x")


def test_the_error_of_boto3_stays_the_cause(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    ec2.fault(action="CreateSnapshots", kind="deny")
    with pytest.raises(errors.NotPermittedError) as caught:
        aws.create_snapshots(inputs.request(set_id=SET))
    assert type(caught.value.__cause__).__name__ == "ClientError"


def test_a_role_that_may_not_be_assumed_is_no_matter_of_ec2s_permissions() -> None:
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": "not authorized to perform: sts:AssumeRole"}}
    with pytest.raises(errors.NotPermittedError) as caught, calling_aws("describing i-1", needs="ec2:Describe"):
        raise ClientError(answer, "AssumeRole")
    assert str(caught.value).endswith("Allow sts:AssumeRole, and let the role's trust policy name this caller.")


@pytest.mark.parametrize("token", ["IQoJb3JpZ2luX2VjEXAMPLE\n", "IQoJb3JpZ2luX2VjEXAMPLE\r\n"])
def test_credentials_that_no_header_can_hold_are_bad_input_and_are_not_shown(
    settings: AwsSettings, inputs: SetInputs, token: str
) -> None:
    signed = replace(settings, access_key="AKIAEXAMPLE", secret_key="a-secret-of-some-length", session_token=token)
    with pytest.raises(errors.InputError, match="the call was not sent") as caught:
        Ec2(signed, Limits()).create_snapshots(inputs.request(set_id=SET))
    assert "EXAMPLE" not in str(caught.value)


def test_a_refused_handshake_is_said_as_such_and_the_call_was_not_sent(
    settings: AwsSettings, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    endpoint = ec2.endpoint.replace("http:", "https:")
    with pytest.raises(errors.UnreachableError, match=r"TLS: .*Check the endpoint, and AWS_CA_BUNDLE"):
        Ec2(replace(settings, endpoint_url=endpoint), Limits()).create_snapshots(inputs.request(set_id=SET))
