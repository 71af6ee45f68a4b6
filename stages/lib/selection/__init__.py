"""Which training samples a student should copy from its teacher. NumPy and SciPy only."""
