"""What a method costs: training, memory, parameters, and images per second at test."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from udit_bench.errors import DataError
from udit_bench.records import Record
from udit_bench.report.captions import commits, heads_of
from udit_bench.report.measurements import MISSING, RowKey, grouped, measure, row_key, row_titles
from udit_bench.report.model import Asked, Group, Part, Row, Table
from udit_bench.report.published import HEAD, read_published

COLUMNS = (
    "training", "s / epoch", "peak memory (MiB)", "parameters (M)", "images/s at test",
)  # fmt: skip
FIELDS = (
    "train_seconds", "epoch_seconds", "peak_memory_mib", "parameters", "images_per_second",
)  # fmt: skip


def cost(asked: Asked) -> Table:
    """Lay out the cost of every trained row, the paper's claim (57 h against 150 h) beside it.

    Raises:
        DataError: no record is of a trained row.
    """
    records = [r for r in asked.records if r.kind == "method"]
    if not records:
        raise DataError("no records of a trained method: train one, then `udit-bench eval`.")
    titles = row_titles(records)
    heads = heads_of(measure(records))
    members = grouped(records, lambda r: (r.dataset, row_key(r)))
    held = {place: _means(group) for place, group in members.items()}
    columns = (*COLUMNS, f"training, {HEAD}") if asked.published else COLUMNS
    rows = []
    for key, title in titles.items():
        cells: list[str] = []
        for dataset in heads:
            group = members.get((dataset, key), [])
            cells += _cells(held.get((dataset, key), {}))
            if asked.published:
                cells.append(_published(key, group))
        rows.append(Row(title, tuple((Part(text),) for text in cells)))
    return Table(
        layout="cost",
        protocol=asked.protocol,
        title="What the methods cost",
        caption=_caption(records, asked.published),
        origin=f"udit-bench table --layout cost: {len(records)} records; commit {commits(records)}",
        corner="Method",
        groups=tuple(Group(head, columns) for head in heads.values()),
        rows=tuple(rows),
        lines=tuple(
            {"dataset": dataset, "row": key[1], "variant": key[2], "title": titles[key],
             "seeds": len({r.seed for r in members[dataset, key]}), **held[dataset, key]}
            for dataset, key in held
        ),
    )  # fmt: skip


def _means(group: Sequence[Record]) -> dict[str, float | None]:
    """Means over seeds and directions; missing as soon as one of them is."""
    means: dict[str, float | None] = {}
    for name in FIELDS:
        values = [getattr(record.cost, name) for record in group]
        known = [float(value) for value in values if value is not None]
        mean = round(statistics.fmean(known), 6) if len(known) == len(values) else None
        means[name] = int(mean) if mean is not None and name == "parameters" else mean
    return means


def _cells(means: Mapping[str, float | None]) -> list[str]:
    seconds, epoch, memory, parameters, speed = (means.get(name) for name in FIELDS)
    return [
        MISSING if seconds is None else duration(seconds),
        MISSING if epoch is None else f"{epoch:.1f}",
        MISSING if memory is None else f"{memory:.0f}",
        MISSING if parameters is None else f"{parameters / 1e6:.2f}",
        MISSING if speed is None else f"{speed:.1f}",
    ]


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _published(key: RowKey, group: Sequence[Record]) -> str:
    wanted = {(r.row, r.ablation or "", r.source, r.target) for r in group}
    for figure in read_published(["mgdgan_cost"]):
        if (figure.row, figure.ablation, figure.source, figure.target) in wanted:
            return f"{figure.value} h"
    return MISSING


def _caption(records: Sequence[Record], published: bool) -> str:
    said = [
        "Means over seeds; images/s over both directions too. An epoch is one pass over the larger "
        "domain. Peak memory is of the whole training process; parameters are the trainable ones.",
        f"Trained on: {'; '.join(dict.fromkeys(_machine(r.context) for r in records))}.",
        f"{MISSING}: not measured.",
    ]
    if published:
        said.append(
            "Published: MGD-GAN's paper, Sec. 3.4, sheep and giraffes of MS COCO, hardware not "
            "comparable with ours."
        )
    return " ".join([*said, f"Commit {commits(records)}."])


def _machine(context: Mapping[str, Any]) -> str:
    train = context.get("train") or {}
    hardware = train.get("hardware") or {}
    if not hardware:
        return "hardware not recorded"
    where = hardware.get("gpu") if str(train.get("device", "")).startswith("cuda") else None
    threads, processes = train.get("threads"), train.get("processes", 1)
    named = str(where or f"{hardware.get('processor')}, threads: {threads}")
    return named if processes == 1 else f"{processes} x ({named})"
