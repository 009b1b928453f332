"""The forms of a table: hand-written LaTeX and CSV, escaping, and agreement between forms."""

import io
import re
import shutil
import subprocess
import sys
from decimal import ROUND_HALF_EVEN, Decimal

import pandas as pd
import pytest
from click.testing import CliRunner
from rich.console import Console

from udit_bench.cli.table import table_command as command
from udit_bench.errors import DataError, RecordsError, UsageError
from udit_bench.records import RECORDS_NAME, Cost, Record, Value, write_records
from udit_bench.registry import Registry
from udit_bench.report import measurements
from udit_bench.report.render import (
    escape_latex,
    escape_markdown,
    standalone_document,
    to_console,
    to_csv,
    to_latex,
    to_markdown,
    write_tables,
)
from udit_bench.report.tables import build_table

NASTY = r"100% & _best_ {x} ~^\ "
PAIRS = {"kitchen": ("bottle", "cup"), "savanna": ("sheep", "giraffe")}


def record(row, direction, values, dataset="savanna", **fields):
    """A record with MMR, MODS and MVIS."""
    first, second = PAIRS[dataset]
    source, target = (first, second) if direction == "AtoB" else (second, first)
    held = {
        "kind": "method",
        "row": row,
        "title": row,
        "dataset": dataset,
        "direction": direction,
        "source": source,
        "target": target,
        "split": "test",
        "size": (64, 64),
        "manifest": {},
        "protocol": {"name": "retrieval", "iou": 0.5},
        "detector": {"architecture": "slim", "weights": "1a2b3c4d" + "0" * 56},
        "images": 20,
        "instances": 45,
        "metrics": {
            name: Value(value=value)
            for name, value in zip(("mmr", "mods", "mvis"), values, strict=True)
        },
        "context": {"commit": "0123abcd" + "f" * 32},
    }
    return Record(**{**held, **fields})


@pytest.fixture(autouse=True)
def _methods(monkeypatch):
    own = {name: "nowhere:Nothing" for name in ("InstaGAN", "MGD-GAN")}
    monkeypatch.setattr(
        measurements, "METHODS", Registry("method", own, "udit_bench.test_no_such_group")
    )


# The published Table 1, two of its pairs: per row and data set (a's three, b's three).
PUBLISHED = {
    "real": {
        "savanna": ((63.3, 72.9, 62.5), (88.8, 94.7, 77.6)),
        "kitchen": ((36.8, 37.2, 34.3), (46.1, 46.4, 44.7)),
    },
    "InstaGAN": {
        "savanna": ((16.7, 19.5, 17.8), (30.3, 50.0, 37.2)),
        "kitchen": ((8.3, 11.3, 9.9), (22.7, 20.8, 20.6)),
    },
    "MGD-GAN": {
        "savanna": ((47.7, 46.0, 42.7), (65.0, 69.4, 53.9)),
        "kitchen": ((17.4, 17.0, 15.3), (20.0, 18.0, 19.0)),
    },
}


def published():
    return [
        record(row, direction, values, dataset, kind="bound" if row == "real" else "method")
        for row, sets in PUBLISHED.items()
        for dataset, halves in sets.items()
        for direction, values in zip(("BtoA", "AtoB"), halves, strict=True)
    ]


def tabular(latex):
    return latex[latex.index(r"\begin{tabular}") : latex.index(r"\end{table}")]


def test_latex_of_the_published_table():
    expected = r"""\begin{tabular}{lcccccc}
\toprule
 & \multicolumn{3}{c}{bottle/cup} & \multicolumn{3}{c}{sheep/giraffe} \\
\cmidrule(lr){2-4} \cmidrule(lr){5-7}
Method & MMR & MODS & MVIS & MMR & MODS & MVIS \\
\midrule
real & 36.8/46.1 & 37.2/46.4 & 34.3/44.7 & 63.3/88.8 & 72.9/94.7 & 62.5/77.6 \\
INSTA
MGD
\bottomrule
\end{tabular}
"""
    insta = (
        r"InstaGAN & 8.3/\textbf{22.7} & 11.3/\textbf{20.8} & 9.9/\textbf{20.6}"
        r" & 16.7/30.3 & 19.5/50.0 & 17.8/37.2 \\"
    )
    mgd = (
        r"MGD-GAN & \textbf{17.4}/20.0 & \textbf{17.0}/18.0 & \textbf{15.3}/19.0"
        r" & \textbf{47.7}/\textbf{65.0} & \textbf{46.0}/\textbf{69.4}"
        r" & \textbf{42.7}/\textbf{53.9} \\"
    )
    expected = expected.replace("INSTA", insta).replace("MGD\n", mgd + "\n")
    assert tabular(to_latex(build_table(published()))) == expected


