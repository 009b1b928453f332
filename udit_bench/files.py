"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from udit_bench.errors import RunError

if TYPE_CHECKING:
    from PIL import Image


def cache_dir() -> Path:
    """``$UDIT_BENCH_CACHE``, else ``$XDG_CACHE_HOME/udit-bench``, else ``~/.cache/udit-bench``."""
    own = os.environ.get("UDIT_BENCH_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "udit-bench"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it on success and removed on failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all; creates the folder.

    Raises:
        RunError: the disk is full or the place cannot be written (names the path).
    """
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())


def save_picture(path: Path, picture: Image.Image) -> None:
    """``write_bytes`` for a picture, as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` for UTF-8 text."""
    write_bytes(path, text.encode())


def require_writable(folder: Path) -> None:
    """Try to write into a folder: before hours of work, not after. Leaves nothing behind.

    Raises:
        RunError: it cannot be made or written to (names the path).
    """
    probe = folder / f".probe.{os.getpid()}"
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with explain_os_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        finally:
            for path in missing:
                if path.is_dir():
                    path.rmdir()


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one message that names path and fix."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC or error.errno == errno.EDQUOT:
            raise RunError(f"no space left for {path}: free some, then run again.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(f"no permission to write {path}: choose another folder.") from error
        raise RunError(f"cannot write {path}: {error.strerror or error}.") from error
