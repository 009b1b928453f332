"""Is the picture taken for the target class?  The classification scores of InstaGAN, App. D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from udit_bench.metrics.base import Accumulator, Estimate, Judged, Metric, Tools
from udit_bench.metrics.bootstrap import interval
from udit_bench.scene import ImageArray, MaskArray

if TYPE_CHECKING:
    from udit_bench.metrics.classifiers.base import Classifier

FILL = 128
"""Grey, the middle of the range: what a mask multiplies to in pictures of [-1, 1]."""

BUFFER = 32
"""Pictures that wait for the classifier, at most."""


def masked_image(image: ImageArray, masks: MaskArray, fill: int = FILL) -> ImageArray:
    """The picture inside of its masks, one colour outside.

    Args:
        image: ``(H, W, 3) uint8``; left as it is.
        masks: ``(N, H, W) bool``; N = 0 leaves nothing of the picture.
        fill: level of all three channels outside, in [0, 255].

    Returns:
        ``(H, W, 3) uint8``.

    Raises:
        ValueError: picture and masks differ in height or width.
    """
    if masks.shape[1:] != image.shape[:2]:
        raise ValueError(f"masks are {masks.shape[1:]}, the picture is {image.shape[:2]} (H, W)")
    inside = np.asarray(masks.any(axis=0))[:, :, None]
    return np.where(inside, image, np.uint8(fill))


def classification_score(predicted: Sequence[bool]) -> float | None:
    """Share of pictures that are predicted as the target class, in [0, 100]; None of none."""
    return 100.0 * sum(map(bool, predicted)) / len(predicted) if len(predicted) else None


@dataclass
class _Share(Accumulator):
    """Keeps a boolean a picture, and at most ``BUFFER`` pictures until they are classified."""

    classifier: Classifier
    target: int
    masked: bool
    predicted: list[bool] = field(default_factory=list)
    waiting: list[tuple[int, ImageArray]] = field(default_factory=list)

    def add(self, picture: Judged) -> None:
        if not self.masked:
            self._wait(picture.image)
        elif picture.masks.any():
            self._wait(masked_image(picture.image, picture.masks))
        elif len(picture.masks):
            self.predicted.append(False)

    def _wait(self, image: ImageArray) -> None:
        self.waiting.append((len(self.predicted), image.copy()))
        self.predicted.append(False)
        if len(self.waiting) == BUFFER:
            self._classify()

    def _classify(self) -> None:
        if not self.waiting:
            return
        found = self.classifier.predict([image for _, image in self.waiting])
        for (place, _), row in zip(self.waiting, found, strict=True):
            self.predicted[place] = bool(row[self.target] > row[1 - self.target])
        self.waiting = []

    def estimate(self) -> Estimate:
        self._classify()
        value = classification_score(self.predicted)
        if value is None:
            return Estimate(None)
        return Estimate(value, *interval([[float(p)] for p in self.predicted], binary=True))


@dataclass(frozen=True)
class ClassificationMetric(Metric):
    """Share of pictures that the classifier takes for the target class.

    Pictures without source instances have nothing to mask to: they count in the whole form only.
    A picture with instances but without a generated pixel counts as not predicted in the masked
    form. Equal probabilities count as not predicted.

    Attributes:
        masked: each picture is shown inside its generated masks only.
    """

    name: str
    title: str
    definition: str
    source: str
    masked: bool
    needs: ClassVar[str] = "a classifier (--classifier)"

    def start(self, tools: Tools) -> Accumulator | None:
        if tools.classifier is None:
            return None
        return _Share(tools.classifier, tools.target, self.masked)


CLS = ClassificationMetric(
    "cls",
    "Class. score",
    "Share of pictures that a classifier of the two classes takes for the target class.",
    "InstaGAN, Sec. 3.1 and App. D, Table 1",
    masked=False,
)
CLS_MASKED = ClassificationMetric(
    "cls_masked",
    "Masked class. score",
    "Share of pictures that the classifier takes for the target class where it sees them inside "
    "their generated masks only, grey outside; none generated is a miss.",
    "InstaGAN, Sec. 3.1 and App. D, Table 2",
    masked=True,
)
