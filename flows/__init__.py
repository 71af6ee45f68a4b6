"""WHEN the pipeline runs: Prefect flows over DVC's own graph."""

import os

import stages as stages  # first: it switches the telemetry of every package off, Prefect's included

# The embedded server needs 18 to 27 s on two busy cores; Prefect gives it 20.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
