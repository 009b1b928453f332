"""Options that several verbs share, and small helpers for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from udit_bench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class LabelPair(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """``sheep,giraffe``: the class names of domain A and B."""

    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).replace("/", ",").split(",")]
        if len(parts) != 2 or not all(parts):
            self.fail(f"'{value}' is not two class names, e.g. sheep,giraffe", param, ctx)
        return parts[0], parts[1]


class Size(click.ParamType):  # type: ignore[type-arg]
    """``64`` or ``240x160`` (height x width): (H, W) in pixels."""

    name = "N|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if not all(part.isdigit() for part in parts) or len(parts) not in (1, 2):
            self.fail(f"'{value}' is not a size: 64, or 240x160 (height x width)", param, ctx)
        height, width = int(parts[0]), int(parts[-1])
        if min(height, width) < 32:
            self.fail(f"'{value}' is too small: at least 32 pixels a side", param, ctx)
        return height, width


def runs_option(function: F) -> F:
    """``--runs``: where runs are kept."""
    return click.option(
        "--runs", type=PATH, default=Path("runs"), show_default=True, help="Folder of runs."
    )(function)


def results_option(function: F) -> F:
    """``--results``: where records and tables go."""
    return click.option(
        "--results", type=PATH, default=Path("results"), show_default=True,
        help="Folder of records and tables.",
    )(function)  # fmt: skip


def labels_option(function: F) -> F:
    """``--labels``: class names of a folder's domains."""
    return click.option(
        "--labels", type=LabelPair(), help="Class names of A and B, for folders without them."
    )(function)


def device_option(function: F) -> F:
    """``--device``."""
    return click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
    )(function)


SMALL = 128
"""Pictures up to this side gain nothing from a second thread, and lose much on a busy machine."""


def threads_option(function: F) -> F:
    """``--threads``."""
    return click.option(
        "--threads", type=click.IntRange(1),
        help=f"CPU threads. [default: 1 up to {SMALL} pixels a side, else all cores]",
    )(function)  # fmt: skip


def use_threads(threads: int | None, size: tuple[int, int]) -> None:
    """Let torch use so many threads for pictures of ``size`` (H, W)."""
    import torch

    if threads is None and max(size) <= SMALL:
        threads = 1
    if threads is not None:
        torch.set_num_threads(threads)


def parse_settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``("size=64", "betas=[0.5, 0.9]")`` to a dict; values are YAML.

    Raises:
        UsageError: not of the form key=value, or no valid YAML.
    """
    import yaml

    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: expected key=value, e.g. --set size=64.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {pair}: the value is not valid YAML.") from error
        settings[key.strip().replace("-", "_")] = _number(value)
    return settings


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-3`` as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def table_console() -> Console:
    """Standard output for tables; a pipe has no width of its own, so their cells stay whole."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def torch_device(device: str) -> str:
    """``auto`` to what this machine has.

    Raises:
        UsageError: cuda was asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UsageError("--device cuda: this machine has no usable GPU; use --device cpu or auto.")
    return "cuda" if available and device != "cpu" else "cpu"
