"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Fill a temporary sibling that takes the destination's place only if the block ends without an error."""
    building = destination.with_name(f".{destination.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)  # it may hold faces
        raise
    _take_place(building, destination)


@contextmanager
def new_file(destination: Path) -> Iterator[Path]:
    """Write a temporary sibling that takes the destination's place only if the block ends without an error.

    It is on the disk by then: a kill or a power cut leaves the old file or the new one.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    building = destination.with_name(f".{destination.name}.building")
    try:
        yield building
        with building.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        building.unlink(missing_ok=True)
        raise
    os.replace(building, destination)


def _take_place(building: Path, destination: Path) -> None:
    # two renames and only then the removal: a kill at any point leaves a whole folder, under one name or another
    outgoing = destination.with_name(f".{destination.name}.old.building")
    shutil.rmtree(outgoing, ignore_errors=True)
    if destination.exists():
        os.replace(destination, outgoing)
    os.replace(building, destination)
    shutil.rmtree(outgoing, ignore_errors=True)


def only_folder(root: Path, key: str) -> Path:
    """The folder of this name below a root, made by whoever writes there; all others below it are removed."""
    for old in root.glob("*"):
        if old.name != key:
            shutil.rmtree(old, ignore_errors=True)
    return root / key
