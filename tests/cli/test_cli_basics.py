"""What every command has: help, a version, near matches, JSON; and that help is cheap."""

import json
import subprocess
import sys

import pytest

from udit_bench import __version__
from udit_bench.cli import COMMANDS

HEAVY = ("torch", "torchvision", "pandas", "matplotlib", "numpy", "accelerate", "PIL")
SUB_COMMANDS = [
    *((name,) for name in COMMANDS),
    *(("data", verb) for verb in ("list", "check", "preview")),
    ("detector", "train"),
]


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from udit_bench.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "Usage: udit-bench" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_help_of_commands_that_work_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from udit_bench.cli import main\n"
        "for words in ('train', 'eval', 'translate', 'table', 'demo', 'detector train'):\n"
        "    try:\n"
        "        main([*words.split(), '--help'])\n"
        "    except SystemExit as stop:\n"
        "        assert stop.code == 0\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_python_dash_m_is_the_command():
    done = python("-m", "udit_bench", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"udit-bench, version {__version__}"


@pytest.mark.parametrize("words", SUB_COMMANDS, ids=" ".join)
def test_every_command_has_help(run_cli, words):
    code, out, err = run_cli(*words, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: udit-bench {' '.join(words)}")


def test_short_help_is_help(run_cli):
    code, out, _ = run_cli("-h")
    assert code == 0
    assert all(name in out for name in COMMANDS)


def test_unknown_command_suggests_the_near_one(run_cli, kit):
    code, _, err = run_cli("tran", "--method", "x")
    assert code == 2
    line = kit.only_error(err)
    assert "unknown command 'tran'" in line
    assert "Did you mean 'train'?" in line


def test_unknown_option_is_a_usage_error_that_names_it(run_cli):
    code, _, err = run_cli("train", "--mehtod", "cyclegan_seg")
    assert code == 2
    assert "--mehtod" in err
    assert "--method" in err
    assert "Traceback" not in err


def test_methods_lists_the_rows_of_a_method(run_cli):
    code, out, _ = run_cli("methods")
    assert code == 0
    assert "cyclegan_seg" in out


def test_methods_as_json_hold_presets_and_rows(run_cli):
    code, out, _ = run_cli("methods", "--json")
    assert code == 0
    (method,) = [row for row in json.loads(out) if row["name"] == "cyclegan_seg"]
    assert method["rows"] == ["nearest", "components"]
    assert {"paper", "quick"} <= set(method["presets"])


def test_detectors_list_the_built_in_ones(run_cli):
    code, out, _ = run_cli("detectors", "--json")
    assert code == 0
    rows = {row["name"]: row["about"] for row in json.loads(out)}
    assert {"torchvision", "file"} <= set(rows)
    assert all(rows.values())
    code, out, _ = run_cli("detectors")
    assert code == 0
    assert "torchvision" in out


def test_data_list_as_json_has_pasture(run_cli):
    code, out, _ = run_cli("data", "list", "--json")
    assert code == 0
    assert "pasture" in {row["name"] for row in json.loads(out)}
    code, out, _ = run_cli("data", "list")
    assert code == 0
    assert out.startswith("pasture  ")


def test_data_check_counts_a_sound_folder(run_cli, photos):
    code, out, _ = run_cli("data", "check", photos, "--json")
    assert code == 0
    assert json.loads(out)["counts"]["train"]["A"] == {"pictures": 6, "instances": 7}


def test_data_preview_writes_one_picture(run_cli, photos, tmp_path):
    code, out, _ = run_cli("data", "preview", photos, "--out", tmp_path / "made/sheet.png")
    assert code == 0
    assert out.strip() == f"wrote {tmp_path / 'made/sheet.png'}"
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["sheet.png"]
