import json

import pytest

from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import config_id, effective_fields, fields, flatten, override, read_config, read_fields, to_json
from rambo.presets import quickstart
from rambo.strategies.facts import STRATEGIES


def test_text_and_json_values_mean_the_same():
    typed = override(Config(), {"switches.ot": "off", "acquisition.candidate_batches": "all", "data.label_noise": ".2"})
    built = override(Config(), {"switches.ot": False, "acquisition.candidate_batches": "all", "data.label_noise": 0.2})
    assert typed == built


def test_json_round_trip(tmp_path):
    config = override(Config(), {"utility_model.lambda_ot": 0.3, "strategy": "margin", "seed": 7})
    path = tmp_path / "config.json"
    path.write_text(to_json(config))
    assert read_config(path) == config
    path.write_text(json.dumps(flatten(config)))
    assert read_config(path) == config


@pytest.mark.parametrize("content", ["[1]", "{", '{"data": {"sauce": 1}}'])
def test_unusable_files_are_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InvalidInput):
        read_config(path)
    with pytest.raises(InvalidInput, match="must name a file that exists"):
        read_config(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"acquisition": {"budget": Infinity}}', "acquisition.budget must be int, got inf."),
        ('{"acquisition": {"budget": NaN}}', "acquisition.budget must be int, got nan."),
        ('{"acquisition": {"budget": 1e999}}', "acquisition.budget must be int, got inf."),
        ('{"acquisition": {"budget": 99999999999999999999}}', "acquisition.budget must be int, got 9999"),
        ('{"utility_model": {"lambda_ot": 1%s}}' % ("0" * 400), "utility_model.lambda_ot must be float, got 1000"),
        ('{"utility_model": {"lambda_ot": 1%s}}' % ("0" * 9000), "--config must name a readable JSON file, got "),
        (
            '{"utility_model": {"lambda_ot": Infinity}}',
            "utility_model.lambda_ot must be finite and at least 0, got inf",
        ),
        ('{"utility_model": {"dropout": NaN}}', "utility_model.dropout must be float, got nan."),
        ('{"seed": "²"}', "seed must be int, got '²'."),
        ('{"seed": null}', "seed must be int, got None."),
        ("[" * 100_000, "--config must name a readable JSON file, got "),
        ("\xff", "--config must name a readable JSON file, got "),
    ],
)
def test_numbers_that_are_none_are_one_short_sentence(tmp_path, content, sentence):
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("latin-1") if content == "\xff" else content.encode())
    with pytest.raises(InvalidInput) as caught:
        read_config(path)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_every_field_is_documented_and_has_a_default():
    assert len(fields()) == len(flatten(Config()))
    assert [name for name, field in fields().items() if not field.help] == []


TRAINED_OTHERWISE = {
    "training.learning_rate": 0.5,
    "training.batch_size": 8,
    "training.max_epochs": 7,
    "training.target_accuracy": 0.5,
    "acquisition.num_scouts": 4,
}
"""Nothing that a logistic regression reads."""


