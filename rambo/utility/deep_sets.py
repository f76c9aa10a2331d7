"""The utility model û: a set network whose score tells which set of images trains the better classifier (Appendix A).

Every image is embedded by the extractor φ (A.1 for images, A.2 for frozen features), a set by the mean of its images'
embeddings, then by a trunk (A.3) that heads read a score and an OT distance from. All sets of a fit are drawn from the
same k images, so each step embeds the k images once and forms all means by one product of the (sets x k) membership
matrix with the (k x 128) embeddings. Deviation[one-mask]: dropout inside φ is therefore one mask per image and step,
not per set.

Deviation[centre] from A.3, `settings.centre`: means of subsets of the same images are nearly equal, and as printed the
scores of a fit hardly differ. The trunk reads (mean − c) · s instead, with c the mean embedding of S_0 and s = 10 / the
mean standard deviation of its 128 coordinates over S_0.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from rambo.arrays import Features, Indices
from rambo.errors import require
from rambo.randomness import torch_generator
from rambo.sections import Switches, UtilityModel
from rambo.training.trainer import single_thread
from rambo.utility.scoring import RunningMeans

CHUNK = 512
"""Images embedded at a time outside fits."""
LOADED = 1000
"""Images that acquisition has in memory at a time."""
SPREAD = 10.0
"""Standard deviation that the scale gives to embeddings of single images; means of sets then spread by about 1."""
NO_SPREAD = 1e-6
"""Standard deviations below this count as this, so that an extractor whose units are all dead gives 0 and not NaN."""

Masks = tuple[Tensor, ...]
"""Dropout factors (0 or 1/(1−p)) for each place that drops, first dimension the images; empty: nothing is dropped."""


LoadInputs = Callable[[Indices], Tensor]
"""Images by dataset index as û takes them: (m, C, H, W) normalised, or (m, d) frozen features."""


class SetUtilityModel(nn.Module):
    """û with its weights, and the centre and scale it is evaluated with.

    Each part draws its initial weights (PyTorch's usual distribution) from a generator of its own, so that two models
    of one seed agree in every part that both have. Only `forward` and `read` carry gradients.
    """

    kind: ClassVar[str] = "deep_sets"
    centre: Tensor
    scale: Tensor

    def __init__(self, input_shape: tuple[int, ...], settings: UtilityModel, switches: Switches, seed: int) -> None:
        super().__init__()
        self.input_shape, self.settings, self.switches, self.seed = tuple(input_shape), settings, switches, seed
        self.extractor = _extractor(self.input_shape, torch_generator(seed, "extractor"))
        self.trunk = _mlp(128, 128, 64, generator=torch_generator(seed, "trunk"))
        names = ["rank" if switches.ranknet else "regression"]
        names += ["ot"] if switches.ot and settings.lambda_ot > 0 else []
        self.heads = nn.ModuleDict({name: _mlp(64, 32, 1, generator=torch_generator(seed, name)) for name in names})
        self.register_buffer("centre", torch.zeros(128))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """Score of the one set that consists of these n images; for export and serving."""
        pooled = self.extractor(inputs, ()).mean(0, keepdim=True)
        return self.read(self._normalise(pooled)).score.squeeze(0)

    def read(self, normalised: Float[Tensor, "s 128"]) -> "SetOutputs":
        """What trunk and heads make of s centred and scaled mean embeddings."""
        embedding = self.trunk(normalised)
        outputs = {name: head(embedding).squeeze(1) for name, head in self.heads.items()}
        return SetOutputs(embedding, outputs["rank" if self.switches.ranknet else "regression"], outputs.get("ot"))

    @torch.no_grad()
    def calibrate(self, seed_inputs: Float[Tensor, "k ..."]) -> None:
        """Take centre and scale from the images of S_0, for everything but fits."""
        if self.settings.centre:
            features = self.image_features(seed_inputs)
            centre, scale = centre_and_scale(features, features[:0])
            self.centre.copy_(centre)
            self.scale.copy_(scale)

    @torch.no_grad()
    def image_features(self, inputs: Float[Tensor, "m ..."]) -> Float[Tensor, "m 128"]:
        """φ of each image; the mean over a set is what `score_pooled` takes."""
        return torch.cat([self.extractor(chunk, ()) for chunk in inputs.split(CHUNK)])

    @torch.no_grad()
    def score_pooled(self, pooled: Float[Tensor, "s 128"]) -> Float[Tensor, " s"]:
        """Scores of s sets from the plain means of their images' features, so from running sums too."""
        return self.read(self._normalise(pooled)).score

    @torch.no_grad()
    def embed_sets(self, features: Float[Tensor, "k 128"], members: Bool[Tensor, "s k"]) -> Float[Tensor, "s 64"]:
        """φ(ξ) of s sets of the k images that `features` belong to."""
        return self.read(self._normalise(averages(members, features.dtype) @ features)).embedding

    @torch.no_grad()
    def score_sets(self, features: Float[Tensor, "k 128"], members: Bool[Tensor, "s k"]) -> Float[Tensor, " s"]:
        """Scores of s sets: the rank head's, or the predicted utilities (standardised) if RankNet is off."""
        return self.score_pooled(averages(members, features.dtype) @ features)

    @torch.no_grad()
    def predict_ot(self, features: Float[Tensor, "k 128"], members: Bool[Tensor, "s k"]) -> Float[Tensor, " s"]:
        """Predicted OT distances of s sets to S_val, in the unit of the targets (`settings.ot_unit`)."""
        predicted = self.read(self._normalise(averages(members, features.dtype) @ features)).ot
        if predicted is None:
            raise ValueError("predict_ot must be asked of a model with an OT head, got one without.")
        return predicted

    def scorer(self, load_inputs: LoadInputs, labelled: Indices, reachable: Indices) -> RunningMeans:
        """û beside the labelled set, for batches of the reachable images; this kind reads a set through its mean."""

        def image_features(indices: Indices) -> Features:
            chunks = [indices[start : start + LOADED] for start in range(0, len(indices), LOADED)]
            with single_thread():
                features: Features = torch.cat([self.image_features(load_inputs(one)).cpu() for one in chunks]).numpy()
            return features

        def score_pooled(pooled: Features) -> Features:
            with single_thread():
                scores: Features = self.score_pooled(torch.from_numpy(pooled).to(self.centre.device)).cpu().numpy()
            return scores

        return RunningMeans(labelled, reachable, image_features=image_features, score_pooled=score_pooled)

    def draw_masks(self, num_images: int, generator: torch.Generator) -> Masks:
        """Dropout masks for one step over `num_images` images, drawn on the CPU so that devices agree."""
        keep = 1 - self.settings.dropout
        shapes = self.extractor.mask_shapes if keep < 1 else ()
        drawn = [torch.rand(num_images, *shape, generator=generator) < keep for shape in shapes]
        return tuple(mask.to(self.centre) / keep for mask in drawn)

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs, beside the state dict, to build this model again; JSON can hold it."""
        return {
            "kind": self.kind,
            "input_shape": list(self.input_shape),
            "settings": asdict(self.settings),
            "switches": asdict(self.switches),
            "seed": self.seed,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "SetUtilityModel":
        """A model of this description with its initial weights; load the state dict next.

        Raises `InvalidInput` for one of another kind; descriptions that name none are of this.
        """
        kind = description.get("kind", cls.kind)
        require(kind == cls.kind, f"A utility model's description must be of the kind {cls.kind}, got {kind!r}.")
        settings, switches = UtilityModel(**description["settings"]), Switches(**description["switches"])
        return cls(tuple(description["input_shape"]), settings, switches, description["seed"])

    def _normalise(self, pooled: Tensor) -> Tensor:
        return (pooled - self.centre) * self.scale


@dataclass(frozen=True)
class SetOutputs:
    """Of s sets: `embedding` (s, 64) = φ(ξ), `score` (s,), `ot` (s,) or None where the OT component is off."""

    embedding: Tensor
    score: Tensor
    ot: Tensor | None


@dataclass(frozen=True)
class SetBatch:
    """The s sets of a fit.

    `seen` (m, …) are the images of S_0 that some set has, `rest` (k − m, …) the others, which only the centre needs;
    `averages` (s, m) times the features of `seen` is the mean feature of each set.
    """

    seen: Tensor
    rest: Tensor
    averages: Tensor

    @classmethod
    def of(cls, seed_inputs: Tensor, members: Bool[Tensor, "s k"]) -> "SetBatch":
        """The sets `members` of the images of S_0."""
        occurs = members.any(0)
        return cls(seed_inputs[occurs], seed_inputs[~occurs], averages(members[:, occurs], seed_inputs.dtype))


class TrainingForm(nn.Module):
    """A model as a fit differentiates it: centre and scale from the step's own embeddings, dropout by given masks.

    Its parameters are the model's own, so that `torch.func.functional_call` takes other weights by its names.
    """

    def __init__(self, model: SetUtilityModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: SetBatch, masks: Masks = ()) -> SetOutputs:
        """Outputs for each set of `batch`; `masks` are those of its seen images, then of the rest."""
        num_seen = len(batch.seen)
        seen = self.model.extractor(batch.seen, tuple(mask[:num_seen] for mask in masks))
        pooled = batch.averages @ seen
        if self.model.settings.centre:
            with torch.no_grad():
                rest = self.model.extractor(batch.rest, tuple(mask[num_seen:] for mask in masks))
            centre, scale = centre_and_scale(seen, rest)
            pooled = (pooled - centre) * scale
        return self.model.read(pooled)


def averages(members: Bool[Tensor, "s k"], dtype: torch.dtype) -> Float[Tensor, "s k"]:
    """Rows of weights 1/|ξ| on the members of each set, which must not be empty."""
    weights = members.to(dtype)
    return weights / weights.sum(1, keepdim=True)


def centre_and_scale(
    seen: Float[Tensor, "m 128"], rest: Float[Tensor, "r 128"]
) -> tuple[Float[Tensor, " 128"], Float[Tensor, ""]]:
    """The mean of all m + r embeddings, and 10 / their mean standard deviation over the coordinates.

    The scale is a constant to the gradient: the second derivative of a standard deviation is NaN at dead units. The
    centre is not, or fits unlearn; but its gradient is that of the mean of `seen` alone. It so leaves out shifts common
    to all images as the whole mean's would, and the images in no set of the fit need no backward pass, which is most of
    the cost of a fit's first iterations.
    """
    embeddings = torch.cat([seen.detach(), rest.detach()])
    own = seen.mean(0)
    scale = SPREAD / embeddings.std(0, correction=0).mean().clamp_min(NO_SPREAD)
    return own + (embeddings.mean(0) - own.detach()), scale


class ConvExtractor(nn.Module):
    """φ of A.1: two blocks of convolution, 2x2 max pool and ReLU, then two fully connected layers, to 128.

    Deviation[two-convolutions]: A.1 lists one convolution but two pools; there are two convolutions here, of 10 and 20
    channels. They are 5x5, or 3x3 with a border of 1 where a side has fewer than 16 pixels.
    """

    mask_shapes: tuple[tuple[int, ...], ...] = ((10, 1, 1), (128,))

    def __init__(self, input_shape: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        channels, *sides = input_shape
        require(min(sides) >= 4, f"Images must have at least 4 pixels a side, got {sides[0]} x {sides[1]}.")
        kernel, self.padding = (5, 0) if min(sides) >= 16 else (3, 1)
        sides = [_pooled_side(_pooled_side(side, kernel, self.padding), kernel, self.padding) for side in sides]
        self.conv1 = _initialised(nn.Conv2d, channels, 10, kernel, generator=generator)
        self.conv2 = _initialised(nn.Conv2d, 10, 20, kernel, padding=self.padding, generator=generator)
        self.fc1 = _initialised(nn.Linear, 20 * math.prod(sides), 128, generator=generator)
        self.fc2 = _initialised(nn.Linear, 128, 128, generator=generator)

    def forward(self, inputs: Tensor, masks: Masks) -> Tensor:
        """(m, channels, height, width) images to (m, 128)."""
        hidden = _ConstantInputConv.apply(inputs, self.conv1.weight, self.padding)
        # Channels last is what PyTorch pools in vector instructions on a CPU: a seventh off a whole fit.
        hidden = functional.max_pool2d(hidden.contiguous(memory_format=torch.channels_last), 2)
        # A bias moves the maximum by itself: added after the pool it costs a quarter.
        hidden = functional.relu(hidden + self.conv1.bias[:, None, None])
        hidden = hidden * masks[0] if masks else hidden
        hidden = functional.relu(functional.max_pool2d(self.conv2(hidden), 2))
        hidden = functional.relu(self.fc1(hidden.flatten(1)))
        hidden = hidden * masks[1] if masks else hidden
        return functional.relu(self.fc2(hidden))


class FeatureExtractor(nn.Module):
    """φ of A.2 for frozen features (512 of a ResNet-18, or embeddings): dense layers to 256 and 128, no dropout."""

    mask_shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, num_features: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = _mlp(num_features, 256, 128, generator=generator)

    def forward(self, inputs: Tensor, masks: Masks) -> Tensor:
        """(m, num_features) to (m, 128)."""
        outputs: Tensor = self.layers(inputs)
        return outputs


def _extractor(input_shape: tuple[int, ...], generator: torch.Generator) -> ConvExtractor | FeatureExtractor:
    require(len(input_shape) in (1, 3), f"Inputs must be (features,) or (channels, height, width), got {input_shape}.")
    if len(input_shape) == 1:
        return FeatureExtractor(input_shape[0], generator)
    return ConvExtractor(input_shape, generator)


def _pooled_side(side: int, kernel: int, padding: int) -> int:
    return (side + 2 * padding - kernel + 1) // 2


def _mlp(*widths: int, generator: torch.Generator) -> nn.Sequential:
    def layers() -> Iterator[nn.Module]:
        for position, (width, next_width) in enumerate(pairwise(widths)):
            if position > 0:
                yield nn.ReLU()
            yield _initialised(nn.Linear, width, next_width, generator=generator)

    return nn.Sequential(*layers())


def _initialised(layer: Any, *arguments: int, generator: torch.Generator, **options: int) -> Any:
    # PyTorch's default for linear and convolution layers is U(−1/√fan_in, 1/√fan_in) for weights and biases alike, but
    # it can only be drawn from the global generator.
    made = nn.utils.skip_init(layer, *arguments, **options)
    bound = 1 / math.sqrt(made.weight[0].numel())
    for parameter in made.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return made


class _ConstantInputConv(torch.autograd.Function):
    """A convolution without bias that is a function of its weights alone.

    PyTorch's second derivative of a convolution also forms that by the input, wanted or not; for the first layer, whose
    input is the images, this was half of a bilevel step. Here the two linear maps below are each other's derivative.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.shape, ctx.padding = weight.shape, padding
        return functional.conv2d(inputs, weight, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, _ConstantInputConvBackward.apply(ctx.saved_tensors[0], *gradients, ctx.shape, ctx.padding), None


class _ConstantInputConvBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, gradient: Tensor, shape: torch.Size, padding: int) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.padding = padding
        return conv2d_weight(inputs, shape, gradient, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, _ConstantInputConv.apply(ctx.saved_tensors[0], *gradients, ctx.padding), None, None
