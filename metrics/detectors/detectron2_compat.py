"""Importing detectron2 on today's stack, and what to say when it is not there.

Release 0.6 (2021) expects three things that have gone since: ``PIL.Image.LINEAR`` (removed in
Pillow 10), ``pkg_resources`` (removed in setuptools 82) and its own compiled operators, which a
Mask R-CNN does not call. They are stood in for while detectron2 is imported, and only where they
are absent; nothing else in the process sees the first two, and the real ones are never replaced.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from udit_bench.errors import MissingPartError

INSTALL = "udit-bench detector install detectron2"
MODULES = (
    "config",
    "model_zoo",
    "modeling",
    "structures",
    "data",
    "data.transforms",
    "utils.events",
)
"""What is imported, below ``detectron2``."""


def import_detectron2() -> ModuleType:
    """The package ``detectron2`` with the modules of ``MODULES`` loaded.

    Raises:
        MissingPartError: it is not installed, or does not load; with the command that installs it.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise MissingPartError(
            f"the detector 'detectron2' needs the library detectron2, which is not installed: "
            f"{INSTALL}"
        )
    if all(f"detectron2.{name}" in sys.modules for name in MODULES):
        return sys.modules["detectron2"]
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside a release of 2021
            package = importlib.import_module("detectron2")
            for name in MODULES:
                importlib.import_module(f"detectron2.{name}")
    except Exception as error:  # a half or foreign installation fails in any way
        _forget("detectron2")
        reason = (str(error).splitlines() or [""])[0][:200]
        raise MissingPartError(
            f"detectron2 is installed but does not load ({type(error).__name__}: {reason}): "
            f"{INSTALL}"
        ) from error
    return package


def installed_version() -> str | None:
    """Version of the installed distribution, None without one; imports nothing.

    ``0.6+pure`` is the release as ``detector install`` makes it from Python files alone.
    """
    for name in ("detectron2", "pb1-detectron2"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def compiled() -> bool:
    """Whether its C++ operators are there (the judge needs none of them)."""
    try:
        return importlib.util.find_spec("detectron2._C") is not None
    except (ImportError, ValueError):  # a stand-in of our own, or a half installation
        return False


def zoo_cache() -> Path:
    """Where detectron2 keeps downloads: ``$FVCORE_CACHE``, else ``~/.torch/iopath_cache``."""
    return Path(os.environ.get("FVCORE_CACHE") or "~/.torch/iopath_cache").expanduser()


class _NoOperators(ModuleType):
    """``detectron2._C`` of an installation that was not compiled: any use says so."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingPartError(
            f"this network needs detectron2's compiled operator '{name}', and this installation "
            f"is pure Python: {INSTALL} --source git (needs a C++ compiler)"
        )


class _Resources(ModuleType):
    """The one function of ``pkg_resources`` that detectron2's model zoo calls."""

    @staticmethod
    def resource_filename(package: str, name: str) -> str:
        """Path of a file inside a package."""
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no package {package}", name=package)
        return str(Path(spec.origin).parent / name)


def _absent(name: str) -> bool:
    try:
        return name not in sys.modules and importlib.util.find_spec(name) is None
    except (ImportError, ValueError):
        return True


@contextmanager
def _stand_ins() -> Iterator[None]:
    """What is absent, for as long as the block runs."""
    from PIL import Image

    importlib.import_module("PIL.ImageFilter")
    modules: dict[str, ModuleType] = {}
    if _absent("pkg_resources"):
        modules["pkg_resources"] = _Resources("pkg_resources")
    if not compiled():
        modules["detectron2._C"] = _NoOperators("detectron2._C")
    no_linear = not hasattr(Image, "LINEAR")
    try:
        sys.modules.update(modules)
        if no_linear:
            Image.LINEAR = Image.Resampling.BILINEAR  # type: ignore[attr-defined]
        yield
    finally:
        if no_linear:
            del Image.LINEAR  # type: ignore[attr-defined]
        for name, module in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _forget(package: str) -> None:
    """Drop a package that failed to load, so that a next try starts afresh."""
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]
