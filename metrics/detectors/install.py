"""``udit-bench detector install detectron2``: one command instead of a compiler.

detectron2 has no wheels. Its repository is built from source where that works; elsewhere the last
release comes as Python files from the package index, known by its sha256, is packed into a
pure-Python wheel and installed with pip. A Mask R-CNN calls none of the operators that are missing
then. Nothing is changed before everything is at hand.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from udit_bench.errors import MissingPartError, RunError, UsageError
from udit_bench.metrics.detectors.detectron2_compat import installed_version

Source = Literal["auto", "git", "pypi"]
Say = Callable[[str], None]

REPOSITORY = "https://github.com/facebookresearch/detectron2.git"
REACH_SECONDS = 15
"""How long the repository may take to answer before the index is asked instead."""
BUILD_SECONDS = 3600
DEFAULT_INDEX = "https://pypi.org/simple"


@dataclass(frozen=True)
class Release:
    """A source distribution on the package index, pinned.

    Attributes:
        project, file: its names there.
        sha256: of the file, 64 hex digits.
        version: of the wheel that is made of it.
    """

    project: str
    file: str
    sha256: str
    version: str


RELEASE = Release(
    "pb1-detectron2",
    "pb1-detectron2-0.6.tar.gz",
    "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29",
    "0.6+pure",
)
"""The Python files of the official tag v0.6, and its model zoo's configurations."""

REQUIREMENTS = (
    "cloudpickle",
    "fvcore>=0.1.5,<0.1.6",
    "hydra-core>=1.1",
    "iopath>=0.1.7,<0.1.10",
    "matplotlib",
    "omegaconf>=2.1,<2.4",
    "pillow>=7.1",
    "pycocotools>=2.0.2",
    "tabulate",
    "termcolor>=1.1",
    "tqdm>4.29.0",
    "yacs>=0.1.8",
)
"""What running it needs; training tools (tensorboard, black) stay out."""


def install_detectron2(source: Source = "auto", say: Say = lambda text: None) -> str:
    """Install detectron2 into this environment, unless it already loads.

    Args:
        source: ``git`` the official repository, compiled; ``pypi`` release 0.6 as Python files;
            ``auto`` the first if it can be had, else the second.
        say: told what is done.

    Returns:
        The version that loads now.

    Raises:
        MissingPartError: pip is missing, or neither source can be reached.
        RunError: an installation fails; none is left behind then.
        UsageError: unknown ``source``.
    """
    if source not in ("auto", "git", "pypi"):
        raise UsageError(f"unknown source '{source}': auto, git or pypi.")
    if probe() is None:
        say("detectron2 is already installed and loads: nothing to do")
        return installed_version() or "unknown"
    require_pip()
    if source == "git" or (source == "auto" and _git_is_possible(say)):
        try:
            from_git(say)
        except RunError as error:
            if source == "git":
                raise
            say(f"{error}\ntaking release 0.6 from the package index instead")
        else:
            return _verified()
    from_index(say)
    return _verified()


def probe() -> str | None:
    """Why detectron2 does not load in a fresh process; None when it does."""
    code = (
        "from udit_bench.metrics.detectors.detectron2_compat import import_detectron2\n"
        "from udit_bench.errors import MissingPartError\n"
        "try:\n"
        "    import_detectron2()\n"
        "except MissingPartError as error:\n"
        "    raise SystemExit(str(error))\n"
    )
    done = _run([sys.executable, "-c", code], seconds=600)
    return None if done.returncode == 0 else _last_line(done)


def require_pip() -> None:
    """MissingPartError unless this environment has pip."""
    if _run([sys.executable, "-m", "pip", "--version"]).returncode:
        raise MissingPartError(
            "this environment has no pip: python -m ensurepip (or, with uv, uv pip install pip)"
        )


def _verified() -> str:
    """The version that loads; takes the installation back if it does not."""
    problem = probe()
    if problem is not None:
        _uninstall()
        raise RunError(f"detectron2 was installed, does not load, and was removed again: {problem}")
    return installed_version() or "unknown"


