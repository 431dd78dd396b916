"""Degradation: how a small photo is made from a large one."""
