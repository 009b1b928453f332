"""What must stand under a table so that its figures can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from udit_bench.records import Record
from udit_bench.report.measurements import HALVES, Measurement, short_digest


def heads_of(measurements: Sequence[Measurement]) -> dict[str, str]:
    """Name data sets ``A's class/B's class``, and by name too where two would read alike."""
    heads = {m.dataset: "/".join(m.classes) for m in measurements}
    count = Counter(heads.values())
    return {
        name: head if count[head] == 1 else f"{head} ({name})" for name, head in heads.items()
    }  # fmt: skip


def protocol_sentence(protocol: Mapping[str, Any]) -> str:
    """The protocol by name, with every parameter."""
    said = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in protocol.items()
        if key != "name" and value is not None
    ]
    return f"Protocol {protocol.get('name')}" + (f" ({', '.join(said)})." if said else ".")


def data_sentence(head: str, members: Sequence[Measurement]) -> str:
    """Data set, split, size, detector and counts behind one group of columns."""
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


def seed_sentence(
    measurements: Sequence[Measurement], heads: Mapping[str, str], *, spread: bool = False
) -> str:
    """How many seeds the trained rows are means of; empty without any.

    Args:
        measurements: behind the table.
        heads: of the data sets.
        spread: the cells show standard deviations too.
    """
    trained = [m for m in measurements if m.seeds]
    counts = {m.seeds for m in trained}
    if not counts:
        return ""
    if counts == {1}:
        return "One seed per trained row."
    what = "mean ± standard deviation (ddof 1)" if spread else "mean"
    if len(counts) == 1:
        return f"Trained rows: {what} of {counts.pop()} seeds."
    rows = dict.fromkeys(m.title for m in trained)
    said = [_row_seeds(title, [m for m in trained if m.title == title], heads) for title in rows]
    return f"Trained rows: {what} over seeds; seeds: {'; '.join(said)}."


def _row_seeds(title: str, members: Sequence[Measurement], heads: Mapping[str, str]) -> str:
    counts = {m.seeds for m in members}
    if len(counts) == 1:
        return f"{title} {counts.pop()}"
    said = [f"{m.seeds} for {m.generated} in {heads[m.dataset]}" for m in members]
    return f"{title} {', '.join(said)}"


def commits(records: Sequence[Record]) -> str:
    """The commits that judged, short."""
    commits = dict.fromkeys(str(r.context.get("commit") or "not recorded") for r in records)
    return ", ".join(short_digest(commit) for commit in commits)
