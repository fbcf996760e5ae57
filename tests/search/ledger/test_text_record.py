import shutil
from pathlib import Path

import pytest

from sweepstack.ensembles import load
from sweepstack.ensembles.bundles.writing_bundle import WritingBundle
from sweepstack.models.data.pairs import load_pairs
from sweepstack.models.errors import InputError
from sweepstack.search.ledger.ensembles import ATTRIBUTE, BuiltEnsembles
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.ledger.restored import read_built
from sweepstack.search.ledger.text_record import BuiltTexts
from sweepstack.search.report.result import Result


def test_any_row_can_be_exported_from_the_ledger_alone(written_ensembles: Path, tmp_path: Path) -> None:
    result = Result.open(written_ensembles)
    assert result.study.data is not None
    assert result.study.writing is not None
    sources = load_pairs(result.study.data, result.study.task, result.study.writing).parts["blend"].inputs
    for row in result.built.choice.rows:
        bundle = load(result.ensemble(row.name).export(tmp_path / row.name))
        assert isinstance(bundle, WritingBundle)
        assert (bundle.metadata["method"], bundle.metadata["digest"]) == (row.method, result.built.digest)
        assert bundle.input_column == "source"
        assert len(bundle.write(sources[:2], 2)) == 2


def test_what_is_written_is_read_again_number_for_number(written_ensembles: Path, tmp_path: Path) -> None:
    built = Result.open(written_ensembles).built
    assert isinstance(built, BuiltTexts)
    run = Path(shutil.copytree(written_ensembles, tmp_path / "run"))
    with Ledger.open(run / "ledger.log") as ledger:
        built.write(ledger, written_ensembles)
        again = read_built(ledger, run, writes=True)
        assert isinstance(again, BuiltTexts)
        assert (again.digest, again.scored) == (built.digest, True)
        assert [member.folder.relative_to(run) for member in again.members] == [
            member.folder.relative_to(written_ensembles) for member in built.members
        ], "a run folder may be moved"
        assert again.choice.rows == built.choice.rows
        for name, combination in built.choice.combinations.items():
            state, arrays = again.choice.combinations[name].state()
            assert state == combination.state()[0]
            assert {key: array.tolist() for key, array in arrays.items()} == {
                key: array.tolist() for key, array in combination.arrays.items()
            }
        assert BuiltEnsembles.read(ledger, run) is None, "they are no classifiers"


def test_another_versions_are_built_anew(written_ensembles: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(written_ensembles, tmp_path / "run"))
    with Ledger.open(run / "ledger.log") as ledger:
        stored = ledger.attribute(ATTRIBUTE)
        for state in stored["combinations"].values():
            state["kind"] = "of tomorrow"
        ledger.set_attribute(ATTRIBUTE, stored)
        assert BuiltTexts.read(ledger, run) is None


def test_an_unknown_name_is_answered_with_those_there_are(written_ensembles: Path) -> None:
    with pytest.raises(InputError, match=r"there is no ensemble 'stacking'; there are .*minimum_bayes_risk"):
        Result.open(written_ensembles).ensemble("stacking")
