"""A planted drift is the only thing that tells a simulated day from a quiet one; any day can be made alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from scipy.stats import ttest_ind

from flows.home import Home
from flows.intake import batches
from flows.rows import CAPTURES, COVARIATES
from flows.simulation import days as simulation
from flows.simulation.camera import NIGHT, captures_of, people_seen
from flows.simulation.days import release, score_day, simulate, write_day
from flows.simulation.scenario import BASELINE, TILT, Effect, Planted, Scenario, at_severity, quiet, standard, truth
from flows.simulation.site import Site, gallery_of, people_of, site_table
from stages import ingest
from stages.lib.cohort.basis import load_targets
from stages.lib.cohort.identity import sample_identity
from stages.lib.degrade import OPERATORS
from stages.lib.deploy.onnx_export import export_encoder, served_contract
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.models.student import build_encoder
from stages.lib.runtime import Runtime
from stages.lib.table import Table, publish, reject_rows, write_parquet
from stages.params import load

ROOT = Path(__file__).parents[2]
BLURRED = Planted("blurred", "gate", (Effect("blur", 3),), ("q_sharpness",), start=2)
TILTED = Planted("tilted", "gate", (Effect(TILT, 12.0),), ("q_roll",), start=2)
DARK = Effect("exposure", 3, {"sign": -1})
SHIFT = Planted("shift", "gate", (DARK, Effect("noise", 1)), ("q_brightness",), start=2, share=0.5, at_night=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    encoder = build_encoder("test_byobnet", 16, 16, occlusion=True, quality="cr_fiqa")
    encoder(torch.rand(8, 3, 112, 112))  # batch statistics other than 0 and 1
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_encoder(encoder.eval(), path, served_contract(encoder, "seeing", "v1", "MIT", {}))
    return path


@pytest.fixture(scope="module")
def site(face_rows: Callable[..., pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Eight people with four faces each, and two whom the site does not have."""
    folder = tmp_path_factory.mktemp("site")
    write_parquet(face_rows(("test",) * 8 + ("train",) * 2, each=4), folder / "rows.parquet")
    return Site(publish(folder / "table", [folder / "rows.parquet"], reject_rows("made", [])).path)


def scenario(*planted: Planted, days: int = 4, per_day: int = 12) -> Scenario:
    return Scenario(("gate", "lobby"), planted, days, per_day, unusable=0.1)


def of(rows: pa.Table, camera: str) -> pa.Table:
    return rows.filter(pc.equal(rows["camera"], camera))


def values(rows: pa.Table, column: str) -> np.ndarray:
    return rows[column].drop_null().to_numpy()


