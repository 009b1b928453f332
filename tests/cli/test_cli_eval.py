"""``eval``, ``table``, ``translate``: from a run, or somebody's folder, to records and tables."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from udit_bench.judging import without_place

FILES = [
    "instances.csv", "records.jsonl",
    "table1-retrieval.csv", "table1-retrieval.md", "table1-retrieval.tex",
    "table1-strict.csv", "table1-strict.md", "table1-strict.tex",
]  # fmt: skip
ROWS = [
    ("bound", "real", ""),
    ("bound", "source_copy", ""),
    ("method", "cyclegan_seg", "components"),
    ("method", "cyclegan_seg", "nearest"),
]


@pytest.fixture(scope="module")
def judged(run_cli, finished, judge, tmp_path_factory):
    """The results of judging the tiny run with the tiny detector, and what was printed."""
    results = tmp_path_factory.mktemp("judged") / "results"
    code, out, err = run_cli(
        "eval", finished, "--split", "test", "--detector-weights", judge, "--results", results,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    return results, out


MEASURED = {"mmr", "mods", "mvis", "residual", "bg_psnr", "bg_ssim", "bg_l1"}


def identity(record):
    return record["kind"], record["row"], record["variant"]


def test_eval_writes_records_of_every_row_direction_and_protocol(judged, read_lines, kit):
    results, _ = judged
    assert kit.tree(results) == FILES
    records = read_lines(results / "records.jsonl")
    found = sorted((*identity(r), r["direction"], r["protocol"]["name"]) for r in records)
    assert found == sorted(
        (*row, direction, protocol)
        for row in ROWS
        for direction in ("AtoB", "BtoA")
        for protocol in ("retrieval", "strict")
    )
    for record in records:
        sides = ("sheep", "giraffe") if record["direction"] == "AtoB" else ("giraffe", "sheep")
        assert (record["source"], record["target"]) == sides
        assert (record["dataset"], record["split"]) == ("shp2gir_tiny", "test")
        assert record["size"] == [32, 32]
        assert record["images"] == 6
        assert record["instances"] == 7
        assert set(record["metrics"]) == MEASURED
        assert record["detector"]["backend"] == "torchvision"
        assert record["seed"] == (0 if record["kind"] == "method" else None)


def test_eval_prints_a_table_with_the_bounds_and_both_rows_of_the_method(judged):
    _, out = judged
    for name in ("real", "source copy", "nearest source", "components"):
        assert name in out


def test_instances_csv_gives_every_instance_with_the_reason_of_a_miss(judged, photos, kit):
    results, _ = judged
    with open(results / "instances.csv", newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == len(ROWS) * 2 * 2 * 7  # rows x directions x protocols x instances
    expected = sorted(
        (scene, str(k)) for scene, ks in kit.masks_in(photos, "testA").items() for k in ks
    )
    nearest = [
        line
        for line in lines
        if (line["variant"], line["direction"], line["protocol"]) == ("nearest", "AtoB", "strict")
    ]
    assert sorted((line["image"], line["instance"]) for line in nearest) == expected
    for line in lines:
        assert 0 <= float(line["iou"]) <= 1
        assert (line["matched"] == "1") == (line["reason"] == "")


@pytest.fixture(scope="module")
def judged_by_file(run_cli, finished, judged, tmp_path_factory):
    """Results with figures of all sizes: some masks found, some in part, some never."""
    folder = tmp_path_factory.mktemp("by_file")
    detections = perfect_detections(finished / "translations/test-32x32/nearest")
    for number, entry in enumerate(detections):
        mask = coco_mask.decode(entry["segmentation"])
        mask[number % 3 :: 7] = 0
        rle = coco_mask.encode(np.asfortranarray(mask))
        entry["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
        entry["score"] = 0.55 + 0.03 * number
    del detections[::4]
    (folder / "found.json").write_text(json.dumps(detections))
    code, _, err = run_cli(
        "eval", finished, "--detections", folder / "found.json", "--results", folder / "results",
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    return folder / "results"


@pytest.mark.parametrize("protocol", ["retrieval", "strict"])
def test_latex_and_csv_hold_the_same_figures(judged_by_file, protocol):
    results = judged_by_file
    with open(results / f"table1-{protocol}.csv", newline="") as handle:
        lines = list(csv.DictReader(handle))
    cells = {}
    for line in lines:
        for metric in ("mmr", "mods", "mvis"):
            text = f"{round(float(line[metric]), 1):.1f}" if line[metric] else "--"
            cells.setdefault((line["title"], metric), {})[line["direction"]] = text
    latex = re.sub(r"\\textbf\{([^}]*)\}", r"\1", (results / f"table1-{protocol}.tex").read_text())
    found = 0
    for row in latex.splitlines():
        title, *values = [part.strip() for part in row.removesuffix(r"\\").split("&")]
        for metric, value in zip(("mmr", "mods", "mvis"), values, strict=False):
            if (title, metric) in cells:
                both = cells[title, metric]
                assert value == f"{both['BtoA']}/{both['AtoB']}", (title, metric)
                found += 1
    assert found == 2 * 3  # both rows of the method
    values = {text for both in cells.values() for text in both.values()}
    assert len(values - {"0.0", "100.0", "--"}) >= 4, "the figures are too plain to compare"


def test_tables_and_records_hold_the_same_figures(judged_by_file, read_lines):
    results = judged_by_file
    with open(results / "table1-strict.csv", newline="") as handle:
        lines = {
            (line["kind"], line["row"], line["variant"], line["direction"]): line
            for line in csv.DictReader(handle)
        }
    for record in read_lines(results / "records.jsonl"):
        if record["protocol"]["name"] == "strict":
            line = lines[(*identity(record), record["direction"])]
            for metric, value in record["metrics"].items():
                if value["value"] is None:
                    assert line[metric] == ""
                else:
                    assert float(line[metric]) == pytest.approx(value["value"], abs=1e-6)


def test_eval_twice_replaces_records_and_instances(run_cli, judged, finished, judge, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(judged[0], results)
    with open(results / "instances.csv") as handle:
        count = len(handle.readlines())
    code, out, err = run_cli(
        "eval", finished, "--detector-weights", judge, "--results", results, "--json",
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert len((results / "records.jsonl").read_text().splitlines()) == 16
    assert len((results / "instances.csv").read_text().splitlines()) == count
    printed = [json.loads(line) for line in out.splitlines()]
    assert len(printed) == 16
    assert "translating" not in err  # they were there already


def test_eval_without_runs_names_the_train_command(run_cli, kit, tmp_path):
    code, _, err = run_cli("eval", "--split", "test", "--device", "cpu")
    assert code == 3
    assert "udit-bench train --method" in kit.only_error(err)
    assert kit.tree(tmp_path) == []


def test_eval_finds_finished_runs_and_says_which_it_leaves_out(
    run_cli, finished, judge, tmp_path, read_lines
):
    runs, results = tmp_path / "runs", tmp_path / "results"
    shutil.copytree(finished, runs / "shp2gir_tiny/cyclegan_seg/seed0")
    half = runs / "shp2gir_tiny/cyclegan_seg/seed1"
    shutil.copytree(finished, half)
    info = json.loads((half / "run.json").read_text())
    (half / "run.json").write_text(json.dumps({**info, "state": "interrupted"}))
    code, _, err = run_cli(
        "eval", "--runs", runs, "--results", results, "--detector-weights", judge, "--device", "cpu"
    )
    assert code == 0, err
    assert f"left out: {half} is interrupted" in err
    records = read_lines(results / "records.jsonl")
    assert {r["seed"] for r in records if r["kind"] == "method"} == {0}


def test_detector_that_does_not_know_the_class_is_refused(
    run_cli, kit, finished, stranger, tmp_path
):
    results = tmp_path / "results"
    code, _, err = run_cli(
        "eval", finished, "--detector-weights", stranger, "--results", results, "--device", "cpu"
    )
    assert code == 3
    line = kit.only_error(err)
    assert "'sheep'" in line
    assert "detector train" in line
    assert not results.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--detector", "torchvison"), "Did you mean 'torchvision'?"),
        (("--detector", "file"), "--detections"),
        (("--name", "x"), "--translations"),
        (("--translations", "."), "--translations"),
        (("--detections", "x.json", "--detector", "torchvision"), "--detector"),
        (("--size", "8"), "32"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(
    run_cli, kit, finished, tmp_path, words, expected
):
    results = tmp_path / "results"
    code, _, err = run_cli("eval", finished, *words, "--results", results, "--device", "cpu")
    assert code == 2
    assert expected in kit.only_error(err)
    assert not results.exists()


def test_detections_need_a_run(run_cli, kit):
    code, _, err = run_cli("eval", "--detections", "x.json", "--device", "cpu")
    assert code == 2
    assert "RUN" in kit.only_error(err)


# ------------------------------------------------------------------------- somebody else's folder


@pytest.fixture
def theirs(kit, photos, tmp_path):
    """One direction by hand: test scenes of A with bright boxes; the mask ``s2_1`` is missing."""
    folder = tmp_path / "theirs"
    for scene, numbers in kit.masks_in(photos, "testA").items():
        image = np.array(Image.open(photos / "testA" / f"{scene}.png"))
        kit.save_picture(folder / "AtoB/images" / f"{scene}.png", 255 - image)
        (folder / "AtoB/masks").mkdir(exist_ok=True)
        for k in numbers:
            mask = Image.open(photos / "testA_seg" / f"{scene}_{k}.png")
            mask.save(folder / "AtoB/masks" / f"{scene}_{k}.png")
    (folder / "AtoB/masks/s2_1.png").unlink()
    return folder


def judge_theirs(run_cli, photos, theirs, results, *more):
    return run_cli(
        "eval", "--translations", theirs, "--name", "Their method", "--data", photos,
        "--results", results, "--device", "cpu", *more,
    )  # fmt: skip


def test_folder_made_by_hand_is_judged_with_a_missing_mask_as_a_miss(
    run_cli, photos, theirs, judge, read_lines, tmp_path
):
    results = tmp_path / "results"
    code, out, err = judge_theirs(run_cli, photos, theirs, results, "--detector-weights", judge)
    assert code == 0, err
    assert "Their method" in out
    records = read_lines(results / "records.jsonl")
    own = [r for r in records if r["kind"] == "external"]
    assert {(r["direction"], r["row"]) for r in own} == {("AtoB", "Their method")}
    assert {r["instances"] for r in own} == {7}
    assert {r["row"] for r in records if r["kind"] == "bound"} == {"real", "source_copy"}
    with open(results / "instances.csv", newline="") as handle:
        (lost,) = [
            line
            for line in csv.DictReader(handle)
            if (line["row"], line["image"], line["instance"]) == ("Their method", "s2", "1")
            and line["protocol"] == "strict"
        ]
    assert lost["matched"] == "0"
    assert lost["reason"] != ""


def test_translations_need_a_name(run_cli, kit, theirs, photos):
    code, _, err = run_cli("eval", "--translations", theirs, "--data", photos)
    assert code == 2
    assert "--name" in kit.only_error(err)


def test_missing_translated_picture_is_named(run_cli, kit, photos, theirs, judge, tmp_path):
    (theirs / "AtoB/images/s3.png").unlink()
    results = tmp_path / "results"
    code, _, err = judge_theirs(run_cli, photos, theirs, results, "--detector-weights", judge)
    assert code == 3
    line = kit.only_error(err)
    assert "AtoB/images/s3.png" in line
    assert not results.exists()


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("s1_7.png", (32, 32), "no instance 7"),
        ("nobody_0.png", (32, 32), "no source scene"),
        ("s1.png", (32, 32), "ID_k.png"),
        ("s1_0.png", (16, 16), "16 x 16"),
    ],
)
def test_faulty_mask_of_a_folder_is_named(
    run_cli, kit, photos, theirs, judge, tmp_path, name, shape, said
):
    kit.save_picture(theirs / "AtoB/masks" / name, np.ones(shape, dtype=bool))
    results = tmp_path / "results"
    code, _, err = judge_theirs(run_cli, photos, theirs, results, "--detector-weights", judge)
    assert code == 3
    line = kit.only_error(err)
    assert f"AtoB/masks/{name}" in line
    assert said in line
    assert not results.exists()


@pytest.mark.parametrize("made", [(), ("AtoB",), ("elsewhere/images",)])
def test_folder_without_translations_is_refused(run_cli, kit, photos, tmp_path, made):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in made:
        (folder / name).mkdir(parents=True)
    code, _, err = judge_theirs(run_cli, photos, folder, tmp_path / "results")
    assert code == 3
    assert "AtoB" in kit.only_error(err)


def test_absent_folder_of_translations_is_bad_data(run_cli, kit, photos, tmp_path):
    code, _, err = judge_theirs(run_cli, photos, tmp_path / "absent", tmp_path / "results")
    assert code == 3
    assert "absent" in kit.only_error(err)


# ------------------------------------------------------------------------------- detections files


def perfect_detections(folder, directions=("AtoB", "BtoA")):
    """A COCO-results json, by pycocotools, that finds every mask of ``folder`` exactly."""
    found = []
    for direction in directions:
        reference = json.loads((folder / direction / "coco.json").read_text())
        category = reference["categories"][0]["id"]
        ids = {
            image["file_name"].removesuffix(".png"): image["id"] for image in reference["images"]
        }
        for path in sorted((folder / direction / "masks").glob("*.png")):
            mask = (np.array(Image.open(path)) > 127).astype(np.uint8)
            if not mask.any():
                continue
            rle = coco_mask.encode(np.asfortranarray(mask))
            found.append(
                {
                    "image_id": ids[path.stem.rpartition("_")[0]],
                    "category_id": category,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "score": 0.9,
                }
            )
    return found


def test_detections_file_judges_one_run(run_cli, photos, finished, judged, tmp_path, read_lines):
    results, detections = tmp_path / "results", tmp_path / "found.json"
    folder = finished / "translations/test-32x32/nearest"
    detections.write_text(json.dumps(perfect_detections(folder)))
    code, _, err = run_cli(
        "eval", finished, "--detections", detections, "--results", results, "--device", "cpu"
    )
    assert code == 0, err
    records = read_lines(results / "records.jsonl")
    assert {r["detector"]["backend"] for r in records} == {"file"}
    assert {r["kind"] for r in records} == {"method"}
    assert len(records) == 2 * 2 * 2  # variants x directions x protocols
    with open(results / "instances.csv", newline="") as handle:
        lines = [r for r in csv.DictReader(handle) if r["variant"] == "nearest"]
    for line in lines:
        path = folder / line["direction"] / "masks" / f"{line['image']}_{line['instance']}.png"
        drawn = np.array(Image.open(path)).any()
        assert line["matched"] == str(int(drawn)), line


@pytest.fixture
def with_reference(theirs):
    """``theirs`` with a coco.json by hand: image ids 10, 11 ... and one category."""
    names = sorted(path.name for path in (theirs / "AtoB/images").iterdir())
    reference = {
        "images": [
            {"id": 10 + k, "file_name": name, "height": 32, "width": 32}
            for k, name in enumerate(names)
        ],
        "categories": [{"id": 4, "name": "giraffe"}],
        "annotations": [],
    }
    (theirs / "AtoB/coco.json").write_text(json.dumps(reference))
    return theirs


def test_detections_file_judges_a_folder_made_by_hand(
    run_cli, photos, with_reference, tmp_path, read_lines
):
    results, detections = tmp_path / "results", tmp_path / "found.json"
    detections.write_text(json.dumps(perfect_detections(with_reference, ["AtoB"])))
    code, _, err = judge_theirs(
        run_cli, photos, with_reference, results, "--detections", detections
    )
    assert code == 0, err
    values = {
        r["protocol"]["name"]: r["metrics"]["mmr"]["value"]
        for r in read_lines(results / "records.jsonl")
    }
    assert set(values) == {"retrieval", "strict"}
    assert values["strict"] == pytest.approx(100 * 6 / 7, abs=1e-3)  # the missing mask is a miss


@pytest.mark.parametrize("text", ["[]", '[{"image_id": 1, "segmentation": [], "score": 0.5}]'])
def test_detections_without_a_coco_json_ask_for_it(run_cli, kit, photos, theirs, tmp_path, text):
    detections = tmp_path / "found.json"
    detections.write_text(text)
    results = tmp_path / "results"
    code, _, err = judge_theirs(run_cli, photos, theirs, results, "--detections", detections)
    assert code == 3
    assert "AtoB/coco.json" in kit.only_error(err)
    assert not results.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a json"),
        ("{}", "list"),
        ('[{"image_id": 10}]', "lacks"),
        ('[{"image_id": 999, "category_id": 4, "segmentation": [], "score": 0.5}]', "999"),
        ('[{"image_id": 10, "category_id": 4, "segmentation": [], "score": 7}]', "score"),
        ('[{"image_id": 10, "category_id": 4, "segmentation": [], "score": 0.5}]', "segmentation"),
        (None, "cannot read"),
    ],
)
def test_faulty_detections_are_named(run_cli, kit, photos, with_reference, tmp_path, text, said):
    results, detections = tmp_path / "results", tmp_path / "found.json"
    if text is not None:
        detections.write_text(text)
    code, _, err = judge_theirs(
        run_cli, photos, with_reference, results, "--detections", detections
    )
    assert code == 3
    line = kit.only_error(err)
    assert "found.json" in line
    assert said in line
    assert not results.exists()


# ------------------------------------------------------------------------------- table, translate


@pytest.mark.parametrize(
    ("name", "suffix", "sign"),
    [("latex", ".tex", r"\toprule"), ("csv", ".csv", "dataset,"), ("markdown", ".md", "| ---")],
)
def test_table_is_printed_or_written_in_every_form(run_cli, judged, tmp_path, name, suffix, sign):
    results = judged[0]
    code, out, err = run_cli("table", "--results", results, "--format", name)
    assert (code, err) == (0, "")
    assert sign in out
    path = tmp_path / f"made/table{suffix}"
    code, quiet, _ = run_cli("table", "--results", results, "--out", path)
    assert (code, quiet) == (0, "")
    assert path.read_text() == out == (results / f"table1-retrieval{suffix}").read_text()


def test_table_for_the_terminal_writes_nothing(run_cli, kit, judged, tmp_path):
    code, out, _ = run_cli("table", "--results", judged[0])
    assert code == 0
    assert "source copy" in out
    assert kit.tree(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "expected_code", "said"),
    [
        (("--layout", "tabel1"), 2, "table1"),
        (("--protocol", "strickt"), 2, "strict"),
        (("--out", "table.docx"), 2, "table.docx"),
        (("--results", "nowhere"), 3, "udit-bench eval"),
    ],
)
def test_table_refuses_what_it_does_not_know(
    run_cli, kit, judged, tmp_path, words, expected_code, said
):
    code, _, err = run_cli("table", "--results", judged[0], *words)
    assert code == expected_code
    assert said in kit.only_error(err)
    assert kit.tree(tmp_path) == []


def test_translate_writes_pictures_masks_by_source_number_and_a_coco_json(
    run_cli, kit, photos, finished, tmp_path
):
    out = tmp_path / "made"
    code, said, err = run_cli("translate", finished, "--out", out, "--device", "cpu")
    assert code == 0, err
    assert said.count("6 pictures") == 2
    for direction, domain, label in (("AtoB", "A", "giraffe"), ("BtoA", "B", "sheep")):
        numbers = kit.masks_in(photos, f"test{domain}")
        folder = out / direction
        assert sorted(p.stem for p in (folder / "images").iterdir()) == sorted(numbers)
        expected = sorted(f"{scene}_{k}" for scene, ks in numbers.items() for k in ks)
        assert sorted(p.stem for p in (folder / "masks").iterdir()) == expected
        for path in folder.glob("masks/*.png"):
            mask = np.array(Image.open(path))
            assert mask.shape == (32, 32)
            assert set(np.unique(mask)) <= {0, 255}
        document = json.loads((folder / "coco.json").read_text())
        assert [c["name"] for c in document["categories"]] == [label]
        assert len(document["images"]) == 6
        files = {image["id"]: image["file_name"] for image in document["images"]}
        for note in document["annotations"]:
            scene = files[note["image_id"]].removesuffix(".png")
            mask = np.array(Image.open(folder / "masks" / f"{scene}_{note['instance']}.png"))
            assert (coco_mask.decode(note["segmentation"]) == mask // 255).all()
        assert len(document["annotations"]) == len(expected)
        assert len({note["id"] for note in document["annotations"]}) == len(expected)
    assert sorted(p.name for p in out.iterdir()) == ["AtoB", "BtoA"]


def test_translate_one_direction_at_another_size_and_batch(run_cli, finished, tmp_path):
    words = ("translate", finished, "--direction", "BtoA", "--size", "40x48", "--device", "cpu")
    for batch in ("1", "4"):
        out = tmp_path / batch
        code, _, err = run_cli(*words, "--out", out, "--batch-size", batch)
        assert code == 0, err
        assert [p.name for p in out.iterdir()] == ["BtoA"]
        assert Image.open(out / "BtoA/images/s1.png").size == (48, 40)


def test_translate_never_overwrites_a_given_folder(run_cli, kit, finished, tmp_path):
    kept = tmp_path / "made/AtoB/images/mine.png"
    kit.save_picture(kept, np.zeros((4, 4), dtype=bool))
    code, _, err = run_cli("translate", finished, "--out", tmp_path / "made", "--device", "cpu")
    assert code == 2
    assert "--out" in kit.only_error(err)
    assert kit.tree(tmp_path / "made") == ["AtoB/images/mine.png"]


@pytest.mark.parametrize(
    ("words", "expected_code", "said"),
    [
        (("--variant", "farthest"), 2, "nearest, components"),
        (("--split", "tset"), 3, "tset"),
        (("--data", "no/such"), 2, "no/such"),
        (("--direction", "AtoC"), 2, "AtoC"),
    ],
)
def test_translate_refuses_what_it_does_not_know(
    run_cli, kit, finished, tmp_path, words, expected_code, said
):
    code, _, err = run_cli(
        "translate", finished, *words, "--out", tmp_path / "made", "--device", "cpu"
    )
    assert code == expected_code
    assert said in kit.only_error(err)
    assert kit.tree(tmp_path) == []


def test_records_tell_no_place_of_this_machine():
    """A setting that is an absolute path (as --vgg-weights is kept) is a file's name in records."""
    assert without_place("/somewhere/on/this/machine/weights.pth") == "weights.pth"
    assert [without_place(value) for value in ("imagenet", "off", 3, None)] == [
        "imagenet", "off", 3, None,
    ]  # fmt: skip


