"""Figures for a paper, drawn by matplotlib: pictures side by side, curves, scaling."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udit_bench.errors import DataError
from udit_bench.files import write_bytes
from udit_bench.scene import ImageArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by colour-blind readers."""
MARKERS, LINES = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", "-.", ":")
INCH = 1.05
"""Side of a picture in a grid, in inches: seven columns fill a page of two columns."""
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,  # as text, not as outlines
    "savefig.dpi": 300,
}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write ``STEM.pdf`` and ``STEM.png``, each atomically; returns the paths.

    Raises:
        RunError: no space or permission.
    """
    from matplotlib import rc_context

    paths = []
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {})):
        buffer = io.BytesIO()
        with rc_context(STYLE):
            figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        path = stem.with_name(stem.name + suffix)
        write_bytes(path, buffer.getvalue())
        paths.append(path)
    return paths


def grid_figure(
    rows: Sequence[Sequence[ImageArray | None]],
    columns: Sequence[str],
    blocks: Sequence[tuple[str, int]],
) -> Figure:
    """Draw pictures side by side, as the paper's Figures 2 and 3 do.

    Args:
        rows: per row one ``(H, W, 3) uint8`` picture a column, or None for an empty place.
        columns: their names.
        blocks: (name, number of rows): what is written beside each run of rows.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = _figure(INCH * len(columns) + 0.3, INCH * len(rows) + 0.3)
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        starts, start = {}, 0
        for name, count in blocks:
            starts[start + count // 2] = name, count
            start += count
        for number, line in enumerate(rows):
            for place, picture in enumerate(line):
                _picture(axes[number][place], picture, columns[place] if number == 0 else "")
            if number in starts:
                axes[number][0].set_ylabel(starts[number][0])
        figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    return figure


def _picture(axes: Axes, picture: ImageArray | None, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title.replace(" (", "\n("), pad=3)
    if picture is not None:
        small = max(picture.shape[:2]) < 128
        axes.imshow(picture, interpolation="nearest" if small else "antialiased")


def loss_figure(runs: Sequence[Mapping[str, Any]], terms: Sequence[str] = ()) -> Figure:
    """Draw the losses of runs: a panel per run and phase.

    Args:
        runs: as ``page_curves.loss_runs`` reads them.
        terms: only these losses.

    Raises:
        DataError: nothing to draw.
    """
    from matplotlib import rc_context

    panels = [
        (f"{run['title']}, seed {run['seed']}: {phase['name']}", phase, chosen)
        for run in runs
        for phase in run["phases"]
        if (chosen := [t for t in _drawn(phase) if not terms or t in terms])
    ]
    if not panels:
        known = sorted({t for run in runs for phase in run["phases"] for t in _drawn(phase)})
        raise DataError(f"no such losses in the logs; they hold {', '.join(known) or 'none'}.")
    with rc_context(STYLE):
        wide = min(2, len(panels))
        tall = math.ceil(len(panels) / wide)
        figure = _figure(3.4 * wide, 2.5 * tall)
        for number, (title, phase, chosen) in enumerate(panels):
            axes = figure.add_subplot(tall, wide, number + 1)
            for index, term in enumerate(chosen):
                values = [math.nan if v is None else v for v in phase["losses"][term]]
                axes.plot(
                    phase["steps"], values, lw=0.9, label=term,
                    color=COLOURS[index % len(COLOURS)], ls=LINES[index // len(COLOURS) % 4],
                )  # fmt: skip
            axes.set(title=title, xlabel="step")
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.28),
                ncols=3,
                columnspacing=0.8,
                handlelength=1.4,
            )
    return figure


def _drawn(phase: Mapping[str, Any]) -> list[str]:
    """The losses that make a line: a phase's first entry still has means of the one before."""
    return [
        term
        for term, values in phase["losses"].items()
        if sum(value is not None for value in values) > min(1, len(values) - 1)
    ]


def metric_figure(
    points: Sequence[Mapping[str, Any]],
    name: str,
    title: str,
    unit: str,
    classes: Mapping[Any, str],
) -> Figure:
    """Draw a metric against training time: a panel per direction, a point per seed.

    Args:
        points: as ``page_curves.metric_points`` makes them, of one protocol.
        name: the metric's.
        title, unit: how it is printed.
        classes: (data set, direction) -> name of the panel.

    Raises:
        DataError: no trained row has the metric.
    """
    from matplotlib import rc_context

    chosen = [point for point in points if point["metric"] == name]
    if not chosen:
        known = ", ".join(sorted({str(point["metric"]) for point in points})) or "none"
        raise DataError(f"no record of a trained row has the metric '{name}'; recorded: {known}.")
    sides = list(dict.fromkeys(tuple(point["side"]) for point in chosen))
    rows = list(dict.fromkeys(str(point["title"]) for point in chosen))
    with rc_context(STYLE):
        figure = _figure(2.8 * len(sides), 2.4)
        panels = figure.subplots(1, len(sides), squeeze=False, sharey=True)[0]
        for axes, side in zip(panels, sides, strict=True):
            for number, row in enumerate(rows):
                mine = [p for p in chosen if p["title"] == row and tuple(p["side"]) == side]
                colour = COLOURS[number % len(COLOURS)]
                axes.plot(
                    [p["seconds"] / 60 for p in mine],
                    [p["value"] for p in mine],
                    ls="none",
                    marker=MARKERS[number % len(MARKERS)],
                    ms=4,
                    color=colour,
                    mfc="none" if number >= len(COLOURS) else colour,
                    label=row,
                )
            axes.set(title=classes.get(side, " ".join(side)), xlabel="training time (min)")
            axes.set_xlim(left=0)
        panels[0].set_ylabel(f"{title} ({unit})" if unit else title)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def scaling_figure(documents: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw seconds and memory against instances per picture: a panel each per document.

    Args:
        documents: as ``page_curves.read_bench`` reads what `udit-bench bench --json` printed.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = _figure(5.6, 2.3 * len(documents))
        grid = figure.subplots(len(documents), 2, squeeze=False)
        for pair, document in zip(grid, documents, strict=True):
            lines: dict[str, list[Mapping[str, Any]]] = {}
            for cost in document["costs"]:
                name = f"{cost['title']}: {cost['phase']}" if cost["phase"] else str(cost["title"])
                lines.setdefault(name, []).append(cost)
            for axes, field, label in zip(
                pair, ("seconds", "memory"), ("seconds", "peak memory (MiB)"), strict=True
            ):
                for number, (name, costs) in enumerate(lines.items()):
                    axes.plot(
                        [c["instances"] for c in costs], [c[field] for c in costs], lw=0.9, ms=4,
                        marker=MARKERS[number % len(MARKERS)], label=name,
                        color=COLOURS[number % len(COLOURS)],
                    )  # fmt: skip
                axes.set(xlabel="instances per picture", ylabel=label)
                axes.set_xscale("log", base=2)
                ticks = sorted({c["instances"] for c in document["costs"]})
                axes.set_xticks(ticks, [str(tick) for tick in ticks])
                axes.set_ylim(0, 1.08 * max(c[field] for c in document["costs"]))
            what = "a training step" if document["what"] == "train" else "a translation"
            pair[0].set_title(f"{what}; {document['about']}", loc="left", fontsize=6)
            pair[1].legend()
    return figure