def _uninstall() -> None:
    _pip("uninstall", "--yes", "detectron2", seconds=600)


# --------------------------------------------------------------------------- from the repository


def _git_is_possible(say: Say) -> bool:
    """Whether the official way can work here: git, a compiler, and the repository's answer."""
    if shutil.which("git") is None:
        say("no git here: taking release 0.6 from the package index")
    elif not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        say("no C++ compiler here: taking release 0.6 from the package index")
    elif not _repository_answers():
        say("the repository cannot be reached: taking release 0.6 from the package index")
    else:
        return True
    return False


def _repository_answers() -> bool:
    environment = {"GIT_TERMINAL_PROMPT": "0"}
    try:
        done = _run(
            ["git", "ls-remote", REPOSITORY, "HEAD"], seconds=REACH_SECONDS, extra=environment
        )
    except RunError:
        return False
    return done.returncode == 0


def from_git(say: Say) -> None:
    """Build the official repository's HEAD (some minutes) and install it with what it asks for.

    Raises:
        RunError: it cannot be built or installed.
    """
    say(f"building {REPOSITORY} (some minutes)")
    with tempfile.TemporaryDirectory(prefix="udit-bench-") as folder:
        _pip_or_fail("install", "setuptools", "wheel")
        place = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
        _pip_or_fail("wheel", *place, f"git+{REPOSITORY}")
        wheels = sorted(Path(folder).glob("*.whl"))
        if not wheels:
            raise RunError(f"building {REPOSITORY} made no wheel.")
        if installed_version() is not None:  # it does not load; pip would leave it as it is
            _uninstall()
        say(f"installing {wheels[0].name}")
        _pip_or_fail("install", str(wheels[0]))


# -------------------------------------------------------------------------------- from the index


def from_index(say: Say, release: Release = RELEASE) -> None:
    """Install a release's Python files, fetched from the configured package index.

    Raises:
        MissingPartError: the index cannot be reached or does not have the file.
        RunError: the file is another one than expected, or pip fails.
    """
    with tempfile.TemporaryDirectory(prefix="udit-bench-") as folder:
        say(f"fetching {release.file}")
        sdist = fetch_sdist(release, Path(folder))
        wheel = build_wheel(sdist, release, Path(folder))
        say("installing what it needs")
        _pip_or_fail("install", *REQUIREMENTS)
        say(f"installing {wheel.name}, pure Python")
        _pip_or_fail("install", "--no-deps", "--force-reinstall", str(wheel))


def fetch_sdist(release: Release, folder: Path) -> Path:
    """A release's file from the user's package index, its hash checked.

    pip refuses to download it (a requirement of one of its extras is a URL), so pypi-simple does;
    it is installed beside the file, not into the environment.

    Raises:
        MissingPartError: no configured index hands it out.
        RunError: its hash is another one.
    """
    tools, out = folder / "tools", folder / release.file
    _pip_or_fail("install", "--target", str(tools), "pypi-simple")
    settings = pip_settings()
    script = Path(__file__).with_name("fetch_release.py")
    for index in settings.indexes:
        extra = {"PYTHONPATH": str(tools), **settings.environment}
        done = _run(
            [sys.executable, str(script), index, release.project, release.file, str(out)],
            seconds=600,
            extra=extra,
        )
        if done.returncode == 0 and out.is_file():
            require_hash(out, release.sha256)
            return out
    raise MissingPartError(
        f"cannot fetch {release.file} from the package index ({_last_line(done)}): check pip's "
        "index-url and the network, or install detectron2 yourself by its own instructions."
    )


@dataclass(frozen=True)
class PipSettings:
    """What pip is configured with: index URLs, best first, and variables for `requests`."""

    indexes: tuple[str, ...]
    environment: Mapping[str, str]


def pip_settings() -> PipSettings:
    """Read pip's configuration (files and ``PIP_*`` variables)."""
    return parse_pip_settings(_pip("config", "list").stdout)


