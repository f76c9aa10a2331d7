"""The sections of a configuration: fields that belong together, each with its meaning, checked where it is built.

A field that is added once results are recorded is `later(default, as_before=…)` (`rambo.identity`).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from rambo.errors import require
from rambo.identity import later
from rambo.own import FORM, OneOf, is_own

CLASSIFIERS = ("smallnet", "lenet5", "mnistnet", "resnet18", "linear", "mlp")
"""Those of ours (`rambo.training.classifiers`)."""

MOST_TRAININGS = 100_000
"""That one field may ask for: sets of them are drawn, listed and kept before the first is made."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the images come from and how they are split."""

    source: str = "digits"
    """digits | mnist | fashion_mnist | cifar10 | svhn | npz:PATH (arrays x, y; x images or embeddings) | images:DIR (a
    folder per class)."""
    num_seed_labels: int = 100
    """k, size of the labelled seed set S_0."""
    num_validation: int = 1000
    """Size of the labelled validation set S_val, drawn anew for each seed."""
    num_test: int = 1000
    """Size of the test set, fixed by the data alone: the same images for every seed; 0 of a pool of one's own."""
    stratified: bool = False
    """Draw validation and seed set with the class shares of the data instead of uniformly."""
    label_noise: float = 0.0
    """Share of seed and pool labels flipped to another class, in [0, 1); validation and test stay clean (§5.5)."""
    imbalance_classes: float = 0.0
    """Share of the classes thinned out in the pool, in [0, 1] (§5.5 uses .3)."""
    imbalance_fraction: float = 0.0
    """Share of a thinned class's pool images that is removed, in [0, 1] (§5.5 uses .2)."""
    image_size: int = 0
    """images:DIR only: resize to this many pixels a side; 0 keeps them as they are (they must then agree)."""
    label_noise_classes: float = later(1.0, as_before=1.0)
    """Share of the classes that wrong labels fall on, in [0, 1] ("for certain classes", §5.5); which, follows from the
    seed. As many labels are wrong as label_noise says, of images of these classes alone."""
    labels: str = later("", as_before="")
    """images:DIR only: a CSV file with the columns file and label in place of a folder per class; files it does not
    name are unlabelled."""

    def __post_init__(self) -> None:
        for name, least in (("num_seed_labels", 1), ("num_validation", 1), ("num_test", 0)):
            at_least(f"data.{name}", getattr(self, name), least)
        require(0 <= self.label_noise < 1, f"data.label_noise must lie in [0, 1), got {self.label_noise}.")
        for name in ("imbalance_classes", "imbalance_fraction", "label_noise_classes"):
            _share(f"data.{name}", getattr(self, name))
        at_least("data.image_size", self.image_size, 0)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """The classifier f whose accuracy is the utility."""

    name: Annotated[str, OneOf(CLASSIFIERS, FORM, is_own)] = "lenet5"
    """smallnet (8x8 images) | lenet5 (A.4) | mnistnet (wider, with dropout) | resnet18 (CIFAR stem) | linear (logistic
    regression with C = 1; reads no training.*) | mlp (one hidden layer of 256); embeddings take one of the last two. Or
    a function of your own that makes one (docs/own_classifier.md)."""

    def __post_init__(self) -> None:
        rule = f"classifier.name must be {'|'.join(CLASSIFIERS)}|{FORM}, got {self.name!r}."
        require(self.name in CLASSIFIERS or is_own(self.name), rule)

    @property
    def is_deterministic(self) -> bool:
        """Whether all trainings on a set give the same f, whatever their seed."""
        return self.name == "linear"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How f is trained (§5.1): Adam and cross-entropy from scratch, no schedule, no augmentation."""

    learning_rate: float = 1e-3
    """Adam's step size."""
    batch_size: int = 64
    """Images per step."""
    max_epochs: int = 100
    """Epochs after which training stops in any case."""
    target_accuracy: float = 0.99
    """Training stops after the first epoch whose running training accuracy reaches this, in (0, 1]."""

    def __post_init__(self) -> None:
        _positive("training.learning_rate", self.learning_rate)
        at_least("training.batch_size", self.batch_size, 1)
        at_least("training.max_epochs", self.max_epochs, 1)
        require(
            0 < self.target_accuracy <= 1, f"training.target_accuracy must lie in (0, 1], got {self.target_accuracy}."
        )


