"""What bears on recognition: covariates of a capture, and techniques that score its quality."""
