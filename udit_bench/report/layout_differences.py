"""Every row against one: differences paired over the same pictures, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from udit_bench.errors import DataError, RecordsError, unknown_name
from udit_bench.instance_lines import read_instances
from udit_bench.metrics.bootstrap import difference_interval
from udit_bench.records import Record
from udit_bench.registry import METHODS, METRICS
from udit_bench.report.captions import commits, heads_of, protocol_sentence
from udit_bench.report.measurements import (
    HALVES,
    MISSING,
    RowKey,
    finite,
    group_key,
    grouped,
    measure,
    printed,
    row_key,
    row_titles,
)
from udit_bench.report.model import Asked, Cell, Group, Part, Row, Table
from udit_bench.scene import Direction

FIELDS = {"mmr": "matched", "mods": "score", "mvis": "iou"}
"""Metric to its column in the CSV of instances."""
MARK = "*"

PerImage = dict[str, dict[tuple[str, str], float]]
Difference = tuple[float | None, float | None, float | None]


def differences(asked: Asked) -> Table:
    """Lay out each row's MMR, MODS and MVIS minus the baseline's, ``*`` where 0 is outside.

    Raises:
        UsageError: no such row as the baseline.
        DataError: no baseline to be had, or the CSV of instances does not go with the records.
        RecordsError: a row was not judged on the pictures of the baseline.
    """
    records = [r for r in asked.records if r.kind != "bound"]
    titles = row_titles(records)
    base = _baseline(asked.baseline, titles)
    values = _per_image(asked, records)
    measurements = measure(records)
    heads = heads_of(measurements)
    classes = {m.dataset: m.classes for m in measurements}
    counts = {(m.dataset, m.direction): m.images for m in measurements}
    others = {key: title for key, title in titles.items() if key != base}
    found: dict[tuple[str, RowKey, Direction, str], Difference] = {}
    for (dataset, key, side), ours in values.items():
        theirs = values.get((dataset, base, side))
        if key != base and theirs is not None:
            for name, field in FIELDS.items():
                where = f"{titles[key]} and {titles[base]} in '{dataset}', {side}"
                found[dataset, key, side, name] = _difference(
                    ours, theirs, field, counts[dataset, side], where
                )
    heading = {name: str(METRICS.load(name).title) for name in FIELDS}
    columns = [(name, number) for name in FIELDS for number in range(len(HALVES))]
    return Table(
        layout="differences",
        protocol=asked.protocol,
        title=f"Differences from {titles[base]} under the protocol {asked.protocol}",
        caption=" ".join(
            [
                f"Percentage points more than {titles[base]}, by generated class, with the 95 % "
                "interval of the paired difference (BCa bootstrap over pictures; the seeds of a "
                f"row are averaged per picture). {MARK}: the interval leaves out 0. {MISSING}: not "
                "measured, or an interval that is not defined.",
                protocol_sentence(asked.records[0].protocol),
                _seeds(records, titles),
                f"Commit {commits(records)}.",
            ]
        ),
        origin=f"udit-bench table --layout differences --baseline {base[1]} --protocol "
        f"{asked.protocol}: {len(records)} records; commit {commits(records)}",
        corner=f"Method - {titles[base]}",
        groups=tuple(
            Group(
                head,
                tuple(f"{heading[name]} {classes[dataset][n]}" for name, n in columns),
            )
            for dataset, head in heads.items()
        ),
        rows=tuple(
            Row(
                title,
                tuple(
                    _cell(found.get((dataset, key, HALVES[number], name)))
                    for dataset in heads
                    for name, number in columns
                ),
            )
            for key, title in others.items()
        ),
        lines=tuple(
            {
                "dataset": dataset, "row": key[1], "variant": key[2], "title": titles[key],
                "baseline": titles[base], "direction": side, "protocol": asked.protocol,
                "metric": name, "difference": value, "low": low, "high": high,
            }
            for (dataset, key, side, name), (value, low, high) in found.items()
        ),
    )  # fmt: skip


def _baseline(name: str | None, titles: dict[RowKey, str]) -> RowKey:
    """The row that was named, by title or name; without one the first method of the registry."""
    if len(titles) < 2:
        raise DataError("a difference needs two rows that are no bounds: train a second method.")
    if name is not None:
        by_title = {title: key for key, title in titles.items()}
        by_name = {key[1]: key for key in reversed(titles)}  # the first row of a method
        wanted = by_title | {k: v for k, v in by_name.items() if k not in by_title}
        if name not in wanted:
            raise unknown_name("baseline", name, wanted)
        return wanted[name]
    if len(titles) < 2:
        raise DataError("a difference needs two rows that are no bounds: train a second method.")
    known = METHODS.names()
    return min(titles, key=lambda key: known.index(key[1]) if key[1] in known else len(known))


def _per_image(
    asked: Asked, records: Sequence[Record]
) -> dict[tuple[str, RowKey, Direction], list[PerImage]]:
    """Per row and direction one entry a seed: column -> (picture, instance) -> value."""
    if asked.instances is None:
        raise DataError("paired differences need the CSV of instances.")
    read: dict[tuple[str, RowKey, Direction], list[PerImage]] = {}
    for record, lines in zip(records, read_instances(asked.instances, records), strict=True):
        seed: PerImage = {
            field: {(line["image"], line["instance"]): float(line[field]) for line in lines}
            for field in FIELDS.values()
        }
        read.setdefault(group_key(record), []).append(seed)
    return read


def _difference(
    ours: Sequence[PerImage], theirs: Sequence[PerImage], field: str, images: int, where: str
) -> Difference:
    """Of the means over all instances, with its interval; ``images`` counts those without any."""
    a, b = _mean_over_seeds(ours, field), _mean_over_seeds(theirs, field)
    if a.keys() != b.keys():
        raise RecordsError(
            f"{where} were judged on different instances and cannot be paired: evaluate them again."
        )
    if not a:
        return None, None, None
    first: dict[str, list[float]] = {}
    second: dict[str, list[float]] = {}
    for key in a:
        first.setdefault(key[0], []).append(a[key])
        second.setdefault(key[0], []).append(b[key])
    empty = [list[float]() for _ in range(images - len(first))]  # drawn like any other
    low, high = difference_interval([*first.values(), *empty], [*second.values(), *empty])
    value = 100.0 * (sum(a.values()) - sum(b.values())) / len(a)
    return finite(value), finite(low), finite(high)


def _mean_over_seeds(seeds: Sequence[PerImage], field: str) -> dict[tuple[str, str], float]:
    return {key: sum(seed[field][key] for seed in seeds) / len(seeds) for key in seeds[0][field]}


def _cell(difference: Difference | None) -> Cell:
    value, low, high = difference or (None, None, None)
    if value is None:
        return (Part(MISSING),)
    text = _signed(value)
    if low is None or high is None:
        return (Part(f"{text} {MISSING}"),)
    mark = MARK if low > 0 or high < 0 else ""
    return (Part(f"{text}{mark} [{_signed(low)}, {_signed(high)}]"),)


def _signed(value: float) -> str:
    text = printed(value)
    return text if text.startswith("-") else f"+{text}"


def _seeds(records: Sequence[Record], titles: dict[RowKey, str]) -> str:
    counts = {
        titles[key]: len({r.seed for r in group})
        for key, group in grouped(records, row_key).items()
    }
    return "Seeds: " + ", ".join(f"{title} {count}" for title, count in counts.items()) + "."
