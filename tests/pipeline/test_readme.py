"""What is said twice is said alike: the README's picture and setup lines, and the project's name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from flows import dvc
from flows.__main__ import app
from stages.params import read_yaml

README = Path("README.md").read_text()


def test_the_picture_is_printed_from_the_graph() -> None:
    printed = CliRunner().invoke(app, ["graph"])
    assert printed.exit_code == 0
    blocks = re.findall(r"^```mermaid\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert blocks == [printed.output], "paste what `python -m flows graph` prints"


def test_the_picture_leaves_no_order_out() -> None:
    graph = dvc.graph(Path.cwd())
    after: dict[str, set[str]] = {re.sub(r"\W", "_", name): set() for name in graph.names}
    for line in re.findall(r"^  (.+) --> (.+)$", README, re.MULTILINE):
        after[line[0].partition("[")[0]] |= set(line[1].split(" & "))

    def reached(stage: str) -> set[str]:
        return after[stage].union(*(reached(below) for below in after[stage]))

    for up, down in graph.edges:
        assert re.sub(r"\W", "_", down) in reached(re.sub(r"\W", "_", up)), (up, down)


def test_two_lines_set_up_run_and_test() -> None:
    lines = [line for line in README.splitlines() if line.startswith("python3 -m pip")]
    assert len(lines) == 2
    assert all(".uv/bin/uv run" in line for line in lines)
    assert "dvc repro" in lines[0]
    assert lines[1].endswith("pytest")  # .ci/run runs this line


def test_the_project_has_one_name() -> None:
    name = tomllib.loads(Path("pyproject.toml").read_text())["project"]["name"]
    assert read_yaml(Path("flows/prefect.yaml"))["name"] == name
    assert README.startswith(f"# {name}\n")
