"""The forms of a table: LaTeX, CSV, Markdown and the console.

All of them print what the table holds and compute nothing. Cells, heads and captions are escaped
here, before pandas sees them: its own ``escape`` leaves heads and captions raw and cannot embolden
half a cell.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udit_bench.files import write_text
from udit_bench.records import Record
from udit_bench.report.html import standalone_html
from udit_bench.report.layouts import INSTANCE
from udit_bench.report.measurements import Figure, Measurement
from udit_bench.report.model import Cell, Table
from udit_bench.report.tables import build_table, protocols

if TYPE_CHECKING:
    import rich.table
    import rich.text

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row it would be the optional argument of \\ or \midrule
    "]": "{]}",
    "±": r"$\pm$",
}
_IDENTITY = (
    "dataset", "row", "variant", "title", "kind", "direction", "generated", "split",
    "protocol", "detector", "images", "instances", "seeds",
)  # fmt: skip
_COSTS = ("train_seconds", "parameters")


# ---------------------------------------------------------------------------------------- LaTeX


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it reads here, on one line, in cells, heads and captions."""
    escaped = "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
    return "{*}" + escaped[1:] if escaped.startswith("*") else escaped


def to_latex(table: Table) -> str:
    r"""Make a ``table`` float with booktabs rules; it needs ``\usepackage{booktabs}``."""
    import pandas as pd

    heads = [("", escape_latex(table.corner))]
    heads += [
        (escape_latex(group.head), escape_latex(column))
        for group in table.groups
        for column in group.columns
    ]
    rows = [[escape_latex(row.title), *map(_latex_cell, row.cells)] for row in table.rows]
    frame = pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(heads), dtype=object)
    body = (
        frame.style.hide(axis="index")
        .format()  # plain, whatever the user's pandas options escape
        .to_latex(
            column_format="l" + "c" * (len(heads) - 1),
            position="t",
            position_float="centering",
            hrules=True,
            label=f"tab:{table.layout}-{re.sub('[^A-Za-z0-9]+', '-', table.protocol)}",
            caption=(escape_latex(table.caption), escape_latex(table.title)),
            sparse_columns=True,
            multicol_align="c",
            siunitx=False,
        )
    )
    return f"% {' '.join(table.origin.split())}\n" + _with_group_rules(body, table)


def _latex_cell(cell: Cell) -> str:
    return "/".join(
        rf"\textbf{{{escape_latex(part.text)}}}" if part.bold else escape_latex(part.text)
        for part in cell
    )


def _with_group_rules(latex: str, table: Table) -> str:
    """Put a rule under every group head, i.e. under the first line after the top rule."""
    rules, start = [], 2
    for group in table.groups:
        end = start + len(group.columns) - 1
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
    lines = latex.splitlines()
    lines.insert(lines.index(r"\toprule") + 2, " ".join(rules))
    return "\n".join(lines) + "\n"


def standalone_document(latex: str) -> str:
    """Wrap a table in a whole document, to compile it alone."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage{booktabs}",
            r"\begin{document}",
            latex.rstrip("\n"),
            r"\end{document}",
            "",
        ]
    )


# ------------------------------------------------------------------------------------------ CSV


def to_csv(table: Table) -> str:
    """Tidy values: a line per data set, row and direction; a missing value is an empty field.

    A layout with figures of another kind has lines of its own, columns as the layout names them.
    ``seeds`` is 0 for rows that are not trained; ``X_sd`` needs several seeds, ``X_low`` and
    ``X_high`` exactly one. Rounded to one decimal, half to even, a value is what LaTeX prints.
    """
    if table.lines:
        return _lines_csv(table.lines)
    every = [*INSTANCE] + [name for m in table.measurements for name in m.figures]
    names = list(dict.fromkeys(every))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spread = [f"{name}{end}" for name in names for end in ("", "_low", "_high", "_sd")]
    writer.writerow([*_IDENTITY, *spread, *_COSTS])
    writer.writerows(_csv_line(m, names) for m in table.measurements)
    return text.getvalue()


def _lines_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _csv_line(m: Measurement, names: Iterable[str]) -> list[Any]:
    kind, row, variant = m.key
    line: list[Any] = [
        m.dataset, row, variant, m.title, kind, m.direction, m.generated, m.split,
        m.protocol, m.detector, m.images, m.instances, m.seeds,
    ]  # fmt: skip
    for name in names:
        figure = m.figures.get(name, Figure())
        line += [figure.value, figure.low, figure.high, figure.sd]
    return [*line, m.train_seconds, m.parameters]


# ------------------------------------------------------------------------- Markdown and console


def escape_markdown(text: str) -> str:
    """Text that GitHub shows as it reads here, in a table or outside of one."""
    return re.sub(r"([\\`*_\[\]<>|~$&#])", r"\\\1", " ".join(text.split()))


def to_markdown(table: Table) -> str:
    """Make a GitHub table, group and metric in one head, and the caption below."""
    heads = [escape_markdown(head) for head in [table.corner, *_flat_heads(table, " ")]]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    lines += [[escape_markdown(row.title), *map(_markdown_cell, row.cells)] for row in table.rows]
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{body}\n{escape_markdown(table.caption)}\n"


def _markdown_cell(cell: Cell) -> str:
    return "/".join(f"**{part.text}**" if part.bold else part.text for part in cell)


def _flat_heads(table: Table, between: str) -> list[str]:
    return [f"{group.head}{between}{column}" for group in table.groups for column in group.columns]


def to_console(table: Table) -> rich.table.Table:
    """Make the form for a terminal."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(table.title), caption=Text(table.caption), caption_justify="left", box=box.SIMPLE
    )
    shown.add_column(Text(table.corner), overflow="fold")
    for head in _flat_heads(table, "\n"):
        shown.add_column(Text(head), justify="right", overflow="fold")
    for row in table.rows:
        shown.add_row(Text(row.title), *map(_console_cell, row.cells))
    return shown


def _console_cell(cell: Cell) -> rich.text.Text:
    from rich.text import Text

    parts = [(part.text, "bold" if part.bold else "") for part in cell]
    return Text("/").join(Text(text, style=style) for text, style in parts)


# ---------------------------------------------------------------------------------------- files

FORMATS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "latex": (".tex", to_latex),
    "csv": (".csv", to_csv),
    "markdown": (".md", to_markdown),
    "html": (".html", standalone_html),
}
"""Name to suffix and function."""


WRITTEN = ("latex", "csv", "markdown")
"""The formats that ``eval`` writes."""


def write_tables(
    records: Sequence[Record],
    folder: Path,
    *,
    layouts: Sequence[str] = ("table1", "table2"),
    suffix: str = "",
    instances: Path | None = None,
) -> list[Path]:
    """Write ``LAYOUT[SUFFIX]-PROTOCOL.tex``, ``.csv`` and ``.md`` for every protocol.

    Args:
        records: as for ``build_table``.
        folder: where to.
        layouts: which tables; ``table2`` only if ablations are among the records.
        suffix: tells tables of one layout apart.
        instances: as for ``build_table``.

    Returns:
        The paths.

    Raises:
        RecordsError, DataError, UsageError: as ``build_table``; then nothing is written.
    """
    texts: dict[Path, str] = {}
    for layout in layouts:
        if layout == "table2" and not any(record.ablation for record in records):
            continue
        for protocol in protocols(records) or [""]:
            table = build_table(records, layout, protocol, instances=instances)
            for name in WRITTEN:
                ending, render = FORMATS[name]
                texts[folder / f"{layout}{suffix}-{protocol}{ending}"] = render(table)
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
