"""Writers that are killed within changes of several steps: what was acknowledged is there, and nothing by half.

``tools/benchmark.py kills`` does so 20 times on each engine.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable

import pytest
from benchmarks import kills

from arcface_paddle.pipeline.gallery.stores import create_gallery, milvus_undo, open_gallery

ENGINES = [
    "file",
    "encrypted",
    "faiss",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("milvus", "postgres")),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_change_of_several_steps_is_whole_or_nothing_when_its_writer_is_killed(engine, tmp_path, request):
    needed = {"faiss": "faiss", "encrypted": "cryptography"}.get(engine)
    if needed is not None:
        pytest.importorskip(needed)
    with contextlib.ExitStack() as stack:
        if engine in ("milvus", "postgres"):
            uri = request.getfixturevalue(f"{engine}_server")("killed")
        else:
            uri = stack.enter_context(kills.place_of(engine, tmp_path))
        found = kills.kill_writers(uri, rounds=2)
    assert (found.lost, found.half) == (0, 0) and found.acknowledged >= 2


class Died(BaseException):
    """The process is no more."""


class Counted:
    """A client after whose nth change of the server the process is no more."""

    def __init__(self, client: Any, most: int) -> None:
        self._client = client
        self._left = most

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return (
            method
            if name not in ("upsert", "delete", "flush")
            else lambda *args, **named: self._count(method, args, named)
        )

    def _count(self, method: Callable[..., Any], args: Any, named: Any) -> Any:
        done = method(*args, **named)
        self._left -= 1
        if self._left < 0:
            raise Died
        return done


@pytest.mark.long
def test_a_milvus_writer_may_be_killed_after_any_request(milvus_server, monkeypatch):
    monkeypatch.setattr(milvus_undo, "_PULSE_S", 60.0)
    uri, made, requests = milvus_server("killed"), 2, 0
    with create_gallery(uri, kills.MODEL) as store:
        for number in range(made):
            kills.change(store, number)
    outcomes = []
    while True:
        store = open_gallery(uri)
        store._client = Counted(store._client, requests)
        monkeypatch.setattr(store, "_roll_back", lambda log: log.abandon())  # nobody is there to do it
        try:
            kills.change(store, made)
        except Died:
            requests += 1
        else:
            break
        with open_gallery(uri) as again:
            there = kills.facts_of(again)
            assert again._notes.read("", consistency="Strong") == []
        assert there in (kills.expected(made), kills.expected(made + 1)), requests
        outcomes.append(there == kills.expected(made + 1))
        made += outcomes[-1]
    assert len(outcomes) >= 10 and outcomes == sorted(outcomes) and True in outcomes and False in outcomes


@pytest.mark.long
def test_the_notes_of_another_machine_are_left_alone_while_it_is_at_work(milvus_server, monkeypatch):
    uri = milvus_server("pulse")
    monkeypatch.setattr(milvus_undo, "DEAD_AFTER_S", 3.0)
    monkeypatch.setattr(milvus_undo, "_PULSE_S", 0.5)
    with create_gallery(uri, kills.MODEL) as store:
        kills.change(store, 0)
        monkeypatch.setattr(milvus_undo, "host_id", lambda: "another machine")
        with contextlib.suppress(KeyError), store.transaction():
            kills.change(store, 1)
            half = kills.facts_of(store)
            monkeypatch.undo()
            monkeypatch.setattr(milvus_undo, "DEAD_AFTER_S", 3.0)
            monkeypatch.setattr(milvus_undo, "lock_of", lambda *_: milvus_undo._folder() / "of another machine")
            with open_gallery(uri) as other:
                assert kills.facts_of(other) == half
            monkeypatch.setattr(store, "_roll_back", lambda log: log.abandon())
            raise KeyError  # it dies now
        with open_gallery(uri) as other:
            assert kills.facts_of(other) == kills.expected(1)
