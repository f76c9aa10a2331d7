"""What is known of a set once a classifier was trained on it. Needs nothing but the standard library."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """The utility of one set: f trained on it, judged on S_val and on the test set."""

    val_accuracy: float
    """Accuracy on S_val, in [0, 1]: the utility u(ξ). Deviation[accuracy]: §3 prints the error rate."""
    test_accuracy: float
    """Accuracy on the test set, in [0, 1]."""
    val_correct: bytes
    """One bit per validation image (numpy.packbits order), so that smaller validation sets cost no training."""
    epochs: int
    """Epochs until the stopping rule held."""
    seconds: float
    """Wall-clock time of the training and evaluation."""
    device: str
    """cpu or cuda."""
    test_correct: bytes | None = None
    """One bit per test image (numpy.packbits order); None in records older than the field."""
    rounding: str | None = None
    """What decides how a CPU rounds (`rambo.training.rounding`); None on a GPU and in records older than the field."""

    @property
    def digest(self) -> str:
        """Orders records of one key; time, place and rounding do not enter, nor do bits that older records lack."""
        content = (self.val_accuracy, self.test_accuracy, self.val_correct, self.epochs)
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
