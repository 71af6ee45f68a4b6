"""Turned heads: pairs of a near-frontal face and one in a bucket of yaw."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.report.conditions import YAW
from stages.lib.report.trial import Trial

BUCKETS: Final = ((0, 15), (15, 30), (30, 45), (45, 60), (60, 90))
"""Of |yaw|, degrees; the upper end belongs to a bucket, the lower one to that before it."""
FRONTAL: Final = 15.0
MIN_GENUINE: Final = 20
MIN_PEOPLE: Final = 5
YAW_COLUMNS: Final = ("yaw", "q_yaw")

Degrees = NDArray[np.float64]


def absolute_yaw(faces: pa.Table) -> tuple[Degrees, int]:
    """(N,) |yaw| in degrees as the source states it, else as measured, else NaN; and how many were measured."""
    known, measured = (
        faces[c].to_numpy().astype(np.float64) if c in faces.column_names else np.full(len(faces), np.nan)
        for c in YAW_COLUMNS
    )
    taken = np.isnan(known) & ~np.isnan(measured)
    return np.abs(np.where(taken, measured, known)), int(np.count_nonzero(taken))


def pose_trials(trial: Trial, faces: pa.Table, head: str, people: str) -> tuple[dict[str, Trial], list[str]]:
    """The comparisons of a trial sorted by yaw: one face near-frontal, the more turned one in the bucket.

    Pairs, resamples and subjects are the trial's own, so differences between buckets are paired too. For the search,
    everyone's first near-frontal face is enrolled, whatever the bucket.

    Args:
        trial: comparisons among (N,) faces.
        faces: (N,) with the columns of `absolute_yaw`.
        head: of the names, before `yaw_45-60`.
        people: whose faces these are, for the sentences.

    Returns:
        Name of a condition -> its trial, and a sentence on each thing left out or measured.
    """
    yaw, measured = absolute_yaw(faces)
    found, scarce = {}, []
    for low, high in BUCKETS:
        bucket = _in_bucket(trial, yaw, low, high)
        genuine = bucket.protocol.genuine
        there = len(np.unique(bucket.protocol.subject_left[genuine]))
        if genuine.sum() < MIN_GENUINE or there < MIN_PEOPLE or genuine.all():
            scarce.append(f"{low} to {high}\N{DEGREE SIGN} ({genuine.sum()} of {there})")
        else:
            found[f"{head}{YAW}{low}-{high}"] = bucket
    notes = []
    if scarce:
        notes.append(
            f"Yaw of {people}: a bucket needs {MIN_GENUINE} genuine pairs of {MIN_PEOPLE} people, with impostors; "
            f"left out are {', '.join(scarce)}"
        )
    if found and measured:
        notes.append(f"Yaw of {people}: unknown to the source for {measured} of {len(yaw)} faces, so measured in them")
    return found, notes


def _in_bucket(trial: Trial, yaw: Degrees, low: float, high: float) -> Trial:
    inside, frontal = (yaw <= high) & ((yaw > low) | (low == 0)), yaw <= FRONTAL
    left, right = trial.protocol.left, trial.protocol.right
    chosen = (inside[left] & frontal[right]) | (frontal[left] & inside[right])
    first = np.full(trial.protocol.subjects, -1)
    rows = np.flatnonzero(frontal)[::-1]
    first[trial.subject[rows]] = rows  # backwards, so that the first face of each is what stays
    probes = np.flatnonzero(inside & (first[trial.subject] >= 0))
    probes = probes[first[trial.subject[probes]] != probes]
    return replace(trial, protocol=trial.protocol.only(chosen), gallery=first[first >= 0], probes=probes)
