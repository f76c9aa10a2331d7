import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rambo.errors import InvalidInput
from rambo.randomness import torch_generator
from rambo.sections import Switches, UtilityModel
from rambo.utility.deep_sets import SetUtilityModel, TrainingForm

MNIST, DIGITS, FROZEN = (1, 28, 28), (1, 8, 8), (512,)


def make_model(shape=DIGITS, seed=0, k=12, **changes):
    switches = Switches(**{name: changes.pop(name) for name in ("ot", "ranknet") if name in changes})
    model = SetUtilityModel(shape, UtilityModel(**changes), switches, seed)
    inputs = torch.randn(k, *shape, generator=torch_generator(seed, "inputs"))
    model.calibrate(inputs)
    return model, inputs


@given(st.integers(1, 12), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_a_score_does_not_depend_on_the_order_of_images(size, seed):
    model, inputs = make_model()
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(model(inputs[:size]), model(inputs[:size][order]), atol=1e-5, rtol=1e-5)


@given(st.lists(st.booleans(), min_size=12, max_size=12).filter(any), st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_images_that_are_no_members_change_nothing(chosen, extra):
    """The membership product against the set alone, whatever stands beside it (padding)."""
    model, inputs = make_model()
    members = torch.tensor([chosen + [False] * extra])
    padding = 100 * torch.randn(extra, *DIGITS, generator=torch.Generator().manual_seed(extra))
    features = model.image_features(torch.cat([inputs, padding]))
    alone = model(inputs[torch.tensor(chosen)]).detach()
    torch.testing.assert_close(model.score_sets(features, members)[0], alone, atol=1e-4, rtol=1e-4)


def test_scoring_from_running_sums_equals_scoring_from_scratch():
    model, inputs = make_model(k=20)
    features = model.image_features(inputs)
    running = features[:10].double().sum(0) + features[10:15].double().sum(0)
    from_sums = model.score_pooled((running / 15).float()[None])[0]
    torch.testing.assert_close(from_sums, model(inputs[:15]).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [MNIST, DIGITS, FROZEN, (3, 32, 32)])
@pytest.mark.parametrize("ranknet", [True, False])
@pytest.mark.parametrize("ot", [True, False])
def test_heads_follow_the_switches(shape, ranknet, ot):
    model, inputs = make_model(shape, ranknet=ranknet, ot=ot)
    assert set(model.heads) == {"rank" if ranknet else "regression"} | ({"ot"} if ot else set())
    features, members = model.image_features(inputs), torch.ones(1, 12, dtype=torch.bool)
    assert features.shape == (12, 128)
    assert model.embed_sets(features, members).shape == (1, 64)
    assert model.score_sets(features, members).shape == (1,)
    if not ot:
        with pytest.raises(ValueError, match="OT head"):
            model.predict_ot(features, members)


def test_what_two_models_share_is_identical():
    full, _ = make_model()
    without, _ = make_model(ot=False, ranknet=False)
    for name, value in without.extractor.state_dict().items():
        assert torch.equal(value, full.extractor.state_dict()[name])
    assert torch.equal(full.trunk[0].weight, without.trunk[0].weight)
    assert not torch.equal(full.heads["rank"][0].weight, full.heads["ot"][0].weight)
    assert not torch.equal(full.trunk[0].weight, make_model(seed=1)[0].trunk[0].weight)


def test_lambda_ot_of_zero_is_the_component_switched_off():
    assert set(make_model(lambda_ot=0.0)[0].heads) == {"rank"}


def test_the_first_layer_of_a1_has_320_features_for_mnist():
    model, _ = make_model(MNIST)
    assert model.extractor.fc1.weight.shape == (128, 320)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    model, _ = make_model()
    model.draw_masks(5, torch_generator(0))
    assert torch.equal(before, torch.get_rng_state())


def test_one_mask_an_image_and_none_in_evaluation():
    model, inputs = make_model(dropout=0.25)
    masks = model.draw_masks(1000, torch_generator(0))
    assert [mask.shape for mask in masks] == [(1000, 10, 1, 1), (1000, 128)]
    for mask in masks:
        assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
        assert mask.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(model(inputs), model(inputs))
    assert make_model(dropout=0.0)[0].draw_masks(5, torch_generator(0)) == ()


def test_centring_separates_means_that_are_nearly_equal():
    members = torch.rand(50, 12, generator=torch_generator(3)) < 0.7
    members[:, 0] = True
    spreads = []
    for centre in (True, False):
        model, inputs = make_model(centre=centre)
        spreads.append(model.score_sets(model.image_features(inputs), members).std().item())
    assert spreads[0] > 20 * spreads[1]


def test_the_training_form_agrees_with_evaluation_without_dropout():
    from rambo.utility.deep_sets import SetBatch

    model, inputs = make_model()
    members = torch.rand(6, 12, generator=torch_generator(4)) < 0.5
    members[:, 0], members[:, 11] = True, False
    outputs = TrainingForm(model)(SetBatch.of(inputs, members))
    features = model.image_features(inputs)
    torch.testing.assert_close(outputs.score.detach(), model.score_sets(features, members), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs.ot.detach(), model.predict_ot(features, members), atol=1e-4, rtol=1e-4)


def test_the_first_convolution_has_true_first_and_second_derivatives():
    from rambo.utility.deep_sets import _ConstantInputConv

    inputs = torch.randn(2, 1, 6, 6, dtype=torch.float64, generator=torch_generator(0))
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, generator=torch_generator(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: _ConstantInputConv.apply(inputs, w, 1), (weight,))
    assert torch.autograd.gradgradcheck(lambda w: _ConstantInputConv.apply(inputs, w, 1).square(), (weight,))


def test_a_model_loads_again_in_a_fresh_process(tmp_path):
    model, inputs = make_model()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text(json.dumps(model.describe()))
    save_file({"inputs": inputs}, tmp_path / "inputs.safetensors")
    code = """
import json, sys
from safetensors.torch import load_file
from rambo.utility.deep_sets import SetUtilityModel
model = SetUtilityModel.from_description(json.load(open(sys.argv[1] + "/model.json")))
model.load_state_dict(load_file(sys.argv[1] + "/model.safetensors"))
print(model(load_file(sys.argv[1] + "/inputs.safetensors")["inputs"]).item().hex())
"""
    answer = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == model(inputs).item().hex()


@pytest.mark.parametrize("shape", [DIGITS, FROZEN])
def test_an_exported_model_scores_sets_of_any_size(shape):
    model, _ = make_model(shape)
    example = torch.randn(30, *shape, generator=torch_generator(5))
    sizes = ({0: torch.export.Dim("n", min=1)},)
    exported = torch.export.export(model.eval(), (example,), dynamic_shapes=sizes).module()
    for size in (1, 2, 30, 77):
        inputs = torch.randn(size, *shape, generator=torch_generator(size))
        torch.testing.assert_close(exported(inputs), model(inputs))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(InvalidInput, match="at least 4 pixels a side, got 3 x 3"):
        SetUtilityModel((1, 3, 3), UtilityModel(), Switches(), 0)
