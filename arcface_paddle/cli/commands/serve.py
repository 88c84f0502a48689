"""Serve face recognition over HTTP, with a page for the browser.

    arcface-paddle serve --demo
    arcface-paddle serve keys add "front desk" --role write --gallery people.index
    arcface-paddle serve --gallery people.index --host 0.0.0.0 --port 8080

--demo serves a gallery of the photographs that come along, to this machine only and without keys, and forgets it
afterwards. Otherwise each request needs a key: 'serve keys add' makes one, 'serve keys list' and 'serve keys revoke'
go on from there, while the service runs. Roles: read (detect, compare, identify), write (people, too), admin (metrics,
too). Beside a gallery file, GALLERY.service/ holds ids and consent of people, hashes of keys and the audit log; for a
gallery in another engine (faiss:FOLDER, milvus://..., postgresql://...) --state names a folder for them.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Iterator, Optional

from arcface_paddle import files
from arcface_paddle.cli.console import complain
from arcface_paddle.cli.flags import (
    add_model_options,
    add_search_option,
    add_threshold_options,
    pipeline_settings,
    positive,
)
from arcface_paddle.cli.main import EXIT_OK, run_module
from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.service.service_settings import DEFAULT_HOST, DEFAULT_PORT, Limits, ServiceSettings

_LIMITS = {
    "max_bytes": ("picture_bytes", "largest encoded picture"),
    "max_pixels": ("picture_pixels", "largest decoded picture"),
    "max_faces": ("faces", "most faces in a picture"),
    "queue": ("queue_length", "pictures that wait for a worker; more get 503"),
    "burst": ("burst", "requests of one key at once"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", nargs="?", choices=["keys"], help="add, list and revoke API keys")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument(
        "--gallery", metavar="GALLERY", help="file, made if it does not exist, or faiss:, milvus:// ..."
    )
    parser.add_argument("--demo", action="store_true", help="serve the photographs that come along, without keys")
    parser.add_argument("--state", metavar="DIR", help="ids of people, keys, audit log (GALLERY.service)")
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 for a free one (%(default)s)")
    parser.add_argument("--no_auth", action="store_true", help="ask for no keys; on a loopback address only")
    parser.add_argument(
        "--cors", action="append", default=[], metavar="ORIGIN", help="repeatable: its pages may call the service"
    )
    parser.add_argument("--keep_unknown", action="store_true", help="keep strangers in memory, to name them")
    parser.add_argument(
        "--keep_crops",
        action="store_true",
        help="keep a small picture of each enrolled face, for the page; without, none, and those there are removed",
    )
    parser.add_argument("--workers", type=positive, help="pictures at once (one more than --threads)")
    parser.add_argument("--log_level", choices=["DEBUG", "INFO", "WARNING", "ERROR"], default="INFO")
    _add_limits(parser.add_argument_group("limits"))
    search = parser.add_argument_group("names")
    add_threshold_options(search)
    add_search_option(search)
    add_model_options(parser)


def _add_limits(group: argparse._ActionsContainer) -> None:
    usual = Limits()
    for flag, (name, help_text) in _LIMITS.items():
        group.add_argument(f"--{flag}", type=positive, default=getattr(usual, name), help=f"{help_text} (%(default)s)")
    group.add_argument("--timeout", type=float, default=usual.work_s, help="seconds for a picture (%(default)s)")
    group.add_argument("--upload_timeout", type=float, default=usual.upload_s, help="for an upload (%(default)s)")
    group.add_argument(
        "--rate",
        type=float,
        default=usual.requests_per_minute,
        help="requests of a key a minute; 0 for no limit (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve, or hand over to ``serve keys``."""
    if args.action == "keys":
        return run_module("serve_keys", args.arguments, prog="arcface-paddle serve keys")
    if args.demo == (args.gallery is not None):
        raise ConfigError("give --gallery FILE, or --demo for a first look")
    _require_packages()
    with _gallery(args) as gallery:
        settings = service_settings(args, gallery=gallery)
        _serve(settings, demo=args.demo, log_level=args.log_level)
    return EXIT_OK


def service_settings(args: argparse.Namespace, *, gallery: str) -> ServiceSettings:
    """Return what the flags say. Raises ``ConfigError`` for values that cannot be."""
    limits = Limits(
        **{name: getattr(args, flag) for flag, (name, _) in _LIMITS.items()},
        work_s=args.timeout,
        upload_s=args.upload_timeout,
        requests_per_minute=args.rate or None,
    )
    return ServiceSettings(
        gallery=gallery,
        state=args.state,
        host=args.host,
        port=args.port,
        auth=not (args.no_auth or args.demo),
        cors=tuple(args.cors),
        keep_unknown=args.keep_unknown or args.demo,
        keep_crops=args.keep_crops or args.demo,
        workers=args.workers,
        pipeline=pipeline_settings(args),
        limits=limits,
    )


@contextlib.contextmanager
def _gallery(args: argparse.Namespace) -> Iterator[str]:
    """Give the path of the gallery; that of the demonstration is removed afterwards."""
    if not args.demo:
        yield args.gallery
        return
    with files.scratch_folder() as folder:
        yield str(folder / "people.index")


def _serve(settings: ServiceSettings, *, demo: bool, log_level: str) -> None:
    from arcface_paddle.pipeline.engines.heaps import limit_heaps
    from arcface_paddle.service.app import create_app
    from arcface_paddle.service.demo_gallery import build_demo_gallery, keep_demo_crops
    from arcface_paddle.service.inference import FaceModels, open_models
    from arcface_paddle.service.serving import address_of, open_socket, serve

    limit_heaps()
    with open_socket(settings.host, settings.port) as listening:  # before the models, which take seconds
        models: Optional[FaceModels] = None
        if demo:
            models = open_models(settings.pipeline, workers=settings.workers)
            build_demo_gallery(settings.gallery, models)
        app = create_app(settings, models=models)
        if demo:
            keep_demo_crops(app.state.service.people)
        if settings.auth and not app.state.service.keys.list():
            complain(
                "no key yet, so that nobody can ask anything: arcface-paddle serve keys add NAME --role admin --state "
                f"{settings.state_folder}"
            )
        print(f"listening on {address_of(listening)} (stop with Ctrl-C)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # after everything was finished; the usual end of a service
            serve(app, listening, log_level=log_level)


def _require_packages() -> None:
    import importlib.util

    for package in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package.replace("_", "-"), extra="serve", purpose="the HTTP service")
