"""The ranks of a run and what they say to each other; the only importer of ``paddle.distributed``.

One process is a world of size 1, in which every function here is the identity, so the same training code runs alone
and on many ranks. ``init`` joins the process group that ``python -m paddle.distributed.launch`` describes in the
environment: Gloo on CPU, NCCL on GPUs, what they bring along on other accelerators.

Facts about Gloo in Paddle 3.3 that shape this module (each was tried): it has neither reduce_scatter nor all_to_all;
its float16 sum returns inf, so half-precision tensors travel as float32; every collective fails when a rank comes
more than 30 seconds late (it saves, validates, waits for data), so on Gloo each is preceded by a barrier of
``heartbeat``, which waits for the living and costs 0.2 ms.

Beside an accelerator's library there is a group over Gloo for what begins and ends on the host (labels, flags, text):
by way of the device, the host would wait for all the work that is queued there. Between machines there is one only
where ``addresses`` knows the interface.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import socket
from typing import Any, Callable, Iterator, Optional, Sequence, Union

import numpy as np
import paddle
import paddle.distributed as dist

from arcface_paddle import devices, signals
from arcface_paddle.distributed import addresses, heartbeat
from arcface_paddle.errors import ArcfaceError, ConfigError
from arcface_paddle.untrusted import integer

signals.take_back_from_paddle()

DEFAULT_TIMEOUT_S = 60.0
"""Silence after which a rank counts as dead."""

_START_TIMEOUT_S = 300.0  # ranks on other machines may still be importing paddle from a slow network disk
_HALF = (paddle.float16, paddle.bfloat16)


class PeerLostError(ArcfaceError):
    """A collective operation failed because another rank has ended or hangs."""


class _World:
    """What ``init`` has set up in this process."""

    rank = 0
    size = 1
    gloo = False
    host_group: Any = None  # None: the group of the device is the one of the host, too
    channel: Optional[heartbeat.Heartbeat] = None


_world = _World()


def rank() -> int:
    """Return the number of this process, 0 before ``init``."""
    return _world.rank


def world_size() -> int:
    """Return the number of processes, 1 before ``init``."""
    return _world.size


def is_main() -> bool:
    """Tell whether this is rank 0, which prints and writes what exists once."""
    return _world.rank == 0


def launched_world_size() -> int:
    """Return the number of processes that the launcher announces in the environment, 1 without a launcher.

    Raises:
        ConfigError: it is no number.
    """
    return _launched(os.environ.get("PADDLE_TRAINERS_NUM", "1"), variable="PADDLE_TRAINERS_NUM")


def launched_local_size() -> int:
    """Return how many of these processes share this machine, 1 without a launcher.

    Raises:
        ConfigError: it is no number.
    """
    return _launched(os.environ.get("PADDLE_LOCAL_SIZE", "1"), variable="PADDLE_LOCAL_SIZE")


def _launched(text: str, *, variable: str) -> int:
    count = integer(text)
    if count is None or count < 1:
        raise ConfigError(
            f"{variable} is {text!r:.60}; allowed: 1 or more, as paddle.distributed.launch sets it; unset it for a run "
            "of one process"
        )
    return count


def init(*, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Join the launched process group; without a launcher, or when called again, do nothing.

    The device is the one set by ``devices.use_device``, which must come before: the collectives are those of it. From
    here on a rank that dies ends the whole run within ``timeout_s`` (at once, if its process ended; see ``heartbeat``).

    Raises:
        ConfigError: the environment of the launcher is incomplete.
        PeerLostError: the other ranks did not come.
    """
    size = launched_world_size()
    if size == 1 or _world.size > 1:
        return
    missing = [name for name in ("PADDLE_TRAINER_ID", "PADDLE_CURRENT_ENDPOINT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"PADDLE_TRAINERS_NUM is {size} but {', '.join(missing)} is not set: start the run with "
            "python -m paddle.distributed.launch --nproc_per_node=N train.py ..."
        )
    backend = os.environ["PADDLE_DISTRI_BACKEND"] = devices.collectives_backend()
    _world.gloo = backend == "gloo"
    addresses.bind_collectives()
    with _collective("init"):
        dist.init_parallel_env()
    _world.rank, _world.size = dist.get_rank(), dist.get_world_size()
    _world.host_group = None if _world.gloo else _new_host_group()
    _world.channel = _open_channel(timeout_s)


def finish(*, in_good_order: bool = True) -> None:
    """Tell the other ranks that this one has finished; call it last, on every rank.

    With ``in_good_order=False`` (an error on this rank) the others are ended instead of left waiting.
    """
    channel, _world.channel = _world.channel, None
    if channel is None:
        return
    if in_good_order:
        channel.barrier()
        channel.close()
    else:
        channel.abandon()


@contextlib.contextmanager
def process_group(*, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[None]:
    """``init`` on entry; on exit ``finish``, which ends the other ranks if the block has failed on this one."""
    init(timeout_s=timeout_s)
    try:
        yield
    except BaseException:
        finish(in_good_order=False)
        raise
    finish()


def barrier(*, timeout_s: Optional[float] = None) -> None:
    """Wait for all ranks, however long a living one takes, or at most ``timeout_s``.

    Raises:
        PeerLostError: ``timeout_s`` have passed.
    """
    if _world.channel is None:
        return
    try:
        _world.channel.barrier(timeout_s)
    except TimeoutError as error:
        raise PeerLostError(str(error)) from error


def all_reduce_sum(tensor: paddle.Tensor) -> paddle.Tensor:
    """Return the sum of ``tensor`` over all ranks, same shape and dtype; the argument is left alone."""
    return _all_reduce(tensor, dist.ReduceOp.SUM)


def sum_in_place(tensor: paddle.Tensor) -> paddle.Tensor:
    """Replace ``tensor``, float32 and contiguous, by its sum over all ranks, and return it.

    For what nobody else holds: the gradient of a backbone is a quarter of a gigabyte, and copying it is not needed.
    """
    if _world.size > 1:
        with paddle.no_grad(), _collective("all_reduce"):
            dist.all_reduce(tensor)
    return tensor


def begin_sum_in_place(tensor: paddle.Tensor) -> Callable[[], None]:
    """Begin to do what ``sum_in_place`` does, and return what waits for it; leave the tensor alone in between.

    On an accelerator the sum is computed in a queue of its own behind what is queued so far. To wait holds up the queue
    that computes, not the host. Paddle's Gloo sums within the call, whatever it is asked for: there is nothing left to
    wait for.
    """
    if _world.size == 1:
        return _nothing
    with paddle.no_grad(), _collective("all_reduce"):
        task = dist.stream.all_reduce(tensor, sync_op=False)
    return functools.partial(_wait_for, task)


def all_reduce_max(tensor: paddle.Tensor) -> paddle.Tensor:
    """Return the element-wise maximum of ``tensor`` over all ranks; the argument is left alone."""
    return _all_reduce(tensor, dist.ReduceOp.MAX)


def all_gather(tensor: paddle.Tensor) -> paddle.Tensor:
    """Concatenate tensors of the SAME shape from all ranks along axis 0, in the order of ranks."""
    if _world.size == 1:
        return tensor
    tensor = tensor.detach().contiguous()
    gathered = paddle.empty([_world.size * tensor.shape[0], *tensor.shape[1:]], dtype=tensor.dtype)
    with _collective("all_gather"):
        dist.stream.all_gather(gathered, tensor)
    return gathered


def gather_rows(array: np.ndarray) -> np.ndarray:
    """Concatenate numpy arrays of the SAME shape from all ranks along axis 0, in the order of ranks.

    No rank waits for its device, where Gloo stands beside the library of the device.
    """
    if _world.size == 1:
        return array
    if not _world.gloo and _world.host_group is None:
        return devices.to_host(all_gather(devices.to_device(array)))
    gathered = devices.host_tensor(np.empty((_world.size * array.shape[0], *array.shape[1:]), array.dtype))
    if _world.host_group is not None:
        barrier()  # Gloo is impatient
    with _collective("all_gather"):
        dist.stream.all_gather(gathered, devices.host_tensor(array), group=_world.host_group)
    return devices.to_host(gathered)


def gather_arrays(array: np.ndarray) -> list[np.ndarray]:
    """Return the numpy arrays of all ranks, in the order of ranks; shapes may differ, dtype and ndim must not."""
    if _world.size == 1:
        return [array]
    array = np.ascontiguousarray(array)
    shapes = gather_rows(np.array([array.shape], np.int64))
    byte_counts = shapes.prod(axis=1) * array.itemsize
    padded = np.zeros(max(1, int(byte_counts.max())), np.uint8)
    padded[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
    blocks = gather_rows(padded).reshape(_world.size, -1)
    return [
        np.frombuffer(block[:count].tobytes(), array.dtype).reshape(shape)
        for block, count, shape in zip(blocks, byte_counts, shapes)
    ]


def gather_json(value: Any) -> list[Any]:
    """Return the JSON-serialisable values of all ranks, in the order of ranks."""
    if _world.size == 1:
        return [value]
    encoded = np.frombuffer(json.dumps(value).encode("utf-8"), np.uint8)
    return [json.loads(block.tobytes().decode("utf-8")) for block in gather_arrays(encoded)]


def broadcast(tensor: paddle.Tensor, *, source: int = 0) -> paddle.Tensor:
    """Return rank ``source``'s tensor on every rank; shape and dtype must agree. The argument is left alone."""
    if _world.size == 1:
        return tensor
    result = tensor.detach().clone()
    with _collective("broadcast"):
        dist.broadcast(result, source)
    return result


def broadcast_parameters(tensors: Sequence[paddle.Tensor], *, source: int = 0) -> None:
    """Overwrite ``tensors`` (parameters and buffers of a network) with those of rank ``source``."""
    if _world.size == 1:
        return
    for tensor in tensors:
        with paddle.no_grad(), _collective("broadcast"):
            dist.broadcast(tensor, source)


def any_rank(flag: bool) -> bool:
    """Tell, on every rank alike, whether ``flag`` is true on at least one rank."""
    if _world.size == 1:
        return bool(flag)
    return bool(gather_rows(np.array([flag], np.uint8)).any())


def own_part_of_sum(tensor: paddle.Tensor) -> paddle.Tensor:
    """Sum ``tensor`` over the ranks and return this rank's equal part of axis 0 (reduce-scatter)."""
    if _world.size == 1:
        return tensor
    count = tensor.shape[0] // _world.size
    if _world.gloo:
        return all_reduce_sum(tensor)[_world.rank * count : (_world.rank + 1) * count]
    part = paddle.empty([count, *tensor.shape[1:]], dtype=tensor.dtype)
    with _collective("reduce_scatter"):
        dist.stream.reduce_scatter(part, tensor.contiguous())
    return part


def _nothing() -> None:
    """Wait for what a rank alone has nobody to exchange with."""


def _wait_for(task: Any) -> None:
    with _lost_peer_named("all_reduce"):
        task.wait()


def _all_reduce(tensor: paddle.Tensor, operation: Union[int, Any]) -> paddle.Tensor:
    if _world.size == 1:
        return tensor
    tensor = tensor.detach()
    widened = _world.gloo and tensor.dtype in _HALF
    result = tensor.astype("float32") if widened else tensor.clone()
    with _collective("all_reduce"):
        dist.all_reduce(result, op=operation)
    return result.astype(tensor.dtype) if widened else result


@contextlib.contextmanager
def _collective(name: str) -> Iterator[None]:
    if _world.gloo:
        barrier()
    with _lost_peer_named(name):
        yield


@contextlib.contextmanager
def _lost_peer_named(name: str) -> Iterator[None]:
    try:
        yield
    except NotImplementedError:
        raise
    except RuntimeError as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PeerLostError(
            f"rank {_world.rank}: {name} failed, most likely because another rank has ended: {first_line}"
        ) from error


def _new_host_group() -> Any:
    """Return a group over Gloo beside that of the device; None where it may not come about.

    Left to itself Gloo listens at the address of the machine's name, which on many machines is one of its own alone. So
    between machines it needs the name of the interface.
    """
    if launched_local_size() < launched_world_size() and "GLOO_SOCKET_IFNAME" not in os.environ:
        return None
    try:
        return dist.new_group(backend="gloo")
    except (AttributeError, NotImplementedError):
        return None  # this Paddle is built without it


def _open_channel(timeout_s: float) -> heartbeat.Heartbeat:
    """Connect all ranks to rank 0, which tells them address, port and token through the process group."""
    server = _listen() if _world.rank == 0 else None
    port, token, host = _share_invitation(server)
    if port == 0:
        raise PeerLostError(f"rank {_world.rank}: rank 0 found no address to listen at and says why")
    try:
        if isinstance(server, socket.socket):
            others = _world.size - 1
            connections = heartbeat.accept_peers(server, count=others, token=token, timeout_s=_START_TIMEOUT_S)
        else:
            address = (host or _master_host(), port)
            connections = {0: heartbeat.connect(address, rank=_world.rank, token=token, timeout_s=_START_TIMEOUT_S)}
    except OSError as error:
        raise PeerLostError(f"rank {_world.rank}: no connection between the ranks: {error}") from error
    return heartbeat.Heartbeat(_world.rank, connections, timeout_s=timeout_s)


def _listen() -> Union[socket.socket, ConfigError]:
    """Open rank 0's listening socket; an error is returned, for the others have to hear of it before it is raised."""
    try:
        return heartbeat.listen(addresses.wanted_address() or _master_host(), addresses.wanted_port())
    except ConfigError as error:
        return error


def _share_invitation(server: Union[socket.socket, ConfigError, None]) -> tuple[int, bytes, str]:
    """Return rank 0's port, the token, and its address where the ranks do not know it from the launcher.

    Raises:
        ConfigError: rank 0 cannot listen; the others get port 0.
    """
    port, host = 0, ""
    if isinstance(server, socket.socket):
        port, host = server.getsockname()[1], addresses.wanted_address() or ""
    announced = b"" if not host or addresses.is_any_address(host) else host.encode()
    secret = secrets.token_bytes(heartbeat.TOKEN_BYTES) + announced.ljust(addresses.LONGEST_ADDRESS, b"\0")
    content = np.concatenate([[port], np.frombuffer(secret, np.uint8)]).astype(np.int64)
    invitation = broadcast(devices.to_device(content)).numpy()
    if isinstance(server, ConfigError):
        raise server
    received = invitation[1:].astype(np.uint8).tobytes()
    token, address = received[: heartbeat.TOKEN_BYTES], received[heartbeat.TOKEN_BYTES :]
    return int(invitation[0]), token, address.rstrip(b"\0").decode()


def _master_host() -> str:
    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        return os.environ["MASTER_ADDR"].strip("[]")
    return addresses.host_of(os.environ.get("PADDLE_MASTER") or os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")[0])
