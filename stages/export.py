"""export: a student's seeds -> ONNX with preprocessing and contract inside, held to the torch original."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import torch

from stages.lib.codec import Pixels, decode
from stages.lib.deploy.golden import write_golden
from stages.lib.deploy.metadata import restamp
from stages.lib.deploy.onnx_export import export_encoder
from stages.lib.deploy.parity import check_parity
from stages.lib.deploy.session import FaceModel
from stages.lib.deploy.threshold import MIN_FALSE_MATCHES, compare_people, impostors, thresholds
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.folders import new_folder
from stages.lib.metrics.protocol import Protocol
from stages.lib.metrics.verification import target_name
from stages.lib.models.checkpoint import ModelSpec, load_model, read_spec
from stages.lib.models.contract import SERVED_INPUT, Contract, ScoreContract
from stages.lib.runtime import Runtime
from stages.lib.table import SHOWABLE, Table
from stages.params import Export

BATCH = 64
GOLDEN = 8
UNSEEN = ds.field("split") == "val"  # test people must not choose what ships, thresholds included
LEARNT = ds.field("split").isin(["train", "val"])  # whose licences the weights are under


def run(params: Export, name: str, source: Path, aligned: Path, destination: Path, runtime: Runtime) -> str:
    """Export every seed, then publish them with the one that ships: the best on validation people.

    The folder holds `model.onnx` (what ships), `model.json` (its contract), `golden.npz`, and under
    `replicas/` every seed's export, for evaluation. Each file carries its own thresholds, read from clean
    faces of the validation people.

    Raises:
        ConfigError: the student is not trained.
        GateFailed: an export differs from its encoder, or is larger than may ship.
    """
    table = Table.open(aligned)
    faces = _faces(table, params.parity_faces)
    seeds = sorted(source.glob("seed-*"), key=lambda folder: int(folder.name.removeprefix("seed-")))
    if not seeds:
        raise ConfigError(f"{source} holds no trained seed; run `python -m stages distill {name}`")
    pairs = compare_people(table.read(["subject_id"], UNSEEN)["subject_id"].to_pylist())
    parity = {}
    with new_folder(destination) as building:
        for seed in runtime.progress(seeds, f"export {name}", "seeds", total=len(seeds)):
            path = building / "replicas" / f"{seed.name}.onnx"
            parity[seed.name] = _export(params, name, seed, faces, table, path)
            _add_thresholds(path, table, pairs, params.fmr_targets, runtime.threads)
        best = min(seeds, key=lambda seed: read_spec(seed).metrics["val_eer"]).name
        shutil.copyfile(building / "replicas" / f"{best}.onnx", building / "model.onnx")
        model = FaceModel(building / "model.onnx", runtime.threads)
        golden = _golden_faces(table)
        write_golden(building / "golden.npz", golden, *model.embed(golden))
        size = (building / "model.onnx").stat().st_size
        about = {"contract": model.contract.model_dump(), "shipped": best, "bytes": size, "parity": parity}
        (building / "model.json").write_text(json.dumps(about, indent=2) + "\n")
    _name_unresolved(params.fmr_targets, model.contract, pairs)
    worst = min(figures["min_cosine"] for figures in parity.values())
    return f"export {name}: {best} ships, {size / 2**20:.2f} MB, worst cosine to torch {worst:.6f}"


def _export(params: Export, name: str, seed: Path, faces: Pixels, table: Table, path: Path) -> dict[str, float]:
    encoder, spec = load_model(seed)
    export_encoder(encoder, path, _contract(name, seed.name, spec, table))
    size = path.stat().st_size / 2**20
    if size > params.max_mb:
        raise GateFailed(f"{seed} exports to {size:.2f} MB, more than export.max_mb {params.max_mb}")
    return check_parity(encoder, path, faces, params.min_cosine).figures()


def _add_thresholds(path: Path, table: Table, pairs: Protocol, fmr_targets: tuple[float, ...], threads: int) -> None:
    model = FaceModel(path, threads)
    batches = (batch["image"].to_pylist() for batch in table.scan(["image"], UNSEEN, BATCH))
    parts = [model.embed(np.stack([decode(image) for image in images]))[0] for images in batches]
    found = thresholds(np.concatenate([np.empty((0, model.dim), np.float32), *parts]), pairs, fmr_targets)
    restamp(path, model.contract.model_copy(update={"thresholds": found}))


def _name_unresolved(fmr_targets: tuple[float, ...], contract: Contract, pairs: Protocol) -> None:
    for target in fmr_targets:
        if target_name(target) not in contract.thresholds:
            print(
                f"export {contract.name}: no threshold at FMR {target_name(target)}: of {impostors(pairs)} pairs of "
                f"{pairs.subjects} validation people {target * impostors(pairs):.3g} match falsely there, "
                f"{MIN_FALSE_MATCHES} are needed; raise ingest.val_fraction"
            )


def _contract(name: str, seed: str, spec: ModelSpec, table: Table) -> Contract:
    licences = sorted(set(table.read(["licence"], LEARNT)["licence"].to_pylist()))
    return Contract(
        name=name,
        version=f"{seed}-{spec.weights_sha256[:12]}",
        input=SERVED_INPUT,
        score=ScoreContract(dim=spec.architecture.embedding),
        licence=f"of the faces: {', '.join(licences)}; the teacher's licence holds as well",
        hashes={**spec.provenance, "weights": spec.weights_sha256, "aligned": table.content_id},
    )


def _faces(table: Table, count: int) -> Pixels:
    return np.stack(list(islice(_images(table), count)))


def _images(table: Table, where: ds.Expression | None = None) -> Iterator[Pixels]:
    return (decode(image.as_py()) for batch in table.scan(["image"], where, BATCH) for image in batch["image"])


def _golden_faces(table: Table) -> Pixels:
    """Faces to check a model by wherever it lands: real ones only where their licence lets them travel.

    Elsewhere, smooth seeded noise stands in: it shows a broken runtime as well as a face does.
    """
    faces = list(islice(_images(table, LEARNT & ds.field("source").isin(SHOWABLE)), GOLDEN))
    if faces:
        return np.stack(faces)
    coarse = torch.rand(GOLDEN, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=112, mode="bicubic").clamp(0, 1)
    pixels: Pixels = (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return pixels
