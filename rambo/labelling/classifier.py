"""f for use: trained on every label, with what it is worth, as weights and as a graph that needs nothing of this."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rambo.arrays import Features, Images, Inputs
from rambo.data.dataset import Normalisation
from rambo.data.decoding import Form, decode, form_of
from rambo.data.folders import gathered, picture_files
from rambo.data.npz import read_inputs
from rambo.errors import InvalidInput, require
from rambo.formats import csv_bytes, json_bytes, path_of, visible
from rambo.home import Home
from rambo.labelling.selecting import Share, accuracy_now
from rambo.own import Own
from rambo.preparation import Prepared
from rambo.training.classifiers import build_classifier
from rambo.training.measuring import Measurer
from rambo.training.trainer import FittedClassifier, SetSpec, margins_of, take_weights, weights_of
from rambo.utility.samples import train_seed

WEIGHTS, GRAPH, ABOUT = "classifier.safetensors", "classifier.pt2", "classifier.json"

HEADER = b"file,label,probability,margin\n"

AT_ONCE = 500
"""Images that are predicted together."""


class Ready(nn.Module):
    """f with the normalisation of its inputs inside: pixels as files hold them, or embeddings, to probabilities."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, normalisation: Normalisation, shape: Sequence[int]) -> None:
        """`normalisation` of what it was trained on, of the shape (C, H, W) or (d,)."""
        super().__init__()
        self.model, self.is_image = model, len(shape) == 3
        per_channel = (-1, 1, 1) if self.is_image else (-1,)
        self.register_buffer("mean", torch.tensor(normalisation.mean, dtype=torch.float32).view(per_channel))
        self.register_buffer("std", torch.tensor(normalisation.std, dtype=torch.float32).view(per_channel))

    def forward(self, inputs: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n classes"]:
        """Probability of each class, of images (n, C, H, W) uint8 or embeddings (n, d) float32."""
        scaled = inputs.to(torch.float32) / 255 if self.is_image else inputs
        logits: Tensor = self.model((scaled - self.mean) / self.std)
        return logits.softmax(dim=1)


@dataclass(frozen=True, eq=False)
class Kept:
    """A classifier as its folder has it."""

    module: Ready
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    """(C, H, W), or (d,) of embeddings."""
    resize: bool
    """Whether its images were resized, so that others are."""

    def probabilities(self, inputs: Inputs) -> Features:
        """(n, classes) of images (n, C, H, W), or of embeddings (n, d)."""
        with torch.inference_mode():
            parts = (np.array(inputs[at : at + AT_ONCE]) for at in range(0, len(inputs), AT_ONCE))
            chunks = [self.module(torch.from_numpy(part)) for part in parts]
        found: Features = torch.cat(chunks).numpy()
        return found


def train(prepared: Prepared, measurer: Measurer) -> tuple[FittedClassifier, Share]:
    """f on every label, S_val's among them, and what f without these gets right of S_val.

    The former has seen more labels and is no worse but for chance; it cannot be judged by images that it has seen.
    """
    pool, problem, seed = prepared.pool, prepared.problem(prepared.pool), train_seed(prepared.config.seed)
    judged = measurer.fit(problem, SetSpec(pool.labelled, seed)).measurement
    every = np.concatenate([pool.labelled, pool.validation])
    return measurer.fit(problem, SetSpec(every, seed)), accuracy_now(judged.val_correct, len(pool.validation))


def keep(fitted: FittedClassifier, share: Share, prepared: Prepared, home: Home, folder: str) -> None:
    """Weights, graph, and what they take and give, into `folder`."""
    dataset, config = prepared.dataset, prepared.config
    normalisation = dataset.fixed(0).normalisation
    shape = dataset.input_shape
    own = config.own_classifier
    if own is not None:
        home.write(f"{folder}/classifier.py", own.source().content)
    home.write(f"{folder}/{WEIGHTS}", weights_of(fitted.model))
    home.write(f"{folder}/{GRAPH}", _graph(Ready(fitted.model.cpu().eval(), normalisation, shape), shape))
    about = {
        "takes": f"{_taken(shape)}, n free; it normalises them itself",
        "returns": "probabilities (n, classes), in the order of class_names",
        "classifier": config.classifier.name,
        "classifier_source": None if own is None else own.source().digest,
        "class_names": list(dataset.class_names),
        "input_shape": list(shape),
        "resize": config.data.image_size > 0,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "num_labels": len(dataset.labelled),
        "val_accuracy": share.value,
        "val_interval": list(share.interval),
        "num_validation": share.judged,
        "judged": "val_accuracy is of the same network without the validation images, which this one has learned from",
    }
    home.write(f"{folder}/{ABOUT}", json_bytes(about))


def check_target(path: Path) -> None:
    """Raise `InvalidInput` where --to names something that predictions must not replace."""
    there = path.read_bytes()[: len(HEADER)] if path.is_file() else HEADER
    require(
        path.parent.is_dir() and not path.is_dir() and not path.is_symlink() and there == HEADER,
        f"--to must name a new file in a folder that exists, or earlier predictions, got {visible(path)}; change it.",
    )


def read_classifier(folder: Path) -> Kept:
    """What `keep` has left; raises `InvalidInput` where it is something else."""
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        content = (folder / WEIGHTS).read_bytes()
        shape, names = tuple(about["input_shape"]), tuple(about["class_names"])
        model = build_classifier(about["classifier"], shape, len(names), torch.Generator())
        normalisation = Normalisation(tuple(about["mean"]), tuple(about["std"]))
        resize, source = bool(about["resize"]), about.get("classifier_source")
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"--classifier must name a folder that python -m rambo train has written, got {visible(folder)} ({error})."
        ) from None
    now = Own("classifier.name", about["classifier"]).source().digest if source else source
    require(
        now == source,
        f"{about['classifier']} must be as it was when {visible(folder)} was trained, got an edited file; put "
        f"{visible(folder / 'classifier.py')} in its place, train again, or use {GRAPH}.",
    )
    fits = take_weights(model, content)
    require(fits, f"{visible(folder / WEIGHTS)} must hold the weights of its network, got others; train again.")
    return Kept(Ready(model.eval(), normalisation, shape), names, shape, resize)


