"""The service as a process of its own: started, killed, started again, asked to stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from arcface_paddle.cli.main import main
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.pipeline.gallery.stores import convert_gallery, load_gallery
from arcface_paddle.service.client import ServiceCallError, ServiceClient
from arcface_paddle.service.gallery_store import RECORDS
from arcface_paddle.service.people_records import PeopleRecords
from arcface_paddle.service.serving import open_socket

START_S = 120


@contextlib.contextmanager
def started(*arguments: object, log: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start a service and give its process and address; it is killed if the block leaves it running."""
    command = [sys.executable, "-m", "arcface_paddle", "serve", "--port", "0", *map(str, arguments)]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, f"{line!r} {log.read_text()}"
            yield process, found.group()
        finally:
            process.kill()


@contextlib.contextmanager
def begun_request(address: str, key: str, picture: bytes) -> Iterator[Callable[[], bytes]]:
    """Begin a request that the service waits for the body of; what is given sends that and returns the answer."""
    parts = urlsplit(address)
    head = (
        f"POST /v1/detect HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")

        def finish() -> bytes:
            connection.sendall(picture)
            return b"".join(iter(lambda: connection.recv(65536), b""))

        yield finish


class Writers:
    """Threads that enrol people until the service is gone, and note what was acknowledged.

    Attributes:
        acknowledged: ids and names of people who have a face.
    """

    def __init__(self, address: str, key: str, picture: bytes) -> None:
        self.acknowledged: dict[str, str] = {}
        self._client = ServiceClient(address, key=key, timeout_s=30)
        self._picture = picture
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(2)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        with contextlib.suppress(ServiceCallError):
            for turn in range(10_000):
                person = self._client.create_person(f"Person {number} {turn}")
                self._client.add_face(person["id"], self._picture)
                self.acknowledged[person["id"]] = person["name"]


def test_nothing_acknowledged_is_lost_and_what_was_begun_is_finished(gallery, pictures, tmp_path, capsys):
    assert main(["serve", "keys", "add", "writer", "--role", "write", "--gallery", str(gallery)]) == 0
    key = capsys.readouterr().out.strip()
    arguments = ("--gallery", gallery, "--workers", 1, "--threads", 1, "--log_level", "INFO", "--rate", 0)
    with started(*arguments, log=tmp_path / "first.log") as (process, address):
        writers = Writers(address, key, pictures["hopper"])
        end = time.monotonic() + START_S
        while len(writers.acknowledged) < 8 and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        writers.join()
    assert len(writers.acknowledged) >= 8
    with started(*arguments, log=tmp_path / "second.log") as (process, address):
        client = ServiceClient(address, key=key, timeout_s=30)
        people = {person["id"]: person for person in client.people(limit=1000)["people"]}
        for person_id, name in writers.acknowledged.items():
            assert (people[person_id]["name"], people[person_id]["faces"]) == (name, 1)
        with begun_request(address, key, pictures["group"]) as finish:
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ServiceCallError):  # takes nothing new, which shows that the signal has come
                while True:
                    client.models()
            answer = finish()
        assert process.wait(60) == 0
    assert answer.startswith(b"HTTP/1.1 200") and answer.count(b'"landmarks":') == 4
    log = [json.loads(line) for line in (tmp_path / "second.log").read_text().splitlines()]
    assert [line["route"] for line in log if line["message"] == "request"][-1] == "/v1/detect"
    assert not list(gallery.parent.glob(".people.index.*.tmp")) or Gallery.load(gallery)


KILLED = """
import sys
import numpy as np
from pathlib import Path
from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.gallery.stores import load_gallery
from arcface_paddle.pipeline import model_files
from arcface_paddle.pipeline.cards import RECOGNITION
from arcface_paddle.service.gallery_store import NewFace, open_people_store
gallery, state, turn = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
card = model_files.open_model("MobileFace", task=RECOGNITION).card
store = open_people_store(gallery, state, model=load_gallery(gallery).model, card=card)
row = np.eye(1, 192, dtype=np.float32)[0]
for number in range(100_000):
    person = store.create(f"{turn}-{number}")
    store.add_faces(person.record.id, [NewFace(GalleryEntry("x", f"{turn}-{number}.jpg"), row, 0.5)])
    store.rename(person.record.id, f"renamed {turn}-{number}")
    print(person.record.id, f"renamed {turn}-{number}", sep="\\t", flush=True)
    if number % 3 == 2:
        store.remove(person.record.id)
        print(person.record.id, "", sep="\\t", flush=True)
"""


@pytest.mark.parametrize("engine, after", [("file", 5), ("file", 12), ("faiss", 8)])
def test_a_store_that_is_killed_while_it_writes_keeps_what_it_acknowledged(gallery, tmp_path, engine, after):
    uri = str(gallery)
    if engine == "faiss":
        pytest.importorskip("faiss")
        uri = f"faiss:{tmp_path / 'engine'}"
        convert_gallery(gallery, uri)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, uri, str(tmp_path), f"turn{after}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        lines = [process.stdout.readline() for _ in range(after)]
        time.sleep(0.003 * after)
        process.kill()
        lines += process.stdout.readlines()
    acknowledged = dict(line.rstrip("\n").split("\t") for line in lines if line.endswith("\n"))
    assert len(acknowledged) >= after // 2
    records, people = PeopleRecords(tmp_path / RECORDS), load_gallery(uri).faces_by_person()
    for person_id, name in acknowledged.items():
        record = records.by_id(person_id)
        if name:
            known = record is not None and record.name == name and people.get(name) == 1
            assert known or person_id == list(acknowledged)[-1]  # whose removal may have been under way
        else:
            assert record is None
    removed = sum(name == "" for name in acknowledged.values())
    assert removed and "Grace Hopper" in people
    records.close()


def test_answers_do_not_wait_for_acknowledgements():
    with open_socket("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_port_is_taken(gallery, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--gallery", str(gallery), "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "--demo"),
        (["--demo", "--gallery", "a"], "--demo"),
        (["--gallery", "a", "--no_auth", "--host", "0.0.0.0"], "this machine only"),
        (["--gallery", "a", "--cors", "*"], "an origin"),
        (["--gallery", "a", "--timeout", "0"], "work_s is 0.0"),
        (["--gallery", "a", "--host", "no\u202e"], "'no\\u202e': no name or address of a machine"),
        (["--gallery", "a", "--host", "a\0b"], "cannot listen on a\\x00b"),
        (["keys", "list"], "--gallery FILE"),
        (["keys", "revoke", "x", "--state", "nowhere"], "there is no key"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_end_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_keys_are_listed_without_what_is_secret(tmp_path, capsys):
    state = ["--state", str(tmp_path)]
    assert main(["serve", "keys", "add", "front desk", "--role", "admin", *state]) == 0
    key = capsys.readouterr().out.strip()
    assert main(["serve", "keys", "list", *state]) == 0
    listed = capsys.readouterr().out
    key_id, secret = key.split("_", 2)[1:]
    assert "front desk" in listed and "admin" in listed and key_id in listed and secret not in listed
    assert main(["serve", "keys", "revoke", key_id, *state]) == 0
    assert "revoked" in capsys.readouterr().out


def test_the_client_says_what_went_wrong(tmp_path):
    client = ServiceClient("http://127.0.0.1:9", timeout_s=5)
    with pytest.raises(ServiceCallError, match="no answer") as caught:
        client.people()
    assert (caught.value.status, caught.value.code) == (0, "unreachable") and not client.is_ready()
