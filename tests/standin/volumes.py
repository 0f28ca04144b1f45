"""`aws.ebs.Volume` and `aws.ec2.VolumeAttachment`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from standin.cloud import Cloud, change_tags, is_missing, tag_specifications, wait_until
from standin.resource import Properties, Resource

_CREATE = {
    "availabilityZone": "AvailabilityZone",
    "encrypted": "Encrypted",
    "iops": "Iops",
    "kmsKeyId": "KmsKeyId",
    "multiAttachEnabled": "MultiAttachEnabled",
    "outpostArn": "OutpostArn",
    "size": "Size",
    "snapshotId": "SnapshotId",
    "throughput": "Throughput",
    "type": "VolumeType",
}
_MODIFY = {name: _CREATE[name] for name in ("iops", "size", "throughput", "type")}


class Volume(Resource):
    """https://www.pulumi.com/registry/packages/aws/api-docs/ebs/volume/."""

    noun = "EBS Volume"
    required = (("availabilityZone",), ("size", "snapshotId"))
    replacing = frozenset(
        {"availabilityZone", "encrypted", "kmsKeyId", "multiAttachEnabled", "outpostArn", "region", "snapshotId"}
    )
    kept = frozenset(
        {"availabilityZone", "encrypted", "iops", "kmsKeyId", "region", "size", "snapshotId", "throughput", "type"}
    )
    optional = frozenset({"multiAttachEnabled", "outpostArn"})
    computed = frozenset({"arn", "createTime"})

    @classmethod
    def create(cls, cloud: Cloud, inputs: Properties) -> tuple[str, Properties]:
        """Create the volume and wait until it can be attached."""
        ec2 = cloud.ec2(inputs)
        options = {_CREATE[name]: value for name, value in inputs.items() if name in _CREATE}
        volume_id = ec2.create_volume(**options, TagSpecifications=tag_specifications(volume=inputs.get("tagsAll")))[
            "VolumeId"
        ]
        wait_until(lambda: (find_volume(ec2, volume_id) or {}).get("State") == "available", f"{volume_id} create")
        return volume_id, cls._outputs(cloud, find_volume(ec2, volume_id), inputs)

    @classmethod
    def read(cls, cloud: Cloud, resource_id: str, state: Properties) -> Properties | None:
        """Look up the volume."""
        volume = find_volume(cloud.ec2(state), resource_id)
        return cls._outputs(cloud, volume, state) if volume else None

    @classmethod
    def update(cls, cloud: Cloud, resource_id: str, olds: Properties, news: Properties) -> Properties:
        """Change the volume's tags and the properties that can be changed in place."""
        ec2 = cloud.ec2(news)
        change_tags(ec2, [resource_id], olds.get("tagsAll") or {}, news.get("tagsAll") or {})
        changed = {
            option: news[name]
            for name, option in _MODIFY.items()
            if news.get(name) is not None and news[name] != olds.get(name)
        }
        if changed:
            ec2.modify_volume(VolumeId=resource_id, **changed)
        return cls._outputs(cloud, find_volume(ec2, resource_id), news)

    @classmethod
    def delete(cls, cloud: Cloud, resource_id: str, state: Properties) -> None:
        """Delete the volume once it is detached, and wait until it no longer exists."""
        ec2 = cloud.ec2(state)

        def deleted() -> bool:
            try:
                ec2.delete_volume(VolumeId=resource_id)
            except ec2.exceptions.ClientError as error:
                if error.response["Error"]["Code"] == "VolumeInUse":
                    return False
                if not is_missing(error):
                    raise
            return True

        wait_until(deleted, f"EBS Volume ({resource_id}) delete: VolumeInUse")
        wait_until(lambda: find_volume(ec2, resource_id) is None, f"EBS Volume ({resource_id}) delete")

    @classmethod
    def _outputs(cls, cloud: Cloud, volume: Mapping[str, Any], state: Properties) -> Properties:
        return {
            **{name: state[name] for name in cls.inputs() & state.keys()},
            "id": volume["VolumeId"],
            "arn": cloud.arn(state, f"volume/{volume['VolumeId']}"),
            "availabilityZone": volume["AvailabilityZone"],
            "createTime": volume["CreateTime"].isoformat(),
            "encrypted": volume["Encrypted"],
            "iops": volume.get("Iops", 0),
            "kmsKeyId": volume.get("KmsKeyId", ""),
            "multiAttachEnabled": volume.get("MultiAttachEnabled", False),
            "outpostArn": volume.get("OutpostArn") or "",
            "region": state.get("region") or cloud.region,
            "size": volume["Size"],
            "snapshotId": volume.get("SnapshotId") or "",
            "throughput": volume.get("Throughput", 0),
            "type": volume["VolumeType"],
            **cloud.split_tags(volume.get("Tags", []), state),
        }


