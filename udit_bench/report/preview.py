"""Contact sheets: many scenes on one picture, each instance in its own colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from udit_bench.scene import ImageArray, MaskArray, Scene

Colour = tuple[int, int, int]
Block = tuple[str, Sequence[Scene]]

PALETTE: tuple[Colour, ...] = (
    (255, 99, 72),
    (46, 168, 255),
    (255, 200, 40),
    (186, 104, 255),
    (64, 214, 160),
    (255, 112, 188),
    (255, 148, 40),
    (90, 230, 240),
)
PAPER, INK, FAINT = (250, 250, 248), (34, 36, 42), (122, 126, 136)
FINE = 2  # tiles are drawn at this multiple of their size, so that contours are smooth
FILL = 0.3  # share of the colour in the inside of an instance
GAP, MARGIN = 10, 28


def contact_sheet(
    scenes: Sequence[Scene] | Sequence[Block],
    *,
    columns: int = 8,
    tile: int = 160,
    title: str = "",
) -> Image.Image:
    """Draw scenes as a grid of tiles: the picture, its instances in colour, id and N below.

    Args:
        scenes: scenes, or blocks of them, ``(heading, scenes)``, drawn one under another.
        columns: tiles per row, at least 1.
        tile: longer side of a picture in pixels, at least 16.
        title: first line of the sheet.

    Returns:
        An RGB picture; as wide as the fullest row.

    Raises:
        ValueError: ``columns`` or ``tile`` is too small.
    """
    if columns < 1 or tile < 16:
        raise ValueError(f"a sheet needs columns >= 1 and tile >= 16, got {columns} and {tile}")
    blocks = _as_blocks(scenes)
    fullest = max((len(some) for _, some in blocks), default=0)
    across = max(1, min(columns, fullest))
    fonts = {name: ImageFont.load_default(size) for name, size in _type_sizes(tile).items()}
    heads = [text for text in (title, *(heading for heading, _ in blocks)) if text]
    text_width = max((fonts["title"].getlength(text) for text in heads), default=0)
    width = 2 * MARGIN + max(across * (tile + GAP) - GAP, int(text_width))
    rows = [_row_heights(some, across, tile, _type_sizes(tile)["caption"]) for _, some in blocks]
    height = 2 * MARGIN + (_line(fonts["title"]) if title else 0)
    for (heading, _), heights in zip(blocks, rows, strict=True):
        height += sum(heights) + (_line(fonts["heading"]) if heading else 0)
    height += GAP * max(0, len(blocks) - 1)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen, top = ImageDraw.Draw(sheet), MARGIN
    if title:
        pen.text((MARGIN, top), title, INK, fonts["title"])
        top += _line(fonts["title"])
    for (heading, some), heights in zip(blocks, rows, strict=True):
        if heading:
            pen.text((MARGIN, top), heading, INK, fonts["heading"])
            top += _line(fonts["heading"])
        for row, row_height in enumerate(heights):
            for column, scene in enumerate(some[row * across : (row + 1) * across]):
                left = MARGIN + column * (tile + GAP)
                _put_tile(sheet, scene, (left, top), tile, row_height, fonts["caption"])
            top += row_height
        top += GAP
    return sheet


def _as_blocks(scenes: Sequence[Scene] | Sequence[Block]) -> list[Block]:
    if scenes and not isinstance(scenes[0], Scene):
        return list(cast("Sequence[Block]", scenes))
    return [("", cast("Sequence[Scene]", scenes))]


def _type_sizes(tile: int) -> dict[str, int]:
    return {
        "title": max(14, tile // 7),
        "heading": max(12, tile // 9),
        "caption": max(10, tile // 13),
    }


def _line(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return int(1.9 * getattr(font, "size", 11))


def _row_heights(scenes: Sequence[Scene], across: int, tile: int, caption: float) -> list[int]:
    """Height of each row with its captions: that of its tallest picture."""
    rows = [scenes[start : start + across] for start in range(0, len(scenes), across)]
    return [max(_tile_size(s, tile)[1] for s in row) + int(2.4 * caption) for row in rows]


def _tile_size(scene: Scene, tile: int) -> tuple[int, int]:
    """``(width, height)`` of a scene's picture on the sheet."""
    height, width = scene.size
    scale = tile / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _put_tile(
    sheet: Image.Image,
    scene: Scene,
    corner: tuple[int, int],
    tile: int,
    row_height: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    width, height = _tile_size(scene, tile)
    caption = int(2.4 * getattr(font, "size", 11))
    left, top = corner[0] + (tile - width) // 2, corner[1] + row_height - caption - height
    corners = Image.new("L", (FINE * width, FINE * height), 0)
    ImageDraw.Draw(corners).rounded_rectangle(
        (0, 0, FINE * width - 1, FINE * height - 1), FINE * max(2, tile // 32), fill=255
    )
    sheet.paste(paint_instances(scene, (width, height)), (left, top), corners.reduce(FINE))
    pen, line = ImageDraw.Draw(sheet), top + height + max(2, tile // 40)
    count = f"N = {scene.count}"
    room = tile - font.getlength(count) - 8
    pen.text((corner[0] + 1, line), _shortened(scene.id, font, room), INK, font)
    pen.text((corner[0] + tile - 1, line), count, FAINT, font, anchor="ra")


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    """The text, with dots for its middle where it is wider than ``room`` pixels."""
    for kept in range(len(text), 1, -1):
        short = text if kept == len(text) else f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}"
        if font.getlength(short) <= room:
            return short
    return ""


def paint_instances(scene: Scene, size: tuple[int, int], fill: float = FILL) -> Image.Image:
    """The picture at ``(width, height)``, instances filled (``fill`` in [0, 1]) and outlined."""
    fine = (FINE * size[0], FINE * size[1])
    canvas = Image.fromarray(scene.image).resize(fine, Image.Resampling.BICUBIC)
    pixels = np.asarray(canvas, dtype=np.float32).copy()
    colours = np.asarray(PALETTE, dtype=np.float32)
    shapes = [_enlarged(mask, fine) for mask in scene.masks]
    for number, shape in enumerate(shapes):
        inside = np.asarray(shape) > 127
        pixels[inside] += fill * (colours[number % len(PALETTE)] - pixels[inside])
    for number, shape in enumerate(shapes):
        pixels[_contour(shape, max(size))] = colours[number % len(PALETTE)]
    done: ImageArray = pixels.round().astype(np.uint8)
    return Image.fromarray(done).reduce(FINE)


def _enlarged(mask: MaskArray, fine: tuple[int, int]) -> Image.Image:
    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    pixel = max(fine) / max(mask.shape)
    smooth = grey.resize(fine, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(pixel / 3))
    return smooth.point([0] * 128 + [255] * 128)


def _contour(shape: Image.Image, side: int) -> npt.NDArray[np.bool_]:
    """The inner rim of a shape, about 1/110 of the tile wide; the tile's border is no rim."""
    reach = 2 * max(FINE, round(FINE * side / 110)) + 1
    padded = np.pad(np.asarray(shape), reach, mode="edge")
    inner = np.asarray(Image.fromarray(padded).filter(ImageFilter.MinFilter(reach)))
    rim: npt.NDArray[np.bool_] = (np.asarray(shape) > 127) & (
        inner[reach:-reach, reach:-reach] <= 127
    )
    return rim
