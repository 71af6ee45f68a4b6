"""Simulated days of captures, scored by the shipped model as real ones are, for the demo and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from flows import blocks
from flows import measure as measuring
from flows.intake import Capture
from flows.measure import MAX_PIXELS, Gallery, measure
from flows.rows import TIME
from flows.simulation.camera import captures_of
from flows.simulation.scenario import Scenario
from flows.simulation.site import Site, gallery_of, people_of
from stages.lib.codec import BadImage, decode_untrusted, encode_png
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.executor import run_jobs
from stages.lib.fingerprint import code_version, fingerprint, sha256_file
from stages.lib.folders import new_file
from stages.lib.runtime import Runtime
from stages.lib.table import TEST, Table, write_parquet

MADE_BY: Final = (*sorted(Path(__file__).parent.glob("*.py")), Path(measuring.__file__), Path(blocks.__file__))
"""Files whose change makes days anew."""


def simulate(site: Site, scenario: Scenario, model: Path, runtime: Runtime) -> Iterator[pa.Table]:
    """Make and score all captures of a scenario.

    Days are spread over the runtime's workers and kept in its scratch folder, so a killed run goes on where it
    stopped, and the same call again finds them.

    Args:
        site: whose people pass the cameras.
        scenario: what happens there.
        model: an exported .onnx file.
        runtime: where and how wide to work.

    Yields:
        The rows of `flows.rows.CAPTURES` of each day from day 0 on, camera by camera.
    """
    made_by = [code_version(), *map(sha256_file, MADE_BY)]
    key = fingerprint(scenario, site.prefix, Table.open(site.table).content_id, sha256_file(model), *made_by)
    kept = runtime.scratch / "simulate" / key
    kept.mkdir(parents=True, exist_ok=True)
    paths = [kept / f"day-{day:04d}.parquet" for day in range(scenario.days)]
    threads = max(1, runtime.threads // runtime.workers)
    jobs = [
        partial(_keep_day, site, scenario, model, day, threads, path)
        for day, path in enumerate(paths)
        if not path.is_file()
    ]
    for _ in runtime.progress(run_jobs(jobs, runtime.workers), "simulate", "days", total=len(jobs)):
        pass
    for path in paths:
        yield pq.read_table(path)


def score_day(site: Site, scenario: Scenario, model: Path, day: int, threads: int = 1) -> pa.Table:
    """Make and score the captures of one day: those rows of `simulate`."""
    served, gallery = _served(site, model, threads)
    taken = (captures_of(site, scenario, camera, day) for camera in scenario.cameras)
    return pa.concat_tables([measure(captures, served, gallery=gallery) for captures in taken])


def write_day(site: Site, scenario: Scenario, day: int, inbox: Path) -> Path:
    """Leave a day's captures in an inbox, as one Parquet file that `flows.intake.batches` reads."""
    captures = [shot for camera in scenario.cameras for shot in captures_of(site, scenario, camera, day)]
    columns = {
        "image": pa.array([shot.image for shot in captures], pa.binary()),
        "time": pa.array([shot.time for shot in captures], TIME),
        "camera": pa.array([shot.camera for shot in captures], pa.string()),
        "landmarks": pa.array([shot.landmarks for shot in captures], pa.list_(pa.float32())),
        "subject_id": pa.array([shot.claimed for shot in captures], pa.string()),
    }
    path = inbox / f"{scenario.midnight(day):%Y-%m-%d}.parquet"
    with new_file(path) as building:  # intake passes over names with a dot, such as this one
        write_parquet(pa.table(columns), building)
    return path


def release(
    site: Site, scenario: Scenario, camera: str, days: Iterable[int], people: int, protocol: Table, folder: Path
) -> int:
    """Stand for an operator who labels a camera's captures and releases them for training, as `PERSON/IMAGE.png`.

    Args:
        site: whose people were captured.
        scenario: what happened there.
        camera: whose captures are released.
        days: of which they are.
        people: how many of the site's people are released, in order of their names.
        protocol: table whose test people challengers are judged on.
        folder: `Home.released`.

    Returns:
        How many pictures were written.

    Raises:
        ConfigError: the site's people are those of the protocol, whom nobody may learn from.
    """
    tested = set(protocol.read(["face_id"], TEST)["face_id"].to_pylist())
    if not tested.isdisjoint(Table.open(site.table).read(["face_id"])["face_id"].to_pylist()):
        raise ConfigError(f"{site.table} holds test faces of {protocol.path}: release captures of other people")
    chosen = people_of(site).names[:people]
    taken = (shot for day in days for shot in captures_of(site, scenario, camera, day))
    return sum(_released(shot, folder) for shot in taken if shot.claimed in chosen)


def _released(shot: Capture, folder: Path) -> bool:
    """Write a capture, if its picture arrived whole."""
    try:
        pixels = decode_untrusted(shot.image, MAX_PIXELS)
    except BadImage:
        return False
    path = folder / str(shot.claimed) / f"{shot.id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))
    return True


def _keep_day(site: Site, scenario: Scenario, model: Path, day: int, threads: int, path: Path) -> None:
    write_parquet(score_day(site, scenario, model, day, threads), path)


@cache
def _served(site: Site, model: Path, threads: int) -> tuple[FaceModel, Gallery]:
    served = FaceModel(model, threads)
    return served, gallery_of(site, served)
