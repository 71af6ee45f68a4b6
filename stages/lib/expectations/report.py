"""A gate's result for people (one HTML page without outside files) and for machines (JSON).

Neither holds a time or a path: the same table and bounds give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.lib.expectations.result import GateResult, figure


def to_json(result: GateResult) -> str:
    """The whole result as JSON text, one key per field of `GateResult`."""
    return json.dumps(asdict(result), indent=2, allow_nan=False) + "\n"


def to_html(result: GateResult) -> str:
    """The result as a self-contained page: the verdict, what failed and which faces, then every check."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    topics = [(topic, list(checks)) for topic, checks in groupby(result.checks, attrgetter("topic"))]
    return environment.get_template("report.html.j2").render(result=result, topics=topics)
