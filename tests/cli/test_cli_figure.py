"""``udit-bench figure``: files written, options heard, mistakes named."""

import numpy as np
import pytest
from PIL import Image

from udit_bench.report.figure_grid import grid_rows
from udit_bench.runs import RunDirectory


@pytest.mark.parametrize("more", [(), ("--outlines",), ("--image", "s3", "--image", "s4")])
def test_the_grid_is_written_twice(run_cli, finished, tmp_path, more):
    out = tmp_path / "fig" / "grid"
    out.parent.mkdir()
    code, said, err = run_cli("figure", "grid", finished, "--out", out, *more)
    assert code == 0, err
    assert sorted(p.name for p in out.parent.iterdir()) == ["grid.pdf", "grid.png"]
    assert str(out) in said
    assert Image.open(out.with_suffix(".png")).width > 200


def test_translations_are_shown_as_they_are_unless_outlines_are_asked_for(finished):
    run = RunDirectory(finished)
    plain, columns, blocks = grid_rows([run], count=2)
    assert columns[:2] == ["source", "instances"]
    assert [number for _, number in blocks] == [2, 2]
    saved = [np.asarray(Image.open(p)) for p in (finished / "translations").rglob("images/*.png")]
    for row in plain:
        assert any(np.array_equal(row[2], picture) for picture in saved)
    outlined, _, _ = grid_rows([run], count=2, outlines=True)
    for with_lines, without in zip(outlined, plain, strict=True):
        assert np.array_equal(with_lines[0], without[0])
        assert max(with_lines[2].shape) > max(without[2].shape)  # lines finer than a pixel


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("grid", "--image", "nothing"), "--image nothing"),
        (("grid", "--split", "nowhere"), "nowhere"),
        (("curves", "--metric", "MMR"), "RUN"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(run_cli, finished, kit, tmp_path, words, named):
    out = tmp_path / "figure"
    code, _, err = run_cli("figure", words[0], finished, *words[1:], "--out", out)
    assert code != 0
    assert named in kit.only_error(err)
    assert not list(tmp_path.glob("figure*"))


def test_curves_of_a_run_are_written(run_cli, finished, tmp_path):
    code, _, err = run_cli("figure", "curves", finished, "--out", tmp_path / "losses")
    assert code == 0, err
    assert (tmp_path / "losses.pdf").stat().st_size > 1000
