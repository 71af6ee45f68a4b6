"""The one training loop: data in memory-mapped arrays, objectives that compose, steps that resume."""
