"""What the unit tests share: real boto3 on the embedded EC2, and an environment that names no AWS account."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings
from snapset.aws.ec2 import Ec2, _clients_for
from snapset.aws.session import _session
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.limits import Limits
from snapset.sets.claims import claim_set
from snapset.sets.find import find_set
from snapset.sets.inputs import SetInputs, parse
from snapset.sets.model import SnapshotSet
from snapset.sets.take import take_set

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

DATA, SCRATCH = "/dev/sdf", "/dev/sdg"

# No example is kept between runs, and a slow machine is no failure.
hypothesis_settings.register_profile("snapset", database=None, deadline=None)
hypothesis_settings.load_profile("snapset")


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave boto3's own chain without a Region and without credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def no_memory() -> Iterator[None]:
    """Forget the sessions and clients of other tests, and let others forget those of this one."""
    _session.cache_clear()
    _clients_for.cache_clear()
    yield
    _session.cache_clear()
    _clients_for.cache_clear()


@pytest.fixture
def settings(no_account: None, ec2: EmbeddedEC2) -> AwsSettings:
    """Those of a stack whose `aws` config names the embedded EC2."""
    return AwsSettings(
        region=ec2.region,
        endpoint_url=ec2.endpoint,
        sts_endpoint_url=ec2.endpoint,
        access_key="testing",
        secret_key="testing",
    )


@pytest.fixture
def aws(settings: AwsSettings) -> Ec2:
    """snapset's own EC2, on the embedded one."""
    return Ec2(settings, Limits())


@pytest.fixture
def client(ec2: EmbeddedEC2) -> EC2Client:
    """Plain boto3 on the embedded EC2: what somebody else does there, and what there is to see."""
    return ec2.ec2()


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    """An instance with a root volume and two data volumes; the calls that made it are not in the log."""
    launched = ec2.launch([(20, DATA, {"Name": "data"}), (100, SCRATCH, {})])
    ec2.clear_calls()
    return launched


@pytest.fixture
def inputs(instance: LaunchedInstance) -> SetInputs:
    """A set of all volumes of the instance."""
    return parse({"scope": "org/shop/prod/web", "instance_id": instance.instance_id, "region": "us-east-1"})


@pytest.fixture
def sets_in(client: EC2Client) -> Callable[[], dict[str, list[Any]]]:
    """Ask EC2 for its snapshots, by the set that their tags name."""

    def ask() -> dict[str, list[Any]]:
        sets: dict[str, list[Any]] = {}
        for snapshot in client.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
            tags = {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}
            sets.setdefault(tags.get("snapset:set", ""), []).append(snapshot)
        return sets

    return ask


@pytest.fixture
def claimed(aws: Ec2, inputs: SetInputs, instance: LaunchedInstance, ec2: EmbeddedEC2) -> SnapshotSet:
    """A completed set of the instance that a stack has claimed, as its tags have it; no call is in the log."""
    taken = take_set(aws, inputs).set
    claim_set(aws, taken, claim="mine")
    found = find_set(aws, taken.set_id)
    ec2.clear_calls()
    return found


@pytest.fixture
def closed_port() -> int:
    """A port of the loopback at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port
