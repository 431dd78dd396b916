"""Upscaling many photos: jobs, the journal, worker threads, a Ray cluster."""
