"""Pictures side by side: rows are scenes, columns are source, masks, methods and the like."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from udit_bench.datasets.transforms import fit
from udit_bench.report.preview import FAINT, FILL, INK, PALETTE, PAPER, paint_instances
from udit_bench.scene import DIRECTIONS, ImageArray, MaskArray, Scene, target_domain
from udit_bench.translation import translate_scenes
from udit_bench.translator import Translator

if TYPE_CHECKING:
    from udit_bench.runs import RunDirectory

GAP, HEAD, MARGIN = 6, 30, 20


def paint_masks(masks: MaskArray, size: tuple[int, int]) -> ImageArray:
    """``(N, H, W) bool`` to ``(H, W, 3) uint8``: each instance in its colour on dark grey."""
    canvas = np.full((*size, 3), 38, dtype=np.uint8)
    for number, mask in enumerate(masks):
        canvas[mask] = PALETTE[number % len(PALETTE)]
    return canvas


def picture_grid(
    rows: Sequence[Sequence[ImageArray | None]],
    columns: Sequence[str],
    *,
    tile: int = 128,
    headings: Sequence[tuple[int, str]] = (),
) -> Image.Image:
    """Draw a grid of pictures with a name over each column.

    Args:
        rows: per row one ``(H, W, 3) uint8`` picture a column, or None for an empty place.
        columns: names of the columns.
        tile: longer side of a picture, in pixels.
        headings: ``(row, text)``: a line of text above that row.
    """
    font, bold = ImageFont.load_default(13), ImageFont.load_default(16)
    above = {row: text for row, text in headings}
    width = 2 * MARGIN + len(columns) * (tile + GAP) - GAP
    height = 2 * MARGIN + HEAD * (1 + len(above)) + len(rows) * (tile + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, name in enumerate(columns):
        left = MARGIN + number * (tile + GAP)
        text = name.replace(" (", "\n(") if font.getlength(name) > tile else name
        pen.multiline_text((left, MARGIN - 8), text, FAINT, font, spacing=2)
    top = MARGIN + HEAD
    for number, row in enumerate(rows):
        if number in above:
            pen.text((MARGIN, top), above[number], INK, bold)
            top += HEAD
        for place, picture in enumerate(row):
            if picture is not None:
                fitted = _enlarge(picture, tile)
                sheet.paste(fitted, (MARGIN + place * (tile + GAP), top))
        top += tile + GAP
    return sheet


def _enlarge(picture: ImageArray, tile: int) -> Image.Image:
    image = Image.fromarray(picture)
    scale = tile / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    whole = scale == int(scale)  # small pictures stay crisp
    return image.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC)


def outlined(scene: Scene, tile: int = 128, fill: float = FILL) -> ImageArray:
    """A scene's picture with its instances in colour, ``(h, w, 3) uint8``, longer side ``tile``."""
    height, width = scene.size
    scale = tile / max(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(paint_instances(scene, size, fill))


def sample_grid(
    translator: Translator,
    scenes: tuple[Sequence[Scene], Sequence[Scene]],
    size: tuple[int, int],
    device: torch.device,
) -> Image.Image:
    """Source, its masks, translation and its masks, for a few scenes in both directions."""
    rows: list[list[ImageArray | None]] = []
    headings = []
    for direction, sources in zip(DIRECTIONS, scenes, strict=True):
        variant = next(iter(translator.variants))
        done = translate_scenes(
            translator, sources, direction, variant=variant, size=size, device=device
        )
        headings.append((len(rows), direction.replace("to", " to ")))
        for scene, item in zip(sources, done, strict=True):
            rows.append(
                [
                    scene.image,
                    paint_masks(scene.masks, scene.size),
                    item.image,
                    paint_masks(item.masks, item.image.shape[:2]),
                ]
            )
    return picture_grid(
        rows, ["source", "instances", "translation", "instances"], headings=headings
    )


def demo_picture(runs: Sequence[RunDirectory], count: int) -> Image.Image:
    """Rows: ``count`` test scenes of each direction; columns: source, instances, runs, real.

    Translations are shown as they are; the scenes are the first ones of the split that have two or
    more instances.
    """
    from udit_bench.judging import JudgeOptions, open_benchmark, run_rows

    benchmark = open_benchmark(runs[0].read_config(), JudgeOptions())
    made = [row for run in runs for row, _ in run_rows(run, benchmark)]
    names = list(dict.fromkeys(row.title for row in made))
    rows: list[list[ImageArray | None]] = []
    headings = []
    for direction in DIRECTIONS:
        sources = benchmark.scenes(direction)
        real = benchmark.source.scenes(benchmark.split, target_domain(direction))
        chosen = [k for k, scene in enumerate(sources) if scene.count >= 2][:count]
        headings.append((len(rows), f"{sources[0].label} to {benchmark.target(direction)}"))
        for place, index in enumerate(chosen):
            scene = fit(sources[index], benchmark.size)
            row: list[ImageArray | None] = [scene.image, outlined(scene)]
            for name in names:
                items = next(r.items for r in made if (r.title, r.direction) == (name, direction))
                row.append(next(islice(iter(items), index, None)).image)
            row.append(fit(real[place], benchmark.size).image)
            rows.append(row)
    return picture_grid(rows, ["source", "instances", *names, "real"], headings=headings)
