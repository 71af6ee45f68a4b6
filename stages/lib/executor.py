"""Independent jobs on one process or several; the results do not depend on which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context


def run_jobs(jobs: Sequence[Callable[[], None]], workers: int) -> Iterator[None]:
    """Run picklable jobs and yield as each is done.

    Args:
        jobs: each writes its own files and returns nothing.
        workers: processes; 1 runs the jobs here, in order.
    """
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job()
        return
    # spawn: forking a process that has started torch's threads can deadlock
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(job) for job in jobs]):
            yield future.result()
