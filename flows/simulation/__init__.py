"""Simulated days of captures: what cameras at a site see, with planted drifts, for the demo and for tests."""
