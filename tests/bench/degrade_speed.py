"""Degradations per second: ours, torchvision's and albumentations', the same list over the same faces.

    uv run --with albumentations python -m tests.bench.degrade_speed --aligned data/aligned

Every face gets parameters of its own: that is what training needs. Ours takes the faces as one batch; the others draw
once a call and are therefore called face by face. Their transforms are the nearest that they have, from the same
ranges where they can be said; `NOTES` names what is missing. A batch goes in and a batch comes out, all in 8 bits.
"""

from __future__ import annotations

import itertools
import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

import stages as stages  # sets the thread policy before torch starts its own

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks for its newest version when it is imported

import torch
from torch import Tensor
from torchvision.transforms import v2

from stages.lib.codec import decode
from stages.lib.degrade import OPERATORS, training_variant
from stages.lib.degrade.low_resolution import SIZES
from stages.lib.degrade.operator import SIDE
from stages.lib.errors import ConfigError
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.params import load

OURS, TORCHVISION, ALBUMENTATIONS = "ours", "torchvision", "albumentations"
BATCHED = "torchvision, one draw a batch"
CHAIN = "random chain"
SECONDS = 0.5  # of one measurement, at least
NOTES = """\
ours: draws keyed by face and recorded, labels and landmarks honoured; low resolution with five kernels each way.
torchvision: brightness and contrast without a colour cast; three kernels.
albumentations: brightness, contrast and RGB shift; area down and linear up; noise that does not grow with the light.
Both: a rectangle of noise for the mask and other occlusions, which ours draws, tinted and lit; an affine map for wrong
landmarks. What a library does not have is not in its chain."""

Run = Callable[[], object]
Rates = dict[tuple[str, str], list[float]]  # (operator, library): faces/s of each round
barrier: Barrier


@dataclass(frozen=True)
class Faces:
    """Aligned faces on the device: images (N, 3, 112, 112) uint8 RGB, N ids, landmarks (N, 5, 2) in pixels."""

    images: Tensor
    ids: list[str]
    landmarks: NDArray[np.float32]


def read_faces(aligned: Path, count: int, device: str) -> Faces:
    """The first faces of a table.

    Raises:
        ConfigError: no such table, or it holds fewer.
    """
    columns = ["face_id", "image", "landmarks"]
    rows = (row for batch in Table.open(aligned).scan(columns) for row in batch.to_pylist())
    taken = list(itertools.islice(rows, count))
    if len(taken) < count:
        raise ConfigError(f"{aligned} holds {len(taken)} faces: ask for no more with --faces")
    images = torch.from_numpy(np.stack([decode(row["image"]) for row in taken])).permute(0, 3, 1, 2).contiguous()
    landmarks = np.array([row["landmarks"] for row in taken], np.float32).reshape(-1, 5, 2)
    return Faces(images.to(device), [row["face_id"] for row in taken], landmarks)


