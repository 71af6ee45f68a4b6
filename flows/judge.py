"""Measure one window of captures, and judge it against what is normal there: the rows of the drift store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from flows.baselines import References
from flows.captures import CaptureLog
from flows.drift_store import DriftStore
from flows.home import Home
from flows.rows import ALL_CAMERAS, DRIFT, QUANTILES, RULE, SAID, Row
from flows.settings import WatchSettings
from flows.window import Window, read_windows
from stages.lib.drift.calibration import Bounds, calibrate, design_effect
from stages.lib.drift.price import Measures, Price
from stages.lib.drift.reference import Reference
from stages.lib.drift.statistics import measure, measure_embeddings
from stages.lib.drift.verdict import alpha_for
from stages.lib.fingerprint import fingerprint
from stages.lib.metrics.bootstrap import interval

REJECTS: Final = 0.1  # of alpha, for the rejected share; the measures have the rest
CLAIMED: Final = "match_score"
BOUNDS_OF: Final = "1"  # raise it when `calibrate` changes, and bounds are made again

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Against:
    """Captures, and what they are held against.

    Attributes:
        camera: or `*`.
        parts: windows of the cameras: one, or all that belong together.
        references: of each of them.
        reference: of all of them.
        each: faces that are drawn of each part.
        columns: that both sides have from the same model.
    """

    camera: str
    parts: tuple[Window, ...]
    references: tuple[Reference, ...]
    reference: Reference
    each: int
    columns: tuple[str, ...]

    @property
    def faces(self) -> int:
        return self.each * len(self.parts)


class Judge:
    """Measures windows, and keeps what they have in common."""

    def __init__(self, home: Home, settings: WatchSettings, references: References) -> None:
        self._home, self._settings, self._references = home, settings, references
        self._profile = references.profile()
        self._prices = references.price()
        self._bounds: dict[str, Bounds] = {}
        self._normal: dict[str, Floats | None] = {}

    def fmr(self) -> str | None:
        """At which misses are priced."""
        return self._profile.run_at.fmr if self._profile.run_at else None

    def measure(self, log: CaptureLog, store: DriftStore, window: datetime, cameras: Sequence[str]) -> None:
        """Measure one window of all cameras, and write it."""
        settings = self._settings
        end = window + timedelta(hours=settings.hours)
        captured = read_windows(log, window, end, [*settings.columns, CLAIMED], embeddings=settings.keep_embeddings)
        streams = len(cameras) + (len(cameras) > 1)
        alpha = alpha_for(settings.false_alarms_per_month, settings.hours, streams, settings.k, settings.n)
        rows: list[Row] = []
        for camera, own in captured.items():
            rows += self._rows(window, [own], self._alone(own), camera, alpha)
        if len(cameras) > 1:
            everyone = list(captured.values())
            rows += self._rows(window, everyone, self._together(everyone), ALL_CAMERAS, alpha)
        counts = {camera: own.captures for camera, own in captured.items()}
        store.write(window, settings.hours, pa.Table.from_pylist(rows, schema=DRIFT), counts)

    def _alone(self, own: Window) -> _Against:
        reference = self._references.of(own.camera)
        return self._against(own.camera, [own], [reference], reference)

    def _together(self, everyone: Sequence[Window]) -> _Against:
        """All cameras that have enough faces; those with a baseline, where two have one."""
        there = [own for own in everyone if own.faces >= self._settings.fewest] or list(everyone)
        known = [own for own in there if self._references.accepted(own.camera)]
        parts = known if len(known) > 1 else there
        whole = self._references.together([own.camera for own in parts])
        return self._against(ALL_CAMERAS, parts, [self._references.of(own.camera) for own in parts], whole)

    def _against(
        self, camera: str, parts: Sequence[Window], references: Sequence[Reference], whole: Reference
    ) -> _Against:
        models = {model for own in parts for model in own.models}
        same = models == {whole.model}
        columns = tuple(
            name
            for name in whole.columns
            if (same or name not in SAID) and all(2 * len(own.told(name)) > own.faces for own in parts)
        )
        drawn = self._size(min(self._settings.sample, len(parts) * min(own.faces for own in parts)))
        each = -(-drawn // len(parts)) if drawn < len(parts) else drawn // len(parts)
        return _Against(camera, tuple(parts), tuple(references), whole, each, columns)

    def _size(self, faces: int) -> int:
        """The sample for so many faces: of a few sizes, for each needs its own bounds; 0: too few."""
        sizes = [self._settings.fewest]
        while sizes[-1] * math.sqrt(2) < self._settings.sample:
            sizes.append(math.ceil(sizes[-1] * math.sqrt(2)))
        return max((size for size in (*sizes, self._settings.sample) if size <= faces), default=0)

    def _rows(
        self, window: datetime, captured: Sequence[Window], against: _Against, camera: str, alpha: float
    ) -> list[Row]:
        """All rows of a stream."""
        settings, reference = self._settings, against.reference
        captures, faces = sum(own.captures for own in captured), sum(own.faces for own in captured)
        about = {
            "window": window,
            "hours": float(settings.hours),
            "camera": camera,
            "captures": captures,
            "faces": faces,
            "reference": reference.content_id,
            "model": "+".join(sorted({model for own in captured for model in own.models})),
        }
        judged, chances = [], []
        # the shipped profile is of other people and no camera: figures are held against it, and no alarm is raised
        known = all(self._references.accepted(own.camera) for own in against.parts)
        if known and against.each and against.columns:
            drifts, p = self._judge(window, against, alpha * (1 - REJECTS))
            judged += drifts
            chances.append(p / (1 - REJECTS))
        share, p_share = _rejects(captured, reference, alpha * REJECTS, settings.fewest)
        if p_share is not None:
            chances.append(p_share / REJECTS)
        if chances:
            p_min = min(1.0, *chances)
            judged.append({"column": "", "metric": "p_min", "value": p_min, "bound": alpha, "breach": p_min <= alpha})
            judged += [{"column": "", "metric": name, "value": float(getattr(settings, name))} for name in RULE]
        told = [
            {"column": "", "metric": "captures", "value": float(captures)},
            *share,
            *_levels(captured, reference, settings.columns),
            *self._price(against),
            *self._claims(captured),
        ]
        return [{**about, "breach": False, **row} for row in (*told, *judged)]

    def _judge(self, window: datetime, against: _Against, alpha: float) -> tuple[list[Row], float]:
        """Distances of an equal-size sample, with their bounds, and the chance of one so far off."""
        lot = f"{self._settings.seed} {window.isoformat()}"
        picked = [own.drawn(f"{lot} {own.camera}", against.each) for own in against.parts]
        sample = {
            name: np.concatenate([own.columns[name][rows] for own, rows in zip(against.parts, picked, strict=True)])
            for name in against.columns
        }
        normal = against.reference.faces()
        measured = measure(sample, normal) | _embedded(against, picked, normal)
        judged, p = self._bounds_of(normal, against.faces).judge(measured, alpha)
        rows = [
            {
                "column": column,
                "metric": metric,
                "value": one.value,
                "bound": one.bound,
                "p": one.p,
                "breach": one.breach,
            }
            for (column, metric), one in judged.items()
        ]
        return rows, p

    def _bounds_of(self, reference: Reference, faces: int) -> Bounds:
        """Bounds are a function of what is hashed here: made once, and kept beside the drift store."""
        settings = self._settings
        key = fingerprint(BOUNDS_OF, reference.content_id, faces, settings.resamples, settings.seed)
        if key not in self._bounds:
            path = self._home.drift / "bounds" / f"{key}.npz"
            if not path.is_file():
                calibrate(reference, faces, settings.resamples, settings.seed).save(path)
            self._bounds[key] = Bounds.load(path)
        return self._bounds[key]

    def _price(self, against: _Against) -> list[Row]:
        """FNMR to be expected of all faces of the window, and its change; nothing where no price speaks of them.

        Each camera's reference counts as often as its faces do.
        """
        models = {model for own in against.parts for model in own.models}
        if self._prices is None or models != {self._profile.model}:
            return []
        shares = np.array([own.faces for own in against.parts]) / max(1, sum(own.faces for own in against.parts))
        expected = _mixed(shares, [_told(self._prices, own.columns) for own in against.parts])
        if expected is None:
            return []
        found = [_estimate("fnmr_expected", expected)]
        if all(reference.model == self._profile.model for reference in against.references):
            normal = _mixed(shares, [self._normal_of(self._prices, one) for one in against.references])
            found += [] if normal is None else [_estimate("fnmr_change", expected - normal)]
        return found

    def _normal_of(self, price: Price, reference: Reference) -> Floats | None:
        """What a reference costs: the same for every window that is held against it."""
        if reference.content_id not in self._normal:
            self._normal[reference.content_id] = _told(price, reference.columns)
        return self._normal[reference.content_id]

    def _claims(self, captured: Sequence[Window]) -> list[Row]:
        """Share of the claims that the threshold turns down: what the price foretells, as far as people are honest.

        Impostors are among them, so FNMR is at most that. The interval is Jeffreys'.
        """
        models = {model for own in captured for model in own.models}
        scores = np.concatenate([own.told(CLAIMED) for own in captured])
        if self._profile.run_at is None or models != {self._profile.model} or not len(scores):
            return []
        refused, total = int((scores < self._profile.run_at.threshold).sum()), len(scores)
        low, high = stats.beta.ppf([0.025, 0.975], refused + 0.5, total - refused + 0.5)
        return [{"column": "", "metric": "claims_refused", "value": refused / total, "low": low, "high": high}]


def _embedded(
    against: _Against, picked: Sequence[NDArray[np.int64]], normal: Reference
) -> dict[tuple[str, str], float]:
    """Distances of the embeddings of a camera's sample, where both sides have those of the same model."""
    own = against.parts[0]
    if normal.embeddings is None or own.embeddings is None or own.models != (normal.model,):
        return {}
    theirs = own.embeddings[picked[0]]
    same = theirs.shape[1] == normal.embeddings.shape[1] and bool(np.isfinite(theirs).all())
    return measure_embeddings(theirs, normal.embeddings) if same else {}


