"""Tables of the terminal: whole where there is room, folded or parted where there is none, nothing lost."""

from __future__ import annotations

import pytest

from arcface_paddle.cli.tables import text_table

HEAD = ["model", "set", *(f"figure {k}" for k in range(6))]
ROWS = [[name, "lfw", *(f"{k}.{k}{k} % [1, 2]" for k in range(6))] for name in ("MobileFace", "a_run")]


def widths(table):
    return {len(line) for line in table.splitlines()}


def test_a_table_that_fits_stands_as_it_is():
    table = text_table(HEAD, ROWS, keys=2, width=500)
    assert len(widths(table)) == 1
    assert table.count("MobileFace") == 1


def test_without_a_terminal_nothing_is_folded(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert text_table(HEAD, ROWS, keys=2) == text_table(HEAD, ROWS, keys=2, width=500)


@pytest.mark.parametrize("width", [45, 80, 100])
def test_a_wide_table_becomes_several_with_the_same_keys(width):
    table = text_table(HEAD, ROWS, keys=2, width=width)
    assert max(widths(table)) <= width
    parts = table.count("| model ")
    assert parts > 1
    assert table.count("MobileFace") == table.count("a_run") == parts
    for row in (HEAD, ROWS[0], ROWS[1]):
        assert all(cell in table for cell in row)  # no figure was broken


def test_a_long_text_is_folded_at_its_spaces():
    evidence = "too few pairs: 945 of strangers, at least 1,000 needed"
    table = text_table(["threshold", "now", "evidence"], [["far_1e3", "0.5200", evidence], ["b", None, "x"]], width=50)
    assert len(widths(table)) == 1
    assert max(widths(table)) <= 50
    folded = [line.split("|")[3].strip() for line in table.splitlines() if line.startswith("|")]
    assert " ".join(folded[1:-1]).strip() == evidence
    assert "| b         | -      | x" in table


def test_a_key_longer_than_the_line_is_broken_and_not_cut():
    path = "/data/" + "x" * 150
    table = text_table(["model", "AUC", "EER"], [[path, "0.98765", "1.23 %"]], width=60)
    assert max(widths(table)) <= 60
    assert "".join(line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")).endswith(path)


def test_the_terminal_is_asked(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert max(widths(text_table(HEAD, ROWS, keys=2))) <= 70


def test_no_window_is_too_narrow():
    table = text_table(HEAD, ROWS, keys=2, width=1)
    assert table == text_table(HEAD, ROWS, keys=2, width=20) and "figure" in table


def test_equal_titles():
    assert "| a | a" in text_table(["a", "a"], [[1, 2]], width=80)