@dataclass(frozen=True, kw_only=True)
class Offline:
    """Stage 0: the utility samples that û_0 is fitted to (B.7)."""

    num_pairs: int = 500
    """Pairs of equally large subsets of S_0, each set measured once."""
    structured: bool = later(False, as_before=False)
    """Draw half of the pairs by structure (near class borders, balanced, clustered), as strategies propose sets."""

    def __post_init__(self) -> None:
        _number_of_trainings("offline.num_pairs", self.num_pairs, 0)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Stage 1: utility samples along a growing labelled set (Algorithm 1, lines 4-14)."""

    num_pairs: int = 50
    """n, pairs added per iteration."""

    def __post_init__(self) -> None:
        _number_of_trainings("pretraining.num_pairs", self.num_pairs, 2)


@dataclass(frozen=True, kw_only=True)
class Utility:
    """Where the utilities of pretraining pairs come from."""

    label: Literal["interpolated", "trained", "hybrid"] = "interpolated"
    """interpolated (Eq. 4) | trained (measure every set) | hybrid (measured where audited, else Eq. 4)."""
    num_audited: int = 32
    """Pairs per iteration that are also trained, to log how often Eq. 4 orders a pair as training does."""
    size_law: Literal["uniform", "binomial"] = later("uniform", as_before="uniform")
    """Sizes of the pairs that û learns from: uniform on the range | binomial (sets of the power set, §4.1 c: each image
    with probability ½, both sets of a pair equally large and of a size in the range)."""

    def __post_init__(self) -> None:
        _number_of_trainings("utility.num_audited", self.num_audited, 0)


@dataclass(frozen=True, kw_only=True)
class UtilityModel:
    """The set network û (Appendix A) and how it is fitted (§4.2.1)."""

    extractor: Literal["conv", "resnet18", "features"] = "conv"
    """conv (A.1, learned) | resnet18 (A.2, frozen features; also the ground cost of OT) | features (the same of
    embeddings, which are features already)."""
    weights: str = "imagenet"
    """resnet18 only: imagenet | random | PATH of a state dict saved as safetensors or .pth."""
    dropout: float = 0.5
    """Dropout probability inside φ, one mask per image and step."""
    centre: bool = True
    """Centre and scale pooled embeddings by those of S_0; without it the scores of a fit hardly differ."""
    lambda_ot: float = 1.0
    """λ_OT, weight of the OT distance loss (Eq. 3); 0 equals switches.ot = False."""
    lambda_1: float = 0.5
    """λ1, weight of the first set's squared OT error (Definition 3)."""
    lambda_2: float = 0.5
    """λ2, weight of the second set's squared OT error (Definition 3)."""
    lambda_3: float = 1.0
    """λ3, weight of the penalty on negative predicted distances (Definition 3)."""
    ot_unit: Literal["mean", "raw"] = later("mean", as_before="mean")
    """Unit of the OT distances that û learns to predict: mean (their mean over the first pairs) | raw (as they are, so
    that λ_OT weighs what Definition 3 prints)."""
    learning_rate: float = 1e-3
    """Adam's step size of one-level fits (û_0, and every fit when bilevel is off)."""
    num_outer_steps: int = 20
    """Updates of λ per bilevel fit; a one-level fit takes num_outer_steps x num_inner_steps steps."""
    num_inner_steps: int = 10
    """T, SGD steps on w between two updates of λ; the hypergradient runs through all of them."""
    inner_learning_rate: float = 0.02
    """Step size of the inner SGD (momentum .9)."""
    outer_learning_rate: float = 0.3
    """Step size of Adam on λ (gradient norm clipped at 1)."""
    hypergradient: Literal["reverse", "cg"] = "reverse"
    """reverse (truncated reverse mode through the T steps) | cg (implicit, conjugate gradient with damping)."""
    one_level: Literal["adam", "adam_penalised", "sgd_half"] = later("adam", as_before="adam")
    """Fits while bilevel is off: adam (all pairs) | adam_penalised (all pairs, Ω at the first λ) | sgd_half (the steps
    of a bilevel fit on the shorter half, without Ω). What the bilevel switch changes beside λ, one thing at a time."""
    penalty_cap: Literal["fit", "wide"] = later("fit", as_before="fit")
    """Where λ ends: fit (Ω alone shrinks a weight by e in one fit) | wide (4)."""
    inner_gradient_norm: float = later(0.3, as_before=0.3)
    """Largest norm of a gradient of the inner SGD; inf leaves gradients as they are."""
    latent_ot: bool = later(False, as_before=False)
    """Eq. 4's distance of two sets: the OT distance of their embedded images (footnote 1) instead of the Euclidean one
    of their embeddings (A.3)."""

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, f"utility_model.dropout must lie in [0, 1), got {self.dropout}.")
        for name in ("lambda_ot", "lambda_1", "lambda_2", "lambda_3"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"utility_model.{name} must be finite and at least 0, got {value}.")
        for name in ("learning_rate", "inner_learning_rate", "outer_learning_rate"):
            _positive(f"utility_model.{name}", getattr(self, name))
        norm = self.inner_gradient_norm
        require(norm > 0, f"utility_model.inner_gradient_norm must be positive (inf: no bound), got {norm}.")
        at_least("utility_model.num_outer_steps", self.num_outer_steps, 1)
        at_least("utility_model.num_inner_steps", self.num_inner_steps, 1)


