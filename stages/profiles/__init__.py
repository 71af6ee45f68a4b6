"""Named profiles: what `params.yaml` must say for other data and other sizes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedBase, CommentedMap, CommentedSeq

from stages.lib.errors import ConfigError
from stages.params import PATH, load, read_yaml

_FOLDER = Path(__file__).parent
_COMMENTS = 26  # the column of the comments beside values


def names() -> list[str]:
    """Names that `apply` takes."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """The keys that a profile sets, nested as in `params.yaml`.

    Raises:
        ConfigError: no such profile.
    """
    if name not in names():
        raise ConfigError(f"no profile {name!r}; there are {names()}")
    values: dict[str, Any] = read_yaml(_FOLDER / f"{name}.yaml")
    return values


def apply(*names: str, path: Path = PATH) -> dict[str, tuple[Any, Any]]:
    """Set the keys of profiles in `params.yaml`, over those of `default`, the last one on top; comments stay.

    Keys that no profile names keep what the user wrote.

    Returns:
        key -> (value before, value after), of the keys that changed.

    Raises:
        ConfigError: no such profile, or the result would not be valid params; the file is then untouched.
    """
    return assign({key: value for name in ("default", *names) for key, value in _leaves(read(name))}, path)


def assign(wanted: Mapping[tuple[str, ...], Any], path: Path = PATH) -> dict[str, tuple[Any, Any]]:
    """Set keys of `params.yaml`; comments stay.

    Args:
        wanted: the parts of a key -> its value.
        path: the file.

    Returns:
        key -> (value before, value after), of the keys that changed.

    Raises:
        ConfigError: a key lies in no section, or the result would not be valid params; the file is then untouched.
    """
    yaml = YAML()  # round trip: keeps comments and order
    yaml.width = 200  # an objective stays on its line
    read_yaml(path)  # says what is wrong with the file, if anything is
    document = yaml.load(path.read_text())
    changes = {}
    for key, value in wanted.items():
        *parents, last = key
        section = document
        for parent in parents:
            if parent not in section:
                raise ConfigError(f"a change sets {'.'.join(key)}, but {path} has no {parent!r}")
            section = section[parent]
        if section.get(last) != value:
            changes[".".join(key)] = (section.get(last), value)
            section[last] = _styled(value)
            if (beside := section.ca.items.get(last)) and beside[2]:
                beside[2].column = _COMMENTS  # a long value has pushed it away, and it must come back
    text = io.StringIO()
    yaml.dump(document, text)
    _replace(path, text.getvalue())
    return changes


def _styled(value: Any) -> Any:
    """Lists, and maps of single values, on one line; other maps with a line for each key."""
    if isinstance(value, list):
        styled: CommentedBase = CommentedSeq(value)
    elif isinstance(value, Mapping):
        styled = CommentedMap({key: _styled(inner) for key, inner in value.items()})
        if any(isinstance(inner, (Mapping, list)) for inner in value.values()):
            return styled
    else:
        return value
    styled.fa.set_flow_style()
    return styled


def _leaves(values: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (key, value) of every leaf; a key that ends in `=` is set whole and not merged."""
    for name, value in values.items():
        if name.endswith("="):
            yield (*prefix, name.removesuffix("=")), value
        elif isinstance(value, Mapping):
            yield from _leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.building")
    temporary.write_text(text)
    try:
        load(temporary)
    except ConfigError:
        temporary.unlink()
        raise
    os.replace(temporary, path)
