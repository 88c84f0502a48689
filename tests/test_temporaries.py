"""What killed processes leave behind goes at the next start, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arcface_paddle import files, temporaries

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="locks tell only where the system has them")

WRITER = """
import sys, time
from pathlib import Path
from arcface_paddle import files, temporaries
place = Path(sys.argv[1])
with files.atomic_writer(place / "people.index") as stream, files.atomic_folder(place / "model") as folder:
    stream.write(b"half")
    stream.flush()
    (folder / "half").write_bytes(b"half")
    film = temporaries.new_file(place / "film.mp4", suffix=".mp4")
    with files.scratch_folder():
        print("writing", flush=True)
        time.sleep(60)
"""


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def started(tmp_path: Path):
    """Start a process that is in the middle of writing four things, the fourth into a folder of the system's."""
    (tmp_path / "place").mkdir()
    (tmp_path / "scratch").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "place")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, started, monkeypatch):
    place, scratch = tmp_path / "place", tmp_path / "scratch"
    monkeypatch.setattr(temporaries, "_cleaned", set())  # this process is every next start
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    for foreign in (".other.abcdefgh.tmp", ".export_plan.tmp", "af-0000-00000000.tmp"):
        (place / foreign).write_bytes(b"of another program")
    of_the_writer = set(names_in(place))
    assert len(of_the_writer) == 6 and len(names_in(scratch)) == 1

    files.write_bytes(place / "mine", b"while the other one is writing")
    assert set(names_in(place)) == {*of_the_writer, "mine"}

    started.send_signal(signal.SIGKILL)
    started.wait()
    monkeypatch.setattr(temporaries, "_cleaned", set())
    files.write_bytes(place / "mine", b"after it")
    with files.scratch_folder() as folder:
        assert names_in(scratch) == [folder.name]
    assert names_in(place) == [".export_plan.tmp", ".other.abcdefgh.tmp", "af-0000-00000000.tmp", "mine"]
    assert names_in(scratch) == []


ENDS_EARLY = """
import os, sys
from pathlib import Path
from arcface_paddle import temporaries
place = Path(sys.argv[1])
def interrupt(path, descriptor):
    raise KeyboardInterrupt
if os.fork() == 0:
    os._exit(0)
temporaries.new_file(place / "kept").replace(place / "kept")
(place / "model").mkdir()
os.replace(place / "model", temporaries.new_folder(place / "model", kind="old").path / "model")
temporaries._is_claimed = interrupt  # Ctrl-C as soon as the file is there
try:
    temporaries.new_file(place / "half")
except KeyboardInterrupt:
    pass
assert len(list(place.iterdir())) == 3, list(place.iterdir())
if os.fork() == 0:
    sys.exit(0)  # is not the one who makes it
os.wait(), os.wait()
assert len(list(place.iterdir())) == 3
"""


def test_ctrl_c_as_soon_as_a_file_is_made_leaves_none(tmp_path):
    subprocess.run([sys.executable, "-c", ENDS_EARLY, str(tmp_path)], check=True)
    assert names_in(tmp_path) == ["kept", "model"]


def test_what_cannot_be_made_is_forgotten(tmp_path):
    with pytest.raises(FileNotFoundError):
        temporaries.new_file(tmp_path / "none" / "people.index")
    made = temporaries.new_file(tmp_path / "people.index")
    assert set(temporaries._unfinished) >= {made.path} and not any("none" in str(p) for p in temporaries._unfinished)
    made.discard()
    assert made.path not in temporaries._unfinished


def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path):
    here, other = temporaries._kernel(), "0000" if temporaries._kernel() != "0000" else "1111"
    young, old, future = (tmp_path / f".a.af-{other}-0000000{i}.tmp" for i in range(3))
    for path, age_s in ((young, 3600), (old, 2 * 86400), (future, -3600)):
        path.write_bytes(b"")
        os.utime(path, (time.time() - age_s,) * 2)
    (tmp_path / f".a.af-{here}-00000003.tmp").write_bytes(b"")
    busy = tmp_path / f".b.af-{other}-00000004.tmp"
    busy.mkdir()
    os.utime(busy, (time.time() - 2 * 86400,) * 2)
    (busy / "part").write_bytes(b"written now")
    files.remove_abandoned(tmp_path)
    assert names_in(tmp_path) == sorted([young.name, future.name, busy.name])
    files.remove_leftovers(tmp_path / "a")  # whose lock the caller has: nobody anywhere is writing it
    assert names_in(tmp_path) == [busy.name]


def test_a_folder_that_was_to_be_replaced_comes_back(tmp_path):
    """Killed between the two renames, a process leaves no folder of that name, but the old one aside."""
    retired = tmp_path / f".best.af-{temporaries._kernel()}-00000000.old"
    (retired / "best").mkdir(parents=True)
    (retired / "best" / "kept").write_bytes(b"")
    files.remove_abandoned(tmp_path)
    assert names_in(tmp_path) == ["best"] and names_in(tmp_path / "best") == ["kept"]


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path, monkeypatch):
    files.write_bytes(tmp_path / "best" / "kept", b"")

    def refuse(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(temporaries.Temporary, "replace", refuse)
    with pytest.raises(OSError, match="No space"), files.atomic_folder(tmp_path / "best"):
        pass
    assert names_in(tmp_path) == ["best"] and names_in(tmp_path / "best") == ["kept"]


def test_links_are_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"")
    link = tmp_path / f".a.af-{temporaries._kernel()}-00000000.tmp"
    link.symlink_to(tmp_path / "mine")
    files.remove_abandoned(tmp_path)
    assert names_in(tmp_path / "mine") == ["file"]


def test_long_names_of_four_bytes_a_character_fit(tmp_path):
    files.write_bytes(tmp_path / ("\U0001f600" * 60), b"")
    assert len(names_in(tmp_path)) == 1


def test_no_wall_clock_measures_time():
    """Clocks are set, forwards and back: what waits, resumes or shows progress counts with a clock that is not."""
    package = Path(files.__file__).parent
    users = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if "time.time()" in path.read_text("utf-8")
    }
    # ages in either direction; a date that is sent; how far the clock was set, by one that is not
    assert users == {"temporaries.py", "video/webhook.py", "service/wall_clock.py"}
