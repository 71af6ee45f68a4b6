"""Images in folders of people: which files there are, and their bytes, without leaving the folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from stages.lib.errors import ConfigError
from stages.lib.sources.base import MAX_IMAGE_BYTES


class RefusedFile(ValueError):
    """A file that is not read; the message says why, without a path of the machine."""


def existing_folder(path: Path | None, kind: str, layout: str) -> Path:
    """The folder of a source, checked.

    Raises:
        ConfigError: there is no such folder.
    """
    if path is None:
        raise ConfigError(f"a source of kind {kind!r} needs a path: {layout}")
    if not path.is_dir():
        state = "is not a folder" if path.exists() else "does not exist"
        raise ConfigError(f"{path} {state}; a source of kind {kind!r} is {layout}")
    return path


def _refuse(error: OSError) -> None:
    raise ConfigError(f"cannot list {error.filename} ({error.strerror}); give read permission or remove it")


def list_files(root: Path, unlisted: Callable[[OSError], None] = _refuse) -> tuple[str, ...]:
    """Relative paths of all files below a folder, sorted, dot-files and dot-folders left out.

    Links to folders are listed like files and never entered, so the walk ends and nothing is counted twice.

    Args:
        root: the folder.
        unlisted: told of a folder that cannot be listed; if it raises nothing, the walk goes on.

    Raises:
        ConfigError: a folder cannot be listed, if nobody else is told.
    """
    names: list[str] = []
    for folder, folders, files in os.walk(root, onerror=unlisted, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(folder, name).is_symlink()]
        prefix = Path(folder).relative_to(root)
        names += [(prefix / name).as_posix() for name in (*files, *links) if not name.startswith(".")]
    return tuple(sorted(names))


def printable(name: str) -> str:
    """A file name as valid UTF-8: bytes that are not become backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_bytes(root: Path, name: str) -> bytes:
    """The bytes of one file below a folder.

    Args:
        root: the folder that may not be left.
        name: a path relative to it, as `list_files` gives it.

    Raises:
        RefusedFile: a link out of the folder, a link to a folder, not a plain file, a name that is not UTF-8,
            too large, or an error of the file system.
    """
    path = root / name
    if printable(name) != name:
        raise RefusedFile("the file name is not UTF-8")
    try:
        if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root.resolve()):
            raise RefusedFile("a link that leaves the source")
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise RefusedFile("a link to a folder")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise RefusedFile("not a plain file")
        with path.open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise RefusedFile(f"cannot be read ({error.strerror})") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise RefusedFile(f"larger than {MAX_IMAGE_BYTES // 2**20} MiB")
    return data
