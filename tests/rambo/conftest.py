"""What the tests of rambo share: where whole experiments of one file work and keep what they measure."""

import pytest

from rambo.experiment import Lab
from rambo.home import Home
from rambo.progress import Progress


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One store for all variants: what they share is measured once."""
    root = tmp_path_factory.mktemp("variants")
    return Lab(Home(root), root / "data", progress=Progress(quiet=True))