def parse_pip_settings(listing: str) -> PipSettings:
    """From the output of ``pip config list``.

    Example:
        >>> parse_pip_settings("global.index-url='https://mirror/simple'").indexes
        ('https://mirror/simple',)
    """
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # a later one rules
        for line in listing.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                found[name.removeprefix(f"{section}.")] = value.strip().strip("'\"")
    places = [found.get("index-url", DEFAULT_INDEX), *found.get("extra-index-url", "").split()]
    variables = {"cert": ("REQUESTS_CA_BUNDLE",), "proxy": ("HTTPS_PROXY", "HTTP_PROXY")}
    environment = {
        variable: found[option]
        for option, names in variables.items()
        if option in found
        for variable in names
    }
    return PipSettings(tuple(p for p in places if p.startswith("http")), environment)


def require_hash(path: Path, sha256: str) -> None:
    """Remove the file and raise unless it is the one that is meant.

    Raises:
        RunError: its sha256 is another one.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        path.unlink()
        raise RunError(
            f"{path.name} has sha256 {found}, expected {sha256}: refused, nothing was installed."
        )


# -------------------------------------------------------------------------------------- the wheel


def build_wheel(sdist: Path, release: Release, folder: Path) -> Path:
    """Pack the Python files and configurations of an sdist into a pure-Python wheel.

    No code of the sdist runs.

    Raises:
        RunError: it is no such archive.
    """
    try:
        files = _package_files(sdist)
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise RunError(f"{sdist.name} is damaged ({error}): run the command again.") from error
    if "detectron2/__init__.py" not in files:
        raise RunError(f"{sdist.name} does not hold the package detectron2: nothing was installed.")
    about = f"detectron2-{release.version}.dist-info"
    requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in REQUIREMENTS)
    licence = files.pop("LICENSE", None)
    if licence is not None:
        files[f"{about}/licenses/LICENSE"] = licence
    files[f"{about}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: detectron2\nVersion: {release.version}\n"
        "Summary: detectron2's Python files, without compiled operators (packed by udit-bench)\n"
        f"License: Apache-2.0\n{requires}"
    ).encode()
    files[f"{about}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: udit-bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = f"{about}/RECORD"
    lines = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items()]
    files[record] = ("".join(lines) + f"{record},,\n").encode()
    wheel = folder / f"detectron2-{release.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return wheel


def _package_files(sdist: Path) -> dict[str, bytes]:
    """``detectron2/**/*.py``, the zoo's configurations and the licence, by name."""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(sdist.read_bytes()), mode="r:gz") as archive:
        for member in archive:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            wanted = path.suffix == ".py" or "configs" in path.parts or str(path) == "LICENSE"
            inside = path.parts[:1] == ("detectron2",) or str(path) == "LICENSE"
            if member.isfile() and wanted and inside and ".." not in path.parts:
                handle = archive.extractfile(member)
                assert handle is not None  # a regular file
                files[str(path)] = handle.read()
    return files


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


# ------------------------------------------------------------------------------------ processes


def _run(
    words: Sequence[str], *, seconds: float = 120, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program without a terminal; its output is kept."""
    try:
        return subprocess.run(  # noqa: S603  # words are ours, no shell
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env={**os.environ, **(extra or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"`{words[0]}` took longer than {seconds:.0f} s and was stopped.") from error
    except OSError as error:
        raise RunError(f"cannot run `{words[0]}` ({error}).") from error


def _pip(*words: str, seconds: float = BUILD_SECONDS) -> subprocess.CompletedProcess[str]:
    return _run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words], seconds=seconds
    )


def _pip_or_fail(*words: str) -> None:
    done = _pip(*words)
    if done.returncode:
        raise RunError(f"`pip {words[0]}` failed ({_last_line(done)}).")


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a program said, errors before anything else, no password in a URL."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    line = (errors or lines or [f"exit code {done.returncode}"])[-1]
    return re.sub(r"//[^/@\s]+@", "//***@", line)[:300]