def test_the_same_seed_gives_the_same_rows_and_a_day_alone_is_that_day(
    site: Site, model: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = list(simulate(site, scenario(BLURRED), model, runtime))
    assert len(days) == 4 and all(day.schema.equals(CAPTURES) for day in days)
    for number, day in enumerate(days):
        assert day.equals(score_day(site, scenario(BLURRED), model, number))
        midnight = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=number)
        assert all(midnight <= time < midnight + timedelta(days=1) for time in day["time"].to_pylist())
    ids = pa.concat_tables(days)["capture_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert set(days[0]["camera"].to_pylist()) == {"gate", "lobby"}
    other = score_day(site, replace(scenario(BLURRED), seed=2), model, 0)
    assert not set(other["capture_id"].to_pylist()) & set(ids)

    (kept,) = (runtime.scratch / "simulate").iterdir()
    (kept / "day-0002.parquet").unlink()  # as if the run had been killed before
    made = []
    real = simulation._keep_day
    monkeypatch.setattr(simulation, "_keep_day", lambda *job: (made.append(job[3]), real(*job)))
    assert list(simulate(site, scenario(BLURRED), model, runtime)) == days
    assert made == [2]


def test_some_pictures_do_not_arrive_and_every_other_face_is_scored_against_its_template(
    site: Site, model: Path
) -> None:
    rows = pa.concat_tables([score_day(site, scenario(per_day=60), model, day) for day in range(2)])
    lost = rows.filter(pc.is_valid(rows["rejected"]))
    assert 0.04 < lost.num_rows / rows.num_rows < 0.2
    assert lost["match_score"].null_count == lost.num_rows
    assert rows["match_score"].null_count == rows["quality"].null_count == lost.num_rows
    people, gallery = people_of(site), gallery_of(site, FaceModel(model))
    assert list(gallery) == list(people.names) == [f"site-p{number}" for number in range(8)]
    for enrolled, seen in zip(people.enrolled, people.seen, strict=True):
        assert enrolled not in seen and len(seen) == 3


@pytest.mark.parametrize(("planted", "column"), [(BLURRED, "q_sharpness"), (TILTED, "q_roll"), (SHIFT, "q_brightness")])
def test_a_drift_moves_its_column_from_its_first_day_on_and_nothing_else(
    site: Site, model: Path, planted: Planted, column: str
) -> None:
    still, drifting = scenario(), scenario(planted)
    assert score_day(site, drifting, model, 1).equals(score_day(site, still, model, 1))
    before, after = score_day(site, still, model, 2), score_day(site, drifting, model, 2)
    assert of(after, "lobby").equals(of(before, "lobby"))
    before, after = of(before, "gate"), of(after, "gate")
    assert after.num_rows == before.num_rows
    change = values(after, column).mean() - values(before, column).mean()
    spread = np.std(values(before, column))
    assert abs(change) > 1.0 * spread


def test_a_tilt_turns_the_roll_by_its_degrees(site: Site, model: Path) -> None:
    before, after = (of(score_day(site, one, model, 2), "gate") for one in (scenario(), scenario(TILTED)))
    turned = values(after, "q_roll") - values(before, "q_roll")
    np.testing.assert_allclose(turned, 12.0, atol=1.5)  # landmarks miss by a little, another way on a turned face
    np.testing.assert_allclose(values(after, "q_interocular"), values(before, "q_interocular"), atol=2.5)


def test_a_night_shift_comes_at_night(site: Site) -> None:
    shots = captures_of(site, scenario(SHIFT, per_day=80), "gate", 2)
    quiet_shots = captures_of(site, scenario(per_day=80), "gate", 2)
    assert [shot.time for shot in shots] == sorted(shot.time for shot in shots)
    assert [shot.claimed for shot in shots] == people_seen(site, scenario(SHIFT, per_day=80), "gate", 2)
    night = [sum(NIGHT[shot.time.hour] > 0 for shot in taken) / len(taken) for taken in (quiet_shots, shots)]
    assert night[0] < 0.3 and 0.4 < night[1] < 0.8


def test_quiet_days_differ_by_chance_alone(site: Site, model: Path) -> None:
    days = [of(score_day(site, scenario(days=24), model, day), "gate") for day in range(24)]
    for column in (*COVARIATES, "quality", "norm", "occlusion"):
        means = [values(day, column).mean() for day in days]
        if np.ptp(means) > 0:  # of drawn faces none is overexposed
            assert ttest_ind(means[:12], means[12:]).pvalue > 0.005, column


def test_a_ramp_rises_to_its_full_and_ends() -> None:
    slow = Planted("slow", "gate", (Effect("blur", 2),), ("q_sharpness",), start=10, ramp=4, days=6)
    assert [slow.on(day)[0] for day in range(9, 17)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.0]
    assert slow.on(10)[1] == 1.0
    spreading = replace(slow, share=0.6, rising="share")
    assert [spreading.on(day) for day in (9, 10, 13, 16)] == [(0.0, 0.0), (1.0, 0.15), (1.0, 0.6), (0.0, 0.0)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_severities_between_levels_lie_between_them(operator: str) -> None:
    levels = OPERATORS[operator].levels
    for number, level in enumerate(levels, 1):
        assert (
            at_severity(operator, number) == pytest.approx(level)
            if not isinstance(next(iter(level.values())), str)
            else at_severity(operator, number) == dict(level)
        )
    assert at_severity("blur", 1.5) == {"sigma": 1.5}
    assert at_severity("blur", 0.25) == {"sigma": 0.25}
    assert at_severity("jpeg", 0.5) == {"quality": 60}
    assert at_severity("mask", 1.6) == {"fit": list(OPERATORS["mask"].levels)[1]["fit"]}


def test_the_standard_drifts_come_after_a_quiet_start_and_the_truth_tells_them() -> None:
    known = truth(standard()).to_pylist()
    first: dict[str, int] = {}
    for row in known:
        first.setdefault(row["planted"], row["day"])
        assert row["window"] == datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=row["day"])
        assert 0 < row["strength"] <= 1 and 0 < row["share"] <= 1
    assert len(first) == 5 and len(set(first.values())) == 5
    assert min(first.values()) >= BASELINE + 16
    assert {row["camera"] for row in known} == {"gate", "lobby", "dock", "lift"}
    assert truth(quiet()).num_rows == 0


def test_what_cannot_be_planted_is_refused() -> None:
    with pytest.raises(ConfigError, match="no effect 'fog'"):
        Effect("fog", 1)
    with pytest.raises(ConfigError, match="severity 9 is not above 0 and at most 4"):
        Effect("blur", 9)
    with pytest.raises(ConfigError, match="blurred is planted on none of the cameras"):
        Scenario(("lobby",), (BLURRED,))


def test_a_day_in_the_inbox_is_the_day_that_is_scored(site: Site, model: Path, tmp_path: Path) -> None:
    path = write_day(site, scenario(BLURRED), 2, tmp_path / "inbox")
    assert path == tmp_path / "inbox" / "2026-03-04.parquet"
    assert list(path.parent.iterdir()) == [path]
    read = [capture for batch in batches(path.parent, 16) for capture in batch.captures]
    rows = score_day(site, scenario(BLURRED), model, 2)
    assert [capture.id for capture in read] == rows["capture_id"].to_pylist()
    assert all(capture.landmarks and capture.claimed in people_of(site).names for capture in read)


def test_captures_are_released_of_strangers_only(
    site: Site, make_table: Callable[..., Table], face_rows: Callable[..., pa.Table], tmp_path: Path
) -> None:
    strangers = make_table(face_rows(("test",) * 2, each=6).slice(0, 0), shards=1)
    with pytest.raises(ConfigError, match="release captures of other people"):
        release(site, scenario(BLURRED), "gate", [2], 3, Table.open(site.table), tmp_path / "released")
    count = release(site, scenario(BLURRED), "gate", [2, 3], 3, strangers, tmp_path / "released")
    pictures = sorted((tmp_path / "released").glob("*/*.png"))
    taken = [shot for day in (2, 3) for shot in captures_of(site, scenario(BLURRED), "gate", day)]
    theirs = [shot for shot in taken if shot.claimed in {"site-p0", "site-p1", "site-p2"}]
    assert 0 < count == len(pictures) <= len(theirs)
    assert {(path.parent.name, path.stem) for path in pictures} <= {(shot.claimed, shot.id) for shot in theirs}


def test_the_site_has_other_people_than_the_cohort(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # where params.yaml lies
    home = Home(tmp_path / "home")
    table = site_table(home, runtime, identities=2, shots=2)
    assert table.rows == 6 and set(table.read(["split"])["split"].to_pylist()) == {"test", "train"}
    assert len(people_of(Site(table.path)).names) == 2
    monkeypatch.setattr(ingest, "run", lambda *_: pytest.fail("rendered again"))
    assert site_table(home, runtime, identities=2, shots=2).content_id == table.content_id
    seed = load().ingest.cohort.seed
    with pytest.raises(ConfigError, match=f"seed {seed} makes the people of ingest"):
        site_table(home, runtime, seed=seed)
    targets = load_targets()
    ours, theirs = ([sample_identity(targets, s, number).shape for number in range(20)] for s in (7, seed))
    assert not [shape for shape in ours if shape in theirs]
