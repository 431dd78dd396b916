"""Data sets as folders: what they hold, what they lack, and how to make one of own photos."""
