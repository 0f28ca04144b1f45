"""Instances that stop and start over time, and what keeps EC2 from stopping and starting them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
"""

from datetime import datetime, timezone
from typing import Any

from moto.ec2.models.instances import InstanceState

from . import errors
from .world import WORLD

_CODES = {"pending": 0, "running": 16, "stopping": 64, "stopped": 80}
_STARTABLE_STATES = ("stopped", "running", "pending")
_STOPPABLE_STATES = ("running", "stopping", "stopped")


class PassingState(InstanceState):  # type: ignore[misc]
    """A state on the way to another, which begins at its time. The next change of state replaces it."""

    def __init__(self, passing: str, then: str, begins: float) -> None:
        self._passing, self._then, self._begins = passing, then, begins

    @property
    def name(self) -> str:
        """The state's name."""
        return self._then if WORLD.now() >= self._begins else self._passing

    @name.setter
    def name(self, value: str) -> None:
        """Change to this state now, as moto does it."""
        self._then, self._begins = value, 0.0

    @property
    def code(self) -> int:
        """The state's number."""
        return _CODES.get(self.name, 48)

    @code.setter
    def code(self, value: int) -> None:
        """Ignore the number that moto assigns beside the name."""


class PowerBackend:
    """The part of one region's backend that stops and starts instances."""

    get_instance: Any

    def stop_instances(self, instance_ids: list[str]) -> list[tuple[Any, Any]]:
        """Stop the instances, if all of them can be; what is stopped, or on its way, stays as it is."""
        for instance_id in instance_ids:
            instance = self.get_instance(instance_id)
            if instance.state not in _STOPPABLE_STATES:
                raise _wrong_state(instance_id, "stopped")
            if instance.lifecycle == "spot":
                # Those of persistent requests can be stopped, but moto knows no such requests.
                raise errors.EC2Error(
                    "UnsupportedOperation",
                    f"You can't stop the Spot Instance '{instance_id}' because it is associated with a one-time Spot "
                    "Instance request. You can only stop Spot Instances associated with persistent Spot Instance "
                    "requests.",
                )
        to_stop = [key for key in instance_ids if self.get_instance(key).state == "running"]
        return self._change(instance_ids, super().stop_instances(to_stop), "stopping", "stopped")  # type: ignore[misc]

    def start_instances(self, instance_ids: list[str]) -> list[tuple[Any, Any]]:
        """Start the instances, if all of them can be; what runs, or is on its way, stays as it is."""
        for instance_id in instance_ids:
            instance = self.get_instance(instance_id)
            if instance.state not in _STARTABLE_STATES:
                raise _wrong_state(instance_id, "started")
            if instance.root_device_name not in instance.block_device_mapping:
                raise errors.EC2Error(
                    "IncorrectInstanceState",
                    f"Instance '{instance_id}' does not have a volume attached at root ({instance.root_device_name})",
                )
        to_start = [key for key in instance_ids if self.get_instance(key).state == "stopped"]
        for instance_id in to_start:
            # EC2 has this time in whole seconds.
            now = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None)
            self.get_instance(instance_id).launch_time = now
        return self._change(instance_ids, super().start_instances(to_start), "pending", "running")  # type: ignore[misc]

    def describe_instance_status(
        self, instance_ids: list[str], include_all_instances: bool, filters: Any
    ) -> list[Any]:
        """The status of the instances that run, or of all, in the order in which they were launched."""
        found = super().describe_instance_status(instance_ids, include_all_instances, filters)  # type: ignore[misc]
        return [_describe_status(instance) for instance in found]

    def _change(
        self, instance_ids: list[str], changed: list[tuple[Any, Any]], passing: str, then: str
    ) -> list[tuple[Any, Any]]:
        before = {instance.id: state for instance, state in changed}
        for instance, _ in changed:
            instance._state = PassingState(passing, then, WORLD.now() + WORLD.settings.instance_seconds)
            instance.begun = WORLD.now() + WORLD.settings.instance_seconds
        instances = [self.get_instance(instance_id) for instance_id in instance_ids]
        return [(instance, before.get(instance.id, instance.instance_state)) for instance in instances]


def _describe_status(instance: Any) -> dict[str, Any]:
    """What both status checks found. moto's are passed at once."""
    summary: dict[str, Any] = {"Status": "not-applicable"}
    if instance.is_running():
        is_new = WORLD.now() < instance.begun + WORLD.settings.status_seconds
        status, check = ("initializing", "initializing") if is_new else ("ok", "passed")
        summary = {"Status": status, "Details": [{"Name": "reachability", "Status": check}]}
    return {
        "InstanceId": instance.id,
        "InstanceState": instance.instance_state,
        "AvailabilityZone": instance.availability_zone,
        "OutpostArn": getattr(instance, "outpost_arn", None),
        "InstanceStatus": summary,
        "SystemStatus": summary,
    }


def _wrong_state(instance_id: str, what: str) -> errors.EC2Error:
    return errors.EC2Error(
        "IncorrectInstanceState", f"The instance '{instance_id}' is not in a state from which it can be {what}."
    )
