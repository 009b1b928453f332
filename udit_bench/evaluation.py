"""Translations -> detector -> metrics -> records: the judge at work.

A row of a table is a sequence of pictures with one mask per source instance, whoever made them: a
run, a folder from outside, or a bound (real pictures, or the source copied).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from udit_bench.datasets.base import SceneSet, SceneSource
from udit_bench.datasets.transforms import fit
from udit_bench.errors import DataError
from udit_bench.instance_lines import row_columns
from udit_bench.metrics.base import Accumulator, Judged, Metric, Tools
from udit_bench.metrics.detectors.base import Detections, Detector
from udit_bench.metrics.protocols import InstanceResult, Overlaps, Protocol, judge, overlaps
from udit_bench.metrics.sensitivity import SensitivityGrid
from udit_bench.records import Cost, GridValue, Record, Value
from udit_bench.registry import METRICS
from udit_bench.scene import Direction, ImageArray, Scene, source_domain, target_domain
from udit_bench.translation import Translated

if TYPE_CHECKING:
    from udit_bench.metrics.classifiers.base import Classifier

BATCH = 16


@dataclass(frozen=True, eq=False)
class Row:
    """What is to be judged in one direction, and how it will be called.

    Attributes:
        kind, row, variant, ablation, title, seed, cost: as in a ``Record``.
        direction: ``AtoB`` or ``BtoA``.
        items: the pictures with their masks, one per source scene.
        domain: what the detector is told they are: the direction, or ``A`` / ``B`` for real ones.
        paired: each item is a translation of the source scene with its id; real pictures are not.
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
    paired: bool = True
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
            "bound",
            "real",
            "real",
            direction,
            _as_items(real, self.size),
            target_domain(direction),
            paired=False,
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


@dataclass(frozen=True)
class Extras:
    """What is measured beyond the detector's verdict.

    Attributes:
        classifier: for the classification scores; without one they are left out.
        asked: metrics that run on demand only.
        inception: weights for KID and FID instead of the download.
        device: where networks run.
    """

    classifier: Classifier | None = None
    asked: frozenset[str] = frozenset()
    inception: Path | None = None
    device: str = "cpu"


def require_class(detector: Detector, target: str) -> None:
    """DataError unless the detector can name the class."""
    if detector.categories is not None and target not in detector.categories:
        raise DataError(
            f"the detector '{detector.identity.backend}' ({detector.identity.architecture}) does "
            f"not know the class '{target}': train one that does (`udit-bench detector train "
            f"--data ...`, then --detector-weights) or give detections (--detections FILE)."
        )


def evaluate_row(
    row: Row,
    benchmark: Benchmark,
    detector: Detector,
    protocols: Sequence[Protocol],
    extras: Extras | None = None,
) -> tuple[list[Record], list[dict[str, Any]]]:
    """Judge one row: a record per protocol, and a line per instance and protocol.

    Args:
        row: what to judge; its items are read once.
        benchmark: the data it is about.
        detector: the judge.
        protocols: each is computed from the same detections.
        extras: further judges; None: the detector alone.

    Raises:
        DataError: the detector cannot name the target class, or a picture of a paired row has the
            name of no source scene.
    """
    require_class(detector, benchmark.target(row.direction))
    judging = _Judging(row, benchmark, detector, protocols, extras or Extras())
    for items, detections in _detect(row, detector):
        for item, found in zip(items, detections, strict=True):
            judging.add(item, found)
    return judging.records(), judging.lines()


def _detect(row: Row, detector: Detector) -> Iterator[tuple[list[Translated], list[Detections]]]:
    iterator = iter(row.items)
    while items := list(islice(iterator, BATCH)):
        ids = [item.id for item in items]
        yield items, detector.detect([item.image for item in items], ids, row.domain)


