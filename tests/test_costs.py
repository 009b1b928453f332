"""Measuring: made-up scenes, lifted limits, and what a measurement holds."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from udit_bench.costs import (
    Job,
    StepCost,
    expand,
    made_up_scenes,
    measure,
    measure_all,
    ratios,
    settings_for,
)
from udit_bench.memory import peak_memory_mib
from udit_bench.registry import METHODS

TINY = {
    "size": [32, 32], "batch_size": 1, "ngf": 4, "ndf": 4, "blocks": 1, "pool": 2, "vgg": "off",
    "hidden": 4, "levels": 2, "mask_width": 8, "mask_encoder": 4, "mask_blocks": 1,
    "mask_fine": [8, 8], "mask_ndf": 4,
}  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 5, 16])
def test_made_up_scenes_hold_that_many_visible_instances(count):
    scenes = made_up_scenes(3, count, (40, 60), seed=0)
    assert len(scenes) == 3
    for scene in scenes:
        assert scene.image.shape == (40, 60, 3)
        assert scene.masks.shape == (count, 40, 60)
        assert scene.masks.any((1, 2)).all()
        assert scene.masks.sum(0).max(initial=0) <= 1  # apart from each other


def fields_of(method):
    return {k: v for k, v in TINY.items() if k in METHODS.load(method).Config.model_fields}


def test_limits_on_instances_are_lifted():
    assert settings_for(Job("train", "instagan", 9))["ins_max"] is None
    assert settings_for(Job("train", "instagan", 9, settings={"ins_max": 3}))["ins_max"] == 3


def test_every_phase_and_count_is_a_job():
    small = fields_of("cyclegan_seg")
    jobs = expand(Job("train", "cyclegan_seg", 0, settings=small), (1, 4))
    assert [(job.phase, job.instances) for job in jobs] == [(0, 1), (0, 4)]
    phases = expand(Job("train", "mgdgan", 0, settings=fields_of("mgdgan")), (1, 4))
    assert [(job.phase, job.instances) for job in phases] == [
        (0, 1), (0, 4), (1, 1), (1, 4), (2, 1), (2, 4),
    ]  # fmt: skip
    translate = expand(Job("translate", "cyclegan_seg", 0, settings=small), (1, 4))
    assert [job.instances for job in translate] == [1, 4]


@pytest.mark.parametrize("what", ["train", "translate"])
@pytest.mark.parametrize("method", METHODS.names())
def test_a_measurement_has_time_memory_and_pace(method, what):
    cost = measure(Job(what, method, 3, settings=fields_of(method), steps=2))
    assert (cost.method, cost.instances) == (method, 3)
    assert bool(cost.phase) == (what == "train")
    assert cost.seconds > 0
    assert cost.cpu_seconds > 0
    images = 2 if what == "train" else 1
    assert cost.images_per_second == pytest.approx(images / cost.seconds, rel=1e-6)
    assert 0 < cost.idle_memory_mib <= cost.peak_memory_mib


def test_instagan_makes_a_pass_per_two_instances(monkeypatch):
    from udit_bench.nn.setgan import SetGenerator

    calls, forward = [], SetGenerator.forward
    monkeypatch.setattr(
        SetGenerator, "forward", lambda self, *a: calls.append(len(a[1])) or forward(self, *a)
    )
    measure(Job("translate", "instagan", 9, settings=fields_of("instagan"), steps=1))
    assert calls == [2, 2, 2, 2, 1] * 2  # once to warm up


def test_each_measurement_starts_with_fresh_memory():
    import numpy as np
    import torch

    ballast = np.ones(400 * 2**20, np.uint8)
    here = peak_memory_mib(torch.device("cpu"))
    job = Job("translate", "cyclegan_seg", 1, settings=fields_of("cyclegan_seg"), steps=1)
    (cost,) = measure_all([job])
    assert here > 400
    assert cost.idle_memory_mib < here
    assert len(ballast)


@pytest.mark.slow
def test_bf16_trains_every_phase_and_translates():
    """In one process of its own: accelerate takes the precision once and for all."""
    jobs = []
    for method in METHODS.names():
        job = Job("train", method, 2, settings=fields_of(method), steps=1, precision="bf16")
        jobs += [*expand(job, (2,)), replace(job, what="translate")]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert all(cost.seconds > 0 for cost in pool.map(measure, jobs))


def test_an_ablation_is_measured_as_it_is():
    job = Job("train", "instagan", 9, ablation="one-step")
    assert "ins_max" not in settings_for(job)


def cost(method, phase, instances, seconds, epochs):
    return StepCost(method, phase, instances, seconds, seconds, 1.0, 1.0, 1.0, 1, epochs)


def test_ratios_weight_phases_by_their_epochs():
    """3 x 10 + 5 x 2 = 40 against 4 x 20 = 80."""
    costs = [
        cost("mine", "a", 4, 3.0, 10), cost("mine", "b", 4, 5.0, 2), cost("base", "x", 4, 4.0, 20),
        cost("mine", "a", 8, 3.0, 10),
    ]  # fmt: skip
    assert ratios(costs, "base") == {("mine", 4): 0.5, ("base", 4): 1.0}
    assert ratios(costs, "absent") == {}
