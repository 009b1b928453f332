"""Which records may share a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from udit_bench.errors import RecordsError
from udit_bench.records import Record
from udit_bench.report.measurements import classes_of, group_key, grouped, short_digest

NAMED = 3
"""Rows that a message names."""


def require_comparable(records: Sequence[Record], *, any_detector: bool = False) -> None:
    """Refuse records that were not judged alike.

    The parameters of the protocol must be the same throughout; split, size, classes and detector
    within a data set; the digests of the scenes within a data set and direction; the numbers of
    images and instances, and how it was trained, within a row and direction.

    Args:
        records: to be tabulated together.
        any_detector: detectors may differ: the table compares them.

    Raises:
        RecordsError: names every field that differs, its values and the rows that hold them.
    """

    def judging(record: Record) -> dict[str, Any]:
        return _judging_facts(record, with_detector=not any_detector)

    _require_equal(records, "these records", _protocol_facts)
    for dataset, members in grouped(records, lambda record: record.dataset).items():
        _require_equal(members, f"the records of '{dataset}'", judging)
    for group in grouped(records, group_key).values():
        first = group[0]
        where = f"the records of '{first.dataset}', {first.title}, {first.direction}"
        _require_equal(group, where, lambda r: {"images": r.images, "instances": r.instances})
        _require_equal([r for r in group if r.context.get("train")], where, _training_facts)


def require_one_classifier(records: Sequence[Record]) -> None:
    """Refuse classification scores of different classifiers within a data set.

    Raises:
        RecordsError: names what differs, and who holds it.
    """
    for dataset, members in grouped(records, lambda record: record.dataset).items():
        judged = [record for record in members if record.classifier]
        _require_equal(
            judged,
            f"the classification scores of '{dataset}'",
            lambda r: {f"classifier.{key}": held for key, held in (r.classifier or {}).items()},
        )


def require_one_inception(records: Sequence[Record]) -> None:
    """Refuse KID and FID that were not computed alike within a data set.

    Raises:
        RecordsError: names what differs, and who holds it.
    """
    for dataset, members in grouped(records, lambda record: record.dataset).items():
        _require_equal(
            [record for record in members if record.fidelity],
            f"KID and FID of '{dataset}'",
            lambda r: {
                f"fidelity.{key}": (r.fidelity or {}).get(key)
                for key in ("inception", "kid_subsets", "kid_seed")
            },
        )


def _training_facts(record: Record) -> dict[str, Any]:
    """What the seeds of a row must share to be averaged."""
    train = record.context["train"]
    facts = {f"train.{key}": train.get(key) for key in ("preset", "split", "steps")}
    return facts | {f"train.{key}": value for key, value in train.get("settings", {}).items()}


def _protocol_facts(record: Record) -> dict[str, Any]:
    return {f"protocol.{key}": value for key, value in record.protocol.items()}


def _judging_facts(record: Record, *, with_detector: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "split": record.split, "size": record.size, "classes": classes_of(record),
    }  # fmt: skip
    if with_detector:
        facts |= {f"detector.{key}": value for key, value in record.detector.items()}
    side = record.direction
    return facts | {f"manifest.{key} ({side})": digest for key, digest in record.manifest.items()}


def _require_equal(
    records: Sequence[Record], where: str, read: Callable[[Record], dict[str, Any]]
) -> None:
    facts = [(record.title, read(record)) for record in records]
    problems = []
    for field in dict.fromkeys(key for _, held in facts for key in held):
        holders: dict[str, dict[str, None]] = {}
        for title, held in facts:
            if field in held or not field.startswith("manifest."):  # one side may suffice a row
                shown = json.dumps(held[field], sort_keys=True) if field in held else "absent"
                holders.setdefault(shown, {})[title] = None
        if len(holders) > 1:
            problems.append(f"{field} ({_who_holds_what(holders)})")
    if problems:
        raise RecordsError(
            f"{where} cannot share a table, they differ in {', '.join(problems)}: "
            "choose with --data, --split, --size or --detector, or evaluate into another "
            "folder (--results)."
        )


def _who_holds_what(holders: Mapping[str, Iterable[str]]) -> str:
    said = []
    for value, titles in holders.items():
        text = value.strip('"')
        said.append(f"{short_digest(text)} for {_some(list(titles))}")
    return "; ".join(said)


def _some(titles: Sequence[str]) -> str:
    """The first few of many rows."""
    if len(titles) <= NAMED + 1:
        return ", ".join(titles)
    return f"{', '.join(titles[:NAMED])} and {len(titles) - NAMED} more rows"
