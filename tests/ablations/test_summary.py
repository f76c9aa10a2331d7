"""What MLflow shows above a study's trials."""

from dataclasses import replace

import pytest
from gaining_studies import holed
from planned_studies import plan_of

from ablations.factors import switches
from ablations.plans import StudyPlan
from ablations.statistics import analyse
from ablations.summary import summary_of


def summed(study, **changes):
    found = analyse(study, allow_mixed=True)
    return summary_of(StudyPlan(study.name, study.grid, {}), replace(study, **changes), {}, found)


def test_each_cell_has_its_mean_its_error_and_how_many_seeds(study):
    [full, *_], found = study.grid.cells, summed(study)
    assert [cell.cell for cell in found.cells] == [cell.name for cell in study.grid.cells]
    first = found.cells[0]
    values = list(study.accuracies(full).values())
    assert first.name == "full"
    assert first.metrics["n"] == 10
    assert first.metrics["test_mean"] == round(sum(values) / 10, 4)
    assert 0 < first.metrics["test_se"] < 0.01
    assert first.parameters["switches.ot"] == "True"
    random = next(cell for cell in found.cells if cell.cell == "random")
    assert random.parameters == {"strategy": "random"}, "a filter for OT does not find it"
    assert "pair_mean" not in random.metrics


def test_what_is_missing_counts_for_nothing(make_study):
    [full, *_] = summed(make_study(holed)).cells
    assert full.metrics["n"] == 9


def test_the_parent_says_what_all_trials_have_in_common(study):
    found = summed(study)
    assert found.parameters["acquisition.budget"] == str(study.grid.base.acquisition.budget)
    assert not {"seed", "switches.ot", "switches.bilevel", "switches.ranknet"} & set(found.parameters)
    assert found.tags["seeds"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert (found.tags["commit"], found.tags["mlflow.source.git.commit"]) == ("9d957c3", "9d957c3")
    assert found.data == ("digits-0123456789ab", study.grid.base.data.source)


def test_effects_are_metrics_with_their_p_values(study):
    found, effects = summed(study).metrics, {one.name: one for one in analyse(study).tested}
    assert found["effect/RankNet"] == round(effects["RankNet"].estimate.mean, 4)
    assert found["p_holm/RankNet"] == round(effects["RankNet"].p_holm, 4)
    assert found["effect/bilevel x OT"] == round(effects["bilevel × OT"].estimate.mean, 4)
    assert "shapley/OT" in found
    assert any(name.startswith("effect/") and name.endswith("- random") for name in found)


@pytest.mark.parametrize("plan_only", [True, False])
def test_a_study_without_results_or_effects_is_shown_too(study, tiny, plan_only):
    if plan_only:
        plan = plan_of(tiny, switches())
        found = summary_of(plan, replace(study, grid=plan.grid, outcomes={}, failures={}), {})
    else:
        found = summed(study, outcomes={}, failures={})
    assert found.data is None
    assert all(cell.metrics == {"n": 0.0} for cell in found.cells)
