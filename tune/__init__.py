"""Search over the fields of a configuration with Ray Tune and Optuna."""

from rambo.terminal import answer_while_loading

answer_while_loading()
