"""The wheel: what is in it, and that it works from somewhere else."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = ("LICENSE", "README.md", "pyproject.toml", "setup.py")
PACKAGES = ("udit_bench", "datasets", "metrics", "baselines", "results/published")


def run(*words, cwd, **environment):
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**os.environ, **environment},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, without the network."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed: no wheel can be built without the network")
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in COPIED:
        shutil.copy(REPOSITORY / name, source / name)
    for name in PACKAGES:
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    out = place / "dist"
    if importlib.util.find_spec("build") is not None:
        tool = ("build", "--wheel", "--no-isolation", "--outdir", out, ".")
    else:
        tool = ("pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, ".")
    done = run(sys.executable, "-m", *tool, cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder with nothing but the installed wheel."""
    place = tmp_path_factory.mktemp("site") / "site"
    done = run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
        "--target", place, wheel, cwd=place.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
def test_wheel_holds_one_top_level_module_with_types_and_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (top,) = [n for n in names if n.endswith(".dist-info/top_level.txt")]
        assert archive.read(top).decode().split() == ["udit_bench"]
    tops = {name.partition("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"udit_bench"}
    assert "udit_bench/py.typed" in names
    assert "udit_bench/datasets/pasture.py" in names
    assert "udit_bench/metrics/detectors/torchvision.py" in names
    assert "udit_bench/baselines/cyclegan_seg.py" in names
    assert {name for name in names if name.endswith(".safetensors")} == {
        f"udit_bench/weights/{kind}_pasture.safetensors"
        for kind in ("maskrcnn", "d2", "classifier")
    }
    assert "udit_bench/published/mgdgan_table1.csv" in names
    assert {"page.html", "page.css", "page.js"} <= {
        name.rpartition("/")[2] for name in names if name.startswith("udit_bench/report/")
    }
    assert not [name for name in names if "test" in name.lower().split("/")[-1]]


@pytest.mark.slow
def test_every_module_of_the_sources_is_in_the_wheel(wheel):
    folders = {"udit_bench": "udit_bench"} | {n: f"udit_bench/{Path(n).name}" for n in PACKAGES[1:]}
    expected = {
        f"{inside}/{path.relative_to(REPOSITORY / name)}"
        for name, inside in folders.items()
        for path in (REPOSITORY / name).rglob("*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if name.endswith(".py")}
    assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("methods",), "cyclegan_seg"),
        (("detectors",), "torchvision"),
        (("metrics",), "residual"),
        (("doctor",), "classifier"),
        (("data", "preview", "pasture", "--out", "x.png", "--count", "4"), "wrote x.png"),
        (("train", "--method", "cyclegan_seg", "--dry-run"), "steps: 1600"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_installed_wheel_works_from_another_folder(site, tmp_path, words, shown):
    code = (
        "import sys, udit_bench, udit_bench.datasets\n"
        f"for module in (udit_bench, udit_bench.datasets):\n"
        f"    assert module.__file__.startswith({str(site)!r}), module.__file__\n"
        "from udit_bench.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    done = run(
        sys.executable, "-c", code, *words, cwd=tmp_path,
        PYTHONPATH=str(site), UDIT_BENCH_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    if "x.png" in words:
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    else:
        assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == []


@pytest.mark.slow
def test_script_of_the_wheel_is_udit_bench(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        assert "udit-bench = udit_bench.cli:main" in archive.read(name).decode()
