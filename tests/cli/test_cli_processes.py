"""Two processes train as one does with the batch of both."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

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
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == wanted, done.stderr
    return done


@pytest.fixture
def step_by_step(kit, photos, tmp_path, read_lines):
    """A function that trains a tiny method and gives its log lines, one a step, and its weights."""
    script = tmp_path / "step_by_step.py"
    script.write_text(STEP_BY_STEP)

    def train(method, name, launcher, **settings):
        tiny = kit.tiny_settings(method, epochs=2, **settings)
        config = {"method": method, "data": str(photos), "preset": "paper", "settings": tiny}
        folder = tmp_path / name
        python(*launcher, script, json.dumps(config), folder)
        return read_lines(folder / "log.jsonl"), load_file(
            folder / "checkpoints/last/tensors.safetensors"
        )

    return train


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cyclegan_seg", "instagan", "mgdgan"])
def test_two_processes_have_the_losses_of_one_at_the_same_global_batch(step_by_step, method):
    alone, weights = step_by_step(method, "alone", (), batch_size=2, lr=2e-4)
    together, others = step_by_step(method, "together", TWO, batch_size=1, lr=2e-4)
    assert len(alone) == len(together) > 4
    for one, two in zip(alone, together, strict=True):
        assert two["step"] == one["step"]
        assert two["losses"] == pytest.approx(one["losses"], rel=5e-3, abs=1e-3)
    names = [name for name in weights if name.startswith("/model/")]
    same = [torch.allclose(others[name], weights[name], atol=1e-3) for name in names]
    assert sum(same) > 0.9 * len(names)


@pytest.mark.slow
def test_two_processes_write_one_run_and_resume_it(kit, photos, tmp_path):
    words = kit.train_arguments(photos, "--epochs", "1", "--runs", tmp_path, method="mgdgan")
    done = python(*TWO, "-m", "udit_bench", *words)
    assert done.stdout.count("trained ") == 1
    run = tmp_path / "shp2gir_tiny" / "mgdgan" / "seed0"
    info = json.loads((run / "run.json").read_text())
    assert (info["state"], info["processes"], info["steps"]) == ("finished", 2, 9)
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    again = python(*TWO, "-m", "udit_bench", *words, wanted=1)
    assert "--resume goes on with it" in again.stderr
    python(*TWO, "-m", "udit_bench", *words, "--resume")
    assert json.loads((run / "run.json").read_text())["steps"] == 9