def test_latex_starts_with_a_comment_on_how_it_was_made():
    first = to_latex(build_table(published())).splitlines()[0]
    assert first == (
        "% udit-bench table --layout table1 --protocol retrieval: "
        "12 records of kitchen, savanna; commit 0123abcd"
    )


def test_latex_caption_and_label_are_inside_the_float():
    latex = to_latex(build_table(published()))
    assert r"\label{tab:table1-retrieval}" in latex
    assert r"\caption[MMR, MODS and MVIS under the protocol retrieval]{MMR, MODS and" in latex
    assert r"95 \% BCa" in latex


def test_csv_by_hand():
    runs = [
        record(
            "MGD-GAN", "AtoB", (mmr, 1.0, None), seed=seed, variant="v", title="MGD, v",
            cost=Cost(train_seconds=seconds, parameters=123),
        )
        for seed, mmr, seconds in [(0, 70.0, 10.0), (1, 72.0, 20.0), (2, 77.0, 60.0)]
    ]  # fmt: skip
    real = record("real", "BtoA", (63.25, 72.9, 62.5), kind="bound")
    real = real.model_copy(
        update={"metrics": {**real.metrics, "mmr": Value(value=63.25, low=60.0, high=66.5)}}
    )
    assert to_csv(build_table([*runs, real])).splitlines() == [
        "dataset,row,variant,title,kind,direction,generated,split,protocol,detector,images,"
        "instances,seeds,mmr,mmr_low,mmr_high,mmr_sd,mods,mods_low,mods_high,mods_sd,"
        "mvis,mvis_low,mvis_high,mvis_sd,train_seconds,parameters",
        "savanna,real,,real,bound,BtoA,sheep,test,retrieval,slim (weights 1a2b3c4d),20,45,0,"
        "63.25,60.0,66.5,,72.9,,,,62.5,,,,,",
        'savanna,MGD-GAN,v,"MGD, v",method,AtoB,giraffe,test,retrieval,slim (weights 1a2b3c4d),'
        "20,45,3,73.0,,,3.605551,1.0,,,0.0,,,,,30.0,123",
    ]


def test_csv_holds_every_metric_that_was_recorded():
    more = record("MGD-GAN", "AtoB", (1.0, 2.0, 3.0))
    more = more.model_copy(update={"metrics": {"fid": Value(value=7.0), **more.metrics}})
    frame = pd.read_csv(io.StringIO(to_csv(build_table([more]))))
    assert list(frame.columns).index("mmr") < list(frame.columns).index("fid")
    assert frame["fid"].tolist() == [7.0]


def test_csv_opens_in_pandas_with_types_intact():
    frame = pd.read_csv(io.StringIO(to_csv(build_table(published()))))
    assert {str(frame[name].dtype) for name in ("images", "instances", "seeds")} == {"int64"}
    assert {str(frame[name].dtype) for name in ("mmr", "mods", "mvis")} == {"float64"}
    assert frame["mmr_sd"].isna().all()
    assert frame["train_seconds"].isna().all()


# ---------------------------------------------------------------------- the forms say the same


