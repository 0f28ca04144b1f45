"""moto's EC2 backend, made strict. moto finds the response class through `urls`, which must be beside this module."""

from moto.core.serialize import TimestampSerializer
from moto.ec2.models import EC2Backend, ec2_backends

from .images import ImagesBackend
from .power import PowerBackend
from .snapshots import SnapshotsBackend
from .storage import VolumesBackend
from .tags import TagsBackend
from .zones import ZonesBackend, add_local_zones


class StrictEC2Backend(
    SnapshotsBackend,
    VolumesBackend,
    PowerBackend,
    ImagesBackend,
    TagsBackend,
    ZonesBackend,
    EC2Backend,  # type: ignore[misc]
):
    """One account's EC2 in one region."""


def install() -> None:
    """Make moto use this backend. Call it before the first region is used."""
    add_local_zones()
    # EC2 answers times with milliseconds, where moto answers whole seconds.
    TimestampSerializer.ISO8601_MICRO_ZEROED = TimestampSerializer.ISO8601_MICRO
    ec2_backends.backend = StrictEC2Backend
