"""The strategies by name; each passes the contract suite in tests/contracts."""

from rambo import config
from rambo.acquisition import Select, select_by_utility
from rambo.baselines.margin_sampling import select_filtered_random, select_margin
from rambo.baselines.random_sampling import select_random

SELECT: dict[config.Strategy, Select] = {
    "rambo": select_by_utility,
    "random": select_random,
    "margin": select_margin,
    "filtered_random": select_filtered_random,
}
