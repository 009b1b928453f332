"""Layouts whose columns are metrics: the papers' tables, classification scores, and the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from string import ascii_uppercase

from udit_bench.errors import DataError
from udit_bench.metrics.base import Metric
from udit_bench.records import Record
from udit_bench.registry import METRICS
from udit_bench.report.captions import commits, data_sentence, heads_of, protocol_sentence
from udit_bench.report.captions import seed_sentence as seeds_of
from udit_bench.report.comparable import require_one_classifier, require_one_inception
from udit_bench.report.measurements import (
    HALVES,
    MISSING,
    Measurement,
    RowKey,
    measure,
    place_of,
    printed,
    row_key,
    row_titles,
)
from udit_bench.report.model import Asked, Cell, Group, Part, Row, Table
from udit_bench.report.published import HEAD, Published, read_published

INSTANCE = ("mmr", "mods", "mvis")
INTERVALS = "Intervals (in the CSV form) are 95 % BCa bootstraps over images, for single seeds."
ABLATIONS = ("no-reg", "no-const", "no-finetune", "e2e")
"""The rows B to E of the paper's Table 2; other ablations come after them."""


@dataclass(frozen=True)
class _Plan:
    """What tells one metric layout from another."""

    layout: str
    metrics: tuple[str, ...]
    title: str
    intro: str
    published: tuple[str, ...] = ()


def table1(asked: Asked) -> Table:
    """Lay out the paper's Table 1: a row per method, MMR / MODS / MVIS per data set.

    Ablations of a method that is there itself are left to Table 2.
    """
    records = _without_ablations(asked.records)
    plan = _instance_plan("table1", asked.protocol, "mgdgan_table1")
    return _metric_table(plan, asked, records, row_titles(records))


def table2(asked: Asked) -> Table:
    """Lay out the paper's Table 2: a method and its ablations, rows lettered as there.

    Raises:
        DataError: no record is of an ablation.
    """
    studied = {r.row for r in asked.records if r.ablation}
    chosen = [r for r in asked.records if r.kind == "method" and r.row in studied]
    if not chosen:
        raise DataError(
            "no records of an ablation: train some (`udit-bench train --method mgdgan --ablation "
            "no-reg`), then `udit-bench eval`."
        )
    plan = _instance_plan("table2", asked.protocol, "mgdgan_table2")
    return _metric_table(plan, asked, chosen, _lettered(chosen))


def classification(asked: Asked) -> Table:
    """Lay out InstaGAN's Tables 1 and 2: classification scores of whole and of masked pictures.

    Raises:
        DataError: no record has one.
        RecordsError: they come from different classifiers.
    """
    records = _measured(_without_ablations(asked.records), ("cls", "cls_masked"))
    if not records:
        raise DataError(
            "no classification scores among the records: train a classifier (`udit-bench "
            "classifier train --data ...`), then `udit-bench eval --classifier FILE`."
        )
    require_one_classifier(records)
    names = {
        f"{held.get('backbone', '?')} (weights {str(held.get('weights', ''))[:8]})"
        for record in records
        if (held := record.classifier)
    }
    plan = _Plan(
        "classification",
        ("cls", "cls_masked"),
        "Classification scores",
        "Share of pictures, in percent, that a classifier takes for the target class: whole, and "
        f"masked to the generated instances; higher is better. Classifier: "
        f"{', '.join(sorted(names))}. Cells are by generated class, in the order of the column "
        "heads.",
        ("instagan_table1", "instagan_table2"),
    )
    return _metric_table(plan, asked, records, row_titles(records))


def quality(asked: Asked) -> Table:
    """Lay out what is measured besides: residual source, background, KID and FID.

    Raises:
        DataError: no record has any of them.
    """
    names = [name for name in METRICS.names() if name not in (*INSTANCE, "cls", "cls_masked")]
    records = _measured(_without_ablations(asked.records), names)
    names = [name for name in names if any(name in r.metrics for r in records)]
    if not names:
        raise DataError("no further metrics among the records: run `udit-bench eval` again.")
    require_one_inception(records)
    metrics: list[Metric] = [METRICS.load(name) for name in names]
    said = "; ".join(
        f"{m.title} ({'higher' if m.higher_is_better else 'lower'} is better): "
        f"{m.definition.rstrip('.')}"
        for m in metrics
    )
    plan = _Plan(
        "quality",
        tuple(names),
        "Source left over, background, and distance to real pictures",
        f"{said}. Cells are by generated class, in the order of the column heads.",
    )
    return _metric_table(plan, asked, records, row_titles(records))


