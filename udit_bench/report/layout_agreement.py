"""Do two detectors say the same?  A verdict that hangs on one detector is no verdict."""

from __future__ import annotations

from collections.abc import Sequence

from udit_bench.errors import DataError, RecordsError
from udit_bench.instance_lines import read_instances
from udit_bench.records import Record
from udit_bench.report.captions import commits, heads_of, protocol_sentence
from udit_bench.report.measurements import (
    HALVES,
    MISSING,
    Measurement,
    RowKey,
    detector_name,
    finite,
    grouped,
    measure,
    printed,
    row_key,
    row_titles,
)
from udit_bench.report.model import Asked, Cell, Group, Part, Row, Table
from udit_bench.scene import Direction

Place = tuple[str, RowKey, Direction]


def agreement(asked: Asked) -> Table:
    """Lay out MMR and rank by every detector, and how often each agrees with the first.

    Raises:
        DataError: fewer than two detectors, or the CSV of instances does not go with the records.
        RecordsError: two detectors of one backend (the table could not tell them apart).
    """
    judges = grouped(asked.records, lambda r: str(r.detector.get("backend", "")))
    if len(judges) < 2:
        raise DataError(
            f"all records are of the detector '{next(iter(judges))}': judge with a second one "
            "(`udit-bench eval --detector torchvision --detector detectron2`)."
        )
    for name, members in judges.items():
        if len({(r.dataset, str(r.detector)) for r in members}) > len({r.dataset for r in members}):
            raise RecordsError(
                f"the detector '{name}' judged with different weights: evaluate into a "
                "folder of their own (--results)."
            )
    measured = {name: measure(members) for name, members in judges.items()}
    first, *others = judges
    titles = row_titles(asked.records)
    heads = heads_of([m for members in measured.values() for m in members])
    figures = {
        name: {(m.dataset, m.key, m.direction): m for m in members}
        for name, members in measured.items()
    }
    shared = _shared(judges)
    ranks = {
        name: _ranks([m for m in members if (m.dataset, m.key, m.direction) in shared])
        for name, members in measured.items()
    }
    verdicts = _verdicts(asked, judges)
    columns = [column for name in judges for column in (f"MMR {name}", f"rank {name}")]
    columns += [f"agree with {name}" for name in others]

    def cells(dataset: str, key: RowKey) -> list[Cell]:
        places: list[Place] = [(dataset, key, side) for side in HALVES]
        made: list[Cell] = []
        for name in judges:
            made.append(tuple(Part(_mmr(figures[name].get(place))) for place in places))
            made.append(tuple(Part(str(ranks[name].get(place, MISSING))) for place in places))
        for name in others:
            made.append(
                tuple(Part(printed(_share(verdicts[first], verdicts[name], p))) for p in places)
            )
        return made

    return Table(
        layout="agreement",
        protocol=asked.protocol,
        title=f"Agreement of the detectors under the protocol {asked.protocol}",
        caption=" ".join(
            [
                "MMR in percent and its rank among methods; agree: share of the source instances, "
                f"over all seeds, for which both detectors say the same (matched, or not) as "
                f"{first}. Cells are by generated class, in the order of the column heads.",
                protocol_sentence(asked.records[0].protocol),
                "Detectors: "
                + "; ".join(f"{name}: {_who(members)}" for name, members in judges.items())
                + ".",
                *_unshared(judges, shared, titles),
                *(
                    _ranking_sentence(head, dataset, side, ranks, titles, figures)
                    for dataset, head in heads.items()
                    for side in HALVES
                ),
                f"Commit {commits(asked.records)}.",
            ]
        ),
        origin=f"udit-bench table --layout agreement --protocol {asked.protocol}: "
        f"{len(asked.records)} records; commit {commits(asked.records)}",
        corner="Method",
        groups=tuple(Group(head, tuple(columns)) for head in heads.values()),
        rows=tuple(
            Row(title, tuple(cell for dataset in heads for cell in cells(dataset, key)))
            for key, title in titles.items()
        ),
        lines=tuple(
            {
                "dataset": m.dataset, "row": m.key[1], "variant": m.key[2], "title": m.title,
                "direction": m.direction, "generated": m.generated, "protocol": asked.protocol,
                "detector": name, "mmr": m.figures["mmr"].value,
                "rank": ranks[name].get((m.dataset, m.key, m.direction)), "against": first,
                "agree": _share(
                    verdicts[first], verdicts[name], (m.dataset, m.key, m.direction)
                ),
            }
            for name, members in measured.items()
            for m in members
        ),
    )  # fmt: skip


