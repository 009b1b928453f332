import json

import numpy as np
import pytest
from click.testing import CliRunner

from udit_bench.cli.data import data_command as data
from udit_bench.datasets.base import SceneSet, SceneSource
from udit_bench.datasets.catalogue import open_source
from udit_bench.datasets.check import check_source, inspect_source
from udit_bench.errors import DataError
from udit_bench.scene import Scene


@pytest.fixture
def instagan(tmp_path, make):
    return make.instagan(tmp_path / "cat2dog")


@pytest.fixture
def coco(tmp_path, make):
    return make.coco(tmp_path / "photos")


def one_line(problems, *words):
    """Exactly one of the lines has all the words."""
    hits = [line for line in problems if all(word in line for word in words)]
    assert len(hits) == 1, problems
    return hits[0]


def test_sound_folders_have_no_problem(instagan, coco):
    for root in (instagan, coco):
        assert check_source(root) == check_source(str(root)) == []
        assert check_source(open_source(str(root))) == []


def test_counts(instagan, coco):
    for root in (instagan, coco):
        counts = inspect_source(root).counts
        assert list(counts) == [(s, d) for s in ("train", "test") for d in "AB"]
        assert all((tally.pictures, tally.instances) == (2, 2) for tally in counts.values())


def test_empty_missing_and_foreign_folders(tmp_path):
    one_line(check_source(tmp_path), "is empty")
    one_line(check_source(tmp_path / "nowhere"), "no such folder")
    (tmp_path / "file.txt").touch()
    one_line(check_source(tmp_path), "known form")


def test_every_problem_of_an_instagan_folder_is_named_at_once(instagan, make):
    masks = instagan / "trainA_seg"
    (instagan / "trainA" / "one.png").write_text("no picture")
    (masks / "one_0.png").write_text("no mask")
    make.save(masks / "two_0.png", make.box(0, 0, 4, 4, height=5, width=6))
    make.save(masks / "two_1.png", np.full((12, 16), 100, dtype=np.uint8))
    make.save(masks / "nobody_0.png", make.box(0, 0, 4, 4))
    make.save(masks / "unnumbered.png", make.box(0, 0, 4, 4))
    make.save(instagan / "trainB" / "one.jpg", make.picture(seed=77))
    make.save(instagan / "trainB_seg" / "one_7.png", make.box(1, 1, 5, 5))
    for path in (instagan / "testA_seg").iterdir():
        path.unlink()
    (instagan / "valA").mkdir()
    (instagan / "labels.json").write_text("[]")
    problems = check_source(instagan)
    one_line(problems, "trainA/one.png", "not a readable picture")
    one_line(problems, "one_0.png", "not a readable picture")
    one_line(problems, "two_0.png", "6 x 5", "16 x 12")
    one_line(problems, "two_1.png", "black and white")
    one_line(problems, "nobody_0.png", "no picture 'nobody'")
    one_line(problems, "unnumbered.png", "ID_k")
    one_line(problems, "one.png", "same id")
    one_line(problems, "one_7.png", "same mask as one_0.png")
    one_line(problems, "test A", "no instance")
    one_line(problems, "valB", "other domain")
    one_line(problems, "valA", "no picture")
    one_line(problems, "valA_seg", "missing")
    one_line(problems, "labels.json")
    assert len(problems) == 13


def test_every_problem_of_a_coco_folder_is_named_at_once(coco, make):
    def spoil(content):
        content["annotations"][0]["image_id"] = 88
        content["annotations"][2]["segmentation"]["size"] = [3, 4]
        content["annotations"].append({**content["annotations"][0], "id": 4, "image_id": 7})
        content["annotations"].append({**content["annotations"][0], "id": 5, "image_id": 7})

    make.edit_coco(coco, "trainA", spoil)
    make.edit_coco(coco, "trainB", lambda c: c.update(annotations=[]))
    (coco / "annotations" / "instances_testA.json").write_text("{")
    (coco / "images" / "trainA" / "one.png").unlink()
    (coco / "images" / "trainA" / "two.png").write_text("no picture")
    make.save(coco / "images" / "testB" / "one.png", make.picture(5, 6))
    make.edit_coco(coco, "testB", lambda c: c["categories"][0].update(name="okapi"))
    problems = check_source(coco)
    one_line(problems, "annotation 1", "unknown picture 88")
    one_line(problems, "annotation 3", "4 x 3")
    one_line(problems, "annotation 5", "same mask as annotation 4")
    one_line(problems, "one.png", "missing")
    one_line(problems, "two.png", "not a readable picture")
    one_line(problems, "train B", "no instance")
    one_line(problems, "instances_testA.json", "JSON")
    one_line(problems, "testB/one.png", "6 x 5", "16 x 12")
    assert len(problems) == 8