def predict_pool(kept: Kept, pool: str) -> Iterator[tuple[Sequence[str], Features]]:
    """Names of what `pool` holds, some at a time, and the probabilities (n, classes) of their classes.

    A folder of images, or npz:PATH with x. Raises `InvalidInput` for what the classifier does not take.
    """
    kind, _, path = pool.partition(":")
    if kind == "npz":
        return _of_array(kept, path_of(path, "--pool"))
    require(
        len(kept.shape) == 3,
        f"--pool must be npz:PATH with x of shape (n, {kept.shape[0]}) for a classifier of embeddings, got {pool}.",
    )
    return _of_folder(kept, path_of(path if kind == "images" and path else pool, "--pool"))


def _of_array(kept: Kept, path: Path) -> Iterator[tuple[Sequence[str], Features]]:
    inputs = read_inputs(path)
    require(
        inputs.shape[1:] == kept.shape,
        f"x in {visible(path)} must be of shape (n, {', '.join(map(str, kept.shape))}), as the classifier was trained "
        f"on, got {inputs.shape}.",
    )
    yield [str(place) for place in range(len(inputs))], kept.probabilities(inputs)


def _of_folder(kept: Kept, folder: Path) -> Iterator[tuple[Sequence[str], Features]]:
    files, (channels, height, width) = picture_files(folder), kept.shape
    form = Form("L" if channels == 1 else "RGB", (width, height))
    for start in range(0, len(files), AT_ONCE):
        some = files[start : start + AT_ONCE]
        pixels = np.empty((len(some), *kept.shape), dtype=np.uint8)
        with gathered(some) as attempts:
            for image, file in zip(pixels, some, strict=True):
                with attempts():
                    image[...] = _pixels(folder / file, form, kept)
        yield some, kept.probabilities(pixels)


def predictions_csv(rows: Sequence[tuple[Sequence[str], Features]], names: Sequence[str]) -> bytes:
    """One row an image: file, likeliest class, its probability, and how far the second lies behind."""
    table: list[tuple[object, ...]] = [("file", "label", "probability", "margin")]
    for files, probabilities in rows:
        best, margins = probabilities.argmax(axis=1), margins_of(probabilities)
        table += [
            (file, names[label], f"{probabilities[row, label]:.4f}", f"{margins[row]:.4f}")
            for row, (file, label) in enumerate(zip(files, best.tolist(), strict=True))
        ]
    return csv_bytes(table)


def _pixels(path: Path, form: Form, kept: Kept) -> Images:
    own = form_of(path, any_size=kept.resize)
    require(
        kept.resize or own.size == form.size,
        f"{visible(path)} must have {form.size[0]}x{form.size[1]} pixels, as the classifier was trained on, got "
        f"{own.size[0]}x{own.size[1]}; train with --data.image_size to take any.",
    )
    return decode(path, form).pixels


def _taken(shape: Sequence[int]) -> str:
    return "images (n, C, H, W), uint8 from 0 to 255" if len(shape) == 3 else f"embeddings (n, {shape[0]}), float32"


def _graph(module: Ready, shape: tuple[int, ...]) -> bytes:
    """The program that torch.export makes of it; torch.export.load(FILE).module() runs it."""
    dtype = torch.uint8 if len(shape) == 3 else torch.float32
    example, file = torch.zeros((2, *shape), dtype=dtype), io.BytesIO()
    exported = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    torch.export.save(exported, file)
    return file.getvalue()
