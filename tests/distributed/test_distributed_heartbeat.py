"""The channel between ranks, with threads in place of processes."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from arcface_paddle.distributed import addresses, heartbeat
from arcface_paddle.distributed.heartbeat import Heartbeat
from arcface_paddle.errors import ConfigError

TOKEN = b"0123456789abcdef"


def open_channels(ranks, timeout_s=5.0):
    """Return one channel per rank, and the list to which lost ranks are reported as (rank, sentence)."""
    server = heartbeat.listen()
    port = server.getsockname()[1]
    lost = []
    sockets = {}

    def join(rank):
        sockets[rank] = heartbeat.connect(("127.0.0.1", port), rank=rank, token=TOKEN, timeout_s=5.0)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(1, ranks)]
    for thread in threads:
        thread.start()
    accepted = heartbeat.accept_peers(server, count=ranks - 1, token=TOKEN, timeout_s=5.0)
    for thread in threads:
        thread.join()
    connections = [accepted, *({0: sockets[rank]} for rank in range(1, ranks))]
    return [
        Heartbeat(rank, peers, timeout_s=timeout_s, on_lost=lambda text, rank=rank: lost.append((rank, text)))
        for rank, peers in enumerate(connections)
    ], lost


def at_once(calls):
    """Run the calls in threads and return how long they took."""
    begin = time.monotonic()
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()
    return time.monotonic() - begin


def wait_until(condition, timeout_s=10.0):
    """Poll a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def close_all(channels):
    """Leave in good order."""
    for channel in channels:
        channel.close()


def test_a_barrier_waits_for_the_last():
    channels, lost = open_channels(4)
    order = []

    def late(channel, delay):
        time.sleep(delay)
        order.append("arrives")
        channel.barrier()
        order.append("leaves")

    at_once([lambda c=c, d=d: late(c, d) for c, d in zip(channels, (0.0, 0.1, 0.4, 0.2))])
    assert order == ["arrives"] * 4 + ["leaves"] * 4
    assert at_once([lambda c=c: [c.barrier() for _ in range(50)] for c in channels]) < 5.0
    close_all(channels)
    time.sleep(0.3)
    assert lost == []


def test_leaving_in_good_order_is_no_loss():
    channels, lost = open_channels(3)
    channels[2].close()
    time.sleep(0.5)
    channels[0].close()
    time.sleep(0.5)
    channels[1].close()
    assert lost == []


@pytest.mark.parametrize("gone", [0, 2])
def test_a_closed_connection_is_reported_to_all(gone):
    channels, lost = open_channels(3)
    channels[gone].abandon()
    wait_until(lambda: len(lost) == 2)
    assert {rank for rank, _ in lost} == {0, 1, 2} - {gone}
    assert all(f"rank {gone} is lost" in text for _, text in lost)


def test_silence_is_reported_after_the_timeout():
    server = heartbeat.listen()
    silent = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
    silent.sendall(TOKEN + b"\0\0\0\1")
    connections = heartbeat.accept_peers(server, count=1, token=TOKEN, timeout_s=5.0)
    lost = []
    begin = time.monotonic()
    channel = Heartbeat(0, connections, timeout_s=1.0, on_lost=lost.append)
    wait_until(lambda: lost)
    assert 1.0 <= time.monotonic() - begin < 3.0
    assert "rank 1 is lost (no sign of life for 1 s)" in lost[0]
    channel.abandon()
    silent.close()


def test_strangers_are_turned_away():
    server = heartbeat.listen()
    address = ("127.0.0.1", server.getsockname()[1])
    strangers = [socket.create_connection(address) for _ in range(3)]
    strangers[0].sendall(b"GET / HTTP/1.0\r\n\r\n" + b"x" * 20)
    strangers[1].sendall(TOKEN + b"\0\0\0\7")  # no such rank
    strangers[2].close()
    joined = threading.Thread(
        target=lambda: strangers.append(heartbeat.connect(address, rank=1, token=TOKEN, timeout_s=5.0))
    )
    joined.start()
    connections = heartbeat.accept_peers(server, count=1, token=TOKEN, timeout_s=10.0)
    joined.join()
    assert list(connections) == [1]
    for connection in (*strangers, *connections.values()):
        connection.close()


def test_ranks_that_do_not_come_are_an_error():
    server = heartbeat.listen()
    with pytest.raises(OSError, match="timed out"):
        heartbeat.accept_peers(server, count=1, token=TOKEN, timeout_s=0.2)


def test_a_barrier_with_a_limit_gives_up():
    channels, _ = open_channels(2)
    with pytest.raises(TimeoutError, match=r"rank 1 has waited 0\.1 s"):
        channels[1].barrier(0.1)
    close_all(channels)


def listening_addresses(port):
    """Return the local addresses at which this machine listens on a port, as the kernel's tables show them."""
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, _, hexadecimal = line.split()[1].partition(":")
            if int(hexadecimal, 16) == port and line.split()[3] == "0A":
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_rank_0_listens_at_one_address_only(address):
    with heartbeat.listen(address) as server:
        host, port = server.getsockname()[:2]
        expected = {"127.0.0.1", "::1"} if address == "localhost" else {address}
        assert host in expected
        if Path("/proc/net/tcp6").exists():
            assert listening_addresses(port) == {host}
        other = "127.0.0.3" if host != "127.0.0.3" else "127.0.0.4"
        with pytest.raises(OSError):
            socket.create_connection((other, port), timeout=1.0)


