"""Where MLflow is, and what of the environment decides it."""

import pytest

from cluster.tracking.server import tracking_uri
from rambo.errors import InvalidInput
from rambo.home import Home


def test_a_url_as_home_needs_a_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InvalidInput, match="MLFLOW_TRACKING_URI must name a tracking server"):
        tracking_uri(Home("memory://home"))
