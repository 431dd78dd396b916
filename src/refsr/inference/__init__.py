"""Running networks: runtimes, memory, degradation, what surrounds a call."""