def _instance_plan(layout: str, protocol: str, published: str) -> _Plan:
    return _Plan(
        layout,
        INSTANCE,
        f"MMR, MODS and MVIS under the protocol {protocol}",
        "MMR, MODS and MVIS in percent, higher is better; cells are by generated class, "
        "in the order of the column heads.",
        (published,),
    )


def _without_ablations(records: Sequence[Record]) -> list[Record]:
    whole = {r.row for r in records if r.kind == "method" and not r.ablation}
    return [r for r in records if not (r.ablation and r.row in whole)]


def _measured(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """Rows of which some seed has one of the metrics, whole; bounds where any row has."""
    rows = {row_key(r) for r in records if any(name in r.metrics for name in names)}
    return [r for r in records if rows and (r.kind == "bound" or row_key(r) in rows)]


def _lettered(records: Sequence[Record]) -> dict[RowKey, str]:
    """``A) MGD-GAN``, ``B) A w/o reg`` ...: each method, then its ablations as in the paper."""
    ablations = {row_key(r): r.ablation or "" for r in records}
    titles = row_titles(records)
    methods = list(dict.fromkeys(row for _, row, _ in titles))

    def rank(key: RowKey) -> tuple[int, bool, int, str]:
        name = ablations[key]
        return methods.index(key[1]), bool(name), place_of(name, ABLATIONS), name

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
    plan: _Plan, asked: Asked, records: Sequence[Record], titles: Mapping[RowKey, str]
) -> Table:
    """Rows of metrics per data set.

    A cell ``a/b`` is by generated class: under ``sheep/giraffe``, a is giraffe to sheep (BtoA).
    Per data set, metric and half the best competing row (method or external) is bold, compared
    as printed; ties are all bold, and nothing is where fewer than two compete.
    """
    metrics: tuple[Metric, ...] = tuple(METRICS.load(name) for name in plan.metrics)
    measurements = measure(records)
    heads = heads_of(measurements)
    found = {(m.dataset, m.key, m.direction): m for m in measurements}
    best = _best(measurements, metrics)

    def cell(dataset: str, key: RowKey, metric: Metric) -> Cell:
        parts = []
        for direction in HALVES:
            held = found.get((dataset, key, direction))
            text = _text(held, metric)
            bold = held is not None and held.competes
            shown = f"{text}{_spread(held, metric)}"
            parts.append(Part(shown, bold and best.get((dataset, metric.name, direction)) == text))
        return tuple(parts)

    columns = tuple(_head(metric) for metric in metrics)
    groups = [Group(head, columns) for head in heads.values()]
    rows = [
        Row(title, tuple(cell(dataset, key, metric) for dataset in heads for metric in metrics))
        for key, title in titles.items()
    ]
    caption = _caption(plan, records, measurements, heads)
    if asked.published:
        groups, rows, said = _beside(plan, groups, rows, measurements, heads, titles)
        caption = f"{caption} {said}"
    return Table(
        layout=plan.layout,
        protocol=asked.protocol,
        title=plan.title,
        caption=caption,
        origin=(
            f"udit-bench table --layout {plan.layout} --protocol {asked.protocol}"
            f"{' --published' if asked.published else ''}: "
            f"{len(records)} records of {', '.join(heads)}; commit {commits(records)}"
        ),
        corner="Method",
        groups=tuple(groups),
        rows=tuple(rows),
        measurements=tuple(measurements),
    )


def _head(metric: Metric) -> str:
    return metric.title if metric.unit in ("%", "") else f"{metric.title} ({metric.unit})"


def _text(measurement: Measurement | None, metric: Metric) -> str:
    figure = measurement.figures.get(metric.name) if measurement else None
    return printed(figure.value if figure else None, metric.decimals)


