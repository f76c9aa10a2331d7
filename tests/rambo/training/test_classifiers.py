import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rambo.errors import InvalidInput
from rambo.randomness import torch_generator
from rambo.training.classifiers import build_classifier, check_classifier, draw_masks

SHAPES = {"smallnet": (1, 8, 8), "lenet5": (1, 28, 28), "mnistnet": (1, 28, 28), "resnet18": (3, 32, 32)}
SHAPES |= {"mlp": (12,)}
STAGES = {
    "smallnet": [(16, 4, 4), (32, 2, 2), (64,)],
    "lenet5": [(6, 14, 14), (16, 5, 5), (120,)],
    "mnistnet": [(32, 26, 26), (64, 12, 12), (128,)],
    "resnet18": [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)],
    "mlp": [(256,)],
}


@pytest.mark.parametrize("name", SHAPES)
class TestClassifiers:
    def test_weights_come_from_the_generator_alone(self, name):
        build = lambda seed: build_classifier(name, SHAPES[name], 10, torch_generator(seed))  # noqa: E731
        first, again, other = (build(seed).state_dict() for seed in (1, 1, 2))
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert not all(torch.equal(first[key], other[key]) for key in first)
        assert all(torch.isfinite(value.float()).all() for value in first.values())

    def test_logits_follow_from_features(self, name):
        model = build_classifier(name, SHAPES[name], 7, torch_generator(0)).eval()
        images = torch.randn(3, *SHAPES[name], generator=torch_generator(1))
        assert model(images).shape == (3, 7)
        torch.testing.assert_close(model.head(model.features(images)), model(images))

    def test_the_stages_lie_on_the_way_to_the_features(self, name):
        """To the bit, in training as in evaluation: what reads stages trains the same f."""
        model = build_classifier(name, SHAPES[name], 7, torch_generator(0))
        images = torch.randn(3, *SHAPES[name], generator=torch_generator(1))
        for mode, masks in ((False, ()), (True, draw_masks(model, 3, torch_generator(2)))):
            stages, features = model.train(mode).staged(images, masks)
            assert [tuple(stage.shape[1:]) for stage in stages] == STAGES[name]
            assert torch.equal(features, model.features(images, masks))
            assert all((stage >= 0).all() for stage in stages), "after each ReLU"

    def test_a_few_steps_lower_the_loss(self, name):
        model = build_classifier(name, SHAPES[name], 10, torch_generator(0)).train()
        images = torch.randn(6, *SHAPES[name], generator=torch_generator(1))
        labels, generator = torch.arange(6), torch_generator(2)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        losses = []
        for _ in range(4):
            loss = F.cross_entropy(model(images, draw_masks(model, 6, generator)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]


def test_initial_weights_have_the_usual_spread():
    """PyTorch's own default: uniform within 1/sqrt(fan_in)."""
    model = build_classifier("lenet5", (1, 28, 28), 10, torch_generator(0))
    bound = 1 / np.sqrt(400)
    assert model.body[7].weight.abs().max() <= bound
    assert model.body[7].weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.02)


def test_dropout_masks_keep_the_mean():
    model = build_classifier("mnistnet", (1, 28, 28), 10, torch_generator(0))
    channels, units = draw_masks(model, 500, torch_generator(1))
    assert channels.shape == (500, 64, 1, 1)
    assert channels.mean().item() == pytest.approx(1, abs=0.02)
    assert set(units.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lenet5", (1, 8, 8)), ("resnet18", (3, 8, 8)), ("lenet5", (2, 28, 28)), ("lenet5", (1, 28, 30))],
)
def test_unfit_images_are_refused(name, shape):
    with pytest.raises(InvalidInput, match=f"classifier.name = {name} needs square images"):
        check_classifier(name, shape)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_flat_classifiers_take_embeddings_and_images_alike(name):
    flat, shaped = (build_classifier(name, shape, 4, torch_generator(0)) for shape in ((12,), (3, 2, 2)))
    rows = torch.randn(5, 12, generator=torch_generator(1))
    assert torch.equal(flat(rows), shaped(rows.view(5, 3, 2, 2)))
    if name == "linear":
        assert torch.equal(flat.features(rows), rows)


@pytest.mark.parametrize("name", ["smallnet", "lenet5", "mnistnet", "resnet18"])
def test_what_takes_images_takes_no_embeddings(name):
    said = f"must be linear or mlp for embeddings, got {name}, which takes images; set classifier.name linear"
    with pytest.raises(InvalidInput, match=said):
        check_classifier(name, (64,))
