"""Champion against challenger: the same faces, the same pairs, each at its own threshold for the same FMR.

Templates are clean faces of the test people; probes are their other faces, clean and in every cell of the grid, and
the faces of everyone else there. A model's threshold is set on all impostor pairs of these conditions together. What
is compared is FNMR, as challenger minus champion: overall, on clean faces, in each cell, and in each band of the
champion's reading of the probe.

Intervals resample the people (see `metrics.bootstrap`) and set both thresholds anew in each resample, so that they
carry the error of the thresholds as well. One draw of people serves both models: the differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array

from stages.lib.deploy.ask import ask, joined
from stages.lib.deploy.session import Inspection
from stages.lib.deploy.threshold import MAX_IMPOSTORS, MIN_FALSE_MATCHES
from stages.lib.errors import ConfigError
from stages.lib.frozen import Frozen
from stages.lib.metrics.bootstrap import Ints, interval, subject_weights
from stages.lib.metrics.det import Det, rank_scores
from stages.lib.metrics.protocol import Protocol as Pairs
from stages.lib.metrics.protocol import all_pairs, pair_scores
from stages.lib.metrics.verification import fnmr_at_fmr, rates_at, target_name
from stages.lib.models.contract import Contract, Faces
from stages.lib.quality.calibration import QualityBands, calibrate
from stages.lib.report.conditions import CLEAN, Condition, grid_of
from stages.lib.table import TEST, Table

BLOCK: Final = 2**20  # weights of pairs held at once
FIRST_LOOK: Final = 3.0  # times the share of impostors that may pass
MOST_NAMED: Final = 3  # in the reason; the judgement holds all
OVERALL: Final = "overall"
CELL: Final = ("parent_id", "d_operator", "d_severity")


class Rival(Protocol):
    """A model that can be judged; `deploy.session.FaceModel` is one."""

    contract: Contract

    def inspect(self, faces: Faces) -> Inspection: ...


class Compared(Frozen):
    """FNMR of both models on the same mated pairs.

    Attributes:
        name: of the pairs: `overall`, `clean`, a cell such as `blur-2`, or a band such as `quality below 0.31`.
        pairs: mated pairs.
        people: whose pairs they are.
        champion: share of the pairs that it misses.
        challenger: the same.
        difference: challenger minus champion; below 0 the challenger is better.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
    """

    name: str
    pairs: int
    people: int
    champion: float
    challenger: float
    difference: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """Whether the challenger surely misses fewer."""
        return self.high < 0

    @property
    def worse(self) -> bool:
        """Whether the challenger surely misses more."""
        return self.low > 0

    def __str__(self) -> str:
        rates = f"FNMR {_percent(self.champion)} -> {_percent(self.challenger)}"
        change = f"{_points(self.difference)} points, {_points(self.low)} to {_points(self.high)}"
        return f"{self.name}: {rates} ({change})"


class Migration(Frozen):
    """From the champion's threshold in use to the challenger's that lets equally many impostors in.

    Attributes:
        champion: cosine in use.
        challenger: the lowest cosine whose FMR is not above that of the champion at the one in use.
        fmr: of the champion there, on the protocol's impostor pairs.
        resolved: False where no impostor passes the champion: `challenger` then lies just above its highest impostor.
        genuine: mated pairs.
        genuine_lost: of these, accepted by the champion and not by the challenger.
        genuine_gained: the other way round.
        impostors: pairs of two people.
        impostors_stopped: of these, accepted by the champion and not by the challenger.
        impostors_let_in: the other way round.
        people: enrolled, that is with a template in a pair.
        people_touched: of these, with at least one decision that flips.
    """

    champion: float
    challenger: float
    fmr: float
    resolved: bool
    genuine: int
    genuine_lost: int
    genuine_gained: int
    impostors: int
    impostors_stopped: int
    impostors_let_in: int
    people: int
    people_touched: int

    @property
    def shares(self) -> dict[str, float]:
        """Each count of flips as a share of what could flip."""
        of = {"genuine": self.genuine, "impostors": self.impostors, "people": self.people}
        flips = ("genuine_lost", "genuine_gained", "impostors_stopped", "impostors_let_in", "people_touched")
        return {name: getattr(self, name) / of[name.partition("_")[0]] for name in flips}


class Judgement(Frozen):
    """Whether a challenger may take the champion's place, and why.

    Attributes:
        champion: version of the model in production.
        challenger: version of the model that would follow it.
        aligned: content id of the clean faces.
        grid: content id of the degraded ones.
        technique: which reading of the champion the bands are of: `quality` or `norm`.
        fmr: at which both are compared.
        champion_threshold: its lowest cosine that keeps `fmr` here.
        challenger_threshold: the same of the other.
        overall: all mated pairs, clean and degraded. Every cell holds the same pairs, so this is as well the mean
            over the cells and the clean condition.
        clean: those of clean probes.
        bands: by the champion's reading of the probe, lowest first.
        cells: by degradation; for people to read, no part of the verdict.
        migration: what changes for those who are enrolled.
        promote: the verdict.
        reason: of it, in words and figures.
    """

    champion: str
    challenger: str
    aligned: str
    grid: str
    technique: str
    fmr: float
    champion_threshold: float
    challenger_threshold: float
    overall: Compared
    clean: Compared
    bands: tuple[Compared, ...]
    cells: tuple[Compared, ...]
    migration: Migration
    promote: bool
    reason: str


def judge(
    champion: Rival,
    challenger: Rival,
    aligned: Table,
    grid: Table,
    fmr: float,
    in_use: float,
    bands: int = 10,
    replicates: int = 1000,
    seed: int = 1,
) -> Judgement:
    """Compare two models on a frozen protocol.

    Promoted is who is surely better overall, surely worse in no band, and not surely worse on clean faces, where
    `surely` is told by 95 % intervals. They are not widened for the number of bands: with 10 bands, equal models would
    be held for one of them up to one time in five, and a promotion that harms costs more than one that waits.

    Memory: the embeddings of both models, and a score for each of at most `MAX_IMPOSTORS` impostor pairs.

    Args:
        champion: in production.
        challenger: that would follow it.
        aligned: clean faces; the test people count.
        grid: the same faces degraded, cell by cell.
        fmr: false match rate at which both are compared, in (0, 1).
        in_use: the cosine at or above which production accepts a pair with the champion.
        bands: of the champion's reading of the probe, with about equally many mated pairs.
        replicates: resamples of the people.
        seed: of resamples and of the impostor pairs.

    Raises:
        ConfigError: no test faces, too few people for a band, or too few impostor pairs for the rate.
    """
    trial = _confront((champion, challenger), aligned, grid, fmr, seed)
    pairs, scored, conditions = trial.pairs, trial.scored, trial.conditions
    subject = np.tile(pairs.subject_left[pairs.genuine], len(conditions))
    points = [fnmr_at_fmr(one.det, fmr) for one in scored]
    missed = scored[0].mated < points[0].threshold
    weights = np.vstack([np.ones(pairs.subjects, np.int64), subject_weights(pairs.subjects, replicates, seed)])
    calibrated = calibrate(trial.quality, missed, subject, weights[:1], bands)
    named = _named_bands(trial.technique, calibrated, trial.quality)
    cell = np.repeat(np.arange(len(conditions)), len(subject) // len(conditions))
    cells = {condition.name: cell == k for k, condition in enumerate(conditions)}

    compared = _compare(scored, pairs, subject, weights, fmr, {OVERALL: np.ones_like(missed), **cells, **named})
    overall, clean_faces, of_bands = compared[OVERALL], compared[CLEAN], tuple(compared[name] for name in named)
    promote, reason = _verdict(overall, (clean_faces, *of_bands), fmr)
    return Judgement(
        champion=champion.contract.version,
        challenger=challenger.contract.version,
        aligned=aligned.content_id,
        grid=grid.content_id,
        technique=trial.technique,
        fmr=fmr,
        champion_threshold=points[0].threshold,
        challenger_threshold=points[1].threshold,
        overall=overall,
        clean=clean_faces,
        bands=of_bands,
        cells=tuple(compared[condition.name] for condition in conditions[1:]),
        migration=_migrate(scored, pairs, in_use),
        promote=promote,
        reason=reason,
    )


@dataclass(frozen=True)
class _Scored:
    """What one model makes of P pairs in C conditions.

    Attributes:
        scores: (C * P,) condition by condition.
        genuine: (C * P,) whether both faces show one person.
        det: of all of them.
    """

    scores: NDArray[np.float32]
    genuine: NDArray[np.bool_]
    det: Det

    @property
    def mated(self) -> NDArray[np.float32]:
        """(G,) scores of the genuine pairs, condition by condition."""
        return self.scores[self.genuine]


@dataclass(frozen=True)
class _Trial:
    """Both models on the same pairs.

    Attributes:
        pairs: P of one condition; the same in each.
        conditions: C, clean first.
        scored: champion and challenger.
        technique: what says how good a face is for the champion.
        quality: (G,) of the probe of each mated pair, condition by condition, as the champion says it.
    """

    pairs: Pairs
    conditions: tuple[Condition, ...]
    scored: tuple[_Scored, _Scored]
    technique: str
    quality: NDArray[np.float32]


def _confront(rivals: tuple[Rival, Rival], aligned: Table, grid: Table, fmr: float, seed: int) -> _Trial:
    people, clean = _shown(aligned, ["face_id", "subject_id"], rivals)
    about, degraded = _shown(grid, CELL, rivals)
    conditions = grid_of(people["face_id"], about).conditions[1:]
    inside = conditions[0].templates
    codes = np.unique(people["subject_id"].to_numpy(zero_copy_only=False), return_inverse=True)[1][inside]
    pairs = all_pairs(codes, MAX_IMPOSTORS // len(conditions), seed)
    _check(pairs, len(conditions), fmr)
    champion, challenger = (
        _score(pairs, own.embeddings[inside], _probes(own.embeddings, others.embeddings, conditions))
        for own, others in zip(clean, degraded, strict=True)
    )
    technique = rivals[0].contract.own_quality
    read = _probes(_reading(clean[0], technique), _reading(degraded[0], technique), conditions)
    quality = np.concatenate([reading[pairs.right[pairs.genuine]] for reading in read])
    return _Trial(pairs, conditions, (champion, challenger), technique, quality)


def _shown(
    table: Table, columns: Sequence[str], rivals: Sequence[Rival]
) -> tuple[pa.Table, tuple[Inspection, Inspection]]:
    """Rows of the test faces, and what each of the two says of them; every image is decoded once."""
    parts = list(ask(table, columns, TEST, rivals))
    if not parts:
        raise ConfigError(f"{table.path} has no test face to judge by; raise `ingest.test_fraction`")
    rows, said = zip(*parts, strict=True)
    champion, challenger = (joined(answers) for answers in zip(*said, strict=True))
    return pa.Table.from_batches(rows).combine_chunks(), (champion, challenger)


def _check(pairs: Pairs, conditions: int, fmr: float) -> None:
    expected = fmr * conditions * int(np.count_nonzero(~pairs.genuine))
    if expected < MIN_FALSE_MATCHES:
        raise ConfigError(
            f"no threshold at FMR {target_name(fmr)}: {expected:.3g} impostor pairs of {pairs.subjects} people match "
            f"falsely there, {MIN_FALSE_MATCHES} are needed; judge at a higher rate, or raise synthesize.grid_faces"
        )


def _reading(said: Inspection, technique: str) -> NDArray[np.float32]:
    return said.quality if technique == "quality" and said.quality is not None else said.norms


def _probes(
    clean: NDArray[np.float32], degraded: NDArray[np.float32], conditions: Sequence[Condition]
) -> Iterator[NDArray[np.float32]]:
    """Of each condition, the values (N, ...) of its probes."""
    for condition in conditions:
        yield clean[condition.templates] if condition.probes is None else degraded[condition.probes]


def _score(pairs: Pairs, templates: NDArray[np.float32], probes: Iterator[NDArray[np.float32]]) -> _Scored:
    scores = np.concatenate([pair_scores(pairs, templates, of_condition) for of_condition in probes])
    genuine = np.tile(pairs.genuine, len(scores) // len(pairs.genuine))
    ranking = rank_scores(scores, genuine)
    det = ranking.det(np.ones(len(ranking.genuine)), np.ones(len(ranking.impostor)))
    return _Scored(scores, genuine, det)


def _named_bands(technique: str, bands: QualityBands, quality: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    band = bands.of(quality)
    ends = [f"{edge:.3g}" for edge in bands.edges]
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    spans = [f"below {ends[0]}", *between, f"from {ends[-1]}"] if ends else ["of all faces"]
    return {f"band {k + 1}, {technique} {span}": band == k for k, span in enumerate(spans)}


def _compare(
    scored: Sequence[_Scored],
    pairs: Pairs,
    subject: Ints,
    weights: Ints,
    fmr: float,
    groups: Mapping[str, NDArray[np.bool_]],
) -> dict[str, Compared]:
    """FNMR of both in each group of mated pairs.

    Args:
        scored: champion and challenger.
        pairs: of one condition.
        subject: (G,) whose each mated pair is.
        weights: (1 + B, S): every person once, then the resamples.
        fmr: false match rate of the thresholds.
        groups: name -> (G,) which pairs are in it.
    """
    member = np.stack(list(groups.values()), axis=1).astype(np.float64)
    champion, challenger = (_rates(one, pairs, subject, weights, fmr, member) for one in scored)
    difference = challenger - champion
    compared = {}
    for k, (name, chosen) in enumerate(groups.items()):
        low, high = interval(difference[1:, k])
        compared[name] = Compared(
            name=name,
            pairs=int(np.count_nonzero(chosen)),
            people=len(np.unique(subject[chosen])),
            champion=float(champion[0, k]),
            challenger=float(challenger[0, k]),
            difference=float(difference[0, k]),
            low=low,
            high=high,
        )
    return compared


def _rates(
    scored: _Scored, pairs: Pairs, subject: Ints, weights: Ints, fmr: float, member: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(1 + B, K) FNMR of each group in each resample, at the threshold that keeps the FMR in that resample."""
    mated, refused = scored.mated, _refused(scored, pairs, weights, fmr)
    found = []
    for part in np.array_split(np.arange(len(weights)), max(1, len(weights) * len(mated) // BLOCK)):
        drawn = weights[part].take(subject, axis=1)
        missed = drawn * (mated <= refused[part, None])
        with np.errstate(invalid="ignore"):  # a resample that drew nobody of a group says nothing of it
            found.append((missed @ member) / (drawn @ member))
    return np.concatenate(found)


def _refused(scored: _Scored, pairs: Pairs, weights: Ints, fmr: float) -> NDArray[np.float64]:
    """(1 + B,) the highest impostor that must not pass if FMR is to stay within bounds; accepted is what lies above.

    Only the highest scores can be it. They are looked at in growing numbers, from a few times the share that may pass.
    """
    impostor = np.flatnonzero(~scored.genuine)
    impostor = impostor[np.argsort(scored.scores[impostor])[::-1]]
    left, right = (side[impostor % len(pairs.left)] for side in (pairs.subject_left, pairs.subject_right))
    table = coo_array((np.ones(len(left)), (left, right)), shape=(pairs.subjects,) * 2).tocsr()
    total = (weights * (table @ weights.T).T).sum(axis=1)
    refused, waiting = np.full(len(weights), -np.inf), np.arange(len(weights))
    kept = min(len(impostor), int(FIRST_LOOK * fmr * len(impostor)) + 1)
    while len(waiting):
        undecided = []
        for part in np.array_split(waiting, max(1, len(waiting) * kept // BLOCK)):
            drawn = weights[part]
            accepted = np.cumsum(drawn.take(left[:kept], axis=1) * drawn.take(right[:kept], axis=1), axis=1)
            beyond = accepted / total[part, None] > fmr
            decided = beyond[:, -1]
            refused[part[decided]] = scored.scores[impostor[beyond[decided].argmax(axis=1)]]
            undecided.append(part[~decided])
        waiting = np.concatenate(undecided) if kept < len(impostor) else waiting[:0]
        kept = min(len(impostor), 2 * kept)
    return refused


def _verdict(overall: Compared, others: Sequence[Compared], fmr: float) -> tuple[bool, str]:
    at = f"at FMR {target_name(fmr)}"
    against = [] if overall.better else [f"not surely better: {overall}"]
    worse = [one for one in others if one.worse]
    against += [f"surely worse: {one}" for one in worse[:MOST_NAMED]]
    against += [f"and in {len(worse) - MOST_NAMED} more"] if len(worse) > MOST_NAMED else []
    if against:
        return False, f"held {at}: {'; '.join(against)}"
    return True, f"promoted {at}: {overall}; surely worse neither on clean faces nor in any band of quality"


def _migrate(scored: Sequence[_Scored], pairs: Pairs, in_use: float) -> Migration:
    champion, challenger = scored
    genuine = champion.genuine
    fmr, _ = rates_at(champion.scores, genuine, in_use)
    point = fnmr_at_fmr(challenger.det, fmr)
    before, after = champion.scores.astype(np.float64) >= in_use, challenger.scores >= point.threshold
    lost, gained = before & ~after, after & ~before
    enrolled = np.tile(pairs.subject_left, len(genuine) // len(pairs.left))
    return Migration(
        champion=in_use,
        challenger=point.threshold,
        fmr=fmr,
        resolved=point.resolved,
        genuine=int(np.count_nonzero(genuine)),
        genuine_lost=int(np.count_nonzero(lost & genuine)),
        genuine_gained=int(np.count_nonzero(gained & genuine)),
        impostors=int(np.count_nonzero(~genuine)),
        impostors_stopped=int(np.count_nonzero(lost & ~genuine)),
        impostors_let_in=int(np.count_nonzero(gained & ~genuine)),
        people=len(np.unique(enrolled)),
        people_touched=len(np.unique(enrolled[lost | gained])),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"
