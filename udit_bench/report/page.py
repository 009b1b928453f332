"""One static page of everything that was measured: tables, curves, costs and all pictures.

It opens from disk without a network: ``index.html`` holds style, script and figures, ``media/`` the
pictures and the outlines of their masks.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from udit_bench import __version__
from udit_bench.errors import DataError, UsageError, unknown_name
from udit_bench.files import explain_os_errors, require_writable
from udit_bench.records import RECORDS_NAME, Record, read_records
from udit_bench.registry import DATASETS
from udit_bench.report.comparable import require_comparable
from udit_bench.report.html import to_html
from udit_bench.report.measurements import detector_name, row_titles, short_digest
from udit_bench.report.page_curves import loss_runs, metric_heads, metric_points, read_bench
from udit_bench.report.page_gallery import CHUNK, Gallery, GalleryMaker
from udit_bench.report.page_sources import RunFinder
from udit_bench.report.preview import PALETTE
from udit_bench.report.tables import Table, build_table, protocols, select_records
from udit_bench.runs import RunDirectory, command_line, find_runs, now

MARK = '<meta name="generator" content="udit-bench report">'
SCRIPTS = ("page.js", "page_charts.js", "page_gallery.js", "page_filters.js", "page_large.js")
FURTHER = ("classification", "quality", "cost", "sensitivity")
OWN = frozenset({"index.html", "media"})


@dataclass(frozen=True)
class PageOptions:
    """What the page is about.

    Attributes:
        results: folder of records and instances.
        runs: folder of runs, all of which are looked through.
        named: only these runs, beside bounds and external rows; empty: all.
        out: folder of the page.
        data: name of a data set, or its path.
        split: only this one; None: ``test`` where it was recorded.
        detector: only its figures.
        protocols: only these, in this order; empty: all.
        bench: files of `udit-bench bench ... --json`.
    """

    results: Path = Path("results")
    runs: Path = Path("runs")
    named: tuple[Path, ...] = ()
    out: Path = Path("results/report")
    data: str | None = None
    split: str | None = None
    detector: str | None = None
    protocols: tuple[str, ...] = ()
    bench: tuple[Path, ...] = ()


def write_page(options: PageOptions, say: Callable[[str], None] = lambda text: None) -> Gallery:
    """Write the page, or nothing at all; returns what its gallery holds.

    Raises:
        UsageError: ``out`` is something else than a report, an unknown protocol or the like.
        DataError: no records, a faulty file.
        RecordsError: records that cannot share a table.
        RunError: ``out`` cannot be written.
    """
    out = options.out.resolve()
    require_replaceable(out, options.out)
    records, finder = _chosen(options)
    tables = [table for name in protocols(records) for table in _tables(records, name)]
    more = list(_further_tables(records))
    titles = row_titles(records)
    costs = [read_bench(path) for path in options.bench]
    require_writable(out.parent)
    with explain_os_errors(options.out), replacing(out) as folder:
        maker = GalleryMaker(records, titles, finder, _data_path(options.data), folder, say)
        gallery = maker.make(options.results)
        curves = {
            "losses": loss_runs(finder.matched.values()),
            "metrics": metric_heads(records),
            "points": metric_points(records, titles),
            "rows": [title for key, title in titles.items() if key[0] != "bound"],
            "costs": costs,
        }
        text = render(records, (tables, more), curves, gallery)
        (folder / "index.html").write_text(text, encoding="utf-8")
    return gallery


# ---------------------------------------------------------------------------------- what is shown


def _chosen(options: PageOptions) -> tuple[list[Record], RunFinder]:
    """The records of the page, and the runs behind them."""
    records = read_records(options.results / RECORDS_NAME)
    if not records:
        raise DataError(
            f"no records in {options.results / RECORDS_NAME}: run `udit-bench eval` first."
        )
    detectors = [options.detector] if options.detector else []
    records = select_records(records, _data_name(options.data), None, detectors)
    held = {record.split for record in records}
    split = options.split or ("test" if "test" in held else None)
    records = select_records(records, None, split)
    for name in options.protocols:
        if name not in protocols(records):
            raise unknown_name("protocol", name, protocols(records))
    wanted = options.protocols or tuple(protocols(records))
    records = [r for name in wanted for r in records if r.protocol.get("name") == name]
    named = [RunDirectory(path) for path in options.named]
    finder = RunFinder(named or list(find_runs(options.runs)))
    if named:
        records = _only(records, named, finder)
    for name in wanted:
        require_comparable([r for r in records if r.protocol.get("name") == name])
    for record in records:
        finder.owners(record)
    return records, finder


def _only(
    records: Sequence[Record], named: Sequence[RunDirectory], finder: RunFinder
) -> list[Record]:
    """Records of the named runs, with bounds and external rows."""
    kept = [r for r in records if r.kind != "method" or finder.owners(r)]
    for run in named:
        if run.path not in finder.matched:
            raise DataError(f"no record of {run.path}: `udit-bench eval {run.path}` judges it.")
    return kept


def _data_path(data: str | None) -> str | None:
    return data if data and Path(data).is_dir() else None


def _data_name(data: str | None) -> str | None:
    """The name that records have for what was given: a name, or the path of a folder."""
    if data is None or data in DATASETS.names() or not Path(data).is_dir():
        return data
    return Path(data).resolve().name


def _tables(records: Sequence[Record], protocol: str) -> Iterator[Table]:
    yield build_table(records, "table1", protocol)
    if any(r.ablation for r in records if r.protocol.get("name") == protocol):
        yield build_table(records, "table2", protocol)


def _further_tables(records: Sequence[Record]) -> Iterator[Table]:
    """What else the records hold: classification, quality, cost, sensitivity.

    Raises:
        RecordsError: figures of one layout that cannot share a table.
    """
    for layout in FURTHER:
        for protocol in protocols(records) if layout == "sensitivity" else protocols(records)[:1]:
            with suppress(DataError):  # not measured
                yield build_table(records, layout, protocol)


# -------------------------------------------------------------------------------------- the text


def render(
    records: Sequence[Record],
    tables: tuple[Sequence[Table], Sequence[Table]],
    curves: dict[str, Any],
    gallery: Gallery,
) -> str:
    """The text of ``index.html``; ``tables`` are those to see at once, and further ones."""
    here = files("udit_bench.report")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (here / "page.html").read_text(encoding="utf-8")
    )
    data = {
        **curves,
        "protocols": protocols(records),
        "sides": gallery.sides,
        "labels": {f"{r.dataset} {r.direction}": f"{r.source} to {r.target}" for r in records},
        "columns": gallery.columns,
        "scenes": gallery.scenes,
        "reasons": gallery.reasons,
        "chunk": CHUNK,
        "palette": ["#%02x%02x%02x" % colour for colour in PALETTE],  # noqa: UP031
    }
    return template.render(
        mark=Markup(MARK),  # noqa: S704
        css=Markup((here / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        js=Markup("\n".join((here / name).read_text(encoding="utf-8") for name in SCRIPTS)),  # noqa: S704
        data=Markup(embedded(data)),  # noqa: S704
        tables=[(table, Markup(to_html(table))) for table in tables[0]],  # noqa: S704
        more=[(table, Markup(to_html(table))) for table in tables[1]],  # noqa: S704
        names=list(dict.fromkeys(record.dataset for record in records)),
        facts=facts(records),
        command=" ".join(command_line()),
        created=now(),
        version=__version__,
        notes=gallery.notes,
        pictures=len(gallery.scenes),
        losses=len(curves["losses"]),
        timed=len(curves["points"]),
        benches=len(curves["costs"]),
    )


def embedded(data: Any) -> str:
    """JSON that can stand in a ``<script>``: no ``<``, ``>`` or ``&`` in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Name and value of what the reader must know before any figure."""
    datasets: dict[str, list[Record]] = {}
    for record in records:
        datasets.setdefault(record.dataset, []).append(record)
    said = [("Data", "; ".join(_data(name, some) for name, some in datasets.items()))]
    counted = [r for r in records if r.kind != "bound" or r.row != "real"]
    counts = {
        (f"{r.source} to {r.target}: {r.images} images, {r.instances} instances"): None
        for r in counted or records
    }
    said.append(("Judged", "; ".join(counts)))
    said.append(("Protocols", ", ".join(protocols(records))))
    said.append(("Detector", "; ".join(dict.fromkeys(_detector(r) for r in records))))
    commits = dict.fromkeys(str(r.context.get("commit") or "not recorded") for r in records)
    said.append(("Judged at commit", ", ".join(short_digest(commit) for commit in commits)))
    return said


def _data(name: str, records: Sequence[Record]) -> str:
    first = records[0]
    return f"{name}, split {first.split}, {first.size[0]} x {first.size[1]} pixels (height x width)"


def _detector(record: Record) -> str:
    return f"{record.detector.get('backend', '')} {detector_name(record.detector)}"


# ------------------------------------------------------------------------------------ the folder


def require_replaceable(out: Path, asked: Path) -> None:
    """Refuse a place that holds anything but a report (or nothing).

    Raises:
        UsageError: names what is there.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"--out {asked} is a file: name a folder for the page.")
    held = sorted(path.name for path in out.iterdir())
    if not held:
        return
    index = out / "index.html"
    if not index.is_file() or MARK not in index.read_text("utf-8", errors="replace")[:2000]:
        raise UsageError(
            f"--out {asked} holds {held[0]} and is no report of ours: name another folder."
        )
    others = [name for name in held if name not in OWN]
    if others:
        raise UsageError(
            f"--out {asked} holds {others[0]}, which would be lost: move it, or name another "
            "folder."
        )


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that takes its place on success, and goes on failure."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if out.exists():
            out.rename(old)
        try:
            temporary.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
