"""The report page as files: what is in it, what is left out, what is refused."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from udit_bench.cli.report import report_command
from udit_bench.errors import DataError, UsageError
from udit_bench.records import RECORDS_NAME, Value, read_records, write_records
from udit_bench.report import page as page_module
from udit_bench.report.page import PageOptions, embedded, write_page
from udit_bench.report.page_curves import POINTS, loss_runs, read_bench
from udit_bench.report.page_gallery import LONGEST, encode
from udit_bench.report.page_masks import outlines
from udit_bench.runs import RunDirectory, find_runs


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    made = make_world(tmp_path_factory.mktemp("world"))
    made.add_run(7, "instagan", seed=1)
    made.add_run(8, "mgdgan", ablation="no-reg")
    made.write()
    return made


@pytest.fixture
def options(world, tmp_path):
    return PageOptions(results=world.results, runs=world.runs, out=tmp_path / "page")


@pytest.fixture(scope="module")
def page(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "page"
    write_page(PageOptions(results=world.results, runs=world.runs, out=out))
    return out


@pytest.fixture
def own_results(world, tmp_path):
    """A copy of the results that a test may change."""
    return shutil.copytree(world.results, tmp_path / "results")


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --------------------------------------------------------------------------------- what is in it


def test_tables_facts_and_titles_are_in_the_page_as_text(page, evil_title):
    text = (page / "index.html").read_text()
    for said in ("Methods, protocol <em>retrieval</em>", "Ablations, protocol <em>strict</em>"):
        assert said in text
    assert text.count('<table data-origin="') >= 4
    facts = re.search(r'<dl class="facts">.*?</dl>', text, re.S)[0]
    for said in ("split test", "32 x 32", "fake", "6 images, 7 instances", "0123456789ab"):
        assert said in facts
    assert evil_title not in text
    assert "&lt;/script&gt;&lt;script&gt;window.evil=1" in text


def test_nothing_in_the_page_points_outside(page):
    text = (page / "index.html").read_text()
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in text
    assert "fetch(" not in text


def test_verdicts_and_columns_are_those_of_the_results(page, page_data, world, evil_title):
    data = page_data(page)
    assert data["protocols"] == ["retrieval", "strict"]
    names = [(column["title"], column["seed"], column["main"]) for column in data["columns"]]
    assert names == [
        ("cyclegan_seg nearest", None, True), ("cyclegan_seg components", None, True),
        ("instagan", 0, True), ("instagan", 1, False), ("mgdgan", None, True),
        ("mgdgan no-reg", None, False), (evil_title, None, True), ("Others", None, True),
    ]  # fmt: skip
    assert [side["direction"] for side in data["sides"]] == ["BtoA", "AtoB"]
    assert len(data["scenes"]) == 12
    numbers = [1, 2, 3, 7, 4, 8, 5, 6]
    for scene in data["scenes"]:
        ids = world.scenes(data["sides"][scene["side"]]["direction"]).ids
        place = ids.index(scene["id"])
        for protocol, held in scene["v"].items():
            assert len(held) == 8
            for column, lines in held.items():
                assert len(lines) == len(scene["k"])
                for k, (iou, score, reason) in enumerate(lines):
                    expected = world.verdict(numbers[int(column)], place, k, protocol)
                    assert (iou / 1000, score / 1000) == pytest.approx(expected[:2])
                    assert data["reasons"][reason] == expected[3]


def test_pictures_are_those_of_the_folders_to_the_pixel(page, page_data, world):
    data = page_data(page)
    assert len(list((page / "media").glob("*/*.webp"))) == 12 * 9
    for number, scene in enumerate(data["scenes"]):
        direction = data["sides"][scene["side"]]["direction"]
        original = world.scenes(direction)[world.scenes(direction).ids.index(scene["id"])]
        shown = np.array(Image.open(page / f"media/source/{number}.webp"))
        assert (shown == original.image).all()
        translated = np.array(Image.open(page / f"media/4/{number}.webp"))
        assert (translated[..., 0] == 80).all()
        assert (translated[..., 1:] == original.image[..., 1:]).all()


def test_masks_lie_in_scripts_by_scene_and_column(page, page_data):
    text = (page / "media/masks/0.js").read_text()
    chunk = json.loads(re.fullmatch(r"uditMasks\(0,(.*)\);\n", text, re.S)[1])
    scenes = page_data(page)["scenes"]
    assert len(chunk) == len(scenes)
    for held, scene in zip(chunk, scenes, strict=True):
        assert set(held) == {"source", *map(str, range(8))}
        assert all(len(shapes) == len(scene["k"]) for _, _, shapes in held.values())


def test_losses_and_points_are_those_of_runs_and_records(page, page_data):
    data = page_data(page)
    assert [(run["title"], run["seed"]) for run in data["losses"]] == [
        ("CycleGAN+seg", 0), ("InstaGAN", 0), ("InstaGAN", 1), ("MGD-GAN", 0),
        ("MGD-GAN (no-reg)", 0),
    ]  # fmt: skip
    phase = data["losses"][2]["phases"][0]
    assert phase["steps"] == list(range(1, 40, 2))
    assert phase["losses"]["cycle"] == [1.0] * 20
    assert len(data["points"]) == 6 * 2 * 2 * 3  # rows and seeds, directions, protocols, metrics
    one = next(p for p in data["points"] if p["title"] == "instagan" and p["seed"] == 1)
    assert one["seconds"] == 150.0
    assert {metric["name"]: metric["unit"] for metric in data["metrics"]}["mmr"] == "%"


def test_a_metric_nobody_knows_here_is_shown_by_its_name(world, own_results, options, page_data):
    records = [
        record.model_copy(update={"metrics": {**record.metrics, "<b>new": Value(value=1.5)}})
        for record in world.records
    ]
    write_records(own_results / RECORDS_NAME, records)
    write_page(replace(options, results=own_results))
    data = page_data(options.out)
    assert {"name": "<b>new", "title": "<b>new", "unit": "", "better": ""} in data["metrics"]
    assert "<b>new" not in (options.out / "index.html").read_text()


def test_only_what_was_asked_for(world, options, page_data):
    only = replace(
        options, protocols=("strict",), named=(world.runs / "shp2gir_tiny/instagan/seed1",)
    )
    write_page(only)
    data = page_data(options.out)
    assert data["protocols"] == ["strict"]
    titles = [column["title"] for column in data["columns"]]
    assert titles[0] == "instagan"
    assert len(titles) == 3  # the run and the two rows from outside
    assert [run["seed"] for run in data["losses"]] == [1]


def test_data_in_a_script_cannot_end_it():
    held = {"a": "</script><!-- & é", "b": [1, None]}
    text = embedded(held)
    assert not set("<>&") & set(text)
    assert json.loads(text) == held


# ------------------------------------------------------------------------------- what is left out


def test_a_run_that_is_gone_is_left_out_and_said(world, tmp_path, page_data):
    runs = shutil.copytree(world.runs, tmp_path / "runs")
    shutil.rmtree(runs / "shp2gir_tiny/instagan/seed1")
    words = ["--results", str(world.results), "--runs", str(runs), "--out", str(tmp_path / "page")]
    done = CliRunner().invoke(report_command, words)
    assert done.exit_code == 0, done.output
    assert "instagan (seed 1): no run folder" in done.stderr
    text = (tmp_path / "page/index.html").read_text()
    assert "instagan (seed 1): no run folder holds the translations" in text
    gone = next(
        index for index, column in enumerate(page_data(tmp_path / "page")["columns"])
        if column["seed"] == 1
    )  # fmt: skip
    assert all(gone not in side["columns"] for side in page_data(tmp_path / "page")["sides"])
    assert not (tmp_path / f"page/media/{gone}").exists()


def test_what_the_notes_and_facts_name_is_text(world, own_results, options, evil_title):
    evil = {"backend": "<i>fake", "architecture": "", "weights": "", "input_size": 0}
    changes = {"context": {"argv": ["--translations=gone"]}, "detector": evil}
    write_records(own_results / RECORDS_NAME, [r.model_copy(update=changes) for r in world.records])
    write_page(replace(options, results=own_results))
    text = (options.out / "index.html").read_text()
    assert "&lt;/script&gt;&lt;script&gt;window.evil=1&lt;/script&gt;: its folder" in text
    assert evil_title not in text
    assert "<dd>&lt;i&gt;fake" in text
    assert "<i>fake" not in text


def test_translations_of_another_state_are_not_shown_as_those_judged(world, options, tmp_path):
    runs = shutil.copytree(world.runs, tmp_path / "runs")
    stamp = runs / "shp2gir_tiny/mgdgan/seed0/translations/test-32x32/default/AtoB/translation.json"
    stamp.write_text(stamp.read_text().replace("40", "41"))
    gallery = write_page(replace(options, runs=runs))
    assert [note for note in gallery.notes if note.startswith("mgdgan (seed 0)")]
    assert [len(side["columns"]) for side in gallery.sides] == [8, 7]


def test_without_runs_tables_and_points_remain(world, own_results, options, tmp_path, page_data):
    records = [record for record in world.records if record.kind != "external"]
    write_records(own_results / RECORDS_NAME, records)
    gallery = write_page(replace(options, results=own_results, runs=tmp_path / "nowhere"))
    assert len(gallery.notes) == 5
    text = (options.out / "index.html").read_text()
    assert "There are no pictures to show" in text
    assert "no log of losses" in text
    assert text.count('<table data-origin="') >= 4
    assert page_data(options.out)["points"]


def test_without_instances_the_pictures_come_without_verdicts(own_results, options, page_data):
    (own_results / "instances.csv").unlink()
    gallery = write_page(replace(options, results=own_results))
    assert any("instances.csv" in note for note in gallery.notes)
    assert {str(scene["v"]) for scene in page_data(options.out)["scenes"]} == {"{}"}


def test_a_row_without_lines_of_instances_is_named(own_results, options):
    path = own_results / "instances.csv"
    lines = [line for line in path.read_text().splitlines() if ",Others," not in line]
    path.write_text("\n".join(lines))
    gallery = write_page(replace(options, results=own_results))
    assert gallery.notes == ["Others: instances.csv does not tell what became of its instances."]


def test_data_are_found_by_their_path_alone(world, options, own_results, tmp_path):
    records = [record for record in world.records if record.kind == "external"]
    write_records(own_results / RECORDS_NAME, records)
    only = replace(options, results=own_results, runs=tmp_path / "nowhere")
    gallery = write_page(only)
    assert len(gallery.notes) == 2
    assert all("nothing says where they lie (--data PATH)" in note for note in gallery.notes)
    gallery = write_page(replace(only, data=str(world.data)))
    assert (gallery.notes, len(gallery.scenes)) == ([], 12)


def test_scenes_that_changed_since_are_not_shown(make_world, tmp_path):
    world = make_world(tmp_path / "world", scenes=3)
    world.write()
    path = world.data / "testA/A001.png"
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    options = PageOptions(results=world.results, runs=world.runs, out=tmp_path / "page")
    gallery = write_page(options)
    assert any("sheep to giraffe" in n and "have changed" in n for n in gallery.notes)
    assert [side["direction"] for side in gallery.sides] == ["BtoA"]


# ---------------------------------------------------------------------------------- what is refused


def test_a_folder_that_is_no_report_is_left_alone(options):
    options.out.mkdir()
    (options.out / "index.html").write_text("mine")
    before = tree(options.out)
    with pytest.raises(UsageError, match=r"index\.html and is no report"):
        write_page(options)
    assert tree(options.out) == before


def test_a_report_with_something_of_mine_in_it_is_left_alone(page, options):
    shutil.copytree(page, options.out)
    (options.out / "notes.txt").write_text("mine")
    before = tree(options.out)
    with pytest.raises(UsageError, match=r"notes\.txt, which would be lost"):
        write_page(options)
    assert tree(options.out) == before


def test_a_file_is_no_folder(options):
    options.out.write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write_page(options)
    assert options.out.read_text() == "mine"


def test_an_older_report_is_replaced_whole(page, options):
    shutil.copytree(page, options.out)
    (options.out / "media/old.webp").write_bytes(b"old")
    write_page(options)
    assert set(tree(options.out)) == set(tree(page))
    assert [path.name for path in options.out.parent.glob(".*")] == []


def test_a_failure_in_between_leaves_the_older_report(page, options, monkeypatch):
    shutil.copytree(page, options.out)
    before = tree(options.out)

    def fail(*arguments):
        raise RuntimeError("in between")

    monkeypatch.setattr(page_module, "render", fail)
    with pytest.raises(RuntimeError, match="in between"):
        write_page(options)
    assert tree(options.out) == before
    assert [path.name for path in options.out.parent.iterdir()] == ["page"]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"protocols": ("strickt",)}, UsageError, "Did you mean 'strict'"),
        ({"split": "tset"}, UsageError, "tset"),
        ({"detector": "torchvision"}, UsageError, "fake"),
        ({"data": "pasture"}, UsageError, "shp2gir_tiny"),
    ],
)
def test_names_that_no_record_has(options, changes, error, said):
    with pytest.raises(error, match=re.escape(said)):
        write_page(replace(options, **changes))
    assert not options.out.exists()


def test_a_named_run_without_records_is_named(world, options, tmp_path):
    run = shutil.copytree(world.runs / "shp2gir_tiny/instagan/seed1", tmp_path / "seed9")
    config = (run / "config.yaml").read_text().replace("seed: 1", "seed: 9")
    (run / "config.yaml").write_text(config)
    with pytest.raises(DataError, match=r"udit-bench eval .*seed9"):
        write_page(replace(options, named=(run,)))
    with pytest.raises(DataError, match="not a run folder"):
        write_page(replace(options, named=(tmp_path,)))
    assert not options.out.exists()


def test_without_records_eval_is_named(options, tmp_path):
    with pytest.raises(DataError, match="udit-bench eval"):
        write_page(replace(options, results=tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / RECORDS_NAME).write_text("")
    with pytest.raises(DataError, match="udit-bench eval"):
        write_page(replace(options, results=tmp_path / "empty"))


def test_a_faulty_line_of_instances_is_named(own_results, options):
    path = own_results / "instances.csv"
    lines = path.read_text().splitlines()
    lines[4] = lines[4].replace(",0.9,", ",nine,")
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"instances\.csv:5"):
        write_page(replace(options, results=own_results))
    assert not options.out.exists()


# --------------------------------------------------------------------------------- curves and costs


BENCH = {
    "what": "train",
    "options": {"preset": "quick", "size": [32, 32], "threads": 1, "device": "cpu"},
    "hardware": {"processor": "A processor", "gpu": None},
    "costs": [
        {"method": "instagan", "phase": "train", "instances": 2, "seconds": 0.5,
         "peak_memory_mib": 700.0},
    ],
}  # fmt: skip


def test_a_bench_file_becomes_a_curve(options, tmp_path, page_data):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(BENCH))
    write_page(replace(options, bench=(path,)))
    assert page_data(options.out)["costs"] == [
        {
            "what": "train",
            "about": "A processor, 1 thread, preset quick, 32 x 32 pixels",
            "costs": [
                {"title": "InstaGAN", "phase": "train", "instances": 2, "seconds": 0.5,
                 "memory": 700.0}
            ],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", json.dumps({**BENCH, "costs": []}), json.dumps({**BENCH, "what": 1})[9:]],
)
def test_another_file_is_no_bench(options, tmp_path, text):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"train\.json.*bench train --json"):
        write_page(replace(options, bench=(path,)))
    assert not options.out.exists()
    with pytest.raises(DataError, match=r"cannot read .*none\.json"):
        read_bench(tmp_path / "none.json")


def run_with_log(world, folder, lines):
    run = RunDirectory(shutil.copytree(next(find_runs(world.runs)).path, folder))
    run.log.write_text("\n".join(lines))
    return run


def test_long_logs_are_averaged_in_pieces(world, tmp_path):
    lines = [
        json.dumps({"step": step, "phase": "p", "losses": {"a": step % 2, "b": float("nan")}})
        for step in range(4 * POINTS)
    ]
    (run,) = loss_runs([run_with_log(world, tmp_path / "run", lines)])
    phase = run["phases"][0]
    assert len(phase["steps"]) == POINTS
    assert phase["steps"][0] == 1.5
    assert phase["losses"]["a"] == [0.5] * POINTS
    assert phase["losses"]["b"] == [None] * POINTS


def test_half_a_line_at_the_end_of_a_log_is_left_out_and_one_before_is_named(world, tmp_path):
    good = json.dumps({"step": 1, "phase": "p", "losses": {"a": 1.0}})
    (run,) = loss_runs([run_with_log(world, tmp_path / "run", [good, good, good[:20]])])
    assert run["phases"][0]["losses"]["a"] == [1.0, 1.0]
    with pytest.raises(DataError, match=r"log\.jsonl:2"):
        loss_runs([run_with_log(world, tmp_path / "other", [good, good[:20], good])])
    with pytest.raises(DataError, match=r"log\.jsonl.*not a training log"):
        loss_runs([run_with_log(world, tmp_path / "third", ['{"step": 1}', good])])


# ------------------------------------------------------------------------------- masks, pictures


def filled(shape, size):
    """A path back to a mask of half pixels, by the rule even-odd."""
    canvas = np.zeros(size, np.uint8)
    for part in re.findall(r"M([^Mz]*)z", shape[0]):
        start, _, steps = part.partition("l")
        first = np.array(start.split(), int)
        moves = np.array(steps.split(), int).reshape(-1, 2)
        points = np.vstack([first, first + np.cumsum(moves, axis=0)])
        one = np.zeros(size, np.uint8)
        cv2.fillPoly(one, [points.astype(np.int32)], 1)
        if canvas.any():  # a hole: its outline belongs to the mask
            cv2.polylines(one, [points.astype(np.int32)], True, 0)
        canvas ^= one
    return canvas.astype(bool)


@pytest.mark.parametrize("side", [40, 640])
def test_outlines_keep_the_shape_and_its_hole(side):
    rows, columns = np.mgrid[:side, :side] / side
    far = np.hypot(rows - 0.45, columns - 0.55)
    mask = (far < 0.4) & (far > 0.15)
    width, height, (shape,) = outlines(mask[None])
    assert (width, height) == (2 * side - 1, 2 * side - 1)
    fine = mask.repeat(2, 0).repeat(2, 1)
    again = filled(shape, fine.shape)
    assert (fine & again).sum() / (fine | again).sum() > (0.999 if side == 40 else 0.97)
    assert fine[shape[2], shape[1]]
    assert len(shape[0]) < 1500


def test_outlines_of_nothing_and_of_one_pixel():
    masks = np.zeros((2, 8, 10), bool)
    masks[1, 3, 9] = True
    width, height, (none, dot) = outlines(masks)
    assert (width, height, none) == (19, 15, None)
    assert filled(dot, (16, 20)).sum() == 4
    assert outlines(np.zeros((0, 8, 10), bool))[2] == []


def test_large_pictures_are_reduced_and_small_ones_exact(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (64, 48, 3), dtype=np.uint8)
    (tmp_path / "a.webp").write_bytes(encode(small))
    assert (np.array(Image.open(tmp_path / "a.webp")) == small).all()
    (tmp_path / "b.webp").write_bytes(encode(np.zeros((1000, 500, 3), np.uint8)))
    assert Image.open(tmp_path / "b.webp").size == (LONGEST // 2, LONGEST)


# -------------------------------------------------------------------------------------- the command


def test_the_command_says_what_it_wrote(world, tmp_path):
    words = ["--results", str(world.results), "--runs", str(world.runs)]
    done = CliRunner().invoke(report_command, [*words, "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("page/index.html: 12 scenes, 96 translations\n")


def test_help_needs_no_torch():
    code = "import sys, udit_bench.cli.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_records_stay_as_they_are(world, options):
    before = (world.results / RECORDS_NAME).read_bytes()
    write_page(options)
    assert (world.results / RECORDS_NAME).read_bytes() == before
    assert len(read_records(world.results / RECORDS_NAME)) == len(world.records)
