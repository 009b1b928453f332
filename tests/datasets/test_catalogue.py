import numpy as np
import pytest

from udit_bench.datasets.catalogue import open_source
from udit_bench.datasets.coco_json import CocoFolder
from udit_bench.datasets.instagan_folder import InstaGANFolder
from udit_bench.datasets.pasture import Pasture
from udit_bench.errors import DataError, UsageError


def test_a_registered_name_takes_the_size():
    source = open_source("pasture", size=(96, 128))
    assert isinstance(source, Pasture)
    assert source.size == 128


def test_a_registered_name_wins_over_a_folder(tmp_path, make, monkeypatch):
    make.instagan(tmp_path / "pasture")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_source("pasture"), Pasture)
    assert isinstance(open_source("./pasture"), InstaGANFolder)


def test_folders_are_told_apart_by_what_is_in_them(tmp_path, make):
    one = open_source(str(make.instagan(tmp_path / "cat2dog")))
    two = open_source(str(make.coco(tmp_path / "photos")), size=(64, 64))
    assert isinstance(one, InstaGANFolder)
    assert isinstance(two, CocoFolder)
    assert (one.name, one.labels) == ("cat2dog", ("cat", "dog"))
    assert (two.name, two.labels) == ("photos", ("horse", "zebra"))
    assert two.scenes("test", "A")[0].size == (12, 16)


def test_the_name_of_the_folder_one_stands_in(tmp_path, make, monkeypatch):
    monkeypatch.chdir(make.instagan(tmp_path / "cat2dog"))
    assert open_source(".").name == "cat2dog"


def test_labels_are_for_folders(tmp_path, make):
    source = open_source(str(make.instagan(tmp_path / "x")), labels=("cat", "dog"))
    assert source.labels == ("cat", "dog")
    with pytest.raises(UsageError, match="own labels"):
        open_source("pasture", labels=("cat", "dog"))


def test_an_unknown_name_is_answered_with_the_list(tmp_path):
    with pytest.raises(UsageError, match=r"Did you mean 'pasture'.*Known:.*no folder"):
        open_source("pastrue")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="a file, not a folder"):
        open_source(str(tmp_path / "file"))


def test_folders_of_neither_form_say_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"is empty.*instances_trainA\.json.*trainA_seg"):
        open_source(str(tmp_path))
    (tmp_path / "trainA").mkdir()
    with pytest.raises(DataError, match=r"no data set of a known form.*trainB"):
        open_source(str(tmp_path))


def test_sets_are_sequences(tmp_path, make):
    scenes = open_source(str(make.instagan(tmp_path / "x"))).scenes("train", "A")
    assert [scene.id for scene in scenes] == list(scenes.ids) == ["one", "two"]
    assert scenes[-1].id == "two"
    assert [scene.id for scene in scenes[:1]] == ["one"]
    with pytest.raises(IndexError):
        scenes[2]
    np.testing.assert_array_equal(scenes[0].image, scenes[0].image)
