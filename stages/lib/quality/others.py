"""The other pictures of a person, and those of other people, that a face is told its worth by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.lib.losses.consistency import class_sums


class OtherPictures(nn.Module):
    """Templates of N faces by person; a face's own template never has a say.

    Of each person the device holds a sum, so that memory grows with the people; single templates stay where they are.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, templates: NDArray[np.float32], labels: NDArray[np.int64], people: int) -> None:
        """Sum the templates of each person.

        Args:
            templates: (N, D) unit, memory-mapped or not.
            labels: (N,) person in [0, people).
            people: how many there are.
        """
        super().__init__()
        own = torch.from_numpy(labels)
        self.register_buffer("sums", class_sums(torch.from_numpy(templates), own, people), persistent=False)
        self.register_buffer("counts", torch.bincount(own, minlength=people), persistent=False)
        self._templates = templates
        self._count = np.bincount(labels, minlength=people)
        self._order = np.argsort(labels, kind="stable")  # people side by side
        self._start = np.searchsorted(labels[self._order], np.arange(people))
        self._place = np.argsort(self._order, kind="stable") - self._start[labels]  # of a face among its person's

    @property
    def tell(self) -> bool:
        """Whether anybody has two faces, and there is somebody else to tell them from."""
        return len(self.counts) > 1 and bool((self.counts > 1).any())

    def known(self, labels: Tensor) -> Tensor:
        """(B,) whether there is another picture of the person."""
        return self.counts[labels] > 1

    def mean_cosine(self, unit: Tensor, templates: Tensor, labels: Tensor) -> Tensor:
        """(B,) with the person's other pictures; 0 where there are none.

        Args:
            unit: (B, D) embeddings.
            templates: (B, D) of the same faces, which have no say.
            labels: (B,) the person.
        """
        return (unit * (self.sums[labels] - templates)).sum(dim=1) / (self.counts[labels] - 1).clamp(min=1)

    def mean_cosines(self, unit: Tensor, templates: Tensor, labels: Tensor) -> Tensor:
        """(B, people) with the pictures of each person; of its own with the other ones, as `mean_cosine`."""
        alike = (unit @ self.sums.T) / self.counts
        return alike.scatter(1, labels[:, None], self.mean_cosine(unit, templates, labels)[:, None])

    def draw(
        self, unit: Tensor, rows: Tensor, labels: Tensor, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(B, count) cosines with the person's other pictures and (B, count) with other people's, with replacement.

        Args:
            unit: (B, D) embeddings.
            rows: (B,) of the faces among the N.
            labels: (B,) the person, who has another picture.
            count: of each kind.
            generator: of the draws.
        """
        face, person = rows.cpu().numpy(), labels.cpu().numpy()
        near, far = torch.rand(2, len(face), count, generator=generator, dtype=torch.float64).numpy()
        first, own = self._start[person][:, None], self._count[person][:, None]
        genuine = first + (self._place[face][:, None] + 1 + (near * (own - 1)).astype(np.int64)) % own
        impostor = (first + own + (far * (len(self._order) - own)).astype(np.int64)) % len(self._order)
        return self._cosines(unit, self._order[genuine]), self._cosines(unit, self._order[impostor])

    def _cosines(self, unit: Tensor, rows: NDArray[np.int64]) -> Tensor:
        return torch.einsum("bd,bkd->bk", unit, torch.from_numpy(self._templates[rows]).to(unit.device))
