"""A whole experiment on real digits that ends in a second or two: the configuration that most tests run."""

TINY = {
    "data.num_seed_labels": 60,
    "data.num_validation": 100,
    "data.num_test": 100,
    "training.max_epochs": 3,
    "offline.num_pairs": 6,
    "pretraining.num_pairs": 6,
    "utility.num_audited": 3,
    "utility_model.num_outer_steps": 3,
    "utility_model.num_inner_steps": 3,
    "acquisition.budget": 40,
    "acquisition.batch_size": 20,
    "acquisition.candidate_batches": 3,
    "evaluation.repeats": 2,
    "evaluation.num_held_out_pairs": 5,
    "evaluation.num_ceiling_pairs": 3,
}
"""Overrides of quickstart."""

TINY_FLAGS = ["--preset=quickstart", *(f"--{name}={value}" for name, value in TINY.items())]
"""The same on a command line."""