def same_id(first, second):
    return config_id(override(Config(), first), 1000) == config_id(override(Config(), second), 1000)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"seed": 3, "data.source": "mnist"}),
        ({"switches.ot": False}, {"utility_model.lambda_ot": 0}),
        ({"switches.ot": False}, {"switches.ot": False, "utility_model.lambda_1": 9}),
        ({"switches.ot": False}, {"switches.ot": False, "utility_model.ot_unit": "raw"}),
        ({"switches.bilevel": False}, {"switches.bilevel": False, "utility_model.outer_learning_rate": 9}),
        ({"strategy": "random"}, {"strategy": "random", "utility_model.lambda_ot": 9, "acquisition.batch_size": 100}),
        ({}, {"data.label_noise_classes": 0.3}),
        ({"acquisition.candidate_batches": 20}, {"acquisition.candidate_batches": "all"}),
        ({"acquisition.candidate_batches": 20}, {"acquisition.candidate_batches": 900}),
        ({"strategy": "margin"}, {"strategy": "margin", "acquisition.num_scouts": 1, "acquisition.num_parts": 3}),
        ({"strategy": "random"}, {"strategy": "random", "acquisition.scout": "seed_and_validation"}),
        ({"strategy": "random"}, {"strategy": "random", "acquisition.refit": "imagined", "acquisition.rounds": 5}),
        ({"strategy": "scout_margin"}, {"strategy": "scout_margin", "acquisition.scout": "seed_and_validation"}),
        ({"strategy": "margin"}, {"strategy": "margin", "acquisition.oracle_repeats": 9}),
        ({"strategy": "dulo"}, {"strategy": "dulo", "switches.bilevel": False, "switches.ranknet": False}),
        ({"strategy": "dulo"}, {"strategy": "dulo", "switches.ot": False, "utility_model.lambda_ot": 9}),
        ({"strategy": "dulo"}, {"strategy": "dulo", "utility_model.hypergradient": "cg"}),
        ({"strategy": "dulo"}, {"strategy": "dulo", "acquisition.candidate_batches": 3, "acquisition.rounds": 2}),
        ({"strategy": "llal"}, {"strategy": "llal", "acquisition.num_scouts": 3, "acquisition.batch_size": 100}),
        ({"strategy": "llal"}, {"strategy": "llal", "acquisition.refit": "imagined"}),
        ({}, {"acquisition.block_epsilon": 0.5}),
        ({"classifier.name": "linear"}, {"classifier.name": "linear", **TRAINED_OTHERWISE}),
        (
            {"classifier.name": "linear", "strategy": "ensemble_margin"},
            {"classifier.name": "linear", "strategy": "ensemble_margin", "acquisition.num_scouts": 3},
        ),
    ],
)
def test_equal_experiments_have_equal_ids(first, second):
    assert same_id(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"utility_model.lambda_ot": 2}),
        ({}, {"switches.bilevel": False}),
        ({}, {"utility_model.ot_unit": "raw"}),
        ({"data.label_noise": 0.2}, {"data.label_noise": 0.2, "data.label_noise_classes": 0.3}),
        ({"strategy": "random"}, {"strategy": "margin"}),
        ({"strategy": "filtered_random"}, {"strategy": "filtered_random", "acquisition.candidate_batches": 2}),
        ({"strategy": "random"}, {"strategy": "random", "evaluation.repeats": 2}),
        ({"strategy": "random"}, {"strategy": "random", "evaluation.first_repeat": 0}),
        ({"strategy": "random"}, {"strategy": "random", "training.learning_rate": 2}),
        ({"strategy": "random"}, {"strategy": "random", "evaluation.with_validation": True}),
        ({"strategy": "margin"}, {"strategy": "margin", "acquisition.num_scouts": 2}),
        ({"strategy": "margin"}, {"strategy": "margin", "acquisition.refit": "imagined"}),
        ({"strategy": "margin"}, {"strategy": "margin", "acquisition.rounds": 5}),
        ({"strategy": "oracle"}, {"strategy": "oracle", "acquisition.oracle_repeats": 9}),
        ({}, {"offline.structured": True}),
        ({"strategy": "dulo"}, {"strategy": "dulo", "acquisition.block_epsilon": 0.5}),
        ({"strategy": "dulo"}, {"strategy": "dulo", "acquisition.batch_size": 25}),
        ({"strategy": "dulo"}, {"strategy": "dulo", "utility_model.learning_rate": 0.5}),
        ({"strategy": "llal"}, {"strategy": "llal", "acquisition.scout": "seed_and_validation"}),
        ({"strategy": "llal"}, {"strategy": "llal", "acquisition.rounds": 5}),
        ({}, {"classifier.name": "linear"}),
        ({"classifier.name": "mlp"}, {"classifier.name": "mlp", "training.batch_size": 8}),
        (
            {"classifier.name": "linear", "strategy": "glister"},
            {"classifier.name": "linear", "strategy": "glister", "training.learning_rate": 0.5},
        ),
    ],
)
def test_different_experiments_have_different_ids(first, second):
    assert not same_id(first, second)


def test_a_weights_file_counts_by_its_content(tmp_path):
    paths = [tmp_path / name for name in ("a.pth", "b.pth", "c.pth")]
    for path, content in zip(paths, [b"same", b"same", b"other"], strict=True):
        path.write_bytes(content)
    frozen = {"utility_model.extractor": "resnet18"}
    ids = [config_id(override(Config(), {**frozen, "utility_model.weights": str(path)}), 1000) for path in paths]
    assert ids[0] == ids[1] != ids[2]


def test_the_id_holds_at_least_twelve_hex_digits():
    assert len(config_id(Config(), 10)) >= 12
    assert "utility_model.lambda_ot" in effective_fields(Config(), 10)


def test_fields_that_are_read_have_the_names_and_values_that_people_give():
    found = read_fields(quickstart())
    assert (found["seed"], found["acquisition.candidate_batches"], found["switches.ot"]) == (0, 10, True)
    random = read_fields(override(quickstart(), {"strategy": "random"}))
    assert not [name for name in random if name.startswith(("switches.", "utility", "acquisition.batch"))]
    assert random["acquisition.budget"] == 100


@pytest.mark.parametrize("change", [{"switches.ot": False}, {"utility_model.lambda_ot": 0.0}])
def test_without_ot_its_weights_are_not_read(change):
    found = read_fields(override(quickstart(), change))
    assert found["switches.ot"] is False
    assert not [name for name in found if "lambda" in name]


def test_what_is_fixed_by_a_strategy_is_what_it_reads():
    assert read_fields(override(quickstart(), {"strategy": "dulo"}))["acquisition.candidate_batches"] == "all"


def test_of_a_strategy_whose_module_is_gone_all_fields_are_told():
    config = override(quickstart(), {"strategy": "gone:pick"})
    assert read_fields(config) == flatten(config)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_whatever_makes_another_id_is_among_the_fields_that_are_read(strategy):
    config = override(quickstart(), {"strategy": strategy})
    resolved = {"acquisition.num_candidates", "acquisition.num_scouts", "strategy_source"}
    assert set(effective_fields(config, 1000)) - resolved <= set(read_fields(config))
