"""``udit-bench import``: checkpoints of other people's code."""

from __future__ import annotations

from pathlib import Path

import click

from udit_bench.cli.options import PATH, Size, labels_option


@click.group("import")
def import_command() -> None:
    """Turn checkpoints of a method's own authors into runs."""


@import_command.command("instagan")
@click.argument("a", type=PATH, metavar="A.pth")
@click.argument("b", type=PATH, metavar="B.pth")
@click.option("--out", type=PATH, required=True, metavar="RUN", help="The run folder to make.")
@click.option("--data", default="pasture", show_default=True, help="Data set that it translates.")
@click.option("--size", type=Size(), help="Size that it translates at. [default: 200]")
@labels_option
def import_instagan_command(
    a: Path,
    b: Path,
    out: Path,
    data: str,
    size: tuple[int, int] | None,
    labels: tuple[str, str] | None,
) -> None:
    """Import the two generators of the authors' InstaGAN.

    A.pth is their latest_net_G_A.pth (from domain A to B), B.pth their latest_net_G_B.pth. Files of
    any width and depth are read, without running code that they may hold. `translate` and `eval`
    take the run; there is nothing in it to train on with.
    """
    from udit_bench.importing import import_instagan
    from udit_bench.runs import RunDirectory

    info = import_instagan(a, b, RunDirectory(out), data=data, labels=labels, size=size)
    click.echo(f"imported {out} ({info.parameters:,} parameters). Next: udit-bench eval {out}")
