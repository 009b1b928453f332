"""Tables as a pure function of records: which rows, in which order, with which figures.

What a table looks like on paper is left to :mod:`udit_bench.report.render`. Rules of all layouts:

- one table holds one protocol; records that were not judged alike are refused, not mixed;
- a figure is kept to six decimals, and printed as *that* number rounded half to even;
- what was not measured, or is not defined, is ``--``, never 0;
- several training seeds become their mean, with the standard deviation (ddof 1) beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path

from udit_bench.errors import DataError, UsageError, unknown_name
from udit_bench.records import Record, merge_records
from udit_bench.report.comparable import require_comparable
from udit_bench.report.measurements import MISSING, Figure, Measurement
from udit_bench.report.model import Asked, Cell, Group, Part, Row, Table

__all__ = [
    "LAYOUTS", "MISSING", "Cell", "Figure", "Group", "Measurement", "Part", "Row", "Table",
    "build_table", "protocols", "select_records",
]  # fmt: skip

Layout = Callable[[Asked], Table]
LAYOUTS: dict[str, str] = {
    "table1": "udit_bench.report.layouts:table1",
    "table2": "udit_bench.report.layouts:table2",
    "classification": "udit_bench.report.layouts:classification",
    "quality": "udit_bench.report.layouts:quality",
    "cost": "udit_bench.report.layout_cost:cost",
    "sensitivity": "udit_bench.report.layout_sensitivity:sensitivity",
    "agreement": "udit_bench.report.layout_agreement:agreement",
    "differences": "udit_bench.report.layout_differences:differences",
}
"""Name to ``module:function``."""


def build_table(
    records: Sequence[Record],
    layout: str = "table1",
    protocol: str = "retrieval",
    *,
    published: bool = False,
    instances: Path | None = None,
    baseline: str | None = None,
) -> Table:
    """Make the table of the records judged under ``protocol``.

    Args:
        records: what `eval` wrote.
        layout: one of ``LAYOUTS``.
        protocol: name of the one protocol of the figures.
        published: with the papers' figures of the same cells beside ours.
        instances: the CSV of instances that belongs to the records (agreement, differences).
        baseline: the row that the others are compared with (differences): title or name.

    Raises:
        UsageError: unknown layout or baseline, a protocol that no record has, or published figures
            asked of a layout that has none.
        DataError: no records at all, or none with what the layout shows.
        RecordsError: records that cannot share a table; names the fields that differ.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if not records:
        raise DataError("no records to tabulate: run `udit-bench eval` first.")
    if protocol not in protocols(records):
        raise unknown_name("protocol", protocol, protocols(records))
    chosen = [record for record in records if record.protocol.get("name") == protocol]
    require_comparable(chosen, any_detector=layout == "agreement")
    module, _, function = LAYOUTS[layout].partition(":")
    make: Layout = getattr(import_module(module), function)
    return make(Asked(merge_records([], chosen), protocol, published, instances, baseline))


def protocols(records: Iterable[Record]) -> list[str]:
    """Names of the protocols of records, in recorded order."""
    return list(dict.fromkeys(str(record.protocol.get("name", "")) for record in records))


def select_records(
    records: Sequence[Record],
    data: str | None = None,
    split: str | None = None,
    detectors: Sequence[str] = (),
    size: tuple[int, int] | None = None,
) -> list[Record]:
    """Pick records of one data set, split, size and some detectors; nothing given takes all.

    Raises:
        UsageError: a name that no record has (lists those that exist).
    """
    chosen = list(records)
    wanted: tuple[tuple[str, Sequence[str], Callable[[Record], str]], ...] = (
        ("data set", [data] if data else [], lambda record: record.dataset),
        ("split", [split] if split else [], lambda record: record.split),
        ("size", [_size_text(size)] if size else [], lambda record: _size_text(record.size)),
        ("detector", detectors, lambda record: str(record.detector.get("backend", ""))),
    )
    for kind, names, read in wanted:
        held = {read(record) for record in chosen}
        for name in names:
            if chosen and name not in held:
                raise _not_recorded(kind, name, held)
        if names:
            chosen = [record for record in chosen if read(record) in names]
    return chosen


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _not_recorded(kind: str, name: str, held: Iterable[str]) -> UsageError:
    return UsageError(f"no record of the {kind} '{name}'; recorded: {', '.join(sorted(held))}.")
