from sweepstack.ensembles.evaluation.examples import Example, Examples
from sweepstack.search.report.report_texts import LONGEST, cut, examples_page


def test_a_long_text_is_cut_and_an_empty_one_is_a_dash() -> None:
    assert cut("x" * LONGEST) == "x" * LONGEST
    assert cut("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"
    assert cut(" ") == "–"


def test_scores_are_written_as_their_metric_is_and_the_better_text_is_told() -> None:
    rows = (Example("open", "打开", "关", "打开", 4.04, 100.0), Example("close", "", "关闭", "关", 50.0, 20.0))
    page = examples_page(Examples("0", "average", "trial-1", "chrf", 1200, 3, 0, rows))
    assert page is not None
    assert (page["better"], page["worse"], page["equal"]) == ("1,200", "3", "0")
    assert [(row["trial_score"], row["ensemble_score"], row["better"]) for row in page["rows"]] == [
        ("4.0", "100.0", True),
        ("50.0", "20.0", False),
    ]
    assert page["referenced"], "one of them has a reference"
    assert page["rows"][1]["reference"] == "–"
    rewarded = examples_page(Examples("0", "average", "trial-1", "reward", 0, 0, 2, (rows[1],)))
    assert rewarded is not None
    assert not rewarded["referenced"]
    assert examples_page(Examples("0", "average", "trial-1", "chrf", 0, 0, 9, ())) is None
    assert examples_page(None) is None
