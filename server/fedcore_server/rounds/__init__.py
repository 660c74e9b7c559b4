"""The rounds: state, gate, aggregation, evaluation and the loop over them."""
