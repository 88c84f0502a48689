"""Every network learns eight rendered people by heart, and what it has learnt leaves through the parity gate."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from arcface_paddle.backbones import BACKBONES, build_backbone, options_of
from arcface_paddle.backbones.cpu_speed import use_cpu_layers
from arcface_paddle.evaluation.embedder import network_input
from arcface_paddle.export.exporter import export_model
from arcface_paddle.export.graph import GraphSettings
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.weight_files import write_state_dict

PEOPLE, PICTURES, EMBEDDING_SIZE = 8, 2, 32
MOST_STEPS, SMALL_LOSS = 60, 0.05
# Too narrow to learn quickly at an eighth: a branch of HRNet would have two channels.
WIDTHS = {"HRNetV2_W18": 0.25, "ResNet50": 0.25, "ResNet101": 0.25, "ResNet152": 0.25}
# Seconds a step; their layers are those of the shallower ones, which see two pictures of everybody.
DEEP = {name for name in BACKBONES if name.endswith(("100", "101", "152", "200"))}
SCALE = 16.0  # of the cosines: a loss near 0 asks for margins of a quarter of it


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray]:
    """Return 16 crops (16, 112, 112, 3) and their labels."""
    renderer = SyntheticFaces(0)
    crops = [renderer.render(person, number).image for person in range(PEOPLE) for number in range(PICTURES)]
    return np.stack(crops), np.repeat(np.arange(PEOPLE), PICTURES)


def learn(network, images, labels):
    """Train until the loss is small; return the last loss and the class centres."""
    centres = paddle.create_parameter(
        [PEOPLE, EMBEDDING_SIZE], "float32", default_initializer=paddle.nn.initializer.Normal(0.0, 0.1)
    )
    optimizer = paddle.optimizer.Adam(
        1e-3, parameters=[*network.parameters(), centres], grad_clip=paddle.nn.ClipGradByGlobalNorm(5.0)
    )
    network.train()
    for _ in range(MOST_STEPS):
        cosines = F.normalize(network(images)) @ F.normalize(centres).T
        loss = F.cross_entropy(SCALE * cosines, labels)
        if float(loss) < SMALL_LOSS:
            break
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    return float(loss), centres


def take_statistics(network, images):
    """Give BatchNorm the statistics of these pictures, which so few steps leave behind the weights."""
    momenta = {layer: layer._momentum for layer in network.sublayers() if hasattr(layer, "_momentum")}
    assert set(momenta.values()) <= {0.9}  # of the old value: 0.1, torch's way of counting, would follow every batch
    for layer in momenta:
        layer._momentum = 0.0
    with paddle.no_grad():
        network(images)


@pytest.mark.long
@pytest.mark.parametrize("name", BACKBONES)
def test_learns_eight_people_by_heart_and_is_exported(name, faces, tmp_path):
    paddle.seed(1)
    every = PICTURES if name in DEEP else 1
    crops, people = (values[::every] for values in faces)
    images, labels = paddle.to_tensor(network_input(crops)), paddle.to_tensor(people)
    options = {"dropout": 0.0} if "dropout" in options_of(name) else {}
    network = build_backbone(name, embedding_size=EMBEDDING_SIZE, width=WIDTHS.get(name, 0.125), **options)
    loss, centres = learn(use_cpu_layers(network), images, labels)
    assert loss < SMALL_LOSS
    take_statistics(network, images)
    network.eval()
    with paddle.no_grad():
        cosines = F.normalize(network(images)) @ F.normalize(centres).T
    assert (cosines.argmax(axis=1) == labels).all()

    write_state_dict(tmp_path / "w.pdparams", {key: tensor.numpy() for key, tensor in network.state_dict().items()})
    source = NetworkSource(name, str(tmp_path / "w.pdparams"))
    result = export_model(source, tmp_path / "model", model_format="json", settings=GraphSettings())
    assert result.parity.min_cosine > 0.99999
