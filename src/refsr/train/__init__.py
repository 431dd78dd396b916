"""Training: samples, losses and the loop. Needs the extra ``train`` (torch)."""
