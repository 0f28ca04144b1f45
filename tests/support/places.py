"""Where instances are: in the embedded EC2's own Region and account, in another Region, in another account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from snapset.emulator.client import ROOT_DEVICE, EmbeddedEC2

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_ROLE = "arn:aws:iam::222222222222:role/deploy"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class Where:
    """A Region of an account. `keys`: the environment variables with the account's credentials."""

    region: str
    keys: Mapping[str, str]
    ec2: EC2Client

    def launch(self, *devices: str) -> str:
        """Launch an instance with a root volume and a data volume at each of these devices; return its id."""
        mappings: list[Any] = [{"DeviceName": name, "Ebs": {"VolumeSize": 8}} for name in (ROOT_DEVICE, *devices)]
        answer = self.ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, BlockDeviceMappings=mappings)
        return answer["Instances"][0]["InstanceId"]


def two_regions_and_two_accounts(server: EmbeddedEC2) -> dict[str, Where]:
    """Return three places, by what they are called."""

    def connect(service: str, region: str, keys: Mapping[str, str]) -> Any:
        given: Any = {"endpoint_url": server.endpoint, **{name.lower(): value for name, value in keys.items()}}
        return boto3.Session(region_name=region).client(service, **given)  # type: ignore[call-overload]

    def place(region: str, keys: Mapping[str, str]) -> Where:
        return Where(region, keys, connect("ec2", region, keys))

    own = dict.fromkeys(_KEYS, "testing")
    role = connect("sts", server.region, own).assume_role(RoleArn=_ROLE, RoleSessionName="deploy")["Credentials"]
    other = dict(zip(_KEYS, (role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"]), strict=True))
    return {
        "here": place(server.region, own),
        "another Region": place("eu-west-1", own),
        "another account": place(server.region, other),
    }
