"""Arrays in an .npz file that appears whole or not at all, and is read without running anything."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.folders import new_file


def save_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write arrays by their names."""
    with new_file(path) as building, building.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: Path, names: tuple[str, ...], what: str, fix: str) -> tuple[NDArray[np.generic], ...]:
    """Read arrays by their names, in this order.

    Args:
        path: of the file.
        names: that it must hold.
        what: it should hold, for the message.
        fix: what to do where it does not.

    Raises:
        ConfigError: the file is missing, damaged or another one.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            return tuple(held[name] for name in names)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise ConfigError(f"{path} holds no {what}: {error}; {fix}") from error
