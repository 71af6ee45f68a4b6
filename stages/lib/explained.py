"""Settings explained to people: every key of a model, what a file says of it, and what it means."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDE: Final = 120  # columns of a terminal in which values fit beside their meaning


def show(title: str, model: type[BaseModel], values: Mapping[str, Any]) -> None:
    """Print a table of every key: what it is, its type, and what it means.

    Args:
        title: of the table.
        model: of the settings.
        values: what a file holds, or all that is in force.
    """
    console = Console(markup=False, width=None if sys.stdout.isatty() else WIDE)  # brackets are lists here
    grid = Table(title=title, box=SIMPLE_HEAD)
    grid.add_column("key", no_wrap=True)  # the middle of a key must not be cut
    if console.width >= WIDE:
        grid.add_column("is", no_wrap=True, overflow="ellipsis", max_width=16)
    grid.add_column("type", max_width=20)
    grid.add_column("meaning")
    for key, kind, meaning in explain(model):
        grid.add_row(key, *([written(key, values)] if console.width >= WIDE else []), kind, meaning)
    console.print(grid)


def explain(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, type, meaning) of every key that a file of such settings may hold."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = next((m for m in _models(field.annotation)), None)
        if inner is None:
            yield key, _type_name(field.annotation), field.description or ""
        else:
            step = {dict: ".NAME.", tuple: "[]."}.get(get_origin(_bare(field.annotation)), ".")
            yield from explain(inner, key + step)


def written(key: str, values: Any) -> str:
    """What a file holds under a key of `explain`, as YAML on one line; empty under `NAME` and `[]`.

    Args:
        key: dotted.
        values: the whole file, as `read_yaml` gives it.
    """
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return ""
        values = values[part]
    return values if isinstance(values, str) else "" if values is None else json.dumps(values)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is None:
        return "nothing" if annotation is type(None) else "..." if annotation is ... else annotation.__name__
    inner = [_type_name(argument) for argument in arguments]
    return " | ".join(inner) if origin is UnionType else f"{origin.__name__} of {', '.join(inner)}"
