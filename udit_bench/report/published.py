"""The papers' own figures, to stand beside ours."""

from __future__ import annotations

import csv
import importlib.resources
from collections.abc import Iterable
from dataclasses import dataclass

HEAD = "published (protocol not public)"


@dataclass(frozen=True)
class Published:
    """One figure of a paper.

    Attributes:
        place: section and table.
        row, ablation: as in our records ("" = the whole method).
        title: how the paper calls the row.
        data: the paper's data set.
        source, target: classes of the direction.
        split: ``train`` or ``test``.
        metric: as in our records, or ``train_hours``.
        value: in percent or hours, with the paper's digits.
    """

    place: str
    row: str
    ablation: str
    title: str
    data: str
    source: str
    target: str
    split: str
    metric: str
    value: str


def read_published(names: Iterable[str]) -> list[Published]:
    """The figures of the named files (``results/published/NAME.csv``), in their order."""
    figures: list[Published] = []
    for name in names:
        path = importlib.resources.files("udit_bench.published") / f"{name}.csv"
        text = path.read_text("utf-8")
        figures += [Published(**line) for line in csv.DictReader(text.splitlines())]
    return figures
