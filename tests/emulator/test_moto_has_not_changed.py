"""The embedded EC2 overrides parts of moto. These tests fail when a new moto changes them.

Otherwise an override could stop working unnoticed. moto is inspected in a separate process, because importing it
registers hooks with botocore.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2] / "pyproject.toml"

# The methods that the strict classes override or call, with the parameters they rely on.
SURFACE = {
    "moto.ec2.models:EC2Backend": {
        "all_instances": ["self", "filters"],
        "attach_volume": ["self", "volume_id", "instance_id", "device_path", "delete_on_termination"],
        "copy_snapshot": ["self", "source_snapshot_id", "source_region", "description", "kms_key_id"],
        "create_snapshot": ["self", "volume_id", "description", "owner_id", "from_ami"],
        "create_tags": ["self", "resource_ids", "tags"],
        "create_volume": [
            *("self", "size", "zone_name", "snapshot_id", "encrypted", "kms_key_id", "volume_type", "iops"),
            *("throughput", "multi_attach_enabled"),
        ],
        "delete_snapshot": ["self", "snapshot_id"],
        "delete_tags": ["self", "resource_ids", "tags"],
        "describe_availability_zones": ["self", "filters", "zone_names", "zone_ids"],
        "describe_image_attribute": ["self", "ami_id", "attribute_name"],
        "describe_instance_status": ["self", "instance_ids", "include_all_instances", "filters"],
        "describe_volumes": ["self", "volume_ids", "filters"],
        "do_resources_exist": ["self", "resource_ids"],
        "get_instance": ["self", "instance_id"],
        "get_instance_uefi_data": ["self", "instance_id"],
        "get_snapshot": ["self", "snapshot_id"],
        "get_subnet": ["self", "subnet_id"],
        "get_volume": ["self", "volume_id"],
        "get_zone_by_name": ["self", "name"],
        "start_instances": ["self", "instance_ids"],
        "stop_instances": ["self", "instance_ids"],
        "run_instances": ["self", "image_id", "count", "user_data", "security_group_names", "kwargs"],
    },
    "moto.ec2.responses:EC2Response": {
        "_filters_from_querystring": ["self"],
        "_get_param": ["self", "param_name", "if_none"],
        "_get_params": ["self"],
        "_parse_block_device_mapping": ["self"],
        "attach_volume": ["self"],
        "create_snapshot": ["self"],
        "create_snapshots": ["self"],
        "create_subnet": ["self"],
        "create_tags": ["self"],
        "create_volume": ["self"],
        "delete_snapshot": ["self"],
        "delete_tags": ["self"],
        "delete_volume": ["self"],
        "describe_availability_zones": ["self"],
        "describe_instance_status": ["self"],
        "describe_instances": ["self"],
        "describe_snapshots": ["self"],
        "describe_volumes": ["self"],
        "detach_volume": ["self"],
        "dispatch": ["args", "kwargs"],
        "error_on_dryrun": ["self"],
        "modify_instance_attribute": ["self"],
        "register_image": ["self"],
        "start_instances": ["self"],
        "stop_instances": ["self"],
        "serialized": ["self", "action_result"],
    },
    "moto.ebs.responses:EBSResponse": {
        "_get_param": ["self", "param_name", "if_none"],
        "complete_snapshot": ["self"],
        "dispatch": ["args", "kwargs"],
        "get_snapshot_block": ["self"],
        "list_changed_blocks": ["self"],
        "list_snapshot_blocks": ["self"],
        "put_snapshot_block": ["self"],
        "start_snapshot": ["self"],
    },
    "moto.ec2.models.elastic_block_store:Snapshot": {
        "__init__": [
            *("self", "ec2_backend", "snapshot_id", "volume", "description"),
            *("encrypted", "kms_key_id", "owner_id", "from_ami"),
        ],
        "get_tags": ["self"],
    },
    "moto.ec2.models.elastic_block_store:VolumeAttachment": {
        "__init__": ["self", "volume", "instance", "device", "status"],
    },
    "moto.ec2.models.availability_zones_and_regions:Zone": {
        "__init__": ["self", "name", "region_name", "zone_id", "zone_type"],
    },
    "moto.ec2.models.amis:Ami": {"get_filter_value": ["self", "filter_name", "method_name"]},
    "moto.core.base_backend:BackendDict": {"reset": [], "iter_backends": ["self"]},
    "moto.moto_server.werkzeug_app:DomainDispatcherApplication": {
        "__init__": ["self", "create_app"],
        "__call__": ["self", "environ", "start_response"],
    },
}

# In one worker: it takes seconds to look at moto.
pytestmark = pytest.mark.xdist_group("moto")


@pytest.fixture(scope="module")
def seen() -> Any:
    probe = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    return json.loads(probe.stdout)


def test_moto_has_the_pinned_version() -> None:
    (pinned,) = re.findall(r'"moto\[[a-z0-9,]+\]==([0-9.]+)"', PROJECT.read_text())
    assert importlib.metadata.version("moto") == pinned


@pytest.mark.parametrize("where", SURFACE)
def test_overridden_methods_still_have_these_parameters(seen: Any, where: Any) -> None:
    assert seen["surface"][where] == SURFACE[where]


def test_every_override_is_in_the_table(seen: Any) -> None:
    assert seen["strict_actions"] == sorted(
        name
        for name in SURFACE["moto.ec2.responses:EC2Response"]
        if not name.startswith("_") and name not in ("dispatch", "error_on_dryrun")
    )


def test_moto_uses_the_strict_backend_and_responses(seen: Any) -> None:
    assert seen["backend"] == "snapset.emulator.models.StrictEC2Backend"
    assert seen["urls"] == "snapset.emulator.urls"
    assert seen["handler"] == "StrictEC2Response"
    assert seen["direct_handlers"] == ["StrictEBSResponse"]


def test_a_strict_backend_starts_empty(seen: Any) -> None:
    assert seen["amis"] == 0
    assert seen["snapshots"] == 0
    assert "local-zone" not in seen["default_subnet_zone_types"]


def look_at_moto() -> Any:
    import inspect
    import os
    from importlib import import_module

    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    from moto.ebs.models import ebs_backends
    from moto.ec2.models import ec2_backends
    from snapset.emulator import direct, models
    from snapset.emulator.responses import StrictEC2Response

    def parameters(where: Any, name: str) -> Any:
        module, _, class_name = where.partition(":")
        return list(inspect.signature(getattr(getattr(import_module(module), class_name), name)).parameters)

    models.install()
    direct.install()
    backend = ec2_backends["123456789012"]["us-east-1"]
    zones = [backend.get_zone_by_name(zone) for zone, subnets in backend.subnets.items() if subnets]
    kind = type(backend)
    return {
        "surface": {where: {name: parameters(where, name) for name in names} for where, names in SURFACE.items()},
        "strict_actions": sorted(name for name in vars(StrictEC2Response) if not name.startswith("_")),
        "backend": f"{kind.__module__}.{kind.__qualname__}",
        "urls": backend._url_module.__name__,
        "handler": backend.flask_paths["/"].__self__.__name__,
        "direct_handlers": sorted(
            {handler.__self__.__name__ for handler in ebs_backends["123456789012"]["us-east-1"].flask_paths.values()}
        ),
        "amis": len(backend.amis),
        "snapshots": len(backend.snapshots),
        "default_subnet_zone_types": [zone.zone_type for zone in zones],
    }


if __name__ == "__main__":
    print(json.dumps(look_at_moto()))
