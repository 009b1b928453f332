"""What a person sees of a training run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from udit_bench.files import save_picture
from udit_bench.report.grid import sample_grid
from udit_bench.scene import Scene
from udit_bench.training import Observer, Progress
from udit_bench.translator import Translator


def _losses(progress: Progress) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _BarAndLosses(Bar):
    """A bar, and the losses on a line of their own: both fit 80 columns."""

    losses = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.losses, style="dim")


class ProgressBar(Observer):
    """A bar with it/s and time left, the losses below."""

    def __init__(self, title: str) -> None:
        self.bar = _BarAndLosses(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]:.1f} it/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            expand=True,
        )
        self.title = title
        self.task = self.bar.add_task(title, total=None, pace=0.0)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def on_step(self, progress: Progress) -> None:
        self.bar.update(
            self.task,
            description=f"{self.title} {progress.phase} {progress.epoch}/{progress.epochs}",
            total=progress.total_steps,
            completed=progress.total,
            pace=progress.steps_per_second,
        )
        self.bar.losses = _losses(progress)


class ProgressLines(Observer):
    """A line every few seconds, for logs and pipes."""

    def __init__(self, title: str, seconds: float = 10.0) -> None:
        self.title, self.seconds = title, seconds
        self.last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def on_step(self, progress: Progress) -> None:
        done = progress.total == progress.total_steps
        if not done and time.monotonic() - self.last < self.seconds:
            return
        self.last = time.monotonic()
        left = (progress.total_steps - progress.total) / max(progress.steps_per_second, 1e-9)
        click.echo(
            f"{self.title}: {progress.phase} epoch {progress.epoch}/{progress.epochs}, step "
            f"{progress.total}/{progress.total_steps}, {progress.steps_per_second:.1f} it/s, "
            f"{_clock(left)} left  {_losses(progress)}"
        )


def open_progress(title: str) -> ProgressBar | ProgressLines:
    """A bar where standard error is a terminal, lines elsewhere."""
    return ProgressBar(title) if sys.stderr.isatty() else ProgressLines(title)


class SampleGrids(Observer):
    """Draws a few translations after every epoch.

    Args:
        folder: where ``epoch-XXXX.png`` goes.
        scenes: ``(direction's source scenes)`` for AtoB and BtoA.
        size: (H, W) of the pictures.
    """

    def __init__(
        self, folder: Path, scenes: tuple[Sequence[Scene], Sequence[Scene]], size: tuple[int, int]
    ) -> None:
        self.folder, self.scenes, self.size = folder, scenes, size

    def on_epoch(self, translator: Translator, progress: Progress) -> None:
        device = next(translator.parameters()).device
        picture = sample_grid(translator, self.scenes, self.size, device)
        save_picture(self.folder / f"{progress.phase}-{progress.epoch:04d}.png", picture)
