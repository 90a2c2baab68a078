"""The reports of nodes: text for the user, facts and warnings for programs."""

from duet_av.nodes.reports import report


def test_warnings_are_lines_after_the_others_and_a_list_among_the_facts():
    shown = report("made it", warnings=("but late",), seconds=2.0)
    assert shown == {"text": ["made it", "but late"], "duet": [{"seconds": 2.0, "warnings": ["but late"]}]}
    assert report("made it")["duet"] == [{"warnings": []}]


def test_a_table_is_a_fact_of_its_own():
    table = {"head": ["a"], "rows": [["1"]], "lines": 2}
    assert report("a", "1", "note", table=table)["duet"] == [{"warnings": [], "table": table}]
