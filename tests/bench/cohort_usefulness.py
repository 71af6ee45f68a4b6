"""What the cohort is good for: small networks trained on it, on real photographs, or on both.

    python -m tests.bench.cohort_usefulness --lfw .scratch/lfw --out .scratch/usefulness

Every arm is trained with the margin loss alone (no teacher), for the same number of steps, and tested on people whom
none of them saw: the 40 of ORL and the 1,711 of LFW's View 1 test list. Tables, faces and finished networks are kept
under --out, so a killed run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.dataset as ds
import torch
import typer
from numpy.typing import NDArray

import stages as stages  # sets the thread policy before torch starts its own
from stages import align, ingest, synthesize
from stages.lib.codec import decode
from stages.lib.executor import run_jobs
from stages.lib.metrics.bootstrap import Estimate, bootstrap_verification, subject_weights
from stages.lib.metrics.protocol import Protocol, all_pairs, pair_scores
from stages.lib.metrics.verification import verification
from stages.lib.models.student import build_encoder
from stages.lib.models.torch_embedder import TorchEmbedder
from stages.lib.objectives import Objectives, Task
from stages.lib.report.pool import differences, pooled
from stages.lib.report.trial import Measurement
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.batches import Recipe
from stages.lib.training.data import FaceSet, load_faces, steps_per_epoch
from stages.lib.training.loop import train
from stages.params import Params, load

SEEDS = (1, 2, 3)
BACKBONE, EMBEDDING, STRIDE = "test_byobnet", 128, 16
MARGIN = {"weight": 1.0, "head": "elastic_arc", "scale": 32.0, "margin": 0.3, "sigma": 0.05}
GRID = {"mask": (2,), "low_resolution": (3,)}  # severity 3 is 16 pixels
YAW = {"|yaw| under 10": (0.0, 10.0), "|yaw| 10 to 25": (10.0, 25.0), "|yaw| over 25": (25.0, 91.0)}
BATCH, REPLICATES, IMPOSTORS = 64, 200, 200_000
Faces = NDArray[np.uint8]


@dataclass(frozen=True)
class Test:
    """One comparison that every network makes: templates and probes are rows of the same faces."""

    name: str
    templates: Faces
    probes: Faces
    protocol: Protocol

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        return subject_weights(self.protocol.subjects, REPLICATES, seed=0)

    def measure(self, templates: NDArray[np.float32], probes: NDArray[np.float32]) -> Measurement:
        scores = pair_scores(self.protocol, templates, probes)
        values = {"eer": verification(scores, self.protocol.genuine, fmr_targets=())["eer"]}
        replicates = bootstrap_verification(scores, self.protocol, self.weights, ())
        return Measurement(values, {"eer": replicates["eer"]}, scores[:0])


@dataclass(frozen=True)
class Arm:
    """What networks are trained on, once per seed.

    Attributes:
        name: in the table.
        sets: names of tables; none: not trained at all.
        steps: of `BATCH` faces.
        people: the first of them; 0: all.
        shots: the first of each of them; 0: all.
    """

    name: str
    sets: tuple[str, ...]
    steps: int
    people: int = 0
    shots: int = 0

    def checkpoint(self, out: Path, seed: int) -> Path:
        return out / "networks" / f"{self.name.replace(' ', '-')}-{self.steps}-{seed}.pt"


Tables = tuple[Table, Table, Table]
"""Clean faces, their random variants, and the grid."""


def tables(params: Params, name: str, folder: Path, runtime: Runtime) -> Tables:
    """Ingest, align and degrade a source, or take up what an earlier run made."""
    base = folder / name
    if not all((base / part / "table.json").is_file() for part in ("variants", "grid")):
        base.mkdir(parents=True, exist_ok=True)
        ingest.run(params.ingest, base / "faces", runtime)
        align.run(params.align, base / "faces", base / "aligned", runtime)
        synthesize.run("grid", params.synthesize, base / "aligned", base / "grid", runtime)
        synthesize.run("variants", params.synthesize, base / "aligned", base / "variants", runtime)
    return Table.open(base / "aligned"), Table.open(base / "variants"), Table.open(base / "grid")


def source(base: Params, kind: str, path: Path | None, identities: int, shots: int) -> Params:
    """Params of one source alone: all cohort people are trained on, LFW by its lists, ORL is only tested on."""
    cohort = base.ingest.cohort.model_copy(
        update={"identities": identities + 1, "test_identities": 1, "shots": shots, "seed": 7}
    )
    given = {"source": kind, "path": str(path or "data/source"), "more": (), "cohort": cohort, "val_fraction": 0.0}
    test = {"test_fraction": 1.0 if kind == "orl" else 0.0}
    drawn = {"grid": GRID, "variants": 2, "grid_faces": 1000}
    return base.model_copy(
        update={
            "ingest": base.ingest.model_copy(update=given | test),
            "synthesize": base.synthesize.model_copy(update=drawn),
        }
    )


def pixels(table: Table, where: ds.Expression) -> Faces:
    rows = [decode(image) for batch in table.scan(["image"], where) for image in batch["image"].to_pylist()]
    return np.stack(rows)


def real_tests(orl: Tables, lfw: Tables) -> Iterator[Test]:
    """ORL clean; LFW clean, by pose, masked and at 16 pixels."""
    test = ds.field("split") == "test"
    for name, (aligned, _, _) in (("ORL", orl), ("LFW", lfw)):
        about, faces = aligned.read(["subject_id", "q_yaw"], test), pixels(aligned, test)
        protocol = all_pairs(np.unique(about["subject_id"].to_pylist(), return_inverse=True)[1], IMPOSTORS, seed=0)
        yield Test(name, faces, faces, protocol)
        if name == "LFW":
            yaw = np.abs(about["q_yaw"].to_numpy())
            turned = np.maximum(yaw[protocol.left], yaw[protocol.right])
            for bucket, (low, high) in YAW.items():
                yield Test(f"LFW {bucket}", faces, faces, some(protocol, (low <= turned) & (turned < high)))
    aligned, _, grid = lfw
    for operator, (severity,) in GRID.items():
        cell = test & (ds.field("d_operator") == operator) & (ds.field("d_severity") == severity)
        about = grid.read(["parent_id", "subject_id"], cell)
        parents = about["parent_id"].to_pylist()
        clean = aligned.read(["face_id", "image"], ds.field("face_id").isin(parents))
        image = dict(zip(clean["face_id"].to_pylist(), clean["image"].to_pylist(), strict=True))
        protocol = all_pairs(np.unique(about["subject_id"].to_pylist(), return_inverse=True)[1], IMPOSTORS, seed=0)
        yield Test(f"LFW {operator}", np.stack([decode(image[p]) for p in parents]), pixels(grid, cell), protocol)


def some(protocol: Protocol, kept: NDArray[np.bool_]) -> Protocol:
    columns = {
        name: getattr(protocol, name)[kept] for name in ("left", "right", "genuine", "subject_left", "subject_right")
    }
    return replace(protocol, **columns)


def joined(first: FaceSet, second: FaceSet) -> FaceSet:
    """Two sets of people as one: all clean faces, then all variants, for a clean face's row is its number."""
    clean, further = len(first), len(second)
    return FaceSet(
        np.concatenate([first.images[:clean], second.images[:further], first.images[clean:], second.images[further:]]),
        np.concatenate([first.variants + further, second.variants + len(first.images)]),
        np.concatenate([first.labels, second.labels + len(first.subjects)]),
        first.subjects + second.subjects,
        np.empty((clean + further, 0), np.float32),
    )


