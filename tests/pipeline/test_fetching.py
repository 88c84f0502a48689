"""Downloads of model archives from a server that breaks off, lies, or has changed its mind."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import io
import random
import re
import tarfile
import threading
from pathlib import Path
from typing import Iterator, Optional

import pytest

from arcface_paddle.cli.main import main
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import downloading, fetching, model_files
from arcface_paddle.pipeline.fetching import fetch_archive
from arcface_paddle.pipeline.model_files import shipped_folder

EXPECTED = ("inference.pdmodel", "inference.pdiparams")


def archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in EXPECTED:
            tar.add(shipped_folder("FaceRefiner") / name, f"model/{name}")
    return stream.getvalue()


class Server:
    """Serves one file from 127.0.0.1.

    Attributes:
        content: the file.
        version: its ETag; None for a server that gives none.
        break_after: how many bytes of each answer arrive before the connection breaks; each entry serves one answer.
        knows_ranges: whether it sends the rest when that is asked for.
        asked: (Range, If-Range) of each request.
        shift: how far from what was asked for its answers say to begin.
        claimed: bytes that it says it will send; None for those that it will.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.version: Optional[str] = '"1"'
        self.break_after: list[int] = []
        self.knows_ranges = True
        self.asked: list[tuple[Optional[str], Optional[str]]] = []
        self.shift = 0
        self.claimed: Optional[int] = None
        self.url = ""

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        asked, version = request.headers.get("Range"), request.headers.get("If-Range")
        self.asked.append((asked, version))
        begin = int(asked[6:-1]) if asked and self.knows_ranges and version in (None, self.version) else 0
        if begin >= len(self.content) > 0 and asked:
            request.send_error(416)
            return
        request.send_response(206 if begin else 200)
        if self.version is not None:
            request.send_header("ETag", self.version)
        if begin:
            size = len(self.content)
            request.send_header("Content-Range", f"bytes {begin + self.shift}-{size - 1}/{size}")
        request.send_header("Content-Length", str(self.claimed or len(self.content) - begin))
        request.end_headers()
        most = self.break_after.pop(0) if self.break_after else len(self.content)
        request.wfile.write(self.content[begin:][:most])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    served = Server(archive())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(downloading, "_FIRST_PAUSE_S", 0.01)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        served.url = f"http://127.0.0.1:{httpd.server_address[1]}/m.tar"
        yield served
        httpd.shutdown()
        thread.join()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_connection_that_breaks_is_continued_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000, 2000]
    folder = tmp_path / "cache" / "model"
    assert fetch_archive(server.url, folder, expected=EXPECTED) == sha256(server.content)
    assert server.asked == [(None, None), ("bytes=1000-", '"1"'), ("bytes=3000-", '"1"')]
    assert left(folder) == ["model"]
    assert (folder / EXPECTED[1]).read_bytes() == (shipped_folder("FaceRefiner") / EXPECTED[1]).read_bytes()


