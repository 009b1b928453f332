"""The HTML form of a table: structure, bold halves, escaping."""

from html.parser import HTMLParser

import pytest

from udit_bench.report.html import escape, standalone_html, to_html
from udit_bench.report.tables import Group, Part, Row, Table

EVIL = '<script>alert("1 & 2")</script>'


class Reader(HTMLParser):
    """Every element with its attributes, and the text in each kind of element."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)


def table_of(title="MGD-GAN", head="sheep/giraffe", caption="In percent."):
    cells = ((Part("97.3", True), Part("81.6")), (Part("--"), Part("99.2", True)))
    plain = ((Part("1.0"), Part("2.0")), (Part("3.0"), Part("4.0")))
    return Table(
        layout="table1",
        protocol="retrieval",
        title="MMR and MODS",
        caption=caption,
        origin="udit-bench table --layout table1",
        corner="Method",
        groups=(Group(head, ("MMR", "MODS")),),
        rows=(Row(title, cells), Row("real", plain)),
        measurements=(),
    )


def test_cells_heads_and_caption():
    text = to_html(table_of())
    assert "<td><strong>97.3</strong>/81.6</td><td>--/<strong>99.2</strong></td>" in text
    read = Reader(text)
    assert read.open == []
    assert read.elements[0] == ("table", {"data-origin": "udit-bench table --layout table1"})
    assert ("th", {"scope": "colgroup", "colspan": "2"}) in read.elements
    assert ("th", {"scope": "col", "rowspan": "2"}) in read.elements
    assert read.texts["th"] == ["Method", "sheep/giraffe", "MMR", "MODS", "MGD-GAN", "real"]
    assert read.texts["span"] == ["In percent."]
    assert [tag for tag, _ in read.elements].count("td") == 4


@pytest.mark.parametrize("field", ["title", "head", "caption"])
def test_what_a_user_named_is_text(field):
    read = Reader(to_html(table_of(**{field: EVIL})))
    assert "script" not in {tag for tag, _ in read.elements}
    assert EVIL in [text for texts in read.texts.values() for text in texts]


def test_escape_covers_attributes_and_keeps_to_one_line():
    assert escape("a \"b\"\n<c> & 'd'") == "a &quot;b&quot; &lt;c&gt; &amp; &#x27;d&#x27;"


def test_standalone_is_a_whole_document_around_the_same_table():
    made = table_of(title=EVIL)
    text = standalone_html(made)
    assert text.startswith("<!doctype html>")
    assert to_html(made).strip() in text
    read = Reader(text)
    assert read.open == []
    assert read.texts["title"] == ["MMR and MODS"]
    assert "http" not in text
