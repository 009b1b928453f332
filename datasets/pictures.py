"""Reading one picture or one mask file, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from udit_bench.errors import DataError
from udit_bench.scene import ImageArray, MaskArray

SUFFIXES = (".png", ".jpg", ".jpeg")  # in any letter case
GreyArray = npt.NDArray[np.uint8]


def size_text(size: tuple[int, int]) -> str:
    """``(H, W)`` as ``"W x H"``, the order in which people and image tools say it."""
    return f"{size[1]} x {size[0]}"


def read_bytes(path: Path) -> bytes:
    """A whole file.

    Raises:
        DataError: the file is missing or cannot be read (names it).
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: the file is missing.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def read_picture(path: Path) -> ImageArray:
    """A picture as ``(H, W, 3) uint8`` RGB, in the orientation in which its pixels are stored.

    Raises:
        DataError: the file is missing, truncated or no picture (names it).
    """
    with _opened(path) as picture:
        return np.array(picture.convert("RGB"))


def read_mask(path: Path) -> MaskArray:
    """A mask as ``(H, W) bool``: ``read_grey`` cut at 128.

    Raises:
        DataError: the file is missing, truncated or no picture (names it).
    """
    mask: MaskArray = read_grey(path) >= 128
    return mask


def read_grey(path: Path) -> GreyArray:
    """A mask file as ``(H, W) uint8`` in which foreground is 128 and above.

    Black is background, whatever the encoding: one bit, grey of 8 or 16 bit, colour (its
    strongest channel counts), with or without alpha (laid over black), or palette. Of a palette
    the *colours* count, not their order: grey ones are grey values, of coloured ones everything
    but black is foreground; only where the whole palette is black does an index above 0 mean
    foreground. A file with no value above 1 (but for JPEG) is taken as 0 / 1 and becomes 0 / 255.

    Raises:
        DataError: the file is missing, truncated, no picture, or of floating-point pixels.
    """
    with _opened(path) as picture:
        if picture.mode == "P":
            return _palette_grey(picture)
        if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
            bands = np.array(picture.convert("RGBA"))
            colour, alpha = _spread(bands[..., :3].max(-1)), _spread(bands[..., 3])
            return (colour.astype(np.uint16) * alpha // 255).astype(np.uint8)
        if picture.mode.startswith("I"):
            return _deep_grey(np.array(picture))
        if picture.mode == "F":
            raise DataError(f"{path}: a mask cannot have floating-point pixels.")
        grey = np.array(picture.convert("RGB")).max(-1)
        return grey if picture.format == "JPEG" else _spread(grey)


def _spread(grey: GreyArray) -> GreyArray:
    """0 / 1 to 0 / 255; anything else stays."""
    return grey * np.uint8(255) if grey.max(initial=0) <= 1 else grey


def _palette_grey(picture: Image.Image) -> GreyArray:
    colours = np.array(picture.convert("RGB"))
    strongest = colours.max(-1)
    if not any(picture.getpalette() or ()):
        strongest = np.array(picture)
    elif (colours.min(-1) == strongest).all():
        return _spread(strongest)
    return np.where(strongest > 0, np.uint8(255), np.uint8(0))


def _deep_grey(values: npt.NDArray[np.integer]) -> GreyArray:
    if values.max(initial=0) > 255:
        values = values >> 8
    return _spread(values.clip(0, 255).astype(np.uint8))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            picture.load()
            yield picture
    except FileNotFoundError as error:
        raise DataError(f"{path}: the file is missing.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable picture ({error}).") from error
