import json
import os
import signal
import sys
from importlib import import_module

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambo.cli import (
    LONGEST_CHOICES,
    Parser,
    add_config_flags,
    add_lab_flags,
    choose_device,
    parse,
    parse_seeds,
    port,
    read_configs,
    run_command,
    run_script,
)
from rambo.config import Config
from rambo.errors import FitCollapsed, InvalidInput, StrategyFailed
from rambo.fields import fields, flatten
from rambo.presets import quickstart


def read(*arguments, seeds_flag="--seed"):
    parser = Parser(prog="test", allow_abbrev=False)
    add_config_flags(parser, seeds_flag=seeds_flag)
    add_lab_flags(parser)
    return parse(parser, arguments)


def help_of(*arguments):
    parser = Parser(prog="test", allow_abbrev=False)
    add_config_flags(parser)
    with pytest.raises(SystemExit):
        parse(parser, [*arguments, "--help"])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), Config()),
        (("--preset", "quickstart"), quickstart()),
        (("--preset=quickstart", "--acquisition.budget=7"), quickstart()),
        (("--preset", "none-such"), Config()),
    ],
)
def test_help_has_one_line_of_usage_and_every_field_s_default(capsys, monkeypatch, flags, expected):
    monkeypatch.setenv("COLUMNS", "80")
    help_of(*flags)
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "usage: test [flags] [field flags]"
    assert max(map(len, said.splitlines())) <= 80
    told = " ".join(said.split())
    for name, value in flatten(expected).items():
        default = told.split(f" --{name} ")[1].split("Default: ")[1]
        assert default.startswith(f"{str(value).lower() if isinstance(value, bool) else value}."), name


# --- seeds -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), min_size=1, max_size=5))
def test_seeds_are_those_that_were_written(ranges):
    wanted = [seed for first, more in ranges for seed in range(first, first + more + 1)]
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in ranges)
    if len(set(wanted)) == len(wanted):
        assert parse_seeds(text) == wanted
    else:
        with pytest.raises(InvalidInput, match="Seeds must differ from each other"):
            parse_seeds(text)


@pytest.mark.parametrize("text", ["", "x", "-1", "1-", "3-1", "1,,2", "1.5", "1-2-3", "1 2", "²", "٣", "0-9" * 9])
def test_what_is_no_list_of_seeds_is_one_sentence(text):
    with pytest.raises(InvalidInput, match=r"must be whole numbers and ranges such as 0-9 or 0,2,5-7, got") as caught:
        parse_seeds(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["0-99999999999", "9" * 30, "9" * 5000])
def test_seeds_that_no_command_could_run_are_refused_at_once(text):
    with pytest.raises(InvalidInput, match="must be whole numbers and ranges") as caught:
        parse_seeds(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (int, "²", "must be a whole number, got '²'"),
        (int, "9" * 30, "must be a whole number, got '9999"),
        (float, "nan", "must be a finite number, got 'nan'"),
        (float, "1e999", "must be a finite number, got '1e999'"),
        (port, "99999", "must be a port from 1 to 65535, got '99999'"),
        (port, "²", "must be a port from 1 to 65535, got '²'"),
        (port, "0", "must be a port from 1 to 65535, got '0'"),
    ],
)
def test_flags_take_the_numbers_that_fields_take(kind, text, sentence):
    parser = Parser(prog="any")
    parser.add_argument("--flag", type=kind)
    with pytest.raises(InvalidInput, match=f"Argument --flag: {sentence}"):
        parser.parse_args(["--flag", text])


# --- configurations --------------------------------------------------------------------------------------------------


def test_there_is_a_configuration_for_each_seed_and_strategy_a_seed_s_together():
    configs = read_configs(read("--preset=quickstart", "--seed=3,0-1", "--strategy=margin,rambo"))
    assert [(one.seed, one.strategy) for one in configs] == [
        *((3, "margin"), (3, "rambo")),
        *((0, "margin"), (0, "rambo")),
        *((1, "margin"), (1, "rambo")),
    ]
    assert read_configs(read("--preset=quickstart")) == [quickstart()]


