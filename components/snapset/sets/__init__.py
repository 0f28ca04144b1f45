"""One snapshot set: what it is, and taking, claiming, finding, waiting for and pruning it. Knows no Pulumi."""
