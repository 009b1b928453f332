"""Installing detectron2: the wheel made of a small sdist, and what happens when a step fails.

No network: pip's downloads are replaced by a record of what was asked, its installation of a local
wheel is real.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile

import pytest

from udit_bench.errors import MissingPartError, RunError, UsageError
from udit_bench.metrics.detectors import install
from udit_bench.metrics.detectors.install import (
    PipSettings,
    Release,
    build_wheel,
    install_detectron2,
    parse_pip_settings,
    require_hash,
)

FILES = {
    "small-0.6/detectron2/__init__.py": "__version__ = '0.6'\n",
    "small-0.6/detectron2/layers/nms.py": "KEPT = True\n",
    "small-0.6/detectron2/layers/csrc/nms.cpp": "int main() {}\n",
    "small-0.6/detectron2/model_zoo/configs/Base.yaml": "MODEL: {}\n",
    "small-0.6/setup.py": "raise SystemExit('setup.py ran')\n",
    "small-0.6/projects/other.py": "OTHER = True\n",
    "small-0.6/LICENSE": "Apache\n",
    "small-0.6/detectron2/../../evil.py": "EVIL = True\n",
}


def make_sdist(path, files=FILES):
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("small-0.6/detectron2/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def release_of(path, sha256=None):
    sha256 = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    return Release("small", path.name, sha256, "0.6+pure")


@pytest.fixture
def sdist(tmp_path):
    return make_sdist(tmp_path / "small-0.6.tar.gz")


class Programs:
    """Stands in for pip and git: keeps what was asked, fails where told to."""

    def __init__(self, monkeypatch):
        self.asked, self.failing, self.files, self.builds = [], (), {}, True
        monkeypatch.setattr(install, "_run", self.run)

    def run(self, words, *, seconds=120, extra=None):
        line = " ".join(words)
        self.asked.append(line)
        if any(part in line for part in self.failing):
            return subprocess.CompletedProcess(words, 1, "", f"ERROR: told to fail: {line}")
        if "fetch_release.py" in line:
            name, out = words[-2:]
            with open(out, "wb") as handle:
                handle.write(self.files[name])
        if "--wheel-dir" in words and self.builds:
            folder = words[words.index("--wheel-dir") + 1]
            with open(f"{folder}/detectron2-0.6-cp311-linux.whl", "wb"):
                pass
        return subprocess.CompletedProcess(words, 0, "", "")

    def installed(self):
        """What pip was asked to put into the environment."""
        return [
            line.partition("install ")[2]
            for line in self.asked
            if " -m pip " in line and " install " in line and "--target" not in line
        ]


@pytest.fixture
def programs(monkeypatch):
    return Programs(monkeypatch)


@pytest.fixture
def loads(monkeypatch):
    """``loads(False, True)``: what each next probe finds."""
    answers = []
    monkeypatch.setattr(install, "probe", lambda: None if answers.pop(0) else "it is broken")
    return lambda *those: answers.extend(those)


# --- the wheel ----------------------------------------------------------------------------------


def test_the_wheel_holds_python_files_configurations_and_the_licence_only(sdist, tmp_path):
    wheel = build_wheel(sdist, release_of(sdist), tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info" not in name}
        about = archive.read("detectron2-0.6+pure.dist-info/METADATA").decode()
        assert archive.read("detectron2-0.6+pure.dist-info/licenses/LICENSE") == b"Apache\n"
    assert names == {
        "detectron2/__init__.py",
        "detectron2/layers/nms.py",
        "detectron2/model_zoo/configs/Base.yaml",
    }
    for requirement in install.REQUIREMENTS:
        assert f"Requires-Dist: {requirement}\n" in about


def test_pip_installs_the_wheel(sdist, tmp_path):
    wheel = build_wheel(sdist, release_of(sdist), tmp_path)
    words = ["-m", "pip", "install", "--no-index", "--no-deps", "--quiet", "--target"]
    done = subprocess.run(
        [sys.executable, *words, str(tmp_path / "site"), str(wheel)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import detectron2.layers.nms\n"
        "from importlib.metadata import version\n"
        "print(detectron2.layers.nms.KEPT, version('detectron2'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "True 0.6+pure\n", done.stderr


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_or_foreign_archive_makes_no_wheel(tmp_path, content):
    path = tmp_path / "small-0.6.tar.gz"
    if content is None:
        make_sdist(path, {"small-0.6/other/__init__.py": ""})
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"small-0\.6\.tar\.gz (is damaged|does not hold)"):
        build_wheel(path, release_of(path), tmp_path)
    assert not list(tmp_path.glob("*.whl"))


def test_a_cut_archive_makes_no_wheel(sdist, tmp_path):
    sdist.write_bytes(sdist.read_bytes()[:150])
    with pytest.raises(RunError, match=r"small-0\.6\.tar\.gz is damaged"):
        build_wheel(sdist, release_of(sdist), tmp_path)


# --- fetching -----------------------------------------------------------------------------------


def test_another_hash_is_refused_and_nothing_is_installed(sdist, programs):
    release = release_of(sdist, "0" * 64)
    programs.files[release.file] = sdist.read_bytes()
    with pytest.raises(RunError, match=rf"sha256 \w{{64}}, expected {'0' * 64}: refused"):
        install.from_index(lambda text: None, release)
    assert programs.installed() == []


def test_the_file_of_another_hash_is_removed(sdist):
    require_hash(sdist, release_of(sdist).sha256)
    assert sdist.exists()
    with pytest.raises(RunError):
        require_hash(sdist, "0" * 64)
    assert not sdist.exists()


def test_what_it_needs_comes_before_it(sdist, programs):
    release = release_of(sdist)
    programs.files[release.file] = sdist.read_bytes()
    said = []
    install.from_index(said.append, release)
    requirements, wheel = programs.installed()
    assert requirements.split() == list(install.REQUIREMENTS)
    assert wheel.startswith("--no-deps --force-reinstall ")
    assert wheel.endswith("detectron2-0.6+pure-py3-none-any.whl")
    assert release.file in said[0]


def test_requirements_that_fail_leave_it_uninstalled(sdist, programs):
    release = release_of(sdist)
    programs.files[release.file] = sdist.read_bytes()
    programs.failing = ("fvcore",)
    with pytest.raises(RunError, match="`pip install` failed"):
        install.from_index(lambda text: None, release)
    assert not any(".whl" in line for line in programs.asked)


def test_an_index_without_the_file_says_so(programs, sdist):
    programs.failing = ("fetch_release.py",)
    with pytest.raises(MissingPartError, match=r"cannot fetch small-0\.6\.tar\.gz .*index-url"):
        install.from_index(lambda text: None, release_of(sdist))
    assert programs.installed() == []


def test_pip_settings_environment_before_files():
    assert parse_pip_settings("") == PipSettings(("https://pypi.org/simple",), {})
    listing = (
        "global.index-url='https://mirror.example/simple'\n"
        "global.extra-index-url='https://more.example/simple file:///local'\n"
        "global.cert='/etc/ca.pem'\n"
        "install.proxy='http://proxy:3128'\n"
    )
    found = parse_pip_settings(listing)
    assert found.indexes == ("https://mirror.example/simple", "https://more.example/simple")
    assert found.environment == {
        "REQUESTS_CA_BUNDLE": "/etc/ca.pem",
        "HTTPS_PROXY": "http://proxy:3128",
        "HTTP_PROXY": "http://proxy:3128",
    }
    ruled = parse_pip_settings(":env:.index-url='https://env.example/simple'\n" + listing)
    assert ruled.indexes[0] == "https://env.example/simple"


def test_pips_own_listing_is_understood(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://asked.example/simple")
    assert install.pip_settings().indexes[0] == "https://asked.example/simple"


def test_no_password_of_an_index_is_shown():
    done = subprocess.CompletedProcess([], 1, "", "ERROR: 404 for https://me:secret@x.example/a\n")
    assert install._last_line(done) == "ERROR: 404 for https://***@x.example/a"


# --- the repository -----------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, "0.6+pure"])
def test_the_repository_is_built_before_anything_changes(programs, monkeypatch, before):
    monkeypatch.setattr(install, "installed_version", lambda: before)
    install.from_git(lambda text: None)
    verbs = [line.partition("--disable-pip-version-check ")[2] for line in programs.asked]
    assert verbs[0] == "install setuptools wheel"
    assert "--no-build-isolation" in verbs[1]
    assert verbs[1].endswith(f"git+{install.REPOSITORY}")
    assert [v for v in verbs if "uninstall" in v] == (
        ["uninstall --yes detectron2"] if before else []
    )
    assert verbs[-1].endswith("detectron2-0.6-cp311-linux.whl")


@pytest.mark.parametrize("failing", [("git+",), ()])
def test_a_failing_build_changes_nothing(programs, failing):
    programs.failing, programs.builds = failing, False
    with pytest.raises(RunError, match=r"pip wheel|made no wheel"):
        install.from_git(lambda text: None)
    assert programs.installed() == ["setuptools wheel"]


# --- the whole command ----------------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch, programs, loads):
    """Which sources are tried: a list; ``steps.git`` is what the repository does."""

    class Steps(list):
        git, answers = True, True

    tried = Steps()

    def from_git(say):
        tried.append("git")
        if not tried.git:
            raise RunError("the build failed.")

    monkeypatch.setattr(install, "from_git", from_git)
    monkeypatch.setattr(install, "from_index", lambda say: tried.append("pypi"))
    monkeypatch.setattr(install, "_repository_answers", lambda: tried.answers)
    monkeypatch.setattr(install.shutil, "which", lambda name: f"/bin/{name}")
    return tried


def test_a_second_time_does_nothing(steps, programs, loads):
    loads(True)
    said = []
    install_detectron2("auto", said.append)
    assert (steps, programs.asked) == ([], [])
    assert "nothing to do" in said[0]


@pytest.mark.parametrize(
    ("source", "answers", "builds", "expected"),
    [
        ("auto", True, True, ["git"]),
        ("auto", False, True, ["pypi"]),
        ("auto", True, False, ["git", "pypi"]),
        ("git", False, True, ["git"]),
        ("pypi", True, True, ["pypi"]),
    ],
)
def test_sources_in_their_order(steps, loads, source, answers, builds, expected):
    steps.answers, steps.git = answers, builds
    loads(False, True)
    install_detectron2(source)
    assert steps == expected


def test_a_build_that_was_asked_for_is_not_replaced(steps, loads):
    steps.git = False
    loads(False)
    with pytest.raises(RunError, match="the build failed"):
        install_detectron2("git")
    assert steps == ["git"]


def test_what_does_not_load_is_taken_back(steps, programs, loads):
    loads(False, False)
    with pytest.raises(RunError, match="was removed again: it is broken"):
        install_detectron2("pypi")
    assert any("uninstall --yes detectron2" in line for line in programs.asked)


def test_without_git_or_a_compiler_the_repository_is_not_asked(steps, loads, monkeypatch):
    monkeypatch.setattr(install, "_repository_answers", lambda: pytest.fail("asked"))
    for absent in (("git",), ("c++", "g++", "clang++", "cl")):
        monkeypatch.setattr(
            install.shutil, "which", lambda name, absent=absent: None if name in absent else name
        )
        loads(False, True)
        said = []
        install_detectron2("auto", said.append)
        assert "release 0.6" in said[0]
    assert steps == ["pypi", "pypi"]


def test_without_pip_nothing_is_tried(steps, programs, loads):
    programs.failing = ("pip --version",)
    loads(False)
    with pytest.raises(MissingPartError, match="no pip: python -m ensurepip"):
        install_detectron2("auto")
    assert steps == []


def test_an_unknown_source_is_a_usage_error():
    with pytest.raises(UsageError, match="auto, git or pypi"):
        install_detectron2("conda")


def test_a_program_that_hangs_is_stopped():
    with pytest.raises(RunError, match=r"took longer than 0 s and was stopped"):
        install._run([sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.2)
    with pytest.raises(RunError, match="cannot run `no-such-program`"):
        install._run(["no-such-program"])


def test_the_pinned_release():
    assert install.RELEASE.sha256 == (
        "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
    )
    assert install.RELEASE.file == "pb1-detectron2-0.6.tar.gz"
