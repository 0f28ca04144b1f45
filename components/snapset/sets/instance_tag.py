"""What the instance of a set was, as the value of two tags: enough to register an image, and to launch another. Pure.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from snapset.aws.records import Instance
from snapset.sets import tags as tag_rules

# As many as have room in any case, which is as many as there usually are.
_MAX_PRODUCT_CODES, _MAX_GROUPS = 4, 5
# What the tags call the texts.
_KEYS = {
    "root_device": "root",
    "image_id": "image",
    "instance_type": "type",
    "architecture": "arch",
    "boot_mode": "boot",
    "usage_operation": "usage",
    "tpm_support": "tpm",
    "subnet_id": "subnet",
}


@dataclass(frozen=True, kw_only=True)
class InstanceWas:
    """What an instance was when its set was taken; empty where EC2 did not say it.

    Attributes:
        root_device: the name of the device of its root volume, as its image chose it.
        boot_mode: `legacy-bios` or `uefi`, as it was booted.
        usage_operation: what AWS bills: `RunInstances` is Linux, see
            https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-info-fields.html.
        product_codes: those of AWS Marketplace.
    """

    root_device: str = ""
    image_id: str = ""
    instance_type: str = ""
    architecture: str = ""
    boot_mode: str = ""
    usage_operation: str = ""
    tpm_support: str = ""
    subnet_id: str = ""
    has_ena: bool = False
    product_codes: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, instance: Instance) -> InstanceWas:
        """Return what an instance is now."""
        return cls(
            root_device=instance.root_device_name or "",
            image_id=instance.image_id,
            instance_type=instance.instance_type,
            architecture=instance.architecture,
            boot_mode=instance.boot_mode,
            usage_operation=instance.usage_operation,
            tpm_support=instance.tpm_support,
            subnet_id=instance.subnet_id,
            has_ena=instance.has_ena,
            product_codes=instance.product_codes[:_MAX_PRODUCT_CODES],
            security_group_ids=instance.security_group_ids[:_MAX_GROUPS],
        )

    def tags(self) -> dict[str, str]:
        """Return it as tags: compact JSON, in two where one is too short."""
        known = {short: getattr(self, name) for name, short in _KEYS.items()}
        lists = {"products": self.product_codes, "groups": self.security_group_ids}
        record = {**known, "ena": self.has_ena, **lists}
        text = json.dumps({key: value for key, value in record.items() if value}, separators=(",", ":"))
        length = tag_rules.MAX_VALUE_LENGTH
        parts = (text[start : start + length] for start in range(0, len(text), length))
        return dict(zip(tag_rules.INSTANCE_WAS, parts, strict=False))


def parse(tags: Mapping[str, str]) -> InstanceWas | None:
    """Return what the tags say, or None if it is nothing that snapset wrote: anyone can write a tag."""
    try:
        record = json.loads("".join(tags.get(key, "") for key in tag_rules.INSTANCE_WAS))
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    texts = {name: record.get(short, "") for name, short in _KEYS.items()}
    lists = [record.get(name, []) for name in ("products", "groups")]
    if not all(isinstance(one, list) for one in lists):
        return None
    products, groups = map(tuple, lists)
    if not all(isinstance(text, str) for text in (*texts.values(), *products, *groups)):
        return None
    ena = record.get("ena") is True
    return InstanceWas(**texts, has_ena=ena, product_codes=products, security_group_ids=groups)
