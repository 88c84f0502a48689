"""The channel between ranks, with threads in place of processes."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from arcface_paddle.distributed import heartbeat
from arcface_paddle.distributed.heartbeat import Heartbeat

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
