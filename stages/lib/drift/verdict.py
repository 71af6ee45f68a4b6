"""From windows that breach to alarms: how seldom a quiet window may breach, since when, and what changed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

MONTH: Final = 30 * 24.0  # hours
HALVINGS: Final = 40
PLAIN: Final[Mapping[str, str]] = {
    "q_sharpness": "sharpness",
    "q_brightness": "brightness",
    "q_contrast": "contrast",
    "q_overexposed": "overexposed share of the face",
    "q_underexposed": "underexposed share of the face",
    "q_interocular": "distance between the eyes",
    "q_face_size": "size of the face",
    "q_yaw": "yaw",
    "q_pitch": "pitch",
    "q_roll": "roll",
    "q_alignment_residual": "residual of the landmarks",
    "q_blocks": "blocks of the codec",
    "occlusion": "occlusion",
    "norm": "norm of the embedding",
    "quality": "quality",
    "match_score": "match score",
    "embedding": "embeddings",
    "rejected": "rejected share of the captures",
}
"""What columns are called in a sentence."""
CONSEQUENCES: Final = ("norm", "quality", "match_score", "embedding")
"""Follow whatever happens to a capture: named as a cause only where nothing else moved."""
MOVED: Final = 0.05  # of the reference's middle 90 %: of a median that moved less, the tails tell more


@dataclass(frozen=True)
class Episode:
    """A stretch in alarm, told by positions of judged windows.

    Attributes:
        since: first of the breaching windows that raised it.
        raised: window at which they were enough.
        ended: first window at which none of the last ones breached; none: it goes on.
    """

    since: int
    raised: int
    ended: int | None


@dataclass(frozen=True)
class Finding:
    """One statistic that is beyond its bound.

    Attributes:
        column: of the captures.
        metric: of the column.
        value: of it.
        bound: that it passed.
        p: share of quiet windows that are as far off.
        window: the window's 5, 50 and 95 % quantiles of the column.
        reference: the reference's.
    """

    column: str
    metric: str
    value: float
    bound: float
    p: float
    window: tuple[float, float, float]
    reference: tuple[float, float, float]

    @property
    def excess(self) -> float:
        """How many times its bound it is; of PSI, which grows with the square of a shift, the root of that."""
        times = self.value / max(self.bound, 1e-9)
        return math.sqrt(times) if self.metric == "psi" else times

    @property
    def words(self) -> str:
        """What changed, as `sharpness fell from 6.1 to 4.2 (median)`."""
        name = PLAIN.get(self.column, self.column)
        if self.metric == "rejected_share":
            return f"{name} rose from {100 * self.reference[1]:.3g} % to {100 * self.value:.3g} %"
        if self.column == "embedding":
            return "embeddings changed"
        (low, middle, high), (was_low, was_middle, was_high) = self.window, self.reference
        if abs(middle - was_middle) > MOVED * (was_high - was_low):
            turn = "fell" if middle < was_middle else "rose"
            return f"{name} {turn} from {was_middle:.3g} to {middle:.3g} (median)"
        if self.metric == "tail_high":
            return f"{name} lies above {was_high:.3g} in {100 * self.value:.0f} % of the faces, where 5 % or fewer did"
        if self.metric == "tail_low":
            return f"{name} lies below {was_low:.3g} in {100 * self.value:.0f} % of the faces, where 5 % or fewer did"
        now, was, share = max((low, was_low, 5), (high, was_high, 95), key=lambda end: abs(end[0] - end[1]))
        if now == was:
            return f"{name} is distributed otherwise than before"
        return f"{name} {'fell' if now < was else 'rose'} from {was:.3g} to {now:.3g} ({share} % quantile)"


def causes(windows: Iterable[Sequence[Finding]]) -> list[Finding]:
    """What changed, the likeliest cause first, a finding a column.

    A column counts by its excess in all breaching windows together. A lens out of focus lowers sharpness, and the norm
    with it, often by more: what a capture is like goes before what the model makes of it.

    Args:
        windows: findings of each breaching window, in order of time; those of the newest are told where there are any.
    """
    newest: dict[str, Finding] = {}
    total: dict[str, float] = defaultdict(float)
    for findings in windows:
        best: dict[str, Finding] = {}
        for finding in findings:
            if finding.column not in best or finding.excess > best[finding.column].excess:
                best[finding.column] = finding
        newest |= best
        for column, finding in best.items():
            total[column] += finding.excess
    return sorted(newest.values(), key=lambda f: (f.column in CONSEQUENCES, -total[f.column], f.column))


def episodes(breaches: Sequence[bool], rules: Sequence[tuple[int, int]]) -> list[Episode]:
    """Stretches in alarm: from a window on at which k of the last n breach, to the one at which none does.

    A window may breach at a chance that is set for its k and n. So only windows of one rule raise an alarm together.

    Args:
        breaches: of the judged windows in order of time; a window that was not judged is not among them.
        rules: of each window k, the breaching windows that raise an alarm, and n, of the last so many.
    """
    found: list[Episode] = []
    on: tuple[int, int] | None = None
    for at, (k, n) in enumerate(rules):
        recent = [i for i in range(max(0, at - n + 1), at + 1) if breaches[i]]
        alike = [i for i in recent if rules[i] == (k, n)]
        if on is None and len(alike) >= k:
            on = (alike[0], at)
        elif on is not None and not recent:
            found.append(Episode(*on, at))
            on = None
    return [*found, Episode(*on, None)] if on is not None else found


@lru_cache(maxsize=256)
def alpha_for(false_alarms_per_month: float, hours: int, streams: int, k: int, n: int) -> float:
    """Chance at which a quiet window may breach so that false alarms come at the chosen rate.

    Windows are taken as independent, and streams as well.

    Args:
        false_alarms_per_month: alarms that all streams together raise in 30 days.
        hours: of a window.
        streams: that are judged: cameras, and all of them together.
        k: breaching windows that raise an alarm,
        n: of the last so many.

    Returns:
        In (0, 0.5]; where no chance raises so many alarms, the one that raises most.
    """
    wanted = false_alarms_per_month * hours / MONTH / streams
    low, high = 0.0, _peak(k, n)
    if onset_rate(high, k, n) <= wanted:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if onset_rate(middle, k, n) < wanted else (low, middle)
    return low


def onset_rate(breach: float, k: int, n: int) -> float:
    """Alarms that begin per window in the long run, when windows breach independently with this chance, in (0, 1).

    By the stationary distribution of the Markov chain over the last n windows and whether an alarm is on.
    """
    states = 2 ** (n + 1)  # n bits of the last windows, the newest lowest, and whether an alarm is on above them
    before = np.repeat(np.arange(states), 2)
    new = np.tile([0, 1], states)
    recent = ((before << 1) | new) & (2**n - 1)
    was = before >> n
    on = np.where(was == 1, recent > 0, np.bitwise_count(recent) >= k)
    chance = np.where(new == 1, breach, 1.0 - breach)
    after = recent | (on.astype(np.int64) << n)
    # share = step @ share; the first equation, which the others imply, gives way to the sum of 1
    kept, all_states = after > 0, np.arange(states)
    rows = np.concatenate([after[kept], all_states[1:], np.zeros(states, np.int64)])
    columns = np.concatenate([before[kept], all_states[1:], all_states])
    terms = np.concatenate([chance[kept], np.full(states - 1, -1.0), np.ones(states)])
    right = np.zeros(states)
    right[0] = 1.0
    share = spsolve(sparse.csc_array((terms, (rows, columns)), shape=(states, states)), right)
    return float((share[before] * chance)[(was == 0) & on].sum())


@lru_cache(maxsize=64)
def _peak(k: int, n: int) -> float:
    """Chance of a breach, up to a half, at which most alarms begin; with more of them alarms go on instead."""
    grid = np.linspace(0.01, 0.5, 50)
    return float(grid[int(np.argmax([onset_rate(float(breach), k, n) for breach in grid]))])
