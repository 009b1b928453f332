"""From records to figures: rows, their order and names, means over seeds."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, TypeVar

from udit_bench.records import Record, Value
from udit_bench.registry import DATASETS, METHODS
from udit_bench.scene import Direction

MISSING = "--"
BOUNDS = ("real", "source copy")
HALVES: tuple[Direction, ...] = ("BtoA", "AtoB")
"""Order of the halves of a cell ``a/b``: a generated instance of A's class comes from BtoA."""
_DECIMALS = 6

RowKey = tuple[str, str, str]
K = TypeVar("K")
R = TypeVar("R")


@dataclass(frozen=True)
class Figure:
    """A number with its interval (one seed) or its standard deviation (several)."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Measurement:
    """One row of a table in one data set and direction, averaged over its seeds.

    Attributes:
        key: (kind, row, variant) as in the records.
        title: how the row is printed; no two rows of a table share one.
        classes: the label of A, the label of B.
        generated: the class that the figures are about.
        seeds: training seeds averaged, 0 for rows without one.
        train_seconds: mean over the seeds.
        ablation: what the row was trained without.
    """

    dataset: str
    key: RowKey
    title: str
    direction: Direction
    classes: tuple[str, str]
    generated: str
    split: str
    size: tuple[int, int]
    protocol: str
    detector: str
    images: int
    instances: int
    seeds: int
    figures: Mapping[str, Figure]
    train_seconds: float | None
    parameters: int | None
    ablation: str | None = None

    @property
    def competes(self) -> bool:
        """Whether the row can be the best one: bound rows cannot."""
        return self.key[0] != "bound"


def printed(value: float | None, decimals: int = 1) -> str:
    """So many decimals, half to even on the decimal digits that the CSV form writes."""
    if value is None:
        return MISSING
    rounded = Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)
    return str(abs(rounded) if rounded == 0 else rounded)  # no -0.0


def summarize(values: Sequence[Value | None]) -> Figure:
    """One value as it is; several as mean and standard deviation (ddof 1), without an interval.

    Missing as soon as one of them is: a mean over the seeds that happened to work would flatter.
    """
    numbers = [number for v in values if v and (number := finite(v.value)) is not None]
    if not values or len(numbers) < len(values):
        return Figure()
    if len(values) == 1:
        only = values[0]
        assert only is not None
        return Figure(finite(only.value), finite(only.low), finite(only.high))
    return Figure(
        finite(statistics.fmean(numbers)), sd=finite(statistics.stdev(numbers))
    )  # fmt: skip


def finite(number: float | None) -> float | None:
    """A number to six decimals; None for what is not finite."""
    if number is None or not math.isfinite(number):
        return None
    return round(float(number), _DECIMALS)


def measure(records: Sequence[Record]) -> list[Measurement]:
    """Turn comparable records into measurements: data sets, rows and halves in canonical order."""
    titles = row_titles(records)
    groups = grouped(records, group_key)
    return [
        _measurement(groups[dataset, key, direction], title)
        for dataset in dataset_order(records)
        for key, title in titles.items()
        for direction in HALVES
        if (dataset, key, direction) in groups
    ]


def _measurement(group: Sequence[Record], title: str) -> Measurement:
    first = group[0]
    names = dict.fromkeys(name for record in group for name in record.metrics)
    seconds = [r.cost.train_seconds for r in group if r.cost.train_seconds is not None]
    return Measurement(
        dataset=first.dataset,
        key=row_key(first),
        title=title,
        direction=first.direction,
        classes=classes_of(first),
        generated=first.target,
        split=first.split,
        size=first.size,
        protocol=str(first.protocol.get("name", "")),
        detector=detector_name(first.detector),
        images=first.images,
        instances=first.instances,
        seeds=sum(record.seed is not None for record in group),
        figures={name: summarize([r.metrics.get(name) for r in group]) for name in names},
        train_seconds=finite(statistics.fmean(seconds)) if seconds else None,
        parameters=next((r.cost.parameters for r in group if r.cost.parameters is not None), None),
        ablation=first.ablation,
    )


def group_key(record: Record) -> tuple[str, RowKey, Direction]:
    """What the seeds of one row share."""
    return record.dataset, row_key(record), record.direction


def row_key(record: Record) -> RowKey:
    """What tells a row of a table from the others."""
    return record.kind, record.row, record.variant


def classes_of(record: Record) -> tuple[str, str]:
    """The label of A, the label of B."""
    pair = (record.source, record.target)
    return pair if record.direction == "AtoB" else (pair[1], pair[0])


def detector_name(detector: Mapping[str, Any]) -> str:
    """Architecture and weights, short."""
    name = str(detector.get("architecture") or detector.get("backend") or "unknown")
    weights = str(detector.get("weights") or "")
    return f"{name} (weights {weights[:8]})" if weights else name


def grouped(records: Iterable[R], key: Callable[[R], K]) -> dict[K, list[R]]:
    """Records by a key, both in the order of their first coming."""
    groups: dict[K, list[R]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def dataset_order(records: Sequence[Record]) -> list[str]:
    """Put registered data sets first, in their order, then the others alphabetically."""
    known = DATASETS.names()
    return sorted({r.dataset for r in records}, key=lambda name: (place_of(name, known), name))


def row_titles(records: Sequence[Record]) -> dict[RowKey, str]:
    """List every row with its title, in canonical order.

    Bound rows (real, source copy), methods in registry order (an unregistered one after them;
    the method itself before its variants, these as recorded), external rows alphabetically.
    Rows that would print alike are told apart by variant or name.
    """
    firsts = {key: group[0] for key, group in grouped(records, row_key).items()}
    seen = list(firsts)
    methods = METHODS.names()

    def rank(key: RowKey) -> tuple[int, int, str, bool, int]:
        kind, row, variant = key
        if kind == "bound":
            plain = re.sub("[_-]", " ", row)
            return 0, place_of(plain, BOUNDS), plain, bool(variant), seen.index(key)
        if kind == "method":
            return 1, place_of(row, methods), row, bool(variant), seen.index(key)
        return 2, 0, firsts[key].title.casefold(), bool(variant), seen.index(key)

    ordered = sorted(seen, key=rank)
    titles = {key: " ".join(firsts[key].title.split()) for key in ordered}
    count = Counter(titles.values())
    return {
        key: title if count[title] == 1 else f"{title} ({key[2] or f'{key[0]} {key[1]}'})"
        for key, title in titles.items()
    }


def place_of(name: str, names: Sequence[str]) -> int:
    """Where a name stands in an order; after all of them if it does not."""
    return names.index(name) if name in names else len(names)


def short_digest(text: str) -> str:
    """Keep the first eight of 40 or 64 hex digits, and what follows them (``-dirty``)."""
    return re.sub(r"\b([0-9a-f]{8})(?:[0-9a-f]{32}|[0-9a-f]{56})(?![0-9a-f])", r"\1", text)
