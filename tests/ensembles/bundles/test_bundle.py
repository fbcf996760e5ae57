import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from sweepstack.ensembles import load
from sweepstack.ensembles.bundles.bundle import Reading, check_target, export
from sweepstack.ensembles.bundles.card import Card
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.fitted_pools import LinearModel
from sweepstack.ensembles.combinations.pools import LOGARITHMIC
from sweepstack.ensembles.combinations.read_head import SHAPES, ReadHead
from sweepstack.ensembles.combinations.stop import Stop
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.scoring.conformal import Calibration, packed
from sweepstack.models import checksums
from sweepstack.models.data.tables import Label, LabelType
from sweepstack.models.errors import BundleError, DataError, InputError, StorageError
from sweepstack.models.files import read_json, write_json
from sweepstack.models.predictions.costs import Costs

CARD = Card(
    "keywords",
    "classification",
    ("a", "b", "c"),
    "text",
    {"unit": "words", "segment": 1, "max_segments": 9},
    {"warm": "f"},
)
FIGURES = {"reward": 0.9}
ROW = Row("selection", "selection", "ensemble", ("trial-1", "trial-0"), (0.75, 0.25), "averaged", FIGURES, FIGURES)
COMBINATION = Combination((1, 0), np.array([0.75, 0.25], np.float32))
ALIKE = np.full(2, 0.5, np.float32)
TEXTS = ["apple", "apple ant apple ant", "bee apple bee", "bee"]


@pytest.fixture
def exported(tmp_path: Path, keyword_members: list[Member]) -> Path:
    export(tmp_path / "out" / "bundle", ROW, COMBINATION, keyword_members, CARD)
    return tmp_path / "out" / "bundle"


def test_it_predicts_what_its_combination_says_by_hand(exported: Path) -> None:
    bundle = load(exported)
    assert (bundle.classes, bundle.input_column) == (("a", "b", "c"), "text")
    strong, weak = np.exp(2) / (np.exp(2) + 2), np.e / (np.e + 2)
    expected = 0.75 * strong + 0.25 * weak
    first = bundle.read(TEXTS)[0]
    assert isinstance(first, Reading)
    assert (first.label, first.segments) == ("a", 1)
    assert first.probability == pytest.approx(expected, abs=1e-6)
    assert first.probabilities == pytest.approx(
        {"a": expected, "b": (1 - expected) / 2, "c": (1 - expected) / 2}, abs=1e-6
    )
    assert bundle.predict(TEXTS) == ["a", "a", "b", "b"]


