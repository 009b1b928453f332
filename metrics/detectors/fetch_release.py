"""Fetch one file of a project from a package index: INDEX PROJECT FILE OUT.

A program of its own, because pypi-simple stands on its path only while it runs (see ``install``).
"""

from __future__ import annotations

import sys
from pathlib import Path


def fetch(index: str, project: str, file: str, out: Path) -> None:
    """Download ``file`` of ``project`` to ``out``; the index's own digest is checked.

    Raises:
        SystemExit: the index does not list the file.
    """
    from pypi_simple import PyPISimple

    with PyPISimple(f"{index.rstrip('/')}/") as client:
        for package in client.get_project_page(project).packages:
            if package.filename == file:
                client.download_package(package, out)
                return
    raise SystemExit(f"the index does not list {file}")


if __name__ == "__main__":
    where, whose, which, target = sys.argv[1:]
    fetch(where, whose, which, Path(target))
