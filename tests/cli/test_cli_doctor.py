"""``doctor``, ``detector install`` and what a missing detectron2 does to the command line."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from udit_bench.cli import doctor
from udit_bench.metrics.detectors import install
from udit_bench.registry import DETECTORS

COMMAND = "udit-bench detector install detectron2"


@pytest.fixture
def without_detectron2(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "detectron2" else find(name)
    )


@pytest.fixture
def quick_probe(monkeypatch):
    """``doctor`` without the process that tries detectron2; holds the answer."""
    answer = [None]
    monkeypatch.setattr(install, "probe", lambda: answer[0])
    return answer


def test_doctor_as_json_names_everything(run_cli):
    code, out, _ = run_cli("doctor", "--json")
    report = json.loads(out)
    parts = {name: {part["name"]: part for part in parts} for name, parts in report.items()}
    assert {"python", "torch", "torchvision", "pycocotools"} <= set(parts["packages"])
    assert all(part["ok"] and not part["note"] for part in parts["packages"].values())
    assert set(parts["detectors"]) == set(DETECTORS.names())
    assert parts["detectors"]["torchvision"]["ok"]
    assert parts["detectors"]["detectron2"]["ok"] == parts["optional"]["detectron2"]["ok"]
    assert {"torch-fidelity", "timm", "detectron2"} == set(parts["optional"])
    assert parts["weights"]["maskrcnn_pasture.safetensors"]["version"] == "1.23 MiB"
    assert parts["weights"]["d2_pasture.safetensors"]["ok"]
    assert parts["weights"]["classifier_pasture.safetensors"]["ok"]
    assert {"torchvision weights", "detectron2 weights", "udit-bench"} == set(parts["caches"])
    assert {"cpu", "gpu"} <= set(parts["devices"])
    assert code == 0


def test_doctor_for_people_says_how_to_complete(run_cli, quick_probe, monkeypatch):
    for shell in ("bash", "zsh", "fish"):
        monkeypatch.setenv("SHELL", f"/bin/{shell}")
        code, out, err = run_cli("doctor")
        assert (code, err) == (0, "")
        assert f"_UDIT_BENCH_COMPLETE={shell}_source udit-bench" in out


def test_doctor_finds_caches_where_they_were_moved(run_cli, quick_probe, tmp_path, monkeypatch):
    place = tmp_path / "zoo"
    (place / "deep").mkdir(parents=True)
    (place / "deep/model.pkl").write_bytes(bytes(3 * 2**20))
    monkeypatch.setenv("FVCORE_CACHE", str(place))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    _, out, _ = run_cli("doctor", "--json")
    caches = {part["name"]: part for part in json.loads(out)["caches"]}
    assert caches["detectron2 weights"]["note"] == str(place)
    assert caches["detectron2 weights"]["version"] == "3 MiB"
    assert caches["torchvision weights"]["note"].startswith(str(tmp_path / "torch"))
    assert caches["torchvision weights"]["version"] == "empty"


def test_doctor_without_optional_parts_is_content_and_names_the_commands(
    run_cli, quick_probe, monkeypatch
):
    monkeypatch.setattr(doctor, "_detectron2_version", lambda: None)
    known = doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name in ("timm", "torch-fidelity") else known(name)
    )
    quick_probe[0] = f"the library detectron2 is not installed: {COMMAND}"
    code, out, err = run_cli("doctor")
    assert (code, err) == (0, "")
    for fix in ("udit-bench[fidelity]", "udit-bench[backbones]", COMMAND):
        assert fix in out


def test_doctor_reports_a_broken_package_and_fails(run_cli, kit, quick_probe, monkeypatch):
    monkeypatch.setitem(doctor.MANDATORY, "cv-of-nobody", "no_such_module_at_all")
    code, out, err = run_cli("doctor")
    assert code == 4
    line = next(line for line in out.splitlines() if "cv-of-nobody" in line)
    assert line.split()[0] == "--"
    assert "ModuleNotFoundError: No module named 'no_such_module_at_all'" in line
    assert "cv-of-nobody" in kit.only_error(err)


def test_doctor_survives_a_plugin_that_does_not_load(run_cli, quick_probe, monkeypatch):
    monkeypatch.setitem(DETECTORS._own, "theirs", "json:no_such_attribute")
    code, out, _ = run_cli("doctor", "--json")
    assert code == 0
    (part,) = [p for p in json.loads(out)["detectors"] if p["name"] == "theirs"]
    assert not part["ok"]
    assert "no_such_attribute" in part["note"]


def test_doctor_survives_half_a_detectron2(tmp_path):
    """One that ends the process it is imported in."""
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("import os\nos._exit(9)\n")
    done = subprocess.run(
        [sys.executable, "-m", "udit_bench", "doctor", "--json"],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parts = {part["name"]: part for part in json.loads(done.stdout)["detectors"]}
    assert not parts["detectron2"]["ok"]
    assert parts["detectron2"]["note"] == f"it does not load (exit code 9): {COMMAND}"
    assert parts["torchvision"]["ok"]


# ----------------------------------------------------------------------- without detectron2


def test_detectors_are_listed_without_importing_detectron2():
    code = (
        "import sys\n"
        "sys.modules['detectron2'] = None\n"
        "from udit_bench.cli import main\n"
        "main(['detectors', '--json'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "detectron2" in {row["name"] for row in json.loads(done.stdout)}


def test_eval_without_detectron2_answers_with_the_command(
    run_cli, kit, finished, tmp_path, without_detectron2
):
    results = tmp_path / "results"
    code, _, err = run_cli(
        "eval", finished, "--detector", "detectron2", "--results", results, "--device", "cpu"
    )
    assert code == 4
    assert kit.only_error(err).endswith(f": {COMMAND}")
    assert not results.exists()


def test_training_without_detectron2_answers_with_the_command(
    run_cli, kit, photos, tmp_path, without_detectron2
):
    out = tmp_path / "made.safetensors"
    code, _, err = run_cli(
        "detector", "train", "--backend", "detectron2", "--data", photos, "--out", out,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 4
    assert kit.only_error(err).endswith(f": {COMMAND}")
    assert not out.exists()


# ---------------------------------------------------------------------------------- detector verbs


def test_install_prints_what_it_did(run_cli, monkeypatch):
    asked = []

    def stand_in(source, say):
        asked.append(source)
        say("doing it")
        return "0.6+pure"

    monkeypatch.setattr(install, "install_detectron2", stand_in)
    code, out, err = run_cli("detector", "install", "detectron2", "--source", "pypi")
    assert (code, err, asked) == (0, "doing it\n", ["pypi"])
    assert out == "detectron2 0.6+pure loads: udit-bench eval --detector detectron2\n"


def test_install_knows_one_name(run_cli):
    code, _, err = run_cli("detector", "install", "mmdetection")
    assert code == 2
    assert "detectron2" in err


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is None,
    reason=f"detectron2 is not installed: {COMMAND}",
)
def test_train_and_eval_with_detectron2(run_cli, photos, finished, tmp_path, read_lines):
    out, results = tmp_path / "made.safetensors", tmp_path / "results"
    code, said, err = run_cli(
        "detector", "train", "--backend", "detectron2", "--data", photos, "--out", out,
        "--size", "32", "--iterations", "2", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert "trained on train only" in said
    code, _, err = run_cli(
        "eval", finished, "--detector", "detectron2", "--detector-weights", out,
        "--results", results, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    judges = [record["detector"] for record in read_lines(results / "records.jsonl")]
    assert {judge["backend"] for judge in judges} == {"detectron2"}
    assert {judge["nms"] for judge in judges} == {0.5}


# -------------------------------------------------------------------------------- completion


def complete(words, position):
    return subprocess.run(
        [sys.executable, "-c", "from udit_bench.cli import main; main()"],
        capture_output=True, text=True, check=False, timeout=60,
        env={
            **os.environ,
            "_UDIT_BENCH_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(position),
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "position", "expected"),
    [
        ("udit-bench ev", 1, ["eval"]),
        ("udit-bench detector in", 2, ["install"]),
        ("udit-bench detector train --backend ", 4, ["torchvision", "detectron2"]),
    ],
)
def test_completion_answers(words, position, expected):
    done = complete(words, position)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected


def test_completion_imports_nothing_heavy():
    code = (
        "import sys, os\n"
        "from udit_bench.cli import cli\n"
        "from click.shell_completion import BashComplete\n"
        "found = BashComplete(cli, {}, 'udit-bench', '_X').get_completions(['eval'], '--d')\n"
        "assert '--detector' in [item.value for item in found]\n"
        "print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr
