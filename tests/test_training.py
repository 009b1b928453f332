"""The trainer: phases, accumulation, schedules, failures, interruption and resume."""

import errno
import json
import os
import signal

import pytest
import torch
from torch import nn

from udit_bench import checkpoint
from udit_bench.baselines.cyclegan_seg import CycleGANSeg, CycleGANSegConfig
from udit_bench.checkpoint import load_checkpoint
from udit_bench.errors import DataError, Interrupted, RunError, UsageError
from udit_bench.randomness import seed_all
from udit_bench.training import Observer, Trainer, open_accelerator
from udit_bench.translator import Phase, Term, Translator, TranslatorConfig, Update

CONFIG = TranslatorConfig(size=(32, 32), load_scale=1.0, batch_size=4)  # 2 steps per epoch


class Toy(Translator):
    """One pair of weights per phase, trained as the test says; notes the phase of every step."""

    title, Config = "toy", TranslatorConfig

    def __init__(self, *plans):
        super().__init__()
        self.weights = nn.ParameterList(torch.zeros(2) for _ in plans)
        self.plans, self.seen = plans, []

    def phases(self):
        return [plan(self, weight) for plan, weight in zip(self.plans, self.weights, strict=True)]

    def translate(self, batch, direction, variant=None):
        raise NotImplementedError


def plan(updates, *, name="only", optimizer=None, weights=None, epochs=1, **rest):
    """A phase whose step yields ``updates(weight, pair)``; SGD at rate 1 unless told."""

    def make(toy, weight):
        def step(pair):
            toy.seen.append(name)
            yield from updates(weight, pair)

        made = (optimizer or (lambda p: torch.optim.SGD([p], 1.0)))(weight)
        return Phase(name, epochs, {"w": made}, weights or {"a": 1.0}, step, **rest)

    return make


def once(loss, count=1):
    """Updates of one term ``a`` per step."""

    def updates(weight, pair):
        yield Update("w", {"a": Term(loss(weight, pair), count)})

    return updates


def noisy(weight, pair):
    """A loss that hangs on the pictures and on torch's random numbers."""
    return ((weight - pair.A.images.mean()) ** 2 + weight * torch.rand(2)).sum()


def adam(weight):
    return torch.optim.Adam([weight], 0.1)


def two_phases():
    first = plan(once(noisy), name="first", optimizer=adam)
    return Toy(first, plan(once(noisy), name="second", optimizer=adam, epochs=2))


def total(weight, pair):
    return weight.sum()


class Stop(Observer):
    """Sends a signal, or raises, after a step."""

    def __init__(self, step, number=signal.SIGINT, error=None):
        self.step, self.number, self.error = step, number, error

    def on_step(self, progress):
        if progress.total == self.step:
            if self.error:
                raise self.error
            os.kill(os.getpid(), self.number)


def log_of(trainer):
    return [json.loads(line) for line in trainer.run.log.read_text().splitlines()]


def state_of(trainer):
    return trainer.run.read_info().state


# ---- steps ------------------------------------------------------------------------------------


def test_two_updates_without_a_step_between_add_their_gradients(make_trainer, tmp_path):
    def updates(weight, pair):
        yield Update("w", {"a": Term(2 * weight.sum(), 1)}, step=False)
        yield Update("w", {"b": Term(6 * weight.sum(), 2)})

    toy = Toy(plan(updates, weights={"a": 1.0, "b": 10.0}))
    config = CONFIG.model_copy(update={"batch_size": 8})  # one step
    make_trainer(toy, config, tmp_path).fit()
    assert toy.weights[0].tolist() == [-32.0, -32.0]  # 2 + 10 * 6 / 2


def test_gradients_start_from_zero_after_a_step(make_trainer, tmp_path):
    toy = Toy(plan(once(total)))
    make_trainer(toy, CONFIG, tmp_path).fit()
    assert toy.weights[0].tolist() == [-2.0, -2.0]


def test_the_gradient_is_that_of_the_mean(make_trainer, tmp_path):
    toy = Toy(plan(once(total, count=4)))
    make_trainer(toy, CONFIG, tmp_path).fit()
    assert toy.weights[0].tolist() == [-0.5, -0.5]


def test_a_term_over_no_samples_trains_nothing(make_trainer, tmp_path):
    toy = Toy(plan(once(lambda weight, pair: torch.zeros(()), count=0)))
    make_trainer(toy, CONFIG, tmp_path).fit()
    assert toy.weights[0].tolist() == [0.0, 0.0]


def test_the_schedule_scales_the_rate_by_the_epochs_done(make_trainer, tmp_path):
    toy = Toy(plan(once(total), epochs=2, schedule=lambda done: 2.0 - done))
    trainer = make_trainer(toy, CONFIG, tmp_path)
    trainer.fit()
    assert toy.weights[0].tolist() == [-5.0, -5.0]  # 2 + 1.5 + 1 + 0.5
    assert [line["lr"]["w"] for line in log_of(trainer)] == [2.0, 1.5, 1.0, 0.5]


