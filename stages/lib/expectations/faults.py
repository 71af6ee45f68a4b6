"""Rules that span rows, columns or tables, as one text column each: null where a face is fine, else why not.

Great Expectations names a failing row only for rules on one column. A fault column turns every other rule
into one: `ExpectColumnValuesToBeNull` on it lists the faces at fault, each with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

CLEAN = "clean"  # d_operator of a face that was left as it is


def split_fault(frame: pd.DataFrame) -> pd.Series:
    """A person in more than one split leaks identities from training into test."""
    fault = _none(frame)
    leaking = frame.groupby("subject_id")["split"].transform("nunique") > 1
    if leaking.any():
        people = frame[leaking].groupby("subject_id")["split"]
        where = people.agg(lambda split: "this person is in " + " and ".join(sorted(set(split.dropna()))))
        fault[leaking] = frame.loc[leaking, "subject_id"].map(where)
    return fault


def landmarks_fault(frame: pd.DataFrame) -> pd.Series:
    """Five points, so ten finite numbers."""
    fault = _none(frame)
    present = frame["landmarks"].notna()
    fault[~present] = "no landmarks"
    lengths = frame.loc[present, "landmarks"].map(len)
    short = lengths.index[lengths != 10]
    fault[short] = "not five points"
    whole = lengths.index[lengths == 10]
    if len(whole):
        points = np.stack(frame.loc[whole, "landmarks"].to_list()).astype(np.float64)
        broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
        fault[whole[broken]] = "a coordinate is not finite"
    return fault


def quality_fault(frame: pd.DataFrame) -> pd.Series:
    """Every `q_*` value is a finite number; the fault names the columns where it is not."""
    fault = _none(frame)
    columns = [name for name in frame.columns if name.startswith("q_")]
    broken = ~np.isfinite(frame[columns].to_numpy(np.float64, na_value=np.nan))
    rows = np.flatnonzero(broken.any(axis=1))
    if len(rows):
        patterns, which = np.unique(broken[rows], axis=0, return_inverse=True)
        texts = ["not finite: " + ", ".join(np.asarray(columns)[pattern]) for pattern in patterns]
        fault.iloc[rows] = np.asarray(texts, dtype=object)[which]
    return fault


def parent_fault(frame: pd.DataFrame, parents: pd.DataFrame) -> pd.Series:
    """A degraded face has a parent, and shares its person and split.

    Args:
        frame: `parent_id`, `subject_id`, `split`, `d_operator`.
        parents: `face_id`, `subject_id`, `split` of the table that it was made from.
    """
    fault = _none(frame)
    known = parents.drop_duplicates("face_id").set_index("face_id")
    has = frame["parent_id"].notna()
    found = has & frame["parent_id"].isin(known.index)
    for column, what in (("split", "split"), ("subject_id", "person")):
        inherited = frame.loc[found, "parent_id"].map(known[column])
        differs = inherited.index[inherited != frame.loc[found, column]]
        fault[differs] = f"not the {what} of its parent"
    fault[has & ~found] = "parent is not in the table"
    fault[~has & (frame["d_operator"] != CLEAN)] = "no parent"
    return fault


def grid_cell(frame: pd.DataFrame) -> pd.Series:
    """Operator and severity of a face of the test grid, such as `blur 2`; null for other faces."""
    in_grid = (frame["d_severity"] > 0) & (frame["d_operator"] != CLEAN)
    names = frame["d_operator"].astype("string") + " " + frame["d_severity"].astype("string")
    return names.where(in_grid).astype(object).where(in_grid, None)


def grid_fault(frame: pd.DataFrame, grid: Mapping[str, tuple[int, ...]]) -> pd.Series:
    """Each parent in the grid stands once in each cell, so all cells hold the same faces.

    Cells with different faces would compare people, not conditions.
    """
    fault = _none(frame)
    declared = set(cell_names(grid))
    rows = pd.DataFrame({"parent": frame["parent_id"], "cell": grid_cell(frame)}).dropna()
    lacking = {
        parent: declared - cells
        for parent, cells in rows.groupby("parent")["cell"].agg(set).items()
        if declared - cells
    }
    incomplete = rows.index[rows["parent"].isin(list(lacking))]
    reasons = {parent: _lacks(cells) for parent, cells in lacking.items()}
    fault[incomplete] = rows.loc[incomplete, "parent"].map(reasons)
    fault[rows.index[rows.duplicated(keep=False)]] = "its parent is twice in this cell"
    fault[rows.index[~rows["cell"].isin(declared)]] = "cell is not in the grid"
    return fault


def cell_names(grid: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names of the declared cells, as `grid_cell` writes them."""
    return [f"{operator} {severity}" for operator, severities in grid.items() for severity in severities]


def _lacks(cells: set[str]) -> str:
    names = sorted(cells)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return "its parent is missing from " + ", ".join(names[:3]) + more


def _none(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(None, index=frame.index, dtype=object)
