"""What a home keeps of a selection: S_val, which stays as it was drawn first, and what was asked for in each round."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from rambo.data.dataset import Dataset
from rambo.errors import require
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
    asked: tuple[str, ...]
    """Images to label, in order."""


@dataclass(frozen=True)
class Kept:
    """A selection by its name."""

    name: str
    pool: str
    """Digest of its images."""
    validation: tuple[str, ...]
    """S_val by name."""
    rounds: tuple[Round, ...] = field(default=())

    def answered(self, labels: str, settings: str) -> int | None:
        """The number, from 1, of the round in which these labels have been answered; None where they have not.

        Raises `InvalidInput` where other images have been asked for with the same labels.
        """
        for number, one in enumerate(self.rounds, start=1):
            if one.labels == labels:
                require(
                    one.settings == settings,
                    f"--name {self.name} must be asked as before until there are more labels, got other settings than "
                    f"those by which it has asked for {len(one.asked)} images; fill in their labels, or give another "
                    "--name.",
                )
                return number
        return None


def folder_of(name: str, number: int | None = None) -> str:
    """Of a selection, or of one of its rounds, from 1; relative to the home."""
    return f"selections/{name}" if number is None else f"selections/{name}/{number}"


def read_kept(home: Home, name: str) -> Kept | None:
    """The selection called `name`, None where there is none; raises `InvalidInput` for something else."""
    return home.record(f"{folder_of(name)}/{KEPT}", _kept_of, "move that folder away: what is measured stays")


def write_kept(home: Home, kept: Kept) -> None:
    """Keep it."""
    home.write(f"{folder_of(kept.name)}/{KEPT}", json_bytes(asdict(kept)))


def check_same_pool(kept: Kept, dataset: Dataset) -> None:
    """Raise `InvalidInput` where the images are not those that the selection began with."""
    now = f"{len(dataset.labels)} of shape {'x'.join(map(str, dataset.input_shape))}"
    require(
        kept.pool == dataset.image_digest,
        f"--name {kept.name} must go on with the images that it began with, got {now} that are others; give the same "
        "pool and --data.image_size as before, or another --name.",
    )


def of_same_pool(home: Home, kept: Kept) -> list[str]:
    """Other selections of the home that are of the same images."""
    others = (read_kept(home, name) for name in home.folders("selections") if name != kept.name)
    return [one.name for one in others if one is not None and one.pool == kept.pool]


def labels_digest(dataset: Dataset) -> str:
    """Of which images have which labels."""
    known = dataset.labelled.tolist()
    return digest_of({name_of(dataset, one): dataset.class_names[dataset.labels[one]] for one in known})


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
