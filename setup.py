"""Build of the distribution ``arcface-paddle``; every dependency is named with its purpose."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
MODELS = "arcface_paddle.inference_model"  # the shipped models live beside the package and are packed into it
PUBLISHED_MODULE = "insightface_paddle"  # the name under which code written for the published wheel imports it
PHOTOGRAPHS = "arcface_paddle.demo_photographs"  # likewise those of demo/, for 'arcface-paddle demo'


def read_version() -> str:
    for line in (ROOT / "arcface_paddle" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise SystemExit("arcface_paddle/__init__.py: no __version__")


def read_description() -> str:
    """Return the README for an index of packages, which has no file that a relative link could lead to: words stay."""
    text = (ROOT / "README_en.md").read_text(encoding="utf-8")
    without_pictures = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", without_pictures)


class BuildWithoutDemoPrograms(build_py):
    """Packs the photographs of demo/, and not the programs that made them and run ``make demo``."""

    def find_package_modules(self, package, package_dir):
        return [] if package == PHOTOGRAPHS else super().find_package_modules(package, package_dir)


# Lower bounds. 'make oldest' writes them, and the oldest of what they need, to tools/requirements/oldest.txt for Python
# 3.9, which a job of the forge installs. They have one of these reasons, said behind each:
#   wheel:    the oldest with wheels for Python 3.9; before it there is nothing to install without a compiler
#   asked:    what a package in the same extra asks for
#   used:     the first with something that the code uses
#   faults:   earlier ones fail in a way that is told
#   oldest:   the oldest that the code was written against; nothing is known to fail before it
# Upper bounds stand only where a release is known to break: none today.
REQUIREMENTS = [
    "numpy>=1.25",  # arrays everywhere (asked: by faiss-cpu, and nothing older is tried here)
    # decoding of training crops, warps, video. The headless build: no Qt or GTK libraries on servers and in
    # containers, and it installs beside nothing else (the GUI build would conflict with it). (faults: 4.6
    # turns upright videos of phones the wrong way, 4.11 not at all)
    "opencv-python-headless>=4.8,!=4.11.*",
    # careful decoding of photographs; drawing of Chinese names (faults: before 10.3 16-bit grey becomes black, PFM is
    # unknown, and the Exif data of some pictures end in an AttributeError)
    "pillow>=10.3",
    "prettytable>=3.10",  # tables in the terminal (used: a line below a row)
    "tqdm>=4.60",  # progress of long work (oldest)
]

# Runs networks on CPU two to four times as fast as Paddle; INT8. (faults: Paddle 3 brings libraries of OpenVINO with
# the file names of 2025.0 and other symbols, so that only the one of the two that is imported first can be loaded)
OPENVINO = "openvino>=2025.1"
# Paddle imports setuptools as soon as it is imported, and asks for it from Python 3.12 on only; environments that were
# not made by venv have none (uv, conda). 58.1 is what venv of Python 3.9 brings. (oldest)
SETUPTOOLS_FOR_PADDLE = "setuptools>=58.1; python_version < '3.12'"
# There is no Paddle for Python 3.14: OpenVINO then runs the shipped models, and training says what is missing.

EXTRAS = {
    # Training, and inference where OpenVINO does not know a network; either this or gpu. (used: the graph format json)
    "cpu": ["paddlepaddle>=3.0; python_version < '3.14'", SETUPTOOLS_FOR_PADDLE, OPENVINO],
    # The common package index ends with 2.6.2; Paddle's own has the builds, here for CUDA 12.6: pip install
    # "arcface_paddle[gpu]" --extra-index-url https://www.paddlepaddle.org.cn/packages/stable/cu126/
    "gpu": ["paddlepaddle-gpu>=3.0", SETUPTOOLS_FOR_PADDLE],  # (used: as cpu)
    "train": [
        # scalars of a training run, as the published trainer wrote them (faults: before 2.5.3 it brings gradio, the
        # client of a GPU server and attrdict, which Python 3.10 cannot import)
        "visualdl>=2.5.3",
        "pyyaml>=5.4",  # recipes in configs/ (wheel)
        "psutil>=5.8",  # memory in the log, dead ranks (wheel)
    ],
    # scalars for TensorBoard: train.py --logger tensorboard (faults: before 2.6.2 none can be imported with protobuf 4)
    "tensorboard": ["tensorboardX>=2.6.2"],
    "wandb": ["wandb>=0.19"],  # scalars for Weights & Biases: train.py --logger wandb (oldest)
    "report": ["matplotlib>=3.7"],  # ROC, DET, histograms, training curves (used: a legend outside of the axes)
    "synthetic": ["numba>=0.58"],  # rasteriser of synthetic faces (oldest; the first for numpy 1.25)
    "onnx": [
        "paddle2onnx>=2.0; python_version < '3.13'",  # export to ONNX; brings onnx (asked: it reads graphs of Paddle 3)
        "onnx>=1.17; python_version >= '3.13'",  # where paddle2onnx has no build, for INT8 (asked: as it brings)
        # running ONNX models; quantisation to INT8 (faults: before 1.17 no ranges are taken by tensor, before 1.19 it
        # quantises by onnx.mapping, which onnx 1.19 has no more)
        "onnxruntime>=1.19",
        "ml_dtypes>=0.5",  # onnxruntime.quantization needs it and does not say so (used: by onnx 1.19)
    ],
    "openvino": [OPENVINO],
    "completion": ["shtab>=1.6"],  # completion of flags in bash, zsh and tcsh (oldest)
    "bcolz": ["numcodecs>=0.10"],  # Blosc chunks of verification sets that bcolz stored (oldest)
    # Videos by FFmpeg: true times, H.264 that browsers play, sound kept (used: 14.2 is the first to tell of rotation)
    "video": ["av>=14.2"],
    "heif": ["pillow-heif>=0.16"],  # HEIC and HEIF photographs of phones (oldest)
    # Windows for --show. It takes the place of the headless build, which is to be uninstalled first: both write cv2.
    "gui": ["opencv-python>=4.8,!=4.11.*"],  # (asked: as the headless build)
    "faiss": ["faiss-cpu>=1.9"],  # galleries at faiss:FOLDER (used: signed bytes)
    # galleries on a Milvus server (faults: 2.4 and 2.5.0 import pkg_resources, which setuptools 82 no longer has)
    "milvus": ["pymilvus>=2.5.8"],
    "postgres": ["psycopg[binary]>=3.1"],  # galleries in PostgreSQL with pgvector (oldest)
    "encryption": ["cryptography>=37.0.2"],  # gallery files encrypted at rest (used: AES-SIV)
    "serve": [
        "fastapi>=0.110",  # routes, checked bodies, OpenAPI (oldest)
        "uvicorn>=0.23",  # the server (oldest)
        "python-multipart>=0.0.20",  # pictures sent as forms (used: its name of the module)
        "prometheus-client>=0.16",  # metrics (oldest)
    ],
    "encode": ["h5py>=3.0", "pyarrow>=10.0"],  # HDF5 and Parquet files of embeddings (wheel; used: files in a with)
    # attacks on the parsers that are led by coverage, tools/fuzz.py --engine atheris (oldest)
    "fuzz": ["atheris>=3.0; python_version >= '3.11' and sys_platform == 'linux'"],
    "cluster": ["distributed>=2023.1", "pyarrow>=10.0"],  # very large sets on several machines, by Dask (oldest)
    "docs": [
        "sphinx>=7.4",  # the documentation site: make docs (oldest)
        "myst-parser>=3.0",  # its pages are Markdown (oldest)
        "furo>=2024.8.6",  # its look, light and dark, phone and desktop (oldest)
        "sphinx-copybutton>=0.5.2",  # a button that copies a command (oldest)
        "pyyaml>=5.4",  # remedies of errors, figures of models (wheel)
        "nbclient>=0.10",  # runs its notebooks (oldest)
        "nbformat>=5.10",  # reads them (oldest)
        "ipykernel>=6.29",  # the Python in which they run (oldest)
    ],
}
NOT_FOR_ALL = ("cpu", "gpu", "gui", "cluster", "docs", "fuzz")  # one of two, one that replaces another, what few need
EXTRAS["all"] = sorted({name for extra in EXTRAS if extra not in NOT_FOR_ALL for name in EXTRAS[extra]})
EXTRAS["dev"] = [
    *EXTRAS["cpu"],
    *EXTRAS["all"],
    *EXTRAS["docs"],
    "pytest>=7.0",  # tests (oldest)
    "pytest-xdist>=3.0",  # tests in several processes (oldest)
    "httpx>=0.24",  # the client with which FastAPI's tests call an application (oldest)
    "selenium>=4.10",  # the service's page in headless Chromium (oldest)
    "scikit-learn>=1.2",  # twin of the doctor's clustering and of the published TAR reading in the tests (used: metric)
    "hypothesis>=6.100",  # structured hostile inputs (oldest)
    "ruff>=0.5",  # lint and format (oldest)
    "mypy>=1.8",  # types (oldest)
    "build>=1.0",  # the wheel (oldest)
]

setup(
    name="arcface-paddle",
    version=read_version(),
    description="Face recognition on PaddlePaddle: data, sharded ArcFace training, validation, export, recognition",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "THIRD_PARTY_NOTICES.md"],
    python_requires=">=3.9",
    packages=[*find_packages(include=["arcface_paddle", "arcface_paddle.*"]), PUBLISHED_MODULE, MODELS, PHOTOGRAPHS],
    package_dir={MODELS: "inference_model", PHOTOGRAPHS: "demo"},
    cmdclass={"build_py": BuildWithoutDemoPrograms},
    package_data={
        "arcface_paddle": ["py.typed", "assets/*", "**/assets/*", "service/page/**"],
        MODELS: ["*/*"],
        PHOTOGRAPHS: ["DEMO_PHOTOS.md", "gallery/*.txt", "gallery/*/*", "queries/*"],
    },
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "arcface-paddle = arcface_paddle.cli.main:main",
            "test_recognition = arcface_paddle.cli.main:test_recognition",
            "insightfacepaddle = arcface_paddle.cli.main:insightfacepaddle",
        ]
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
