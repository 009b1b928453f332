"""``results/instances.csv``: one line per row, protocol and instance."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from udit_bench.errors import DataError
from udit_bench.files import write_text
from udit_bench.records import Record

INSTANCE_COLUMNS = (
    "kind", "row", "variant", "seed", "dataset", "direction", "split", "size", "protocol",
    "detector", "image", "instance", "iou", "score", "matched", "reason",
)  # fmt: skip
ROW_COLUMNS = INSTANCE_COLUMNS[:10]


def row_columns(
    kind: str,
    row: str,
    variant: str,
    seed: int | None,
    dataset: str,
    direction: str,
    split: str,
    size: tuple[int, int],
    protocol: str,
    detector: dict[str, Any],
) -> dict[str, Any]:
    """The columns that name a record's lines in the CSV of instances."""
    return {
        "kind": kind,
        "row": row,
        "variant": variant,
        "seed": "" if seed is None else seed,
        "dataset": dataset,
        "direction": direction,
        "split": split,
        "size": f"{size[0]}x{size[1]}",
        "protocol": protocol,
        "detector": f"{detector['backend']}:{_digest(detector)}",
    }


def _digest(detector: dict[str, Any]) -> str:
    """Eight hex digits of everything that identifies a detector."""
    return hashlib.sha256(json.dumps(detector, sort_keys=True).encode()).hexdigest()[:8]


def require_instances(path: Path) -> None:
    """DataError if there is a file that is no CSV of instances."""
    if not path.is_file():
        return
    with open(path, newline="", encoding="utf-8") as handle:
        if tuple(csv.DictReader(handle).fieldnames or ()) != INSTANCE_COLUMNS:
            raise DataError(
                f"{path}: its head is not that of a file of instances: move it, or choose another "
                "--results."
            )


def instance_columns(record: Record) -> dict[str, Any]:
    """What names a record's lines in the CSV of instances."""
    return row_columns(
        record.kind, record.row, record.variant, record.seed, record.dataset, record.direction,
        record.split, record.size, str(record.protocol["name"]), record.detector,
    )  # fmt: skip


def merge_instances(path: Path, records: Sequence[Record], lines: Sequence[dict[str, Any]]) -> None:
    """Put the lines of ``records`` into a CSV, in the place of any older ones of theirs; atomic."""
    require_instances(path)
    fresh = {_row_key(instance_columns(record)) for record in records}
    kept: list[dict[str, Any]] = []
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as handle:
            kept = [line for line in csv.DictReader(handle) if _row_key(line) not in fresh]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, INSTANCE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *lines])
    write_text(path, buffer.getvalue())


def read_instances(path: Path, records: Sequence[Record]) -> list[list[dict[str, str]]]:
    """The lines of each record, in file order.

    Raises:
        DataError: no such file, another head, or a record whose lines are not all there.
    """
    if not path.is_file():
        raise DataError(f"no instances at {path}: run `udit-bench eval` again.")
    require_instances(path)
    wanted: dict[tuple[str, ...], list[dict[str, str]]] = {
        _row_key(instance_columns(record)): [] for record in records
    }
    with open(path, newline="", encoding="utf-8") as handle:
        for line in csv.DictReader(handle):
            lines = wanted.get(_row_key(line))
            if lines is not None:
                lines.append(line)
    for record in records:
        held = len(wanted[_row_key(instance_columns(record))])
        if held != record.instances:
            raise DataError(
                f"{path}: {held} lines for {record.title}, {record.direction}, seed {record.seed}; "
                f"its record has {record.instances} instances: run `udit-bench eval` again."
            )
    return [wanted[_row_key(instance_columns(record))] for record in records]


def _row_key(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(line[column]) for column in ROW_COLUMNS)
