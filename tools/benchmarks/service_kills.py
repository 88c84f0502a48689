"""The service killed (SIGKILL) while clients write, again and again: what was acknowledged and is not there afterwards.

Each time the same command starts it again, and everything that was ever acknowledged is looked for: people with their
names and faces, and that who was deleted stays deleted. What a kill interrupted may have happened or not.

    python tools/benchmark.py service_kills --engine faiss --kills 20
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Optional

from arcface_paddle.service.client import ServiceCallError, ServiceClient
from benchmarks.service_process import ServerProcess, make_gallery, started_server
from benchmarks.service_requests import load_pictures

NAME = "service_kills"
_WRITERS = 4
_SIDE = 240  # of the pictures: what is to be tried is writing
_GONE: Optional[str] = None


class Writer:
    """Makes, enrols, renames and deletes people, and notes what the service acknowledged.

    Attributes:
        names: of people, by id; None for those who were deleted.
        open: ids of people whom a kill may have met half-way, of whom nothing was acknowledged that holds now.
    """

    def __init__(self, number: int, pictures: list[bytes]) -> None:
        self.names: dict[str, Optional[str]] = {}
        self.open: set[str] = set()
        self._number = number
        self._pictures = pictures
        self._random = random.Random(number)
        self._count = 0

    def write(self, client: ServiceClient) -> None:
        """Go on until the service does not answer."""
        try:
            while True:
                self._one(client)
        except ServiceCallError as error:
            if error.code != "unreachable":
                raise

    def _one(self, client: ServiceClient) -> None:
        self._count += 1
        name = f"Writer {self._number} {self._count}"
        person = client.create_person(name)["id"]
        client.add_face(person, self._random.choice(self._pictures), faces="largest")
        self.names[person] = name  # one without a face cannot be recognised: both are one change here
        self.open.add(person)
        if self._count % 3 == 1:
            client.change_person(person, name=f"{name} renamed")
            self.names[person] = f"{name} renamed"
        if self._count % 3 == 2:
            client.remove_person(person)
            self.names[person] = _GONE
        self.open.discard(person)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--engine", choices=["file", "faiss"], default="file", help="of the gallery")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--faces", type=int, default=2_000, help="in the gallery before it begins")
    parser.add_argument("--write_s", type=float, default=3.0, help="of writing before a kill, at most")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row."""
    pictures = load_pictures(_SIDE)
    writers = [Writer(number, pictures) for number in range(_WRITERS)]
    starts_s, lost = [], []
    with tempfile.TemporaryDirectory(prefix="service-kills-") as name:
        folder = Path(name)
        uri = make_gallery(folder, engine=args.engine, faces=args.faces)
        for turn in range(args.kills + 1):
            begun = time.perf_counter()
            with started_server(folder, uri) as server:
                starts_s.append(time.perf_counter() - begun)
                client = _client(server)
                lost += _lost(client, writers)
                if turn < args.kills:
                    _write_until_killed(server, writers, after_s=random.uniform(0.3, 1.0) * args.write_s)
    acknowledged = [name for writer in writers for key, name in writer.names.items() if key not in writer.open]
    return [
        {
            "engine": args.engine,
            "kills": args.kills,
            "starts": len(starts_s),
            "people acknowledged": len(acknowledged) - acknowledged.count(_GONE),
            "deletions acknowledged": acknowledged.count(_GONE),
            "lost": len(set(lost)),
            "which": ", ".join(sorted(set(lost))[:5]) or "none",
            "start s, p50": round(sorted(starts_s)[len(starts_s) // 2], 1),
            "start s, max": round(max(starts_s), 1),
        }
    ]


def _client(server: ServerProcess) -> ServiceClient:
    return ServiceClient(f"http://{server.host}:{server.port}", key=server.key, timeout_s=60)


def _write_until_killed(server: ServerProcess, writers: list[Writer], *, after_s: float) -> None:
    threads = [threading.Thread(target=writer.write, args=(_client(server),)) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(after_s)
    server.process.kill()
    for thread in threads:
        thread.join()


def _lost(client: ServiceClient, writers: list[Writer]) -> list[str]:
    """Return what is not as it was acknowledged: ids of people, with what is wrong."""
    people = {person["id"]: person for person in _everybody(client)}
    wrong = []
    for writer in writers:
        for person_id, name in writer.names.items():
            found = people.get(person_id)
            if person_id in writer.open:  # killed while it was renamed or deleted: once under a name, or nowhere
                continue
            if name is _GONE and found is not None:
                wrong.append(f"{person_id} is back")
            elif name is not _GONE and (found is None or found["name"] != name or found["faces"] != 1):
                wrong.append(f"{person_id} should be {name!r}, is {found}")
    return wrong


def _everybody(client: ServiceClient) -> list[Any]:
    found: list[Any] = []
    while True:
        some = client.people(offset=len(found), limit=1000)
        found += some["people"]
        if not some["people"] or len(found) >= some["total"]:
            return found
