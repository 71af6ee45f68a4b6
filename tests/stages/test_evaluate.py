"""evaluate on made-up faces and made-up models, against plain loops."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pytest

from stages import evaluate
from stages.evaluate import EvaluateInputs, compare
from stages.lib.classes import UNKNOWN, Label
from stages.lib.codec import decode, encode_png
from stages.lib.deploy.session import Inspection
from stages.lib.errors import ConfigError
from stages.lib.report import faces as face_pictures
from stages.lib.report.candidates import Candidate
from stages.lib.report.summary import headline
from stages.lib.runtime import Runtime
from stages.lib.table import PAIRS, conform, publish, reject_rows, write_parquet
from stages.params import Adopt, Evaluate, Student

PEOPLE, FACES_EACH = 8, 5
CELLS = (("blur", 1), ("blur", 2), ("noise", 2))
SIDES = ("treatment", "control")
FIGURES_OF_QUALITY = ("npauc@0.2", "npauc@0.3", "correlation")
YAWS = (0.0, -9.0, 15.0, -45.0, 80.0)  # of a person's faces
PARAMS = Evaluate(
    seed=1,
    replicates=20,
    max_impostors=10_000,
    fmr_targets=(0.01, 0.001),
    both=("blur", "mask"),
    int8=(),
    peers={},
    scorers={},
)


class FakeModel:
    """Looks at a coarse picture through a random projection; the noise blurs what it sees."""

    def __init__(self, seed: int, noise: float) -> None:
        self.dim = 16
        rng = np.random.default_rng(seed)
        self._projection = rng.normal(size=(64 * 3, self.dim)).astype(np.float32)
        self._noise = noise

    def embed(self, faces, flip=False):
        coarse = faces.reshape(len(faces), 8, 14, 8, 14, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(faces), 192)
        raw = (coarse - 127) @ self._projection
        for row, face in zip(raw, faces, strict=True):  # keyed by the face, so that its batch does not matter
            row += self._noise * np.random.default_rng(crc32(face.tobytes())).normal(size=self.dim)
        norms = np.linalg.norm(raw, axis=1)
        return raw / norms[:, None], norms


class TellingModel(FakeModel):
    """Calls what is red covered, and dark faces good."""

    def inspect(self, faces):
        maps = faces[..., 0].reshape(len(faces), 7, 16, 7, 16).mean(axis=(2, 4), dtype=np.float32) / 255
        return Inspection(*self.embed(faces), maps, 1.0 - faces.mean(axis=(1, 2, 3), dtype=np.float32) / 255)


class Scorer:
    """Somebody else's quality network: bright faces are good."""

    dim = 1

    def embed(self, faces, flip=False):
        return np.ones((len(faces), 1), np.float32), faces.mean(axis=(1, 2, 3), dtype=np.float32) / 255


SCORERS = [Candidate("brightness", "peer", None, (), "brightness", Scorer, 0.3, 1)]


def _face(rng: np.random.Generator, person: np.ndarray, spread: float) -> bytes:
    coarse = np.clip(person + rng.normal(0, spread, (8, 8, 3)), 0, 255).astype(np.uint8)
    return encode_png(np.ascontiguousarray(coarse.repeat(14, axis=0).repeat(14, axis=1)))


def _covered(image: bytes) -> tuple[bytes, bytes]:
    pixels, classes = decode(image).copy(), np.full((112, 112), UNKNOWN, np.uint8)
    pixels[56:], classes[56:] = 255, Label.OCCLUDER
    return encode_png(pixels), encode_png(classes)


def _row(face: str, subject: str, image: bytes, split: str, **more: object) -> dict[str, object]:
    source = "orl" if subject < f"p{PEOPLE // 2}" else "lfw"
    fixed = {"name": face, "licence": "test", "width": 112, "height": 112}
    return {"face_id": face, "subject_id": subject, "source": source, "split": split, "image": image, **fixed, **more}


