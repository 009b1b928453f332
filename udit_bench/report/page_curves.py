"""Curves of the page: losses, metrics against training time, cost against instances."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from udit_bench.errors import DataError, UditError
from udit_bench.methods import title_of
from udit_bench.records import Record
from udit_bench.registry import METHODS, METRICS
from udit_bench.report.measurements import RowKey, place_of, row_key
from udit_bench.report.page_sources import read_json_lines
from udit_bench.runs import RunDirectory

POINTS = 240
"""At most so many points a loss curve; longer logs are averaged in pieces of equal length."""


def loss_runs(runs: Iterable[RunDirectory]) -> list[dict[str, Any]]:
    """Per run with a log: title, seed, and per phase its steps and named losses."""
    found: list[tuple[tuple[int, bool, str], dict[str, Any]]] = []
    for run in runs:
        config = run.read_config()
        phases = _phases(read_json_lines(run.log), run.log)
        if phases:
            title = method_title(config.method, [config.ablation] if config.ablation else [])
            order = place_of(config.method, METHODS.names()), bool(config.ablation), title
            found.append((order, {"title": title, "seed": config.seed, "phases": phases}))
    return [run for _, run in sorted(found, key=lambda item: (item[0], item[1]["seed"]))]


def method_title(method: str, notes: Sequence[str] = ()) -> str:
    """How a method is printed; its registered name where it cannot be loaded here."""
    try:
        return title_of(method, notes)
    except UditError:
        return f"{method} ({', '.join(notes)})" if notes else method


def _phases(entries: Sequence[Mapping[str, Any]], path: Path) -> list[dict[str, Any]]:
    held: dict[str, list[Mapping[str, Any]]] = {}
    try:
        for entry in entries:
            held.setdefault(str(entry["phase"]), []).append(entry)
        return [
            {
                "name": name,
                "steps": _thinned([float(entry["step"]) for entry in members]),
                "losses": {
                    term: _thinned([_number(entry["losses"].get(term)) for entry in members])
                    for term in dict.fromkeys(t for entry in members for t in entry["losses"])
                },
            }
            for name, members in held.items()
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a training log (it lacks {error}).") from error


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _thinned(values: Sequence[float]) -> list[float | None]:
    """Means of at most ``POINTS`` pieces of equal length; None where nothing is finite."""
    length = max(1, math.ceil(len(values) / POINTS))
    thin: list[float | None] = []
    for start in range(0, len(values), length):
        piece = [value for value in values[start : start + length] if math.isfinite(value)]
        thin.append(float(f"{sum(piece) / len(piece):.5g}") if piece else None)
    return thin


def metric_heads(records: Iterable[Record]) -> list[dict[str, str]]:
    """Every metric of the records: name, title and unit."""
    names = dict.fromkeys(name for record in records for name in record.metrics)
    return [{"name": name, **_metric_head(name)} for name in names]


def _metric_head(name: str) -> dict[str, str]:
    try:
        metric = METRICS.load(name)
    except UditError:
        return {"title": name, "unit": "", "better": ""}
    better = "higher is better" if metric.higher_is_better else "lower is better"
    return {"title": metric.title, "unit": metric.unit, "better": better}


def metric_points(records: Iterable[Record], titles: Mapping[RowKey, str]) -> list[dict[str, Any]]:
    """One point per trained row, seed, direction, protocol and metric."""
    return [
        {
            "title": titles[row_key(record)],
            "seed": record.seed,
            "side": [record.dataset, record.direction],
            "protocol": record.protocol.get("name"),
            "metric": name,
            "seconds": record.cost.train_seconds,
            "value": round(value.value, 4),
            "low": value.low,
            "high": value.high,
        }
        for record in records
        for name, value in record.metrics.items()
        if record.cost.train_seconds is not None and value.value is not None
    ]


def read_bench(path: Path) -> dict[str, Any]:
    """What `udit-bench bench train|translate --json` printed, for the page.

    Raises:
        DataError: unreadable, or something else.
    """
    wanted = f"{path}: not what `udit-bench bench train --json > FILE` prints"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        costs = [
            {
                "title": method_title(str(cost["method"])),
                "phase": str(cost["phase"]),
                "instances": int(cost["instances"]),
                "seconds": float(cost["seconds"]),
                "memory": float(cost["peak_memory_mib"]),
            }
            for cost in document["costs"]
        ]
        what, options = str(document["what"]), dict(document["options"])
        machine = dict(document["hardware"])
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{wanted} ({type(error).__name__}: {error}).") from error
    if not costs:
        raise DataError(f"{wanted}: it holds no measurement.")
    return {"what": what, "about": _about(options, machine), "costs": costs}


def _about(options: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    size = options.get("size")
    shown = " x ".join(map(str, size)) + " pixels" if isinstance(size, list) else ""
    on_gpu = options.get("device") != "cpu" and machine.get("gpu")
    device = machine.get("gpu") if on_gpu else machine.get("processor")
    threads = options.get("threads")
    said = [
        str(device or "unknown machine"),
        f"{threads} thread{'' if threads == 1 else 's'}" if threads and not on_gpu else "",
        f"preset {options['preset']}" if options.get("preset") else "",
        shown,
        f"batch size {options['batch_size']}" if options.get("batch_size") else "",
        str(options.get("precision") or ""),
    ]
    return ", ".join(part for part in said if part)
