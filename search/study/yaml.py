"""YAML as a study file and --set mean it: YAML 1.2, loaded safely, with duplicate keys refused.

In YAML 1.2 `1e-3` is a number and `off` a word (YAML 1.1 has it the other way round). Nothing but mappings, lists,
text, numbers, booleans and null can come out; a date is text.
"""

import io
import re
import warnings
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from sweepstack.models.errors import StudyError


class _Constructor(SafeConstructor):
    """SafeConstructor, but what looks like a date stays text."""


def _as_text(constructor: _Constructor, node: ScalarNode) -> str:
    return str(node.value)


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _as_text)


def load_yaml(text: str, where: str) -> Any:
    """The one document of ``text``; raises StudyError, whose line begins with ``where`` (the file, or the flag)."""
    if re.search(r"^%YAML(?!\s+1\.2)", text, re.MULTILINE):
        raise StudyError(f"{where}: a study file is YAML 1.2; take the %YAML line out")
    yaml = YAML(typ="safe", pure=True)  # a new one each time: what a document declares would stick to it
    yaml.Constructor = _Constructor
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # an anchor may be given again: the last one counts
            return yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        at = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise StudyError(f"{where}{at}: {_problem(error)}") from None
    except YAMLError as error:
        first = str(error).splitlines()[0]
        raise StudyError(f"{where} is not YAML: {first}; save it as plain UTF-8 text") from None
    except (ValueError, RecursionError, TypeError) as error:
        raise StudyError(f"{where} is not a study: {error or type(error).__name__}; mend the YAML there") from None


def _problem(error: MarkedYAMLError) -> str:
    """What is wrong at a place of a document, and what to do."""
    problem = re.sub(r" with value .*| \(original value.*", "", str(error.problem), flags=re.DOTALL)
    if isinstance(error, DuplicateKeyError):
        return f"{problem}; keep one of them"
    if "'\\t'" in problem:
        return "a tab stands where only spaces may; indent with spaces"
    if "another document" in problem:
        return "a second document begins there (---); keep one of them"
    if "escape" in problem:
        return (
            f"{problem}: in double quotes a backslash begins an escape; write \\\\ for it, or a path with / or in "
            "single quotes"
        )
    if re.search(r"alias|unhashable|tag '|that cannot start any token", problem):
        return f"{problem}: no plain text begins so; put it in quotes"
    begun = error.context_mark
    if begun is not None and error.problem_mark is not None and begun.line < error.problem_mark.line:
        return f"{problem}, {error.context} from line {begun.line + 1}; mend the YAML there"
    return f"{problem}; mend the YAML there"


def parse_override(text: str) -> tuple[str, Any]:
    """The key path and the value of a ``--set KEY=VALUE``; raises StudyError."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise StudyError(f"--set {text}: must be KEY=VALUE, for example --set search.trials=8")
    return key, load_yaml(value, f"--set {key}")


class _Representer(SafeRepresenter):
    """SafeRepresenter, but text that is not plainly a word or a path is quoted: ruamel's plain style garbles some."""


def _represent_text(representer: _Representer, text: str) -> ScalarNode:
    plain = re.fullmatch(r"[\w./][\w ./-]*", text)
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Representer.add_representer(str, _represent_text)


def dump_yaml(content: Any) -> str:
    """``content`` as YAML that :func:`load_yaml` reads back equal, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None  # innermost lists and mappings on one line
    yaml.representer.sort_base_mapping_type_on_output = False
    yaml.width = 4096
    yaml.representer.ignore_aliases = lambda data: True
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()
