"""Tables as a pure function of records: which rows, in which order, with which figures.

What a table looks like on paper is left to :mod:`udit_bench.report.render`. Rules of all layouts:

- one table holds one protocol; records that were not judged alike are refused, not mixed;
- a figure is kept to six decimals, and printed as *that* number rounded half to even;
- what was not measured, or is not defined, is ``--``, never 0;
- several training seeds become their mean, with the standard deviation (ddof 1) beside it.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import chain
from string import ascii_uppercase
from typing import Any, TypeVar

from udit_bench.errors import DataError, RecordsError, UsageError, unknown_name
from udit_bench.records import Record, Value, merge_records
from udit_bench.registry import DATASETS, METHODS
from udit_bench.scene import Direction

MISSING = "--"
BOUNDS = ("real", "source copy")
HALVES: tuple[Direction, ...] = ("BtoA", "AtoB")
"""Order of the halves of a cell ``a/b``: a generated instance of A's class comes from BtoA."""
INTERVALS = "Intervals (in the CSV form) are 95 % BCa bootstraps over images, for single seeds."
_DECIMALS = 6

RowKey = tuple[str, str, str]
K = TypeVar("K")


@dataclass(frozen=True)
class Metric:
    """A metric column: its name in records, its head, and which way is better."""

    name: str
    head: str
    higher_is_better: bool = True


METRICS = (Metric("mmr", "MMR"), Metric("mods", "MODS"), Metric("mvis", "MVIS"))


@dataclass(frozen=True)
class Figure:
    """A number with its interval (one seed) or its standard deviation (several)."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Measurement:
    """One row of a table in one data set and direction, averaged over its seeds.

    Attributes:
        key: (kind, row, variant) as in the records.
        title: how the row is printed; no two rows of a table share one.
        classes: the label of A, the label of B.
        generated: the class that the figures are about.
        seeds: training seeds averaged, 0 for rows without one.
        train_seconds: mean over the seeds.

    """

    dataset: str
    key: RowKey
    title: str
    direction: Direction
    classes: tuple[str, str]
    generated: str
    split: str
    size: tuple[int, int]
    protocol: str
    detector: str
    images: int
    instances: int
    seeds: int
    figures: Mapping[str, Figure]
    train_seconds: float | None
    parameters: int | None

    @property
    def competes(self) -> bool:
        """Whether the row can be the best one: bound rows cannot."""
        return self.key[0] != "bound"


@dataclass(frozen=True)
class Part:
    """One half of a cell as printed."""

    text: str
    bold: bool = False


Cell = tuple[Part, ...]


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one head."""

    head: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A printed row: its title and one cell per column, over all groups."""

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table before it takes a form.

    Attributes:
        layout: registered name of the layout.
        protocol: the one protocol of all figures.
        title: a short heading.
        caption: everything needed to read the figures.
        origin: one line on how the table was made.
        corner: head of the column of titles.
        groups: column groups, left to right.
        rows: rows, top to bottom.
        measurements: the figures behind the cells, for forms that hold more than a cell can.

    """

    layout: str
    protocol: str
    title: str
    caption: str
    origin: str
    corner: str
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    measurements: tuple[Measurement, ...]


