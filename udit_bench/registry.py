"""Names to things, without importing the things.

Our own entries stand in one static table per kind; another package adds its own through an entry
point of the group named here and is treated the same from then on.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from udit_bench.errors import MissingPartError, UsageError, unknown_name


class Registry:
    """``name -> "module:attribute"``, loaded on demand.

    Args:
        kind: the word used in messages, e.g. ``"method"``.
        table: our own entries.
        group: entry-point group through which other packages plug in.
    """

    def __init__(self, kind: str, table: Mapping[str, str], group: str) -> None:
        self.kind = kind
        self.group = group
        self._own = dict(table)

    def _targets(self) -> dict[str, str]:
        targets = dict(self._own)
        for entry in entry_points(group=self.group):
            if targets.get(entry.name, entry.value) != entry.value:
                raise UsageError(
                    f"two packages register the {self.kind} '{entry.name}' "
                    f"({targets[entry.name]} and {entry.value}): uninstall one of them."
                )
            targets[entry.name] = entry.value
        return targets

    def names(self) -> list[str]:
        """Registered names: ours in table order (the order of rows in tables), then plug-ins."""
        return list(self._targets())

    def load(self, name: str) -> Any:
        """The object behind ``name``.

        Raises:
            UsageError: the name is unknown (lists the known ones and a near match).
            MissingPartError: a plug-in's module cannot be imported.
        """
        return self._load(name, self._targets())

    def load_all(self) -> dict[str, Any]:
        """Every object by its name, in the order of ``names``; raises as ``load`` does."""
        targets = self._targets()
        return {name: self._load(name, targets) for name in targets}

    def _load(self, name: str, targets: Mapping[str, str]) -> Any:
        if name not in targets:
            raise unknown_name(self.kind, name, targets)
        module, _, attribute = targets[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise MissingPartError(
                f"the {self.kind} '{name}' needs the module '{error.name}': "
                f"pip install {(error.name or module).partition('.')[0]}"
            ) from error


METHODS = Registry(
    "method",
    {
        "cyclegan_seg": "udit_bench.baselines.cyclegan_seg:CycleGANSeg",
        "instagan": "udit_bench.baselines.instagan:InstaGAN",
        "mgdgan": "udit_bench.mgdgan.method:MGDGAN",
    },
    "udit_bench.translators",
)
DATASETS = Registry(
    "data set",
    {"pasture": "udit_bench.datasets.pasture:open_pasture"},
    "udit_bench.datasets",
)
DETECTORS = Registry(
    "detector",
    {
        "torchvision": "udit_bench.metrics.detectors.torchvision:TorchvisionDetector",
        "detectron2": "udit_bench.metrics.detectors.detectron2:Detectron2Detector",
        "file": "udit_bench.metrics.detectors.file:FileDetector",
        "fake": "udit_bench.metrics.detectors.fake:FakeDetector",
    },
    "udit_bench.detectors",
)
METRICS = Registry(
    "metric",
    {
        "mmr": "udit_bench.metrics.instance:MMR",
        "mods": "udit_bench.metrics.instance:MODS",
        "mvis": "udit_bench.metrics.instance:MVIS",
        "residual": "udit_bench.metrics.residual:RESIDUAL",
        "bg_psnr": "udit_bench.metrics.background:PSNR",
        "bg_ssim": "udit_bench.metrics.background:SSIM",
        "bg_l1": "udit_bench.metrics.background:L1",
        "cls": "udit_bench.metrics.classification:CLS",
        "cls_masked": "udit_bench.metrics.classification:CLS_MASKED",
        "kid": "udit_bench.metrics.distances:KID",
        "fid": "udit_bench.metrics.distances:FID",
    },
    "udit_bench.metrics",
)
