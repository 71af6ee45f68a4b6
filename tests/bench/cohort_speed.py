"""Pictures of the cohort per second, and peak memory: processes on the CPU, batches on a GPU where there is one.

python -m tests.bench.cohort_speed --size 112
"""

from __future__ import annotations

import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated

import typer

import stages as stages  # sets the thread policy before torch starts its own

SEED, PEOPLE, SHOTS = 1, 12, 16


def cpu(size: int, first: int) -> tuple[float, float]:
    """Seconds for `PEOPLE` x `SHOTS` pictures in this process, and its peak memory in GB."""
    import torch

    torch.set_num_threads(1)
    return seconds("cpu", size, first, SHOTS), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def seconds(device: str, size: int, first: int, batch: int) -> float:
    """Time of `PEOPLE` batches, sampling included; the first batch, which loads and warms up, is not counted."""
    import torch

    from stages.lib.cohort.basis import load_basis, load_targets
    from stages.lib.cohort.identity import sample_identity
    from stages.lib.cohort.render import render
    from stages.lib.cohort.shot import Ranges, sample_shot

    basis, targets = load_basis(device), load_targets()
    started = 0.0
    for number in range(first, first + PEOPLE + 1):
        if number == first + 1:
            started = time.perf_counter()
        person = sample_identity(targets, SEED, number)
        render(basis, [person] * batch, [sample_shot(person, shot, Ranges()) for shot in range(batch)], size)
        if device != "cpu":
            torch.cuda.synchronize()
    return time.perf_counter() - started


def main(
    size: Annotated[int, typer.Option(help="width and height, pixels")] = 112,
    processes: Annotated[int, typer.Option(help="on the CPU, one thread each")] = 2,
) -> None:
    """Print pictures per second."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(cpu, [size] * processes, range(0, 1000 * processes, 1000)))
    rate = sum(PEOPLE * SHOTS / took for took, _ in runs)
    memory = max(peak for _, peak in runs)
    print(f"CPU {platform.processor() or platform.machine()}, {processes} processes, {size} px:", end=" ")
    print(f"{rate:.1f} pictures/s, {memory:.2f} GB a process")

    import torch

    if not torch.cuda.is_available():
        print("no GPU here")
        return
    for batch in (16, 64, 256):
        torch.cuda.reset_peak_memory_stats()
        took = seconds("cuda", size, 0, batch)
        peak = torch.cuda.max_memory_allocated() / 2**30
        rate = PEOPLE * batch / took
        print(f"{torch.cuda.get_device_name()}, batch {batch}, {size} px: {rate:.0f} pictures/s, {peak:.2f} GB")


if __name__ == "__main__":
    typer.run(main)
