"""A folder of people: `person/image.ext`, at any depth below the person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.lib.errors import ConfigError
from stages.lib.sources.base import UNSTATED, Pair, Record, Unreadable
from stages.lib.sources.tree import RefusedFile, existing_folder, list_files, printable, read_bytes

_LAYOUT = "a folder with one folder of images per person, such as faces/ann/1.jpg"


@dataclass(frozen=True)
class FolderSource:
    """Every file below a person's folder; whether it is an image is for the decoder to say.

    Attributes:
        root: the folder that holds the people.
        names: paths relative to it, sorted.
    """

    root: Path
    names: tuple[str, ...]
    licence: str = UNSTATED
    kind: str = "folder"

    def __len__(self) -> int:
        return len(self.names)

    def read(self, start: int, stop: int) -> Iterator[Record | Unreadable]:
        """The files at positions [start, stop)."""
        for name in self.names[start:stop]:
            person, _, rest = name.partition("/")
            subject = printable(person) if rest else None
            try:
                if subject is None:
                    raise RefusedFile("lies in no person's folder")
                yield Record(name, subject, read_bytes(self.root, name))
            except RefusedFile as error:
                yield Unreadable(printable(name), subject, str(error))

    def pairs(self) -> Iterator[Pair]:
        """None: a folder comes with no protocol."""
        return iter(())


def open_folder(path: Path | None, licence: str | None = None) -> FolderSource:
    """Open a folder of people.

    Raises:
        ConfigError: no such folder, or no person's folder with a file in it.
    """
    root = existing_folder(path, "folder", _LAYOUT)
    names = list_files(root)
    if not any("/" in name for name in names):
        raise ConfigError(f"{root} holds no images of people; it should be {_LAYOUT}")
    return FolderSource(root, names, licence or UNSTATED)
