"""The folder form of InstaGAN: ``trainA/ID.png`` with masks ``trainA_seg/ID_k.png``.

Splits are ``train``, ``val``, ``test`` and ``sample``, as far as both domains have a folder.
Pictures and masks are ``.png``, ``.jpg`` or ``.jpeg`` in any letter case; ``k`` is any integer,
gaps allowed; a picture may have no mask at all. Every encoding of masks is described in
``pictures.read_grey``. A mask without foreground is left out, the others keep their ``k``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from udit_bench.datasets.base import SceneSet, SceneSource, digest
from udit_bench.datasets.pictures import SUFFIXES, read_bytes, read_mask, read_picture, size_text
from udit_bench.errors import DataError
from udit_bench.scene import Domain, MaskArray, Scene

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test", "sample")
DOMAINS: tuple[Domain, Domain] = ("A", "B")
SHORT = {"shp": "sheep", "gir": "giraffe", "zeb": "zebra", "elph": "elephant", "btl": "bottle"}
MASK_NAME = re.compile(r"(.+)_(\d+)")
PAIR_NAME = re.compile(r"([A-Za-z]+)2([A-Za-z]+)(?:[-_.].*)?")


@dataclass(frozen=True)
class Listing:
    """What lies in the two folders of one split and domain; nothing is opened.

    Attributes:
        pictures: file of each id, sorted by id.
        masks: per id the file of each instance number, sorted by number.
        errors: why this cannot be read as it is (two files of one name, a missing folder ...).
        strays: mask files that belong to no picture.
    """

    pictures: dict[str, Path]
    masks: dict[str, dict[int, Path]]
    errors: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def list_folder(root: Path, split: str, domain: Domain) -> Listing:
    """List one split and domain; what is wrong is noted, never raised."""
    listing = Listing({}, {})
    folder, masks = root / f"{split}{domain}", root / f"{split}{domain}_seg"
    for path in _picture_files(folder, listing.errors):
        _add_picture(listing, path)
    if not listing.pictures:
        listing.errors.append(f"{folder}: no picture (looked for {', '.join(SUFFIXES)}).")
    if not masks.is_dir():
        listing.errors.append(f"{masks}: the folder is missing; the masks ID_k.png go there.")
        return listing
    for path in _picture_files(masks, listing.errors):
        _add_mask(listing, path)
    for id_, files in listing.masks.items():
        listing.masks[id_] = dict(sorted(files.items()))
    return listing


def _picture_files(folder: Path, errors: list[str]) -> list[Path]:
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        errors.append(f"{folder}: cannot be listed ({error.strerror or error}).")
        return []
    return [p for p in files if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def _add_picture(listing: Listing, path: Path) -> None:
    first = listing.pictures.setdefault(path.stem, path)
    if first != path:
        listing.errors.append(f"{path}: {first.name} has the same id; keep one of them.")


def _add_mask(listing: Listing, path: Path) -> None:
    parts = MASK_NAME.fullmatch(path.stem)
    if parts is None:
        listing.strays.append(f"{path}: masks are named ID_k, with k the number of the instance.")
    elif parts[1] not in listing.pictures:
        listing.strays.append(f"{path}: there is no picture '{parts[1]}' for this mask.")
    else:
        first = listing.masks.setdefault(parts[1], {}).setdefault(int(parts[2]), path)
        if first != path:
            listing.errors.append(f"{path}: {first.name} has the same number; keep one of them.")


class FolderScenes(SceneSet):
    """One split and domain of an ``InstaGANFolder``.

    Raises:
        DataError: no picture, no mask folder, or two files of one id or instance number.
    """

    def __init__(self, root: Path, split: str, domain: Domain, label: str) -> None:
        self._listing = list_folder(root, split, domain)
        if self._listing.errors:
            raise DataError(self._listing.errors[0])
        if self._listing.strays:
            log.warning(
                "%d mask file(s) left out; first: %s",
                len(self._listing.strays),
                self._listing.strays[0],
            )
        self.label = label
        self.ids = tuple(self._listing.pictures)

    def load(self, index: int) -> Scene:
        id_ = self.ids[index]
        path = self._listing.pictures[id_]
        image = read_picture(path)
        masks: list[MaskArray] = []
        numbers: list[int] = []
        for number, file in self._listing.masks.get(id_, {}).items():
            mask = read_mask(file)
            if mask.shape != image.shape[:2]:
                raise DataError(wrong_size(file, mask.shape, path, image.shape[:2]))
            if mask.any():
                masks.append(mask)
                numbers.append(number)
        stack = np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), dtype=bool)
        return Scene(image, stack, self.label, id_, str(path), tuple(numbers))

    def fingerprint(self) -> str:
        return digest(self._content())

    def _content(self) -> Iterator[bytes]:
        for id_, path in self._listing.pictures.items():
            yield id_.encode()
            yield read_bytes(path)
            for number, file in self._listing.masks.get(id_, {}).items():
                yield str(number).encode()
                yield read_bytes(file)


def wrong_size(mask: Path, has: tuple[int, ...], picture: Path, wanted: tuple[int, ...]) -> str:
    """The message for a mask that does not fit its picture; sizes are ``(H, W)``."""
    return (
        f"{mask}: the mask is {size_text((has[0], has[1]))}, "
        f"its picture {picture.name} is {size_text((wanted[0], wanted[1]))}."
    )


class InstaGANFolder(SceneSource):
    """A folder in InstaGAN's form; see the module's docstring.

    Args:
        root: the folder that holds ``trainA``, ``trainA_seg``, ``trainB`` ...
        labels: class names of A and B; else those of ``labels.json`` in the folder
            (``{"A": "sheep", "B": "giraffe"}``), else those in the folder's name
            (``shp2gir_coco``, ``X2Y_anything``), else ``("A", "B")``.

    Raises:
        DataError: no split has both domains, or ``labels.json`` is not of that form.
    """

    def __init__(self, root: Path | str, labels: tuple[str, str] | None = None) -> None:
        self.root = Path(root)
        self.name = self.root.resolve().name
        self.splits = splits_in(self.root)
        if not self.splits:
            raise DataError(f"{self.root}: no split with both domains (such as trainA and trainB).")
        self.labels = labels or read_labels(self.root) or labels_in_name(self.name)
        self.about = f"{' / '.join(self.labels)}, InstaGAN folder ({', '.join(self.splits)})"
        self._sets: dict[tuple[str, Domain], FolderScenes] = {}
        self._warned = False

    def scenes(self, split: str, domain: Domain) -> SceneSet:
        key = (self.resolve(split), domain)
        if key not in self._sets:
            self._sets[key] = FolderScenes(self.root, *key, self.label(domain))
        return self._sets[key]

    def training_split(self) -> str:
        """``train``; ``sample``, with a warning, where that is all there is."""
        if self.splits != ("sample",):
            return super().training_split()
        if not self._warned:
            log.warning(
                "%s has only sample pictures: they stand in for the training split.", self.name
            )
            self._warned = True
        return "sample"


def splits_in(root: Path) -> tuple[str, ...]:
    """The splits for which ``root`` has a folder of both domains."""
    return tuple(s for s in SPLITS if all((root / f"{s}{d}").is_dir() for d in DOMAINS))


def read_labels(root: Path) -> tuple[str, str] | None:
    """Class names of A and B from ``labels.json``; None where there is no such file.

    Raises:
        DataError: the file is not ``{"A": "...", "B": "..."}``.
    """
    path = root / "labels.json"
    if not path.exists():
        return None
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error
    one, two = (content.get("A"), content.get("B")) if isinstance(content, dict) else ("", "")
    if not (isinstance(one, str) and one and isinstance(two, str) and two):
        raise DataError(f'{path}: expected {{"A": "sheep", "B": "giraffe"}} or the like.')
    return one, two


def labels_in_name(name: str) -> tuple[str, str]:
    """Class names from ``X2Y`` or ``X2Y_anything``, InstaGAN's short forms written out."""
    parts = PAIR_NAME.fullmatch(name)
    if parts is None:
        return DOMAINS
    return SHORT.get(parts[1], parts[1]), SHORT.get(parts[2], parts[2])
