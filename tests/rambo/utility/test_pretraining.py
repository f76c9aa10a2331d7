import numpy as np

from rambo.experiment import run
from rambo.fields import override
from rambo.preparation import prepare


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
