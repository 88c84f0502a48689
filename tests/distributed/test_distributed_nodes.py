"""Two nodes with a network of their own, each with its launcher: network namespaces in the place of machines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launch import ROOT, launch

sys.path.insert(0, str(ROOT / "tests" / "training"))
from tiny_data import write_dataset
from training_runs import arguments, assert_same_run

SCRIPT = ROOT / "deploy" / "training" / "launch_node.sh"
ADDRESSES = ("10.213.77.1", "10.213.77.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def nodes() -> Iterator[list[str]]:
    """Two namespaces joined by a cable, with an interface ``job0`` each and a second network on node 0."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and ip")
    names = [f"faces{os.getpid()}{end}" for end in "ab"]
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "job0", "netns", names[0], "type", "veth", "peer", "name", "job0", "netns", names[1])
        for name, address in zip(names, ADDRESSES):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "job0")
            ip("-n", name, "link", "set", "job0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    finally:
        for name in made:
            ip("netns", "del", name)


def start_node(name: str, rank: int, flags: list[str], log: Path) -> subprocess.Popen[bytes]:
    own = {"NODES": "2", "NODE_RANK": str(rank), "MASTER_HOST": ADDRESSES[0], "INTERFACE": "job0", "PROCESSES": "1"}
    own |= {"PYTHON": sys.executable, "LOG_DIR": str(log.parent / f"node{rank}"), "OMP_NUM_THREADS": "1"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    environment = {**kept, **own, "PYTHONPATH": str(ROOT)}
    command = ["ip", "netns", "exec", name, "sh", str(SCRIPT), *flags]
    with log.open("wb") as stream:
        return subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)


@pytest.mark.long
@pytest.mark.slow
def test_two_nodes_are_one_run(nodes, tmp_path):
    data = write_dataset(tmp_path / "data", identities=10, pictures=3, pairs=11)
    flags = arguments(data, tmp_path / "two", val_targets="")[1:]
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    launchers = [start_node(name, rank, flags, log) for rank, (name, log) in enumerate(zip(nodes, logs))]
    try:
        deadline = time.monotonic() + 240
        codes = [launcher.wait(max(1.0, deadline - time.monotonic())) for launcher in launchers]
    finally:
        for launcher in launchers:
            launcher.kill()
    assert codes == [0, 0], "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)
    (alone,) = launch(arguments(data, tmp_path / "one", val_targets=""), 1, timeout_s=150)
    assert alone.code == 0, alone.output[-3000:]
    assert_same_run(tmp_path / "one", tmp_path / "two")


def lose_node(name: str) -> None:
    """End every process of a node at once; its kernel stays, which closes their connections."""
    pids = subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True).stdout.split()
    for pid in map(int, pids):
        os.kill(pid, signal.SIGKILL)


def wait_for(text: str, log: Path, launcher: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while text not in log.read_text(errors="replace"):
        assert time.monotonic() < deadline and launcher.poll() is None, log.read_text(errors="replace")[-3000:]
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.slow
def test_a_lost_node_ends_the_other_and_the_run_goes_on(nodes, tmp_path):
    data = write_dataset(tmp_path / "data", identities=10, pictures=3, pairs=11)
    flags = arguments(data, tmp_path / "out", val_targets="", steps=5000, save_every=2)[1:]
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    launchers = [start_node(name, rank, flags, log) for rank, (name, log) in enumerate(zip(nodes, logs))]
    try:
        wait_for("Global Step: 5 ", logs[0], launchers[0])
        lose_node(nodes[1])
        assert launchers[0].wait(60) != 0
    finally:
        for name, launcher in zip(nodes, launchers):
            lose_node(name)
            launcher.wait()
    newest = max(int(path.name.split("_")[1]) for path in (tmp_path / "out" / "checkpoints").glob("step_*"))
    assert newest >= 4
    flags = arguments(data, tmp_path / "out", val_targets="", steps=newest + 1, resume=1)[1:]
    logs = [tmp_path / f"again{rank}.log" for rank in range(2)]
    launchers = [start_node(name, rank, flags, log) for rank, (name, log) in enumerate(zip(nodes, logs))]
    try:
        assert [launcher.wait(120) for launcher in launchers] == [0, 0], logs[0].read_text(errors="replace")[-3000:]
    finally:
        for name in nodes:
            lose_node(name)
    assert f"at step {newest}, epoch" in logs[0].read_text(errors="replace")


LISTENER = """
import socket, sys
from pathlib import Path
import importlib.util
spec = importlib.util.spec_from_file_location("addresses", sys.argv[1])
addresses = importlib.util.module_from_spec(spec)
spec.loader.exec_module(addresses)
server = addresses.listen(addresses.wanted_address())
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_rank_0_is_reached_through_the_interface_of_the_job_alone(nodes):
    """Node 0 has a second address, on which whoever is in that network must find nothing."""
    pytest.importorskip("psutil")
    ip("-n", nodes[0], "link", "add", "public0", "type", "veth", "peer", "name", "outside0")
    ip("-n", nodes[0], "addr", "add", "10.213.88.1/24", "dev", "public0")
    ip("-n", nodes[0], "link", "set", "public0", "up")
    ip("-n", nodes[1], "route", "add", "10.213.88.0/24", "via", ADDRESSES[0])
    module = ROOT / "arcface_paddle" / "distributed" / "addresses.py"
    command = ["ip", "netns", "exec", nodes[0], sys.executable, "-c", LISTENER, str(module)]
    environment = {**os.environ, "ARCFACE_PADDLE_INTERFACE": "job0", "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as listener:
        port = int(listener.stdout.readline())
        reached = [connects_from(nodes[1], address, port) for address in (ADDRESSES[0], "10.213.88.1")]
        listener.stdin.close()
    assert reached == [True, False]


def connects_from(node: str, address: str, port: int) -> bool:
    code = f"import socket; socket.create_connection(({address!r}, {port}), timeout=3)"
    command = ["ip", "netns", "exec", node, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"NODES": "2"}, "MASTER_HOST is not set"),
        ({"NODES": "2", "MASTER_HOST": "127.0.0.1", "INTERFACE": "eth77"}, "INTERFACE is 'eth77', which has no IPv4"),
    ],
)
def test_the_script_says_what_is_missing(variables, said):
    pytest.importorskip("psutil")
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **variables}
    done = subprocess.run(["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and said in done.stderr and len(done.stderr.splitlines()) == 1
