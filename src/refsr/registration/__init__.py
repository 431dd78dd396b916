"""Registration of reference photos to a small photo, their fusion, and the expected gain."""