def machine(device: str) -> str:
    """Name of the processor, or of the GPU and its host's, with the version of torch."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    gpu = f"{torch.cuda.get_device_name(device)}, host " if device != "cpu" else ""
    return f"{gpu}{cpu}, torch {torch.__version__}"


def ours(faces: Faces, device: str, probabilities: Mapping[str, float]) -> dict[str, Run]:
    variant = itertools.count()  # new draws at every call, as in training

    def run(operators: Mapping[str, float]) -> Run:
        return lambda: training_variant(faces.images, faces.ids, faces.landmarks, operators, 0, next(variant), device)

    return {name: run({name: 1.0}) for name in OPERATORS} | {CHAIN: run(probabilities)}


def low_resolution(images: Tensor) -> Tensor:
    kernels = (v2.InterpolationMode.NEAREST, v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC)
    small = [random.choice(SIZES)] * 2
    down = v2.functional.resize(images, small, interpolation=random.choice(kernels))
    up: Tensor = v2.functional.resize(down, [SIDE, SIDE], interpolation=random.choice(kernels))
    return up


def noise(images: Tensor) -> Tensor:
    noisy: Tensor = v2.functional.gaussian_noise(images, sigma=random.uniform(0, 25 / 255))
    return noisy


def jpeg(images: Tensor) -> Tensor:
    coded: Tensor = v2.functional.jpeg(images.cpu(), quality=random.randint(8, 90))
    return coded.to(images.device)


def torchvision_transforms() -> dict[str, Callable[[Tensor], Tensor]]:
    def moved(degrees: float, shift: float) -> v2.Transform:
        bilinear = v2.InterpolationMode.BILINEAR
        return v2.RandomAffine(degrees, translate=(shift, shift), scale=(0.9, 1.1), interpolation=bilinear)

    return {
        "mask": v2.RandomErasing(p=1, scale=(0.25, 0.45), ratio=(0.5, 1.0), value="random"),
        "occlusion": v2.RandomErasing(p=1, scale=(0.05, 0.3), ratio=(0.3, 3.3), value="random"),
        "exposure": v2.ColorJitter(brightness=(0.25, 4.0), contrast=(0.8, 1.25)),
        "blur": v2.GaussianBlur(27, sigma=(0.5, 4.5)),
        "low_resolution": low_resolution,
        "noise": noise,
        "jpeg": jpeg,
        "misalignment": moved(6, 0.05),
        "wrong_landmarker": moved(6, 0.05),
        "box_only": moved(15, 0.1),
    }


def torchvision(faces: Faces, probabilities: Mapping[str, float], batched: bool) -> dict[str, Run]:
    single = torchvision_transforms()
    steps = [(probabilities[name], single[name]) for name in OPERATORS if name in single]
    chain = v2.Compose([v2.RandomApply([v2.Lambda(act)], p=chance) for chance, act in steps])

    def run(act: Callable[[Tensor], Tensor]) -> Run:
        if batched:
            return lambda: act(faces.images)
        return lambda: torch.stack([act(face) for face in faces.images])

    return {name: run(act) for name, act in {**single, CHAIN: chain}.items()}


def albumentations_transforms(p: Mapping[str, float]) -> dict[str, Any]:
    import albumentations as A

    def hole(name: str, height: tuple[float, float], width: tuple[float, float]) -> Any:
        return A.CoarseDropout((1, 1), height, width, fill="random_uniform", p=p[name])

    def moved(name: str, degrees: float, shift: int) -> Any:
        where = {"translate_px": (-shift, shift), "rotate": (-degrees, degrees), "border_mode": cv2.BORDER_REPLICATE}
        return A.Affine(scale=(0.9, 1.1), p=p[name], **where)

    kernels = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
    light = A.RandomBrightnessContrast(brightness_limit=(-0.5, 0.5), contrast_limit=(-0.2, 0.25), p=1)
    return {
        "mask": hole("mask", (0.3, 0.5), (0.6, 0.9)),
        "occlusion": hole("occlusion", (0.2, 0.5), (0.2, 0.5)),
        "exposure": A.Sequential([light, A.RGBShift(p=1)], p=p["exposure"]),
        "blur": A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 4.5), p=p["blur"]),
        "motion_blur": A.MotionBlur(blur_limit=(3, 19), p=p["motion_blur"]),
        "low_resolution": A.Downscale((SIZES[0] / SIDE, SIZES[-1] / SIDE), kernels, p=p["low_resolution"]),
        "noise": A.GaussNoise(std_range=(0, 25 / 255), p=p["noise"]),
        "jpeg": A.ImageCompression(quality_range=(8, 90), p=p["jpeg"]),
        "misalignment": moved("misalignment", 6, 5),
        "wrong_landmarker": moved("wrong_landmarker", 6, 5),
        "box_only": moved("box_only", 15, 11),
    }


def albumentations(faces: Faces, probabilities: Mapping[str, float]) -> dict[str, Run]:
    import albumentations as A

    images = np.ascontiguousarray(faces.images.permute(0, 2, 3, 1).numpy())
    single = albumentations_transforms(dict.fromkeys(OPERATORS, 1.0))
    drawn = albumentations_transforms(probabilities)
    chain = A.Compose([drawn[name] for name in OPERATORS if name in drawn])

    def run(act: Any) -> Run:
        return lambda: np.stack([act(image=face)["image"] for face in images])

    return {name: run(act) for name, act in {**single, CHAIN: chain}.items()}


def rate(run: Run, faces: int, device: str) -> float:
    """Faces per second of a call that is repeated for `SECONDS`."""
    started, done = time.perf_counter(), 0
    while (took := time.perf_counter() - started) < SECONDS:
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        done += faces
    return done / took


def measured(aligned: Path, count: int, device: str, rounds: int) -> Rates:
    """Every operator of every library on one thread, the libraries in turn so that a busy machine slows all alike."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    faces, wanted = read_faces(aligned, count, device), load().synthesize.probabilities
    probabilities = {name: wanted.get(name, 0.0) for name in OPERATORS}
    runs = {
        OURS: ours(faces, device, probabilities),
        TORCHVISION: torchvision(faces, probabilities, batched=False),
        BATCHED: torchvision(faces, probabilities, batched=True),
    }
    if device == "cpu" and find_spec(ALBUMENTATIONS):
        runs[ALBUMENTATIONS] = albumentations(faces, probabilities)
    found: Rates = {}
    for operator in (*OPERATORS, CHAIN):
        present = {library: acts[operator] for library, acts in runs.items() if operator in acts}
        for run in present.values():
            run()  # loads and fills caches
        for _, (library, run) in itertools.product(range(rounds), present.items()):
            barrier.wait()
            found.setdefault((operator, library), []).append(rate(run, count, device))
    return found


