"""Opening the judges that ``eval`` was asked for: detectors, classifier, Inception."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udit_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from udit_bench.evaluation import Benchmark, Extras
    from udit_bench.metrics.classifiers.base import Classifier
    from udit_bench.metrics.detectors.base import Detector


def open_extras(benchmark: Benchmark, options: dict[str, Any], device: str) -> Extras:
    """The classifier, given or shipped, and what KID and FID need; checked before any work.

    Raises:
        DataError, MissingPartError, UsageError: it cannot be had, or is of other classes.
    """
    from udit_bench.evaluation import Extras
    from udit_bench.metrics.classifiers import open_classifier, ships_for

    name, weights = benchmark.source.name, options["classifier"]
    classifier = None
    if options["asked"]:
        from udit_bench.metrics.fidelity import require_inception

        require_inception(options["inception_weights"])
    if weights is not None or ships_for(name, benchmark.source.labels):
        classifier = open_classifier(weights, dataset=name, device=device)
        _require_labels(classifier, benchmark.source.labels, weights)
    return Extras(classifier, frozenset(options["asked"]), options["inception_weights"], device)


def _require_labels(classifier: Classifier, labels: tuple[str, str], path: Path | None) -> None:
    """DataError unless the classifier knows exactly the two classes, A's first."""
    known = tuple(classifier.identity.labels)
    if known != labels:
        raise DataError(
            f"--classifier {path or 'shipped'} tells {' from '.join(known)}, the data set has "
            f"{' and '.join(labels)}: train one for it (`udit-bench classifier train --data ...`)."
        )


def _weights_of(options: dict[str, Any], names: Sequence[str]) -> dict[str, Path]:
    """``--detector-weights`` by detector; without a name they are the only detector's.

    Raises:
        UsageError: they are of no chosen detector, or of several.
    """
    found: dict[str, Path] = {}
    for text in options["detector_weights"]:
        name, equals, path = text.partition("=")
        if not equals or name not in names:
            name, path = names[0], text
            if len(names) > 1:
                raise UsageError(
                    f"--detector-weights {text}: of which detector? Write NAME=FILE with one of "
                    f"{', '.join(names)}."
                )
        if name in found:
            raise UsageError(f"--detector-weights: two files for the detector '{name}'.")
        found[name] = Path(path)
    return found


def open_detectors(benchmark: Benchmark, options: dict[str, Any], device: str) -> list[Detector]:
    """Detectors that look at pictures, checked before anything is translated."""
    from udit_bench.evaluation import require_class
    from udit_bench.metrics.detectors import open_detector

    names = options["detectors"] or ("torchvision",)
    weights = _weights_of(options, names)
    detectors = []
    for name in names:
        detector = open_detector(
            name,
            dataset=benchmark.source.name,
            weights=weights.get(name),
            config=options["detector_config"] if name == "detectron2" else None,
            device=device,
        )
        for label in benchmark.source.labels:
            require_class(detector, label)
        detectors.append(detector)
    if options["detector_config"] and "detectron2" not in names:
        raise UsageError("--detector-config is for --detector detectron2.")
    return detectors
