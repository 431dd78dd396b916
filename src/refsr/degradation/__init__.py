"""How a small photo was taken: its point spread, its noise and compression; undone or simulated."""