def subset(faces: FaceSet, people: int, shots: int) -> FaceSet:
    """The first people and the first of their faces; the images are copied, for a clean face's row is its number."""
    rows = np.concatenate([np.flatnonzero(faces.labels == person)[:shots] for person in range(people)])
    drawn = faces.variants[rows]
    return FaceSet(
        np.concatenate([faces.images[rows], faces.images[drawn.ravel()]]),
        len(rows) + np.arange(drawn.size).reshape(drawn.shape),
        faces.labels[rows],
        faces.subjects[:people],
        faces.templates[rows],
    )


def raw_pixels(faces: Faces) -> NDArray[np.float32]:
    """Grey 28x28 faces of zero mean and unit length: what no learning at all gives."""
    grey = faces.reshape(len(faces), 28, 4, 28, 4, 3).mean(axis=(2, 4, 5)).reshape(len(faces), -1).astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.linalg.norm(grey, axis=1, keepdims=True)


def faces_of(arm: Arm, made: Mapping[str, Tables], out: Path, runtime: Runtime) -> FaceSet:
    sets = [
        load_faces(*made[name][:2], None, "train", out / made[name][0].content_id[:16], runtime) for name in arm.sets
    ]
    faces = sets[0] if len(sets) == 1 else joined(*sets)
    return subset(faces, arm.people, arm.shots) if arm.people else faces


