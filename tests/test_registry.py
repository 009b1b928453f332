"""Names to things: ours, plug-ins, and the messages where that fails."""

from importlib.metadata import EntryPoint

import pytest

from udit_bench import registry
from udit_bench.errors import MissingPartError, UsageError
from udit_bench.registry import DATASETS, DETECTORS, METHODS, METRICS, Registry

COLOURS = Registry("colour", {"red": "math:pi", "green": "math:e"}, "test.colours")


@pytest.fixture
def plug_in(monkeypatch):
    """A function that installs entry points into every group for one test."""

    def install(**entries):
        def fake(group):
            return [EntryPoint(name, value, group) for name, value in entries.items()]

        monkeypatch.setattr(registry, "entry_points", fake)

    return install


def test_our_own_names_keep_the_order_of_the_table():
    assert COLOURS.names() == ["red", "green"]


def test_an_unknown_name_is_answered_with_the_near_one_and_the_list():
    with pytest.raises(
        UsageError, match=r"unknown colour 'gren'\. Did you mean 'green'\? Known: green, red"
    ):
        COLOURS.load("gren")


def test_a_far_off_name_gets_no_suggestion():
    with pytest.raises(UsageError) as error:
        COLOURS.load("xyzzy")
    assert "Did you mean" not in str(error.value)


def test_a_plug_in_is_listed_last_and_loaded(plug_in):
    plug_in(blue="cmath:tau")
    assert COLOURS.names() == ["red", "green", "blue"]
    assert COLOURS.load("blue") == pytest.approx(6.2831853)


def test_two_packages_with_one_name_are_refused(plug_in):
    plug_in(red="cmath:tau")
    with pytest.raises(UsageError, match=r"two packages register the colour 'red'.*uninstall"):
        COLOURS.load("green")


def test_the_same_target_twice_is_no_conflict(plug_in):
    plug_in(red="math:pi")
    assert COLOURS.names() == ["red", "green"]


def test_a_missing_module_is_a_missing_part_with_the_install_command(plug_in):
    plug_in(blue="no_such_package.inner:thing")
    with pytest.raises(MissingPartError, match=r"pip install no_such_package$") as error:
        COLOURS.load("blue")
    assert error.value.exit_code == 4


@pytest.mark.parametrize("table", [METHODS, DATASETS, DETECTORS, METRICS], ids=lambda t: t.kind)
def test_every_name_of_ours_loads(table):
    for name in table.names():
        assert table.load(name) is not None
