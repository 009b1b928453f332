"""Bad input and a hostile disk: one message, the right exit code, nothing half-written."""

import errno
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import torch

import udit_bench.checkpoint
from udit_bench.cli import main


@pytest.fixture
def folder(kit, tmp_path):
    """A data set of one's own to break."""
    return kit.draw_folder(tmp_path / "shp2gir_own", scenes=6)


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run to break."""
    return shutil.copytree(
        finished, tmp_path / "run", ignore=shutil.ignore_patterns("translations")
    )


def train_own(run_cli, kit, folder, runs, *more):
    return run_cli(*kit.train_arguments(folder, "--epochs", "1", "--runs", runs), *more)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# ------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("scene", ["s0", "s5"])
def test_truncated_picture_is_named_and_training_fails_cleanly(
    run_cli, kit, folder, tmp_path, scene
):
    halve(folder / "trainA" / f"{scene}.png")
    code, _, err = train_own(run_cli, kit, folder, tmp_path / "runs")
    assert code == 3
    assert f"trainA/{scene}.png" in kit.only_error(err)
    left = kit.tree(tmp_path / "runs") if (tmp_path / "runs").exists() else []
    assert {pathlib.PurePath(name).name for name in left} <= {
        "config.yaml",
        "run.json",
        "log.jsonl",
    }
    for info in (tmp_path / "runs").rglob("run.json"):
        document = json.loads(info.read_text())
        assert document["state"] == "failed"
        assert f"{scene}.png" in document["error"]


def test_failed_run_goes_on_with_resume_once_the_picture_is_mended(run_cli, kit, folder, tmp_path):
    path = folder / "trainA/s5.png"
    whole = path.read_bytes()
    halve(path)
    assert train_own(run_cli, kit, folder, tmp_path / "runs")[0] == 3
    path.write_bytes(whole)
    code, _, err = train_own(run_cli, kit, folder, tmp_path / "runs", "--resume")
    assert code == 0, err


def test_picture_that_breaks_in_a_loader_process_is_named_in_one_line(
    run_cli, kit, folder, tmp_path
):
    halve(folder / "trainA/s5.png")
    code, _, err = train_own(run_cli, kit, folder, tmp_path / "runs", "--workers", "1")
    assert code == 3
    assert "trainA/s5.png" in kit.only_error(err)


def test_mask_of_another_size_is_named_with_both_sizes(run_cli, kit, folder, tmp_path):
    kit.save_picture(folder / "trainB_seg/s1_0.png", np.ones((16, 20), dtype=bool))
    code, _, err = train_own(run_cli, kit, folder, tmp_path / "runs")
    assert code == 3
    line = kit.only_error(err)
    assert all(part in line for part in ("trainB_seg/s1_0.png", "20 x 16", "32 x 32"))
    assert not (tmp_path / "runs").exists()


def test_masks_missing_altogether_are_named(run_cli, kit, folder, tmp_path):
    shutil.rmtree(folder / "trainA_seg")
    code, _, err = train_own(run_cli, kit, folder, tmp_path / "runs")
    assert code == 3
    assert "trainA_seg" in kit.only_error(err)
    assert not (tmp_path / "runs").exists()


def test_picture_missing_from_a_coco_folder_is_named(run_cli, kit, tmp_path):
    folder = tmp_path / "coco"
    for domain, label in (("A", "sheep"), ("B", "giraffe")):
        document = {
            "images": [{"id": 1, "file_name": "gone.png", "width": 32, "height": 32}],
            "categories": [{"id": 1, "name": label}],
            "annotations": [],
        }
        path = folder / "annotations" / f"instances_train{domain}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
        (folder / "images" / f"train{domain}").mkdir(parents=True)
    code, _, err = train_own(run_cli, kit, folder, tmp_path / "runs")
    assert code == 3
    assert "gone.png" in kit.only_error(err)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", ["train", "data check", "data preview", "detector train"])
def test_empty_folder_is_bad_data_for_every_verb(run_cli, kit, tmp_path, verb):
    empty = tmp_path / "empty"
    empty.mkdir()
    words = {
        "train": kit.train_arguments(empty, "--runs", tmp_path / "runs"),
        "data check": ("data", "check", empty),
        "data preview": ("data", "preview", empty),
        "detector train": ("detector", "train", "--data", empty),
    }[verb]
    code, out, err = run_cli(*words)
    assert code == 3
    assert "empty" in out + err
    assert "Traceback" not in err
    assert kit.tree(tmp_path) == []


def test_check_reports_every_fault_on_a_line_of_its_own(run_cli, kit, folder):
    halve(folder / "trainA/s0.png")
    kit.save_picture(folder / "testB_seg/s1_0.png", np.ones((16, 16), dtype=bool))
    code, out, _ = run_cli("data", "check", folder)
    assert code == 3
    lines = [line for line in out.splitlines() if not line.startswith("note:")]
    assert len(lines) == 2
    assert any("trainA/s0.png" in line for line in lines)
    assert any("testB_seg/s1_0.png" in line for line in lines)


def test_damaged_data_stops_translate_without_a_half_written_folder(
    run_cli, kit, folder, run, tmp_path
):
    halve(folder / "testA/s4.png")
    out = tmp_path / "made"
    code, _, err = run_cli(
        "translate", run, "--data", folder, "--batch-size", "2", "--out", out, "--device", "cpu"
    )
    assert code == 3
    assert "testA/s4.png" in kit.only_error(err)
    assert not out.exists() or list(out.iterdir()) == []


# ------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("verb", ["translate", "train --resume", "eval"])
def test_truncated_checkpoint_is_named(run_cli, kit, photos, judge, tmp_path, finished, name, verb):
    run = tmp_path / "runs/shp2gir_tiny/cyclegan_seg/seed0"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("translations"))
    halve(run / "checkpoints/last" / name)
    before = kit.tree(run)
    words = {
        "translate": ("translate", run, "--device", "cpu"),
        "train --resume": kit.train_arguments(
            photos, "--epochs", "1", "--runs", tmp_path / "runs", "--resume"
        ),
        "eval": (
            "eval", run, "--detector-weights", judge, "--results", tmp_path / "results",
            "--device", "cpu",
        ),
    }[verb]  # fmt: skip
    code, _, err = run_cli(*words)
    assert code == 3
    line = kit.only_error(err)
    assert name in line
    assert "copy epoch-0001 over last" in line
    assert kit.tree(run) == before
    assert not (tmp_path / "results").exists()


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_pickle_in_the_place_of_the_tensors_is_refused_and_never_run(
    run_cli, kit, run, tmp_path, form
):
    fuse = tmp_path / "exploded"
    torch.save(
        {"weights": Bomb(fuse)},
        run / "checkpoints/last/tensors.safetensors",
        _use_new_zipfile_serialization=form == "zip",
    )
    code, _, err = run_cli("translate", run, "--device", "cpu")
    assert code == 3
    assert "pickle" in kit.only_error(err)
    assert not fuse.exists()
    assert not (run / "translations").exists()


@pytest.mark.parametrize("verb", ["translate", "eval"])
def test_weights_file_in_the_place_of_a_run_is_refused_and_never_run(run_cli, kit, tmp_path, verb):
    fuse, path = tmp_path / "exploded", tmp_path / "latest_net_G.pt"
    torch.save({"weights": Bomb(fuse)}, path)
    code, _, err = run_cli(verb, path, "--device", "cpu")
    assert code == 3
    line = kit.only_error(err)
    assert "latest_net_G.pt" in line
    assert "run folder" in line
    assert not fuse.exists()


def test_checkpoint_of_other_settings_is_refused(run_cli, kit, run):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("ngf: 4", "ngf: 8"))
    code, _, err = run_cli("translate", run, "--device", "cpu")
    assert code == 3
    assert "does not fit" in kit.only_error(err)


@pytest.mark.parametrize("missing", ["checkpoints", "config.yaml"])
def test_run_that_lacks_a_part_is_named(run_cli, kit, run, missing):
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, _, err = run_cli("translate", run, "--device", "cpu")
    assert code == 3
    assert str(run) in kit.only_error(err)


# ------------------------------------------------------------------------------------------- disk


def test_full_disk_while_saving_is_one_message_and_keeps_the_last_checkpoint(
    run_cli, kit, photos, tmp_path, monkeypatch
):
    real, calls = udit_bench.checkpoint.save_file, []

    def full_at_second(tensors, path):
        calls.append(path)
        if len(calls) > 1:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(udit_bench.checkpoint, "save_file", full_at_second)
        code, _, err = train_own(run_cli, kit, photos, tmp_path / "runs", "--save-every", "2")
    assert code == 1
    assert "no space left" in kit.only_error(err)
    run = tmp_path / "runs/shp2gir_tiny/cyclegan_seg/seed0"
    assert kit.tree(run) == [
        "checkpoints/last/state.json",
        "checkpoints/last/tensors.safetensors",
        "config.yaml",
        "log.jsonl",
        "run.json",
    ]
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last"]
    info = json.loads((run / "run.json").read_text())
    assert info["state"] == "failed"
    assert "no space left" in info["error"]
    code, _, err = train_own(
        run_cli, kit, photos, tmp_path / "runs", "--save-every", "2", "--resume"
    )
    assert code == 0, err


def test_full_disk_at_the_first_checkpoint_leaves_none(run_cli, kit, photos, tmp_path, monkeypatch):
    def full(tensors, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(udit_bench.checkpoint, "save_file", full)
    code, _, err = train_own(run_cli, kit, photos, tmp_path / "runs")
    assert code == 1
    assert "no space left" in kit.only_error(err)
    run = tmp_path / "runs/shp2gir_tiny/cyclegan_seg/seed0"
    assert list((run / "checkpoints").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few hundred KiB; skips where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("no right to mount a small file system here")
    words = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("no small file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


def test_really_full_disk_is_one_message(run_cli, kit, photos, small_disk):
    code, _, err = train_own(run_cli, kit, photos, small_disk / "runs")
    assert code == 1
    assert "no space left" in kit.only_error(err)
    assert not [name for name in kit.tree(small_disk) if name.endswith(".tmp")]


def test_full_disk_while_translating_leaves_no_folder(run_cli, kit, run, tmp_path, monkeypatch):
    real, calls = pathlib.Path.write_bytes, []

    def full_later(self, data):
        calls.append(self)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(pathlib.Path, "write_bytes", full_later)
    code, _, err = run_cli("translate", run, "--out", tmp_path / "made", "--device", "cpu")
    assert code == 1
    assert "no space left" in kit.only_error(err)
    assert kit.tree(tmp_path / "made") == []
    assert list((tmp_path / "made").iterdir()) == []


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A folder below which nothing may be created; modes would not stop root."""
    place = tmp_path / "closed"
    place.mkdir()
    real = pathlib.Path.mkdir

    def mkdir(self, mode=0o777, parents=False, exist_ok=False):
        if place in self.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return real(self, mode, parents, exist_ok)

    monkeypatch.setattr(pathlib.Path, "mkdir", mkdir)
    return place