def share(common: Barrier) -> None:
    """Give a process what it starts every measurement by, at the same moment as the others."""
    global barrier
    barrier = common


def together(processes: int, job: Callable[[], Rates]) -> dict[tuple[str, str], float]:
    """Faces per second of all processes at once, of the best round."""
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=share, initargs=(context.Barrier(processes),)) as pool:
        each = [future.result() for future in [pool.submit(job) for _ in range(processes)]]
    return {key: max(map(sum, zip(*(rates[key] for rates in each), strict=True))) for key in each[0]}


def table(found: Mapping[tuple[str, str], float]) -> str:
    """An operator a row; how many times as fast ours is as the others."""
    peers = [library for library in (TORCHVISION, ALBUMENTATIONS) if (CHAIN, library) in found]
    head = ["operator", OURS, *peers, *(f"{OURS} / {peer}" for peer in peers), BATCHED]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for operator in (*OPERATORS, CHAIN):
        rates = [found.get((operator, library)) for library in (*peers, BATCHED)]
        own = found[operator, OURS]
        ratios = [f"{own / peer:.2f}" if peer else "" for peer in rates[:-1]]
        shown = [f"{peer:,.0f}" if peer else "none" for peer in rates]
        lines.append("| " + " | ".join([operator, f"{own:,.0f}", *shown[:-1], *ratios, shown[-1]]) + " |")
    return "\n".join(lines)


def main(
    aligned: Annotated[Path, typer.Option(help="table of aligned faces")] = Path("data/aligned"),
    faces: Annotated[int, typer.Option(help="in a batch")] = 256,
    device: Annotated[str, typer.Option(help="cpu, or cuda: ours and torchvision")] = "cpu",
    processes: Annotated[int, typer.Option(help="at most, on a CPU; 0: one a core")] = 0,
    rounds: Annotated[int, typer.Option(help="the best counts")] = 3,
) -> None:
    """Print faces per second, by operator and as the random chain of params."""
    try:
        read_faces(aligned, faces, "cpu")
    except ConfigError as error:
        raise SystemExit(f"{error}; or name a table with --aligned") from error
    packages = [TORCHVISION, *([ALBUMENTATIONS] if find_spec(ALBUMENTATIONS) else [])]
    print(f"{machine(device)}, " + ", ".join(f"{package} {version(package)}" for package in packages))
    if len(packages) == 1:
        print("albumentations is not installed: uv run --with albumentations python -m tests.bench.degrade_speed")
    cores = processes or Runtime.from_environment().threads
    for count in sorted({1, cores}) if device == "cpu" else (1,):
        print(f"\nfaces/s of {aligned}, {faces} a batch, {count} processes of one thread, best of {rounds} rounds:\n")
        print(table(together(count, partial(measured, aligned, faces, device, rounds))), flush=True)
    print(f"\n{NOTES}")


if __name__ == "__main__":
    typer.run(main)