def test_a_missing_half_of_a_split_is_named(coco):
    (coco / "annotations" / "instances_testB.json").unlink()
    one_line(check_source(coco), "instances_testB.json", "missing")


def test_soft_edges_and_overlaps_are_fine(instagan, make):
    soft = make.box(1, 1, 9, 9).astype(np.uint8) * 255
    soft[1, 1:9], soft[9, 1:9] = 100, 40
    make.save(instagan / "trainA_seg" / "one_5.png", soft)
    make.save(instagan / "trainA_seg" / "one_6.png", make.box(0, 0, 0, 0))
    assert check_source(instagan) == []


def test_a_picture_that_is_there_twice_is_a_note(instagan, make):
    make.save(instagan / "trainA" / "copy.png", make.picture(seed=0))
    findings = inspect_source(instagan)
    assert findings.problems == []
    one_line(findings.notes, "same picture as copy.png")


class BrokenScenes(SceneSet):
    ids = ("a", "a", "b")

    def load(self, index):
        if index == 1:
            raise DataError("a: it is broken")
        return Scene(np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4), bool), "x", "a")

    def fingerprint(self):
        return ""


class Broken(SceneSource):
    name, labels, splits = "broken", ("x", "y"), ("train",)

    def scenes(self, split, domain):
        return BrokenScenes()


def test_any_source_can_be_checked():
    problems = check_source(Broken())
    assert problems.count("a: it is broken") == 2
    assert sum("share an id" in line for line in problems) == 2
    assert sum("no instance" in line for line in problems) == 2


def test_the_command_prints_ok_or_problems(instagan, make):
    done = CliRunner().invoke(data, ["check", str(instagan)])
    assert done.exit_code == 0
    assert done.output.startswith("ok: ")
    assert "train A: 2 pictures, 2 instances" in done.output
    make.save(instagan / "trainA_seg" / "nobody_0.png", make.box(0, 0, 4, 4))
    done = CliRunner().invoke(data, ["check", str(instagan)])
    assert done.exit_code == 3
    assert done.output.count("\n") == 1
    done = CliRunner().invoke(data, ["check", "--json", str(instagan)])
    told = json.loads(done.output)
    assert (done.exit_code, told["ok"], len(told["problems"])) == (3, False, 1)
    assert told["counts"]["test"]["B"] == {"pictures": 2, "instances": 2}


def test_the_command_lists_names():
    done = CliRunner().invoke(data, ["list"])
    assert done.exit_code == 0
    assert done.output.startswith("pasture  procedural")
    told = json.loads(CliRunner().invoke(data, ["list", "--json"]).output)
    assert told[0]["name"] == "pasture"


def test_the_command_draws_a_sheet(instagan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(data, ["preview", str(instagan)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "preview-cat2dog.png").stat().st_size > 1000
    out = tmp_path / "new" / "sheet.png"
    options = ["--out", str(out), "--split", "train", "--count", "1", "--size", "32"]
    assert CliRunner().invoke(data, ["preview", str(instagan), *options]).exit_code == 0
    assert out.exists()
    done = CliRunner().invoke(data, ["preview", str(instagan), "--split", "judge"])
    assert isinstance(done.exception, DataError)


@pytest.mark.parametrize(
    "name", ["instagan_layout/shp2gir_coco", "instagan_layout/pants2skirt_mhp"]
)
def test_real_folders_are_sound(real_data, name):
    assert check_source(real_data(name)) == []


def test_real_photos_are_sound(real_data):
    findings = inspect_source(real_data("horse2zebra"))
    assert findings.problems == []
    told = {key: (tally.pictures, tally.instances) for key, tally in findings.counts.items()}
    assert told["train", "A"] == (425, 981)
    assert told["test", "B"] == (138, 217)
