"""A set's volumes again. Knows no Pulumi."""