def _shared(judges: dict[str, list[Record]]) -> set[Place]:
    """The rows that every detector judged with the same seeds: only they can be ranked."""
    seeds: list[dict[Place, set[int | None]]] = []
    for members in judges.values():
        held: dict[Place, set[int | None]] = {}
        for r in members:
            held.setdefault((r.dataset, row_key(r), r.direction), set()).add(r.seed)
        seeds.append(held)
    first, *others = seeds
    return {place for place in first if all(held.get(place) == first[place] for held in others)}


def _unshared(
    judges: dict[str, list[Record]], shared: set[Place], titles: dict[RowKey, str]
) -> list[str]:
    """Says which rows are not ranked, if any."""
    left = dict.fromkeys(
        titles[row_key(r)]
        for members in judges.values()
        for r in members
        if (r.dataset, row_key(r), r.direction) not in shared
    )
    return [f"Not ranked, since not all judged the same seeds: {', '.join(left)}."] if left else []


def _who(members: Sequence[Record]) -> str:
    return ", ".join(dict.fromkeys(detector_name(record.detector) for record in members))


def _mmr(measurement: Measurement | None) -> str:
    figure = measurement.figures.get("mmr") if measurement else None
    return printed(figure.value if figure else None)


def _ranks(measurements: Sequence[Measurement]) -> dict[Place, int]:
    """1 for the highest MMR as printed among the competing rows; equal ones share a rank."""
    ranks: dict[Place, int] = {}
    running = [m for m in measurements if m.competes and _mmr(m) != MISSING]
    for (dataset, side), group in grouped(running, lambda m: (m.dataset, m.direction)).items():
        values = [float(_mmr(m)) for m in group]
        for m, value in zip(group, values, strict=True):
            ranks[dataset, m.key, side] = 1 + sum(other > value for other in values)
    return ranks


def _ranking_sentence(
    head: str,
    dataset: str,
    side: Direction,
    ranks: dict[str, dict[Place, int]],
    titles: dict[RowKey, str],
    figures: dict[str, dict[Place, Measurement]],
) -> str:
    """Says for one direction whether all detectors rank alike, or which rows they do not."""
    found = [
        m
        for held in figures.values()
        for place, m in held.items()
        if (place[0], place[2]) == (dataset, side)
    ]
    if not found:
        return ""
    places: list[Place] = [(dataset, key, side) for key in titles]
    if not any(place in held for place in places for held in ranks.values()):
        return ""
    moved = [
        titles[place[1]]
        for place in places
        if len({held.get(place) for held in ranks.values()}) > 1
    ]
    what = f"{head}, generated {found[0].generated}"
    return f"{what}: ranked differently: {', '.join(moved)}." if moved else f"{what}: ranked alike."


def _verdicts(
    asked: Asked, judges: dict[str, list[Record]]
) -> dict[str, dict[Place, dict[tuple[str, ...], str]]]:
    """Per detector and place, ``matched`` of each instance (by seed, picture and number)."""
    if asked.instances is None:
        raise DataError("the agreement of detectors needs the CSV of instances.")
    verdicts: dict[str, dict[Place, dict[tuple[str, ...], str]]] = {}
    for name, members in judges.items():
        held = verdicts.setdefault(name, {})
        for record, lines in zip(members, read_instances(asked.instances, members), strict=True):
            place: Place = (record.dataset, row_key(record), record.direction)
            into = held.setdefault(place, {})
            for line in lines:
                into[line["seed"], line["image"], line["instance"]] = line["matched"]
    return verdicts


def _share(
    a: dict[Place, dict[tuple[str, ...], str]],
    b: dict[Place, dict[tuple[str, ...], str]],
    place: Place,
) -> float | None:
    """Percent of the instances judged by both that got one verdict; None without any."""
    ours, theirs = a.get(place, {}), b.get(place, {})
    both = [key for key in ours if key in theirs]
    if not both or len(both) != max(len(ours), len(theirs)):
        return None  # a seed or a picture that only one of them judged
    return finite(100.0 * sum(ours[key] == theirs[key] for key in both) / len(both))
