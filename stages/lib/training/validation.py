"""What is measured after every epoch, on people that the student never trains on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from stages.lib.errors import ConfigError
from stages.lib.metrics.protocol import Protocol, all_pairs
from stages.lib.metrics.verification import verification
from stages.lib.training.data import FaceSet, as_seen

MAX_IMPOSTORS = 50_000


@dataclass(frozen=True)
class Validation:
    """Verification error and likeness to the teacher on the validation people.

    Each face is compared as a clean template with a probe that is the first variant of another
    face, so that the figure follows robustness and not clean accuracy alone.
    """

    faces: FaceSet
    device: str

    def __post_init__(self) -> None:
        """Refuse people that allow no comparison before an epoch is spent.

        Raises:
            ConfigError: fewer than two people, or nobody with two faces.
        """
        genuine = self._pairs.genuine
        if genuine.all() or not genuine.any():
            raise ConfigError("validation needs two people, one of them with two faces: raise `ingest.val_fraction`")

    @cached_property
    def _pairs(self) -> Protocol:
        return all_pairs(self.faces.labels, MAX_IMPOSTORS, seed=0)

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """Measure an encoder in eval mode.

        Returns:
            `val_eer`, and `val_template` (mean cosine of degraded faces to the teacher's clean templates)
            where the embedding has the templates' length.
        """
        clean = self._embed(encoder, np.arange(len(self.faces)))
        degraded = self.faces.variants.shape[1] > 0
        probes = self._embed(encoder, self.faces.variants[:, 0]) if degraded else clean
        pairs = self._pairs
        scores = (clean[pairs.left] * probes[pairs.right]).sum(axis=1)
        figures = {"val_eer": verification(scores, pairs.genuine)["eer"]}
        if self.faces.templates.shape[1] == probes.shape[1]:
            figures["val_template"] = float((probes * self.faces.templates).sum(axis=1).mean())
        return figures

    @torch.inference_mode()
    def _embed(self, encoder: nn.Module, rows: np.ndarray) -> np.ndarray:
        raw = torch.cat([encoder(images).float() for _, images in as_seen(self.faces, rows, self.device)])
        return torch.nn.functional.normalize(raw).cpu().numpy()
