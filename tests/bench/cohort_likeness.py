"""How alike the cohort's people are to a recogniser, beside real ones: impostor and genuine cosines of both.

    python -m tests.bench.cohort_likeness --lfw .scratch/lfw --model .scratch/edgeface_xs.onnx --out .scratch

Near-frontal, bare faces: of the cohort by its labels, of LFW's View 1 test people by the yaw that align measures.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

import stages as stages  # sets the thread policy before torch starts its own
from stages import align, ingest
from stages.lib.codec import decode
from stages.lib.metrics.bootstrap import interval, subject_weights
from stages.lib.metrics.protocol import Protocol, all_pairs, pair_scores
from stages.lib.metrics.verification import verification
from stages.lib.report.candidates import peer_candidate
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.params import Params, load

YAW, EACH, IMPOSTORS, REPLICATES = 20.0, 3, 200_000, 1000
Scores = NDArray[np.float32]


def aligned(params: Params, folder: Path, runtime: Runtime) -> Table:
    """Ingest and align a source."""
    ingest.run(params.ingest, folder / "faces", runtime)
    return align.run(params.align, folder / "faces", folder / "aligned", runtime)


def compared(
    table: Table, where: ds.Expression, model: Path, contract: str, runtime: Runtime
) -> tuple[Protocol, Scores]:
    """Pairs among at most `EACH` faces of each person, and their cosines."""
    rows = table.read(["subject_id", "image"], where)
    subjects = rows["subject_id"].to_pylist()
    seen: dict[str, int] = {}
    kept = [i for i, s in enumerate(subjects) if seen.setdefault(s, 0) < EACH and not seen.update({s: seen[s] + 1})]
    faces = np.stack([decode(image) for image in rows["image"].take(pa.array(kept)).to_pylist()])
    embeddings = peer_candidate("judge", str(model), contract, runtime.threads).open().embed(faces)[0]
    protocol = all_pairs(np.unique([subjects[i] for i in kept], return_inverse=True)[1], IMPOSTORS, seed=0)
    return protocol, pair_scores(protocol, embeddings, embeddings)


def mean_with_interval(protocol: Protocol, scores: Scores, genuine: bool) -> str:
    """Mean cosine with the 95 % interval of resampled people."""
    weights = subject_weights(protocol.subjects, REPLICATES, seed=0)
    kept = protocol.genuine == genuine
    left, right, values = protocol.subject_left[kept], protocol.subject_right[kept], scores[kept]
    means = np.array([np.average(values, weights=w[left] * (1 if genuine else w[right])) for w in weights])
    low, high = interval(means)
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def main(
    lfw: Annotated[Path, typer.Option(help="images and lists of LFW")],
    model: Annotated[Path, typer.Option(help="ONNX recogniser that judges")],
    out: Annotated[Path, typer.Option(help="folder for likeness.png")],
    contract: Annotated[str, typer.Option(help="input contract of the recogniser")] = "symmetric_rgb",
    people: Annotated[int, typer.Option(help="of the cohort")] = 200,
    seed: Annotated[int, typer.Option(help="of the cohort; one that nobody tuned on")] = 2026,
) -> None:
    """Print the figures and draw both histograms in one picture."""
    runtime, base = Runtime.from_environment(), load()
    ranges = base.ingest.cohort.ranges.model_copy(update={"mask_rate": 0.0, "yaw_sd": 10.0, "yaw_max": YAW})
    drawn = {"seed": seed, "identities": people + 1, "test_identities": people, "shots": EACH, "ranges": ranges}
    sources: dict[str, dict[str, object]] = {
        "cohort": {"source": "cohort", "cohort": base.ingest.cohort.model_copy(update=drawn)},
        "LFW": {"source": "lfw", "path": str(lfw)},
    }
    where = (ds.field("split") == "test") & (ds.field("q_yaw") < YAW) & (ds.field("q_yaw") > -YAW)
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, given), colour in zip(sources.items(), ("#0072b2", "#d55e00"), strict=True):
        params = base.model_copy(update={"ingest": base.ingest.model_copy(update={**given, "more": ()})})
        with TemporaryDirectory(dir=out) as folder:
            protocol, scores = compared(aligned(params, Path(folder), runtime), where, model, contract, runtime)
        for genuine, style in ((False, "-"), (True, "--")):
            values = scores[protocol.genuine == genuine]
            kind = "genuine" if genuine else "impostor"
            label = f"{name}, {kind}"
            axes.hist(values, 80, range=(-0.4, 1), density=True, histtype="step", color=colour, ls=style, label=label)
            print(f"{name} {kind}: mean {mean_with_interval(protocol, scores, genuine)}, sd {values.std():.3f}")
        print(f"{name}: {protocol.subjects} people, EER {100 * verification(scores, protocol.genuine)['eer']:.2f} %")
    axes.set_xlabel("cosine")
    axes.set_ylabel("density")
    axes.legend(frameon=False)
    figure.savefig(out / "likeness.png", dpi=150)


if __name__ == "__main__":
    typer.run(main)
