"""What to do about a data file that is not there: paths of other machines, of the web, of a shell, and names that are
spelt otherwise."""

import difflib
import re
from pathlib import Path

ADDRESS = re.compile(r"(?:^|/)((?:https?|ftp|s3|gs|gcs|hf|abfs|hdfs|dbfs|wasbs|azureml|datasets):)/+(.*)")
LOCAL = re.compile(r"(?:^|/)file:/+(.*)")
WINDOWS = re.compile(r"(?:^|/)((?:[A-Za-z]:[\\/]|\\\\).*)")
MOST_NAMES = 10_000  # of a folder that are looked at


def not_there(path: Path, formats: str) -> str:
    """The line of a refusal. ``formats``: what may be given."""
    name = str(path)
    if address := ADDRESS.search(name):
        return f"{address[1]}//{address[2]} is an address, and data is read from files; download it and name the file"
    if local := LOCAL.search(name):
        return f"file:///{local[1]} is an address; write the path, /{local[1]}"
    if windows := WINDOWS.search(name):
        return f"{windows[1]} is a path of Windows, and there is no such file here; name the file as this machine does"
    if "\\" in name and Path(name.replace("\\", "/")).exists():
        return f"{path}: no such file; write / in place of \\, as in {path.name.replace(chr(92), '/')}"
    if any(sign in path.name for sign in "*?["):
        return f"{path}: no such file, and names are not matched by patterns; join the files and name that one"
    if "$" in name or "%" in path.name:
        return f"{path}: no such file, and variables are not filled in; write the path out"
    try:
        names = [each.name for each, _ in zip(path.parent.iterdir(), range(MOST_NAMES), strict=False)]
    except OSError:
        return f"{path}: no such file, and no such folder {path.parent}; check the path"
    spelt = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(path.name.lower(), spelt, n=1, cutoff=0.8)
    if nearest:
        return f"{path}: no such file; did you mean {spelt[nearest[0]]}?"
    return f"{path}: no such file; check the path, which may be {formats}"
