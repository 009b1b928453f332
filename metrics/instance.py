"""MMR, MODS and MVIS: the three instance metrics of MGD-GAN, Sec. 3.3.

All three are micro averages over the T source instances of one direction, in percent. A miss
counts as 0 in all of them; without any instance (T = 0) a metric is missing: ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from udit_bench.metrics import base
from udit_bench.metrics.base import Estimate, Judged, Metric, Tools
from udit_bench.metrics.bootstrap import interval
from udit_bench.metrics.protocols import InstanceResult


def _percent(values: Sequence[float]) -> float | None:
    return 100.0 * sum(values) / len(values) if len(values) else None


def mmr(matched: Sequence[bool]) -> float | None:
    """Mask match rate: share of the T instances that are matched, in [0, 100]."""
    return _percent([float(value) for value in matched])


def mods(score: Sequence[float]) -> float | None:
    """Mean object detection score of the T instances (each in [0, 1]), in [0, 100]."""
    return _percent(score)


def mvis(iou: Sequence[float]) -> float | None:
    """Mean valid IoU score of the T instances (each in [0, 1]), in [0, 100]."""
    return _percent(iou)


@dataclass(frozen=True)
class InstanceMetric(Metric):
    """A metric that is a mean over instances, in percent.

    Attributes:
        per_instance: an instance's own value, in [0, 1].
        binary: the values are 0 or 1 (their interval can be exact).
    """

    name: str
    title: str
    definition: str
    source: str
    per_instance: Callable[[InstanceResult], float]
    higher_is_better: bool = True
    binary: bool = False
    per_protocol: ClassVar[bool] = True

    def start(self, tools: Tools) -> Accumulator:
        return Accumulator(self)

    def compute(self, results: Iterable[InstanceResult]) -> float | None:
        """The mean over all results in percent, ``None`` without any."""
        return _percent([self.per_instance(result) for result in results])


@dataclass
class Accumulator(base.Accumulator):
    """Keeps one metric's values image by image, as the bootstrap over images needs them.

    Attributes:
        metric: the metric.
        per_image: per image the values of its instances, in [0, 1]; empty lists stay.
    """

    metric: InstanceMetric
    per_image: list[list[float]] = field(default_factory=list)

    def add(self, picture: Judged) -> None:
        self.add_results(picture.results)

    def add_results(self, results: Sequence[InstanceResult]) -> None:
        """Take in the instances of one more image (none is fine)."""
        self.per_image.append([self.metric.per_instance(result) for result in results])

    def compute(self) -> float | None:
        """The micro average over all instances so far, in percent, ``None`` without any."""
        return _percent([value for image in self.per_image for value in image])

    def estimate(self) -> Estimate:
        value = self.compute()
        if value is None:
            return Estimate(None)
        return Estimate(value, *interval(self.per_image, binary=self.metric.binary))


MMR = InstanceMetric(
    name="mmr",
    title="MMR",
    definition="Share of the source instances whose generated mask matches a detection of the "
    "target class.",
    source="MGD-GAN, Sec. 3.3",
    per_instance=lambda result: float(result.matched),
    binary=True,
)
MODS = InstanceMetric(
    name="mods",
    title="MODS",
    definition="Mean score with which the source instances are detected as the target class, "
    "0 where they are not.",
    source="MGD-GAN, Sec. 3.3",
    per_instance=lambda result: result.score,
)
MVIS = InstanceMetric(
    name="mvis",
    title="MVIS",
    definition="Mean IoU of the generated masks with the detected ones of the target class, "
    "0 where there is none.",
    source="MGD-GAN, Sec. 3.3",
    per_instance=lambda result: result.iou,
)
