"""Which rows a table has, in which order, and with which figures."""

import math
import sys
from types import SimpleNamespace

import pytest

from udit_bench.errors import DataError, RecordsError, UsageError
from udit_bench.records import Cost, Record, Value
from udit_bench.registry import Registry
from udit_bench.report import measurements
from udit_bench.report.measurements import printed, summarize
from udit_bench.report.tables import (
    LAYOUTS,
    Figure,
    Part,
    Table,
    build_table,
    select_records,
)

SHA = "1a2b3c4d" + "0" * 56
COMMIT = "0123abcd" + "f" * 32
DETECTOR = {"backend": "torchvision", "architecture": "slim", "weights": SHA, "score_floor": 0.05}
PROTOCOL = {"name": "retrieval", "iou": 0.5, "score": 0.5}


def record(row="alpha", direction="AtoB", mmr=50.0, **fields):
    """A record of ``row`` with one interesting figure; sheep are A, giraffes are B."""
    source, target = ("sheep", "giraffe") if direction == "AtoB" else ("giraffe", "sheep")
    held = {
        "kind": "method",
        "row": row,
        "title": row,
        "dataset": "farm",
        "direction": direction,
        "source": source,
        "target": target,
        "split": "test",
        "size": (64, 48),
        "manifest": {"source": source, "target": target},
        "protocol": PROTOCOL,
        "detector": DETECTOR,
        "images": 20,
        "instances": 45,
        "metrics": {"mmr": Value(value=mmr), "mods": Value(value=10.0), "mvis": Value(value=20.0)},
        "context": {"commit": COMMIT},
    }
    return Record(**{**held, **fields})


@pytest.fixture(autouse=True)
def _methods(monkeypatch):
    """A registry whose order is not the alphabet's."""
    own = {name: "nowhere:Nothing" for name in ("zeta", "alpha", "mid")}
    monkeypatch.setattr(
        measurements, "METHODS", Registry("method", own, "udit_bench.test_no_such_group")
    )


def titles(records):
    return [row.title for row in build_table(records).rows]


def mmr_parts(records, title):
    """The two halves of the MMR cell of a row."""
    return next(row for row in build_table(records).rows if row.title == title).cells[0]


def texts(parts):
    return "/".join(part.text for part in parts)


# ------------------------------------------------------------------------------- nothing there


def test_no_records_is_a_data_error():
    with pytest.raises(DataError, match="udit-bench eval"):
        build_table([])


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_undefined_value_is_two_dashes_not_zero(value):
    assert texts(mmr_parts([record(mmr=value), record(direction="BtoA")], "alpha")) == "50.0/--"


def test_missing_direction_is_two_dashes():
    assert texts(mmr_parts([record(direction="BtoA", mmr=7.0)], "alpha")) == "7.0/--"


def test_metric_that_no_record_holds_is_two_dashes():
    cells = build_table([record(metrics={"mmr": Value(value=1.0)})]).rows[0].cells
    assert [texts(cell) for cell in cells] == ["--/1.0", "--/--", "--/--"]


def test_row_that_one_data_set_lacks_is_two_dashes_there():
    other = record("zeta", dataset="zoo", manifest={})
    table = build_table([record(), other])
    assert [row.title for row in table.rows] == ["zeta", "alpha"]
    assert [texts(cell) for cell in table.rows[0].cells] == ["--/--"] * 3 + [
        "--/50.0", "--/10.0", "--/20.0",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------- figures


def test_halves_are_by_generated_class():
    """Under sheep/giraffe, the first half is the generated sheep: BtoA."""
    table = build_table([record(mmr=88.8), record(direction="BtoA", mmr=63.3)])
    assert table.groups[0].head == "sheep/giraffe"
    assert texts(table.rows[0].cells[0]) == "63.3/88.8"
    generated = [(m.generated, m.figures["mmr"].value) for m in table.measurements]
    assert generated == [("sheep", 63.3), ("giraffe", 88.8)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(45.25, "45.2"), (45.35, "45.4"), (45.45, "45.4"), (0.05, "0.0"), (100.0, "100.0"),
     (0.0, "0.0"), (99.96, "100.0"), (None, "--")],
)  # fmt: skip
def test_printed_rounds_half_to_even(value, text):
    assert printed(value) == text