def test_records_probabilities_and_labels_agree(exported: Path) -> None:
    bundle = load(str(exported))
    probabilities, readings = bundle.predict_proba(TEXTS), bundle.read(TEXTS)
    assert probabilities.shape == (4, 3)
    np.testing.assert_allclose(probabilities, [list(r.probabilities.values()) for r in readings], atol=1e-6)
    assert [bundle.classes[i] for i in probabilities.argmax(axis=1)] == [r.label for r in readings]
    assert 1 < readings[1].segments < 4  # read on, and not to the end: sure before
    alone = np.concatenate([bundle.predict_proba([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, probabilities, atol=1e-6)


def test_nothing_in_is_nothing_out_and_one_string_is_a_mistake(exported: Path) -> None:
    bundle = load(exported)
    assert bundle.predict([]) == []
    assert bundle.predict_proba([]).shape == (0, 3)
    assert bundle.predict([""]) == bundle.predict([""])
    with pytest.raises(TypeError, match="sequence of strings"):
        bundle.predict("apple")


def test_a_table_is_read_by_its_column_and_what_is_no_text_is_refused_by_its_row(exported: Path) -> None:
    bundle = load(exported)
    table = pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS})
    assert bundle.predict(table) == bundle.predict(TEXTS)
    for nothing in (None, float("nan"), pd.NA):
        with pytest.raises(DataError, match=f"row 1 of the input must be a text, but got {nothing}"):
            bundle.predict(["apple", nothing])
    with pytest.raises(DataError, match="no column 'text'"):
        bundle.predict(table.rename(columns={"text": "phrase"}))
    with pytest.raises(DataError, match="row 1 of the input must be a text, but got 3"):
        bundle.predict_proba(["apple", 3])


@pytest.mark.parametrize(
    ("names", "label_type", "classes"),
    [(("-1", "0", "10"), "int", (-1, 0, 10)), (("1", "2", "x"), "text", ("1", "2", "x"))],
)
def test_labels_keep_their_type(
    names: tuple[str, ...],
    label_type: LabelType,
    classes: tuple[Label, ...],
    tmp_path: Path,
    keyword_members: list[Member],
) -> None:
    for member in keyword_members:
        write_json(member.checkpoint / "config.json", {"classes": list(names)})
    export(tmp_path / "b", ROW, COMBINATION, keyword_members, replace(CARD, classes=names, label_type=label_type))
    bundle = load(tmp_path / "b")
    assert bundle.classes == classes
    assert bundle.predict(["apple", "bee"]) == list(classes[:2])
    reading = bundle.read(["bee"])[0]
    assert reading.probabilities[reading.label] == reading.probability
    assert type(reading.label) is type(classes[0])


def test_a_pool_its_temperature_and_its_stop_survive_the_export(tmp_path: Path, keyword_members: list[Member]) -> None:
    combination = Combination((0, 1), np.array([0.5, 0.5], np.float32), LOGARITHMIC, Stop(0.999), 0.5)
    export(tmp_path / "bundle", ROW, combination, keyword_members, CARD)
    bundle = load(tmp_path / "bundle")
    first, second, *_ = bundle.read(TEXTS)
    # A word says 1 to one member and 2 to the other: 1.5 together, 3 at a temperature of a half.
    assert first.probability == pytest.approx(np.exp(3) / (np.exp(3) + 2), abs=1e-6)
    assert second.segments == 3  # e⁶/(e⁶+2) is .995
    assert bundle.ensemble.combination.stop == Stop(0.999)


def test_a_pool_that_was_fitted_for_other_classes_is_refused(tmp_path: Path, keyword_members: list[Member]) -> None:
    weight = np.ones((8, 4), np.float32)
    pool = LinearModel(np.arange(4), weight, np.zeros(4, np.float32))
    combination = Combination((0, 1), np.array([0.5, 0.5], np.float32), pool)
    export(tmp_path / "bundle", ROW, combination, keyword_members, CARD)
    with pytest.raises(BundleError, match="2 members and 3 classes are no 8 features of its pool"):
        load(tmp_path / "bundle")


def test_a_classifier_of_scikit_learn_survives_the_export_as_a_graph(
    tmp_path: Path, keyword_members: list[Member]
) -> None:
    pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    from sweepstack.ensembles.builders.learners import fit

    labels = np.arange(60) % 3
    said = np.random.default_rng(0).dirichlet(np.ones(3), (2, 60)).astype(np.float32)
    pool = fit("sklearn.tree:DecisionTreeClassifier", 1.0)(said, labels, np.ones(60))
    combination = Combination((0, 1), np.array([0.5, 0.5], np.float32), pool)
    export(tmp_path / "bundle", ROW, combination, keyword_members, CARD)
    bundle = load(tmp_path / "bundle")
    assert bundle.ensemble.combination.pool.kind == "onnx"
    assert bundle.metadata["versions"]["onnxruntime"] == version("onnxruntime")
    np.testing.assert_array_equal(
        bundle.ensemble.combination.pool.mix(said[:, None], ALIKE), pool.mix(said[:, None], ALIKE)
    )


def test_the_label_given_costs_least_in_expectation(tmp_path: Path, keyword_members: list[Member]) -> None:
    """Of "apple" the members are about .7 sure that it is a; to say a where it is c costs 9, to say c for a .1."""
    matrix = [[0, 1, 0.1], [1, 0, 1], [9, 1, 0]]
    stop = Stop(0.99, Costs(matrix=np.float32(matrix)))
    combination = Combination((1, 0), np.array([0.75, 0.25], np.float32), stop=stop)
    export(tmp_path / "bundle", ROW, combination, keyword_members, replace(CARD, costs=matrix))
    bundle = load(tmp_path / "bundle")
    (reading,) = bundle.read(["apple"])
    assert max(reading.probabilities, key=reading.probabilities.__getitem__) == "a"
    assert reading.label == "c"
    assert reading.probability == reading.probabilities["c"]
    assert bundle.predict(["apple"]) == ["c"]
    assert bundle.metadata["costs"] == matrix
    assert bundle.ensemble.combination.stop == stop


def test_only_the_members_used_are_in_it_and_everything_is_summed(exported: Path) -> None:
    files = checksums.files(exported)
    assert files == [
        "README.md",
        "bundle.json",
        "ensemble.safetensors",
        "members/trial-0/config.json",
        "members/trial-0/weights.safetensors",
        "members/trial-1/config.json",
        "members/trial-1/weights.safetensors",
    ]
    metadata = read_json(exported / "bundle.json")
    assert metadata["format"] == 1
    assert metadata["members"] == [{"name": "trial-1", "kind": "trial"}, {"name": "trial-0", "kind": "trial"}]
    assert metadata["weights"] == [0.75, 0.25]
    assert metadata["data"] == {"warm": "f"}
    assert not [path for path in exported.parent.iterdir() if path != exported]


def test_a_member_of_several_folds_is_copied_with_all_of_them(tmp_path: Path, keyword_members: list[Member]) -> None:
    folded, single = keyword_members
    for k in (1, 2):
        fold = folded.checkpoint / f"fold-{k}"
        fold.mkdir()
        for name in ("weights.safetensors", "config.json"):
            (fold / name).write_bytes((folded.checkpoint / name).read_bytes())
        (fold / "tokenizer.json").write_text("{}")
    (folded.checkpoint / "weights.safetensors").unlink()
    export(tmp_path / "bundle", ROW, COMBINATION, [folded, single], replace(CARD, folds=2))
    names = {
        path.relative_to(tmp_path / "bundle" / "members").as_posix() for path in tmp_path.glob("bundle/members/**/*.*")
    }
    own = {
        f"trial-0/fold-{k}/{name}" for k in (1, 2) for name in ("weights.safetensors", "config.json", "tokenizer.json")
    }
    assert names == {*own, "trial-0/config.json", "trial-1/config.json", "trial-1/weights.safetensors"}
    checksums.verify(tmp_path / "bundle")
    assert "mean of 2 policies" in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    (folded.checkpoint / "fold-2" / "weights.safetensors").unlink()
    with pytest.raises(StorageError, match="cannot write"):
        export(tmp_path / "bundle", ROW, COMBINATION, [folded, single], CARD)


def test_exports_of_the_same_are_the_same_byte_for_byte(
    exported: Path, tmp_path: Path, keyword_members: list[Member]
) -> None:
    export(tmp_path / "again", ROW, COMBINATION, keyword_members, CARD)
    assert (tmp_path / "again" / checksums.NAME).read_text() == (exported / checksums.NAME).read_text()


@pytest.mark.parametrize(
    "name", ["bundle.json", "ensemble.safetensors", "README.md", "members/trial-1/weights.safetensors"]
)
def test_one_changed_byte_anywhere_is_refused(name: str, exported: Path) -> None:
    content = bytearray((exported / name).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} was changed") as error:
        load(exported)
    assert "\n" not in str(error.value)


def rewritten(exported: Path, **values: object) -> Path:
    """A bundle whose maker is hostile or of another version: its sums are right."""
    path = exported / "bundle.json"
    path.write_text(json.dumps(read_json(path) | values))
    checksums.write(exported)
    return exported


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "bundle format 2 is not known, only 1"),
        ({"members": [{"name": "../../trials/0"}]}, "names a member '../../trials/0'"),
        ({"members": [{"name": "/etc"}]}, "names a member '/etc'"),
        ({"members": [{"name": "trial-0"}]}, "1 members but 2 weights"),
        ({"classes": ["a", "b"]}, "member trial-1 has other classes"),
        ({"combination": {"kind": "pickle"}}, "cannot be read"),
        ({"members": 3}, "cannot be read"),
    ],
)
def test_a_hostile_or_foreign_bundle_is_refused(values: dict[str, object], message: str, exported: Path) -> None:
    with pytest.raises(BundleError) as error:
        load(rewritten(exported, **values))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["bundle.json", "SHA256SUMS", "members/trial-0/config.json"])