def _publish(folder: Path, rows: list[dict[str, object]], shards: int) -> None:
    rows = sorted(rows, key=lambda row: row["face_id"])
    files = []
    for index in range(shards):
        part = rows[index * len(rows) // shards : (index + 1) * len(rows) // shards]
        files.append(folder.with_name(f"{folder.name}-{index}.parquet"))
        write_parquet(conform(pa.Table.from_pylist(part)), files[-1])
    publish(folder, files, reject_rows("test", []))


@dataclass(frozen=True)
class World:
    inputs: EvaluateInputs
    destination: Path
    text: str
    models: list[Candidate]
    printed: list[bytes]
    images: dict[str, bytes]
    source: dict[str, str]


def _inputs(root: Path) -> tuple[EvaluateInputs, dict[str, bytes], dict[str, str]]:
    rng = np.random.default_rng(0)
    clean, degraded = [], []
    for number in range(PEOPLE + 1):
        person, subject = rng.uniform(60, 200, (8, 8, 3)), f"p{number}"
        split = "test" if number < PEOPLE else "train"
        for place in range(FACES_EACH):
            face = f"{number * 7919 % 31:02d}{place}"
            known = number % 2 == 0  # the others' yaw is known only as measured, 2 degrees off
            labels = {"yaw": YAWS[place] if known else None, "q_yaw": YAWS[place] - 2.0 * known}
            labels["q_sharpness"] = float(rng.uniform(0, 10))
            clean.append(_row(face, subject, _face(rng, person, 45), split, **labels))
            for operator, severity in CELLS if split == "test" else (("random", 0),):
                about = {"d_operator": operator, "d_severity": severity, "d_params": "{}", "d_seed": 1}
                image = _face(rng, person, 45 + 15 * severity)
                if operator == "noise":  # held before the lower half of the face, and white
                    image, about["segmentation"] = _covered(image)
                degraded.append(_row(f"{face}-{operator}-{severity}", subject, image, split, parent_id=face, **about))
    for number in range(4):  # people of another source, whom the comparisons above must not meet
        person = rng.uniform(60, 200, (8, 8, 3))
        for place in range(3):
            face = _row(
                f"z{number}{place}", f"z{number}", _face(rng, person, 45), "transfer", q_sharpness=1.0, q_yaw=0.0
            )
            clean.append({**face, "source": "elsewhere"})
    _publish(root / "aligned", clean, 2)
    _publish(root / "grid", degraded, 3)
    test = [row["face_id"] for row in clean if row["split"] == "test"]
    train = next(row["face_id"] for row in clean if row["split"] == "train")
    pairs = [("seen", train, test[0], False, 0)]
    pairs += [("own", a, b, a[:2] == b[:2], i % 2) for i, (a, b) in enumerate(combinations(test, 2))]
    write_parquet(
        pa.Table.from_pylist([dict(zip(PAIRS.names, p, strict=True)) for p in pairs], schema=PAIRS),
        root / "pairs.parquet",
    )
    images = {row["face_id"]: row["image"] for row in clean + degraded}
    source = {row["face_id"]: row["source"] for row in clean + degraded}
    inputs = EvaluateInputs(root / "aligned", root / "grid", root / "pairs.parquet", root / "teacher", {})
    return inputs, images, source


def _models() -> list[Candidate]:
    def model(name, role, seed, controls, noise, shipped=True):
        number, kind = len(name) * 100 + (seed or 0), TellingModel if name == "good" else FakeModel
        opener = partial(kind, number, noise)
        return Candidate(name, role, seed, controls, f"{name}-{seed}", opener, 1.5, 123_456, shipped)

    return [
        model("teacher", "teacher", None, (), 0.0),
        *(model("good", "student", seed, ("plain", "middling"), 0.1, seed == 2) for seed in (1, 2)),
        *(model("plain", "student", seed, (), 3000.0, seed == 1) for seed in (1, 2)),
        model("middling", "student", 2, ("plain",), 1500.0),
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    root = tmp_path_factory.mktemp("world")
    inputs, images, source = _inputs(root)
    printed: list[bytes] = []

    def spy(data: bytes):
        printed.append(data)
        return decode(data)

    models, destination, runtime = _models(), root / "reports", Runtime("cpu", 1, 1, root / "scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_pictures, "decode", spy)
        text = compare(PARAMS, models, SCORERS, {"good": ("blur",)}, inputs, destination, runtime)
    return World(inputs, destination, text, models, printed, images, source)


def _loop(
    world: World, model: Candidate, cell: str | None, both: bool = False, yaw: tuple[float, float] | None = None
) -> dict[str, float]:
    """EER bounds, FNMR at FMR 1 % and rank-1 by plain loops over faces.

    Args:
        world: of faces.
        model: to ask.
        cell: of the probes; None where they are clean.
        both: whether the templates are of the cell too.
        yaw: the bucket of the more turned face, the other one being near-frontal; None for any.
    """
    network = model.open()
    clean = sorted(f for f in world.images if "-" not in f and f in _test_faces(world))

    def embed(face: str):
        return network.embed(decode(world.images[face])[None])[0][0]

    templates = [embed(f) for f in clean]
    probes = templates if cell is None else [embed(f"{f}-{cell}") for f in clean]
    templates = probes if both else templates
    turned = [abs(YAWS[int(face[2])]) for face in clean]

    def inside(i: int) -> bool:
        return yaw is None or yaw[0] < turned[i] <= yaw[1] or (yaw[0] == turned[i] == 0)

    frontal = [yaw is None or turned[i] <= 15 for i in range(len(clean))]
    genuine, impostor = [], []
    for i, j in combinations(range(len(clean)), 2):
        if not ((inside(i) and frontal[j]) or (frontal[i] and inside(j))):
            continue
        score = float(np.float32(templates[i] @ probes[j]))
        (genuine if clean[i][:2] == clean[j][:2] else impostor).append(score)
    rates = []
    for threshold in sorted({*genuine, *impostor, 2.0}):
        fmr = sum(s >= threshold for s in impostor) / len(impostor)
        rates.append((fmr, sum(s < threshold for s in genuine) / len(genuine)))
    first = {f[:2]: i for i, f in reversed(list(enumerate(clean))) if frontal[i]}
    hits = []
    for i, face in enumerate(clean):
        if i not in first.values() and inside(i):
            best = max(first, key=lambda person: templates[first[person]] @ probes[i])
            hits.append(best == face[:2])
    return {
        "eer_low": max(min(r) for r in rates),
        "eer_high": min(max(r) for r in rates),
        "fnmr@1e-2": min(fnmr for fmr, fnmr in rates if fmr <= 0.01),
        "rank1": sum(hits) / len(hits),
    }


def _test_faces(world: World) -> set[str]:
    return {face.split("-")[0] for face in world.images if "-blur-" in face}


def _results(world: World) -> dict[tuple[str, str, str, str], dict[str, str]]:
    with (world.destination / "report" / "results.csv").open() as file:
        return {(r["model"], r["seed"], r["condition"], r["metric"]): r for r in csv.DictReader(file)}


CONDITIONS = {
    "clean": {"cell": None},
    "blur-2": {"cell": "blur-2"},
    "noise-2": {"cell": "noise-2"},
    "both_blur-1": {"cell": "blur-1", "both": True},
    "both_blur-2": {"cell": "blur-2", "both": True},
    "yaw_0-15": {"cell": None, "yaw": (0, 15)},
    "yaw_30-45": {"cell": None, "yaw": (30, 45)},
    "yaw_60-90": {"cell": None, "yaw": (60, 90)},
}


@pytest.mark.parametrize(("condition", "about"), CONDITIONS.items(), ids=CONDITIONS)
def test_figures_match_plain_loops(world, condition, about):
    results = _results(world)
    for model in world.models:
        want = _loop(world, model, **about)
        key = (model.name, "" if model.seed is None else str(model.seed), condition)
        got = {m: float(results[(*key, m)]["value"]) for m in ("eer", "fnmr@1e-2", "rank1")}
        assert want["eer_low"] - 1e-6 <= got["eer"] <= want["eer_high"] + 1e-6
        assert got["fnmr@1e-2"] == pytest.approx(want["fnmr@1e-2"], abs=1e-5)
        assert got["rank1"] == pytest.approx(want["rank1"], abs=1e-5)


def test_only_operators_of_params_are_measured_with_both_faces_degraded(world):
    conditions = {condition for _, _, condition, _ in _results(world)}
    assert {c for c in conditions if c.startswith("both_")} == {"both_blur-1", "both_blur-2"}
    page = (world.destination / "report" / "report.html").read_text()
    assert "evaluate.both names mask, of which the grid has no cell" in page


def test_buckets_of_too_few_are_left_out_and_said_so(world):
    conditions = {condition for _, _, condition, _ in _results(world)}
    assert {c for c in conditions if "yaw_" in c} == {"yaw_0-15", "yaw_30-45", "yaw_60-90"}
    page = (world.destination / "report" / "report.html").read_text()
    assert "Yaw of the test people: a bucket needs 20 genuine pairs of 5 people, with impostors; left out are" in page
    assert "15 to 30° (0 of 0), 45 to 60° (0 of 0)" in page
    assert "unknown to the source for 20 of 40 faces, so measured in them" in page
    assert "Yaw of elsewhere: a bucket needs" in page


def test_every_treatment_is_judged_against_each_control_over_the_seeds_that_both_have(world):
    with (world.destination / "report" / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(r["treatment"], r["control"], r["seeds"]) for r in rows} == {
        ("good", "plain", "2"),
        ("good", "middling", "1"),
        ("middling", "plain", "1"),
    }
    results = _results(world)
    for row in rows:
        if row["metric"] == "eer" and row["condition"] != "clean_all":
            seeds = ("1", "2") if row["seeds"] == "2" else ("2",)
            sides = ([float(results[(row[s], n, row["condition"], "eer")]["value"]) for n in seeds] for s in SIDES)
            treated, control = map(np.mean, sides)
            assert float(row["value"]) == pytest.approx(treated - control, abs=1e-5)
    own = {r["condition"] for r in rows if r["treatment"] == "good" and r["aim"] == "1"}
    assert own == {"blur-1", "blur-2", "both_blur-1", "both_blur-2"}
    assert {r["aim"] for r in rows if r["treatment"] == "middling"} == {"0"}
    shown = {(r["condition"], r["metric"]): r["resolved"] for r in rows if r["treatment"] == "good"}
    assert [shown["clean", m] for m in ("eer", "fnmr@1e-2", "fnmr@frozen", "fnmr@1e-3", "tar@1e-3")] == list("11100")


def test_the_ablation_table_has_a_row_a_control_and_a_column_a_condition_of_the_method(world):
    page = (world.destination / "report" / "report.html").read_text()
    section = page[page.index("Ablation: good") : page.index("</table>", page.index("Ablation: good"))]
    headings = ["clean, people of the grid", "blur 1", "blur 2", "blur 1, both faces", "blur 2, both faces"]
    assert [section.count(f'<th scope="col">{h}</th>') for h in headings] == [1] * 5
    assert section.count('<th scope="col">') == 6
    assert [section.count(f'<th scope="row">minus {c}</th>') for c in ("plain", "middling")] == [1, 1]
    assert section.count('<span class="verdict') == 10


def test_metrics_hold_means_over_seeds_and_differences(world):
    metrics = json.loads((world.destination / "metrics.json").read_text())
    models, others = {"teacher", "good", "plain", "middling"}, {"difference", "occlusion", "quality", "lists", "about"}
    assert set(metrics) == models | others
    columns = {"clean_all", "clean", "degraded_mean", "blur-1", "blur-2", "noise-2"}
    assert columns <= set(metrics["good"])
    assert {"eer", "eer_low", "eer_high", "fnmr@1e-2", "rank1"} <= set(metrics["good"]["blur-2"])
    results = _results(world)
    seeds = [float(results[("good", s, "blur-2", "eer")]["value"]) for s in "12"]
    assert metrics["good"]["blur-2"]["eer"] == pytest.approx(np.mean(seeds), abs=1e-5)
    cells = [metrics["good"][c]["eer"] for c in ("blur-1", "blur-2", "noise-2")]
    assert metrics["good"]["degraded_mean"]["eer"] == pytest.approx(np.mean(cells), abs=1e-4)
    assert list(metrics["difference"]["good"]) == ["plain", "middling"]
    difference = metrics["difference"]["good"]["plain"]
    gap = metrics["good"]["clean"]["eer"] - metrics["plain"]["clean"]["eer"]
    assert difference["clean"]["eer"] == pytest.approx(gap, abs=1e-4)
    assert difference["clean"]["eer_verdict"] == "better"  # its control was made nearly blind
    assert metrics["about"]["test_people"] == PEOPLE


def test_what_a_quality_is_worth_stands_in_every_file(world):
    metrics = json.loads((world.destination / "metrics.json").read_text())["quality"]
    assert {name: set(groups) for name, groups in metrics.items()} == {
        name: {"aligned"} for name in ("teacher", "good", "plain", "middling")
    }
    own = {f"quality_{figure}" for figure in FIGURES_OF_QUALITY}
    own |= {f"beyond_{other}_npauc@{d}" for other in ("norm", "brightness") for d in (0.2, 0.3)}
    # a student's word on a face is held against the scores of a model of another family too; its norm is no such word
    own |= {f"of_teacher_{figure}" for figure in own if "norm" not in figure}
    plain, good, teacher = (set(metrics[name]["aligned"]) for name in ("plain", "good", "teacher"))
    refitted = {f"{of}quality_npauc_refitted@0.3" for of in ("", "of_teacher_")}  # not resampled
    assert good - plain == {figure + end for figure in own for end in ("", "_low", "_high")} | refitted
    assert {"norm_npauc@0.2", "brightness_npauc@0.2"} < plain == teacher
    worth, bright = metrics["good"]["aligned"], metrics["teacher"]["aligned"]["brightness_npauc@0.2"]
    beyond = worth["of_teacher_quality_npauc@0.2"] - bright
    assert worth["of_teacher_beyond_brightness_npauc@0.2"] == pytest.approx(beyond, abs=1e-4)
    with (world.destination / "report" / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "quality_mean"]
    assert {row["model"] for row in rows} == {"good"}
    assert {"clean", "blur-1", "yaw_30-45"} < {row["condition"] for row in rows}
    for row in rows:
        if row["seed"] == "1" and "yaw" not in row["condition"]:
            faces = [face for face in world.images if _of(face, row["condition"]) and face[:3] in _test_faces(world)]
            mean = np.mean([1 - decode(world.images[face]).mean() / 255 for face in faces])
            assert float(row["value"]) == pytest.approx(mean, abs=1e-5)
    with (world.destination / "report" / "differences.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["condition"] == "aligned"]
    told = {(row["treatment"], row["control"], row["metric"]) for row in rows}
    heard = {f"{technique}_{figure}" for technique in ("norm", "brightness") for figure in FIGURES_OF_QUALITY}
    figures = {"fnmr_undiscarded", *heard}  # no control tells quality
    pairs = (("good", "plain"), ("good", "middling"), ("middling", "plain"))
    assert told == {(*pair, figure) for pair in pairs for figure in figures}
    page = (world.destination / "report" / "report.html").read_text()
    assert "What quality is worth" in page and "good, quality" in page and "plain, quality" not in page
    assert "teacher, good" in page and "good: quality minus brightness, of teacher" in page


def _of(face: str, condition: str) -> bool:
    return face[4:] == condition if condition != "clean" else "-" not in face


def test_a_map_of_covers_is_held_against_what_was_drawn(world):
    metrics = json.loads((world.destination / "metrics.json").read_text())["occlusion"]
    assert set(metrics) == {"good"}  # the others have none
    assert set(metrics["good"]) == {"clean", "blur-1", "blur-2", "noise-2"}
    drawn, results = metrics["good"]["noise-2"], _results(world)
    assert drawn["cover_true"] == pytest.approx(0.5)
    assert drawn["cover_recall"] == 1.0  # white is called covered
    assert drawn["cover_auc"] > 0.95
    red = [decode(world.images[f"{face}-noise-2"])[..., 0].mean() / 255 for face in _test_faces(world)]
    for seed in ("1", "2", "mean"):
        assert float(results["good", seed, "noise-2", "cover_found"]["value"]) == pytest.approx(np.mean(red), abs=1e-5)
    assert set(metrics["good"]["blur-1"]) == {"cover_found", "cover_found_low", "cover_found_high"}
    page = (world.destination / "report" / "report.html").read_text()
    section = page[page.index("What hides the face") :]
    assert "<td" in section[section.index("noise 2") : section.index("</table>")]
    assert "## What hides the face" in (world.destination / "report" / "report.md").read_text()


def test_people_of_another_source_are_a_condition_of_their_own(world):
    metrics = json.loads((world.destination / "metrics.json").read_text())
    good, plain = metrics["good"]["transfer_elsewhere"], metrics["plain"]["transfer_elsewhere"]
    faces = [face for face in world.images if face.startswith("z")]
    seeds = []
    for model in (m for m in world.models if m.name == "good"):
        embedded = {f: model.open().embed(decode(world.images[f])[None])[0][0] for f in faces}
        scores = {(a, b): float(embedded[a] @ embedded[b]) for a, b in combinations(sorted(faces), 2)}
        genuine = [s for (a, b), s in scores.items() if a[:2] == b[:2]]
        impostor = [s for (a, b), s in scores.items() if a[:2] != b[:2]]
        rates = [
            (np.mean([s >= t for s in impostor]), np.mean([s < t for s in genuine])) for t in sorted(scores.values())
        ]
        seeds.append((max(min(r) for r in rates), min(max(r) for r in rates)))
    low, high = np.mean(seeds, axis=0)
    assert low - 1e-4 <= good["eer"] <= high + 1e-4
    assert plain["eer"] > good["eer"]
    assert metrics["difference"]["good"]["plain"]["transfer_elsewhere"]["eer_verdict"] == "better"
    assert "transfer to elsewhere" in (world.destination / "report" / "report.html").read_text()
    assert "elsewhere" in world.text


def test_only_lists_of_test_people_are_used(world):
    metrics = json.loads((world.destination / "metrics.json").read_text())
    assert set(metrics["lists"]) == {"own"}
    assert 0.5 < metrics["lists"]["own"]["good"]["accuracy"] <= 1
    assert (
        "seen: 1 of 1 pairs show training or validation people"
        in (world.destination / "report" / "report.html").read_text()
    )


def test_faces_of_other_sources_stay_out_of_the_report(world):
    face = {image: face for face, image in world.images.items()}
    shown = {face[image] for image in world.printed}
    assert shown
    assert {world.source[f] for f in shown} == {"orl"}
    assert {f.stem for f in (world.destination / "report").glob("graded-*.png")} == {"graded-good"}


def test_report_is_self_contained(world):
    page = (world.destination / "report" / "report.html").read_text()
    assert 'src="http' not in page
    assert "href=" not in page
    assert page.count("data:image/png;base64,") == 2 * len(list((world.destination / "report").glob("*.png")))
    assert {f.name for f in world.destination.iterdir()} == {"metrics.json", "det.csv", "grid.csv", "report"}


def test_the_headline_compares_with_the_first_control(world):
    first = json.loads((world.destination / "metrics.json").read_text())["difference"]["good"]["plain"]["degraded_mean"]
    line = next(line for line in world.text.splitlines() if line.split()[:1] == ["good"])
    assert line.split()[-2:] == [first["eer_verdict"], f"{100 * first['eer']:+.1f}"]


def test_headline_reads_the_metrics_file(world):
    assert world.text == headline(world.destination)
    assert "better" in world.text
    assert world.text.endswith("report.html")
    with pytest.raises(ConfigError, match="python -m stages evaluate"):
        headline(world.destination / "report")


def test_names_that_the_report_needs_are_refused(world):
    spec = {"weight": 1.0, "head": "arcface", "scale": 32.0, "margin": 0.3, "sigma": 0.0}
    objectives = {"identity": spec}
    student = Student(backbone="x", output_stride=32, embedding=16, controls=(), objectives=objectives)

    def run(name: str, params: Evaluate = PARAMS) -> None:
        evaluate.run(params, {name: student}, world.inputs, world.destination, Runtime("cpu", 1, 1, Path()))

    for taken in ("teacher", "lists", "quality", "norm"):
        with pytest.raises(ConfigError, match=rf"^\['{taken}'\] under students"):
            run(taken)
    scorer = Adopt(model="x.onnx", contract="lightqnet")
    with pytest.raises(ConfigError, match=r"^\['small'\] under students"):
        run("small", PARAMS.model_copy(update={"scorers": {"small": scorer}}))
    with pytest.raises(ConfigError, match="teacher is missing"):  # the name is not what is wrong
        run("small")
