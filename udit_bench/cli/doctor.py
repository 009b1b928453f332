"""``udit-bench doctor``: what loads here, what is missing, and the command that brings it."""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

import click

from udit_bench.errors import MissingPartError, UditError

MANDATORY = {  # distribution -> module
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "pillow": "PIL.Image",
    "opencv-python-headless": "cv2",
    "pycocotools": "pycocotools.mask",
    "accelerate": "accelerate",
    "pydantic": "pydantic",
    "safetensors": "safetensors.torch",
    "torchmetrics": "torchmetrics",
    "matplotlib": "matplotlib",
    "click": "click",
    "rich": "rich",
}
OPTIONAL = {  # distribution -> what for, the command
    "torch-fidelity": ("KID and FID", "pip install 'udit-bench[fidelity]'"),
    "timm": ("more classifiers", "pip install 'udit-bench[backbones]'"),
    "detectron2": ("the paper's detector", "udit-bench detector install detectron2"),
}
SHIPPED = (
    "maskrcnn_pasture.safetensors", "d2_pasture.safetensors", "classifier_pasture.safetensors",
)  # fmt: skip
SHELLS = {
    "bash": 'eval "$(_UDIT_BENCH_COMPLETE=bash_source udit-bench)"   # in ~/.bashrc',
    "zsh": 'eval "$(_UDIT_BENCH_COMPLETE=zsh_source udit-bench)"   # in ~/.zshrc',
    "fish": "_UDIT_BENCH_COMPLETE=fish_source udit-bench | source   # in config.fish",
}


class Part(TypedDict):
    """One line of the answer: ``version`` or size, whether it is ``ok``, and what to do if not."""

    name: str
    ok: bool
    version: str | None
    note: str


Section = list[Part]


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(as_json: bool) -> None:
    """Show what loads here: versions, detectors, shipped weights, caches, devices, completion.

    Nothing is downloaded or changed. Exit code 0 when all that is not optional works, else 4.
    """
    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        for title, parts in report.items():
            click.secho(title, bold=True)
            for part in parts:
                mark = "ok" if part["ok"] else "--"
                line = f"  {mark}  {part['name']:<28} {part['version'] or '':<14} {part['note']}"
                click.echo(line.rstrip())
    broken = [part for name in ("packages", "weights") for part in report[name] if not part["ok"]]
    if broken:
        names = ", ".join(part["name"] for part in broken)
        raise MissingPartError(f"not in order: {names}. {broken[0]['note']}")


def examine() -> dict[str, Section]:
    """Section -> its parts."""
    return {
        "packages": _packages(),
        "optional": _optional(),
        "detectors": _detectors(),
        "weights": _weights(),
        "caches": _caches(),
        "devices": _devices(),
        "completion": _completion(),
    }


def _packages() -> Section:
    parts = [_part("python", platform.python_version)]
    parts += [_part(name, partial(_imported, name, module)) for name, module in MANDATORY.items()]
    parts.append(_part("torchvision operators", _operators))
    return parts


def _part(name: str, find: Callable[[], str]) -> Part:
    """A mandatory part: its version, or the first line of why it does not load."""
    try:
        return Part(name=name, ok=True, version=find(), note="")
    except Exception as error:  # whatever a broken installation throws
        return Part(name=name, ok=False, version=_version(name), note=_reason(error))


def _reason(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, UditError) else f"{type(error).__name__}: {first}"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _imported(distribution: str, module: str) -> str:
    importlib.import_module(module)
    return _version(distribution) or "unknown"


def _operators() -> str:
    """NMS, which fails where torch and torchvision are of different builds."""
    import torch
    from torchvision.ops import nms

    try:
        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except RuntimeError as error:
        raise MissingPartError(
            "torch and torchvision are of different builds: "
            "pip install --force-reinstall torch torchvision"
        ) from error
    return ""


def _optional() -> Section:
    parts: Section = []
    for name, (purpose, fix) in OPTIONAL.items():
        found = _detectron2_version() if name == "detectron2" else _version(name)
        note = purpose if found else f"{purpose}: {fix}"
        parts.append(Part(name=name, ok=found is not None, version=found, note=note))
    return parts


def _detectron2_version() -> str | None:
    from udit_bench.metrics.detectors.detectron2_compat import installed_version

    return installed_version()


def _detectors() -> Section:
    """Whether each registered detector loads; detectron2 is tried in a process of its own."""
    from udit_bench.metrics.detectors.install import probe
    from udit_bench.registry import DETECTORS

    parts: Section = []
    for name in DETECTORS.names():
        try:
            DETECTORS.load(name)
            note = _detectron2_problem(probe()) if name == "detectron2" else ""
        except Exception as error:  # a plug-in fails in any way
            note = _reason(error)
        found = _detector_version(name)
        parts.append(Part(name=name, ok=not note, version=found, note=note))
    return parts


def _detectron2_problem(found: str | None) -> str:
    """What the probe said, with the command that mends it."""
    fix = OPTIONAL["detectron2"][1]
    if found is None or fix in found:
        return found or ""
    return f"it does not load ({found}): {fix}"


def _detector_version(name: str) -> str | None:
    if name == "detectron2":
        return _detectron2_version()
    return _version(name) if name == "torchvision" else None


def _weights() -> Section:
    import udit_bench

    folder = Path(udit_bench.__file__).parent / "weights"
    parts: Section = []
    for name in SHIPPED:
        path = folder / name
        there = path.is_file()
        size = f"{path.stat().st_size / 2**20:.2f} MiB" if there else None
        note = "" if there else "not in this installation: reinstall udit-bench"
        parts.append(Part(name=name, ok=there, version=size, note=note))
    return parts


def _caches() -> Section:
    """Folders of downloads; an empty one fills when its weights are first asked for."""
    from udit_bench.files import cache_dir
    from udit_bench.metrics.detectors.detectron2_compat import zoo_cache

    folders = {
        "torchvision weights": Path(str(_torch_hub())) / "checkpoints",
        "detectron2 weights": zoo_cache(),
        "udit-bench": cache_dir(),
    }
    parts: Section = []
    for name, folder in folders.items():
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        size = sum(path.stat().st_size for path in files) / 2**20
        held = f"{size:.0f} MiB" if files else "empty"
        parts.append(Part(name=name, ok=True, version=held, note=str(folder)))
    return parts


def _torch_hub() -> str:
    try:
        import torch

        return str(torch.hub.get_dir())
    except Exception:  # torch is broken, which `packages` has said
        return os.environ.get("TORCH_HOME", "~/.cache/torch/hub")


def _devices() -> Section:
    parts = [Part(name="cpu", ok=True, version=f"{os.cpu_count()} cores", note="")]
    try:
        import torch

        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    except Exception as error:  # no torch, or a driver that does not fit
        names, problem = [], _reason(error)
    else:
        problem = "none that torch can use (not needed)"
    parts += [Part(name="gpu", ok=True, version=None, note=name) for name in names]
    if not names:
        parts.append(Part(name="gpu", ok=False, version=None, note=problem))
    return parts


def _completion() -> Section:
    shell = Path(os.environ.get("SHELL", "bash")).name
    line = SHELLS.get(shell, SHELLS["bash"])
    return [Part(name=shell if shell in SHELLS else "bash", ok=True, version=None, note=line)]
