"""Errors that a user can act on, each with the exit code of the command line.

Raise one of these wherever the *input* is at fault: the message names the file or option and the
fix. Anything else that escapes is a bug of this library and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UditError(Exception):
    """Base of all expected failures; ``exit_code`` is what the command line returns."""

    exit_code = 1


class RunError(UditError):
    """A run failed while running (disk full, no permission, non-finite loss): exit 1."""


class UsageError(UditError):
    """A wrong option, name or configuration value: exit 2."""

    exit_code = 2


class DataError(UditError):
    """Missing, unreadable or inconsistent data: exit 3."""

    exit_code = 3


class MissingPartError(UditError):
    """An optional part is not installed; the message is the command that installs it: exit 4."""

    exit_code = 4


class RecordsError(UditError):
    """Records that cannot share a table (other protocol, detector or data): exit 5."""

    exit_code = 5


class Interrupted(UditError):
    """Stopped by a signal after the state was saved: exit 130 (SIGINT) or 143 (SIGTERM)."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not registered: near match first, then the whole list."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'.{hint} Known: {', '.join(names) or '(none)'}.")
