"""Records: one JSON line per row x direction x split x protocol, with its whole context.

Evaluation writes them, tables are read off them, and nothing else passes between the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from udit_bench.errors import DataError
from udit_bench.files import write_text
from udit_bench.scene import Direction

RECORDS_NAME = "records.jsonl"
INSTANCES_NAME = "instances.csv"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Value(_Frozen):
    """A metric with its 95 % interval, in its own unit; ``None`` where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class GridValue(_Frozen):
    """The instance metrics at other thresholds, in percent."""

    score_floor: float
    iou_threshold: float
    mmr: float | None
    mods: float | None
    mvis: float | None


class Cost(_Frozen):
    """What a run takes; ``None`` for rows that are not trained here, or where not measured.

    Attributes:
        train_seconds: of the whole training.
        epoch_seconds: the same per epoch, i.e. per pass over the larger domain.
        parameters: trainable.
        peak_memory_mib: of the training process.
        images_per_second: translated, in the batches of ``eval``; reading and writing apart.
    """

    train_seconds: float | None = None
    epoch_seconds: float | None = None
    parameters: int | None = None
    peak_memory_mib: float | None = None
    images_per_second: float | None = None


class Record(_Frozen):
    """The figures of one row in one direction under one protocol.

    Attributes:
        kind: ``method`` (a run), ``bound`` (real, source copy) or ``external`` (given images).
        row: registered method name, bound name, or the name given with ``--name``.
        variant: named rule or ablation that makes this row differ from others of the method.
        ablation: what a run was trained without; None for the whole method.
        title: how the row is printed.
        dataset: name of the scene source.
        direction: ``AtoB`` or ``BtoA``.
        source, target: class names; the row is about *generated* ``target`` instances.
        split: the split that was read (``val`` when ``test`` was asked for and is absent).
        size: (H, W) of the judged pictures, in pixels.
        manifest: digests of the data judged: ``source`` scenes, ``target`` scenes.
        protocol: name and every parameter.
        detector: the detector's identity.
        seed: training seed, ``None`` for rows without one.
        images: pictures judged, those without instances included.
        instances: source instances, the denominator of every metric.
        metrics: name -> value with interval, in the metric's unit; what could not be measured,
            or was not asked for, is not there.
        sensitivity: the instance metrics at other thresholds.
        classifier: identity of the classifier behind the classification scores.
        fidelity: how KID and FID were computed.
        cost: training cost.
        context: command, commit, versions, hardware, run folder, configuration.
    """

    format: Literal[1] = 1
    kind: Literal["method", "bound", "external"]
    row: str
    variant: str = ""
    ablation: str | None = None
    title: str
    dataset: str
    direction: Direction
    source: str
    target: str
    split: str
    size: tuple[int, int]
    manifest: dict[str, str]
    protocol: dict[str, Any]
    detector: dict[str, Any]
    seed: int | None = None
    images: int = Field(ge=0)
    instances: int = Field(ge=0)
    metrics: dict[str, Value]
    sensitivity: list[GridValue] = []
    classifier: dict[str, Any] | None = None
    fidelity: dict[str, Any] | None = None
    cost: Cost = Cost()
    context: dict[str, Any] = Field(default_factory=dict)

    def key(self) -> str:
        """Two records with one key are the same measurement; the later one replaces the earlier."""
        parts = (
            self.kind, self.row, self.variant, self.dataset, self.direction, self.split,
            self.size, self.seed, self.protocol, self.detector,
        )  # fmt: skip
        return json.dumps(parts, sort_keys=True)


def read_records(path: Path) -> list[Record]:
    """All records of a file, in file order.

    Raises:
        DataError: no such file, or a line that is not a record (names file and line).
    """
    if not path.is_file():
        raise DataError(f"no records at {path}: run `udit-bench eval` first.")
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            records.append(Record.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise DataError(
                f"{path}:{number}: not a record ({where}: {problem['msg']})."
            ) from error
    return records


def merge_records(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """Old and new records, a new one in the place of the old one with its key.

    What only the old one was asked for (KID, FID, classification) stays if both measured the same
    pictures: digests, training and all shared figures are equal.
    """
    merged = {record.key(): record for record in old}
    for record in new:
        before = merged.get(record.key())
        merged[record.key()] = record if before is None else _kept(before, record)
    return list(merged.values())


def _kept(before: Record, record: Record) -> Record:
    """A record with what only the one before it was asked for, if both are of the same pictures."""
    same = (before.manifest, before.images, before.instances) == (
        record.manifest, record.images, record.instances,
    )  # fmt: skip
    same = same and before.context.get("train") == record.context.get("train")
    shared = before.metrics.keys() & record.metrics.keys()
    if not same or any(before.metrics[name] != record.metrics[name] for name in shared):
        return record
    update: dict[str, Any] = {"metrics": {**before.metrics, **record.metrics}}
    if record.classifier is None:
        update["classifier"] = before.classifier
    if record.fidelity is None:
        update["fidelity"] = before.fidelity
    return record.model_copy(update=update)


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write all records atomically, one JSON line each."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))
