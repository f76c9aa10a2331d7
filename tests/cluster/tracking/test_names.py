"""Names as MLflow takes them, judged by MLflow itself."""

import pytest

from cluster.tracking.names import LONGEST, metric_name, short_name

STRANGE = [
    "test_accuracy/source=images:site_a/", "test_accuracy/source=images:site_a", "a//b", "../up", "/root", ".", "..",
    "~/x[1]", "a=b", "a?b%20#c", "ü λ1=0.5", "x" * 400, "x" * 401, "", "a\nb", "'\"$;|", "x/.", "a/../b", "\udcff",
]  # fmt: skip


@pytest.mark.parametrize("text", STRANGE)
def test_mlflow_takes_every_name(text):
    from mlflow.entities import Metric
    from mlflow.utils.validation import _validate_metric

    metric = Metric(metric_name(text), 0.5, 1, 0)
    _validate_metric(metric.key, metric.value, metric.timestamp, metric.step)
    assert 0 < len(metric.key) <= LONGEST


def test_names_stay_apart_and_good_ones_as_they_are():
    assert len({metric_name(text) for text in STRANGE}) == len(STRANGE)
    assert metric_name("test_accuracy/OT=on λ1=0.5") == "test_accuracy/OT on λ1 0.5"
    assert short_name("ablations/übung") == "ablations/übung"
    assert len(short_name("x" * 400)) == LONGEST
    assert short_name("x" * 400) != short_name("x" * 401)
