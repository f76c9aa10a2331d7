"""A request as a strategy is handed it, without what only some are granted."""

import pytest

from rambo.strategies.request import Request
from rambo.training.committee import Committee


@pytest.fixture
def request_for_forty(prepared, classifier):
    """B = 40 in batches of 10 among the 30 smallest margins."""
    return Request(
        pool=prepared.pool.without_validation_labels(),
        scout=Committee((classifier.predictor,)),
        budget=40,
        batch_size=10,
        num_candidates=30,
    )
