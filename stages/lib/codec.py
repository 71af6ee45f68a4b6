"""Image bytes to pixels and back; the only place where bytes from outside are decoded."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ALLOWED = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
MIN_SIDE = 16

Pixels = NDArray[np.uint8]


@lru_cache(1)
def picture_suffixes() -> frozenset[str]:
    """How the names of files in an allowed format end: `.jpg` and the like."""
    return frozenset(suffix for suffix, format in Image.registered_extensions().items() if format in ALLOWED)


class BadImage(ValueError):
    """The bytes are not an image that may be used; the message says why."""


def decode_untrusted(data: bytes, max_pixels: int) -> Pixels:
    """Decode bytes from outside, size-checked from the header before any pixel is decoded.

    EXIF orientation is applied; grey, palette and alpha images become RGB.

    Args:
        data: an encoded image.
        max_pixels: the largest width * height that is decoded.

    Returns:
        RGB pixels, uint8, (height, width, 3).

    Raises:
        BadImage: not an image, a format that is not allowed, too large, too small or truncated.
    """
    if not data:
        raise BadImage("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we bound it ourselves
            image = Image.open(io.BytesIO(data), formats=ALLOWED)
    except Image.DecompressionBombError as error:  # PIL's own bound, whatever ours is
        raise BadImage("more pixels than Pillow agrees to decode") from error
    except MemoryError:
        raise  # the machine's fault and not the image's
    except Exception as error:  # PIL raises many kinds on hostile bytes
        raise BadImage(f"not an image ({type(error).__name__})") from error
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage(f"{width}x{height} is larger than {max_pixels} pixels")
    if min(width, height) < MIN_SIDE:
        raise BadImage(f"{width}x{height} is smaller than {MIN_SIDE} pixels a side")
    try:
        return np.asarray(_eight_bit(ImageOps.exif_transpose(image)).convert("RGB"))
    except MemoryError:
        raise  # the machine's fault and not the image's
    except Exception as error:
        raise BadImage(f"truncated or corrupt ({type(error).__name__})") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    # 16-bit grey: Pillow's own conversion clips it at 255, which leaves a white image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def decode(data: bytes) -> Pixels:
    """Decode bytes that a stage of ours wrote: RGB, uint8, (height, width, 3).

    Raises:
        BadImage: the bytes do not decode, so the table is damaged.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise BadImage("bytes of a face table do not decode; run its stage again")
    return pixels.astype(np.uint8, copy=False)


def decode_classes(data: bytes) -> Pixels:
    """Decode a label image that a stage of ours wrote: classes, uint8, (height, width).

    Raises:
        BadImage: the bytes do not decode, so the table is damaged.
    """
    classes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if classes is None:
        raise BadImage("a segmentation of a face table does not decode; run its stage again")
    return classes.astype(np.uint8, copy=False)


def encode_png(pixels: Pixels) -> bytes:
    """Encode RGB (height, width, 3) or label (height, width) pixels without loss."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise BadImage(f"cannot encode pixels of shape {pixels.shape}")
    return data.tobytes()
