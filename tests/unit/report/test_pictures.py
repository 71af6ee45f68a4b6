"""Which faces a picture of qualities shows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stages.lib.deploy.session import Inspection
from stages.lib.report.answers import Answers
from stages.lib.report.candidates import Candidate
from stages.lib.report.pictures import GRADED, all_grades


def test_faces_rise_evenly_from_the_worst_to_the_best_that_may_be_shown() -> None:
    draw = np.random.default_rng(0)
    clean, degraded = (
        pa.table({"face_id": [f"{kind}{i}" for i in range(count)], "source": ["orl", "lfw"] * (count // 2)})
        for kind, count in (("c", 20), ("d", 60))
    )
    said = [{"quality": draw.uniform(size=count).astype(np.float32)} for count in (20, 60)]
    nothing = Inspection(np.empty((0, 1)), np.empty(0))

    def answers(name: str, controls: tuple[str, ...], qualities: list) -> Answers:
        model = Candidate(name, "student", 1, controls, name, lambda: None, 0.0, 0)
        return Answers(model, nothing, nothing, {}, {}, *qualities)

    silent = [{"norm": side["quality"]} for side in said]
    three = [answers("good", ("plain",), said), answers("plain", (), said), answers("mute", ("plain",), silent)]
    (graded,) = all_grades(three, clean, degraded)
    quality = {f"{k}{i}": float(q) for k, s in zip("cd", said, strict=True) for i, q in enumerate(s["quality"])}
    shown = sorted((q, face) for face, q in quality.items() if int(face[1:]) % 2 == 0)  # 40 of orl
    ranks = np.linspace(0, 39, GRADED).round().astype(int)
    assert graded.faces == tuple((shown[r][1], shown[r][0]) for r in ranks)
    assert graded.model == "good"
    assert all_grades(three, clean.slice(1, 1), degraded.slice(0, 0)) == []