def _spread(measurement: Measurement | None, metric: Metric) -> str:
    """The standard deviation over seeds, where there are several."""
    figure = measurement.figures.get(metric.name) if measurement else None
    if figure is None or figure.sd is None:
        return ""
    return f" ± {printed(figure.sd, metric.decimals)}"


def _best(
    measurements: Sequence[Measurement], metrics: Sequence[Metric]
) -> dict[tuple[str, str, str], str]:
    """Find the best printed figure where at least two rows compete."""
    best: dict[tuple[str, str, str], str] = {}
    for metric in metrics:
        running: dict[tuple[str, str, str], list[str]] = {}
        for m in measurements:
            text = _text(m, metric)
            if m.competes and text != MISSING:
                running.setdefault((m.dataset, metric.name, m.direction), []).append(text)
        pick = max if metric.higher_is_better else min
        best |= {place: pick(texts, key=Decimal) for place, texts in running.items() if texts[1:]}
    return best


def _caption(
    plan: _Plan,
    records: Sequence[Record],
    measurements: Sequence[Measurement],
    heads: Mapping[str, str],
) -> str:
    sentences = [
        plan.intro,
        protocol_sentence(records[0].protocol),
        *(
            data_sentence(head, [m for m in measurements if m.dataset == dataset])
            for dataset, head in heads.items()
        ),
        seeds_of(measurements, heads, spread=True),
        INTERVALS,
        "Bold: the best where at least two rows compete, bound rows (real, source copy) apart; "
        f"{MISSING}: not measured.",
        f"Commit {commits(records)}.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


# ------------------------------------------------------------------------------- published beside


def _beside(
    plan: _Plan,
    groups: Sequence[Group],
    rows: Sequence[Row],
    measurements: Sequence[Measurement],
    heads: Mapping[str, str],
    titles: Mapping[RowKey, str],
) -> tuple[list[Group], list[Row], str]:
    """Every group with the papers' figures of the same cells after it; rows of theirs at the end.

    Published figures are on the papers' own data and protocol, so they are never bold.
    """
    figures = read_published(plan.published)
    ablations = {m.key: m.ablation or "" for m in measurements}
    classes = {m.dataset: m.classes for m in measurements}
    tested = [p for p in figures if p.split == "test"]
    held = {(p.row, p.ablation, p.source, p.target, p.metric): p for p in tested}

    def cells(row: str, ablation: str, dataset: str) -> tuple[Cell, ...]:
        a, b = classes[dataset]
        sides = ((b, a), (a, b))  # as HALVES
        return tuple(
            tuple(
                Part(found.value if (found := held.get((row, ablation, *side, name))) else MISSING)
                for side in sides
            )
            for name in plan.metrics
        )

    wide: list[Group] = []
    for group in groups:
        wide += [group, Group(f"{group.head} {HEAD}", group.columns)]
    width = len(plan.metrics)
    made = []
    for row, key in zip(rows, titles, strict=True):
        joined: list[Cell] = []
        for place, dataset in enumerate(heads):
            joined += row.cells[place * width : (place + 1) * width]
            joined += cells(key[1], ablations[key], dataset)
        made.append(Row(row.title, tuple(joined)))
    ours = {(key[1], ablations[key]) for key in titles}
    missing: Cell = (Part(MISSING), Part(MISSING))
    for (name, ablation), title in _only_published(figures, ours).items():
        theirs = [cells(name, ablation, dataset) for dataset in heads]
        if any(part.text != MISSING for line in theirs for cell in line for part in cell):
            joined = [cell for line in theirs for cell in (*[missing] * width, *line)]
            made.append(Row(title, tuple(joined)))
    return wide, made, _published_sentence(figures)


def _only_published(
    figures: Sequence[Published], ours: set[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    return {(p.row, p.ablation): p.title for p in figures if (p.row, p.ablation) not in ours}


def _published_sentence(figures: Sequence[Published]) -> str:
    data = ", ".join(dict.fromkeys(p.data for p in figures))
    return (
        f"Published: the papers' own figures on {data}, under a protocol that is not public; they "
        "share the classes of a column and nothing else, so they are not comparable with ours."
    )
