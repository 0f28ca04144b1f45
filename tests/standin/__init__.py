"""A stand-in for Pulumi's `aws` plugin, for tests where the real one can't be downloaded.

It speaks the engine's provider protocol, for the few types and functions that snapset's stacks and tests use, and
does with boto3 what the real plugin does. Which inputs replace a resource, which are updated in place, and what an
unset input keeps follows the real plugin's schema (hashicorp/terraform-provider-aws, `internal/service/ec2`, as
pulumi/pulumi-aws bridges it). An unknown input fails the check, so that no test relies on an input that is ignored.
"""
