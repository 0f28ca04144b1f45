"""EC2's errors that moto lacks, with EC2's own codes and messages.

The codes are from https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html. Where that page has no code
for a rule, a comment marks the choice as an assumption.
"""

from moto.ec2.exceptions import EC2ClientError

DRY_RUN = "DryRunOperation"
UNAUTHORIZED = "UnauthorizedOperation"

# EC2 answers every other client error with 400.
HTTP_STATUS = {DRY_RUN: 412, UNAUTHORIZED: 403}


class EC2Error(EC2ClientError):  # type: ignore[misc]
    """A client error as EC2 answers it: `<code>: <message>`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


def missing(parameter: str) -> EC2Error:
    """A required parameter is missing."""
    return EC2Error("MissingParameter", f"The request must contain the parameter {parameter}")


def invalid_value(message: str) -> EC2Error:
    """A parameter has an invalid value."""
    return EC2Error("InvalidParameterValue", message)


def invalid_combination(message: str) -> EC2Error:
    """Two parameters exclude each other."""
    return EC2Error("InvalidParameterCombination", message)


def malformed_id(kind: str, resource_id: str) -> EC2Error:
    """An id does not have the format of this kind of resource."""
    code = {"i": "InvalidInstanceID", "vol": "InvalidVolumeID", "snap": "InvalidSnapshotID"}[kind]
    return EC2Error(f"{code}.Malformed", f'Invalid id: "{resource_id}" (expecting "{kind}-...")')


def parameter_mismatch(token: str) -> EC2Error:
    """A ClientToken was used before, with a different request."""
    return EC2Error(
        "IdempotentParameterMismatch",
        f"The request uses the same client token '{token}' as a previous, but non-identical request.",
    )


def instance_not_found(instance_id: str) -> EC2Error:
    """No instance has this id."""
    return EC2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")


def volume_not_found(volume_id: str) -> EC2Error:
    """No volume has this id."""
    return EC2Error("InvalidVolume.NotFound", f"The volume '{volume_id}' does not exist.")


def snapshot_not_found(snapshot_id: str) -> EC2Error:
    """No snapshot has this id, or the snapshot is not visible yet."""
    return EC2Error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")


def snapshot_in_use(snapshot_id: str, image_id: str) -> EC2Error:
    """A registered image uses this snapshot."""
    return EC2Error("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {image_id}")


def snapshot_locked(snapshot_id: str) -> EC2Error:
    """The snapshot is locked against deletion."""
    # assumption: LockSnapshot's reference says that deleting fails, but names no code.
    return EC2Error("OperationNotPermitted", f"The snapshot {snapshot_id} is locked and can't be deleted.")


def too_many_tags() -> EC2Error:
    """A resource would have more tags than EC2 allows."""
    return EC2Error("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
