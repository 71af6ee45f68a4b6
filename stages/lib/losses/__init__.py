"""Training losses: one idea a file, each re-derived in plain loops by its test."""
