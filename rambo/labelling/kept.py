"""What a home keeps of a selection: S_val, which stays as it was drawn first, and what was asked for in each round."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from rambo.data.dataset import Dataset
from rambo.errors import InvalidInput, require
from rambo.fields import digest_of
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.labelling.own_pool import name_of

KEPT = "selection.json"


@dataclass(frozen=True)
class Round:
    """One call with one state of the labels."""

    labels: str
    """Digest of the labels that were there."""
    num_labels: int
    settings: str
    """Id of the configuration, seed and all."""
    asked: tuple[str, ...] = ()
    """Images to label, in order; none until they are chosen."""


@dataclass(frozen=True)
class Kept:
    """A selection by its name."""

    name: str
    pool: str
    """Digest of its images."""
    validation: tuple[str, ...]
    """S_val by name."""
    rounds: tuple[Round, ...] = field(default=())

    @property
    def folder(self) -> str:
        """Of the latest round, relative to the home."""
        return f"{folder_of(self.name)}/{len(self.rounds)}"

    def with_round(self, latest: Round) -> "Kept":
        """With `latest` beside the rounds that were finished, in place of one that was not."""
        done = [one for one in self.rounds if one.asked]
        return replace(self, rounds=(*done, latest))


def folder_of(name: str) -> str:
    """Relative to the home."""
    return f"selections/{name}"


def read_kept(home: Home, name: str) -> Kept | None:
    """The selection called `name`, None where there is none; raises `InvalidInput` for something else."""
    return home.record(f"{folder_of(name)}/{KEPT}", _kept_of, "move that folder away: what is measured stays")


def write_kept(home: Home, kept: Kept) -> None:
    """Keep it."""
    home.write(f"{folder_of(kept.name)}/{KEPT}", json_bytes(asdict(kept)))


def check_same_pool(kept: Kept, dataset: Dataset) -> None:
    """Raise `InvalidInput` where the images are not those that the selection began with."""
    require(
        kept.pool == dataset.image_digest,
        f"--name {kept.name} must go on with the images that it began with, got others; give these another --name.",
    )


def labels_digest(dataset: Dataset) -> str:
    """Of which images have which labels."""
    known = dataset.labelled.tolist()
    return digest_of({name_of(dataset, one): dataset.class_names[dataset.labels[one]] for one in known})


def next_round(kept: Kept, digest: str, num_labels: int, settings: str) -> Kept:
    """The selection with the round that these labels are for: the latest again, or one more.

    Raises `InvalidInput` where other images have been asked for with the same labels.
    """
    wanted = Round(digest, num_labels, settings)
    latest = kept.rounds[-1] if kept.rounds else None
    if latest is None or not latest.asked or latest.labels != digest:
        return kept.with_round(wanted)
    require(
        latest.settings == settings,
        f"--name {kept.name} must be asked as before until there are more labels, got other settings than those by "
        f"which it has asked for {len(latest.asked)} images; fill in their labels, or give another --name.",
    )
    return kept


def fresh(name: str, dataset: Dataset, validation: Sequence[str]) -> Kept:
    """A selection that begins."""
    return Kept(name, dataset.image_digest, tuple(validation))


def _kept_of(content: bytes) -> Kept:
    given = json.loads(content)
    rounds = tuple(Round(**{**one, "asked": tuple(one["asked"])}) for one in given.pop("rounds"))
    try:
        return Kept(**{**given, "validation": tuple(given["validation"]), "rounds": rounds})
    except TypeError as error:
        raise ValueError(str(error)) from error


def existing(home: Home, name: str) -> Kept:
    """The selection called `name`, or `InvalidInput` with the names there are."""
    kept = read_kept(home, name)
    if kept is None:
        there = ", ".join(home.folders("selections")) or "none"
        raise InvalidInput(f"--name must be that of a selection of {home.root}, got {name}; there: {there}.")
    return kept
