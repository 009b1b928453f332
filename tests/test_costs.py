"""Measuring: made-up scenes, lifted limits, and what a measurement holds."""

import pytest

from udit_bench.costs import Job, expand, made_up_scenes, measure, measure_all, settings_for
from udit_bench.memory import peak_memory_mib
from udit_bench.registry import METHODS

TINY = {"size": [32, 32], "batch_size": 1, "ngf": 4, "ndf": 4, "blocks": 1, "pool": 2}


@pytest.mark.parametrize("count", [0, 1, 2, 5, 16])
def test_made_up_scenes_hold_that_many_visible_instances(count):
    scenes = made_up_scenes(3, count, (40, 60), seed=0)
    assert len(scenes) == 3
    for scene in scenes:
        assert scene.image.shape == (40, 60, 3)
        assert scene.masks.shape == (count, 40, 60)
        assert scene.masks.any((1, 2)).all()
        assert scene.masks.sum(0).max(initial=0) <= 1  # apart from each other


def test_limits_on_instances_are_lifted():
    assert settings_for(Job("train", "instagan", 9))["ins_max"] is None
    assert settings_for(Job("train", "instagan", 9, settings={"ins_max": 3}))["ins_max"] == 3


def test_every_phase_and_count_is_a_job():
    jobs = expand(Job("train", "cyclegan_seg", 0, settings=TINY), (1, 4))
    assert [(job.phase, job.instances) for job in jobs] == [(0, 1), (0, 4)]
    translate = expand(Job("translate", "cyclegan_seg", 0, settings=TINY), (1, 4))
    assert [job.instances for job in translate] == [1, 4]


def fields_of(method):
    return {k: v for k, v in TINY.items() if k in METHODS.load(method).Config.model_fields}


@pytest.mark.parametrize("what", ["train", "translate"])
@pytest.mark.parametrize("method", METHODS.names())
def test_a_measurement_has_time_memory_and_pace(method, what):
    cost = measure(Job(what, method, 3, settings=fields_of(method), steps=2))
    assert (cost.method, cost.instances) == (method, 3)
    assert bool(cost.phase) == (what == "train")
    assert cost.seconds > 0
    assert cost.cpu_seconds > 0
    images = 2 if what == "train" else 1
    assert cost.images_per_second == pytest.approx(images / cost.seconds, rel=0.3)  # rounded
    assert 0 < cost.idle_memory_mib <= cost.peak_memory_mib


def test_instagan_makes_a_pass_per_two_instances(monkeypatch):
    from udit_bench.nn.setgan import SetGenerator

    calls, forward = [], SetGenerator.forward
    monkeypatch.setattr(
        SetGenerator, "forward", lambda self, *a: calls.append(len(a[1])) or forward(self, *a)
    )
    measure(Job("translate", "instagan", 9, settings=TINY, steps=1))
    assert calls == [2, 2, 2, 2, 1] * 2  # once to warm up


def test_each_measurement_starts_with_fresh_memory():
    import numpy as np
    import torch

    ballast = np.ones(400 * 2**20, np.uint8)
    here = peak_memory_mib(torch.device("cpu"))
    (cost,) = measure_all([Job("translate", "cyclegan_seg", 1, settings=TINY, steps=1)])
    assert here > 400
    assert cost.idle_memory_mib < here
    assert len(ballast)
