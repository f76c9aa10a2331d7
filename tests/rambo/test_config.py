import pytest

from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import override


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"acquisition.bugdet": "3"}, "A field must be one of data.source, .*got 'acquisition.bugdet'"),
        ({"acquisition.budget": "many"}, "acquisition.budget must be int, got 'many'"),
        ({"acquisition.budget": "2.5"}, "acquisition.budget must be int, got '2.5'"),
        ({"acquisition.candidate_batches": "some"}, r"candidate_batches must be int\|all, got 'some'"),
        ({"switches.ot": "perhaps"}, r"switches.ot must be true\|false, got 'perhaps'"),
        ({"utility.label": "guessed"}, r"utility.label must be interpolated\|trained\|hybrid, got 'guessed'"),
        (
            {"strategy": "best"},
            r"strategy must be rambo\|random\|margin\|filtered_random\|.*module:function, got 'best'",
        ),
        ({"strategy": "mine.pick"}, r"strategy must be rambo\|.*\|module:function, got 'mine.pick'"),
        ({"acquisition.batch_size": "30"}, r"must divide acquisition.budget \(B = 500\).*got b = 30"),
        ({"acquisition.batch_size": "500"}, "into at least 2 batches, got b = 500"),
        ({"data.num_seed_labels": "500"}, "must give 1 to 8 pretraining iterations, got 9 from k = 500 and b = 50"),
        ({"data.num_seed_labels": "50"}, "must give 1 to 8 pretraining iterations, got 0"),
        (
            {"strategy": "margin", "acquisition.rounds": "3"},
            r"rounds must divide acquisition.budget \(B = 500\) into equal parts, got 3; acquisition.rounds 1 or 2",
        ),
        ({"acquisition.rounds": "5", "acquisition.budget": "600"}, "rounds must divide the 12 batches .* got 5"),
        ({"evaluation.repeats": 2_000_000_000}, r"evaluation.repeats must lie in 1\.\.100000, got 2000000000"),
        ({"offline.num_pairs": 9 * 10**12}, r"offline.num_pairs must lie in 0\.\.100000, got 9000000000000"),
        ({"strategy": "portfolio", "acquisition.portfolio": "rambo"}, "acquisition.portfolio must list some of random"),
        ({"seed": "-1"}, "seed must be at least 0, got -1"),
        ({"strategy": "dulo", "acquisition.batch_size": "30"}, r"must divide acquisition.budget .*got b = 30"),
    ],
)
def test_bad_values_are_one_sentence(changes, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        override(Config(), changes)
    assert "\n" not in str(caught.value)
