"""From what a user types to a source of scenes: a registered name, or a folder."""

from __future__ import annotations

from pathlib import Path

from udit_bench.datasets import coco_json, instagan_folder
from udit_bench.datasets.base import SceneSource
from udit_bench.errors import DataError, UsageError, unknown_name
from udit_bench.registry import DATASETS


def open_source(
    spec: str,
    *,
    size: tuple[int, int] | None = None,
    labels: tuple[str, str] | None = None,
) -> SceneSource:
    """Open a data set by name or by path; a registered name wins over a folder of that name.

    Args:
        spec: a name of ``udit-bench data list``, or the path of a folder in either form.
        size: ``(H, W)`` for sources that are drawn; folders keep the size of their pictures.
        labels: class names of A and B, for folders.

    Raises:
        UsageError: neither a registered name nor a folder, or labels for a named data set.
        DataError: a folder of neither form, or with faulty contents.
    """
    if spec in DATASETS.names():
        if labels is not None:
            raise UsageError(f"'{spec}' has its own labels: they are given for folders only.")
        source: SceneSource = DATASETS.load(spec)(size=size)
        return source
    path = Path(spec)
    if path.is_dir():
        return open_folder(path, labels=labels)
    told = unknown_name("data set", spec, DATASETS.names())
    what = "a file, not a folder" if path.exists() else "no folder either"
    raise UsageError(f"{told} '{spec}' is {what}.")


def open_folder(path: Path, *, labels: tuple[str, str] | None = None) -> SceneSource:
    """Open a folder in the form that its contents show.

    Raises:
        DataError: it is of neither form (says what was looked for), or has faulty contents.
    """
    if coco_json.splits_in(path):
        return coco_json.CocoFolder(path, labels)
    if instagan_folder.splits_in(path):
        return instagan_folder.InstaGANFolder(path, labels)
    empty = not any(path.iterdir())
    raise DataError(
        f"{path}: {'the folder is empty' if empty else 'no data set of a known form'}. "
        f"Looked for annotations/instances_trainA.json and instances_trainB.json (COCO json), and "
        f"for trainA and trainB with trainA_seg and trainB_seg (InstaGAN's form); "
        f"splits are {', '.join(instagan_folder.SPLITS)}."
    )
