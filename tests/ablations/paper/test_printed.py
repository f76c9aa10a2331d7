"""What the paper prints, read once more from its tables."""

from ablations.paper.printed import Printed, printed_cells, printed_sizes

ALL_ON = "bilevel=on OT=on RankNet=on"


def test_printed_cells_are_the_paper_s_rows():
    assert printed_cells("table4")[ALL_ON] == Printed(95.3, 0.2)
    assert printed_cells("table1")["bilevel=on OT=off RankNet=off"] == Printed(70.5, 0.3)
    assert printed_cells("table3")["bilevel=off OT=on RankNet=on"] == Printed(81.0, 0.3)
    assert printed_cells("table5")["random"] == Printed(86.5, 0.3)
    assert printed_cells("table6")["B=10000 λ_OT=100.0"] == Printed(81.6, 0.5)
    assert printed_cells("table6")["B=3000 λ_OT=0.01"] == Printed(71.8, 0.6)
    assert [len(printed_cells(name)) for name in ("table1", "table3", "table5", "table6", "fig2a")] == [9, 9, 9, 24, 0]
    assert printed_sizes("mnist")[200] == Printed(76.3, 0.1)
    assert printed_sizes("svhn")[1000] == Printed(13.0, 0.8)
