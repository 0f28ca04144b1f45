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

    def place(region: str, keys: Mapping[str, str]) -> Where:
        given: Any = {name.lower(): value for name, value in keys.items()}
        return Where(region, keys, boto3.client("ec2", endpoint_url=server.endpoint, region_name=region, **given))

    own = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "testing")
    sts: Any = boto3.client(
        "sts", endpoint_url=server.endpoint, region_name=server.region, **{name.lower(): own[name] for name in own}
    )
    role = sts.assume_role(RoleArn=_ROLE, RoleSessionName="deploy")["Credentials"]
    other = {
        "AWS_ACCESS_KEY_ID": role["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": role["SecretAccessKey"],
        "AWS_SESSION_TOKEN": role["SessionToken"],
    }
    return {
        "here": place(server.region, own),
        "another Region": place("eu-west-1", own),
        "another account": place(server.region, other),
    }