def _told(price: Price, faces: Measures) -> Floats | None:
    """(1 + B,) FNMR to be expected of faces; none: they do not tell what the price rests on."""
    return price.expected(faces) if set(price.columns) <= set(faces) else None


def _mixed(shares: Floats, told: Sequence[Floats | None]) -> Floats | None:
    """(1 + B,) of a mixture of them; none: there are some that nothing is expected of."""
    known = [one for one in told if one is not None]
    return shares @ np.stack(known) if len(known) == len(told) else None


def _estimate(metric: str, told: Floats) -> Row:
    """A figure and its 95 % interval, of all people and of resamples of them."""
    low, high = interval(told[1:])
    return {"column": "", "metric": metric, "value": float(told[0]), "low": low, "high": high}


def _levels(captured: Sequence[Window], reference: Reference, columns: Iterable[str]) -> Iterator[Row]:
    """Quantiles of all faces of the window, and those of the reference."""
    shares = list(QUANTILES.values())
    for column in columns:
        normal = reference.columns.get(column)
        sides = {
            "": np.concatenate([own.told(column) for own in captured]),
            "reference_": normal[np.isfinite(normal)] if normal is not None else np.empty(0),
        }
        for prefix, values in sides.items():
            if len(values):
                levels = np.quantile(values.astype(np.float64), shares, method="inverted_cdf")
                for name, level in zip(QUANTILES, levels, strict=True):
                    yield {"column": column, "metric": prefix + name, "value": float(level)}


