"""Record what torch writes, and what it makes of arcface_torch's networks, for tests/export/test_import_torch.py.

Run it in a throwaway environment (it imports nothing of this project and no Paddle):

    python -m venv /tmp/originals
    /tmp/originals/bin/pip install torch numpy
    /tmp/originals/bin/python tools/model_conversion/record_torch_references.py --output tests/fixtures/torch

tiny.pt and tiny_legacy.pt are one small document in torch's two formats, tiny.npz what it holds. outputs.npz has, for
an iresnet18 and an mbf of an eighth of their channels, names and shapes of the parameters and the features of two
pictures; the weights come from a rule (``seeded``), which the test repeats, so that they need not be stored.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

EMBEDDING_SIZE = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    document = tiny_document()
    torch.save(document, folder / "tiny.pt")
    torch.save(document, folder / "tiny_legacy.pt", _use_new_zipfile_serialization=False)
    tensors = document["state_dict_backbone"]
    np.savez_compressed(
        folder / "tiny.npz", **{name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
    )
    pictures = torch.from_numpy(np.random.default_rng(5).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32))
    facts = {}
    for name, network in (("iresnet18", IResNet((2, 2, 2, 2))), ("mbf", Mbf())):
        state = network.state_dict()
        network.load_state_dict(
            {key: torch.from_numpy(seeded(key, tuple(value.shape))) for key, value in state.items()}
        )
        network.eval()
        with torch.no_grad():
            facts[f"{name}_features"] = network(pictures).numpy()
        facts[f"{name}_shapes"] = np.array(json.dumps({key: list(value.shape) for key, value in state.items()}))
    np.savez_compressed(folder / "outputs.npz", **facts)


def tiny_document() -> dict:
    values = torch.arange(12.0)
    tensors = OrderedDict(
        weight=torch.linspace(-1, 1, 24).reshape(2, 3, 2, 2),
        num_batches_tracked=torch.tensor(5),
        transposed=values.reshape(3, 4).t(),
        part=values[5:9],
        expanded=torch.tensor([3.0]).expand(2, 3),
        half=torch.tensor([1.5, -2.25]).half(),
        bfloat=torch.tensor([1.5, -2.25]).bfloat16(),
        double=torch.tensor([0.25], dtype=torch.float64),
        flags=torch.tensor([True, False]),
        parameter=nn.Parameter(torch.tensor([7.0])),
        empty=torch.zeros(0, 3),
    )
    return {"epoch": 3, "state_dict_backbone": tensors, "shape": torch.Size([2, 3]), "rates": [0.1, 0.2]}


def seeded(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Make the values of a parameter from its name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.array(1000)
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1:
        return random.uniform(0.1, 0.9, shape).astype(np.float32)
    return (random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


class Unit(nn.Module):
    """BN-Conv-BN-PReLU-Conv-BN beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride == 2:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """The network of ArcFace under arcface_torch's names."""

    def __init__(self, units: tuple[int, ...], stem: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.prelu = nn.PReLU(stem)
        before = stem
        for stage, count in enumerate(units):
            after = stem << stage
            rest = [Unit(after, after, 1) for _ in range(count - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(Unit(before, after, 2), *rest))
            before = after
        self.bn2 = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before * 49, EMBEDDING_SIZE)
        self.features = nn.BatchNorm1d(EMBEDDING_SIZE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


class Named(nn.Module):
    """A module whose content is called ``layers``, as arcface_torch has it; with a shortcut around it or not."""

    def __init__(self, *layers: nn.Module, shortcut: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


def block(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False) -> Named:
    padding = 1 if kernel == 3 else 0
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return Named(convolution, nn.BatchNorm2d(outputs), *([] if linear else [nn.PReLU(outputs)]))


def depthwise(inputs: int, outputs: int, inner: int, stride: int) -> Named:
    layers = block(inputs, inner), block(inner, inner, 3, stride, inner), block(inner, outputs, linear=True)
    return Named(*layers, shortcut=stride == 1)


class Mbf(nn.Module):
    """The MobileFaceNet of arcface_torch (blocks 1, 4, 6, 2 and scale 2), all channels divided by eight."""

    def __init__(self) -> None:
        super().__init__()
        early, late, head = 16, 32, 64
        self.layers = nn.ModuleList([block(3, early, 3, 2), block(early, early, 3, groups=early // 2)])
        before = early
        for after, halving, inner, units in ((early, 16, 16, 4), (late, 32, 32, 6), (late, 64, 32, 2)):
            self.layers.append(depthwise(before, after, halving, 2))
            self.layers.append(Named(*(depthwise(after, after, inner, 1) for _ in range(units))))
            before = after
        self.conv_sep = block(late, head)
        pooling = block(head, head, 7, groups=head, linear=True)
        last = nn.Linear(head, EMBEDDING_SIZE, bias=False), nn.BatchNorm1d(EMBEDDING_SIZE)
        self.features = Named(pooling, nn.Flatten(), *last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


if __name__ == "__main__":
    main()
