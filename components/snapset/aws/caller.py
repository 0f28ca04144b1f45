"""Whose credentials they are: the only call of STS that snapset makes itself, and its permission."""

from __future__ import annotations

from snapset.aws.errors import calling_aws
from snapset.aws.session import AwsSettings, make_sts_client


def find_caller(settings: AwsSettings) -> str:
    """Return the ARN of the user or role whose credentials they are.

    AWS asks no permission for it: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

    Raises:
        InputError: there are no credentials.
        NotPermittedError: AWS refuses them.
    """
    with calling_aws("asking AWS whose credentials these are", needs="sts:GetCallerIdentity"):
        arn: str = make_sts_client(settings).get_caller_identity()["Arn"]
    return arn
