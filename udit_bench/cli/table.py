"""``udit-bench table``: print or write a table of what was evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from udit_bench.cli.options import Size, table_console
from udit_bench.errors import UsageError

if TYPE_CHECKING:
    from udit_bench.report.tables import Table

_SUFFIXES = {".tex": "latex", ".csv": "csv", ".md": "markdown", ".html": "html"}
WITHOUT_PUBLISHED = ("quality", "sensitivity", "agreement", "differences")


@click.command("table")
@click.option(
    "--layout",
    default="table1",
    show_default=True,
    metavar="NAME",
    help="table1, table2, classification, quality, cost, sensitivity, agreement or differences.",
)
@click.option(
    "--protocol",
    default="retrieval",
    show_default=True,
    metavar="retrieval|strict",
    help="The protocol of the figures; a table holds one.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(_SUFFIXES.values())),
    multiple=True,
    help="Form to print or write; may be repeated.  [default: by the suffix of --out, else a "
    "table for the terminal]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write here instead of printing; several formats differ in the suffix.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder that `eval` wrote.",
)
@click.option("--data", metavar="NAME", help="Only this data set.")
@click.option("--split", metavar="NAME", help="Only this split.")
@click.option("--size", type=Size(), help="Only pictures judged at this size.")
@click.option(
    "--detector",
    "detectors",
    metavar="NAME",
    multiple=True,
    help="Only figures of this detector; may be repeated for the layout agreement.",
)
@click.option("--published", is_flag=True, help="The papers' own figures beside ours.")
@click.option(
    "--baseline",
    metavar="ROW",
    help="differences: the row that the others are compared with.  [default: the first method]",
)
def table_command(
    layout: str,
    protocol: str,
    formats: tuple[str, ...],
    out: Path | None,
    results: Path,
    data: str | None,
    split: str | None,
    size: tuple[int, int] | None,
    detectors: tuple[str, ...],
    published: bool,
    baseline: str | None,
) -> None:
    """Make a table of the records that `eval` wrote.

    Without --format and --out it is printed for the terminal and nothing is written.
    """
    if out is not None and not formats:
        formats = (_format_of(out),)

    if baseline is not None and layout != "differences":
        raise UsageError("--baseline is for --layout differences.")
    if published and layout in WITHOUT_PUBLISHED:
        raise UsageError(f"--published: the papers have no figures for the layout {layout}.")

    from udit_bench.records import INSTANCES_NAME, RECORDS_NAME, read_records
    from udit_bench.report.tables import build_table, select_records

    records = select_records(read_records(results / RECORDS_NAME), data, split, detectors, size)
    made = build_table(
        records,
        layout,
        protocol,
        published=published,
        instances=results / INSTANCES_NAME,
        baseline=baseline,
    )
    if not formats:
        _print_for_terminal(made)
    else:
        _print_or_write(made, formats, out)


def _format_of(out: Path) -> str:
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"--out {out}: no format has this suffix; use {', '.join(_SUFFIXES)} or add --format."
        )
    return _SUFFIXES[out.suffix.lower()]


def _print_for_terminal(made: Table) -> None:
    from udit_bench.report.render import to_console

    table_console().print(to_console(made))


def _print_or_write(made: Table, formats: tuple[str, ...], out: Path | None) -> None:
    from udit_bench.files import write_text
    from udit_bench.report.render import FORMATS

    texts = {name: FORMATS[name][1](made) for name in dict.fromkeys(formats)}
    for name, text in texts.items():
        if out is None:
            click.echo(text, nl=False)
            continue
        path = out if len(texts) == 1 else out.with_suffix(FORMATS[name][0])
        write_text(path, text)
        click.echo(f"wrote {path}", err=True)
