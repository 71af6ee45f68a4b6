"""JPEG compression by a real codec, on the CPU."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.keys import Uniform, pick
from stages.lib.degrade.operator import Landmarks, Operator, Params


def sample(u: Uniform) -> Params:
    """Quality on libjpeg's scale."""
    return {"quality": pick(u[:, 0], range(8, 91))}


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Encode and decode each face at its own quality, with the codec's default chroma subsampling (4:2:0)."""
    faces = np.ascontiguousarray(images.permute(0, 2, 3, 1).flip(-1).cpu().numpy())  # OpenCV is blue first
    coded = [_round_trip(face, int(quality)) for face, quality in zip(faces, params["quality"], strict=True)]
    return torch.from_numpy(np.stack(coded)).to(images.device).flip(-1).permute(0, 3, 1, 2).contiguous()


def _round_trip(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


OPERATOR = Operator(
    name="jpeg",
    levels=tuple({"quality": quality} for quality in (50, 30, 18, 8)),
    draws=1,
    sample=sample,
    apply=apply,
)
