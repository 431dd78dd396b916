"""Many photos: jobs, worker processes, a cluster."""
