"""A stand-in for Pulumi's `aws` plugin, for tests where the real one can't be had.

It speaks the engine's provider protocol, for the few types and functions that snapset's stacks and tests use, and
does with boto3 what the real plugin does. What is replaced, what is updated in place, what an unset input keeps:
all that follows the real plugin's schema (hashicorp/terraform-provider-aws, `internal/service/ec2`, as
pulumi/pulumi-aws bridges it). An input that it does not know fails the check, so that no test leans on something
that is silently left out.
"""
