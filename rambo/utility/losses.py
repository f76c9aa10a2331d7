"""What û is fitted to: order of utilities (Definition 2), distance to S_val (Definition 3), their sum (Equation 3).

A pair is two sets of equal size. Deviation[means]: every loss is a mean over pairs, the paper's E and L are sums.
Scores o are predicted and have no unit, utilities u are measured accuracies, distances are in the unit of the targets
(`utility_model.ot_unit`).

No loss swaps the two sets of a pair at random. Both are drawn alike, so their order carries no information, and the
ranking and regression losses do not even depend on it: only λ1 ≠ λ2 could tell the first set from the second.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rambo.errors import InvalidInput
from rambo.sections import Switches, UtilityModel


def ranknet_loss(
    first_score: Float[Tensor, " n"],
    second_score: Float[Tensor, " n"],
    first_utility: Float[Tensor, " n"],
    second_utility: Float[Tensor, " n"],
) -> Float[Tensor, ""]:
    """Cross-entropy of the predicted order of n pairs, in nats (Definition 2; Burges et al., 2005).

    P12 = σ(o1 − o2) against P̄12 = 1, ½ or 0 for u1 >, = or < u2.

    >>> ranknet_loss(torch.zeros(1), torch.zeros(1), torch.ones(1), torch.zeros(1))
    tensor(0.6931)
    """
    # The utilities are compared in their own precision: close accuracies may agree once rounded to that of the scores.
    target = (torch.sign(first_utility - second_utility) + 1) / 2
    return functional.binary_cross_entropy_with_logits(first_score - second_score, target.to(first_score.dtype))


def regression_loss(
    first_score: Float[Tensor, " n"],
    second_score: Float[Tensor, " n"],
    first_utility: Float[Tensor, " n"],
    second_utility: Float[Tensor, " n"],
) -> Float[Tensor, ""]:
    """Squared error of the predicted utility, the mean of ½[(o1 − u1)² + (o2 − u2)²]: û without RankNet (B.5).

    >>> regression_loss(torch.ones(1), torch.ones(1), torch.zeros(1), torch.ones(1))
    tensor(0.5000)
    """
    first = (first_score - first_utility.to(first_score.dtype)).square()
    second = (second_score - second_utility.to(second_score.dtype)).square()
    return (first + second).mean() / 2


def ot_loss(
    first_predicted: Float[Tensor, " n"],
    second_predicted: Float[Tensor, " n"],
    first_distance: Float[Tensor, " n"],
    second_distance: Float[Tensor, " n"],
    *,
    lambdas: tuple[float, float, float],
) -> Float[Tensor, ""]:
    """Error of the predicted optimal transport distance to S_val (Definition 3), with `lambdas` = (λ1, λ2, λ3).

    λ1 (ÔT1 − OT1)² + λ2 (ÔT2 − OT2)² − λ3 [min(ÔT1, 0) + min(ÔT2, 0)]; the last term penalises negative predictions.

    >>> ot_loss(torch.tensor([2.0]), torch.tensor([-1.0]), torch.ones(1), torch.ones(1), lambdas=(0.5, 0.5, 1.0))
    tensor(3.5000)
    """
    first = (first_predicted - first_distance.to(first_predicted.dtype)).square()
    second = (second_predicted - second_distance.to(second_predicted.dtype)).square()
    negative = functional.relu(-first_predicted) + functional.relu(-second_predicted)
    return (lambdas[0] * first + lambdas[1] * second + lambdas[2] * negative).mean()


def total_loss(
    score: Float[Tensor, "n 2"],
    utility: Float[Tensor, "n 2"],
    predicted_ot: Float[Tensor, "n 2"] | None,
    ot: Float[Tensor, "n 2"] | None,
    *,
    settings: UtilityModel,
    switches: Switches,
) -> Float[Tensor, ""]:
    """L_Rank + λ_OT · L_OT (Equation 3) over n pairs; without `predicted_ot` (the OT component is off) L_Rank alone.

    With `switches.ranknet` off, the squared error on the utility stands in for L_Rank, scores and utilities taken from
    their means over the n pairs. Deviation[regression-level]: only the order of scores is used, so their level is free,
    and dropout in φ moves all scores of a step together, by several times what separates them. RankNet does not see
    that; a squared error did little but follow it, and under bilevel fits ended with dead units and one score for all
    sets.
    """
    if switches.ranknet:
        loss = ranknet_loss(*score.unbind(1), *utility.unbind(1))
    else:
        loss = regression_loss(*(score - score.mean()).unbind(1), *(utility - utility.mean()).unbind(1))
    if predicted_ot is None:
        return loss
    if ot is None:
        raise InvalidInput("Utility pairs must have OT distances while the OT component is on, got none.")
    lambdas = (settings.lambda_1, settings.lambda_2, settings.lambda_3)
    return loss + settings.lambda_ot * ot_loss(*predicted_ot.unbind(1), *ot.unbind(1), lambdas=lambdas)