def _rejects(
    captured: Sequence[Window], reference: Reference, alpha: float, fewest: int
) -> tuple[list[Row], float | None]:
    """Share of captures without a face, with its bound and the chance of so many where the reference knows its own.

    The bound is a beta-binomial one: the reference's share is an estimate as well. Both sides count less where
    rejected captures come in bad days (their design effect). Of several cameras there is none: their traffic would
    turn it.
    """
    total = sum(own.captures for own in captured)
    gone = total - sum(own.faces for own in captured)
    low, high = stats.beta.ppf([0.025, 0.975], gone + 0.5, total - gone + 0.5)
    row: Row = {"column": "", "metric": "rejected_share", "value": gone / total, "low": low, "high": high}
    if reference.rejected is None or total < fewest or len(captured) > 1:
        return [row], None
    normal = float(reference.rejected.mean())
    effect = _clustering(reference, total)
    seen, own = len(reference) / effect, max(1, round(total / effect))
    chance = stats.betabinom(own, normal * seen + 0.5, (1 - normal) * seen + 0.5)
    p = float(chance.sf(math.ceil(gone / effect) - 1))
    row |= {"bound": float(chance.isf(alpha)) / own, "p": p, "breach": p <= alpha}
    return [row, {"column": "", "metric": "reference_rejected_share", "value": normal}], p


def _clustering(reference: Reference, captures: int) -> float:
    """By how much bad days enlarge the variance of the rejected share."""
    if reference.window is None or reference.rejected is None:
        return 1.0
    scores = reference.rejected.astype(np.float64)[:, None]
    return float(design_effect(scores, reference.window, captures, np.ones((1, 1)))[0, 0])
