"""Settings that no preset uses, each run end to end in this process."""

from dataclasses import asdict

import pytest

from rambo.experiment import run
from rambo.fields import override
from rambo.preparation import prepare
from rambo.result import read_result


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
