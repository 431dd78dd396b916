"""Data sets on disk: their layouts, checks of them, lists of pairs, and building one."""