def test_pictures_of_another_size_are_refused_before_judging(
    run_cli, theirs, photos, judge, tmp_path
):
    more = ("--size", "64", "--detector-weights", judge)
    code, _, err = judge_theirs(run_cli, photos, theirs, tmp_path / "r", *more)
    assert code == 3
    assert "is 32 x 32" in err
    assert "--size" in err
    assert not (tmp_path / "r/records.jsonl").exists()


def test_two_runs_of_one_method_and_seed_are_not_mixed(run_cli, finished, judge, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(finished, tmp_path / "runs" / name / "seed0")
    code, _, err = run_cli(
        "eval", "--runs", tmp_path / "runs", "--detector-weights", judge,
        "--results", tmp_path / "r",
    )  # fmt: skip
    assert code == 3
    assert "one/seed0" in err
    assert "two/seed0" in err
    assert not (tmp_path / "r/records.jsonl").exists()


def test_a_foreign_csv_of_instances_is_refused_before_judging(run_cli, finished, judge, tmp_path):
    results = tmp_path / "r"
    results.mkdir()
    (results / "instances.csv").write_text("a,b\n1,2\n")
    code, _, err = run_cli(
        "eval", finished, "--detector-weights", judge, "--results", results, "--device", "cpu"
    )
    assert code == 3
    assert "instances.csv" in err
    assert "judging" not in err
    assert (results / "instances.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--with", "mmr"), 2, "measured anyway"),
        (("--with", "kid", "--inception-weights", "absent.pth"), 3, "absent.pth"),
        (("--inception-weights", "absent.pth"), 2, "--with kid"),
        (("--detector", "fake", "--detector", "fake"), 2, "given 2 times"),
        (("--detections", "d.json", "--detector-weights", "w.pth"), 2, "--detector-weights"),
        (("--detector-config", "c.yaml"), 2, "--detector detectron2"),
        (("--classifier", "absent.safetensors"), 3, "absent.safetensors"),
    ],
)
def test_options_that_do_not_go_together(run_cli, finished, judge, tmp_path, words, code, message):
    given = (
        () if "--detector" in words or "--detections" in words else ("--detector-weights", judge)
    )
    got, _, err = run_cli("eval", finished, *given, *words, "--results", tmp_path / "r")
    assert got == code, err
    assert message in err
    assert "judging" not in err


def test_two_detectors_are_judged_beside_each_other(run_cli, finished, judge, tmp_path):
    results = tmp_path / "r"
    code, out, err = run_cli(
        "eval", finished, "--detector", "torchvision", "--detector", "fake",
        "--detector-weights", f"torchvision={judge}", "--results", results, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert "Agreement of the detectors" in out
    assert {"agreement-retrieval.tex", "table1-retrieval.tex", "table1-fake-strict.csv"} <= {
        path.name for path in results.iterdir()
    }
    code, out, err = run_cli("table", "--results", results)
    assert code == 5
    assert "--detector" in err
    code, out, err = run_cli("table", "--results", results, "--detector", "fake")
    assert code == 0, err
