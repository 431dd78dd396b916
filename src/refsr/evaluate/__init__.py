"""How good is it: metrics, lists of pairs, and the evaluation that every number comes from."""
