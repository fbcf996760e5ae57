"""What is said of a data file that is not there."""

from pathlib import Path

import pytest

from sweepstack.models.data.missing_files import not_there


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("https:/x.org/a.csv", "https://x.org/a.csv is an address, and data is read from files; download it"),
        ("dbfs:/mnt/a.csv", "dbfs://mnt/a.csv is an address"),
        ("file:/tmp/a.csv", "file:///tmp/a.csv is an address; write the path, /tmp/a.csv"),
        ("C:\\Users\\me\\a.csv", "C:\\Users\\me\\a.csv is a path of Windows, and there is no such file here; name"),
        ("\\\\server\\share\\a.csv", "\\\\server\\share\\a.csv is a path of Windows"),
        ("sub\\there.csv", "no such file; write / in place of \\"),
        ("*.csv", "*.csv: no such file, and names are not matched by patterns; join the files and name that one"),
        ("$HOME/a.csv", "$HOME/a.csv: no such file, and variables are not filled in; write the path out"),
        ("There.CSV", "There.CSV: no such file; did you mean there.csv?"),
        ("thre.csv", "thre.csv: no such file; did you mean there.csv?"),
        ("other/a.csv", "no such folder"),
        ("quite-another.csv", "quite-another.csv: no such file; check the path, which may be .csv"),
    ],
)
def test_the_line_says_what_to_do(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / "there.csv").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "there.csv").touch()
    assert line in not_there(tmp_path / name, ".csv")
