"""Two processes train as one does with the batch of both."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from udit_bench.methods import build, settings_of
from udit_bench.runs import RunConfig

pytestmark = pytest.mark.slow
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
STEP_BY_STEP = """
import sys
from pathlib import Path
from udit_bench.datasets.catalogue import open_source
from udit_bench.methods import build, settings_of
from udit_bench.runs import RunConfig, RunDirectory, RunInfo
from udit_bench.training import Trainer, TrainerOptions

config = RunConfig.model_validate_json(sys.argv[1])
settings = settings_of(config)
source = open_source(config.data, size=settings.load_size)
scenes = {domain: source.scenes("train", domain) for domain in "AB"}
run = RunDirectory(Path(sys.argv[2]))
info = RunInfo(dataset=source.name, labels=source.labels, split="train")
options = TrainerOptions(device="cpu", threads=1, log_every=1)
Trainer(build(config, settings), settings, **scenes, run=run, info=info, options=options).fit()
"""


def python(*words, wanted=0):
    """Run Python; a launcher is asked to stop, and stops its processes."""
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        raise
    assert process.returncode == wanted, err
    return out, err


def weights_of(folder):
    """The model's tensors in a checkpoint."""
    tensors = load_file(folder / "tensors.safetensors")
    return {k.removeprefix("/model/"): v for k, v in tensors.items() if k.startswith("/model/")}


@pytest.fixture
def step_by_step(tmp_path, read_lines):
    """A function that trains and gives the log lines, one a step, and the final weights."""
    script = tmp_path / "step_by_step.py"
    script.write_text(STEP_BY_STEP)

    def train(config, name, *launcher):
        folder = tmp_path / name
        python(*launcher, script, config.model_dump_json(), folder)
        return read_lines(folder / "log.jsonl"), weights_of(folder / "checkpoints/last")

    return train


@pytest.mark.parametrize("method", ["cyclegan_seg", "instagan", "mgdgan"])
def test_two_processes_are_one_with_the_batch_of_both(kit, photos, step_by_step, method):
    def config(batch_size):
        tiny = kit.tiny_settings(method, epochs=4, lr=2e-4, ema=0.0, batch_size=batch_size)
        return RunConfig(method=method, data=str(photos), preset="paper", settings=tiny)

    alone, final = step_by_step(config(2), "alone")
    together, other = step_by_step(config(1), "together", *TWO)
    assert [line["step"] for line in together] == [line["step"] for line in alone]
    for one, two in zip(alone, together, strict=True):
        assert two["losses"] == pytest.approx(one["losses"], rel=5e-3, abs=1e-3)
    fresh = build(config(2), settings_of(config(2)))
    for name, first in fresh.named_parameters():
        if first.ndim > 1:  # a bias before a norm has but rounding as gradient: Adam scales it up
            moved = torch.linalg.vector_norm(final[name] - first.detach())
            apart = torch.linalg.vector_norm(other[name] - final[name])
            assert apart <= 0.1 * moved, name


def test_two_processes_write_one_run_and_go_on_with_it(kit, photos, tmp_path, read_lines):
    options = ("--epochs", "1", "--runs", tmp_path, "--save-every", "2")
    words = ("-m", "udit_bench", *kit.train_arguments(photos, *options, method="mgdgan"))
    out, _ = python(*TWO, *words)
    assert out.count("trained ") == 1
    run = tmp_path / "shp2gir_tiny" / "mgdgan" / "seed0"

    def state():
        info = json.loads((run / "run.json").read_text())
        steps = [line["step"] for line in read_lines(run / "log.jsonl")]
        return info["state"], info["processes"], info["steps"], steps

    whole, final = state(), weights_of(run / "checkpoints/last")
    assert whole == ("finished", 2, 9, [1])
    _, err = python(*TWO, *words, wanted=1)
    assert "--resume goes on with it" in err
    shutil.rmtree(run / "checkpoints/last")
    shutil.copytree(run / "checkpoints/epoch-0001", run / "checkpoints/last")
    _, err = python(*words, "--resume", wanted=2)
    assert "start as many as it had" in err
    python(*TWO, *words, "--resume")
    assert state() == whole
    again = weights_of(run / "checkpoints/last")
    assert all(torch.allclose(again[name], final[name], atol=1e-5) for name in final)
