"""``udit-bench figure``: PDF and PNG for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udit_bench.cli.options import (
    PATH,
    Size,
    device_option,
    results_option,
    runs_option,
    torch_device,
)
from udit_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from udit_bench.runs import RunDirectory

OUT = click.option("--out", type=PATH, help="Path without a suffix. [default: figure-KIND]")


@click.group("figure")
def figure_command() -> None:
    """Draw a figure for a paper; each is written as PDF and as PNG."""


@figure_command.command("grid")
@click.argument("run", type=PATH, nargs=-1)
@click.option(
    "--ablation", is_flag=True, help="A method beside its ablations (the paper's Fig. 3)."
)
@click.option("--split", default="test", show_default=True)
@click.option("--data", help="Data set instead of each run's own.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the runs.")
@click.option("--count", type=click.IntRange(1), default=3, show_default=True, help="A direction.")
@click.option("--image", "images", multiple=True, help="This picture's id; may be repeated.")
@click.option("--outlines", is_flag=True, help="Also outline the instances that methods made.")
@device_option
@runs_option
@OUT
def figure_grid(run: tuple[Path, ...], **options: Any) -> None:
    """Draw source, instances and every method, as the paper's Figure 2 does.

    RUNs are the columns (default: the finished runs of one seed). Without --image the first
    pictures with two or more instances are shown.
    """
    from udit_bench.files import require_writable
    from udit_bench.report.figure_grid import grid_rows
    from udit_bench.report.figures import grid_figure

    out = options["out"] or Path("figure-ablation" if options["ablation"] else "figure-grid")
    require_writable(out.parent)
    chosen = _runs(run, options)
    made = grid_rows(
        chosen,
        split=options["split"],
        data=options["data"],
        images=options["images"],
        count=options["count"],
        outlines=options["outlines"],
        device=torch_device(options["device"]),
    )
    _save(grid_figure(*made), out)


@figure_command.command("curves")
@click.argument("run", type=PATH, nargs=-1)
@click.option("--metric", help="This metric against training time, instead of losses.")
@click.option("--term", "terms", multiple=True, help="Only this loss; may be repeated.")
@click.option("--protocol", default="retrieval", show_default=True, help="Of --metric.")
@click.option("--data", metavar="NAME", help="--metric: only this data set.")
@click.option("--split", metavar="NAME", help="--metric: only this split.")
@click.option("--size", type=Size(), help="--metric: only this size.")
@click.option("--detector", metavar="NAME", help="--metric: only figures of this detector.")
@results_option
@runs_option
@OUT
def figure_curves(run: tuple[Path, ...], **options: Any) -> None:
    """Draw the losses of RUNs (default: all), or a metric against training time."""
    from udit_bench.files import require_writable

    out = options["out"] or Path("figure-curves")
    require_writable(out.parent)
    if options["metric"]:
        if options["terms"] or run:
            raise UsageError("--metric reads the records: leave --term and RUN out.")
        _save(_metric_figure(options), out)
        return
    from udit_bench.report.figures import loss_figure
    from udit_bench.report.page_curves import loss_runs
    from udit_bench.runs import RunDirectory, find_runs

    chosen = [RunDirectory(path) for path in run] or list(find_runs(options["runs"]))
    read = loss_runs(chosen)
    if not read:
        raise DataError(f"no run with a log in {options['runs']}: train one first.")
    _save(loss_figure(read, options["terms"]), out)


@figure_command.command("scaling")
@click.argument("bench", type=PATH, nargs=-1, required=True)
@OUT
def figure_scaling(bench: tuple[Path, ...], out: Path | None) -> None:
    """Draw seconds and memory against the number of instances.

    BENCH is what `udit-bench bench train --json > FILE` printed.
    """
    from udit_bench.files import require_writable
    from udit_bench.report.figures import scaling_figure
    from udit_bench.report.page_curves import read_bench

    out = out or Path("figure-scaling")
    require_writable(out.parent)
    _save(scaling_figure([read_bench(path) for path in bench]), out)


def _save(figure: Figure, out: Path) -> None:
    from udit_bench.report.figures import save_figure

    for path in save_figure(figure, out):
        click.echo(f"wrote {path}")


def _runs(paths: tuple[Path, ...], options: dict[str, Any]) -> list[RunDirectory]:
    """The runs given, or the finished ones of the seed: whole methods, or one with ablations."""
    from udit_bench.registry import METHODS
    from udit_bench.report.measurements import place_of
    from udit_bench.runs import RunDirectory, find_runs

    if paths:
        return [RunDirectory(path) for path in paths]
    found = []
    for run in find_runs(options["runs"]):
        config = run.read_config()
        if run.read_info().state == "finished" and config.seed == options["seed"]:
            found.append((config, run))
    if options["ablation"]:
        studied = {config.method for config, _ in found if config.ablation}
        found = [(config, run) for config, run in found if config.method in studied]
    else:
        found = [(config, run) for config, run in found if not config.ablation]
    if not found:
        what = "run of a method and its ablations" if options["ablation"] else "run"
        raise DataError(
            f"no finished {what} with seed {options['seed']} in {options['runs']}: train one "
            "first, or choose with --seed."
        )
    known = METHODS.names()
    found.sort(key=lambda pair: (place_of(pair[0].method, known), *_order(pair[0].ablation)))
    return [run for _, run in found]


def _order(ablation: str | None) -> tuple[int, str]:
    """The method itself, then its ablations as in the paper's Table 2."""
    from udit_bench.report.layouts import ABLATIONS
    from udit_bench.report.measurements import place_of

    return (place_of(ablation, ABLATIONS) if ablation else -1), ablation or ""


def _metric_figure(options: dict[str, Any]) -> Figure:
    from udit_bench.records import RECORDS_NAME, read_records
    from udit_bench.registry import METRICS
    from udit_bench.report.comparable import require_comparable
    from udit_bench.report.figures import metric_figure
    from udit_bench.report.measurements import row_titles
    from udit_bench.report.page_curves import metric_points
    from udit_bench.report.tables import protocols, select_records

    metric = METRICS.load(options["metric"])
    detectors = [options["detector"]] if options["detector"] else []
    read = select_records(
        read_records(options["results"] / RECORDS_NAME),
        options["data"], options["split"], detectors, options["size"],
    )  # fmt: skip
    records = [r for r in read if r.protocol.get("name") == options["protocol"]]
    if not records:
        raise UsageError(
            f"--protocol {options['protocol']}: recorded are {', '.join(protocols(read))}."
        )
    require_comparable(records)
    sides = {(r.dataset, r.direction): f"{r.source} to {r.target}, {r.dataset}" for r in records}
    points = metric_points(records, row_titles(records))
    return metric_figure(points, metric.name, metric.title, metric.unit, sides)