def test_seeds_become_mean_and_sample_deviation():
    # 70, 72, 77: mean 73, squares 9 + 1 + 16 = 26, 26 / 2 = 13, root 3.60555
    figure = summarize([Value(value=v, low=0.0, high=99.0) for v in (70.0, 72.0, 77.0)])
    assert figure == Figure(73.0, None, None, 3.605551)


def test_one_seed_keeps_its_interval_and_has_no_deviation():
    assert summarize([Value(value=70.0, low=60.0, high=80.0)]) == Figure(70.0, 60.0, 80.0, None)


def test_mean_is_missing_when_one_seed_is():
    assert summarize([Value(value=70.0), Value(value=None)]) == Figure()
    assert summarize([Value(value=70.0), None]) == Figure()
    assert summarize([]) == Figure()


def test_table_averages_seeds_of_a_row():
    runs = [
        record(mmr=mmr, seed=seed, cost=Cost(train_seconds=seconds, parameters=9))
        for seed, mmr, seconds in [(0, 70.0, 10.0), (1, 72.0, 20.0), (2, 77.0, 60.0)]
    ]
    table = build_table(runs)
    (measured,) = table.measurements
    assert texts(table.rows[0].cells[0]) == "--/73.0 ± 3.6"
    assert (measured.seeds, measured.train_seconds, measured.parameters) == (3, 30.0, 9)
    assert "mean ± standard deviation (ddof 1) of 3 seeds" in table.caption


def test_same_measurement_twice_counts_once_and_the_later_holds():
    table = build_table([record(mmr=10.0, seed=0), record(mmr=20.0, seed=0)])
    assert texts(table.rows[0].cells[0]) == "--/20.0"
    assert table.measurements[0].seeds == 1


# --------------------------------------------------------------------------------------- order


def test_bounds_then_registry_order_then_external_alphabetically():
    shuffled = [
        record("theirs", kind="external", title="Theirs"),
        record("mid"),
        record("source copy", kind="bound"),
        record("unregistered"),
        record("x", kind="external", title="another"),
        record("zeta"),
        record("real", kind="bound"),
        record("alpha"),
    ]
    expected = [
        "real", "source copy", "zeta", "alpha", "mid", "unregistered", "another", "Theirs",
    ]  # fmt: skip
    assert titles(shuffled) == expected
    assert titles(shuffled[::-1]) == expected


def test_variants_follow_their_method_in_recorded_order():
    rows = [
        record(variant="without reg", title="alpha w/o reg"),
        record("mid"),
        record(variant="e2e", title="alpha w/ e2e"),
        record(),
    ]
    assert titles(rows) == ["alpha", "alpha w/o reg", "alpha w/ e2e", "mid"]


def test_rows_that_would_print_alike_are_told_apart():
    assert titles([record(), record(variant="slow", title="alpha")]) == [
        "alpha (method alpha)",
        "alpha (slow)",
    ]


def test_data_sets_that_would_read_alike_are_told_apart():
    table = build_table([record(), record(dataset="zoo")])
    assert [group.head for group in table.groups] == ["sheep/giraffe (farm)", "sheep/giraffe (zoo)"]


def test_registered_data_set_stands_before_others():
    table = build_table([record(dataset="aaa"), record(dataset="pasture")])
    assert [m.dataset for m in table.measurements] == ["pasture", "aaa"]


# ---------------------------------------------------------------------------------------- bold


def test_best_half_is_bold_and_bounds_never_are():
    rows = [
        record("real", kind="bound", mmr=99.0),
        record("alpha", mmr=60.0),
        record("alpha", direction="BtoA", mmr=10.0),
        record("theirs", kind="external", mmr=50.0),
        record("theirs", kind="external", direction="BtoA", mmr=20.0),
    ]
    assert mmr_parts(rows, "real") == (Part("--"), Part("99.0"))
    assert mmr_parts(rows, "alpha") == (Part("10.0"), Part("60.0", True))
    assert mmr_parts(rows, "theirs") == (Part("20.0", True), Part("50.0"))


