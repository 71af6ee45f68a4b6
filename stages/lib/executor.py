"""Work in parts: jobs on one process or several, rows in blocks; the results do not depend on which."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from threading import Thread

from stages.lib.errors import TransientError

BLOCK = 1 << 22
"""Numbers in one intermediate matrix, whatever the count of rows."""


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of the rows, each with about `BLOCK` numbers at `width` numbers a row."""
    step = max(1, BLOCK // width)
    return (slice(start, start + step) for start in range(0, rows, step))


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
    with ProcessPoolExecutor(workers, mp_context=_context(jobs[0], workers), initializer=_begin) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            message = (
                "a worker process was killed, perhaps for lack of memory: run again, or lower STAGES_WORKERS and, "
                "for training and rendering, STAGES_THREADS"
            )
            raise TransientError(message) from error
        except BaseException:
            _stop(pool)  # the first failure is told at once, not after all other jobs
            raise


def _context(job: Callable[[], None], workers: int) -> BaseContext:
    """Processes that are forked from a server which has imported the job's module once, for all of them.

    Forking this process instead could deadlock: it may have started torch's threads, and the server has not.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([getattr(job, "func", job).__module__])
    before = os.environ.get("OMP_NUM_THREADS")
    # each process has its part of the cores; torch reads this as it is imported
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    forkserver.ensure_running()
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before
    return context


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the jobs under way too: they go on from their checkpoints in the next run."""
    processes = list((pool._processes or {}).values())  # before the pool lets go of them; public from Python 3.14 on
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _begin() -> None:
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A run that is killed must not leave workers behind, which would write beside those of the next run."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