def fit(arm: Arm, seed: int, made: Mapping[str, Tables], out: Path, runtime: Runtime) -> None:
    """Train one network; a checkpoint of an earlier run is taken up, a finished one ends at once."""
    faces = faces_of(arm, made, out, runtime)
    torch.set_num_threads(runtime.threads)
    torch.manual_seed(seed)
    encoder = build_encoder(BACKBONE, EMBEDDING, STRIDE)
    epochs = max(1, round(arm.steps / steps_per_epoch(len(faces), BATCH)))
    recipe = Recipe(epochs, BATCH, lr=3e-3, weight_decay=0.05, warmup=0.1, degraded=0.5, flip=0.5, seed=seed)
    task = Task(encoder, faces, steps_per_epoch(len(faces), BATCH), seed)
    objectives = Objectives({"identity": MARGIN}, task)
    checkpoint = arm.checkpoint(out, seed)
    train(encoder, objectives, faces, recipe, lambda _: {}, checkpoint, runtime, checkpoint.stem)


def fitted(arm: Arm, seed: int, out: Path) -> TorchEmbedder:
    """The network that `fit` left, or an untrained one."""
    torch.manual_seed(seed)
    encoder = build_encoder(BACKBONE, EMBEDDING, STRIDE)
    if arm.sets:
        encoder.load_state_dict(torch.load(arm.checkpoint(out, seed), weights_only=True)["encoder"])
    return TorchEmbedder(encoder.eval())


def embed(model: TorchEmbedder, faces: Faces) -> NDArray[np.float32]:
    return model.embed(faces)[0]


def examined(tests: Sequence[Test], embed: Callable[[Faces], NDArray[np.float32]]) -> dict[str, Measurement]:
    """Every test; faces that several tests share are embedded once."""
    known: dict[int, NDArray[np.float32]] = {}

    def once(faces: Faces) -> NDArray[np.float32]:
        if id(faces) not in known:
            known[id(faces)] = embed(faces)
        return known[id(faces)]

    return {test.name: test.measure(once(test.templates), once(test.probes)) for test in tests}


