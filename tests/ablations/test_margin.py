"""The margin of equivalence: in the plan, with its reason and its day, and told in every report."""

from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from gaining_studies import noisy
from planned_studies import RESULT, plan_of

from ablations.asking import read_reporting
from ablations.factors import parse_factor
from ablations.margin import Margin, margin_text
from ablations.plans import StudyPlan, read_plan, with_margin
from ablations.report import render
from ablations.run import Reporting, keep_plan, write_report
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home

SET = Margin(0.003, "smaller ones matter to nobody", "2026-11-30", 0)
FACTORS = [parse_factor("switches.ot")]


def asked(margin=None, reason=None):
    return Namespace(margin=margin, margin_reason=reason, allow_mixed=False)


def test_a_report_by_the_plan_s_margin_says_when_it_was_set_and_why():
    assert margin_text(0.003, None, SET) == (
        "The margin of equivalence is 0.3 points (smaller ones matter to nobody). "
        "It was set with the plan on 2026-11-30, before any of its trials had a result."
    )
    assert "when 1 of its trials had a result already." in margin_text(0.003, None, replace(SET, num_finished=1))
    assert "when 12 of its trials had results already." in margin_text(0.003, None, replace(SET, num_finished=12))


def test_a_report_by_another_margin_says_that_it_is_not_the_plan_s():
    assert margin_text(0.005, "as in the grant", SET) == (
        "The margin of equivalence is 0.5 points (as in the grant). "
        "It was set with the report, not in the plan, which has 0.3 since 2026-11-30 (smaller ones matter to nobody)."
    )
    old = margin_text(0.003, None, None)
    assert old.endswith("paper's Table 1). It was set with the report, not in the plan.")
    assert "(no reason was given)" in margin_text(0.01, None, None)


def test_a_new_study_takes_the_margin_into_its_plan_and_keeps_it(tiny, tmp_path):
    home, plan = Home(tmp_path), plan_of(tiny, FACTORS)
    home.write(f"{plan.folders['OT=on', 0]}/result.json", json_bytes(RESULT))
    before = datetime.now(UTC).date().isoformat()
    first = with_margin(plan, home, 0.005, "as in\nthe grant")
    assert first.margin.set_on in (before, datetime.now(UTC).date().isoformat())
    assert replace(first.margin, set_on="") == Margin(0.005, "as in the grant", "", 1)
    assert StudyPlan.from_bytes(first.to_bytes()) == first
    keep_plan(first, home)
    larger = with_margin(plan_of(tiny, FACTORS, seeds=(0, 1)), home, 0.001, None)
    assert larger.margin == first.margin
    retuned = replace(plan, name="study-retuned", fixed="study")
    assert with_margin(retuned, home, 0.001, None).margin == first.margin


def test_a_study_from_before_stays_as_it_was_planned(tiny, tmp_path):
    home, plan = Home(tmp_path), plan_of(tiny, FACTORS)
    assert b'margin"' not in plan.to_bytes()
    keep_plan(plan, home)
    assert with_margin(plan, home, 0.005, "late").margin is None
    assert read_plan(home, "study") == plan


def test_the_flags_the_last_report_and_the_plan_decide_in_this_order(tiny, make_study, tmp_path):
    home, study = Home(tmp_path), make_study(noisy, seeds=range(2))
    assert read_reporting(asked(reason="so"), home, "study") == Reporting(reason="so")
    keep_plan(replace(plan_of(tiny, FACTORS), margin=replace(SET, value=0.002)), home)
    assert read_reporting(asked(), home, "study") == Reporting(0.002, reason=SET.reason)
    write_report(study, home, Reporting(0.004, reason="of the report"))
    assert read_reporting(asked(), home, "study") == Reporting(0.004, reason="of the report")
    assert read_reporting(asked(0.6, "of today"), home, "study") == Reporting(0.006, reason="of today")
    with pytest.raises(InvalidInput, match="--margin-reason must stand beside --margin once a study is planned"):
        read_reporting(asked(reason="late"), home, "study")


def test_the_report_prints_it(make_study):
    study = replace(make_study(noisy), margin=replace(SET, reason="<b>so</b>"))
    files = render(study)
    assert "points (<b>so</b>). It was set with the plan on 2026-11-30" in files["sentences.txt"].decode()
    assert "0.3 points (&lt;b&gt;so&lt;/b&gt;). It was set with the plan" in files["report.html"].decode()
    other = render(study, margin=0.005, reason="a whim")["sentences.txt"].decode()
    assert "0.5 points (a whim). It was set with the report, not in the plan, which has 0.3 since" in other
