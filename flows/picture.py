"""DVC's graph as a picture: the text of a Mermaid flowchart, which pages of Git hosts draw."""

from __future__ import annotations

import re

from flows.dvc import Graph, Node


def mermaid(graph: Graph) -> str:
    """Draw the stages, one line each, upstream first.

    An edge that a longer way between the same two stages implies is left out (transitive reduction), else
    a table that every later stage reads would hide the order behind its arrows.
    """
    kept = {node.name: _direct(node, graph) for node in graph.nodes}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        downstream = [_identifier(name) for name, upstream in kept.items() if node.name in upstream]
        lines.append(f"  {_declared(node.name)}" + (f" --> {' & '.join(downstream)}" if downstream else ""))
    return "\n".join(lines)


def _direct(node: Node, graph: Graph) -> set[str]:
    """The upstream stages of a node that none of its other upstream stages waits for."""
    implied = {name for up in node.upstream for name in graph.upto([up]).names if name != up}
    return set(node.upstream) - implied


def _declared(name: str) -> str:
    """The stage's identifier and, where that differs, its name; in quotes, as `@` is syntax outside them."""
    identifier = _identifier(name)
    return name if identifier == name else f'{identifier}["{name}"]'


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)
