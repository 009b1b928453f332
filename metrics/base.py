"""What a metric must offer: who it is, which way is better, and an accumulator of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from udit_bench.scene import ImageArray, MaskArray, Scene

if TYPE_CHECKING:
    from udit_bench.metrics.classifiers.base import Classifier
    from udit_bench.metrics.detectors.base import Detections
    from udit_bench.metrics.protocols import InstanceResult, Protocol


class Estimate(NamedTuple):
    """A value in the metric's unit with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Judged:
    """All that is known about one picture when it is measured.

    Attributes:
        image: ``(H, W, 3) uint8``, the translated (or real, or copied) picture.
        masks: ``(N, H, W) bool``, the generated masks in the order of the source's instances.
        target: class name of what should have been generated.
        detections: all stored detections of the picture.
        results: ``N`` judgements of the masks under the protocol.
        source: the source scene in the size of the picture; None for real pictures.
    """

    image: ImageArray
    masks: MaskArray
    target: str
    detections: Detections
    results: Sequence[InstanceResult]
    source: Scene | None = None


@dataclass(frozen=True, eq=False)
class Tools:
    """What metrics may use besides the picture.

    Attributes:
        protocol: of the record that is being filled.
        source: class name of what was translated.
        target: number of the target class among the classifier's two: 0 is A, 1 is B.
        real: all pictures of the target domain, ``(H, W, 3) uint8`` each.
        categories: what the detector can name; None: anything.
        classifier: where one was given or is shipped for the data.
        asked: names of the metrics that run on demand only.
        inception: weights for KID and FID; None: the library downloads them.
        device: where networks run.
    """

    protocol: Protocol
    source: str
    target: int
    real: Callable[[], Iterable[ImageArray]]
    categories: frozenset[str] | None = None
    classifier: Classifier | None = None
    asked: frozenset[str] = frozenset()
    inception: Path | None = None
    device: str = "cpu"


class Accumulator(ABC):
    """Takes pictures one by one and keeps as little of them as it can.

    Attributes:
        provenance: how the estimate was made, where the record could not tell otherwise.
    """

    provenance: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def add(self, picture: Judged) -> None:
        """Take in one more picture."""

    @abstractmethod
    def estimate(self) -> Estimate:
        """The metric over all pictures so far; ``Estimate(None)`` where it is not defined."""


class Metric(ABC):
    """A metric: pure functions in its file, and an accumulator that calls them.

    Attributes:
        name: registered name, and key in records.
        title: how tables print it.
        unit: ``%``, ``dB`` ... or empty.
        definition: one sentence.
        source: paper and section, or "ours".
        higher_is_better: which way tables rank.
        decimals: printed.
        per_protocol: depends on the protocol; otherwise it is measured once for all of them.
        on_demand: measured only when asked for (`udit-bench eval --with NAME`).
        needs: what is missing where it cannot be measured, in words.
    """

    name: str
    title: str
    definition: str
    source: str
    unit: str = "%"
    higher_is_better: bool = True
    decimals: int = 1
    per_protocol: ClassVar[bool] = False
    on_demand: ClassVar[bool] = False
    needs: ClassVar[str] = ""

    @abstractmethod
    def start(self, tools: Tools) -> Accumulator | None:
        """A fresh accumulator, or None where the tools do not suffice (the metric is missing)."""
