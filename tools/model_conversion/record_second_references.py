"""Record what onnxruntime and dlib make of CenterFace's and dlib's weights, for tests/pipeline/test_model_parity.py.

Run it in a throwaway environment (it imports nothing of this project and no Paddle):

    python -m venv /tmp/originals
    /tmp/originals/bin/pip install dlib-bin==20.0.1 onnxruntime==1.32.0 onnx numpy
    /tmp/originals/bin/python tools/model_conversion/record_second_references.py --weights WEIGHTS \
        --pictures tests/fixtures/model_references.npz --output tests/fixtures/second_references.npz

The pictures are those of record_references.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dlib
import numpy as np
import onnx
import onnxruntime

CROP_CORNERS_YX = ((20, 50), (90, 10))  # of two 150x150 crops of the scene: the face, and beside it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    scene = np.load(args.pictures)["scene"]
    crops = np.stack([scene[y : y + 150, x : x + 150] for y, x in CROP_CORNERS_YX])
    heat, size, offset, landmarks = run_centerface(args.weights / "centerface.onnx", scene)
    np.savez_compressed(
        args.output,
        centerface_heat=heat,
        centerface_size=size,
        centerface_offset=offset,
        centerface_landmarks=landmarks,
        resnet29_crops=crops,
        resnet29_features=run_dlib(args.weights / "dlib_face_recognition_resnet_model_v1.dat", crops),
    )


def run_centerface(path: Path, picture: np.ndarray) -> list[np.ndarray]:
    """Run the original graph, whose declared sizes are only an example, on (H, W, 3) uint8 RGB."""
    model = onnx.load(str(path))
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in constants:
            for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
                dimension.dim_param = f"{value.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"input.1": picture.transpose(2, 0, 1)[None].astype(np.float32)})


def run_dlib(path: Path, crops: np.ndarray) -> np.ndarray:
    network = dlib.face_recognition_model_v1(str(path))
    return np.array([network.compute_face_descriptor(np.ascontiguousarray(crop)) for crop in crops])


if __name__ == "__main__":
    main()