@pytest.mark.parametrize("kind", ["fifo", "endless"])
def test_no_file_of_a_bundle_is_opened_before_it_is_known_to_be_plain(exported: Path, kind: str, name: str) -> None:
    """A FIFO waits for ever for somebody to write, and /dev/zero has no end."""
    (exported / name).unlink()
    if kind == "fifo":
        os.mkfifo(exported / name)
    else:
        (exported / name).symlink_to("/dev/zero")
    code = (
        "import resource, sys, sweepstack.ensembles\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))\n"
        "try: sweepstack.ensembles.load(sys.argv[1])\n"
        "except Exception as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(rf"{name} is (a link or no plain file|missing)", done.stdout), done


def test_brackets_without_end_are_one_line(exported: Path) -> None:
    (exported / "bundle.json").write_text("[" * 200_000)
    checksums.write(exported)
    with pytest.raises(BundleError, match=r"cannot be read \(.* is nested too deeply\); .*export the bundle again$"):
        load(exported)


def test_a_new_bundle_replaces_the_old_one(exported: Path, keyword_members: list[Member]) -> None:
    alone = Combination((0,), np.ones(1, np.float32))
    export(exported, ROW, alone, keyword_members, CARD)
    assert [member["name"] for member in load(exported).metadata["members"]] == ["trial-0"]
    assert not [path for path in exported.parent.iterdir() if path != exported]


def test_a_failed_export_leaves_the_old_bundle(exported: Path, keyword_members: list[Member]) -> None:
    before = (exported / checksums.NAME).read_text()
    (keyword_members[0].checkpoint / "weights.safetensors").unlink()
    with pytest.raises(StorageError, match="cannot write"):
        export(exported, ROW, COMBINATION, keyword_members, CARD)
    assert (exported / checksums.NAME).read_text() == before
    assert load(exported).predict(["apple"]) == ["a"]
    assert not [path for path in exported.parent.iterdir() if path != exported]


def test_leftovers_of_a_killed_export_are_cleared(exported: Path, keyword_members: list[Member]) -> None:
    (exported.parent / ".bundle.new" / "members").mkdir(parents=True)
    (exported.parent / ".bundle.old").mkdir()
    export(exported, ROW, COMBINATION, keyword_members, CARD)
    assert [path.name for path in exported.parent.iterdir()] == ["bundle"]


def test_every_file_of_a_bundle_has_the_mode_of_the_umask(tmp_path: Path, keyword_members: list[Member]) -> None:
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            export(tmp_path / "bundle", ROW, COMBINATION, keyword_members, CARD, CALIBRATION)
        finally:
            os.umask(before)
        files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "bundle").rglob("*") if path.is_file()}
        assert files == dict.fromkeys(files, mode)
        assert {"ensemble.safetensors", "sets.safetensors", "weights.safetensors", "bundle.json"} <= set(files)


