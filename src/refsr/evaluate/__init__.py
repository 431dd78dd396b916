"""Evaluation: metrics, the protocol, and the run that every published number comes from."""
