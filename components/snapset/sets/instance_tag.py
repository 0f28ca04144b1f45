"""What the instance of a set was, as the value of two tags: enough to register an image, and to launch another. Pure.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from snapset.aws.records import InstanceFacts
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


def tags_of(facts: InstanceFacts) -> dict[str, str]:
    """Return what an instance is as tags: compact JSON, in two where one is too short."""
    known = {short: getattr(facts, name) for name, short in _KEYS.items()}
    lists = {
        "products": facts.product_codes[:_MAX_PRODUCT_CODES],
        "groups": facts.security_group_ids[:_MAX_GROUPS],
    }
    record = {**known, "ena": facts.has_ena, **lists}
    text = json.dumps({key: value for key, value in record.items() if value}, separators=(",", ":"))
    length = tag_rules.MAX_VALUE_LENGTH
    parts = (text[start : start + length] for start in range(0, len(text), length))
    return dict(zip(tag_rules.INSTANCE_WAS, parts, strict=False))


def parse(tags: Mapping[str, str]) -> InstanceFacts | None:
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
    return InstanceFacts(**texts, has_ena=ena, product_codes=products, security_group_ids=groups)
