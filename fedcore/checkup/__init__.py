"""What ``fedcore doctor`` looks at before a run, as far as server and clients have it in common."""
