"""`dvc.yaml` tells the truth: every stage depends on the code that it runs, and nothing hides beside the DAG."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from stages.params import PATH, read_yaml
from stages.synthesize import READ

# What every stage imports and what by its contract changes no result: where and how wide the work runs, how
# it fails, which scratch folder is its own, and how params are checked (their values are `params:` of a stage).
# Were these dependencies, a progress bar or a new key of another stage would train every student again.
SHARED = {
    "stages",
    "stages.params",
    "stages.lib.errors",
    "stages.lib.executor",
    "stages.lib.fingerprint",
    "stages.lib.folders",
    "stages.lib.runtime",
}
LOADED_BY_NAME = "stages.lib.objectives"  # this package imports its own modules by the names that params give
BESIDE = {"__init__.py", "__main__.py", "params.py", "profiles", "lib"}  # in `stages`, and no stage

MODULES = {
    ".".join(file.with_suffix("").parts).removesuffix(".__init__"): file for file in Path("stages").rglob("*.py")
}
WRITTEN: dict[str, dict[str, Any]] = read_yaml(Path("dvc.yaml"))["stages"]
PIPELINE: dict[str, dict[str, Any]] = {
    name: {"deps": [], "params": [], **stage.get("do", stage)} for name, stage in WRITTEN.items()
}


def imported(node: ast.AST) -> Iterator[str]:
    """Modules of ours that an import statement runs, the packages around them included."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        parts = name.split(".")
        yield from (known for i in range(len(parts)) if (known := ".".join(parts[: i + 1])) in MODULES)


@cache
def imports(module: str, *, at_import: bool = False) -> frozenset[str]:
    """What a module imports, anywhere in it or only as it is loaded itself."""
    tree = ast.parse(MODULES[module].read_text())
    nodes = tree.body if at_import else ast.walk(tree)
    return frozenset(name for node in nodes for name in imported(node)) - {module}


def reached(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        found = waiting.pop()
        if found not in seen:
            seen.add(found)
            waiting += imports(found)
            if found == LOADED_BY_NAME:
                waiting += [module for module in MODULES if module.startswith(f"{LOADED_BY_NAME}.")]
    return seen


def says_something(module: str) -> bool:
    """Whether a module holds more than its docstring, as the mark of a package does not."""
    return len(ast.parse(MODULES[module].read_text()).body) > 1


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_depends_on_the_code_that_it_runs(stage: str) -> None:
    listed = [Path(dep) for dep in PIPELINE[stage]["deps"] if dep.startswith("stages/")]
    run = {MODULES[module] for module in reached(f"stages.{stage}") - SHARED if says_something(module)}
    missing = {str(file) for file in run if not any(file.is_relative_to(dep) for dep in listed)}
    assert missing == set(), f"add these to the deps of {stage} in dvc.yaml"
    idle = {str(dep) for dep in listed if not any(file.is_relative_to(dep) for file in run)}
    assert idle == set(), f"{stage} does not import these: take them out of its deps in dvc.yaml"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {}
    for module in MODULES:
        around = {module[:i] for i, letter in enumerate(module) if letter == "."}
        graph[module] = imports(module, at_import=True) - around  # a package is loaded before what is in it
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_library_knows_no_stage_and_no_params() -> None:
    upward = {
        (module, name)
        for module in MODULES
        if module.startswith("stages.lib")
        for name in imports(module)
        if not (name == "stages" or name.startswith("stages.lib"))
    }
    assert upward == set()


def test_the_folder_reads_as_the_dag() -> None:
    found = {file.name for file in Path("stages").iterdir() if not file.name.startswith("__pycache__")}
    assert found == BESIDE | {f"{stage}.py" for stage in PIPELINE}
    for stage in PIPELINE:
        assert f"python -m stages {stage}" in PIPELINE[stage]["cmd"]
        assert len(MODULES[f"stages.{stage}"].read_text().splitlines()) <= 150, f"{stage} is no recipe any more"


def filled(key: str, stage: str) -> Iterator[str]:
    """A key of params with what each item of the stage puts into it."""
    items = WRITTEN[stage].get("foreach")
    if "${item." not in key:
        yield key.replace("${key}", next(iter(read_yaml(PATH)["students"])))
    else:
        assert isinstance(items, dict)
        for item in items.values():
            yield re.sub(r"\$\{item\.(\w+)\}", lambda found, item=item: item[found[1]], key)


def test_params_and_stages_are_the_same_list() -> None:
    params = read_yaml(PATH)
    assert set(params) - {"students"} == set(PIPELINE)  # students are the items of distill and export
    for stage, about in PIPELINE.items():
        keys = [key for given in about["params"] for key in filled(given, stage)]
        assert any(key.split(".")[0] == stage for key in keys)
        for key in keys:
            section = params
            for part in key.split("."):
                assert part in section, f"{stage} names {key}, which params.yaml lacks"
                section = section[part]


def test_each_part_of_synthesize_is_known_by_the_params_that_it_reads() -> None:
    told = {part: {"seed", *names} for part, names in READ.items()}
    items = WRITTEN["synthesize"]["foreach"]
    assert told == {part: {"seed", item["count"], item["drawn"]} for part, item in items.items()}


def test_what_is_downstream_of_a_table_waits_for_its_gate() -> None:
    tables = ["faces", "aligned", "variants", "grid"]  # the gate of a table is passed after those that it is made of
    behind_models = {"export"}  # no model is trained before its tables pass
    for stage in set(PIPELINE) - behind_models - {"ingest", "validate"}:
        deps = PIPELINE[stage]["deps"]
        last = max(tables.index(table) for table in tables if f"data/{table}" in deps)
        assert f"data/gates/{tables[last]}/token.json" in deps, stage
