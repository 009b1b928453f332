"""``udit-bench demo``: the whole benchmark on the bundled data, a few minutes on two cores."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING

import click

from udit_bench.cli.options import PATH, runs_option, table_console, use_threads
from udit_bench.errors import RunError
from udit_bench.registry import METHODS

if TYPE_CHECKING:
    from udit_bench.judging import Judgement
    from udit_bench.runs import RunDirectory

SHOWN = 4


@click.command("demo")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="At a time.")
@click.option("--results", type=PATH, default=Path("results/demo"), show_default=True)
@runs_option
def demo_command(seed: int, jobs: int, results: Path, runs: Path) -> None:
    """Train every method on pasture, judge it, print the table, draw the pictures.

    Finished runs are not trained again. Results go to results/demo/.
    """
    from udit_bench.datasets.pasture import open_pasture
    from udit_bench.runs import RunDirectory, run_path

    started = time.monotonic()
    names = METHODS.names()
    folders = {name: run_path(runs, "pasture", name, None, seed) for name in names}
    missing = [name for name in names if not _finished(folders[name])]
    click.echo(f"methods: {', '.join(names)}")
    if missing:
        source = open_pasture((64, 64))
        click.echo("drawing the training scenes ...")
        for domain in ("A", "B"):
            source.scenes("train", domain).fingerprint()
        _train_all(missing, folders, seed, runs, jobs)
    judgement = _judge([RunDirectory(folders[name]) for name in names], results)
    _show(judgement, [RunDirectory(folders[name]) for name in names], results)
    click.echo(f"done in {time.monotonic() - started:.0f} s")


def _finished(folder: Path) -> bool:
    from udit_bench.runs import INFO, RunDirectory

    return (folder / INFO).is_file() and RunDirectory(folder).read_info().state == "finished"


def _train_all(
    names: Sequence[str], folders: dict[str, Path], seed: int, runs: Path, jobs: int
) -> None:
    """Train methods in processes of their own, ``jobs`` at a time, one thread each."""
    waiting, running = list(names), dict[str, subprocess.Popen[str]]()
    lines: Queue[str] = Queue()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                running[name] = _start(name, folders[name], seed, runs, lines)
            with suppress(Empty):
                click.echo(lines.get(timeout=0.2))
            for name, process in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if process.returncode != 0:
                        _drain(lines)
                        raise RunError(f"training {name} failed (exit {process.returncode}).")
        _drain(lines)
    finally:
        for process in running.values():
            process.terminate()  # saves, so that the next demo goes on from there
        for process in running.values():
            process.wait()


def _drain(lines: Queue[str]) -> None:
    while not lines.empty():
        click.echo(lines.get())


def _start(
    name: str, folder: Path, seed: int, runs: Path, lines: Queue[str]
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "udit_bench", "train", "--method", name, "--threads", "1"]
    command += ["--seed", str(seed), "--runs", str(runs), "--device", "cpu"]
    if folder.exists():
        command.append("--resume")
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def forward() -> None:
        for line in process.stdout or ():
            lines.put(line.rstrip())

    threading.Thread(target=forward, daemon=True).start()
    return process


def _judge(runs: Sequence[RunDirectory], results: Path) -> Judgement:
    from udit_bench.evaluation import Extras
    from udit_bench.judging import Judgement, JudgeOptions, group_by_benchmark, run_rows
    from udit_bench.metrics.classifiers import open_classifier
    from udit_bench.metrics.detectors import open_detector
    from udit_bench.scene import DIRECTIONS

    use_threads(None, (64, 64))
    extras = Extras(open_classifier(dataset="pasture"))
    judgement = Judgement(open_detector("torchvision", dataset="pasture"), click.echo, extras)
    for benchmark, members in group_by_benchmark(runs, JudgeOptions()):
        for direction in DIRECTIONS:
            judgement.add_all(benchmark.bounds(direction), benchmark)
        for run in members:
            judgement.add_all((row for row, _ in run_rows(run, benchmark)), benchmark)
    judgement.write(results)
    return judgement


def _show(judgement: Judgement, runs: Sequence[RunDirectory], results: Path) -> None:
    from udit_bench.files import save_picture
    from udit_bench.report.grid import demo_picture
    from udit_bench.report.render import to_console, write_tables
    from udit_bench.report.tables import build_table, protocols

    console = table_console()
    for protocol in protocols(judgement.records):
        console.print(to_console(build_table(judgement.records, protocol=protocol)))
    paths = write_tables(judgement.records, results)
    picture = results / "pictures.png"
    save_picture(picture, demo_picture(runs, SHOWN))
    for path in [*paths, picture]:
        click.echo(f"wrote {path}")