def test_a_named_bundle_is_replaced_with_force_and_only_where_it_is_whole(exported: Path) -> None:
    target = exported
    with pytest.raises(InputError, match=f"^-o {target} exists .* --force$"):
        check_target(target, force=False)
    check_target(target, force=True)
    (target / "members" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds members/notes\.txt, which is no part of a bundle"):
        check_target(target, force=True)


def test_a_bundle_never_takes_the_place_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    for folder in (Path.cwd(), tmp_path):
        with pytest.raises(InputError, match="is the working directory or holds it"):
            check_target(folder, force=True)
    check_target(Path.cwd() / "new", force=False)


@pytest.mark.parametrize("kind", ["link", "fifo", "device"])
def test_no_bundle_takes_the_place_of_a_link_or_a_device(
    kind: str, exported: Path, keyword_members: list[Member]
) -> None:
    target = exported.with_name("target")
    if kind == "link":
        target.symlink_to(exported)
    elif kind == "fifo":
        os.mkfifo(target)
    else:
        target = Path("/dev/null")
    with pytest.raises(StorageError, match=f"{target} exists and is no bundle; it is left as it is"):
        export(target, ROW, COMBINATION, keyword_members, CARD)
    assert target.is_symlink() == (kind == "link")
    assert load(exported).predict(["apple"]) == ["a"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, keyword_members: list[Member]) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("x")
    with pytest.raises(StorageError, match="exists and is no bundle"):
        export(tmp_path / "papers", ROW, COMBINATION, keyword_members, CARD)
    assert (tmp_path / "papers" / "thesis.tex").read_text() == "x"


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, keyword_members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(StorageError, match=r"cannot write .*/out: No space left on device; free some space"):
        export(tmp_path / "out", ROW, COMBINATION, keyword_members, CARD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trials"]


def test_importing_the_room_is_cheap() -> None:
    code = (
        "import sys, sweepstack.ensembles; sys.exit(bool({'torch', 'numpy', 'sklearn', 'mlflow'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


CALIBRATION = Calibration(np.linspace(0.01, 0.99, 99, dtype=np.float32), np.ones(99), "It was fitted there.")


@pytest.fixture
def calibrated(tmp_path: Path, keyword_members: list[Member]) -> Path:
    export(tmp_path / "bundle", ROW, COMBINATION, keyword_members, CARD, CALIBRATION)
    return tmp_path / "bundle"


def test_sets_hold_the_labels_whose_score_is_small_enough_by_hand(calibrated: Path) -> None:
    """Of "apple" a has .732, b and c .134 each: a set holds those of at least 1 − the 100·coverage-th score of 99."""
    bundle = load(calibrated)
    probability = bundle.read(["apple"])[0].probability
    assert 0.7 < probability < 0.75
    assert bundle.predict_set(["apple"], 0.8) == [("a",)]
    assert bundle.predict_set(["apple", "bee"], 0.9) == [("a", "b", "c"), ("b", "a", "c")]
    assert bundle.predict_set(["apple"], 0.2) == [("a",)], "the likeliest label is always there"
    assert bundle.calibration is not None
    assert bundle.calibration.promise == "It was fitted there."
    assert "It was fitted there." in (calibrated / "README.md").read_text()
    with_set, without = bundle.read(["apple"], coverage=0.8)[0], bundle.read(["apple"])[0]
    assert (with_set.labels, without.labels) == (("a",), None)
    assert replace(with_set, labels=None) == without


def test_what_sets_are_calibrated_by_is_summed_and_checked(calibrated: Path) -> None:
    assert "sets.safetensors" in checksums.files(calibrated)
    wrong = replace(CALIBRATION, scores=CALIBRATION.scores[::-1].copy())
    arrays, metadata = packed({"selection": wrong})
    save_file(arrays, calibrated / "sets.safetensors", metadata)
    with pytest.raises(BundleError, match=r"sets\.safetensors was changed"):
        load(calibrated)
    checksums.write(calibrated)
    with pytest.raises(BundleError, match="scores from 0 to 1, ascending"):
        load(calibrated)
    save_file({"scores": CALIBRATION.scores}, calibrated / "sets.safetensors")
    checksums.write(calibrated)
    with pytest.raises(BundleError, match=r"cannot be read .*caveats"):
        load(calibrated)


def test_a_bundle_of_before_still_predicts_and_asks_to_be_exported_again_for_sets(exported: Path) -> None:
    save_file({"scores": CALIBRATION.scores}, exported / "calibration.safetensors")
    checksums.write(exported)
    bundle = load(exported)
    assert bundle.predict(["apple"]) == ["a"]
    with pytest.raises(BundleError, match="has nothing that sets are calibrated by; export the ensemble again"):
        bundle.predict_set(["apple"], 0.9)


def test_a_coverage_that_cannot_be_had_is_one_line(calibrated: Path, exported: Path) -> None:
    with pytest.raises(InputError, match="at least 999 rows"):
        load(calibrated).predict_set(["apple"], 0.999)
    with pytest.raises(BundleError, match="has nothing that sets are calibrated by; export the ensemble again"):
        load(exported).predict_set(["apple"], 0.9)
    with pytest.raises(BundleError, match="leave out cost or coverage"):
        load(calibrated).read(["apple"], cost=0.01, coverage=0.9)


def test_a_learned_stop_survives_the_export(tmp_path: Path, keyword_members: list[Member]) -> None:
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    stops = [Stop(0.9, head=ReadHead.of(arrays | {"out_bias": np.float32([b])}, 9)) for b in (50, -50)]
    read = []
    for stop in stops:
        export(tmp_path / "bundle", ROW, replace(COMBINATION, stop=stop), keyword_members, CARD)
        bundle = load(tmp_path / "bundle")
        assert bundle.ensemble.combination.stop == stop
        read.append([reading.segments for reading in bundle.read(TEXTS)])
    assert read == [[1, 4, 3, 1], [1, 1, 1, 1]]  # to the end, and at once