class VolumeAttachment(Resource):
    """https://www.pulumi.com/registry/packages/aws/api-docs/ec2/volumeattachment/."""

    noun = "EBS Volume Attachment"
    required = (("deviceName",), ("instanceId",), ("volumeId",))
    replacing = frozenset({"deviceName", "instanceId", "region", "volumeId"})
    kept = frozenset({"region"})
    optional = frozenset(
        {"deviceName", "forceDetach", "instanceId", "skipDestroy", "stopInstanceBeforeDetaching", "volumeId"}
    )
    computed = frozenset()
    tagged = False

    @classmethod
    def create(cls, cloud: Cloud, inputs: Properties) -> tuple[str, Properties]:
        """Attach the volume, unless it already is, and wait until it is attached."""
        ec2 = cloud.ec2(inputs)
        if cls._state(ec2, inputs) is None:
            wait_until(
                lambda: instance_state(ec2, inputs["instanceId"]) in {"running", "stopped"},
                f"EC2 Instance ({inputs['instanceId']}) to be ready",
            )
            ec2.attach_volume(
                Device=inputs["deviceName"], InstanceId=inputs["instanceId"], VolumeId=inputs["volumeId"]
            )
        wait_until(lambda: cls._state(ec2, inputs) == "attached", f"{inputs['volumeId']} attachment")
        return _attachment_id(inputs), cls._outputs(cloud, inputs)

    @classmethod
    def read(cls, cloud: Cloud, resource_id: str, state: Properties) -> Properties | None:
        """Look up the attachment; the id of an import is DEVICE:VOLUME:INSTANCE."""
        if resource_id.count(":") == 2:
            state = dict(zip(("deviceName", "volumeId", "instanceId"), resource_id.split(":"), strict=True))
        return cls._outputs(cloud, state) if cls._state(cloud.ec2(state), state) else None

    @classmethod
    def update(cls, cloud: Cloud, resource_id: str, olds: Properties, news: Properties) -> Properties:
        """Change only the state: EC2 has nothing to change in place."""
        return cls._outputs(cloud, news)

    @classmethod
    def delete(cls, cloud: Cloud, resource_id: str, state: Properties) -> None:
        """Detach the volume and wait, unless `skipDestroy` is set."""
        if state.get("skipDestroy"):
            return
        ec2 = cloud.ec2(state)
        if state.get("stopInstanceBeforeDetaching"):
            ec2.stop_instances(InstanceIds=[state["instanceId"]])
            wait_until(lambda: instance_state(ec2, state["instanceId"]) == "stopped", f"{state['instanceId']} stop")
        try:
            ec2.detach_volume(
                Device=state["deviceName"],
                Force=bool(state.get("forceDetach")),
                InstanceId=state["instanceId"],
                VolumeId=state["volumeId"],
            )
        except ec2.exceptions.ClientError as error:
            problem = error.response["Error"]
            if problem["Code"] == "IncorrectState" and "available" in problem["Message"]:
                return
            raise
        wait_until(lambda: cls._state(ec2, state) is None, f"{state['volumeId']} detachment")

    @classmethod
    def _state(cls, ec2: Any, inputs: Properties) -> str | None:
        volume = find_volume(ec2, inputs["volumeId"]) or {}
        for attachment in volume.get("Attachments", []):
            if (attachment["Device"], attachment["InstanceId"]) == (inputs["deviceName"], inputs["instanceId"]):
                return str(attachment["State"])
        return None

    @classmethod
    def _outputs(cls, cloud: Cloud, inputs: Properties) -> Properties:
        kept = {name: inputs[name] for name in cls.inputs() & inputs.keys()}
        return {**kept, "id": _attachment_id(inputs), "region": inputs.get("region") or cloud.region}


def find_volume(ec2: Any, volume_id: str) -> Any:
    """Return the volume as EC2 describes it, or None if it no longer exists."""
    try:
        return ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    except ec2.exceptions.ClientError as error:
        if is_missing(error):
            return None
        raise


def instance_state(ec2: Any, instance_id: str) -> str:
    """Return the name of the instance's state."""
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return str(reservation["Instances"][0]["State"]["Name"])


def _attachment_id(inputs: Properties) -> str:
    # The real plugin's hash, so that ids are the same with both.
    key = f"{inputs['deviceName']}-{inputs['instanceId']}-{inputs['volumeId']}-"
    return f"vai-{zlib.crc32(key.encode())}"
