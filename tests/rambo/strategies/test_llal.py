import numpy as np
from stand_ins import request_over

from rambo.strategies.llal import select_by_predicted_loss


def test_the_largest_predicted_losses_are_picked_and_equals_by_index():
    """Losses of four values, so that most images share theirs with many."""

    def predicted(indices):
        return (indices * 7 % 4).astype(np.float32)

    request = request_over(num_images=50, budget=20, margins=np.zeros(55), granted={"predicted_loss": predicted})
    picks = select_by_predicted_loss(request, np.random.default_rng(0))
    unlabelled = request.pool.unlabelled.tolist()
    assert picks.indices.tolist() == sorted(unlabelled, key=lambda index: (-(index * 7 % 4), index))[:20]
    assert np.isnan(picks.scores).all()
