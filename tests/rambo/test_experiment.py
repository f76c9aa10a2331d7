"""Settings that no preset uses, each run end to end in this process."""

from dataclasses import asdict

import numpy as np
import pytest

from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.result import read_result


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One store for all variants: what they share is measured once."""
    root = tmp_path_factory.mktemp("variants")
    return Lab(Home(root), root / "data", progress=Progress(quiet=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"utility.label": "trained"},
        {"utility.label": "hybrid"},
        {"utility.num_audited": 0},
        {"utility_model.hypergradient": "cg"},
        {"utility_model.centre": False},
        {"offline.num_pairs": 0},
        {"acquisition.candidate_batches": "all"},
        {"data.label_noise": 0.2, "data.imbalance_classes": 0.3, "data.imbalance_fraction": 0.2},
        {"data.stratified": True, "strategy": "filtered_random"},
        {"classifier.name": "mnistnet", "strategy": "margin"},
    ],
)
def test_it_ends_in_a_result_that_reads_back(lab, tiny, changes):
    prepared = prepare(override(tiny, changes), lab.data_dir)
    result = run(prepared, lab)
    assert asdict(read_result(lab.home, prepared.folder)) == asdict(result)
    assert result.num_labelled == 100
    assert (result.pair_accuracy is None) == ("strategy" in changes)
    assert (result.label_agreement is None) == ("strategy" in changes or changes.get("utility.num_audited") == 0)


def test_trained_labels_are_the_measured_utilities(lab, tiny, monkeypatch):
    """What û is fitted to under each label: all measured, the audited ones measured, none."""
    from rambo.utility import pretraining

    fitted = {}
    original = pretraining.fit_utility_model

    def spy(model, inputs, pairs, **options):
        fitted.setdefault(label, []).append(pairs.utility)
        return original(model, inputs, pairs, **options)

    monkeypatch.setattr(pretraining, "fit_utility_model", spy)
    for label in ("trained", "hybrid", "interpolated"):
        run(prepare(override(tiny, {"utility.label": label, "seed": 1}), lab.data_dir), lab)
    trained, hybrid, interpolated = (fitted[name][1] for name in ("trained", "hybrid", "interpolated"))
    assert np.array_equal(hybrid[:3], trained[:3])
    assert np.array_equal(hybrid[3:], interpolated[3:])
    assert not np.array_equal(trained, interpolated)
