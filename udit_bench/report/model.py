"""A table before it takes a form: groups of columns, rows of cells, and the figures behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udit_bench.records import Record
from udit_bench.report.measurements import Measurement


@dataclass(frozen=True)
class Part:
    """One half of a cell as printed."""

    text: str
    bold: bool = False


Cell = tuple[Part, ...]


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one head."""

    head: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A printed row: its title and one cell per column, over all groups."""

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table before it takes a form.

    Attributes:
        layout: registered name of the layout.
        protocol: the one protocol of all figures.
        title: a short heading.
        caption: everything needed to read the figures.
        origin: one line on how the table was made.
        corner: head of the column of titles.
        groups: column groups, left to right.
        rows: rows, top to bottom.
        measurements: the figures behind the cells, for forms that hold more than a cell can.
        lines: tidy values of a layout whose figures are not measurements, for the CSV form.
    """

    layout: str
    protocol: str
    title: str
    caption: str
    origin: str
    corner: str
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    measurements: tuple[Measurement, ...] = ()
    lines: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Asked:
    """What a layout is to be made of.

    Attributes:
        records: comparable, of one protocol.
        protocol: its name.
        published: with the papers' figures beside ours.
        instances: CSV of the records' instances.
        baseline: row that the others are compared with.
    """

    records: Sequence[Record]
    protocol: str
    published: bool = False
    instances: Path | None = None
    baseline: str | None = None
