"""Search over the fields of a configuration with Ray Tune and Optuna."""
