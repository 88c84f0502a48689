"""Targets at the border of the process: arguments, the environment, what servers answer that we ask."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any, Iterator
from unittest import mock

from fuzz_target import Parse, Target

from arcface_paddle.errors import ConfigError, DataError

# arguments


@cache
def _parser(command: str) -> argparse.ArgumentParser:
    from arcface_paddle.cli.main import COMMANDS, command_parser

    return command_parser(COMMANDS[command][0], prog=f"arcface-paddle {command}")


def _arguments(content: bytes, folder: Path) -> Parse:
    """Parse a command line, an argument a line; what is said about it is one line that no terminal obeys."""
    from arcface_paddle import files
    from arcface_paddle.cli import main

    command, *argv = content.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")
    if command in main.COMMANDS:
        _parser(command)

    def parse() -> None:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                if command in main.COMMANDS:
                    _parser(command).parse_args(argv)
                else:
                    main._without_subcommand([command, *argv])
                return
            except SystemExit as end:
                code = end.code
        text = said.getvalue()
        if code == main.EXIT_OK:  # the help
            return
        assert code == main.EXIT_ERROR, f"exit code {code}"
        assert text.count("\n") == 1, f"{text.count(chr(10))} lines"
        assert files.plain(text) == text, "a terminal would obey it"
        raise ConfigError(text)

    return parse


@cache
def _command_lines() -> tuple[bytes, ...]:
    """Every flag of every command, a dozen a line, with a value that it takes."""
    from arcface_paddle.cli.main import COMMANDS

    found = []
    for command in COMMANDS:
        flags = [flag for action in _all_actions(_parser(command)) for flag in _sample(action)]
        found += ["\n".join([command, *flags[begin : begin + 24]]) for begin in range(0, len(flags), 24)]
    found += ["gallery\nbuild\n--output=g.index\na\nb", "compare\na.jpg\nb.jpg", "--version", "nothing", "-h"]
    return tuple(line.encode() for line in found)


def _all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _all_actions(inner)
        else:
            yield action


def _sample(action: argparse.Action) -> list[str]:
    if action.nargs == 0:
        return [*action.option_strings[:1]]
    value = next(iter(action.choices)) if action.choices else action.default
    return [*action.option_strings[:1], str(1 if value in (None, argparse.SUPPRESS) else value)]


# the environment


_VARIABLES = (
    "PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE", "PADDLE_MASTER", "OMP_NUM_THREADS", "ARCFACE_PADDLE_PORT",
    "ARCFACE_PADDLE_INTERFACE", "ARCFACE_PADDLE_HOME", "SOURCE_DATE_EPOCH", "ARCFACE_PADDLE_GALLERY_KEY",
    "ARCFACE_PADDLE_WEBHOOK_SECRET", "FLAGS_selected_gpus", "CXX",
)  # fmt: skip


def _environment(content: bytes, folder: Path) -> Parse:
    """Read what the launcher, the user and a build system may set, a variable a line; others are not touched."""
    from arcface_paddle import distributed
    from arcface_paddle.distributed import addresses
    from arcface_paddle.evaluation import ranks
    from arcface_paddle.pipeline import model_files
    from arcface_paddle.pipeline.gallery import collecting, keys
    from arcface_paddle.training import processor
    from arcface_paddle.video import webhook

    lines = content.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")
    values = {name: value for name, _, value in (line.partition("=") for line in lines) if name in _VARIABLES}

    def parse() -> None:
        problems = []
        with mock.patch.dict(os.environ, values):
            for ask in (
                distributed.launched_world_size, distributed.launched_local_size, addresses.wanted_port,
                addresses.wanted_address, processor.threads_per_process, collecting._now, keys.known_keys,
                webhook.checked_secret, model_files.cache_folder, lambda: ranks.device_of_rank("gpu"),
            ):  # fmt: skip
                try:
                    ask()
                except ConfigError as error:
                    problems.append(str(error))
        if problems:
            raise ConfigError(problems[0])

    return parse


def _environments() -> list[bytes]:
    launched = "PADDLE_TRAINERS_NUM=2\nPADDLE_LOCAL_SIZE=1\nPADDLE_MASTER=10.0.0.1:8090\nFLAGS_selected_gpus=0,1"
    own = "ARCFACE_PADDLE_PORT=8090\nARCFACE_PADDLE_INTERFACE=10.0.0.1\nARCFACE_PADDLE_WEBHOOK_SECRET=sixteen letters!"
    built = f"SOURCE_DATE_EPOCH=1700000000\nOMP_NUM_THREADS=2,1\nARCFACE_PADDLE_GALLERY_KEY={'ab' * 32}"
    return ["\n".join((launched, own, built)).encode(), launched.encode(), own.encode(), built.encode()]


# answers of servers


class _Wire:
    """A connection whose other end has sent something, and takes whatever we send."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str, *_: object) -> io.BytesIO:
        return io.BytesIO(self._content)

    def ignore(self, *_: object) -> None:
        """Do nothing."""

    sendall = close = settimeout = setsockopt = ignore

    def getsockopt(self, *_: object) -> int:
        raise OSError("no encryption over this wire")


