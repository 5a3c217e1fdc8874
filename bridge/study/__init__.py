"""Studies: a comparison of methods on a batch, its record, and benchmarks of speed."""