def test_ranks_meet_over_ipv6():
    server = heartbeat.listen("::1")
    address = ("::1", server.getsockname()[1])
    joined = []
    thread = threading.Thread(
        target=lambda: joined.append(heartbeat.connect(address, rank=1, token=TOKEN, timeout_s=5.0))
    )
    thread.start()
    connections = heartbeat.accept_peers(server, count=1, token=TOKEN, timeout_s=5.0)
    thread.join()
    assert connections[1].family == joined[0].family == socket.AF_INET6
    connections[1].close()
    joined[0].close()


def test_silent_strangers_delay_no_rank():
    """Forty that connect and say nothing or half a greeting: each of them alone once held a rank up for 5 seconds."""
    server = heartbeat.listen()
    address = ("127.0.0.1", server.getsockname()[1])
    strangers = [socket.create_connection(address) for _ in range(40)]
    for stranger in strangers[::2]:
        stranger.sendall(TOKEN[:7])
    rank = heartbeat.connect(address, rank=1, token=TOKEN, timeout_s=5.0)
    begin = time.monotonic()
    connections = heartbeat.accept_peers(server, count=1, token=TOKEN, timeout_s=10.0)
    assert time.monotonic() - begin < 2.0
    for connection in (*strangers, rank, *connections.values()):
        connection.close()


def test_a_wrong_greeting_is_turned_away_at_once():
    server = heartbeat.listen()
    address = ("127.0.0.1", server.getsockname()[1])

    def accept():
        with pytest.raises(TimeoutError):
            heartbeat.accept_peers(server, count=1, token=TOKEN, timeout_s=2.0)

    accepting = threading.Thread(target=accept)
    accepting.start()
    for greeting in (b"G", b"0123X", TOKEN + b"\0\0\0\2"):
        begin = time.monotonic()
        with socket.create_connection(address, timeout=2.0) as stranger:
            stranger.sendall(greeting)
            assert stranger.recv(1) == b"", "the connection has been closed"
        assert time.monotonic() - begin < 1.0
    accepting.join()


def test_a_second_rank_of_the_same_number_does_not_replace_the_first():
    server = heartbeat.listen()
    address = ("127.0.0.1", server.getsockname()[1])
    first, second, other = (heartbeat.connect(address, rank=rank, token=TOKEN, timeout_s=5.0) for rank in (1, 1, 2))
    connections = heartbeat.accept_peers(server, count=2, token=TOKEN, timeout_s=5.0)
    assert connections[1].getpeername() == first.getsockname()
    for connection in (first, second, other, *connections.values()):
        connection.close()


def test_the_interface_of_the_job(monkeypatch):
    def wanted(value):
        monkeypatch.setenv(addresses.INTERFACE_VARIABLE, value)
        return addresses.wanted_address()

    assert wanted("") is None
    assert wanted("10.1.2.3") == "10.1.2.3"
    assert wanted("[fd00::1]") == "fd00::1"
    pytest.importorskip("psutil")
    assert wanted("lo") == "127.0.0.1"
    with pytest.raises(ConfigError, match=r"is 'eth77'; allowed: an address, or an interface of this machine: .*lo"):
        wanted("eth77")


def test_the_port_of_the_job(monkeypatch):
    monkeypatch.delenv(addresses.PORT_VARIABLE, raising=False)
    assert addresses.wanted_port() == 0
    with heartbeat.listen() as server:
        free = server.getsockname()[1]
    monkeypatch.setenv(addresses.PORT_VARIABLE, str(free))
    with heartbeat.listen("127.0.0.1", addresses.wanted_port()) as server:
        assert server.getsockname() == ("127.0.0.1", free)
        with pytest.raises(ConfigError, match=f"port {free} .*: choose another ARCFACE_PADDLE_PORT"):
            heartbeat.listen("127.0.0.1", free)
        client = socket.create_connection(("127.0.0.1", free))
        server.accept()[0].close()  # by the server first, so that its side is remembered for a while
        client.close()
    heartbeat.listen("127.0.0.1", free).close()
    for value in ("0", "65536", "-1", "http", "80.5"):
        monkeypatch.setenv(addresses.PORT_VARIABLE, value)
        with pytest.raises(ConfigError, match=r"allowed: 1 to 65535"):
            addresses.wanted_port()


def test_the_interface_holds_for_gloo_and_nccl_unless_they_have_their_own(monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    monkeypatch.setenv(addresses.INTERFACE_VARIABLE, "127.0.0.1")
    addresses.bind_collectives()
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    monkeypatch.setenv(addresses.INTERFACE_VARIABLE, "lo")
    addresses.bind_collectives()
    assert (os.environ.pop("GLOO_SOCKET_IFNAME"), os.environ["NCCL_SOCKET_IFNAME"]) == ("lo", "ib0")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "2001:db8::1"])
def test_an_address_of_another_machine_is_one_clear_line(host):
    with pytest.raises(ConfigError, match=r"rank 0 cannot listen at .*set ARCFACE_PADDLE_INTERFACE"):
        heartbeat.listen(host)


@pytest.mark.parametrize(
    ("endpoint", "host"), [("10.0.0.1:6170", "10.0.0.1"), ("[fd00::1]:6170", "fd00::1"), ("node-0.job:1", "node-0.job")]
)
def test_host_of_an_endpoint(endpoint, host):
    assert addresses.host_of(endpoint) == host
