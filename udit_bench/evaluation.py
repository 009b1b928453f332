"""Translations -> detector -> metrics -> records: the judge at work.

A row of a table is a sequence of pictures with one mask per source instance, whoever made them: a
run, a folder from outside, or a bound (real pictures, or the source copied).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from udit_bench.datasets.base import SceneSet, SceneSource
from udit_bench.datasets.transforms import fit
from udit_bench.errors import DataError
from udit_bench.files import write_text
from udit_bench.metrics.bootstrap import interval
from udit_bench.metrics.detectors.base import Detections, Detector
from udit_bench.metrics.instance import Accumulator
from udit_bench.metrics.protocols import InstanceResult, Protocol, judge_image
from udit_bench.records import Cost, Record, Value
from udit_bench.registry import METRICS
from udit_bench.scene import Direction, source_domain, target_domain
from udit_bench.translation import Translated

BATCH = 16
INSTANCE_COLUMNS = (
    "kind", "row", "variant", "seed", "dataset", "direction", "split", "size", "protocol",
    "detector", "image", "instance", "iou", "score", "matched", "reason",
)  # fmt: skip
ROW_COLUMNS = INSTANCE_COLUMNS[:10]


@dataclass(frozen=True, eq=False)
class Row:
    """What is to be judged in one direction, and how it will be called.

    Attributes:
        kind, row, variant, ablation, title, seed, cost: as in a ``Record``.
        direction: ``AtoB`` or ``BtoA``.
        items: the pictures with their masks, one per source scene.
        domain: what the detector is told they are: the direction, or ``A`` / ``B`` for real ones.
        context: run folder, commit, hardware and the like.
    """

    kind: Literal["method", "bound", "external"]
    row: str
    title: str
    direction: Direction
    items: Iterable[Translated]
    domain: str
    variant: str = ""
    ablation: str | None = None
    seed: int | None = None
    cost: Cost = field(default_factory=Cost)
    context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """What rows are judged on: a split of a source, at a size.

    Attributes:
        source: the data set.
        split: an existing split.
        size: (H, W) of judged pictures.
    """

    source: SceneSource
    split: str
    size: tuple[int, int]

    def scenes(self, direction: Direction) -> SceneSet:
        """The source scenes of a direction."""
        return self.source.scenes(self.split, source_domain(direction))

    def target(self, direction: Direction) -> str:
        """Class name of what is generated."""
        return self.source.label(target_domain(direction))

    def bounds(self, direction: Direction) -> Iterator[Row]:
        """The two rows that every table starts with: real pictures, and the source copied."""
        real = self.source.scenes(self.split, target_domain(direction))
        yield Row(
            "bound", "real", "real", direction, _as_items(real, self.size), target_domain(direction)
        )
        yield Row(
            "bound",
            "source_copy",
            "source copy",
            direction,
            _as_items(self.scenes(direction), self.size),
            source_domain(direction),
        )


def _as_items(scenes: SceneSet, size: tuple[int, int]) -> Iterator[Translated]:
    for scene in scenes:
        fitted = fit(scene, size)
        yield Translated(scene.id, fitted.image, fitted.masks, scene.indices)


@dataclass
class _Judged:
    """All instances of a row under one protocol, grouped by picture."""

    images: list[str] = field(default_factory=list)
    indices: list[tuple[int, ...]] = field(default_factory=list)
    results: list[list[InstanceResult]] = field(default_factory=list)


def require_class(detector: Detector, target: str) -> None:
    """DataError unless the detector can name the class."""
    if detector.categories is not None and target not in detector.categories:
        raise DataError(
            f"the detector '{detector.identity.backend}' ({detector.identity.architecture}) does "
            f"not know the class '{target}': train one that does (`udit-bench detector train "
            f"--data ...`, then --detector-weights) or give detections (--detections FILE)."
        )


def evaluate_row(
    row: Row, benchmark: Benchmark, detector: Detector, protocols: Sequence[Protocol]
) -> tuple[list[Record], list[dict[str, Any]]]:
    """Judge one row: a record per protocol, and a line per instance and protocol.

    Args:
        row: what to judge; its items are read once.
        benchmark: the data it is about.
        detector: the judge.
        protocols: each is computed from the same detections.

    Raises:
        DataError: the detector cannot name the target class.
    """
    target = benchmark.target(row.direction)
    require_class(detector, target)
    judged = {protocol.name: _Judged() for protocol in protocols}
    for items, detections in _detect(row, detector):
        for item, found in zip(items, detections, strict=True):
            for protocol in protocols:
                into = judged[protocol.name]
                into.images.append(item.id)
                into.indices.append(item.indices)
                into.results.append(judge_image(protocol, item.masks, target, found))
    records, lines = list[Record](), list[dict[str, Any]]()
    for protocol in protocols:
        record = _record(row, benchmark, detector, protocol, judged[protocol.name].results)
        records.append(record)
        lines += _lines(record, judged[protocol.name])
    return records, lines


def _detect(row: Row, detector: Detector) -> Iterator[tuple[list[Translated], list[Detections]]]:
    iterator = iter(row.items)
    while items := list(islice(iterator, BATCH)):
        ids = [item.id for item in items]
        yield items, detector.detect([item.image for item in items], ids, row.domain)


def _record(
    row: Row,
    benchmark: Benchmark,
    detector: Detector,
    protocol: Protocol,
    results: Sequence[Sequence[InstanceResult]],
) -> Record:
    source = benchmark.source
    return Record(
        kind=row.kind,
        row=row.row,
        variant=row.variant,
        ablation=row.ablation,
        title=row.title,
        dataset=source.name,
        direction=row.direction,
        source=source.label(source_domain(row.direction)),
        target=benchmark.target(row.direction),
        split=benchmark.split,
        size=benchmark.size,
        manifest={
            domain: source.scenes(benchmark.split, domain).fingerprint() for domain in ("A", "B")
        },
        protocol=protocol.as_dict(),
        detector=detector.identity.as_dict(),
        seed=row.seed,
        images=len(results),
        instances=sum(len(result) for result in results),
        metrics={name: _value(name, results) for name in METRICS.names()},
        cost=row.cost,
        context=row.context,
    )


def _value(name: str, results: Sequence[Sequence[InstanceResult]]) -> Value:
    accumulator = Accumulator(METRICS.load(name))
    for image in results:
        accumulator.add(image)
    value = accumulator.compute()
    if value is None:
        return Value(value=None)
    low, high = interval(accumulator.per_image, binary=accumulator.metric.binary)
    return Value(value=value, low=low, high=high)


def _lines(record: Record, judged: _Judged) -> list[dict[str, Any]]:
    shared = _row_of(record)
    return [
        {
            **shared,
            "image": image,
            "instance": index,
            "iou": round(result.iou, 6),
            "score": round(result.score, 6),
            "matched": int(result.matched),
            "reason": result.reason,
        }
        for image, indices, results in zip(
            judged.images, judged.indices, judged.results, strict=True
        )
        for index, result in zip(indices, results, strict=True)
    ]


def _row_of(record: Record) -> dict[str, Any]:
    """The columns that name a record's lines in the CSV of instances."""
    detector = record.detector
    return {
        "kind": record.kind,
        "row": record.row,
        "variant": record.variant,
        "seed": "" if record.seed is None else record.seed,
        "dataset": record.dataset,
        "direction": record.direction,
        "split": record.split,
        "size": f"{record.size[0]}x{record.size[1]}",
        "protocol": record.protocol["name"],
        "detector": f"{detector['backend']}:{detector['weights'][:8]}@{detector['input_size']}",
    }


def merge_instances(path: Path, records: Sequence[Record], lines: Sequence[dict[str, Any]]) -> None:
    """Put the lines of ``records`` into a CSV, in the place of any older ones of theirs; atomic."""
    fresh = {_row_key(_row_of(record)) for record in records}
    kept: list[dict[str, Any]] = []
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as handle:
            kept = [line for line in csv.DictReader(handle) if _row_key(line) not in fresh]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, INSTANCE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *lines])
    write_text(path, buffer.getvalue())


def _row_key(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(line[column]) for column in ROW_COLUMNS)
