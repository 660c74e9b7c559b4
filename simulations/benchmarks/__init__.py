"""How fast, against a bare loop in the same run: `python -m benchmarks.overhead` in `simulations/`."""