@dataclass(frozen=True, kw_only=True)
class Switches:
    """The three components under study; each goes off and on alone."""

    bilevel: bool = True
    """Off: one level on all of D, no regulariser."""
    ot: bool = True
    """Off: λ_OT = 0 and no OT head."""
    ranknet: bool = True
    """Off: mean squared error on the (standardised) utility instead of RankNet on pairs."""


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Stage 2: Greedy-Margin (Algorithm 2)."""

    budget: int = 500
    """B, labels bought in the one round."""
    batch_size: int = 50
    """b, images added per iteration, in pretraining as in acquisition; divides B."""
    candidate_batches: int | Literal["all"] = 10
    """M/b, batches that the margin filter lets through each iteration (M is capped at what is left); 1 is Margin."""
    scout: Literal["seed", "seed_and_validation"] = later("seed", as_before="seed")
    """Labels that the classifier which scores the pool is trained on: seed (S_0) | seed_and_validation (S_0 and S_val).
    The final f never sees S_val."""
    num_scouts: int = later(0, as_before=0)
    """Trainings of that classifier, whose probabilities are averaged; 0 is what the strategy asks for, mostly 1."""
    refit: Literal["never", "imagined"] = later("never", as_before="never")
    """never | imagined (B is picked in parts; after each the classifier is trained on the picks as well, with labels
    that a scout of S_0 and S_val guesses, and scores what is left; no label is asked for)."""
    num_parts: int = later(10, as_before=10)
    """Parts of imagined rounds, at most B (or B/b where batches are picked)."""
    rounds: int = later(1, as_before=1)
    """R, rounds in which B is bought: the labels of each are known in the next, and f and û learn from them."""
    oracle_repeats: int = later(3, as_before=3)
    """oracle, marginal_oracle: trainings of each candidate, whose mean decides; none of them judges the picks."""
    block_epsilon: float = later(0.1, as_before=0.1)
    """dulo: ε of the stochastic greedy search, in (0, 1); a smaller one looks at more blocks of b in each step."""
    portfolio: str = later("margin,entropy,badge,coreset,typiclust", as_before="margin,entropy,badge,coreset,typiclust")
    """portfolio: the strategies that propose candidate batches, each from random halves of the pool."""

    def __post_init__(self) -> None:
        at_least("acquisition.budget", self.budget, 1)
        at_least("acquisition.batch_size", self.batch_size, 1)
        if self.candidate_batches != "all":
            at_least("acquisition.candidate_batches", self.candidate_batches, 1)
        _number_of_trainings("acquisition.num_scouts", self.num_scouts, 0)
        at_least("acquisition.num_parts", self.num_parts, 1)
        at_least("acquisition.rounds", self.rounds, 1)
        _number_of_trainings("acquisition.oracle_repeats", self.oracle_repeats, 1)
        require(0 < self.block_epsilon < 1, f"acquisition.block_epsilon must lie in (0, 1), got {self.block_epsilon}.")

    @property
    def strategies(self) -> tuple[str, ...]:
        """The members of the portfolio."""
        return tuple(self.portfolio.split(","))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the outcome is judged."""

    repeats: int = 1
    """R, trainings of f on the final set S_1 (and on S_0), each with its own seed; their mean is reported."""
    num_held_out_pairs: int = 100
    """Long pairs never shown to û on which its order is compared with the measured one."""
    num_ceiling_pairs: int = 32
    """How many of those are measured again with a second seed, to tell what any order could reach."""
    with_validation: bool = later(False, as_before=False)
    """Also report f trained on S_1 and S_val together, what somebody who owns these labels would do."""
    first_repeat: int = later(1, as_before=0)
    """Number of the first of those R trainings, which decides its seed. A choice rests on repeat 0 (the classifier that
    scores the pool, û's utility samples) and, with n scouts, on 0 to n − 1: final trainings after these share no seed
    with it."""

    def __post_init__(self) -> None:
        _number_of_trainings("evaluation.repeats", self.repeats, 1)
        at_least("evaluation.first_repeat", self.first_repeat, 0)
        _number_of_trainings("evaluation.num_held_out_pairs", self.num_held_out_pairs, 1)
        _number_of_trainings("evaluation.num_ceiling_pairs", self.num_ceiling_pairs, 1)


def at_least(name: str, value: float, low: int) -> None:
    """Raise `InvalidInput` where `value` of the field `name` is below `low`."""
    require(value >= low, f"{name} must be at least {low}, got {value}.")


def _number_of_trainings(name: str, value: int, low: int) -> None:
    """The same of a field that says how many trainings are made or paired, of which a list is kept."""
    require(low <= value <= MOST_TRAININGS, f"{name} must lie in {low}..{MOST_TRAININGS}, got {value}.")


def _share(name: str, value: float) -> None:
    require(0 <= value <= 1, f"{name} must lie in [0, 1], got {value}.")


def _positive(name: str, value: float) -> None:
    require(0 < value < float("inf"), f"{name} must be finite and positive, got {value}.")
