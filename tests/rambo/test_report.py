from made import made_control, made_result

from rambo.report import comparison, summary


def row(table, strategy):
    """The cells of a strategy's row."""
    [found] = [row for row in table.rows if row[0] == strategy]
    return found


def test_a_summary_goes_from_the_seed_set_to_what_was_bought():
    lines = summary(made_result(seed=3), num_seed_labels=60).splitlines()
    assert lines[0] == "rambo on my-digits, seed 3: 60 labels, then 100"
    assert lines[1].split() == ["test", "accuracy", "60.0", "%", "->", "80.0", "%"]
    assert lines[2].split() == ["validation", "accuracy", "55.0", "%", "->", "75.0", "%"]
    assert lines[-1] == "  7 trainings; seed set 1.2 s, utility model 2.0 s"


def test_a_summary_tells_of_the_utility_model_where_there_is_one():
    learned, control = summary(made_result(), 60), summary(made_control(), 60)
    assert "in 70.0 % (chance 50.0 %, upper bound from repeated pairs 90.0 %)" in learned
    assert "upper bound from 32 repeated pairs 90.0 %" in summary(made_result(num_ceiling_pairs=32), 60)
    assert "Eq. 4 orders audited pairs as training does in 65.0 %" in learned
    assert "û" not in control
    assert "Eq. 4" not in control
    unaudited = summary(made_result(label_agreement=None), 60)
    assert "û" in unaudited
    assert "Eq. 4" not in unaudited


def test_a_summary_tells_whose_labels_were_used():
    assert "S_val" not in summary(made_control(), 60)
    told = summary(made_result(saw_validation=True, test_accuracy_all=0.9, base_test_accuracy_all=0.85), 60)
    assert "  labels of S_val entered the choice" in told
    assert "  test, S_val as well  85.0 % -> 90.0 %" in told


def test_means_and_errors_by_hand():
    """Of .80, .82, .84: mean .82, deviation .02, error .02/√3."""
    results = [made_result(seed=seed, test_accuracy=accuracy) for seed, accuracy in enumerate((0.80, 0.82, 0.84))]
    table = comparison(results)
    assert table.title == "Test accuracy over 3 seeds, mean ± standard error"
    assert max(map(len, table.text().splitlines())) <= 80
    name, number, test, gain, validation, pairs, agreement = row(table, "rambo")
    assert (name, number, test, gain) == ("rambo", "3", "82.00 ± 1.15", "")
    assert (validation, pairs, agreement) == ("75.00 ± 0.00", "70.00 ± 0.00 (90.0)", "65.00 ± 0.00")


def test_differences_are_paired_by_seed_and_of_shared_seeds_alone():
    """Over the shared seeds 0 and 1 the gains are 4 and 2 points; seed 2 has no control."""
    results = [made_result(seed=seed, test_accuracy=accuracy) for seed, accuracy in enumerate((0.54, 0.92, 0.10))]
    results += [made_control(seed=seed, test_accuracy=accuracy) for seed, accuracy in ((1, 0.90), (0, 0.50))]
    table = comparison(results)
    assert row(table, "rambo")[3] == "+3.00 ± 1.00"
    assert row(table, "random") == ["random", "2", "70.00 ± 20.00", "", "75.00 ± 0.00", "", ""]


def test_one_seed_has_no_error_and_rows_keep_the_order_of_the_results():
    table = comparison([made_control("margin", test_accuracy=0.5), made_control(test_accuracy=0.6), made_result()])
    assert "over seed 0," in table.title
    assert [row(table, name)[:4] for name in ("margin", "random", "rambo")] == [
        ["margin", "1", "50.00", "−10.00"],
        ["random", "1", "60.00", ""],
        ["rambo", "1", "80.00", "+20.00"],
    ]
    assert [one[0] for one in table.rows] == ["margin", "random", "rambo"]
