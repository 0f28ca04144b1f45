"""Start the embedded EC2 as a separate process, and control it. Needs boto3, not moto."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import boto3
from botocore.config import Config

from .process import EmbeddedEC2Error, ServerProcess

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

__all__ = ["EmbeddedEC2", "EmbeddedEC2Error", "LaunchedInstance"]

REGION = "us-east-1"
ROOT_DEVICE = "/dev/sda1"

_ACCESS_KEY = "testing"
_CONTROL_TIMEOUT_SECONDS = 30

# Requests to the loopback must not go through the user's proxy.
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class LaunchedInstance:
    """The instance that `EmbeddedEC2.launch` made. volume_ids: its volumes by device, the root volume included."""

    instance_id: str
    root_volume_id: str
    volume_ids: Mapping[str, str]


class EmbeddedEC2:
    """An EC2 (with EBS direct, STS and S3) in a separate process, running during the `with` block.

    snapshot_seconds: how long snapshots stay pending; `float("inf")`: forever.
    visibility_seconds: how long DescribeSnapshots omits a new snapshot.
    region: the region of `environment()` and `ec2()`.
    port: where to listen on 127.0.0.1; 0 takes a free port.
    """

    def __init__(
        self,
        *,
        snapshot_seconds: float = 0.0,
        visibility_seconds: float = 0.0,
        region: str = REGION,
        port: int = 0,
    ) -> None:
        self.region = region
        self._clients: dict[tuple[str, bool, float], EC2Client] = {}
        self._server = ServerProcess(
            {
                "--port": str(port),
                "--snapshot-seconds": str(snapshot_seconds),
                "--visibility-seconds": str(visibility_seconds),
                "--region": region,
            }
        )

    def __enter__(self) -> "EmbeddedEC2":
        """Start the server; raises EmbeddedEC2Error with its stderr if it does not start."""
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._server.stop()
        self._clients.clear()

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return self._server.endpoint

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._server.pid

    def environment(self) -> dict[str, str]:
        """The variables that make boto3, the AWS CLI and the Pulumi engine use this EC2."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_EC2": self.endpoint,
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def ec2(self, *, region: str | None = None, retries: bool = False, timeout: float = 60) -> "EC2Client":
        """A boto3 client, cached by its arguments; it tries once, or with `retries` as often as boto3 does."""
        key = (region or self.region, retries, timeout)
        if key not in self._clients:
            self._clients[key] = self._make_client(region=key[0], retries=retries, timeout=timeout)
        return self._clients[key]

    def calls(self, action: str | None = None) -> list[dict[str, Any]]:
        """The log of calls, in order: all, or those of one action (see `calls.Call` for the fields)."""
        calls: list[dict[str, Any]] = self._ask("GET", f"calls?action={action}" if action else "calls")
        return calls

    def clear_calls(self) -> None:
        """Forget the calls so far."""
        self._ask("DELETE", "calls")

    def fault(self, **fault: Any) -> None:
        """Script a fault (see `faults.Fault` for the fields)."""
        self._ask("POST", "faults", [fault])

    def faults_left(self) -> list[dict[str, Any]]:
        """The scripted faults that may still hit a call."""
        faults: list[dict[str, Any]] = self._ask("GET", "faults")
        return faults

    def clear_faults(self) -> None:
        """Remove all scripted faults."""
        self._ask("DELETE", "faults")

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Change settings (see `world.Settings`) and return all; `"forever"` stands for infinity."""
        plain = {name: _plain(value) for name, value in settings.items()}
        shown: dict[str, Any] = self._ask("POST", "settings", plain)
        return shown

    def complete(self, snapshot_ids: Iterable[str] | None = None) -> list[str]:
        """Complete these pending snapshots now, or all; return the ids of those completed."""
        body = {} if snapshot_ids is None else {"snapshot_ids": list(snapshot_ids)}
        completed: list[str] = self._ask("POST", "snapshots/complete", body)
        return completed

    def fail(
        self, snapshot_ids: Iterable[str] | None = None, *, message: str | None = None, after_seconds: float = 0.0
    ) -> list[str]:
        """Put the sets of these snapshots into `error` now. Without ids: the next set, after that many seconds."""
        body: dict[str, Any] = {"message": message}
        if snapshot_ids is None:
            body |= {"next": True, "after_seconds": after_seconds}
        else:
            body |= {"snapshot_ids": list(snapshot_ids)}
        failed: list[str] = self._ask("POST", "snapshots/fail", body)
        return failed

    def lock(self, snapshot_ids: Iterable[str]) -> None:
        """Lock these snapshots against deletion."""
        self._ask("POST", "snapshots/lock", {"snapshot_ids": list(snapshot_ids)})

    def unlock(self, snapshot_ids: Iterable[str]) -> None:
        """Unlock these snapshots."""
        self._ask("POST", "snapshots/unlock", {"snapshot_ids": list(snapshot_ids)})

    def age(self, snapshot_ids: Iterable[str], *, seconds: float) -> None:
        """Set the start time of these snapshots to so many seconds ago."""
        self._ask("POST", "snapshots/age", {"snapshot_ids": list(snapshot_ids), "seconds": seconds})

    def place(
        self,
        instance_id: str,
        *,
        outpost_arn: str | None = None,
        availability_zone: str | None = None,
        auto_scaling_group: str | None = None,
        root_device_type: str | None = None,
    ) -> None:
        """Move an instance and its volumes to this Outpost, Availability or Local Zone, or Auto Scaling group.

        root_device_type: `ebs` or `instance-store`.
        """
        body = {
            "outpost_arn": outpost_arn,
            "availability_zone": availability_zone,
            "auto_scaling_group": auto_scaling_group,
            "root_device_type": root_device_type,
        }
        self._ask("POST", f"instances/{instance_id}", body)

    def add_image(self, *, region: str | None = None, **described: Any) -> str:
        """Add an image of AWS's own, without snapshots to see, and return its id.

        described: what differs from the usual Linux: root_device_name, architecture, boot_mode, tpm_support,
        ena_support, usage_operation, platform, platform_details, product_codes (those of AWS Marketplace).
        """
        image_id: str = self._ask("POST", "images", {"region": region or self.region, **described})
        return image_id

    def write(self, volume_id: str, offset: int, data: bytes) -> None:
        """Write these bytes to a volume."""
        self._ask("POST", f"content/{volume_id}", {"offset": offset, "data": b64encode(data).decode()})

    def read(self, resource_id: str, offset: int, length: int) -> bytes:
        """So many bytes of a volume or snapshot; what was never written is zeros."""
        return b64decode(self._ask("GET", f"content/{resource_id}?offset={offset}&length={length}")["data"])

    def digest(self, resource_id: str) -> str:
        """SHA-256 of all content of a volume or snapshot: equal if and only if all bytes are."""
        found: str = self._ask("GET", f"content/{resource_id}")["digest"]
        return found

    def reset(self) -> None:
        """Restore the initial state: no resources, faults or calls, the first settings. S3 is emptied too."""
        self._ask("POST", "reset")

    def launch(
        self,
        data_volumes: Sequence[tuple[int, str, Mapping[str, str]]] = (),
        *,
        root_size: int = 8,
        tags: Mapping[str, str] | None = None,
        zone: str | None = None,
        region: str | None = None,
        image: Mapping[str, Any] | None = None,
    ) -> LaunchedInstance:
        """Launch an instance with a root volume and these data volumes, each given as (GiB, device, tags).

        tags are the instance's. zone can be a Local Zone. image: of one that differs from AWS's usual ones as this
        says (see `add_image`). This method's own calls are in the call log too.
        """
        ec2 = self.ec2(region=region)
        root_device = (image or {}).get("root_device_name", ROOT_DEVICE)
        sizes = {root_device: root_size} | {device: size for size, device, _ in data_volumes}
        instance_id = ec2.run_instances(
            ImageId="ami-12345678" if image is None else self.add_image(region=region, **image),
            MinCount=1,
            MaxCount=1,
            # The root device is mapped too, because stock moto drops the root volume otherwise.
            BlockDeviceMappings=[
                {"DeviceName": device, "Ebs": {"VolumeSize": size, "DeleteOnTermination": device == root_device}}
                for device, size in sizes.items()
            ],
            TagSpecifications=[{"ResourceType": "instance", "Tags": _tag_list(tags)}] if tags else [],
        )["Instances"][0]["InstanceId"]
        instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
        volume_ids = {
            mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]
        }
        for _, device, volume_tags in data_volumes:
            if volume_tags:
                ec2.create_tags(Resources=[volume_ids[device]], Tags=_tag_list(volume_tags))
        if zone:
            self.place(instance_id, availability_zone=zone)
        return LaunchedInstance(instance_id, volume_ids[root_device], volume_ids)

    def _make_client(self, *, region: str, retries: bool, timeout: float) -> "EC2Client":
        config = Config(read_timeout=timeout, proxies={})
        if not retries:
            config = config.merge(Config(retries={"total_max_attempts": 1}))
        session = boto3.Session(
            aws_access_key_id=_ACCESS_KEY,
            aws_secret_access_key="testing",  # noqa: S106
            region_name=region,
        )
        return session.client("ec2", endpoint_url=self.endpoint, config=config)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.endpoint}/_snapset/{path}", data=data, method=method)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=_CONTROL_TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise EmbeddedEC2Error(f"{method} {path}: {json.load(error)['error']}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return "forever" if value == float("inf") else value


def _tag_list(tags: Mapping[str, str]) -> Any:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
