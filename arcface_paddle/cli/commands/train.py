"""Train a face recogniser, alone or under python -m paddle.distributed.launch.

Settings come from the defaults, then --config FILE (YAML, the same names), then the flags. The resolved settings are
written to OUTPUT/config.yaml.

With --resume auto the same command, given again, goes on where the run was stopped or killed; with --resume 0 it begins
anew, and all that the earlier run has written is set aside into OUTPUT/earlier_DATE_TIME. For fine-tuning,
--pretrained MobileFace --data_dir FOLDER is enough: network, embedding size and input are those of the model.

A training that stays flat is explained by --explain OUTPUT, which trains nothing: it judges the curve, the settings
and a sample of the data (exit code 0: it learns; 1: it does not, or something was found that is likely to harm).

Exit codes: 0 finished; 1 finished, but unreadable samples were replaced (each is named in OUTPUT/training.log);
2 wrong use or an error, checkpoints already written are intact; 130 stopped by Ctrl-C, SIGTERM or SIGHUP after saving,
go on with --resume 1.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import warnings
from typing import Optional

from arcface_paddle.cli.console import write_json_result
from arcface_paddle.cli.main import EXIT_INTERRUPTED, EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.errors import ConfigError
from arcface_paddle.training.config import Option, TrainConfig, config_from, load_config, options
from arcface_paddle.training.processor_setup import prepare_processor

GROUP_TITLES = {
    "data": "data",
    "network": "network",
    "classifier": "class centres and margin",
    "optimizer": "optimizer, precision, gradients",
    "finetuning": "fine-tuning: learning without forgetting",
    "distillation": "distillation: learning from a teacher",
    "schedule": "length of the run and learning rate",
    "exchange": "several processes",
    "run": "output, log, resuming",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare ``--config`` and one flag per option, in the groups of the settings."""
    parser.add_argument("--config", metavar="FILE", help="YAML file of options; flags override it")
    parser.add_argument(
        "--explain", metavar="FOLDER", help="say why the run in this folder does not learn; train nothing"
    )
    parser.add_argument("--json", metavar="FILE", help="with --explain: write the same as JSON")
    parser.add_argument(
        "--local_rank",
        "--local-rank",
        type=int,
        metavar="N",
        help="accepted for launchers that pass it, and ignored: paddle.distributed.launch tells each process its rank",
    )
    groups = {name: parser.add_argument_group(title) for name, title in GROUP_TITLES.items()}
    for option in options():
        _add_flag(groups[option.group], option)


def config_of(args: argparse.Namespace) -> TrainConfig:
    """Return the resolved settings: defaults, then the file, then the flags that were given.

    Raises:
        ConfigError: an unknown key or a bad value.
    """
    given = {option.name: getattr(args, option.name) for option in options() if hasattr(args, option.name)}
    base = load_config(args.config) if args.config else TrainConfig()
    return config_from(given, base=base, origin="flag")


def run(args: argparse.Namespace) -> int:
    """Train, or explain, and return the exit code."""
    if args.explain is not None:
        _refuse_settings_beside_explain(args)
        return _explain(args.explain, args.json)
    if args.json is not None:
        raise ConfigError("--json is the explanation of a run as JSON and needs --explain FOLDER")
    config = config_of(args)
    _hide_notes_of_paddle()
    _share_cores()
    if config.run.cpu_kernels != "off":
        prepare_processor()  # before Paddle computes anything
    from tqdm import tqdm

    from arcface_paddle import devices, distributed
    from arcface_paddle.training.trainer import train

    devices.use_device(config.run.device)

    def say(text: str) -> None:
        try:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal has hung up; the run still has to save, and has its log file
                raise

    with distributed.process_group():
        if distributed.is_main():
            require_writable_folder(config.run.logdir or None, option="--logdir")
        if args.local_rank is not None and distributed.is_main():
            say(f"--local_rank {args.local_rank} is ignored: the launcher tells each process its rank by itself")
        outcome = train(config, say=say)
    if outcome.reason == "stopped":
        return EXIT_INTERRUPTED
    return EXIT_PARTIAL if outcome.bad_samples else EXIT_OK


def _refuse_settings_beside_explain(args: argparse.Namespace) -> None:
    given = [f"--{option.name}" for option in options() if hasattr(args, option.name)]
    given += ["--config"] if args.config else []
    if given:
        raise ConfigError(f"--explain trains nothing and takes the settings of the run; leave out {', '.join(given)}")


def _explain(folder: str, json_file: Optional[str]) -> int:
    _hide_notes_of_paddle()
    from arcface_paddle.training.explain.explanation import explain, explanation_text
    from arcface_paddle.training.explain.verdict import LIKELY, CurveVerdict

    explanation = explain(folder)
    print(explanation_text(explanation))
    if json_file is not None:
        write_json_result(json_file, explanation.to_dict())
    harmful = [reason for reason in explanation.reasons if reason.weight >= LIKELY]
    return EXIT_OK if explanation.verdict is CurveVerdict.LEARNING and not harmful else EXIT_PARTIAL


def _share_cores() -> None:
    """Give each launched process its share of the cores (before paddle is imported), unless the user has decided."""
    wanted = os.environ.get("PADDLE_LOCAL_SIZE", "1")
    processes = int(wanted) if re.fullmatch("[0-9]{1,6}", wanted) else 1  # what is no number is told further on
    if processes > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


def _hide_notes_of_paddle() -> None:
    """Keep off the terminal what users took for errors of theirs."""
    for note in ("No ccache found", "When training, we now always track global mean and variance"):
        warnings.filterwarnings("ignore", message=note)


def _add_flag(parser: argparse._ArgumentGroup, option: Option) -> None:
    told = "default:" in option.help_text or option.default is None
    default = "" if told else f" (default: {_shown(option.default)})"
    parser.add_argument(
        f"--{option.name}",
        default=argparse.SUPPRESS,
        nargs="?" if option.is_bool else None,
        const="true" if option.is_bool else None,
        metavar=_metavar(option),
        help=(option.help_text + default).replace("%", "%%"),
    )


def _metavar(option: Option) -> str:
    if not option.choices:
        return option.name.upper()
    return "{" + ",".join(option.choices) + "}" + (",..." if isinstance(option.default, tuple) else "")


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return "none" if default == "" else str(default)
