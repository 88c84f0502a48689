"""What the tests of the service share: models loaded once, a gallery of the demonstration, and ways to ask."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import pytest

from arcface_paddle import images
from arcface_paddle.pipeline.settings import PipelineSettings, RuntimeOptions
from arcface_paddle.service.app import create_app
from arcface_paddle.service.client import CallAnswer, ServiceClient
from arcface_paddle.service.demo_gallery import build_demo_gallery
from arcface_paddle.service.inference import FaceModels, open_models
from arcface_paddle.service.keys import KEYS, KeyFile
from arcface_paddle.service.service_settings import Limits, ServiceSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about httpx, which Starlette wants to replace
    from fastapi.testclient import TestClient

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="session")
def models() -> FaceModels:
    settings = PipelineSettings(rec_model="MobileFace", runtime=RuntimeOptions(threads=1))
    return open_models(settings, workers=2)


@pytest.fixture(scope="session")
def demo_index(models, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "people.index"
    build_demo_gallery(path, models)
    return path


def small(path: Path, *, longest_side: int) -> bytes:
    image = images.read_image(path)
    scale = longest_side / max(image.shape[:2])
    size_wh = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return images.encode_image(images.resize(image, size_wh), suffix=".jpg", quality=92)


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Small photographs: a portrait of each of two people, another of one of them, a stranger, four at once, nobody."""
    return {
        "hopper": (DEMO / "queries/hopper_relit.jpg").read_bytes(),
        "biden": small(DEMO / "queries/biden_relit.jpg", longest_side=300),
        "stranger": small(DEMO / "queries/stranger_collins.jpg", longest_side=300),
        "group": small(DEMO / "queries/group.jpg", longest_side=700),
        "nobody": images.encode_image(__import__("numpy").full((64, 64, 3), 127, "uint8")),
    }


@dataclasses.dataclass
class Running:
    """A service in this process.

    Attributes:
        http: asks it as any program would.
        client: the client of the package, which goes the same way.
        settings: of the service.
        app: the application.
    """

    http: TestClient
    client: ServiceClient
    settings: ServiceSettings
    app: Any

    @property
    def service(self) -> Any:
        return self.app.state.service

    def client_with(self, key: Optional[str]) -> ServiceClient:
        return ServiceClient("http://localhost", key=key, transport=through(self.http))


def through(http: TestClient) -> Callable[..., CallAnswer]:
    def send(method: str, url: str, headers: Any, body: Optional[bytes]) -> CallAnswer:
        answer = http.request(method, url, headers=dict(headers), content=body)
        return CallAnswer(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content)

    return send


@contextlib.contextmanager
def running(settings: ServiceSettings, models: FaceModels, *, key: Optional[str] = None) -> Iterator[Running]:
    app = create_app(settings, models=models)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as http:
        client = ServiceClient("http://localhost", key=key, transport=through(http))
        yield Running(http, client, settings, app)


@pytest.fixture
def gallery(demo_index, tmp_path) -> Path:
    return Path(shutil.copy(demo_index, tmp_path / "people.index"))


@pytest.fixture
def open_service(gallery, models) -> Iterator[Callable[..., Running]]:
    """Open services of a copy of the demonstration's gallery, without keys unless ``auth`` says otherwise."""
    with contextlib.ExitStack() as stack:

        def open_one(*, key: Optional[str] = None, auth: bool = False, **settings: Any) -> Running:
            chosen = ServiceSettings(**{"gallery": gallery, "auth": auth, **settings})
            return stack.enter_context(running(chosen, models, key=key))

        yield open_one


@pytest.fixture
def service(open_service) -> Running:
    return open_service()


@pytest.fixture
def keyed(open_service, gallery) -> Iterator[tuple[Running, dict[str, str]]]:
    """A service with a key of each role."""
    one = open_service(auth=True)
    keys = KeyFile(one.settings.state_folder / KEYS)
    yield one, {role: keys.add(f"{role} key", role=role) for role in ("read", "write", "admin")}


__all__ = ["Limits", "Running", "running"]
