"""Training: data, losses and the loop. Needs the extra ``train`` (torch)."""
