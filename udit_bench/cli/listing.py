"""``udit-bench methods``, ``metrics`` and ``detectors``: what is registered."""

from __future__ import annotations

import json
from typing import Any

import click

from udit_bench.registry import DETECTORS, METHODS, METRICS


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
    Console().print(table)


@click.command("methods")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def methods_command(as_json: bool) -> None:
    """List the translation methods: name, rows in the tables, presets, source."""
    rows = []
    for name in METHODS.names():
        method = METHODS.load(name)
        rows.append(
            {
                "name": name,
                "title": method.title,
                "rows": [variant for variant in method.variants if variant] or ["one"],
                "presets": list(method.Config.PRESETS),
                "ablations": list(method.ablations),
                "source": method.source,
            }
        )
    _print(rows, as_json)


@click.command("metrics")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def metrics_command(as_json: bool) -> None:
    """List the metrics: definition, unit, direction, source."""
    rows = []
    for name, metric in METRICS.load_all().items():
        asked = f"only with --with {name}" if metric.on_demand else ""
        rows.append(
            {
                "name": name,
                "title": metric.title,
                "unit": metric.unit,
                "better": "higher" if metric.higher_is_better else "lower",
                "definition": metric.definition,
                "source": metric.source,
                "needs": "; ".join(part for part in (metric.needs, asked) if part),
            }
        )
    if as_json:
        _print(rows, as_json)
        return
    for row in rows:
        unit = f" in {row['unit']}" if row["unit"] else ""
        click.echo(f"{row['name']}: {row['title']}{unit}, {row['better']} is better")
        for text in (
            row["definition"],
            f"Source: {row['source']}",
            row["needs"] and "Needs: " + row["needs"],
        ):
            if text:
                click.echo(click.wrap_text(text, 88, "    ", "    "))


@click.command("detectors")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def detectors_command(as_json: bool) -> None:
    """List the detectors that can judge translations."""
    rows = []
    for name in DETECTORS.names():
        about = (DETECTORS.load(name).__doc__ or "").strip().splitlines()[0]
        rows.append({"name": name, "about": about})
    _print(rows, as_json)
