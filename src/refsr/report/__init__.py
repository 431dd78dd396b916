"""What a result is made of: provenance, numbers, figures."""
