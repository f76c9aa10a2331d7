import json

import pytest

from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import config_id, effective_fields, fields, flatten, override, read_config, to_json
from rambo.presets import PRESETS, preset


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"acquisition.bugdet": "3"}, "A field must be one of data.source, .*got 'acquisition.bugdet'"),
        ({"acquisition.budget": "many"}, "acquisition.budget must be int, got 'many'"),
        ({"acquisition.budget": "2.5"}, "acquisition.budget must be int, got '2.5'"),
        ({"acquisition.candidate_batches": "some"}, r"candidate_batches must be int\|all, got 'some'"),
        ({"switches.ot": "perhaps"}, r"switches.ot must be true\|false, got 'perhaps'"),
        ({"utility.label": "guessed"}, r"utility.label must be interpolated\|trained\|hybrid, got 'guessed'"),
        ({"strategy": "best"}, r"strategy must be rambo\|random\|margin\|filtered_random, got 'best'"),
        ({"utility_model.lambda_ot": "-1"}, "lambda_ot must be finite and at least 0, got -1.0"),
        ({"utility_model.lambda_ot": "nan"}, "lambda_ot must be finite and at least 0, got nan"),
        ({"training.learning_rate": "0"}, "training.learning_rate must be finite and positive, got 0.0"),
        ({"data.label_noise": "1"}, r"data.label_noise must lie in \[0, 1\), got 1.0"),
        ({"acquisition.batch_size": "30"}, r"must divide acquisition.budget \(B = 500\).*got b = 30"),
        ({"acquisition.batch_size": "500"}, "into at least 2 batches, got b = 500"),
        ({"data.num_seed_labels": "500"}, "must give 1 to 8 pretraining iterations, got 9 from k = 500 and b = 50"),
        ({"data.num_seed_labels": "50"}, "must give 1 to 8 pretraining iterations, got 0"),
        ({"seed": "-1"}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_values_are_one_sentence(changes, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        override(Config(), changes)
    assert "\n" not in str(caught.value)


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


def test_every_field_is_documented_and_has_a_default():
    assert len(fields()) == len(flatten(Config()))
    assert [name for name, field in fields().items() if not field.help] == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_hold_the_schedule_of_the_paper(name):
    config = preset(name)
    expected = {"quickstart": (3, 25), "paper_mnist": (3, 50), "paper_fashion_mnist": (3, 50)}.get(name, (2, 500))
    assert (config.num_pretraining_iterations, config.num_start_labels) == expected


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(InvalidInput, match=r"--preset must be one of quickstart, paper_mnist.*got nope"):
        preset("nope")


def same_id(first, second):
    return config_id(override(Config(), first), 1000) == config_id(override(Config(), second), 1000)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"seed": 3, "data.source": "mnist"}),
        ({"switches.ot": False}, {"utility_model.lambda_ot": 0}),
        ({"switches.ot": False}, {"switches.ot": False, "utility_model.lambda_1": 9}),
        ({"switches.bilevel": False}, {"switches.bilevel": False, "utility_model.outer_learning_rate": 9}),
        ({"strategy": "random"}, {"strategy": "random", "utility_model.lambda_ot": 9, "acquisition.batch_size": 100}),
        ({"acquisition.candidate_batches": 20}, {"acquisition.candidate_batches": "all"}),
        ({"acquisition.candidate_batches": 20}, {"acquisition.candidate_batches": 900}),
    ],
)
def test_equal_experiments_have_equal_ids(first, second):
    assert same_id(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"utility_model.lambda_ot": 2}),
        ({}, {"switches.bilevel": False}),
        ({"strategy": "random"}, {"strategy": "margin"}),
        ({"strategy": "filtered_random"}, {"strategy": "filtered_random", "acquisition.candidate_batches": 2}),
        ({"strategy": "random"}, {"strategy": "random", "evaluation.repeats": 2}),
        ({"strategy": "random"}, {"strategy": "random", "training.learning_rate": 2}),
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
