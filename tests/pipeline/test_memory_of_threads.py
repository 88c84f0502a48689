"""Memory does not grow with the number of threads that share an analyzer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from freed_memory import KEPT_MB, glibc, kept_by_malloc

from arcface_paddle.pipeline import Analyzer
from arcface_paddle.pipeline.detection.strategies import WholePicture
from arcface_paddle.pipeline.engines import heaps
from arcface_paddle.pipeline.settings import available_cores
from arcface_paddle.types import Detection

# All threads hold what they were given until every one has some: each gets a heap of its own if glibc is let.
COUNT = """
import ctypes, threading
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fopen.restype = ctypes.c_void_p, ctypes.c_void_p
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
barrier = threading.Barrier(12)
def use():
    work()
    libc.malloc(100_000)
    barrier.wait()
threads = [threading.Thread(target=use) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
stream = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, stream)
libc.fclose(stream)
"""

# What the threads do before.
NOTHING = """
import sys
from arcface_paddle.pipeline.engines.heaps import limit_heaps
if sys.argv[1] == "limited":
    limit_heaps()
def work():
    pass
"""
NETWORK = """
import sys
import numpy as np
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
model = open_model("FaceRefiner")
options = RuntimeOptions(engine=sys.argv[1], threads=1)
runtime = open_runtime(model.graph_file, model.weights_file, options=options)
def work():
    runtime.run([np.zeros((1, 3, 48, 48), np.float32)])
"""

# Prints the peak of the process in MB after some seconds of photographs of up to 12 megapixels in some threads.
PEAK = """
import random, sys, threading, time
import cv2, numpy as np, resource
from arcface_paddle.pipeline.opening import PipelineSettings, open_pipeline
from arcface_paddle.pipeline.settings import RuntimeOptions
count, pictures = int(sys.argv[2]), int(sys.argv[3])
analyzer = open_pipeline(PipelineSettings(runtime=RuntimeOptions(engine=sys.argv[1], threads=1))).analyzer
photograph = cv2.imread("demo/queries/group.jpg")
sizes = [(4000, 3000), (3000, 2000), (1600, 1200)]
encoded = [cv2.imencode(".jpg", cv2.resize(photograph, size))[1].tobytes() for size in sizes]
for picture in encoded:
    analyzer.analyze(picture)
left = [encoded[number % 3] for number in range(pictures)]
def work():
    while left:
        try:
            picture = left.pop()
        except IndexError:
            return
        analyzer.analyze(picture)
threads = [threading.Thread(target=work) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def without_users_choice() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}


def count_heaps(before: str, argument: str, path: Path, *, environment: dict[str, str]) -> int:
    """Run a program of twelve threads and return how many heaps they had."""
    subprocess.run([sys.executable, "-c", before + COUNT, argument, str(path)], check=True, env=environment)
    return path.read_text().count("<heap ")


@glibc
def test_threads_of_a_service_share_two_heaps(tmp_path: Path) -> None:
    usual, limited = (
        count_heaps(NOTHING, kind, tmp_path / kind, environment=without_users_choice()) for kind in ("usual", "limited")
    )
    assert limited <= 2 < usual


@glibc
def test_threads_that_run_a_network_share_two_heaps(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    mine = without_users_choice()
    assert count_heaps(NETWORK, "openvino", tmp_path / "ours", environment=mine) <= 2
    users = {**mine, "MALLOC_ARENA_MAX": "7"}
    assert 2 < count_heaps(NETWORK, "openvino", tmp_path / "users", environment=users) <= 7


@glibc
@pytest.mark.parametrize("all_is_kept", [False, True])
def test_what_is_free_in_the_heaps_is_given_back_unless_all_is_to_be_kept(
    all_is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heaps, "_all_is_kept", all_is_kept)
    with kept_by_malloc() as given_back_mb:
        assert given_back_mb() < KEPT_MB / 4
        heaps.give_back_freed_memory()
        assert (given_back_mb() > KEPT_MB * 3 / 4) is not all_is_kept


class Counting(WholePicture):
    """Notes how many pictures are searched at a time, and holds each until others had their chance to come."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._lock = threading.Lock()
        self._pause = threading.Event()

    def detect(self, image: np.ndarray) -> Sequence[Detection]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self._pause.wait(0.02)
        with self._lock:
            self.now -= 1
        return super().detect(image)


def test_no_more_pictures_are_decoded_at_a_time_than_there_are_cores() -> None:
    detector = Counting()
    analyzer = Analyzer(detector)
    allowed = max(2, available_cores())
    picture = np.zeros((112, 112, 3), np.uint8)
    threads = [threading.Thread(target=analyzer.analyze, args=(picture,)) for _ in range(3 * allowed)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 < detector.most <= allowed


@pytest.mark.long
@glibc
@pytest.mark.parametrize("engine", ["openvino", "paddle"])
def test_thirty_threads_need_hardly_more_memory_than_two(engine: str) -> None:
    pytest.importorskip(engine)

    def peak_mb(threads: int) -> int:
        command = [sys.executable, "-c", PEAK, engine, str(threads), "30"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=without_users_choice())
        return int(done.stdout)

    two, thirty = peak_mb(2), peak_mb(30)
    assert thirty < 1.25 * two, (two, thirty)
