"""Figures: what is drawn, in which order, and that both files are written."""

import json

import numpy as np
import pytest
from PIL import Image

from udit_bench.errors import DataError
from udit_bench.report.figures import (
    grid_figure,
    loss_figure,
    metric_figure,
    save_figure,
    scaling_figure,
)
from udit_bench.report.page_curves import read_bench


def picture(value, side=8):
    return np.full((side, side, 3), value, dtype=np.uint8)


def texts(figure):
    return {text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))} - {""}


def test_grid_places_pictures_by_row_and_column():
    rows = [[picture(10), None], [picture(20), picture(30)]]
    figure = grid_figure(rows, ["source", "Mine (v2)"], [("A to B", 1), ("B to A", 1)])
    shown = [[image.get_array()[0, 0, 0] for image in axes.images] for axes in figure.axes]
    assert shown == [[10], [], [20], [30]]
    assert {"source", "Mine\n(v2)", "A to B", "B to A"} <= texts(figure)


def test_both_files_are_written_and_can_be_read(tmp_path):
    figure = grid_figure([[picture(200)]], ["source"], [("A to B", 1)])
    paths = save_figure(figure, tmp_path / "my.figure")
    assert [path.name for path in paths] == ["my.figure.pdf", "my.figure.png"]
    assert paths[0].read_bytes().startswith(b"%PDF")
    assert np.asarray(Image.open(paths[1]).convert("RGB")).min() < 250
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.figure.pdf", "my.figure.png"]


def test_pdfs_of_equal_figures_are_equal(tmp_path):
    pair = [
        save_figure(grid_figure([[picture(9)]], ["a"], [("x", 1)]), tmp_path / str(k))[0]
        for k in range(2)
    ]
    assert pair[0].read_bytes() == pair[1].read_bytes()


RUN = {
    "title": "Mine",
    "seed": 3,
    "phases": [
        {"name": "first", "steps": [1, 2], "losses": {"adv": [1.0, 0.5], "pc": [2.0, 1.0]}},
        {"name": "second", "steps": [3, 4], "losses": {"adv": [0.5, 0.4], "old": [7.0, None]}},
    ],
}


def test_losses_have_a_panel_per_phase():
    figure = loss_figure([RUN])
    first, second = figure.axes
    assert first.get_title() == "Mine, seed 3: first"
    assert [line.get_label() for line in second.lines] == ["adv"]  # `old` is no line
    assert second.lines[0].get_ydata().tolist() == [0.5, 0.4]


def test_only_the_asked_losses_are_drawn():
    figure = loss_figure([RUN], ["adv"])
    assert [line.get_label() for axes in figure.axes for line in axes.lines] == ["adv", "adv"]
    with pytest.raises(DataError, match="they hold adv, pc"):
        loss_figure([RUN], ["absent"])


def point(title, seconds, value, side=("farm", "AtoB"), metric="mmr"):
    return {"title": title, "seconds": seconds, "value": value, "side": side, "metric": metric}


def test_a_metric_has_a_panel_per_direction_and_a_point_per_seed():
    points = [
        point("Mine", 60, 50), point("Mine", 120, 70), point("Theirs", 90, 40),
        point("Mine", 60, 20, ("farm", "BtoA")), point("Mine", 60, 1, metric="mods"),
    ]  # fmt: skip
    figure = metric_figure(points, "mmr", "MMR", "%", {("farm", "AtoB"): "sheep to giraffe"})
    left, right = figure.axes
    assert left.get_title() == "sheep to giraffe"
    assert [(x.get_xdata().tolist(), x.get_ydata().tolist()) for x in left.lines] == [
        ([1.0, 2.0], [50, 70]), ([1.5], [40]),
    ]  # fmt: skip
    assert right.lines[0].get_ydata().tolist() == [20]
    assert left.get_ylabel() == "MMR (%)"
    with pytest.raises(DataError, match="recorded: mmr, mods"):
        metric_figure(points, "kid", "KID", "", {})


def test_scaling_draws_what_bench_measured(tmp_path):
    costs = [
        {"method": "theirs", "phase": phase, "instances": n, "seconds": n * 0.5,
         "peak_memory_mib": 100.0}
        for phase in ("a", "b") for n in (1, 4)
    ]  # fmt: skip
    document = {
        "what": "train", "options": {"preset": "quick", "threads": 1},
        "hardware": {"processor": "a processor"}, "costs": costs,
    }  # fmt: skip
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document))
    figure = scaling_figure([read_bench(path)])
    seconds, memory = figure.axes
    assert [line.get_ydata().tolist() for line in seconds.lines] == [[0.5, 2.0]] * 2
    assert memory.lines[0].get_ydata().tolist() == [100.0, 100.0]
    assert any("a processor" in text for text in texts(figure))
