"""What judging costs: the detector's own time against matching and metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from udit_bench.datasets.base import SceneSet, SceneSource
from udit_bench.datasets.transforms import fit
from udit_bench.errors import DataError
from udit_bench.evaluation import Benchmark, Extras, Row, evaluate_row
from udit_bench.metrics.detectors.base import Detections, Detector
from udit_bench.metrics.protocols import PROTOCOLS
from udit_bench.records import Record
from udit_bench.scene import Domain, ImageArray, Scene
from udit_bench.translation import Translated


@dataclass(frozen=True)
class EvalCost:
    """Seconds of one evaluation, all protocols and metrics but KID and FID.

    Attributes:
        detector: backend.
        pictures, instances: judged.
        detector_seconds: of the detector alone.
        metrics_seconds: from its stored detections to records: matching, metrics, intervals.
    """

    detector: str
    pictures: int
    instances: int
    detector_seconds: float
    metrics_seconds: float

    @property
    def share(self) -> float:
        """Metrics over detector."""
        return self.metrics_seconds / self.detector_seconds

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "share": self.share}


class _Held(SceneSet):
    """Scenes in memory, at their final size: reading them is no part of what is measured."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes
        self.ids = tuple(scene.id for scene in scenes)

    def load(self, index: int) -> Scene:
        return self._scenes[index]

    def fingerprint(self) -> str:
        return "held"


class _HeldSource(SceneSource):
    """The first scenes of both domains of a source, in memory."""

    def __init__(self, source: SceneSource, split: str, count: int, size: tuple[int, int]) -> None:
        self.name, self.labels, self.splits = source.name, source.labels, (split,)
        self._sets: dict[Domain, _Held] = {}
        domains: tuple[Domain, Domain] = ("A", "B")
        for domain in domains:
            scenes = source.scenes(split, domain)
            count = min(count, len(scenes))
            self._sets[domain] = _Held([fit(scenes[index], size) for index in range(count)])

    def scenes(self, split: str, domain: Domain) -> SceneSet:
        return self._sets[domain]


class _Stored(Detector):
    """Gives back what another detector said."""

    def __init__(self, detector: Detector, found: dict[str, Detections]) -> None:
        self.identity, self.categories = detector.identity, detector.categories
        self._found = found

    def detect(
        self, images: Sequence[ImageArray], ids: Sequence[str], domain: str
    ) -> list[Detections]:
        return [self._found[name] for name in ids]


def measure_eval(
    source: SceneSource,
    split: str,
    size: tuple[int, int],
    detector: Detector,
    extras: Extras,
    *,
    pictures: int = 500,
    batch: int = 16,
) -> EvalCost:
    """Judge as many pictures of B as if A had been translated to them.

    Args:
        source, split: the first ``pictures`` scenes of both domains are used, held in memory.
        size: (H, W) of the pictures.
        detector: it and the metrics are warmed up on pictures that are not measured.
        extras: the classifier, where there is one.
        pictures: at most so many.
        batch: pictures that the detector is given at a time.

    Raises:
        DataError: a domain has no pictures.
    """
    held = _HeldSource(source, split, pictures, size)
    A, B = held.scenes(split, "A"), held.scenes(split, "B")
    if not len(A) or not len(B):
        raise DataError(f"{source.name}, {split}: a domain has no pictures to judge.")
    items = list(_as_translations(A, B))
    found: dict[str, Detections] = {}
    detector.detect([item.image for item in items[:batch]], [i.id for i in items[:batch]], "AtoB")
    _judge(items[:1], held, split, size, _Stored(detector, _nothing(items[:1])), extras)  # warm
    started = time.perf_counter()
    for start in range(0, len(items), batch):
        some = items[start : start + batch]
        names = [item.id for item in some]
        said = detector.detect([item.image for item in some], names, "AtoB")
        found.update(zip(names, said, strict=True))
    middle = time.perf_counter()
    records = _judge(items, held, split, size, _Stored(detector, found), extras)
    ended = time.perf_counter()
    return EvalCost(
        detector=detector.identity.backend,
        pictures=len(items),
        instances=records[0].instances,
        detector_seconds=middle - started,
        metrics_seconds=ended - middle,
    )


def _as_translations(A: SceneSet, B: SceneSet) -> Iterator[Translated]:
    for number in range(min(len(A), len(B))):
        made = B[number]
        yield Translated(A.ids[number], made.image, made.masks, made.indices)


def _nothing(items: Sequence[Translated]) -> dict[str, Detections]:
    return {item.id: Detections.none(item.image.shape[:2]) for item in items}


def _judge(
    items: Sequence[Translated],
    source: SceneSource,
    split: str,
    size: tuple[int, int],
    detector: Detector,
    extras: Extras,
) -> list[Record]:
    row = Row("external", "bench", "bench", "AtoB", items, "AtoB")
    protocols = list(PROTOCOLS.values())
    return evaluate_row(row, Benchmark(source, split, size), detector, protocols, extras)[0]
