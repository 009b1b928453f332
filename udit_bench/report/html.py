"""The HTML form of a table: a fragment for a page, or a document of its own."""

from __future__ import annotations

import html

from udit_bench.report.tables import Cell, Table

STYLE = """
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; padding-top: 0.8rem; text-align: left; font-size: 0.85rem; }
th, td { padding: 0.25rem 0.8rem; text-align: right; white-space: nowrap; }
thead th[scope="colgroup"] { text-align: center; }
th[scope="row"], thead tr:first-child th:first-child { text-align: left; font-weight: normal; }
thead tr:first-child { border-top: 2px solid; }
thead tr:last-child { border-bottom: 1px solid; }
tbody { border-bottom: 2px solid; }
"""


def escape(text: str) -> str:
    """Text that a browser shows as it reads here, on one line, in elements and attributes."""
    return html.escape(" ".join(text.split()), quote=True)


def to_html(table: Table) -> str:
    """Make a ``<table>`` with its caption; bold halves of cells are ``<strong>``."""
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(group.columns)}">{escape(group.head)}</th>'
        for group in table.groups
    )
    columns = "".join(
        f'<th scope="col">{escape(column)}</th>'
        for group in table.groups
        for column in group.columns
    )
    rows = [
        f'<tr><th scope="row">{escape(row.title)}</th>{"".join(map(_cell, row.cells))}</tr>'
        for row in table.rows
    ]
    return "\n".join(
        [
            f'<table data-origin="{escape(table.origin)}">',
            f"<caption><span>{escape(table.caption)}</span></caption>",
            "<thead>",
            f'<tr><th scope="col" rowspan="2">{escape(table.corner)}</th>{groups}</tr>',
            f"<tr>{columns}</tr>",
            "</thead>",
            "<tbody>",
            *rows,
            "</tbody>",
            "</table>",
            "",
        ]
    )


def _cell(cell: Cell) -> str:
    parts = [
        f"<strong>{escape(part.text)}</strong>" if part.bold else escape(part.text) for part in cell
    ]
    return f"<td>{'/'.join(parts)}</td>"


def standalone_html(table: Table) -> str:
    """Wrap a table in a whole document that needs nothing else."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(table.title)}</title>",
            f"<style>{STYLE}</style></head>",
            "<body>",
            f"<h1>{escape(table.title)}</h1>",
            to_html(table).rstrip("\n"),
            "</body>",
            "</html>",
            "",
        ]
    )
