"""How the figures move with the protocol's two thresholds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from udit_bench.errors import DataError
from udit_bench.records import GridValue, Record
from udit_bench.report.captions import (
    commits,
    data_sentence,
    heads_of,
    protocol_sentence,
    seed_sentence,
)
from udit_bench.report.measurements import (
    HALVES,
    finite,
    group_key,
    grouped,
    measure,
    printed,
    row_titles,
)
from udit_bench.report.model import Asked, Cell, Group, Part, Row, Table

AT = 0.5
"""IoU threshold that MODS and MVIS are shown at; under retrieval they do not depend on it."""


def sensitivity(asked: Asked) -> Table:
    """Lay out MMR over the IoU thresholds, MODS and MVIS; a line per row and score floor.

    Raises:
        DataError: the records have no grid.
    """
    records = [r for r in asked.records if r.sensitivity]
    if not records:
        raise DataError("the records hold no sensitivity grid: run `udit-bench eval` again.")
    measurements = measure(records)
    titles, heads = row_titles(records), heads_of(measurements)
    means = {place: _means(group) for place, group in grouped(records, group_key).items()}
    floors = sorted({floor for held in means.values() for floor, _ in held})
    thresholds = sorted({iou for held in means.values() for _, iou in held})

    def cell(dataset: str, key: Any, floor: float, iou: float, name: str) -> Cell:
        held = (means.get((dataset, key, side), {}).get((floor, iou), {}) for side in HALVES)
        return tuple(Part(printed(values.get(name))) for values in held)

    shown = [(iou, "mmr") for iou in thresholds] + [(AT, "mods"), (AT, "mvis")]
    columns = (*(f"MMR, IoU {iou:g}" for iou in thresholds), "MODS", "MVIS")
    return Table(
        layout="sensitivity",
        protocol=asked.protocol,
        title=f"Sensitivity of the protocol {asked.protocol} to its thresholds",
        caption=" ".join(
            [
                "In percent; cells are by generated class, in the order of the column heads. A "
                "candidate needs the score, a match the IoU; MODS and MVIS at IoU "
                f"{AT:g}. All from the same detections.",
                protocol_sentence(records[0].protocol),
                *(
                    data_sentence(head, [m for m in measurements if m.dataset == dataset])
                    for dataset, head in heads.items()
                ),
                seed_sentence(measurements, heads),
                f"Commit {commits(records)}.",
            ]
        ),
        origin=f"udit-bench table --layout sensitivity --protocol {asked.protocol}: "
        f"{len(records)} records; commit {commits(records)}",
        corner="Method, score at least",
        groups=tuple(Group(head, columns) for head in heads.values()),
        rows=tuple(
            Row(
                f"{title}, {floor:g}",
                tuple(
                    cell(dataset, key, floor, iou, name)
                    for dataset in heads
                    for iou, name in shown
                ),
            )
            for key, title in titles.items()
            for floor in floors
        ),
        lines=tuple(
            {"dataset": dataset, "row": key[1], "variant": key[2], "title": titles[key],
             "direction": direction, "protocol": asked.protocol, "score_floor": floor,
             "iou_threshold": iou, **values}
            for (dataset, key, direction), held in means.items()
            for (floor, iou), values in held.items()
        ),
    )  # fmt: skip


def _means(group: Sequence[Record]) -> dict[tuple[float, float], dict[str, float | None]]:
    """Means over the seeds of a row at every pair of thresholds."""
    places: dict[tuple[float, float], list[GridValue]] = {}
    for record in group:
        for value in record.sensitivity:
            places.setdefault((value.score_floor, value.iou_threshold), []).append(value)
    return {
        place: {name: _mean([getattr(v, name) for v in values]) for name in ("mmr", "mods", "mvis")}
        for place, values in places.items()
        if len(values) == len(group)
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return finite(statistics.fmean(known)) if known and len(known) == len(values) else None
