"""The flags that every command shares: a preset or a file, and one flag for each field of the configuration."""

import argparse
import difflib
import logging
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rambo.config import Config
from rambo.errors import ClassifierFailed, FitCollapsed, InvalidInput, StrategyFailed, require
from rambo.fields import Value, fields, flatten, override, read_config
from rambo.formats import number, shortened, whole
from rambo.presets import PRESETS, preset
from rambo.progress import show_log
from rambo.strategies.facts import FACTS
from rambo.terminal import STOPPED, answer_from_now_on, patient_output

if TYPE_CHECKING:
    import torch

LISTED = {
    "seed": " Several: 0-9 or 0,2,5-7.",
    "strategy": f" {'; '.join(f'{name}: {facts.about}' for name, facts in FACTS.items())}."
    " Several, separated by commas.",
}
"""Fields that a command may take several values of, and how."""


LONGEST_CHOICES = 50
"""Letters that stand behind a flag, at most; of longer lists the help tells."""

MOST_PORTS = 65_535
MOST_SEEDS = 100_000
"""Seeds that one command takes, at most."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose complaints are `InvalidInput`, and whose numbers are those that fields take."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.register("type", int, _whole)
        self.register("type", float, _finite)
        self.field_flags: dict[argparse.Action, str] = {}
        """The flags of fields, and what each means; its default is that of the preset that is given, if any."""
        self.fallback: Config | None = None
        """Whose values are the defaults where neither a preset nor a file is given."""
        self._words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, for which --help must know what else is asked for."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """The help, with the default of each field."""
        values = flatten(_asked_for(self._words, self.fallback or Config())) if self.field_flags else {}
        for action, meaning in self.field_flags.items():
            action.help = f"{meaning} Default: {shown(values[action.dest])}.".replace("%", "%%")
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Complain in one sentence."""
        raise InvalidInput(f"{message[0].upper()}{message[1:]}; see --help.")


def port(text: str) -> int:
    """The type of a flag that names a TCP port."""
    found = whole(text)
    if found is None or not 1 <= found <= MOST_PORTS:
        raise argparse.ArgumentTypeError(f"must be a port from 1 to {MOST_PORTS}, got {shortened(text)}")
    return found


