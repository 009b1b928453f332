"""The pictures of the paper's Figures 2 and 3: source, instances, every run."""

from __future__ import annotations

from collections.abc import Sequence

from udit_bench.datasets.base import SceneSet
from udit_bench.datasets.transforms import fit
from udit_bench.errors import DataError, UsageError
from udit_bench.evaluation import Benchmark, Row
from udit_bench.judging import JudgeOptions, group_by_benchmark, run_rows
from udit_bench.report.grid import outlined
from udit_bench.report.preview import FILL
from udit_bench.runs import RunDirectory
from udit_bench.scene import DIRECTIONS, Direction, ImageArray, Scene
from udit_bench.translation import Translated

Pictures = list[list[ImageArray | None]]


def grid_rows(
    runs: Sequence[RunDirectory],
    *,
    split: str = "test",
    data: str | None = None,
    images: Sequence[str] = (),
    count: int = 3,
    outlines: bool = False,
    device: str = "cpu",
) -> tuple[Pictures, list[str], list[tuple[str, int]]]:
    """Pictures, names of columns, and (direction, number of rows), as ``grid_figure`` takes them.

    Args:
        runs: the columns after source and instances; a method that has several rows in the tables
            shows the first of them.
        split, data: what is translated.
        images: ids of source pictures; none: ``count`` a direction, with two or more instances.
        count: see ``images``.
        outlines: draw the instances that a method says it made onto its pictures.
        device: where networks run.

    Raises:
        UsageError: the runs are not of one data set and size, or an id that no picture has.
        DataError: no picture to show.
    """
    groups = group_by_benchmark(runs, JudgeOptions(split=split, data=data, device=device))
    if len(groups) > 1:
        said = ", ".join(f"{b.source.name} {b.size[0]} x {b.size[1]}" for b, _ in groups)
        raise UsageError(f"the runs are of different data sets or sizes ({said}): name the RUNs.")
    benchmark, _ = groups[0]
    _require_known(images, benchmark)
    columns: list[dict[str, Row]] = []
    for run in runs:
        rows = [row for row, _ in run_rows(run, benchmark, device=device)]
        columns.append({row.direction: row for row in reversed(rows)})
    pictures: Pictures = []
    blocks = []
    for direction in DIRECTIONS:
        sources = benchmark.scenes(direction)
        chosen = _chosen(sources, images, count)
        made = _direction(sources, chosen, columns, direction, benchmark.size, outlines)
        if made:
            label = f"{benchmark.source.label('A' if direction == 'AtoB' else 'B')} to "
            blocks.append((label + benchmark.target(direction), len(made)))
            pictures += made
    if not pictures:
        raise DataError(f"{benchmark.source.name}, {benchmark.split}: no picture has instances.")
    names = [column["AtoB"].title for column in columns]
    return pictures, ["source", "instances", *names], blocks


def _require_known(images: Sequence[str], benchmark: Benchmark) -> None:
    known = {name for direction in DIRECTIONS for name in benchmark.scenes(direction).ids}
    for name in images:
        if name not in known:
            raise UsageError(
                f"--image {name}: no such picture in the split '{benchmark.split}' of "
                f"{benchmark.source.name} (e.g. {sorted(known)[0]})."
            )


def _direction(
    sources: SceneSet,
    chosen: Sequence[int],
    columns: Sequence[dict[str, Row]],
    direction: Direction,
    size: tuple[int, int],
    outlines: bool,
) -> Pictures:
    made: Pictures = []
    items = [{item.id: item for item in column[direction].items} for column in columns]
    for index in chosen:
        scene = fit(sources[index], size)
        row: list[ImageArray | None] = [scene.image, outlined(scene, fill=FILL)]
        shown = [found[scene.id] for found in items]
        made.append(row + [_painted(i, scene.label) if outlines else i.image for i in shown])
    return made


def _chosen(sources: SceneSet, images: Sequence[str], count: int) -> list[int]:
    if images:
        return [sources.ids.index(name) for name in images if name in sources.ids]
    return _first(sources, count)


def _first(sources: SceneSet, count: int) -> list[int]:
    """The first scenes with two or more instances; where there are none, with one."""
    counts = [scene.count for scene in sources]
    several = [index for index, number in enumerate(counts) if number >= 2]
    return (several or [index for index, number in enumerate(counts) if number])[:count]


def _painted(item: Translated, label: str) -> ImageArray:
    """A translation with its instances outlined."""
    return outlined(Scene(item.image, item.masks, label, item.id), fill=0.0)
