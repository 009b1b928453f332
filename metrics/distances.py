"""KID and FID as metrics: on demand, since they need another network and all pictures at once."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from udit_bench.metrics.base import Accumulator, Estimate, Judged, Metric, Tools
from udit_bench.scene import ImageArray

SUBSETS = 100
"""Random subsets that KID is the mean over."""


def _digest(path: Path | None) -> str:
    """sha256 of a weights file; what torch-fidelity downloads has a name of its own."""
    if path is None:
        return "torch-fidelity"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class _Distance(Accumulator):
    """Keeps the row's pictures as uint8; real ones are read at the end."""

    what: Literal["kid", "fid"]
    real: Callable[[], Iterable[ImageArray]]
    inception: Path | None
    device: str
    images: list[ImageArray] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    def add(self, picture: Judged) -> None:
        self.images.append(picture.image)

    def estimate(self) -> Estimate:
        from udit_bench.metrics.fidelity import fid, fid_warning, kid, subset_size

        real = list(self.real())
        if min(len(self.images), len(real)) < 2:
            return Estimate(None)
        self.provenance = {
            "inception": _digest(self.inception),
            "real": len(real),
            "kid_subsets": SUBSETS,
            "kid_subset_size": subset_size(len(self.images), len(real)),
            "kid_seed": 0,
        }
        if self.what == "kid":
            mean, spread = kid(
                self.images, real, weights=self.inception, subsets=SUBSETS, device=self.device
            )
            self.provenance["kid_sd"] = spread
            return Estimate(mean)
        warning = fid_warning(len(self.images), len(real))
        if warning:
            warnings.warn(warning, UserWarning, stacklevel=2)
        return Estimate(fid(self.images, real, weights=self.inception, device=self.device))


@dataclass(frozen=True)
class DistanceMetric(Metric):
    """A distance of the translated pictures from the real ones of the target domain.

    The row *real* is at the distance of a set from itself: its KID is slightly below 0.
    """

    name: Literal["kid", "fid"]
    title: str
    definition: str
    source: str
    decimals: int
    unit: str = ""
    higher_is_better: bool = False
    on_demand: ClassVar[bool] = True
    needs: ClassVar[str] = (
        "torch-fidelity, and Inception weights by download or --inception-weights"
    )

    def start(self, tools: Tools) -> Accumulator:
        return _Distance(self.name, tools.real, tools.inception, tools.device)


KID = DistanceMetric(
    "kid",
    "KID",
    "Kernel Inception distance to the split's real pictures of the target domain, unbiased, mean "
    "over random subsets.",
    "Binkowski et al. 2018, Sec. 4",
    4,
)
FID = DistanceMetric(
    "fid",
    "FID",
    "Fréchet Inception distance to the split's real pictures of the target domain; biased below "
    "2,048 pictures.",
    "Heusel et al. 2017, Sec. 1",
    1,
)
