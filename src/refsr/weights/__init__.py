"""Model files: which there are, their cards, and whether they are harmless."""
