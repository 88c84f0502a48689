"""Work that is done on the processes of a Dask cluster, on this machine or on many."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Optional, Sequence, TypeVar

from arcface_paddle.errors import ConfigError, MissingDependencyError

Item = TypeVar("Item")
Result = TypeVar("Result")
Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
_CONNECT_S = 30.0


@contextlib.contextmanager
def workers(*, scheduler: Optional[str] = None, count: int = 1) -> Iterator[Run]:
    """Give a function that maps another over items and yields the results as they come.

    Args:
        scheduler: address of a running Dask scheduler, ``tcp://host:8786``; None for this machine.
        count: worker processes on this machine; with one the items are worked on right here, without Dask.

    Raises:
        MissingDependencyError: Dask is not installed.
        ConfigError: nobody answers at the address.
    """
    if scheduler is None and count == 1:
        yield lambda function, items: map(function, items)
        return
    distributed = _import_distributed()
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            # Loopback only, and no page of figures: nobody else on the network may send work to it.
            scheduler = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=40
                )
            )
        try:
            client = stack.enter_context(distributed.Client(scheduler, timeout=_CONNECT_S))
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Dask scheduler answers at {scheduler!r}: {error}") from None
        yield lambda function, items: _map(distributed, client, function, items)


def _map(distributed: Any, client: Any, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Dask gives what a lost worker had to others; results are let go at once, so that they are not computed again."""
    futures = [client.submit(function, item, pure=False) for item in items]
    completed = distributed.as_completed(futures)
    futures.clear()
    for future in completed:
        yield future.result()
        future.release()


def _import_distributed() -> Any:
    try:
        from dask import distributed
    except ImportError:
        raise MissingDependencyError("distributed", extra="cluster", purpose="more than one worker process") from None
    return distributed