@pytest.fixture(params=["closed folder", "below a file"])
def unwritable(request, tmp_path):
    if request.param == "closed folder":
        return request.getfixturevalue("closed"), "no permission to write"
    path = tmp_path / "regular"
    path.write_text("a file")
    return path, "cannot write"


@pytest.mark.parametrize("verb", ["train", "translate", "eval", "preview", "table", "detector"])
def test_place_that_cannot_be_written_is_one_message(
    run_cli, kit, photos, finished, judge, unwritable, tmp_path, verb
):
    place, said = unwritable
    if verb == "table":
        words = ("eval", finished, "--detector-weights", judge, "--results", tmp_path / "results")
        assert run_cli(*words, "--device", "cpu")[0] == 0
    words = {
        "train": kit.train_arguments(photos, "--epochs", "1", "--runs", place / "runs"),
        "translate": ("translate", finished, "--out", place / "made", "--device", "cpu"),
        "eval": (
            "eval", finished, "--detector-weights", judge, "--results", place / "results",
            "--device", "cpu",
        ),
        "preview": ("data", "preview", photos, "--out", place / "made/sheet.png"),
        "table": ("table", "--results", tmp_path / "results", "--out", place / "made/table.tex"),
        "detector": (
            "detector", "train", "--data", photos, "--out", place / "made/judge.safetensors",
            "--iterations", "1", "--device", "cpu",
        ),
    }[verb]  # fmt: skip
    code, _, err = run_cli(*words)
    assert code == 1
    line = kit.only_error(err)
    assert said in line
    assert str(place) in line
    assert place.is_file() or list(place.iterdir()) == []


# ------------------------------------------------------------------------------------------- bugs


def test_a_bug_keeps_its_traceback(monkeypatch):
    import udit_bench.cli.listing as listing

    def broken(rows, as_json):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(listing, "_print", broken)
    with pytest.raises(ZeroDivisionError):
        main(["methods"])