def test_what_has_arrived_serves_the_next_call(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    server.break_after = [5000, 0, 0, 0]
    with pytest.raises(ModelFileError, match=r"5,000 bytes arrived.*call it again to go on"):
        fetch_archive(server.url, folder, expected=EXPECTED)
    assert left(folder) == [".model.part", ".model.part.from"]
    server.asked.clear()
    fetch_archive(server.url, folder, expected=EXPECTED)
    assert server.asked == [("bytes=5000-", '"1"')]
    assert left(folder) == ["model"]


def test_a_server_that_knows_no_ranges_sends_all_anew(server: Server, tmp_path: Path) -> None:
    server.break_after, server.knows_ranges = [5000], False
    fetch_archive(server.url, tmp_path / "model", expected=EXPECTED, sha256=sha256(server.content))
    assert server.asked == [(None, None), ("bytes=5000-", '"1"')]
    assert left(tmp_path / "model") == ["model"]


def test_the_beginning_of_another_version_is_not_continued(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    whole = server.content
    server.content, server.break_after = b"an older file" * 1000, [5000, 0, 0, 0]
    with pytest.raises(ModelFileError, match="call it again"):
        fetch_archive(server.url, folder, expected=EXPECTED)
    server.content, server.version = whole, '"2"'
    assert fetch_archive(server.url, folder, expected=EXPECTED) == sha256(whole)


def test_without_a_version_only_a_known_hash_lets_it_go_on(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    server.version, server.break_after = None, [5000, 0, 0, 0, 5000, 0, 0, 0]
    with pytest.raises(ModelFileError, match="call it again"):
        fetch_archive(server.url, folder, expected=EXPECTED)
    server.asked.clear()
    with pytest.raises(ModelFileError, match="call it again"):
        fetch_archive(server.url, folder, expected=EXPECTED)
    assert server.asked[0] == (None, None)  # nobody vouches for what was there
    server.asked.clear()
    fetch_archive(server.url, folder, expected=EXPECTED, sha256=sha256(server.content).upper())
    assert server.asked == [("bytes=5000-", None)]


def test_another_content_is_not_unpacked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[object] = []
    monkeypatch.setattr(fetching, "_extract", lambda *given, **_: unpacked.append(given))
    with pytest.raises(ModelFileError, match=f"{sha256(server.content)}, expected is {'0' * 64}; it was not unpacked"):
        fetch_archive(server.url, tmp_path / "cache" / "model", expected=EXPECTED, sha256="0" * 64)
    assert not unpacked
    assert left(tmp_path / "cache" / "model") == []


def test_a_server_that_always_breaks_ends_with_one_line(server: Server, tmp_path: Path) -> None:
    server.break_after = [0] * 9
    with pytest.raises(ModelFileError, match="cannot fetch"):
        fetch_archive(server.url, tmp_path / "model", expected=EXPECTED)
    assert len(server.asked) == 1  # nothing has ever arrived: there is no use in asking again


def test_a_rest_that_begins_elsewhere_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.break_after, server.shift = [5000], 7
    fetch_archive(server.url, tmp_path / "model", expected=EXPECTED, sha256=sha256(server.content))
    assert [asked for asked, _ in server.asked] == [None, "bytes=5000-", None]


def test_a_beginning_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (tmp_path / ".model.part").write_bytes(b"x" * (len(server.content) + 5))
    (tmp_path / ".model.part.from").write_text(f'{{"url": "{server.url}", "version": "\\"1\\""}}')
    fetch_archive(server.url, folder, expected=EXPECTED)
    assert [asked for asked, _ in server.asked] == [f"bytes={len(server.content) + 5}-", None]
    assert left(folder) == ["model"]


@pytest.mark.parametrize("facts", [b"", b"[]", b"\xff", b"[" * 5000, b'{"url": 1e400, "version": []}'])
def test_damaged_notes_on_what_has_arrived_begin_anew(facts: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / ".model.part").write_bytes(b"x" * 100)
    (tmp_path / ".model.part.from").write_bytes(facts)
    fetch_archive(server.url, tmp_path / "model", expected=EXPECTED)
    assert server.asked == [(None, None)]


def test_a_file_that_is_too_long_is_refused_by_what_is_announced(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_ARCHIVE_BYTES", 1000)
    with pytest.raises(ModelFileError, match="more than 1,000 bytes; not fetched"):
        fetch_archive(server.url, tmp_path / "model", expected=EXPECTED)
    assert left(tmp_path / "model") == []


@pytest.mark.parametrize(
    ("claimed", "message"), [((1 << 30) + 1, "more than 1,073,741,824 bytes; not fetched"), (1 << 30, "cannot fetch")]
)
def test_an_archive_has_a_gibibyte_at_most(claimed: int, message: str, server: Server, tmp_path: Path) -> None:
    server.claimed, server.break_after = claimed, [0]
    with pytest.raises(ModelFileError, match=message):
        fetch_archive(server.url, tmp_path / "model", expected=EXPECTED)


def _bomb(compress) -> bytes:
    """A small archive whose first member unpacks to 3 GB, told by its head alone: the rest is not there."""
    info = tarfile.TarInfo("zeros")
    info.size = 3 << 30
    return compress(info.tobuf() + bytes(1 << 20))


def _long_head(compress) -> bytes:
    """A member of type x, whose 17 MB tarfile reads in one piece."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 17 << 20
    return compress(info.tobuf() + bytes(1 << 20))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("make", [_bomb, _long_head])
def test_archives_that_unpack_to_too_much(make, compress, server: Server, tmp_path: Path) -> None:
    server.content = make(compress)
    with pytest.raises(ModelFileError, match=r"unpacks to more than 2,147,483,648 bytes"):
        fetch_archive(server.url, tmp_path / "model", expected=EXPECTED)
    assert left(tmp_path / "model") == []


@pytest.mark.parametrize("name", ["other.bin", EXPECTED[0]])
def test_a_compressed_archive_that_is_damaged_is_said_to_be_so(name: str, server: Server, tmp_path: Path) -> None:
    """Whether the damaged member is read or passed over."""
    info = tarfile.TarInfo(name)
    info.size = 2_000_000
    content = random.Random(0).randbytes(info.size)
    packed = bytearray(bz2.compress(info.tobuf() + content))
    packed[len(packed) // 2] ^= 0xFF
    server.content = bytes(packed)
    with pytest.raises(ModelFileError, match="not a whole tar archive"):
        fetch_archive(server.url, tmp_path / "model", expected=EXPECTED)


def test_models_fetch_takes_a_hash_and_tells_the_one_it_saw(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_files, "ARCHIVE_BASE_URL", server.url[: -len("m.tar")])
    monkeypatch.setenv(model_files.HOME_VARIABLE, str(tmp_path))
    fetch = ["models", "fetch", "MobileFace-128"]
    assert main([*fetch, "--sha256", "0" * 64]) == 2
    assert "it was not unpacked" in capsys.readouterr().err
    assert main(fetch) == 0
    said = capsys.readouterr()
    assert said.out == f"MobileFace-128: {tmp_path / 'models' / 'MobileFace-128'}\n"
    assert f"--sha256 {sha256(server.content)}" in said.err
    assert main([*fetch, "--sha256", "0" * 64]) == 2
    assert re.search(r"is here already.*remove", capsys.readouterr().err)
