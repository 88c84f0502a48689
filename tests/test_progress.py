"""Progress: bars for people, lines for logs."""

from __future__ import annotations

import io
import re
import sys
import time

from arcface_paddle import progress as module
from arcface_paddle.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_interval(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.05)
    for _ in progress(range(40), desc="embedding", unit="pictures"):
        time.sleep(0.01)
    shown = capsys.readouterr().err
    lines = shown.splitlines()
    assert 2 <= len(lines) <= 12
    assert "\r" not in shown and "" not in lines
    assert lines[0].startswith("embedding: ") and "/40 pictures (" in lines[0] and "to go" in lines[0]
    assert lines[-1].startswith("embedding: 40/40 pictures (100 %)")


def test_a_name_in_front_of_the_figures_moves_no_cursor(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.0)
    for _ in progress(range(3), desc="lfw\x1b[2J\x9b\u202e\nforged", unit="batches"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith(r"lfw\x1b[2J\x9b\u202e forged: ") for line in lines)


def test_a_clock_that_is_set_changes_nothing(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.05)
    since, begin = time.monotonic(), time.time()
    jumps = [0.0, 3600.0, -365 * 86400.0]  # by turns, every 50 ms

    def on_the_wall() -> float:
        return begin + jumps[int((time.monotonic() - since) / 0.05) % 3]

    monkeypatch.setattr("tqdm.std.time", on_the_wall)
    for _ in progress(range(40), unit="pictures"):
        time.sleep(0.01)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and all(re.search(r", 00:\d\d passed", line) for line in lines)


def test_short_work_says_nothing_in_a_log(capsys):
    assert list(progress(range(5))) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_work_of_unknown_length_is_counted(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.02)
    bar = progress(iter(range(20)), unit="frames")
    for _ in bar:
        time.sleep(0.01)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("20 frames, ") and last.endswith("passed") and "%" not in last


def test_a_terminal_gets_a_bar(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(total=3, unit="pictures") as bar:
        bar.update(3)
    assert "\r" in stream.getvalue() and "3/3" in stream.getvalue()


def test_the_other_ranks_show_nothing(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress(range(3), shown=False)) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_what_an_earlier_run_did_counts(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.01)
    with progress(total=10, initial=6, unit="pictures") as bar:
        for _ in range(4):
            time.sleep(0.02)
            bar.update(1)
    assert capsys.readouterr().err.splitlines()[-1].startswith("10/10 pictures")