def _whole(text: str) -> int:
    found = whole(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {shortened(text)}")
    return found


def _finite(text: str) -> float:
    found = number(text)
    if found is None or not math.isfinite(found):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {shortened(text)}")
    return found


def shown(value: Value) -> str:
    """A field's value as one types it.

    >>> shown(True), shown(0.003), shown("all")
    ('true', '0.003', 'all')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def _asked_for(words: Sequence[str], fallback: Config) -> Config:
    """The configuration of --preset and --config among `words`, fields apart; `fallback` without, or where wrong."""
    given = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    given.add_argument("--preset", choices=list(PRESETS))
    given.add_argument("--config", type=Path)
    given.exit_on_error = False
    with suppress(argparse.ArgumentError, InvalidInput):
        options, _ = given.parse_known_args([word for word in words if word not in ("-h", "--help")])
        base = preset(options.preset) if options.preset else None
        return read_config(options.config, base) if options.config else base or fallback
    return fallback


def add_config_flags(parser: Parser, *, seeds_flag: str = "--seed") -> None:
    """--preset, --config and a flag for each field, with the field's docstring as its help.

    The flags of `seed` (called `seeds_flag`) and `strategy` take several values.
    """
    group = parser.add_argument_group("what to run")
    group.add_argument("--preset", metavar="NAME", help=f"start from {', '.join(PRESETS)}")
    group.add_argument("--config", type=Path, metavar="FILE", help="a JSON file of fields, over the preset if any")
    parser.usage = "%(prog)s [flags] [field flags]"
    flags = parser.add_argument_group("field flags: the configuration's fields (over preset and file)")
    for name, item in fields().items():
        flag = seeds_flag if name == "seed" else f"--{name}"
        metavar = item.choices if len(item.choices) <= LONGEST_CHOICES else "NAME"
        action = flags.add_argument(flag, dest=name, metavar=metavar, help="", default=None)
        parser.field_flags[action] = f"{item.help}{LISTED.get(name, '')}"


def add_lab_flags(parser: argparse.ArgumentParser, *, device: bool = True) -> None:
    """--home, --data-dir, --device where asked for, --quiet: nothing in them changes a result."""
    group = parser.add_argument_group("where to work")
    group.add_argument("--home", default="runs", metavar="DIR", help="folder or fsspec URL for everything kept (runs/)")
    group.add_argument(
        "--data-dir", type=Path, default=Path("data"), metavar="DIR", help="downloaded data sets (data/)"
    )
    if device:
        group.add_argument(
            "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU where there is one"
        )
    group.add_argument("--quiet", action="store_true", help="no progress on standard error")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed flags, by which the log is shown; an unknown one is refused with the nearest there is."""
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        flag = unknown[0].split("=")[0]
        near = difflib.get_close_matches(flag, [f"--{name}" for name in fields()], n=1)
        hint = f"did you mean {near[0]}?" if near else "see --help."
        raise InvalidInput(f"A flag must be one that --help lists, got {flag}; {hint}")
    show_log(quiet=getattr(known, "quiet", False))
    return known


def read_configs(options: argparse.Namespace) -> list[Config]:
    """The configurations asked for: one a strategy and seed, all strategies of a seed together."""
    require(
        options.preset is not None or options.config is not None,
        f"Either --preset or --config must say what to run, got neither; presets are {', '.join(PRESETS)}.",
    )
    base = preset(options.preset) if options.preset is not None else None
    if options.config is not None:
        base = read_config(options.config, base)
    assert base is not None
    changes = {name: value for name, value in vars(options).items() if name in fields() and value is not None}
    seeds = parse_seeds(str(changes.pop("seed", base.seed)))
    strategies = str(changes.pop("strategy", base.strategy)).split(",")
    require(
        len(set(strategies)) == len(strategies),
        f"--strategy must list different strategies, got {','.join(strategies)}; name each once.",
    )
    base = override(base, {**changes, "seed": seeds[0], "strategy": strategies[0]})
    configs = [override(base, {"seed": seed, "strategy": strategy}) for seed in seeds for strategy in strategies]
    for config in configs:
        config.check_strategy()
    return configs


def choose_device(name: str) -> "torch.device":
    """The device called `name`; auto takes a GPU where there is one."""
    import torch

    available = torch.cuda.is_available()
    require(name != "cuda" or available, "--device must be cpu or auto where there is no GPU, got cuda.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def parse_seeds(text: str) -> list[int]:
    """Seeds from text such as `3`, `0-9` or `0,2,5-7`.

    >>> parse_seeds("0,2,5-7")
    [0, 2, 5, 6, 7]
    """
    rule = "Seeds must be whole numbers and ranges such as 0-9 or 0,2,5-7"
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part, re.ASCII)
        first, last = (whole(match[1]), whole(match[2] or match[1])) if match else (None, None)
        if first is None or last is None or last < first:
            raise InvalidInput(f"{rule}, got {shortened(text)}.")
        require(len(seeds) + last - first < MOST_SEEDS, f"{rule}, {MOST_SEEDS} of them at most, got {shortened(text)}.")
        seeds += range(first, last + 1)
    require(len(set(seeds)) == len(seeds), f"Seeds must differ from each other, got {shortened(text)}.")
    return seeds


def run_command(program: str, main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run `main` on the command line; what the user can mend is one sentence and exit status 2."""
    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:  # as Ctrl-C: what is open is ended well
        stopped.append(number)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    answer_from_now_on()
    settle = patient_output()
    status = _status(program, main)
    if stopped or status == signal.SIGTERM:  # Ray, if it was waiting or starting, has put its own status in its place
        status = 128 + signal.SIGTERM
        logging.getLogger("ray").setLevel(logging.CRITICAL + 1)  # its threads must not have the last word
        print(f"{program}: {STOPPED}", file=sys.stderr)
    lost = settle()
    if lost is not None:
        print(
            f"{program}: standard output must be writable, got: {lost.strerror}; what was printed is lost, results "
            "are kept.",
            file=sys.stderr,
        )
    sys.exit(status or (0 if lost is None else 1))


def run_script(program: str, main: Callable[[Sequence[str]], None]) -> NoReturn:
    """The same where an installed script is run, which looks for modules where `python -m` does."""
    with suppress(OSError):  # a folder that is gone holds no strategy of the user's own
        sys.path.insert(0, os.getcwd())
    run_command(program, main)


def _status(program: str, main: Callable[[Sequence[str]], None]) -> int | str | None:
    """How `main` ended, once that is said."""
    try:
        main(sys.argv[1:])
    except SystemExit as ended:
        return ended.code
    except InvalidInput as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except (FitCollapsed, StrategyFailed, ClassifierFailed) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: {STOPPED}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # of a stream that a library has kept
        return 0
    return 0