def build_table(
    records: Sequence[Record], layout: str = "table1", protocol: str = "retrieval"
) -> Table:
    """Make the table of the records judged under ``protocol``.

    Raises:
        UsageError: unknown layout, or a protocol that no record has.
        DataError: no records at all.
        RecordsError: records that cannot share a table; names the fields that differ.

    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if not records:
        raise DataError("no records to tabulate: run `udit-bench eval` first.")
    if protocol not in protocols(records):
        raise unknown_name("protocol", protocol, protocols(records))
    chosen = [record for record in records if record.protocol.get("name") == protocol]
    require_comparable(chosen)
    return LAYOUTS[layout](merge_records([], chosen), protocol)


def protocols(records: Iterable[Record]) -> list[str]:
    """Names of the protocols of records, in recorded order."""
    return list(dict.fromkeys(str(record.protocol.get("name", "")) for record in records))


def select_records(
    records: Sequence[Record],
    data: str | None = None,
    split: str | None = None,
    detector: str | None = None,
) -> list[Record]:
    """Pick records of one data set, split and detector (its backend); ``None`` takes all.

    Raises:
        UsageError: a name that no record has (lists those that exist).

    """
    chosen = list(records)
    wanted: tuple[tuple[str, str | None, Callable[[Record], str]], ...] = (
        ("data set", data, lambda record: record.dataset),
        ("split", split, lambda record: record.split),
        ("detector", detector, lambda record: str(record.detector.get("backend", ""))),
    )
    for kind, name, read in wanted:
        if name is not None and chosen:
            held = {read(record) for record in chosen}
            if name not in held:
                raise _not_recorded(kind, name, held)
            chosen = [record for record in chosen if read(record) == name]
    return chosen


def _not_recorded(kind: str, name: str, held: Iterable[str]) -> UsageError:
    return UsageError(f"no record of the {kind} '{name}'; recorded: {', '.join(sorted(held))}.")


# ------------------------------------------------------------------------- who may share a table


def require_comparable(records: Sequence[Record]) -> None:
    """Refuse records that were not judged alike.

    The parameters of the protocol must be the same throughout; split, size, classes and detector
    within a data set; the digests of the scenes within a data set and direction; the numbers of
    images and instances within a row and direction.

    Raises:
        RecordsError: names every field that differs, its values and the rows that hold them.

    """
    _require_equal(records, "these records", _protocol_facts)
    for dataset, members in _grouped(records, lambda record: record.dataset).items():
        _require_equal(members, f"the records of '{dataset}'", _judging_facts)
    for group in _grouped(records, _group_key).values():
        first = group[0]
        where = f"the records of '{first.dataset}', {first.title}, {first.direction}"
        _require_equal(group, where, lambda r: {"images": r.images, "instances": r.instances})


def _protocol_facts(record: Record) -> dict[str, Any]:
    return {f"protocol.{key}": value for key, value in record.protocol.items()}


def _judging_facts(record: Record) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "split": record.split, "size": record.size, "classes": _classes(record),
    }  # fmt: skip
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
            "choose with --data, --split or --detector, or evaluate again."
        )


def _who_holds_what(holders: Mapping[str, Iterable[str]]) -> str:
    said = []
    for value, titles in holders.items():
        text = value.strip('"')
        said.append(f"{_short_digest(text)} for {', '.join(titles)}")
    return "; ".join(said)


# --------------------------------------------------------------------- from records to figures


def printed(value: float | None) -> str:
    """One decimal, half to even on the decimal digits that the CSV form writes."""
    if value is None:
        return MISSING
    return str(Decimal(repr(value)).quantize(Decimal("0.1"), ROUND_HALF_EVEN))


def summarize(values: Sequence[Value | None]) -> Figure:
    """One value as it is; several as mean and standard deviation (ddof 1), without an interval.

    Missing as soon as one of them is: a mean over the seeds that happened to work would flatter.
    """
    numbers = [number for v in values if v and (number := _finite(v.value)) is not None]
    if not values or len(numbers) < len(values):
        return Figure()
    if len(values) == 1:
        only = values[0]
        assert only is not None
        return Figure(_finite(only.value), _finite(only.low), _finite(only.high))
    return Figure(
        _finite(statistics.fmean(numbers)), sd=_finite(statistics.stdev(numbers))
    )  # fmt: skip


def _finite(number: float | None) -> float | None:
    if number is None or not math.isfinite(number):
        return None
    return round(float(number), _DECIMALS)


def measure(records: Sequence[Record]) -> list[Measurement]:
    """Turn comparable records into measurements: data sets, rows and halves in canonical order."""
    titles = _row_titles(records)
    groups = _grouped(records, _group_key)
    return [
        _measurement(groups[dataset, key, direction], title)
        for dataset in _dataset_order(records)
        for key, title in titles.items()
        for direction in HALVES
        if (dataset, key, direction) in groups
    ]


def _measurement(group: Sequence[Record], title: str) -> Measurement:
    first = group[0]
    names = dict.fromkeys(name for record in group for name in record.metrics)
    seconds = [r.cost.train_seconds for r in group if r.cost.train_seconds is not None]
    return Measurement(
        dataset=first.dataset,
        key=_row_key(first),
        title=title,
        direction=first.direction,
        classes=_classes(first),
        generated=first.target,
        split=first.split,
        size=first.size,
        protocol=str(first.protocol.get("name", "")),
        detector=_detector_name(first.detector),
        images=first.images,
        instances=first.instances,
        seeds=sum(record.seed is not None for record in group),
        figures={name: summarize([r.metrics.get(name) for r in group]) for name in names},
        train_seconds=_finite(statistics.fmean(seconds)) if seconds else None,
        parameters=next((r.cost.parameters for r in group if r.cost.parameters is not None), None),
    )


def _group_key(record: Record) -> tuple[str, RowKey, Direction]:
    return record.dataset, _row_key(record), record.direction


def _row_key(record: Record) -> RowKey:
    return record.kind, record.row, record.variant


def _classes(record: Record) -> tuple[str, str]:
    pair = (record.source, record.target)
    return pair if record.direction == "AtoB" else (pair[1], pair[0])


def _detector_name(detector: Mapping[str, Any]) -> str:
    name = str(detector.get("architecture") or detector.get("backend") or "unknown")
    weights = str(detector.get("weights") or "")
    return f"{name} (weights {weights[:8]})" if weights else name


def _grouped(records: Iterable[Record], key: Callable[[Record], K]) -> dict[K, list[Record]]:
    groups: dict[K, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


# ------------------------------------------------------------------------------ order and names


def _dataset_order(records: Sequence[Record]) -> list[str]:
    """Put registered data sets first, in their order, then the others alphabetically."""
    known = DATASETS.names()
    return sorted({r.dataset for r in records}, key=lambda name: (_place(name, known), name))


def _row_titles(records: Sequence[Record]) -> dict[RowKey, str]:
    """List every row with its title, in canonical order.

    Bound rows (real, source copy), methods in registry order (an unregistered one after them;
    the method itself before its variants, these as recorded), external rows alphabetically.
    Rows that would print alike are told apart by variant or name.
    """
    firsts = {key: group[0] for key, group in _grouped(records, _row_key).items()}
    seen = list(firsts)
    methods = METHODS.names()

    def rank(key: RowKey) -> tuple[int, int, str, bool, int]:
        kind, row, variant = key
        if kind == "bound":
            plain = re.sub("[_-]", " ", row)
            return 0, _place(plain, BOUNDS), plain, bool(variant), seen.index(key)
        if kind == "method":
            return 1, _place(row, methods), row, bool(variant), seen.index(key)
        return 2, 0, firsts[key].title.casefold(), bool(variant), seen.index(key)

    ordered = sorted(seen, key=rank)
    titles = {key: " ".join(firsts[key].title.split()) for key in ordered}
    count = Counter(titles.values())
    return {
        key: title if count[title] == 1 else f"{title} ({key[2] or f'{key[0]} {key[1]}'})"
        for key, title in titles.items()
    }


def _place(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)


# ----------------------------------------------------------------------------------- captions


def _heads(measurements: Sequence[Measurement]) -> dict[str, str]:
    """Name data sets ``A's class/B's class``, and by name too where two would read alike."""
    heads = {m.dataset: "/".join(m.classes) for m in measurements}
    count = Counter(heads.values())
    return {
        name: head if count[head] == 1 else f"{head} ({name})" for name, head in heads.items()
    }  # fmt: skip


def _protocol_sentence(protocol: Mapping[str, Any]) -> str:
    said = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in protocol.items()
        if key != "name" and value is not None
    ]
    return f"Protocol {protocol.get('name')}" + (f" ({', '.join(said)})." if said else ".")


def _data_sentence(head: str, members: Sequence[Measurement]) -> str:
    first = members[0]
    return (
        f"{head}: data set {first.dataset}, split {first.split}, "
        f"{first.size[0]} x {first.size[1]} pixels (height x width), detector {first.detector}; "
        + "; ".join(
            _count_phrase([m for m in members if m.direction == direction])
            for direction in HALVES
            if any(m.direction == direction for m in members)
        )
        + "."
    )


def _count_phrase(members: Sequence[Measurement]) -> str:
    """Images and instances of one direction; rows with other numbers are named."""
    usual = next((m for m in members if m.competes), members[0])
    others = [
        f"{m.title}: {m.images} and {m.instances}"
        for m in members
        if (m.images, m.instances) != (usual.images, usual.instances)
    ]
    text = f"generated {usual.generated}: {usual.images} images, {usual.instances} instances"
    return f"{text} ({', '.join(others)})" if others else text


def _seed_sentence(measurements: Sequence[Measurement], heads: Mapping[str, str]) -> str:
    trained = [m for m in measurements if m.seeds]
    counts = {m.seeds for m in trained}
    if not counts:
        return ""
    if counts == {1}:
        return "One seed per trained row."
    if len(counts) == 1:
        return f"Trained rows: mean of {counts.pop()} seeds (standard deviations in the CSV form)."
    rows = dict.fromkeys(m.title for m in trained)
    said = [_row_seeds(title, [m for m in trained if m.title == title], heads) for title in rows]
    return f"Means over seeds (standard deviations in the CSV form); seeds: {'; '.join(said)}."


def _row_seeds(title: str, members: Sequence[Measurement], heads: Mapping[str, str]) -> str:
    counts = {m.seeds for m in members}
    if len(counts) == 1:
        return f"{title} {counts.pop()}"
    said = [f"{m.seeds} for {m.generated} in {heads[m.dataset]}" for m in members]
    return f"{title} {', '.join(said)}"


def _commits(records: Sequence[Record]) -> str:
    commits = dict.fromkeys(str(r.context.get("commit") or "not recorded") for r in records)
    return ", ".join(_short_digest(commit) for commit in commits)


def _short_digest(text: str) -> str:
    """Keep the first eight of 40 or 64 hex digits, and what follows them (``-dirty``)."""
    return re.sub(r"\b([0-9a-f]{8})(?:[0-9a-f]{32}|[0-9a-f]{56})(?![0-9a-f])", r"\1", text)


# ------------------------------------------------------------------------------------ layouts


def table1(records: Sequence[Record], protocol: str) -> Table:
    """Lay out the paper's Table 1: a row per method, MMR / MODS / MVIS per data set.

    Ablations of a method that is there itself are left to Table 2.
    """
    whole = {r.row for r in records if r.kind == "method" and not r.ablation}
    chosen = [r for r in records if not (r.ablation and r.row in whole)]
    return _metric_table("table1", chosen, protocol, _row_titles(chosen), "Method")


def table2(records: Sequence[Record], protocol: str) -> Table:
    """Lay out the paper's Table 2: a method and its ablations, rows lettered as there.

    Raises:
        DataError: no record is of an ablation.
    """
    studied = {r.row for r in records if r.ablation}
    chosen = [r for r in records if r.kind == "method" and r.row in studied]
    if not chosen:
        raise DataError(
            "no records of an ablation: train some (`udit-bench train --method mgdgan --ablation "
            "no-reg`), then `udit-bench eval`."
        )
    return _metric_table("table2", chosen, protocol, _lettered(chosen), "Method")


def _lettered(records: Sequence[Record]) -> dict[RowKey, str]:
    """``A) MGD-GAN``, ``B) A w/o reg`` ...: each method, then its ablations as in the paper."""
    ablations = {_row_key(r): r.ablation or "" for r in records}
    titles = _row_titles(records)
    methods = list(dict.fromkeys(row for _, row, _ in titles))

    def rank(key: RowKey) -> tuple[int, bool, int, str]:
        name = ablations[key]
        return methods.index(key[1]), bool(name), _place(name, ABLATIONS), name

    lettered: dict[RowKey, str] = {}
    whole = dict[str, str]()
    letters = chain(ascii_uppercase, (f"A{letter}" for letter in ascii_uppercase))
    for key, letter in zip(sorted(titles, key=rank), letters, strict=False):
        name = ablations[key]
        if not name:
            whole.setdefault(key[1], letter)
        base = whole.get(key[1], titles[key].partition(" (")[0])
        told = f"{base} w/o {name[3:]}" if name.startswith("no-") else f"{base} w/ {name}"
        lettered[key] = f"{letter}) {told if name else titles[key]}"
    return lettered


def _metric_table(
    layout: str,
    records: Sequence[Record],
    protocol: str,
    titles: Mapping[RowKey, str],
    corner: str,
) -> Table:
    """Rows of MMR / MODS / MVIS per data set.

    A cell ``a/b`` is by generated class: under ``sheep/giraffe``, a is giraffe to sheep (BtoA).
    Per data set, metric and half the best competing row (method or external) is bold, compared
    as printed; ties are all bold, and nothing is where fewer than two compete.
    """
    measurements = measure(records)
    heads = _heads(measurements)
    found = {(m.dataset, m.key, m.direction): m for m in measurements}
    best = _best(measurements)

    def cell(dataset: str, key: RowKey, metric: Metric) -> Cell:
        parts = []
        for direction in HALVES:
            held = found.get((dataset, key, direction))
            text = _text(held, metric)
            bold = held is not None and held.competes
            parts.append(Part(text, bold and best.get((dataset, metric, direction)) == text))
        return tuple(parts)

    return Table(
        layout=layout,
        protocol=protocol,
        title=f"MMR, MODS and MVIS under the protocol {protocol}",
        caption=_table1_caption(records, measurements, heads),
        origin=(
            f"udit-bench table --layout {layout} --protocol {protocol}: "
            f"{len(records)} records of {', '.join(heads)}; commit {_commits(records)}"
        ),
        corner=corner,
        groups=tuple(Group(head, tuple(m.head for m in METRICS)) for head in heads.values()),
        rows=tuple(
            Row(title, tuple(cell(dataset, key, metric) for dataset in heads for metric in METRICS))
            for key, title in titles.items()
        ),
        measurements=tuple(measurements),
    )


def _text(measurement: Measurement | None, metric: Metric) -> str:
    figure = measurement.figures.get(metric.name) if measurement else None
    return printed(figure.value if figure else None)


def _best(measurements: Sequence[Measurement]) -> dict[tuple[str, Metric, str], str]:
    """Find the best printed figure where at least two rows compete."""
    running: dict[tuple[str, Metric, str], list[str]] = {}
    for m in measurements:
        for metric in METRICS:
            text = _text(m, metric)
            if m.competes and text != MISSING:
                running.setdefault((m.dataset, metric, m.direction), []).append(text)
    return {
        place: (max if place[1].higher_is_better else min)(texts, key=Decimal)
        for place, texts in running.items()
        if len(texts) > 1
    }


def _table1_caption(
    records: Sequence[Record], measurements: Sequence[Measurement], heads: Mapping[str, str]
) -> str:
    sentences = [
        "MMR, MODS and MVIS in percent, higher is better; cells are by generated class, "
        "in the order of the column heads.",
        _protocol_sentence(records[0].protocol),
        *(
            _data_sentence(head, [m for m in measurements if m.dataset == dataset])
            for dataset, head in heads.items()
        ),
        _seed_sentence(measurements, heads),
        INTERVALS,
        "Bold: the best where at least two rows compete, bound rows (real, source copy) apart; "
        f"{MISSING}: not measured.",
        f"Commit {_commits(records)}.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


ABLATIONS = ("no-reg", "no-const", "no-finetune", "e2e")
"""The rows B to E of the paper's Table 2; other ablations come after them."""

Layout = Callable[[Sequence[Record], str], Table]
LAYOUTS: dict[str, Layout] = {"table1": table1, "table2": table2}
"""Name to function of (comparable records of one protocol, its name); open to more."""
