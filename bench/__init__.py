"""The benchmark: what a request costs here, against the least it could cost on the same stack."""
