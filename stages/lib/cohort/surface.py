"""What the rasteriser hands to the painters, and what the painters hand to the light."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Surface:
    """The N pixels of a batch that a head covers, one row a pixel.

    Attributes:
        image: (N,) int64, which image of the batch the pixel belongs to.
        material: (N,) int64, a `head.Material`.
        canonical: (N, 3) where the point lies on the neutral head, decimetres; paint sticks to it.
        position: (N, 3) where the point lies before the camera, decimetres.
        normal: (N, 3) unit normal on the side that the camera sees, in the frame of `position`.
        facing: (N,) bool, False where the camera sees the back of the triangle.
        lips: (N,) 0..1, how much of a lip the point is.
        inner_mouth: (N,) 0..1, how far inside the mouth.
        ear: (N,) 0..1.
        occlusion: (N,) 0..1, light that reaches the point from all sides, 1 in the open.
        lid: (N,) 0..1, how much of an eyelid.
        u, s: (N,) coordinates of the material itself: across and along a strand, a mask or a lens.
    """

    image: Tensor
    material: Tensor
    canonical: Tensor
    position: Tensor
    normal: Tensor
    facing: Tensor
    lips: Tensor
    inner_mouth: Tensor
    ear: Tensor
    occlusion: Tensor
    lid: Tensor
    u: Tensor
    s: Tensor

    def __len__(self) -> int:
        return int(self.image.shape[0])

    def where(self, rows: Tensor) -> Surface:
        """The rows that an index or a boolean mask picks."""
        return Surface(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Paint:
    """How the N pixels of a `Surface` answer light.

    Attributes:
        albedo: (N, 3) linear RGB, 0..1.
        gloss: (N,) exponent of the highlight, 1 and more; the larger the sharper.
        occlusion: (N,) 0..1, share of the ambient light that arrives.
        highlight: (N,) 0..1, share of light reflected as by a mirror when it falls straight on; 0 is matt.
        label: (N,) uint8, a `Label`.
    """

    albedo: Tensor
    gloss: Tensor
    occlusion: Tensor
    highlight: Tensor
    label: Tensor