def table(found: Mapping[str, Sequence[dict[str, Measurement]]], tests: Sequence[Test]) -> str:
    """EER in percent with 95 % intervals, an arm a row; below, the cohort's worth as paired differences."""
    lines = ["| trained on | " + " | ".join(test.name for test in tests) + " |", "|---" * (len(tests) + 1) + "|"]
    for arm, runs in found.items():
        cells = [cell(pooled([run[test.name] for run in runs])["eer"]) for test in tests]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    for arm, control in (("cohort", "nothing"), ("LFW and cohort", "LFW")):
        if {arm, control} <= set(found):
            pairs = [([r[t.name] for r in found[arm]], [r[t.name] for r in found[control]]) for t in tests]
            cells = [cell(differences(*pair)["eer"].estimate, "+") for pair in pairs]
            lines.append(f"| *{arm} minus {control}* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (f"{100 * v:{sign}.1f}" for v in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def main(
    lfw: Annotated[Path, typer.Option(help="images, View 1 lists and landmarks of LFW")],
    out: Annotated[Path, typer.Option(help="folder for tables, networks and results")],
    identities: Annotated[int, typer.Option(help="people of the cohort")] = 400,
    shots: Annotated[int, typer.Option(help="pictures of each")] = 16,
    steps: Annotated[int, typer.Option(help="of every arm")] = 2000,
    curve_steps: Annotated[int, typer.Option(help="of every point of the curve; 0 leaves it out")] = 1000,
) -> None:
    """Train all arms over three seeds, test them, and write results.md under --out."""
    runtime, base = Runtime.from_environment(), load()
    made = {
        "cohort": tables(source(base, "cohort", None, identities, shots), f"cohort-{identities}-{shots}", out, runtime),
        "lfw": tables(source(base, "lfw", lfw, 1, 1), "lfw", out, runtime),
        "orl": tables(source(base, "orl", None, 1, 1), "orl", out, runtime),
    }
    arms = [
        Arm("nothing", (), steps),
        Arm("cohort", ("cohort",), steps),
        Arm("LFW", ("lfw",), steps),
        Arm("LFW and cohort", ("lfw", "cohort"), steps),
    ]
    curve = [Arm(f"curve-{n}-{each}", ("cohort",), curve_steps, n, each) for n, each in points(identities, shots)]
    fit_all(arms, made, out, runtime)
    tests = list(real_tests(made["orl"], made["lfw"]))
    found = {"raw pixels": [examined(tests, raw_pixels)]}
    found |= {arm.name: [examined(tests, partial(embed, fitted(arm, s, out))) for s in SEEDS] for arm in arms}
    report(out, table(found, tests))
    if curve_steps:
        fit_all(curve, made, out, runtime)
        wanted = [test for test in tests if test.name in ("ORL", "LFW")]
        runs = {a: [examined(wanted, partial(embed, fitted(a, s, out))) for s in SEEDS] for a in curve}
        report(out, table(found, tests) + "\n\n" + saturation(runs, wanted))


def fit_all(arms: Sequence[Arm], made: Mapping[str, Tables], out: Path, runtime: Runtime) -> None:
    """Every seed of every arm; networks as small as these learn faster side by side than on several threads."""
    alone = replace(runtime, threads=1)
    jobs = [partial(fit, arm, seed, made, out, alone) for arm in arms if arm.sets for seed in SEEDS]
    for _ in run_jobs(jobs, runtime.threads if runtime.device == "cpu" else 1):
        pass


def points(identities: int, shots: int) -> list[tuple[int, int]]:
    """All shots of ever more people, and ever more shots of all people."""
    return [(max(1, identities // part), shots) for part in (16, 8, 4, 2, 1)] + [
        (identities, max(1, shots // part)) for part in (8, 4, 2)
    ]


def saturation(found: Mapping[Arm, Sequence[dict[str, Measurement]]], tests: Sequence[Test]) -> str:
    """EER against the number of people and of shots."""
    lines = ["| people | shots | " + " | ".join(t.name for t in tests) + " |", "|---:" * (len(tests) + 2) + "|"]
    for arm, runs in found.items():
        cells = [cell(pooled([run[test.name] for run in runs])["eer"]) for test in tests]
        lines.append(f"| {arm.people} | {arm.shots} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(out: Path, text: str) -> None:
    (out / "results.md").write_text(text + "\n")
    print(text, flush=True)


if __name__ == "__main__":
    typer.run(main)
