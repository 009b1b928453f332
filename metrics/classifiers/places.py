"""Where the weights of a frozen backbone lie on this machine; a classifier file does not say."""

from __future__ import annotations

import logging
from pathlib import Path

from udit_bench.errors import RunError
from udit_bench.files import cache_dir, write_text

log = logging.getLogger(__name__)


def remember(digest: str, path: Path) -> None:
    """Note in the cache that the weights of this content came from ``path``."""
    try:
        write_text(_note(digest), str(path.absolute()))
    except RunError as error:
        log.warning("where the backbone's weights lie cannot be remembered: %s", error)


def find(digest: str) -> Path | None:
    """The file that was remembered for weights of this content, if it is still there."""
    try:
        path = Path(_note(digest).read_text())
    except OSError:
        return None
    return path if path.is_file() else None


def _note(digest: str) -> Path:
    return cache_dir() / "backbones" / f"{digest}.txt"