@contextlib.contextmanager
def _answered(content: bytes) -> Iterator[None]:
    """Have every connection be answered with ``content``, and no pause between two tries."""

    def connect(address: tuple[str, int], *_: object) -> Any:
        host, port = address
        host.encode("idna")  # as ``socket`` does
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        return _Wire(content)

    with mock.patch.object(socket, "create_connection", connect), mock.patch.object(time, "sleep", lambda _: None):
        yield


def _download(content: bytes, folder: Path) -> Parse:
    """Fetch a file; what has arrived already stands before the answer, behind the length of it."""
    from arcface_paddle.pipeline import downloading

    part = folder / "fuzz_part"
    begun, content = content[1 : 1 + content[:1][0] % 16] if content else b"", content[1:]
    if begun:
        part.write_bytes(begun)
        (folder / "fuzz_part.from").write_bytes(b'{"url": "http://h/f", "version": "\\"1\\""}')

    def parse() -> None:
        with _answered(content):
            try:
                downloading.download("http://h/f", part, most_bytes=1 << 16)
            except (*downloading.NETWORK_ERRORS, OSError) as error:
                raise DataError(f"no network: {error}") from None

    return parse


def _downloads() -> list[bytes]:
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "1"\r\n\r\nabcde'
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    rest = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\ncde"
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://other.example:8080/g?x=1\r\n\r\n"
    return [b"\0" + whole, b"\0" + chunked, b"\2" + rest, b"\0" + moved, b"\2HTTP/1.1 416 Range\r\n\r\n"]


def _webhook_answer(content: bytes, folder: Path) -> Parse:
    """Send an event; the first line is the address, the rest is what it answers."""
    from arcface_paddle.video import webhook

    url, _, answer = content.partition(b"\n")
    try:
        sender = webhook.Webhook(url.decode("utf-8", "surrogateescape"), secret="sixteen letters!")
    except ConfigError as error:
        problem = error

        def refuse() -> None:
            raise problem

        return refuse

    def parse() -> None:
        try:
            with _answered(answer):
                said, _ = sender._attempt(webhook._Delivery("1", "2", b"{}"))
        finally:
            sender.close(timeout_s=0)
        if said:
            raise DataError(said)

    return parse


def _webhook_answers() -> list[bytes]:
    answers = (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n",
               b"HTTP/1.1 429 Too Many\r\nRetry-After: 9\r\n\r\n")  # fmt: skip
    addresses = (b"http://u:p@host.example:8080/hook?x=1", "http://bücher.example/ü".encode(), b"http://[::1]/")
    return [url + b"\n" + answer for url, answer in zip(addresses, answers)]


_ASKING = ("urllib.Request",)

TARGETS = (
    Target("arguments", lambda: list(_command_lines()), _arguments),
    Target("environment", _environments, _environment),
    Target("download", _downloads, _download, may_write="fuzz_part", may_do=_ASKING),
    Target("webhook_answer", _webhook_answers, _webhook_answer, may_do=_ASKING),
)
