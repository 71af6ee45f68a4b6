"""Short hashes that tell whether work left by an earlier run may be taken up again."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_CODE = Path(__file__).resolve().parents[1]


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: object) -> str:
    """Sixteen hex digits over the text of the parts, in order."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]


@cache
def code_version() -> str:
    """Fingerprint of every source file of `stages`: changed code never resumes old work."""
    files = sorted(_CODE.rglob("*.py"))
    return fingerprint(*(f"{file.relative_to(_CODE)}:{sha256_file(file)}" for file in files))


def stamp(path: Path) -> str:
    """Fingerprint of names, sizes and times of a file's folder, or of all below a folder.

    Cheap where a content hash would read everything: enough to drop work that was begun on
    other files.
    """
    root = path if path.is_dir() else path.parent
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return fingerprint(path.name, *((f.relative_to(root), f.stat().st_size, f.stat().st_mtime_ns) for f in files))
