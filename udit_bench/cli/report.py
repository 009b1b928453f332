"""``udit-bench report``: everything that was measured on one page that opens from disk."""

from __future__ import annotations

from pathlib import Path

import click

from udit_bench.cli.options import PATH, results_option, runs_option


@click.command("report")
@click.argument("run", type=PATH, nargs=-1)
@click.option(
    "--out", type=PATH,
    help="Folder of the page; an older report there is replaced.  [default: RESULTS/report]",
)  # fmt: skip
@click.option("--split", metavar="NAME", help="Only this split.  [default: test]")
@click.option("--data", metavar="NAME|PATH", help="Only this data set.")
@click.option("--detector", metavar="NAME", help="Only figures of this detector.")
@click.option(
    "--protocol", "protocols", multiple=True, metavar="retrieval|strict",
    help="Only this protocol; may be repeated.  [default: all]",
)  # fmt: skip
@click.option(
    "--bench", type=PATH, multiple=True, metavar="FILE",
    help="What `bench train --json` or `bench translate --json` printed; may be repeated.",
)  # fmt: skip
@runs_option
@results_option
def report_command(
    run: tuple[Path, ...],
    out: Path | None,
    split: str | None,
    data: str | None,
    detector: str | None,
    protocols: tuple[str, ...],
    bench: tuple[Path, ...],
    runs: Path,
    results: Path,
) -> None:
    """Write one page with tables, curves, costs and all pictures (of RUNs, or of all).

    \b
    udit-bench report
    udit-bench bench train --json > train.json; udit-bench report --bench train.json

    OUT/index.html opens from disk, without a network. It shows what `eval` has judged.
    """
    from udit_bench.report.page import PageOptions, write_page

    out = out or results / "report"
    options = PageOptions(
        results=results, runs=runs, named=run, out=out, data=data, split=split,
        detector=detector, protocols=protocols, bench=bench,
    )  # fmt: skip
    gallery = write_page(options, lambda text: click.echo(text, err=True))
    for note in gallery.notes:
        click.echo(f"note: {note}", err=True)
    shown = sum(len(gallery.sides[scene["side"]]["columns"]) for scene in gallery.scenes)
    click.echo(f"wrote {out / 'index.html'}: {len(gallery.scenes)} scenes, {shown} translations")
