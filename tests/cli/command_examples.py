"""A cheap example of every command, run in order in a folder that :func:`prepare` filled."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
from tiny_data import write_dataset

from arcface_paddle.cli.commands import data, serve_keys
from arcface_paddle.cli.main import COMMANDS, command_parser

DEMO = Path(__file__).parents[2] / "demo"
MODEL = Path(__file__).parents[2] / "inference_model" / "MobileFace"

_SMALL = "--network=MobileFaceNet_128 --width=0.125 --embedding_size=8"
_ONE = "--threads=1"

# Left out, because a connection is their work, or for the reason that is told.
ASKED_FOR = {
    "models fetch": "downloads",
    "serve": "listens; tests/cli/test_cli_no_network.py starts it by itself",
    "serve keys revoke": "takes the id that adding a key made; it works on the same file as 'list' and 'add'",
}

# The command, its arguments, its exit code (1: a fault was found in the data). QUICK are those before the first one
# that loads a network.
EXAMPLES: list[tuple[str, str, int]] = [
    ("models list", "", 0),
    ("models show", "MobileFace", 0),
    ("models check", "FaceRefiner", 0),
    ("models backbones", "", 0),
    ("completion", "bash", 0),
    ("serve keys list", "--state state", 0),
    ("serve keys add", "desk --state state", 0),
    ("gallery key", "gallery.key", 0),
    ("data info", "set", 0),
    ("data preview", "set --output preview.png --pictures 2", 0),
    ("data convert", "set folders --to folder --workers 1", 0),
    ("data pairs", "pairs.bin --dataset set --pairs 4 --workers 1", 0),
    ("data doctor", "set --no_embedding --workers 1", 1),
    ("gallery build", f"people.index --img_dir people --workers 1 {_ONE}", 0),
    ("gallery list", "people.index", 0),
    ("gallery add", f"people.index --img_dir more --workers 1 {_ONE}", 0),
    ("gallery rename", "people.index Ada Lovelace", 0),
    ("gallery check", "people.index", 1),
    ("gallery export", "people.index people.npz --format npz", 0),
    ("gallery merge", "again.index people.index", 0),
    ("gallery convert", "people.index copy.index", 0),
    ("gallery rekey", "copy.index --plain", 0),
    ("gallery remove", "again.index Lovelace", 0),
    ("recognize", f"--det --rec --index people.index --input person.jpg --output out --json out.json {_ONE}", 0),
    ("encode", f"people --output faces.npz --workers 1 {_ONE}", 0),
    ("compare", f"person.jpg person.jpg {_ONE}", 0),
    ("embed", "people --output shards --encode=--threads=1", 0),
    ("gallery import", "embedded.index shards/people-00000.parquet", 0),
    ("demo", "--output demo", 0),
    ("people", f"people --output library --workers 1 {_ONE}", 0),
    ("find", f"person.jpg people --people library/people.json {_ONE}", 0),
    ("synth", "drawn --identities 1 --images_per_identity 1 --workers 1", 0),
    ("data align", "people aligned --workers 1 --largest", 0),
    ("valid", f"--model MobileFace --data_dir set --val_targets val {_ONE}", 0),
    ("data leaks", f"set folders --workers 1 {_ONE}", 1),
    ("identify", f"--data_dir folders {_ONE}", 0),
    ("calibrate", f"model --data folders --dry_run {_ONE}", 0),
    ("plan", "--num_classes 1000 --width 0.125", 0),
    ("train", f"--data_dir set --output run --logdir log --val_targets= {_SMALL} --batch_size 4 --steps 2 "
              "--log_every 1 --num_workers 0 --subcentres 2", 0),
    ("data noisy", "run --data_dir set --workers 1", 1),
    ("export", f"--pretrained_model run/MobileFaceNet_128.pdparams {_SMALL} --output exported", 0),
    ("import", "run/MobileFaceNet_128.pdparams --output imported --network MobileFaceNet_128", 0),
    ("quantize", "--model MobileFace --images folders --pairs set/val.bin --output int8 --count 2 --max_auc_loss 1", 0),
]  # fmt: skip
QUICK = EXAMPLES[: [name for name, _, _ in EXAMPLES].index("gallery build")]


def prepare(folder: Path) -> None:
    """Put photographs, a dataset and a model whose card may be written into a folder."""
    photographs = sorted((DEMO / "gallery").rglob("*.jpg"))
    for target, source in (("people/Ada", 0), ("people/Grace", 1), ("more/Grace", 2)):
        (folder / target).mkdir(parents=True)
        shutil.copy(photographs[source], folder / target / "1.jpg")
    shutil.copy(photographs[0], folder / "person.jpg")
    write_dataset(folder / "set", identities=6, pictures=3)
    shutil.copytree(MODEL, folder / "model")


def commands() -> set[str]:
    """Return the name of every command with its subcommands, as the parsers know them."""
    found = {name for top, (module, _) in COMMANDS.items() for name in _leaves(command_parser(module, prog=top), top)}
    keys = argparse.ArgumentParser()
    serve_keys.configure(keys)
    return (found - {"data"}) | {f"data {name}" for name in data.SUBCOMMANDS} | set(_leaves(keys, "serve keys"))


def _leaves(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name
    for group in groups:
        for word, subparser in group.choices.items():
            yield from _leaves(subparser, f"{name} {word}")
