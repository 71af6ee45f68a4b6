"""The camera: from linear radiance to an 8-bit picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.cohort.noise import hash_normal
from stages.lib.cohort.scene import column
from stages.lib.cohort.shot import Shot

_REACH: Final = 3  # pixels: half width of the blur kernel
_SOFTEST: Final = 0.42  # pixels: what lens and pixel area blur in the sharpest picture; it hides stair steps
_REFERENCE: Final = 128  # pixels: the width that `Camera.blur` is given for
_SHOULDER: Final = 0.65  # linear: above it highlights are compressed instead of clipped
_BALANCED: Final = 0.8  # share of the colour of the light that a camera's white balance takes away
_LUMA: Final = (0.2126, 0.7152, 0.0722)
_PUNCH: Final = 0.35  # share of an S-shaped curve in the picture style: deeper shadows, clearer lights
_READ_NOISE: Final = 0.02  # linear: signal at which shot noise has fallen to the noise of the electronics


def _image_column(shots: Sequence[Shot], name: str, device: torch.device) -> Tensor:
    """(B, C, 1, 1) a field, C = 1 for a number and 3 for a colour."""
    values = column(shots, name, device)
    return values.reshape(len(shots), -1, 1, 1)


def _white_balance(shots: Sequence[Shot], device: torch.device) -> Tensor:
    """(B, 3, 1, 1) gains that take most of the light's own colour away, green left alone, then the camera's tint."""
    light = 0.6 * _image_column(shots, "light.key", device) + _image_column(shots, "light.ambient", device)
    light = light.clamp(min=1e-3)
    gain = (light[:, 1:2] / light) ** _BALANCED
    return gain * _image_column(shots, "camera.tint", device)


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """(B, C, H, W) by Gaussians of (B,) standard deviations in pixels, above 0."""
    batch, channels, height, width = images.shape
    offset = torch.arange(-_REACH, _REACH + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = F.pad(images.reshape(1, batch * channels, height, width), (_REACH,) * 4, mode="replicate")
    planes = F.conv2d(planes, kernel[:, None, None, :], groups=batch * channels)
    planes = F.conv2d(planes, kernel[:, None, :, None], groups=batch * channels)
    return planes.view(batch, channels, height, width)


def _noisy(images: Tensor, shots: Sequence[Shot]) -> Tensor:
    """Shot and read noise, mostly shared by the channels as after demosaicing."""
    batch, channels, height, width = images.shape
    seed = column(shots, "seed", images.device, torch.int64)
    normal = hash_normal(seed, (channels + 1) * height * width).view(batch, channels + 1, height, width)
    grain = 0.8 * normal[:, :1] + 0.6 * normal[:, 1:]
    deviation = _image_column(shots, "camera.noise", images.device) * (images.clamp(min=0.0) + _READ_NOISE).sqrt()
    return images + 1.5 * deviation * grain


def _tone_curve(linear: Tensor) -> Tensor:
    """Linear to sRGB (IEC 61966-2-1) with highlights rolled off towards 1, then the S-curve of the picture style."""
    room = 1.0 - _SHOULDER
    rolled = _SHOULDER + room * torch.tanh((linear - _SHOULDER) / room)
    linear = torch.where(linear > _SHOULDER, rolled, linear).clamp(0.0, 1.0)
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1.0 / 2.4) - 0.055
    curve = torch.where(linear <= 0.0031308, 12.92 * linear, curve)
    return torch.lerp(curve, curve.square() * (3.0 - 2.0 * curve), _PUNCH)


def expose(linear: Tensor, shots: Sequence[Shot]) -> Tensor:
    """Takes the picture: exposure, white balance, lens blur, noise, tone curve, contrast and saturation.

    Args:
        linear: (B, 3, H, W) linear RGB radiance, 0 and more.
        shots: B shots.

    Returns:
        (B, 3, H, W) uint8 sRGB.
    """
    device = linear.device
    images = linear.clamp(min=0.0) * _image_column(shots, "light.exposure", device)
    images = images * _white_balance(shots, device)
    blur = column(shots, "camera.blur", device) * (linear.shape[-1] / _REFERENCE)
    images = _blurred(images, torch.sqrt(blur.square() + _SOFTEST**2))
    images = _tone_curve(_noisy(images, shots))
    images = (images - 0.5) * _image_column(shots, "camera.contrast", device) + 0.5
    grey = (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    images = grey + (images - grey) * _image_column(shots, "camera.saturation", device)
    return (images.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