def test_gradients_are_clipped_to_their_norm(make_trainer, tmp_path):
    def loss(weight, pair):
        return (weight * torch.tensor([3.0, 4.0])).sum()

    toy = Toy(plan(once(loss), clip=1.0))
    make_trainer(toy, CONFIG, tmp_path).fit()
    torch.testing.assert_close(toy.weights[0].data, torch.tensor([-1.2, -1.6]))


def test_phases_run_in_order_for_their_epochs(make_trainer, tmp_path):
    toy = two_phases()
    trainer = make_trainer(toy, CONFIG, tmp_path)
    trainer.fit()
    assert toy.seen == ["first"] * 2 + ["second"] * 4
    assert [(line["phase"], line["epoch"]) for line in log_of(trainer)] == [
        ("first", 0), ("first", 0), ("second", 0), ("second", 0), ("second", 1), ("second", 1),
    ]  # fmt: skip
    assert trainer.run.read_info().steps == 6
    assert state_of(trainer) == "finished"


def test_the_last_checkpoint_of_each_phase_is_kept(make_trainer, tmp_path):
    trainer = make_trainer(two_phases(), CONFIG, tmp_path)
    trainer.fit()
    kept = sorted(path.name for path in trainer.run.checkpoint.parent.iterdir())
    assert kept == ["epoch-0001", "epoch-0003", "last"]
    middle = load_checkpoint(trainer.run.checkpoint.with_name("epoch-0001"))
    assert middle["position"] == {"phase": 1, "epoch": 0, "step": 0, "total": 2}


def test_observers_are_told_of_every_step_and_epoch(make_trainer, tmp_path):
    class Count(Observer):
        steps, epochs = (), 0

        def on_step(self, progress):
            self.steps += ((progress.total, progress.total_steps),)

        def on_epoch(self, translator, progress):
            self.epochs += 1

    count = Count()
    make_trainer(two_phases(), CONFIG, tmp_path, observers=[count]).fit()
    assert count.steps == tuple((k, 6) for k in range(1, 7))
    assert count.epochs == 3


def test_every_loss_term_is_logged_by_its_name(make_trainer, tmp_path):
    def updates(weight, pair):
        yield Update("w", {"a": Term(weight.sum() + 3, 2), "b": Term(weight.sum() + 7, 1)})

    toy = Toy(plan(updates, weights={"a": 0.0, "b": 0.0}))
    trainer = make_trainer(toy, CONFIG, tmp_path)
    trainer.fit()
    assert log_of(trainer)[0]["losses"] == {"a": 1.5, "b": 7.0}  # means, unweighted
    assert [line["step"] for line in log_of(trainer)] == [1, 2]


def test_a_log_line_holds_the_mean_since_the_last(make_trainer, tmp_path):
    values = iter([1.0, 2.0, 4.0, 9.0])
    toy = Toy(plan(once(lambda weight, pair: 0 * weight.sum() + next(values)), epochs=2))
    trainer = make_trainer(toy, CONFIG, tmp_path, log_every=3)
    trainer.fit()
    lines = [(line["step"], line["losses"]["a"]) for line in log_of(trainer)]
    assert lines == [(1, 1.0), (4, 5.0)]