def test_flags_go_over_a_file_and_a_file_over_a_preset(tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"training": {"batch_size": 16, "max_epochs": 7}}))
    [config] = read_configs(read("--preset=quickstart", f"--config={path}", "--training.max_epochs=9"))
    assert (config.training.batch_size, config.training.max_epochs) == (16, 9)
    assert config.training.learning_rate == quickstart().training.learning_rate != Config().training.learning_rate
    [alone] = read_configs(read(f"--config={path}"))
    assert (alone.training.batch_size, alone.training.learning_rate) == (16, Config().training.learning_rate)


def test_every_field_has_a_flag_which_help_explains(capsys):
    with pytest.raises(SystemExit):
        read("--help")
    shown = " ".join(capsys.readouterr().out.split())
    for name, item in fields().items():
        assert f"--{name} {item.choices if len(item.choices) <= LONGEST_CHOICES else 'NAME'}" in shown
        assert " ".join(item.help.split()) in shown
    assert read("--seeds=0-3", seeds_flag="--seeds").seed == "0-3"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--acquisition.bugdet=3"], r"got --acquisition\.bugdet; did you mean --acquisition\.budget\?"),
        (["--nothing-like-it"], "got --nothing-like-it; see --help"),
        (["--acquisition.budget"], "Argument --acquisition.budget: expected one argument; see --help."),
        (["--device=tpu"], "Argument --device: invalid choice"),
        ([], "Either --preset or --config must say what to run, got neither; presets are quickstart"),
        (["--preset=quickstart", "--strategy=rambo,best"], "strategy must be rambo"),
        (["--preset=quickstart", "--strategy=margin,margin"], "--strategy must list different strategies, got margin,"),
        (["--preset=quickstart", "--strategy=rambo,none_such:pick"], "strategy none_such:pick must name a module that"),
        (["--preset=quickstart", "--seed=0,0"], "Seeds must differ"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(arguments, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        read_configs(read(*arguments))
    assert "\n" not in str(caught.value)


def test_the_device_is_a_gpu_only_where_there_is_one(monkeypatch):
    for there, auto in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto").type == auto
        assert choose_device("cpu").type == "cpu"
    assert choose_device("cuda").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match="--device must be cpu or auto where there is no GPU, got cuda"):
        choose_device("cuda")


# --- how a command ends ----------------------------------------------------------------------------------------------


@pytest.fixture
def handlers():
    """The handler of SIGTERM is the process's; ours goes when the test ends."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (None, 0, ""),
        (InvalidInput("B must be 3."), 2, "rambo: B must be 3.\n"),
        (FitCollapsed("All scores are equal."), 1, "rambo: All scores are equal.\n"),
        (StrategyFailed("It must pick 3."), 1, "rambo: It must pick 3.\n"),
        (KeyboardInterrupt(), 130, "rambo: stopped; the same command goes on from here.\n"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_an_end_has_its_status_and_at_most_one_sentence(raised, status, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rambo", "--seed", "3"])
    seen = []

    def main(arguments):
        seen.extend(arguments)
        if raised is not None:
            raise raised

    with pytest.raises(SystemExit) as ended:
        run_command("rambo", main)
    assert (ended.value.code, seen) == (status, ["--seed", "3"])
    assert capsys.readouterr().err == said


@pytest.mark.usefixtures("handlers")
def test_an_installed_script_finds_strategies_in_the_folder_where_it_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "lab_of_mine.py").touch()
    with pytest.raises(SystemExit) as ended:
        run_script("rambo", lambda arguments: import_module("lab_of_mine"))
    assert ended.value.code == 0


@pytest.mark.usefixtures("handlers")
def test_a_terminated_command_ends_what_is_open_well():
    closed = []

    def main(arguments):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            closed.append(True)

    with pytest.raises(SystemExit) as ended:
        run_command("rambo", main)
    assert (ended.value.code, closed) == (128 + signal.SIGTERM, [True])


@pytest.mark.usefixtures("handlers")
def test_a_bug_is_no_sentence():
    def main(arguments):
        raise ZeroDivisionError("ours to mend")

    with pytest.raises(ZeroDivisionError, match="ours to mend"):
        run_command("rambo", main)
