"""Classifiers of the two domains: who says which class a picture shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from udit_bench.errors import UsageError

if TYPE_CHECKING:
    from udit_bench.metrics.classifiers.base import Classifier

SHIPPED = {"pasture": ("sheep", "giraffe")}
"""Data sets for which classifier weights come with the package, and what these tell apart."""


def ships_for(dataset: str, labels: tuple[str, str]) -> bool:
    """Whether weights come with the package for a data set of this name and these classes."""
    return SHIPPED.get(dataset) == labels


def open_classifier(
    weights: Path | None = None, *, dataset: str, device: str = "cpu"
) -> Classifier:
    """The classifier of a weights file, ready to judge.

    Args:
        weights: what ``udit-bench classifier train`` wrote; None: the shipped ones of ``dataset``.
        dataset: name of the data set.
        device: where the network runs.

    Raises:
        UsageError: no weights, and none are shipped for the data set.
        DataError: the file is missing, damaged or something else.
        MissingPartError: the package of its backbone, or the shipped file, is not installed.
    """
    from udit_bench.metrics.classifiers.store import load_classifier

    if weights is None:
        if dataset not in SHIPPED:
            raise UsageError(
                f"no classifier for '{dataset}': train one (`udit-bench classifier train "
                "--data ...`) and name its file with --classifier FILE."
            )
        weights = shipped_weights(dataset)
    return load_classifier(weights, device=device)


def shipped_weights(name: str) -> Path:
    """The weights file of this package for a data set; raises as ``shipped_path``."""
    from udit_bench.metrics.weights import shipped_path

    return shipped_path(f"classifier_{name}.safetensors", "--classifier FILE")
