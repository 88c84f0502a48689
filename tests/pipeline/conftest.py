"""Servers that keep galleries: real ones, started for a test run where the packages that carry them are installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from benchmarks import gallery_servers


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    pytest.importorskip("pymilvus")
    if gallery_servers.milvus_program() is None:
        pytest.skip("the package milvus, which carries a Milvus server, is not installed")
    with gallery_servers.milvus_server(tmp_path_factory.mktemp("milvus")) as server:
        yield lambda name: server.place()
    assert server.processes() == []


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    pytest.importorskip("psycopg")
    pytest.importorskip("pgserver")

    def place(name: str) -> str:
        return server.place()

    with gallery_servers.postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        place.folder = server.folder
        yield place
