import numpy as np

from rambo.strategies.measured import MeasuredScores


def test_each_batch_is_measured_beside_all_that_was_taken():
    asked = []

    def measure(sets):
        asked.append([images.tolist() for images in sets])
        return np.arange(len(sets), dtype=float)

    scorer = MeasuredScores(np.array([7, 8]), measure)
    assert scorer.scores(np.array([[1, 2], [3, 4]])).tolist() == [0, 1]
    scorer.add(np.array([3, 4]))
    scorer.scores(np.array([[1, 2]]))
    assert asked == [[[7, 8, 1, 2], [7, 8, 3, 4]], [[7, 8, 3, 4, 1, 2]]]
