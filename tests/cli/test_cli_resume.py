"""Killed at any moment and resumed, a run ends as if nothing had happened."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from udit_bench.cli.progress import ProgressLines
from udit_bench.registry import METHODS

STEPS = 72
EPOCHS = {1: 12, 3: 4}  # of six steps each, by the number of phases
PARTS = {"mgdgan": ("/model/G_mask", "/model/ema_img", "/optimizers/G_mask")}
USUAL = ("/model/G_AB", "/model/ema_AB", "/optimizers/G", "/optimizers/D", "/extra/pools")


def final_state(run):
    """Every tensor of the last checkpoint, by its name in the state."""
    return load_file(run / "checkpoints/last/tensors.safetensors")


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def saved_step(run):
    """Steps done at the last checkpoint, 0 before the first; None while it is being replaced."""
    try:
        text = (run / "checkpoints/last/state.json").read_text()
    except OSError:
        return 0 if not (run / "checkpoints").exists() else None
    return dict(dict(json.loads(text)["state"]["$dict"])["position"]["$dict"])["total"]


def start_and_kill(words, run, at_step, delay):
    """Start a training process and SIGKILL it ``delay`` s after it has saved ``at_step`` steps."""
    process = subprocess.Popen(
        [sys.executable, "-m", "udit_bench", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while (saved_step(run) or 0) < at_step:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, "the run makes no progress"
            time.sleep(0.005)
        time.sleep(delay)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module", params=METHODS.names())
def method(request):
    return request.param


@pytest.fixture(scope="module")
def arguments(kit, photos, method):
    """The words of a run with further ones."""
    epochs = EPOCHS[3 if method == "mgdgan" else 1]
    return lambda *more: kit.train_arguments(photos, "--epochs", epochs, *more, method=method)


@pytest.fixture
def run(tmp_path, method):
    """Where the run of a test lies."""
    return tmp_path / "shp2gir_tiny" / method / "seed0"


@pytest.fixture(scope="module")
def uninterrupted(run_cli, arguments, method, tmp_path_factory):
    runs = tmp_path_factory.mktemp("uninterrupted")
    assert run_cli(*arguments("--save-every", "2", "--runs", runs))[0] == 0
    return runs / "shp2gir_tiny" / method / "seed0"


def test_killed_three_times_and_resumed_it_ends_bit_identical(
    run_cli, arguments, method, run, uninterrupted, read_lines, tmp_path
):
    words = arguments("--save-every", "2", "--runs", tmp_path)
    rng = random.Random(20)
    moments = [rng.randrange(start, start + 12) for start in (2, 26, 50)]
    found = []
    for number, moment in enumerate(moments):
        more = ("--resume",) if number else ()
        start_and_kill((*words, *more), run, moment, delay=rng.uniform(0, 0.1))
        found.append(saved_step(run))
    killed = [step for step in found if step is not None]
    assert all(step < STEPS for step in killed), "a kill came too late to prove anything"
    assert killed == sorted(set(killed))
    assert json.loads((run / "run.json").read_text())["state"] == "running"

    code, out, err = run_cli(*words, "--resume")
    assert code == 0, err
    state = final_state(run)
    for part in PARTS.get(method, USUAL):
        assert any(name.startswith(part) for name in state), part
    assert_same(state, final_state(uninterrupted))
    assert f"{STEPS} steps" in out
    steps = [entry["step"] for entry in read_lines(run / "log.jsonl")]
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    info = json.loads((run / "run.json").read_text())
    assert (info["state"], info["steps"]) == ("finished", STEPS)
    assert not (run / "checkpoints/.last.old").exists()


def signal_at(monkeypatch, step, signum):
    """Send this process a signal in the middle of training, once."""
    told = ProgressLines.on_step

    def on_step(self, progress):
        told(self, progress)
        if progress.total == step:
            signal.raise_signal(signum)

    monkeypatch.setattr(ProgressLines, "on_step", on_step)


@pytest.mark.parametrize(
    ("signum", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_saves_first_and_resume_goes_on_bit_identical(
    run_cli, kit, arguments, run, uninterrupted, read_lines, tmp_path, monkeypatch, signum, expected
):
    words = arguments("--save-every", "50", "--runs", tmp_path)
    before = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        signal_at(patch, 9, signum)
        code, _, err = run_cli(*words)
    assert code == expected
    line = kit.only_error(err)
    assert "after step 9" in line
    assert "--resume" in line
    assert signal.getsignal(signum) == before
    assert saved_step(run) == 9
    info = json.loads((run / "run.json").read_text())
    assert (info["state"], info["steps"]) == ("interrupted", 9)

    assert run_cli(*words, "--resume")[0] == 0
    assert_same(final_state(run), final_state(uninterrupted))
    steps = [entry["step"] for entry in read_lines(run / "log.jsonl")]
    assert steps == sorted(set(steps))


def test_killed_before_the_first_checkpoint_it_starts_over_with_a_clean_log(
    run_cli, kit, arguments, run, uninterrupted, read_lines, tmp_path, monkeypatch
):
    words = arguments("--runs", tmp_path)

    def power_cut(self, progress):
        if progress.total == 3:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLines, "on_step", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            run_cli(*words)
    assert not (run / "checkpoints").exists()
    assert [entry["step"] for entry in read_lines(run / "log.jsonl")] == [1]
    assert run_cli(*words, "--resume")[0] == 0
    assert_same(final_state(run), final_state(uninterrupted))
    assert [entry["step"] for entry in read_lines(run / "log.jsonl")] == [1, 51]


def test_a_crash_between_the_renames_of_a_checkpoint_is_survived(
    run_cli, kit, arguments, run, uninterrupted, tmp_path, monkeypatch
):
    words = arguments("--save-every", "50", "--runs", tmp_path)
    with monkeypatch.context() as patch:
        signal_at(patch, 4, signal.SIGTERM)
        assert run_cli(*words)[0] == 143
    last = run / "checkpoints/last"
    last.rename(run / "checkpoints/.last.old")
    assert run_cli(*words, "--resume")[0] == 0
    assert_same(final_state(run), final_state(uninterrupted))
    assert not (run / "checkpoints/.last.old").exists()