def test_best_compares_numbers_not_strings():
    rows = [record("alpha", mmr=9.0), record("zeta", mmr=10.0)]
    assert mmr_parts(rows, "zeta")[1].bold
    assert not mmr_parts(rows, "alpha")[1].bold


def test_ties_as_printed_are_all_bold():
    rows = [record("alpha", mmr=60.01), record("zeta", mmr=60.04), record("mid", mmr=59.9)]
    bold = [mmr_parts(rows, title)[1].bold for title in ("alpha", "zeta", "mid")]
    assert bold == [True, True, False]


def test_single_competitor_is_not_bold():
    rows = [record("real", kind="bound"), record(mmr=60.0), record("zeta", mmr=None)]
    assert not any(part.bold for row in rows for part in mmr_parts(rows, row.title))


def test_best_is_per_data_set():
    rows = [
        record("alpha", mmr=1.0),
        record("zeta", mmr=2.0),
        record("alpha", mmr=90.0, dataset="zoo"),
        record("zeta", mmr=80.0, dataset="zoo"),
    ]
    alpha = next(row for row in build_table(rows).rows if row.title == "alpha")
    assert [alpha.cells[column][1].bold for column in (0, 3)] == [False, True]


# ------------------------------------------------------------------------- who may share a table


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("split", {"split": "val"}),
        ("size", {"size": (128, 96)}),
        ("detector.weights", {"detector": DETECTOR | {"weights": "f" * 64}}),
        ("detector.input_size", {"detector": DETECTOR | {"input_size": 800}}),
        ("protocol.iou", {"protocol": PROTOCOL | {"iou": 0.7}}),
        ("manifest.source (AtoB)", {"manifest": {"source": "other", "target": "giraffe"}}),
        ("classes", {"target": "cow"}),
    ],
)
@pytest.mark.parametrize("row", ["alpha", "zeta"])
def test_records_judged_differently_are_refused(row, field, other):
    """Whether they are seeds of one row or two rows; the error names the field and the rows."""
    records = [record("alpha", seed=0), record(row, seed=1, **other)]
    with pytest.raises(RecordsError) as caught:
        build_table(records)
    assert caught.value.exit_code == 5
    assert field in str(caught.value)
    assert "alpha" in str(caught.value)
    assert row in str(caught.value)


def test_every_field_that_differs_is_named():
    other = record("zeta", split="val", detector=DETECTOR | {"weights": "f" * 64})
    with pytest.raises(RecordsError, match=r"split .*test for alpha; val for zeta.*weights"):
        build_table([record(), other])


def test_protocol_parameters_must_agree_across_data_sets():
    other = record(dataset="zoo", protocol=PROTOCOL | {"iou": 0.7})
    with pytest.raises(RecordsError, match=r"protocol\.iou"):
        build_table([record(), other])


def test_seeds_on_other_numbers_of_instances_are_refused():
    with pytest.raises(RecordsError, match="instances"):
        build_table([record(seed=0), record(seed=1, instances=44)])


def test_other_detector_in_another_data_set_is_said_not_refused():
    other = record(dataset="zoo", detector=DETECTOR | {"architecture": "full"})
    caption = build_table([record(), other]).caption
    assert "detector slim (weights 1a2b3c4d)" in caption
    assert "detector full (weights 1a2b3c4d)" in caption


def test_row_with_one_digest_may_stand_beside_rows_with_two():
    real = record("real", kind="bound", manifest={"target": "giraffe"})
    assert titles([real, record()]) == ["real", "alpha"]


def test_a_table_holds_one_protocol():
    strict = record(mmr=1.0, protocol={"name": "strict", "iou": 0.5})
    records = [record(mmr=2.0), strict]
    assert texts(build_table(records).rows[0].cells[0]) == "--/2.0"
    assert texts(build_table(records, protocol="strict").rows[0].cells[0]) == "--/1.0"


# ------------------------------------------------------------------------------- names, choices


def test_unknown_layout_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"Did you mean 'table1'\?.*Known: .*table1"):
        build_table([record()], layout="tabel1")


def test_layouts_are_open(monkeypatch):
    def mine(asked):
        return Table("mine", asked.protocol, "t", "c", "o", "Row", (), (), ())

    monkeypatch.setitem(sys.modules, "somebody_else", SimpleNamespace(mine=mine))
    monkeypatch.setitem(LAYOUTS, "mine", "somebody_else:mine")
    assert build_table([record()], layout="mine").layout == "mine"


