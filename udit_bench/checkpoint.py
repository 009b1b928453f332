"""Checkpoints: every tensor in safetensors, the rest in JSON, no pickle anywhere.

A checkpoint is a folder with ``tensors.safetensors`` and ``state.json``. It is written under a
temporary name, synced and renamed, so an interrupted write leaves the last good one in place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from udit_bench.errors import DataError
from udit_bench.files import explain_os_errors

TENSORS, STATE = "tensors.safetensors", "state.json"
FORMAT = 1


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested dicts, lists, tuples and scalars into JSON and named tensors.

    Dicts with keys that are not strings keep them (an optimizer's state is keyed by int).
    """
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[path] = value.detach().cpu().contiguous().clone()
            return {"$tensor": path}
        if isinstance(value, Mapping):
            items = [[key, walk(item, f"{path}/{key}")] for key, item in value.items()]
            return {"$dict": items}
        if isinstance(value, list | tuple):
            return [walk(item, f"{path}/{index}") for index, item in enumerate(value)]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{path}: a {type(value).__name__} cannot be kept in a checkpoint")

    return walk(state, ""), tensors


def unpack(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of ``pack`` (tuples come back as lists)."""
    if isinstance(skeleton, dict):
        if "$tensor" in skeleton:
            return tensors[skeleton["$tensor"]]
        return {key: unpack(item, tensors) for key, item in skeleton["$dict"]}
    if isinstance(skeleton, list):
        return [unpack(item, tensors) for item in skeleton]
    return skeleton


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` to ``folder``, replacing what stood there only when all of it is written.

    Raises:
        RunError: no space or permission; the old checkpoint is untouched.
    """
    skeleton, tensors = pack(state)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with explain_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            temporary.mkdir()
            _save_tensors(tensors, temporary / TENSORS)
            text = json.dumps({"format": FORMAT, "torch": torch.__version__, "state": skeleton})
            with open(temporary / STATE, "w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            _swap(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # wraps the operating system's error without its number
        if "No space" in str(error) or "os error 28" in str(error):
            raise OSError(28, "No space left on device") from error
        raise OSError(0, str(error)) from error
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _swap(temporary: Path, folder: Path) -> None:
    """Rename onto an existing folder; a crash in between leaves ``_previous``, which loads."""
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    temporary.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def link_checkpoint(folder: Path, name: str) -> None:
    """Keep a checkpoint under a second name, by hard links where the file system has them."""
    kept = folder.with_name(name)
    with explain_os_errors(kept):
        shutil.rmtree(kept, ignore_errors=True)
        try:
            shutil.copytree(folder, kept, copy_function=os.link)
        except OSError:
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept)


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint at ``folder``, or the one a crash left beside it; None if there is none."""
    for candidate in (folder, _previous(folder)):
        if (candidate / STATE).is_file():
            return candidate
    return None


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read a checkpoint to CPU tensors; nothing in it is ever executed.

    Raises:
        DataError: missing, truncated, or not one of ours (a pickle, say).
    """
    found = find_checkpoint(folder)
    if found is None:
        raise DataError(f"no checkpoint at {folder}: it must hold {STATE} and {TENSORS}.")
    try:
        document = json.loads((found / STATE).read_text(encoding="utf-8"))
        skeleton = document["state"] if document["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{found / STATE} is damaged ({error}); {_other(found)}") from error
    if skeleton is None:
        raise DataError(f"{found} has format {document['format']}, this version reads {FORMAT}.")
    tensors_path = found / TENSORS
    try:
        state: dict[str, Any] = unpack(skeleton, load_file(tensors_path))
    except (SafetensorError, OSError, KeyError) as error:
        if looks_like_pickle(tensors_path):
            raise DataError(
                f"{tensors_path} is a pickle, which could run code when loaded: it is refused. "
                "Only safetensors written by this library are read."
            ) from error
        raise DataError(
            f"{tensors_path} is truncated or not safetensors ({error}); {_other(found)}"
        ) from error
    return state


def looks_like_pickle(path: Path) -> bool:
    """Whether a file starts like a pickle or like torch.save's zip archive."""
    try:
        head = path.open("rb").read(4)
    except OSError:
        return False
    return head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or head == b"PK\x03\x04"


def _other(folder: Path) -> str:
    kept = sorted(p.name for p in folder.parent.glob("epoch-*") if p != folder)
    if kept:
        return f"copy {kept[-1]} over {folder.name} to go on from there."
    return "train again, or put a sound copy in its place."
