"""The run directory: what a training run leaves behind, and how it is found again."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from udit_bench.errors import DataError, UsageError
from udit_bench.files import write_text

CONFIG, INFO, LOG = "config.yaml", "run.json", "log.jsonl"


class RunConfig(BaseModel):
    """What was asked for, resolved: enough to start the same run again with ``--config``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    data: str = "pasture"
    labels: tuple[str, str] | None = None
    preset: str = "paper"
    ablation: str | None = None
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = None
    settings: dict[str, Any] = {}


class RunInfo(BaseModel):
    """What happened: state, cost and where it ran. Rewritten as the run goes on."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["running", "interrupted", "failed", "finished"] = "running"
    origin: Literal["trained", "imported"] = "trained"
    dataset: str
    labels: tuple[str, str]
    split: str
    argv: list[str] = []
    started: str = ""
    ended: str | None = None
    seconds: float = 0.0
    steps: int = 0
    epochs: int = 0
    parameters: int = 0
    peak_memory_mib: float = 0.0
    device: str = "cpu"
    threads: int = 1
    processes: int = 1
    commit: str | None = None
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    notes: list[str] = []
    error: str | None = None


class RunDirectory:
    """Paths and files of one run; creating the object touches nothing on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """The latest checkpoint."""
        return self.path / "checkpoints" / "last"

    @property
    def log(self) -> Path:
        """One JSON line per logged step."""
        return self.path / LOG

    @property
    def samples(self) -> Path:
        """Sample grids, one PNG per epoch."""
        return self.path / "samples"

    def translations(self, split: str, variant: str, size: tuple[int, int]) -> Path:
        """Where a variant's translations of a split at (H, W) are kept."""
        return self.path / "translations" / f"{split}-{size[0]}x{size[1]}" / (variant or "default")

    def exists(self) -> bool:
        """Whether something that looks like a run is there."""
        return (self.path / CONFIG).exists() or (self.path / INFO).exists()

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved configuration."""
        document = config.model_dump(mode="json", exclude_none=True)
        write_text(self.path / CONFIG, yaml.safe_dump(document, sort_keys=False))

    def write_info(self, info: RunInfo) -> None:
        """Write state and cost, atomically."""
        write_text(self.path / INFO, info.model_dump_json(indent=2) + "\n")

    def read_config(self) -> RunConfig:
        """Read the configuration; DataError if this is no run."""
        if not (self.path / CONFIG).is_file():
            kind = "a file" if self.path.is_file() else "not a run folder"
            raise DataError(
                f"{self.path} is {kind}: a run folder holds {CONFIG} (see `udit-bench train`)."
            )
        return read_config(self.path / CONFIG)

    def read_info(self) -> RunInfo:
        """Read state and cost; DataError if missing or damaged."""
        try:
            return RunInfo.model_validate_json((self.path / INFO).read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{self.path / INFO} is missing or damaged: {_first(error)}."
            ) from error

    def cut_log(self, steps: int) -> None:
        """Drop log lines after ``steps``: they are of work that a resumed run does again."""
        if self.log.is_file():
            lines = self.log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _logged_step(line) <= steps]
            write_text(self.log, "".join(line + "\n" for line in kept))

    def append_log(self, entry: dict[str, Any]) -> None:
        """Add one JSON line to the log."""
        with open(self.log, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry) + "\n")


def _logged_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line, cut off by a crash


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]


def read_config(path: Path) -> RunConfig:
    """A run configuration from YAML.

    Raises:
        UsageError: unreadable, not YAML, or with unknown or wrong entries (names the first).
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise UsageError(f"{path}: expected `key: value` lines.")
        return RunConfig.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UsageError(f"{path}: {where}: {problem['msg']}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path}: {_first(error)}.") from error


def run_path(root: Path, dataset: str, method: str, ablation: str | None, seed: int) -> Path:
    """``root/<dataset>/<method>[-<ablation>]/seed<k>``."""
    return root / dataset / (f"{method}-{ablation}" if ablation else method) / f"seed{seed}"


def find_runs(root: Path) -> Iterator[RunDirectory]:
    """Every run below ``root``, in path order."""
    for config in sorted(root.rglob(CONFIG)):
        if (config.parent / INFO).is_file():
            yield RunDirectory(config.parent)


def now() -> str:
    """The time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_commit() -> str | None:
    """The commit of the source tree this package runs from (``+`` if modified), or None."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).resolve().parent

    def ask(*arguments: str) -> str | None:
        done = subprocess.run(  # noqa: S603
            [git, "-C", str(here), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    top = ask("rev-parse", "--show-toplevel")
    if top is None or not (Path(top) / "udit_bench" / "runs.py").is_file():
        return None
    commit = ask("rev-parse", "--short=12", "HEAD")
    return (
        f"{commit}+" if commit and ask("status", "--porcelain", "--untracked-files=no") else commit
    )


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("udit-bench", "torch", "torchvision", "accelerate", "numpy", "pillow", "pycocotools")
    found = {"python": platform.python_version(), **{name: version(name) for name in names}}
    for name in ("detectron2", "torch-fidelity", "timm"):
        with suppress(PackageNotFoundError):  # optional
            found[name] = version(name)
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores and, where there is one, the GPU."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"processor": _processor(), "cores": os.cpu_count(), "gpu": gpu, "os": platform.system()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def command_line() -> list[str]:
    """How this process was started, without the interpreter's path."""
    return ["udit-bench", *sys.argv[1:]]
