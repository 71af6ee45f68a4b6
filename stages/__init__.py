"""WHAT the pipeline does: one module per DVC stage, named as in `dvc.yaml`."""

import os

# Set before torch or any package that can phone home is imported; an operator's own value wins
# only where it is about speed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow training on shared cores
for _switch, _off in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # on by default on Linux since onnxruntime 1.29
}.items():
    os.environ[_switch] = _off
