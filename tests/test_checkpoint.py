"""Checkpoints survive failing writes and crashes, and never run what they hold."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from udit_bench import checkpoint
from udit_bench.checkpoint import (
    STATE,
    TENSORS,
    find_checkpoint,
    link_checkpoint,
    load_checkpoint,
    pack,
    save_checkpoint,
    unpack,
)
from udit_bench.errors import DataError, RunError


@pytest.fixture
def saved(tmp_path):
    """A checkpoint that holds the number 1."""
    folder = tmp_path / "checkpoints" / "last"
    save_checkpoint(folder, {"value": torch.tensor([1.0])})
    return folder


def value(folder):
    return load_checkpoint(folder)["value"].item()


def through_json(state):
    skeleton, tensors = pack(state)
    return unpack(json.loads(json.dumps(skeleton)), tensors)


def test_nested_state_comes_back_with_its_keys_and_types():
    state = {"a": [1, 2.5, None, True, "x"], "b": {3: {"c": []}, "4": {}}, "d": -0.0}
    assert through_json(state) == state


def test_tuples_come_back_as_lists():
    assert through_json({"betas": (0.5, 0.999)}) == {"betas": [0.5, 0.999]}


def test_tensors_keep_dtype_shape_and_values():
    tensors = [torch.arange(6, dtype=torch.uint8).reshape(2, 3).T, torch.tensor(2.0)]
    tensors += [torch.zeros(0, 1), torch.tensor([True])]
    for before, after in zip(tensors, through_json(tensors), strict=True):
        assert before.dtype == after.dtype
        assert torch.equal(before, after)


def test_tensors_that_share_memory_are_both_kept(tmp_path):
    both = torch.arange(4.0)
    save_checkpoint(tmp_path / "c", {"whole": both, "part": both[:2]})
    assert load_checkpoint(tmp_path / "c")["part"].tolist() == [0.0, 1.0]


def test_an_optimizer_goes_on_as_if_never_saved(tmp_path):
    def stepped(weight, optimizer, times):
        for _ in range(times):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()

    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.Adam([weight], 0.1, (0.5, 0.999))
    stepped(weight, optimizer, 3)
    save_checkpoint(tmp_path / "c", {"optimizer": optimizer.state_dict()})
    copy = torch.nn.Parameter(weight.detach().clone())
    other = torch.optim.Adam([copy], 9.9)
    other.load_state_dict(load_checkpoint(tmp_path / "c")["optimizer"])
    stepped(weight, optimizer, 2)
    stepped(copy, other, 2)
    assert torch.equal(weight, copy)


def test_an_object_cannot_be_packed_and_is_named():
    with pytest.raises(TypeError, match="/a/0: a object"):
        pack({"a": [object()]})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "no space left"),
        (SafetensorError("something else"), "something else"),
        (PermissionError(errno.EACCES, "denied"), "no permission"),
    ],
)
def test_a_failing_write_keeps_the_old_one_and_leaves_nothing(saved, monkeypatch, error, message):
    def fail(tensors, path):
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(RunError, match=message):
        save_checkpoint(saved, {"value": torch.tensor([2.0])})
    assert value(saved) == 1.0
    assert [path.name for path in saved.parent.iterdir()] == ["last"]


def test_a_crash_between_the_two_renames_still_loads(saved, monkeypatch):
    rename, calls = os.rename, []

    def crash_at_the_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(checkpoint.os, "rename", crash_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, {"value": torch.tensor([2.0])})
    monkeypatch.undo()
    assert not saved.exists()
    assert value(saved) == 1.0
    save_checkpoint(saved, {"value": torch.tensor([3.0])})
    assert value(saved) == 3.0
    assert [path.name for path in saved.parent.iterdir()] == ["last"]


def test_a_new_checkpoint_replaces_the_old(saved):
    save_checkpoint(saved, {"value": torch.tensor([2.0])})
    assert value(saved) == 2.0


def test_a_kept_checkpoint_outlives_the_next_save(saved):
    link_checkpoint(saved, "epoch-0001")
    save_checkpoint(saved, {"value": torch.tensor([2.0])})
    assert value(saved.with_name("epoch-0001")) == 1.0


def test_no_checkpoint_is_none_to_find_and_an_error_to_load(tmp_path):
    assert find_checkpoint(tmp_path / "last") is None
    with pytest.raises(DataError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "last")


@pytest.mark.parametrize("name", [TENSORS, STATE])
@pytest.mark.parametrize("length", [0, 5, -1])
def test_a_truncated_file_is_named(saved, name, length):
    path = saved / name
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=name):
        load_checkpoint(saved)


def test_a_damaged_checkpoint_points_to_the_last_kept_one(saved):
    link_checkpoint(saved, "epoch-0002")
    (saved / TENSORS).unlink()
    (saved / TENSORS).write_bytes(b"")
    with pytest.raises(DataError, match="copy epoch-0002 over last"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 99, "state": {}}', "null"])
def test_a_state_of_another_kind_is_refused(saved, text):
    (saved / STATE).write_text(text)
    with pytest.raises(DataError):
        load_checkpoint(saved)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_is_refused_and_not_run(saved, tmp_path, zipped):
    trace = tmp_path / "trace"
    torch.save(Bomb(str(trace)), saved / TENSORS, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match="is a pickle"):
        load_checkpoint(saved)
    assert not trace.exists()