def latex_figures(latex):
    """{(title, head, metric): (a, b)} of printed figures, read back from the LaTeX."""
    lines = [line.removesuffix(r" \\") for line in tabular(latex).splitlines()]
    heads = re.findall(r"\\multicolumn\{3\}\{c\}\{([^}]*)\}", lines[2])
    metrics = lines[4].split(" & ")[1:]
    found = {}
    for line in lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]:
        title, *cells = line.split(" & ")
        for number, cell in enumerate(cells):
            plain = re.sub(r"\\textbf\{([^}]*)\}", r"\1", cell)
            found[title, heads[number // 3], metrics[number]] = tuple(plain.split("/"))
    return found


def test_latex_and_csv_hold_the_same_figures():
    """Also where a figure lies between two decimals, whoever rounds the CSV."""
    ties = [45.25, 45.35, 45.45, 45.55, 0.05, 99.95, 33.333333, 66.666667, 12.345678]
    records = published()
    for number, (direction, values) in enumerate(
        [("AtoB", ties[:3]), ("BtoA", ties[3:6]), ("AtoB", ties[6:])]
    ):
        records.append(record(f"theirs{number}", direction, values, kind="external"))
    table = build_table(records)
    shown = latex_figures(to_latex(table))
    text = pd.read_csv(io.StringIO(to_csv(table)), dtype=str)
    floats = pd.read_csv(io.StringIO(to_csv(table))).round(1)
    compared = 0
    for line, rounded in zip(text.to_dict("records"), floats.to_dict("records"), strict=True):
        half = 0 if line["direction"] == "BtoA" else 1
        head = "/".join(PAIRS[line["dataset"]])
        for metric in ("mmr", "mods", "mvis"):
            cell = shown[line["title"], head, metric.upper()][half]
            assert cell == str(Decimal(line[metric]).quantize(Decimal("0.1"), ROUND_HALF_EVEN))
            assert float(cell) == rounded[metric]
            compared += 1
    assert compared == 3 * len(records)
    assert sum(cell != "--" for pair in shown.values() for cell in pair) == compared


def test_markdown_by_hand():
    records = [
        record("InstaGAN", "AtoB", (30.3, 50.0, 37.2)),
        record("MGD-GAN", "AtoB", (65.0, 50.0, 3.9)),
    ]
    lines = to_markdown(build_table(records)).splitlines()
    assert lines[:5] == [
        "| Method | sheep/giraffe MMR | sheep/giraffe MODS | sheep/giraffe MVIS |",
        "| --- | ---: | ---: | ---: |",
        "| InstaGAN | --/30.3 | --/**50.0** | --/**37.2** |",
        "| MGD-GAN | --/**65.0** | --/**50.0** | --/3.9 |",
        "",
    ]
    assert "Protocol retrieval (iou 0.5)." in lines[5]


def test_console_shows_rows_figures_and_caption():
    rows = [record("[bold]X", "AtoB", (30.3, None, 37.2)), record("MGD-GAN", "AtoB", (65.0,) * 3)]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(to_console(build_table(rows)))
    shown = console.export_text(clear=False)
    for text in ("[bold]X", "--/30.3", "--/--", "MODS", "sheep/giraffe", "Protocol retrieval"):
        assert text in shown
    assert "\x1b[1m65.0" in console.export_text(styles=True)


# ------------------------------------------------------------------------------------ escaping


def test_every_special_character_is_escaped():
    assert escape_latex(NASTY) == (
        r"100\% \& \_best\_ \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escape_latex("$#<>|") == r"\$\#\textless{}\textgreater{}\textbar{}"
    assert escape_latex("two\nlines") == "two lines"


@pytest.mark.parametrize(("text", "expected"), [("[1]", "{[}1{]}"), ("*a*", "{*}a*")])
def test_start_of_a_row_is_no_argument_of_the_line_before(text, expected):
    r"""``\\ [1]`` would be a row 1 lower, ``\\ *`` an unbreakable one."""
    assert escape_latex(text) == expected


def nasty_records():
    """The name everywhere a name can stand: title, classes, data set, detector, protocol."""
    fields = {
        "title": f"{NASTY}|",
        "source": "a|b",
        "target": NASTY,
        "detector": {"architecture": NASTY},
        "split": NASTY,
        "protocol": {"name": "retrieval", NASTY: "[<1>]"},
        "context": {"commit": NASTY},
    }
    return [
        record(row, "AtoB", (1.0, 2.0, 3.0), **fields).model_copy(update={"dataset": NASTY + "\n"})
        for row in ("[x]", "*y*")
    ]


def balanced(latex):
    """Whether unescaped braces close in order; comment lines apart."""
    depth = 0
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    for brace in re.findall(r"[{}]", re.sub(r"\\[\\{}]", "", body)):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def unescaped(latex):
    """Special characters that TeX would act on, outside the table's own ampersands."""
    return [found for found in re.findall(r"\\.|[%$#_^~]", latex) if len(found) == 1]


@pytest.mark.parametrize("records", [published(), nasty_records()], ids=["plain", "nasty"])
def test_latex_has_balanced_braces_and_no_active_characters(records):
    latex = to_latex(build_table(records))
    comment, body = latex.split("\n", 1)
    assert comment.startswith("% ")
    assert balanced(latex)
    assert unescaped(body) == []
    rows = [line for line in tabular(latex).splitlines() if line.endswith(r"\\")]
    columns = {
        len(re.findall(r"(?<!\\)&", line)) + 2 * line.count(r"\multicolumn{3}") for line in rows
    }
    assert len(columns) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("records", [published(), nasty_records()], ids=["plain", "nasty"])
def test_latex_compiles_alone(records, tmp_path):
    (tmp_path / "t.tex").write_text(standalone_document(to_latex(build_table(records))))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_standalone_document_wraps_the_table():
    document = standalone_document("TABLE\n")
    assert document.startswith("\\documentclass{article}\n")
    assert "\\usepackage{booktabs}\n\\begin{document}\nTABLE\n\\end{document}\n" in document


def test_latex_ignores_the_users_pandas_options():
    plain = to_latex(build_table(published()))
    with pd.option_context("styler.format.escape", "latex", "styler.sparse.columns", False):
        assert to_latex(build_table(published())) == plain


def test_markdown_escapes_names():
    assert escape_markdown("a|b_*[c]<d>`e`\\\n$") == r"a\|b\_\*\[c\]\<d\>\`e\`\\ \$"
    table = to_markdown(build_table(nasty_records())).split("\n\n")[0]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()} == {5}


# --------------------------------------------------------------------------------------- files


def both_protocols():
    strict = {"name": "strict", "iou": 0.5}
    return [*published(), *(r.model_copy(update={"protocol": strict}) for r in published())]


def test_write_tables_writes_each_protocol_in_each_form(tmp_path):
    paths = write_tables(both_protocols(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "table1-retrieval.csv", "table1-retrieval.md", "table1-retrieval.tex",
        "table1-strict.csv", "table1-strict.md", "table1-strict.tex",
    ]  # fmt: skip
    assert set(paths) == set(tmp_path.iterdir())
    strict = build_table(both_protocols(), protocol="strict")
    assert (tmp_path / "table1-strict.tex").read_text() == to_latex(strict)


def test_write_tables_writes_nothing_if_one_table_cannot_be(tmp_path):
    records = both_protocols()
    records[-1] = records[-1].model_copy(update={"split": "val"})
    with pytest.raises(RecordsError, match="split"):
        write_tables(records, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError):
        write_tables([], tmp_path)


# ----------------------------------------------------------------------------- the command line


@pytest.fixture
def invoke(tmp_path):
    """Run the command on a results folder with both protocols; errors come out as they are."""
    write_records(tmp_path / RECORDS_NAME, both_protocols())

    def run(*arguments):
        return CliRunner().invoke(
            command, ["--results", str(tmp_path), *map(str, arguments)], catch_exceptions=False
        )

    return run


def test_command_prints_for_the_terminal_and_writes_nothing(invoke, tmp_path):
    result = invoke()
    assert result.exit_code == 0
    assert "17.4/20.0" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == [RECORDS_NAME]


def test_command_prints_a_format(invoke):
    assert invoke("--format", "latex", "--protocol", "strict").stdout == to_latex(
        build_table(both_protocols(), protocol="strict")
    )


@pytest.mark.parametrize(
    ("suffix", "form"), [("tex", to_latex), ("csv", to_csv), ("md", to_markdown)]
)
def test_command_takes_the_format_from_the_suffix(invoke, tmp_path, suffix, form):
    out = tmp_path / "deep" / f"mine.{suffix}"
    for _ in range(2):  # an old file is replaced
        assert invoke("--out", out).stdout == ""
    assert out.read_text() == form(build_table(both_protocols()))


def test_command_writes_several_formats_side_by_side(invoke, tmp_path):
    invoke("--format", "csv", "--format", "markdown", "--out", tmp_path / "mine.tex")
    assert sorted(path.name for path in tmp_path.glob("mine*")) == ["mine.csv", "mine.md"]


def test_command_keeps_the_name_given_with_one_format(invoke, tmp_path):
    invoke("--format", "csv", "--out", tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text().startswith("dataset,row")


def test_command_refuses_a_suffix_without_a_format(invoke, tmp_path):
    with pytest.raises(UsageError, match=r"\.tex, \.csv, \.md"):
        invoke("--out", tmp_path / "mine.pdf")


def test_command_keeps_one_data_set(invoke):
    shown = invoke("--format", "csv", "--data", "kitchen").stdout
    assert set(pd.read_csv(io.StringIO(shown))["dataset"]) == {"kitchen"}
    with pytest.raises(UsageError, match="recorded: kitchen, savanna"):
        invoke("--data", "kitchn")


def test_command_without_records_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match=r"no records at .*: run `udit-bench eval`"):
        CliRunner().invoke(command, ["--results", str(tmp_path)], catch_exceptions=False)


def test_command_is_light_to_import():
    """Help must not wait for pandas, rich or torch."""
    code = (
        "import sys, udit_bench.cli.table; "
        "print([m for m in ('pandas', 'rich', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
