"""What is reported: verification, identification and the intervals around both. NumPy only."""
