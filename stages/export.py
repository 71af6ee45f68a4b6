"""export: a student's seeds -> ONNX with preprocessing and contract inside, held to the torch original."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds

from stages.lib.codec import Pixels, decode
from stages.lib.deploy.ask import ask
from stages.lib.deploy.golden import stand_ins, write_golden
from stages.lib.deploy.metadata import restamp
from stages.lib.deploy.onnx_export import export_encoder, served_contract
from stages.lib.deploy.parity import check_int8, check_parity
from stages.lib.deploy.quantize import quantize
from stages.lib.deploy.session import SHIPPED, SHIPPED_INT8, FaceModel
from stages.lib.deploy.threshold import compare_people, thresholds, unresolved
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.folders import new_folder
from stages.lib.metrics.protocol import Protocol
from stages.lib.models.checkpoint import ModelSpec, load_model, read_spec
from stages.lib.models.contract import Contract
from stages.lib.models.student import FaceEncoder
from stages.lib.runtime import Runtime
from stages.lib.table import SHOWABLE, Table
from stages.params import Export, Int8

BATCH = 64
GOLDEN = 8
TRAIN = ds.field("split") == "train"  # whose faces say how large a value the integers must hold
UNSEEN = ds.field("split") == "val"  # test people must not choose what ships, thresholds included
LEARNT = ds.field("split").isin(["train", "val"])  # whose licences the weights are under


def run(params: Export, name: str, source: Path, aligned: Path, destination: Path, runtime: Runtime) -> str:
    """Export every seed, then publish them with the one that ships: the best on validation people.

    The folder holds `model.onnx` and its int8 copy `model.int8.onnx` (what ships), golden vectors of each,
    `model.json` (contracts and figures), and under `replicas/` every seed's export, for evaluation. Each file
    carries its own thresholds, read from clean faces of the validation people.

    Raises:
        ConfigError: the student is not trained.
        GateFailed: an export differs from its encoder, int8 wrecks it, or a file is larger than may ship.
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
        model = building / SHIPPED
        shutil.copyfile(building / "replicas" / f"{best}.onnx", model)
        about = {**_describe(model), "shipped": best, "parity": parity}
        if params.int8 is not None:
            figures = _quantize(params.int8, model, params.parity_faces, table)
            _add_thresholds(model.with_name(SHIPPED_INT8), table, pairs, params.fmr_targets, runtime.threads)
            about["int8"] = {**_describe(model.with_name(SHIPPED_INT8)), "parity": figures}
        golden = _golden_faces(table)
        for file in building.glob("model*.onnx"):  # int8 has vectors of its own: it rounds
            vectors = file.with_name(file.name.replace("model", "golden")).with_suffix(".npz")
            write_golden(vectors, golden, FaceModel(file, runtime.threads).inspect(golden))
        (building / "model.json").write_text(json.dumps(about, indent=2) + "\n")
    for why in unresolved(FaceModel(destination / SHIPPED).contract.thresholds, pairs, params.fmr_targets):
        print(f"export {name}: {why}; raise ingest.val_fraction")
    return _summary(name, about)


def _export(params: Export, name: str, seed: Path, faces: Pixels, table: Table, path: Path) -> dict[str, float]:
    encoder, spec = load_model(seed)
    export_encoder(encoder, path, _contract(name, seed.name, encoder, spec, table))
    size = path.stat().st_size / 2**20
    if size > params.max_mb:
        raise GateFailed(f"{seed} exports to {size:.2f} MB, more than export.max_mb {params.max_mb}")
    return check_parity(encoder, path, faces, params.min_cosine).figures()


def _add_thresholds(path: Path, table: Table, pairs: Protocol, fmr_targets: tuple[float, ...], threads: int) -> None:
    model = FaceModel(path, threads)
    parts = [said.embeddings for _, (said,) in ask(table, ["face_id"], UNSEEN, [model])]
    found = thresholds(np.concatenate([np.empty((0, model.dim), np.float32), *parts]), pairs, fmr_targets)
    restamp(path, model.contract.model_copy(update={"thresholds": found}))


def _quantize(params: Int8, model: Path, parity_faces: int, table: Table) -> dict[str, float]:
    path = model.with_name(SHIPPED_INT8)
    quantize(model, path, _faces(table, params.calibration_faces, TRAIN))
    size = path.stat().st_size / 2**20
    if size > params.max_mb:
        raise GateFailed(f"{path.name} has {size:.2f} MB, more than export.int8.max_mb {params.max_mb}")
    try:
        return check_int8(model, path, _faces(table, parity_faces, UNSEEN), params.min_cosine)
    except GateFailed as error:
        raise GateFailed(
            f"{error}. Integers do not hold this student: train it longer or on a backbone with ReLU, raise "
            "export.int8.calibration_faces, or leave export.int8 empty to ship float32 alone"
        ) from error


def _describe(path: Path) -> dict[str, Any]:
    return {"contract": FaceModel(path).contract.model_dump(), "bytes": path.stat().st_size}


def _summary(name: str, about: Mapping[str, Any]) -> str:
    worst = min(figures["min_cosine"] for figures in about["parity"].values())
    text = (
        f"export {name}: {about['shipped']} ships, {about['bytes'] / 2**20:.2f} MB, worst cosine to torch {worst:.6f}"
    )
    if small := about.get("int8"):
        text += f"; int8 {small['bytes'] / 2**20:.2f} MB, worst cosine {small['parity']['min_cosine']:.3f}"
    return text


def _contract(name: str, seed: str, encoder: FaceEncoder, spec: ModelSpec, table: Table) -> Contract:
    licences = sorted(set(table.read(["licence"], LEARNT)["licence"].to_pylist()))
    return served_contract(
        encoder,
        name,
        version=f"{seed}-{spec.weights_sha256[:12]}",
        licence=f"of the faces: {', '.join(licences)}" + (spec.licence and f"; of the teacher: {spec.licence}"),
        objectives=spec.objectives,
        hashes={**spec.provenance, "weights": spec.weights_sha256, "aligned": table.content_id},
    )


def _faces(table: Table, count: int, where: ds.Expression | None = None) -> Pixels:
    return np.stack(list(islice(_images(table, where), count)))


def _images(table: Table, where: ds.Expression | None = None) -> Iterator[Pixels]:
    return (decode(image.as_py()) for batch in table.scan(["image"], where, BATCH) for image in batch["image"])


def _golden_faces(table: Table) -> Pixels:
    """Faces to check a model by wherever it lands: real ones only where their licence lets them travel."""
    faces = list(islice(_images(table, LEARNT & ds.field("source").isin(SHOWABLE)), GOLDEN))
    return np.stack(faces) if faces else stand_ins(GOLDEN)
