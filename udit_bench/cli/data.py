"""``udit-bench data``: which data sets there are, whether one is sound, how one looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udit_bench.errors import DataError, UditError

if TYPE_CHECKING:
    from udit_bench.datasets.base import SceneSource
    from udit_bench.datasets.check import Findings


@click.group("data")
def data_command() -> None:
    """List, check and preview data sets."""


@data_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the data sets known by name."""
    from udit_bench.datasets.catalogue import open_source
    from udit_bench.registry import DATASETS

    about: dict[str, str] = {}
    for name in DATASETS.names():
        try:
            about[name] = open_source(name).about
        except UditError as error:
            about[name] = f"cannot be opened: {error}"
    if as_json:
        click.echo(json.dumps([{"name": name, "about": text} for name, text in about.items()]))
        return
    width = max(map(len, about), default=0)
    for name, text in about.items():
        click.echo(f"{name:<{width}}  {text}")
    click.echo("Or the path of a folder: COCO json, or InstaGAN's form (trainA, trainA_seg, ...).")


@data_command.command()
@click.argument("source", metavar="D")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(source: str, as_json: bool) -> None:
    """Look through data set D, a name or a path; one line per problem, exit code 3 if any."""
    from udit_bench.datasets.check import inspect_source

    findings = inspect_source(source)
    if as_json:
        click.echo(json.dumps(_as_json(source, findings)))
    else:
        for line in findings.problems:
            click.echo(line)
        for line in findings.notes:
            click.echo(f"note: {line}")
        if not findings.problems:
            click.echo(f"ok: {source}: {_counts(findings)}")
    if findings.problems:
        raise SystemExit(DataError.exit_code)


def _as_json(source: str, findings: Findings) -> dict[str, object]:
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for (split, domain), tally in findings.counts.items():
        counts.setdefault(split, {})[domain] = {
            "pictures": tally.pictures,
            "instances": tally.instances,
        }
    return {
        "data": source,
        "ok": not findings.problems,
        "problems": findings.problems,
        "notes": findings.notes,
        "counts": counts,
    }


def _counts(findings: Findings) -> str:
    return "; ".join(
        f"{split} {domain}: {tally.pictures} pictures, {tally.instances} instances"
        for (split, domain), tally in findings.counts.items()
    )


@data_command.command()
@click.argument("source", metavar="D")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: preview-NAME.png."
)
@click.option("--split", help="Default: test or val where there is one, else the training split.")
@click.option(
    "--count", type=click.IntRange(1), default=16, show_default=True, help="Pictures per domain."
)
@click.option(
    "--size", type=click.IntRange(16), help="Show as fitted to SIZE x SIZE; default: as it is."
)
def preview(source: str, out: Path | None, split: str | None, count: int, size: int | None) -> None:
    """Draw a contact sheet of data set D, a name or a path, with its instances in colour."""
    import io

    from udit_bench.datasets.catalogue import open_source
    from udit_bench.datasets.transforms import fit
    from udit_bench.files import write_bytes
    from udit_bench.report.preview import contact_sheet
    from udit_bench.scene import Domain

    square = (size, size) if size else None
    opened = open_source(source, size=square)
    split = opened.resolve(split) if split else _shown_split(opened)
    blocks = []
    domains: tuple[Domain, Domain] = ("A", "B")
    for domain in domains:
        scenes = opened.scenes(split, domain)
        shown = [fit(scene, square) if square else scene for scene in scenes[:count]]
        heading = f"{domain}: {opened.label(domain)}, {len(shown)} of {len(scenes)}"
        blocks.append((heading, shown))
    buffer = io.BytesIO()
    contact_sheet(blocks, title=f"{opened.name}, {split}").save(buffer, "PNG")
    path = out or Path(f"preview-{opened.name}.png")
    write_bytes(path, buffer.getvalue())
    click.echo(f"wrote {path}")


def _shown_split(source: SceneSource) -> str:
    try:
        return source.resolve("test")
    except DataError:
        return source.training_split()