def test_checkpoints_come_every_so_many_steps(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(two_phases(), CONFIG, tmp_path, save_every=4)
    saved = []
    monkeypatch.setattr(
        "udit_bench.training.save_checkpoint",
        lambda folder, state: saved.append(state["position"]["total"]),
    )
    monkeypatch.setattr("udit_bench.training.link_checkpoint", lambda folder, name: None)
    trainer.fit()
    assert saved == [2, 6]  # the ends of the phases; step 6 is also the fourth since
    trainer = make_trainer(Toy(plan(once(total), epochs=3)), CONFIG, tmp_path, save_every=2)
    saved.clear()
    trainer.fit()
    assert saved == [2, 4, 6]


# ---- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_the_checkpoint_kept(make_trainer, tmp_path, value):
    values = iter([1.0, value])

    def updates(weight, pair):
        yield Update(
            "w", {"good": Term(weight.sum(), 1), "bad": Term(weight.sum() * next(values), 1)}
        )

    toy = Toy(plan(updates, weights={"good": 1.0, "bad": 1.0}))
    trainer = make_trainer(toy, CONFIG, tmp_path, save_every=1)
    with pytest.raises(RunError, match=r"the loss term 'bad' is .* at step 1 of phase 'only'"):
        trainer.fit()
    assert load_checkpoint(trainer.run.checkpoint)["position"]["total"] == 1
    info = trainer.run.read_info()
    assert info.state == "failed"
    assert "'bad'" in info.error


def test_a_full_disk_fails_the_run_and_keeps_the_checkpoint(make_trainer, tmp_path, monkeypatch):
    save, calls = checkpoint.save_file, []

    def full_at_the_second(tensors, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full_at_the_second)
    trainer = make_trainer(two_phases(), CONFIG, tmp_path, save_every=1)
    with pytest.raises(RunError, match="no space left"):
        trainer.fit()
    assert state_of(trainer) == "failed"
    assert load_checkpoint(trainer.run.checkpoint)["position"]["total"] == 1


def test_an_empty_domain_is_refused(make_trainer, toy_source, scene_set, tmp_path):
    trainer = make_trainer(two_phases(), CONFIG, tmp_path)
    with pytest.raises(DataError, match="domain B has no scenes"):
        Trainer(two_phases(), CONFIG, trainer.A, scene_set([]), trainer.run, trainer.info, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_a_usage_error():
    with pytest.raises(UsageError, match="no usable GPU"):
        open_accelerator("cuda", "fp32")


# ---- resume -----------------------------------------------------------------------------------


@pytest.fixture
def whole(make_trainer, tmp_path):
    """The two phases trained without a break."""
    trainer = make_trainer(two_phases(), CONFIG, tmp_path / "whole")
    trainer.fit()
    return trainer


def assert_same_end(one, other):
    a, b = (load_checkpoint(trainer.run.checkpoint) for trainer in (one, other))
    for state in (a, b):
        for cost in ("seconds", "peak_memory_mib"):
            del state[cost]
    (structure_a, tensors_a), (structure_b, tensors_b) = checkpoint.pack(a), checkpoint.pack(b)
    assert structure_a == structure_b
    assert [name for name in tensors_a if not torch.equal(tensors_a[name], tensors_b[name])] == []


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_resumed_run_ends_bit_identical(make_trainer, tmp_path, whole, step):
    trainer = make_trainer(two_phases(), CONFIG, tmp_path / "cut", observers=[Stop(step)])
    with pytest.raises(Interrupted, match=f"SIGINT after step {step}.*--resume"):
        trainer.fit()
    assert state_of(trainer) == "interrupted"
    resumed = make_trainer(two_phases(), CONFIG, tmp_path / "cut")
    assert resumed.resume()
    resumed.fit()
    assert state_of(resumed) == "finished"
    assert_same_end(whole, resumed)
    assert [(e["step"], e["losses"], e["lr"]) for e in log_of(resumed)] == [
        (e["step"], e["losses"], e["lr"]) for e in log_of(whole)
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_its_exit_code_and_the_handlers_come_back(
    make_trainer, tmp_path, number, code
):
    before = signal.getsignal(number)
    trainer = make_trainer(two_phases(), CONFIG, tmp_path, observers=[Stop(1, number)])
    with pytest.raises(Interrupted) as error:
        trainer.fit()
    assert error.value.exit_code == code
    assert signal.getsignal(number) is before


def test_cyclegan_resumes_with_its_average_and_pool(make_trainer, tmp_path):
    config = CycleGANSegConfig.build(
        "paper",
        {"size": 32, "ngf": 4, "ndf": 4, "blocks": 1, "epochs": 2, "pool": 3, "ema": 0.9},
    )

    def trainer(name, *observers):
        seed_all(7)
        return make_trainer(CycleGANSeg(config), config, tmp_path / name, observers=observers)

    whole, cut = trainer("whole"), trainer("cut", Stop(3))
    whole.fit()
    with pytest.raises(Interrupted):
        cut.fit()
    resumed = trainer("cut")
    resumed.resume()
    assert len(resumed.translator.pools["A"].kept) == 3
    resumed.fit()
    state = load_checkpoint(resumed.run.checkpoint)
    assert any(name.startswith("ema_AB") for name in state["model"])
    assert len(state["extra"]["pools"]["B"]["kept"]) == 3
    assert_same_end(whole, resumed)


def test_work_after_the_checkpoint_is_done_and_logged_again_once(make_trainer, tmp_path, whole):
    crash = Stop(5, error=ZeroDivisionError())
    trainer = make_trainer(
        two_phases(), CONFIG, tmp_path / "crash", observers=[crash], save_every=10
    )
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    with open(trainer.run.log, "a") as log:
        log.write('{"step": 6, "lo')
    assert load_checkpoint(trainer.run.checkpoint)["position"]["total"] == 2
    resumed = make_trainer(two_phases(), CONFIG, tmp_path / "crash")
    resumed.resume()
    assert [line["step"] for line in log_of(resumed)] == [1, 2]
    resumed.fit()
    assert [line["step"] for line in log_of(resumed)] == [1, 2, 3, 4, 5, 6]
    assert_same_end(whole, resumed)


def test_there_is_nothing_to_resume_in_a_new_folder(make_trainer, tmp_path):
    assert make_trainer(two_phases(), CONFIG, tmp_path).resume() is False


def test_a_finished_run_resumes_to_nothing(make_trainer, whole):
    again = make_trainer(two_phases(), CONFIG, whole.run.path)
    again.resume()
    again.fit()
    assert again.translator.seen == []
    assert_same_end(whole, again)


def test_a_checkpoint_of_other_settings_is_refused(make_trainer, whole):
    other = make_trainer(Toy(plan(once(total))), CONFIG, whole.run.path)
    with pytest.raises(DataError, match=r"'weights\.1' differs"):
        other.resume()
