"""Record what the original runtimes make of the original weights, for tests/pipeline/test_model_parity.py.

Run it in a throwaway environment (it imports nothing of this project and no Paddle):

    python -m venv /tmp/originals
    /tmp/originals/bin/pip install ai-edge-litert==2.3.0 torch==2.13.0 numpy opencv-python-headless
    /tmp/originals/bin/python tools/model_conversion/record_references.py --weights WEIGHTS --photo astronaut.png \
        --output tests/fixtures/model_references.npz

The photograph is NASA's portrait of Eileen Collins (public domain), astronaut.png of scikit-image. Its crops are
stored as pixels, since decoders of JPEG differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from arcface_paddle import images

FACE_LEFT_TOP = (165, 60)  # of a 130 x 130 square around the face of astronaut.png
FACE_SIDE = 130


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    photo = images.read_image(args.photo)
    x, y = FACE_LEFT_TOP
    face = photo[y : y + FACE_SIDE, x : x + FACE_SIDE]
    scene = cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA)
    faces = np.stack([cv2.resize(face, (112, 112), interpolation=cv2.INTER_AREA), scene[60:172, 30:142]])
    crops = np.stack([cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA), scene[100:148, 100:148]])

    boxes, logits = run_tflite(args.weights / "face_detection_back.tflite", normalize(scene[None], 127.5))
    # The original is compiled for two pictures at a time.
    [features] = run_tflite(args.weights / "MobileFaceNet.tflite", normalize(faces, 128.0))
    box, landmarks, probability = run_onet(args.weights / "onet.pt", normalize(crops, 128.0))
    np.savez_compressed(
        args.output,
        scene=scene,
        blazeface_boxes=boxes[0],
        blazeface_logits=logits[0, :, 0],
        faces=faces,
        mobileface_features=features,
        crops=crops,
        refiner_box=box,
        refiner_landmarks=landmarks,
        refiner_probability=probability,
    )


def normalize(pictures: np.ndarray, std: float) -> np.ndarray:
    return ((pictures.astype(np.float32) - 127.5) / std).astype(np.float32)


def run_tflite(path: Path, inputs: np.ndarray) -> list[np.ndarray]:
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


class ONet(nn.Module):
    """ONet as facenet-pytorch lays it out; it flattens its last map in the order width, height, channel."""

    def __init__(self) -> None:
        super().__init__()
        for index, (before, after, kernel) in enumerate(((3, 32, 3), (32, 64, 3), (64, 64, 3), (64, 128, 2)), start=1):
            setattr(self, f"conv{index}", nn.Conv2d(before, after, kernel))
            setattr(self, f"prelu{index}", nn.PReLU(after))
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = nn.functional.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x)).permute(0, 3, 2, 1).flatten(1)
        x = self.prelu5(self.dense5(x))
        return self.dense6_2(x), self.dense6_3(x), torch.softmax(self.dense6_1(x), dim=1)


def run_onet(path: Path, inputs: np.ndarray) -> list[np.ndarray]:
    network = ONet().eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    with torch.no_grad():
        return [output.numpy() for output in network(torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy()))]


if __name__ == "__main__":
    main()
