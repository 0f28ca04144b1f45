"""One backup from a pipeline, as an inline Pulumi program."""
