from pathlib import Path

import pytest
from small_writing import pairs_dataset

from sweepstack.models.checksums import digest_of_bundle
from sweepstack.models.errors import DataError
from sweepstack.models.files import write_json
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.run.provenance import check_provenance


def test_a_bundle_is_known_by_what_it_holds_wherever_it_lies(tmp_path: Path) -> None:
    for name, content in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "SHA256SUMS").write_text(content)
    a, b, c = (digest_of_bundle(tmp_path / name) for name in "abc")
    assert a == b == "2d711642b726b044"  # the SHA-256 of "x" begins so
    assert c != a
    assert digest_of_bundle(tmp_path / "nowhere") is None


def test_texts_are_rewarded_by_the_bundle_that_the_run_began_with(tmp_path: Path) -> None:
    writing_dataset = pairs_dataset()
    folder = RunFolder(tmp_path)
    known = {"data": {"hashes": writing_dataset.hashes}}
    write_json(folder.provenance, known)
    check_provenance(folder, writing_dataset, "f" * 16)  # of a run from before it was kept
    write_json(folder.provenance, {**known, "reward": "a" * 16})
    check_provenance(folder, writing_dataset, "a" * 16)
    with pytest.raises(DataError, match=r"the bundle that rewards .* has changed .*hash a+, now f+\); restore it"):
        check_provenance(folder, writing_dataset, "f" * 16)