class _Judging:
    """One row under several protocols, picture by picture: nothing but numbers is kept."""

    def __init__(
        self,
        row: Row,
        benchmark: Benchmark,
        detector: Detector,
        protocols: Sequence[Protocol],
        extras: Extras,
    ) -> None:
        self.row, self.benchmark, self.detector, self.extras = row, benchmark, detector, extras
        self.protocols = protocols
        self.target = benchmark.target(row.direction)
        self.sources = benchmark.scenes(row.direction) if row.paired else None
        self.places = {} if self.sources is None else dict(_numbered(self.sources.ids))
        self.images: list[tuple[str, tuple[int, ...]]] = []
        self.results: dict[str, list[list[InstanceResult]]] = {p.name: [] for p in protocols}
        self.grids = {p.name: SensitivityGrid(p) for p in protocols}
        self.metrics: dict[tuple[str, str], Accumulator] = {}
        for protocol in protocols:
            self._start(protocol)

    def _start(self, protocol: Protocol) -> None:
        """Accumulators of a protocol; what no protocol changes is measured under the first."""
        tools = Tools(
            protocol=protocol,
            source=self.benchmark.source.label(source_domain(self.row.direction)),
            target=0 if target_domain(self.row.direction) == "A" else 1,
            real=self._real_images,
            categories=self.detector.categories,
            classifier=self.extras.classifier,
            asked=self.extras.asked,
            inception=self.extras.inception,
            device=self.extras.device,
        )
        metrics: dict[str, Metric] = METRICS.load_all()
        for name, metric in metrics.items():
            if metric.on_demand and name not in self.extras.asked:
                continue
            if metric.per_protocol or protocol is self.protocols[0]:
                accumulator = metric.start(tools)
                if accumulator is not None:
                    place = protocol.name if metric.per_protocol else ""
                    self.metrics[place, name] = accumulator

    def _real_images(self) -> Iterator[ImageArray]:
        real = self.benchmark.source.scenes(self.benchmark.split, target_domain(self.row.direction))
        return (fit(scene, self.benchmark.size).image for scene in real)

    def _source(self, item: Translated) -> Scene | None:
        if self.sources is None:
            return None
        if item.id not in self.places:
            raise DataError(f"{self.row.title}: the picture '{item.id}' is of no source scene.")
        return fit(self.sources[self.places[item.id]], item.image.shape[:2])

    def add(self, item: Translated, detections: Detections) -> None:
        """Judge and measure one more picture."""
        self.images.append((item.id, item.indices))
        source = self._source(item)
        found: dict[int, Overlaps] = {}
        pictures: dict[str, Judged] = {}
        for protocol in self.protocols:
            most = protocol.max_detections
            if most not in found:
                found[most] = overlaps(item.masks, self.target, detections, most)
            results = judge(protocol, found[most])
            self.results[protocol.name].append(results)
            self.grids[protocol.name].add(found[most])
            pictures[protocol.name] = Judged(
                item.image, item.masks, self.target, detections, results, source
            )
        pictures[""] = pictures[self.protocols[0].name]
        for (place, _), accumulator in self.metrics.items():
            accumulator.add(pictures[place])

    def records(self) -> list[Record]:
        """One record per protocol."""
        values: dict[tuple[str, str], Value] = {}
        for key, accumulator in self.metrics.items():
            value, low, high = accumulator.estimate()
            values[key] = Value(value=value, low=low, high=high)
        return [self._record(protocol, values) for protocol in self.protocols]

    def _record(self, protocol: Protocol, values: dict[tuple[str, str], Value]) -> Record:
        row, source, results = self.row, self.benchmark.source, self.results[protocol.name]
        classifier = self.extras.classifier
        return Record(
            kind=row.kind,
            row=row.row,
            variant=row.variant,
            ablation=row.ablation,
            title=row.title,
            dataset=source.name,
            direction=row.direction,
            source=source.label(source_domain(row.direction)),
            target=self.target,
            split=self.benchmark.split,
            size=self.benchmark.size,
            manifest={
                domain: source.scenes(self.benchmark.split, domain).fingerprint()
                for domain in ("A", "B")
            },
            protocol=protocol.as_dict(),
            detector=self.detector.identity.as_dict(),
            seed=row.seed,
            images=len(results),
            instances=sum(len(result) for result in results),
            metrics={
                name: value for (place, name), value in values.items()
                if place in ("", protocol.name)
            },
            sensitivity=[
                GridValue(**asdict(cell)) for cell in self.grids[protocol.name].cells()
            ],
            classifier=None if classifier is None else classifier.identity.as_dict(),
            fidelity=self._fidelity(),
            cost=row.cost,
            context=row.context,
        )  # fmt: skip

    def _fidelity(self) -> dict[str, Any] | None:
        """How KID and FID were made; None where neither was asked for."""
        made: dict[str, Any] = {}
        for accumulator in self.metrics.values():
            made.update(accumulator.provenance)
        return made or None

    def lines(self) -> list[dict[str, Any]]:
        """A line per instance and protocol."""
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
            for protocol in self.protocols
            for shared in (self._shared(protocol),)
            for (image, indices), results in zip(
                self.images, self.results[protocol.name], strict=True
            )
            for index, result in zip(indices, results, strict=True)
        ]

    def _shared(self, protocol: Protocol) -> dict[str, Any]:
        row, benchmark = self.row, self.benchmark
        return row_columns(
            row.kind, row.row, row.variant, row.seed, benchmark.source.name, row.direction,
            benchmark.split, benchmark.size, protocol.name, self.detector.identity.as_dict(),
        )  # fmt: skip


def _numbered(names: Iterable[str]) -> Iterator[tuple[str, int]]:
    return ((name, number) for number, name in enumerate(names))
