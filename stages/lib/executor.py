"""Independent jobs on one process or several; the results do not depend on which."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread

from stages.lib.errors import TransientError


def run_jobs(jobs: Sequence[Callable[[], None]], workers: int) -> Iterator[None]:
    """Run picklable jobs and yield as each is done.

    Args:
        jobs: each writes its own files and returns nothing.
        workers: processes; 1 runs the jobs here, in order.

    Raises:
        TransientError: a worker was killed; jobs that were done stay done.
    """
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job()
        return
    # spawn: forking a process that has started torch's threads can deadlock
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(workers,)) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            message = "a worker process was killed, perhaps for lack of memory: run again, or lower STAGES_WORKERS"
            raise TransientError(message) from error
        finally:
            pool.shutdown(cancel_futures=True)  # the first failure is told at once, not after all other jobs


def _begin(workers: int) -> None:
    """Give a new process its part of the cores, before anything is imported that starts threads of its own."""
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A run that is killed must not leave workers behind, which would write beside those of the next run."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