def test_unknown_protocol_lists_the_recorded_ones():
    with pytest.raises(UsageError, match=r"'strict'.*Known: retrieval"):
        build_table([record()], protocol="strict")


def test_select_keeps_what_is_asked_for():
    fake = record("zeta", split="val", detector={"backend": "fake"}, dataset="zoo")
    both = [record(), fake]
    assert select_records(both) == both
    assert select_records(both, data="zoo") == [fake]
    assert select_records(both, split="test") == [both[0]]
    assert select_records(both, detectors=["fake"]) == [fake]


@pytest.mark.parametrize("choice", [{"data": "x"}, {"split": "x"}, {"detectors": ["x"]}])
def test_select_names_what_is_recorded(choice):
    with pytest.raises(UsageError, match=r"recorded: (farm|test|torchvision)"):
        select_records([record()], **choice)


# ------------------------------------------------------------------------------------- captions


def test_caption_says_how_the_figures_came_about():
    real = record("real", kind="bound", images=22, instances=51)
    caption = build_table([real, record(seed=0)]).caption
    for said in (
        "Protocol retrieval (iou 0.5, score 0.5).",
        "data set farm, split test, 64 x 48 pixels",
        "detector slim (weights 1a2b3c4d)",
        "generated giraffe: 20 images, 45 instances (real: 22 and 51)",
        "One seed per trained row.",
        "95 % BCa bootstraps over images",
        "Commit 0123abcd.",
    ):
        assert said in caption


def test_caption_states_unequal_seeds_per_row():
    rows = [record(seed=0), record(seed=1), record("zeta", seed=0)]
    assert "seeds: zeta 1; alpha 2." in build_table(rows).caption


def test_caption_states_seeds_that_differ_between_directions():
    rows = [record(seed=0), record(seed=1), record(direction="BtoA", seed=0)]
    caption = build_table(rows).caption
    assert "alpha 1 for sheep in sheep/giraffe, 2 for giraffe in sheep/giraffe" in caption


def test_caption_names_every_commit():
    other = record("zeta", context={"commit": "9" * 40 + "-dirty"})
    unknown = record("mid", context={})
    caption = build_table([record(), other, unknown]).caption
    assert "Commit 0123abcd, 99999999-dirty, not recorded." in caption


def ablated(name, mmr, **fields):
    return [
        record("mgdgan", direction, mmr, ablation=name, variant=name or "",
               title=f"MGD-GAN ({name})" if name else "MGD-GAN", **fields)
        for direction in ("AtoB", "BtoA")
    ]  # fmt: skip


def test_table2_letters_the_method_and_its_ablations_in_the_papers_order():
    names = ("e2e", "no-const", None, "no-finetune", "no-reg")
    records = [r for k, name in enumerate(names) for r in ablated(name, 10.0 * k)]
    records += [record("beta"), record("beta", "BtoA")]
    table = build_table(records, "table2")
    assert [row.title for row in table.rows] == [
        "A) MGD-GAN", "B) A w/o reg", "C) A w/o const", "D) A w/o finetune", "E) A w/ e2e",
    ]  # fmt: skip
    assert [row.cells[0][0].text for row in table.rows] == ["20.0", "40.0", "10.0", "30.0", "0.0"]
    assert table.rows[1].cells[0][0].bold


def test_table2_without_the_whole_method_still_names_it():
    table = build_table(ablated("no-reg", 1.0), "table2")
    assert [row.title for row in table.rows] == ["A) MGD-GAN w/o reg"]


def test_table2_needs_an_ablation():
    with pytest.raises(DataError, match="--ablation"):
        build_table(ablated(None, 1.0), "table2")


def test_table1_leaves_ablations_out_where_the_method_itself_is_there():
    both = [*ablated(None, 1.0), *ablated("no-reg", 2.0)]
    assert [row.title for row in build_table(both).rows] == ["MGD-GAN"]
    alone = build_table(ablated("no-reg", 2.0))
    assert [row.title for row in alone.rows] == ["MGD-GAN (no-reg)"]
