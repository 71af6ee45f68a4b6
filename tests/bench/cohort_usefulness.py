"""What the cohort is good for: small networks trained on it, on real photographs, or on both.

    python tests/bench/cohort_usefulness.py --lfw .scratch/lfw --out .scratch/usefulness

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
from stages.lib.metrics.bootstrap import bootstrap_verification, subject_weights
from stages.lib.metrics.protocol import Protocol, all_pairs, pair_scores
from stages.lib.metrics.verification import verification
from stages.lib.models.student import build_encoder
from stages.lib.models.torch_embedder import TorchEmbedder
from stages.lib.report.pool import Estimate, differences, pooled
from stages.lib.report.trial import Measurement
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.data import FaceSet, load_faces, steps_per_epoch
from stages.lib.training.loop import Recipe, train
from stages.lib.training.objectives import Objectives, Sizes
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


def tables(params: Params, name: str, folder: Path, runtime: Runtime) -> tuple[Table, Table]:
    """Ingest, align and degrade a source, or take up what an earlier run made."""
    base = folder / name
    if not (base / "variants" / "table.json").is_file():
        base.mkdir(parents=True, exist_ok=True)
        ingest.run(params.ingest, base / "faces", runtime)
        align.run(params.align, base / "faces", base / "aligned", runtime)
        synthesize.run(params.synthesize, base / "aligned", base / "variants", runtime)
    return Table.open(base / "aligned"), Table.open(base / "variants")


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


def real_tests(orl: tuple[Table, Table], lfw: tuple[Table, Table]) -> Iterator[Test]:
    """ORL clean; LFW clean, by pose, masked and at 16 pixels."""
    test = ds.field("split") == "test"
    for name, (aligned, _) in (("ORL", orl), ("LFW", lfw)):
        about, faces = aligned.read(["subject_id", "q_yaw"], test), pixels(aligned, test)
        protocol = all_pairs(np.unique(about["subject_id"].to_pylist(), return_inverse=True)[1], IMPOSTORS, seed=0)
        yield Test(name, faces, faces, protocol)
        if name == "LFW":
            yaw = np.abs(about["q_yaw"].to_numpy())
            turned = np.maximum(yaw[protocol.left], yaw[protocol.right])
            for bucket, (low, high) in YAW.items():
                yield Test(f"LFW {bucket}", faces, faces, some(protocol, (low <= turned) & (turned < high)))
    aligned, variants = lfw
    for operator, (severity,) in GRID.items():
        cell = test & (ds.field("d_operator") == operator) & (ds.field("d_severity") == severity)
        about = variants.read(["parent_id", "subject_id"], cell)
        parents = about["parent_id"].to_pylist()
        clean = aligned.read(["face_id", "image"], ds.field("face_id").isin(parents))
        image = dict(zip(clean["face_id"].to_pylist(), clean["image"].to_pylist(), strict=True))
        protocol = all_pairs(np.unique(about["subject_id"].to_pylist(), return_inverse=True)[1], IMPOSTORS, seed=0)
        yield Test(f"LFW {operator}", np.stack([decode(image[p]) for p in parents]), pixels(variants, cell), protocol)


def some(protocol: Protocol, kept: NDArray[np.bool_]) -> Protocol:
    columns = {
        name: getattr(protocol, name)[kept] for name in ("left", "right", "genuine", "subject_left", "subject_right")
    }
    return replace(protocol, **columns)


def joined(first: FaceSet, second: FaceSet) -> FaceSet:
    """Two sets of people as one; the images are copied once into memory."""
    offset = len(first.images)
    return FaceSet(
        np.concatenate([first.images, second.images]),
        np.concatenate([first.variants, second.variants + offset]),
        np.concatenate([first.labels, second.labels + len(first.subjects)]),
        first.subjects + second.subjects,
        np.empty((len(first) + len(second), 0), np.float32),
    )


def subset(faces: FaceSet, people: int, shots: int) -> FaceSet:
    """The first people and the first of their faces."""
    rows = np.concatenate([np.flatnonzero(faces.labels == person)[:shots] for person in range(people)])
    return FaceSet(
        faces.images, faces.variants[rows], faces.labels[rows], faces.subjects[:people], faces.templates[rows]
    )


def raw_pixels(faces: Faces) -> NDArray[np.float32]:
    """Grey 28x28 faces of zero mean and unit length: what no learning at all gives."""
    grey = faces.reshape(len(faces), 28, 4, 28, 4, 3).mean(axis=(2, 4, 5)).reshape(len(faces), -1).astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.linalg.norm(grey, axis=1, keepdims=True)


def network(faces: FaceSet | None, seed: int, steps: int, checkpoint: Path, runtime: Runtime) -> TorchEmbedder:
    """Train for a number of steps, or not at all; a checkpoint of an earlier run is taken up."""
    torch.set_num_threads(runtime.threads)
    torch.manual_seed(seed)
    encoder = build_encoder(BACKBONE, EMBEDDING, STRIDE)
    if faces is not None:
        epochs = max(1, round(steps / steps_per_epoch(len(faces), BATCH)))
        recipe = Recipe(epochs, BATCH, lr=3e-3, weight_decay=0.05, warmup=0.1, degraded=0.5, flip=0.5, seed=seed)
        objectives = Objectives({"identity": MARGIN}, Sizes(EMBEDDING, len(faces.subjects), 0))
        train(encoder, objectives, faces, recipe, lambda _: {}, checkpoint, runtime, checkpoint.stem)
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
    sets = {
        name: load_faces(*made[name], None, "train", out / made[name][0].content_id[:16], runtime)
        for name in ("cohort", "lfw")
    }
    tests = list(real_tests(made["orl"], made["lfw"]))
    arms: dict[str, FaceSet | None] = {
        "nothing": None,
        "cohort": sets["cohort"],
        "LFW": sets["lfw"],
        "LFW and cohort": joined(sets["lfw"], sets["cohort"]),
    }
    found = {"raw pixels": [examined(tests, raw_pixels)]}
    for arm, faces in arms.items():
        found[arm] = []
        for seed in SEEDS:
            checkpoint = out / "networks" / f"{arm.replace(' ', '-')}-{steps}-{seed}.pt"
            trained = network(faces, seed, steps, checkpoint, runtime)
            found[arm].append(examined(tests, partial(embed, trained)))
        report(out, table(found, tests))
    if curve_steps:
        report(
            out,
            table(found, tests) + "\n\n" + curve(sets["cohort"], identities, shots, curve_steps, tests, out, runtime),
        )


def curve(
    faces: FaceSet, identities: int, shots: int, steps: int, tests: Sequence[Test], out: Path, runtime: Runtime
) -> str:
    """EER against the number of people at all shots, and against shots of all people."""
    points = [(identities // part, shots) for part in (16, 8, 4, 2, 1)]
    points += [(identities, shots // part) for part in (8, 4, 2)]
    wanted = [test for test in tests if test.name in ("ORL", "LFW")]
    lines = ["| people | shots | " + " | ".join(t.name for t in wanted) + " |", "|---:" * (len(wanted) + 2) + "|"]
    for people, each in points:
        runs = []
        for seed in SEEDS:
            checkpoint = out / "networks" / f"curve-{people}-{each}-{steps}-{seed}.pt"
            trained = network(subset(faces, people, each), seed, steps, checkpoint, runtime)
            runs.append(examined(wanted, partial(embed, trained)))
        cells = [cell(pooled([run[test.name] for run in runs])["eer"]) for test in wanted]
        lines.append(f"| {people} | {each} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(out: Path, text: str) -> None:
    (out / "results.md").write_text(text + "\n")
    print(text, flush=True)


if __name__ == "__main__":
    typer.run(main)
