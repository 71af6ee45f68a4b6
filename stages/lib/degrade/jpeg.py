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
    faces = zip(images.cpu().numpy(), params["quality"].tolist(), strict=True)
    coded = np.stack([_round_trip(face, quality) for face, quality in faces])
    return torch.from_numpy(coded).to(images.device)


def _round_trip(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """(3, 112, 112) RGB in and out; OpenCV is blue first and has the channels last."""
    _, data = cv2.imencode(".jpg", cv2.merge(tuple(face[::-1])), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.array(cv2.split(decoded)[::-1], dtype=np.uint8)


OPERATOR = Operator(
    name="jpeg",
    levels=tuple({"quality": quality} for quality in (50, 30, 18, 8)),
    draws=1,
    sample=sample,
    apply=apply,
)
