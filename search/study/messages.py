"""What is wrong with a study file, as one line: the key's path, the rule, the value received, and the way out."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweepstack.models.data.cleaning import name_of
from sweepstack.models.errors import StudyError
from sweepstack.models.settings.base import shown
from sweepstack.models.settings.live import leaves
from sweepstack.search.study.as_written import unit_of, way_out

LATER = {  # values of the contract that are not built yet, and what to use meanwhile
    "search.storage": (r".+", "null, which is ledger.log in the run folder"),
}
OTHER_NAMES = {  # what other programs call a key
    "learning_rate": "lr",
    "scheduler": "lr_schedule",
    "lr_scheduler": "lr_schedule",
    "lambda": "gae_lambda",
    "discount": "gamma",
    "num_samples": "trials",
    "n_trials": "trials",
    "num_epochs": "epochs",
    "timeout": "wall_time",
    "max_time": "wall_time",
    "grace_period": "min_epochs",
    "reduction_factor": "reduction",
    "n_splits": "folds",
    "k": "folds",
    "labels": "target",
    "label": "target",
    "texts": "input",
}

SAID = {  # of keys that are often looked for
    "data.splits.train": "what policy, valid, blend and test leave is trained on, as warm; lower one of those instead",
    "data.splits.warm": "warm is what policy, valid, blend and test leave; lower one of those instead",
    "data.splits.val": "it is called valid here",
}


def not_available(key: str, value: object) -> str | None:
    """The refusal of a value that this version does not have, or None."""
    pattern, use = LATER.get(key, ("(?!)", ""))
    if value is None or not re.fullmatch(pattern, str(value)):
        return None
    return f"{key} {value} is not available in this version; use {use}"


def refuse_later(tree: Mapping[str, Any]) -> tuple[str, str] | None:
    """The key path and the refusal of the first value in a study's raw ``tree`` that is not built yet, or None.

    A value may be a word, the only key of a mapping or an element of a list; an axis of the space is a list.
    """
    for key in LATER:
        section, _, leaf = key.partition(".")
        node = tree.get(section)
        if leaf:
            node = node.get(leaf) if isinstance(node, dict) else None
        space = tree.get("space")
        axis = space.get(key) if isinstance(space, dict) else None
        for path, found in ((key, node), (f"space.{key}", axis)):
            for value in found if isinstance(found, list) else [found]:
                for word in value if isinstance(value, dict) else [value]:
                    refusal = not_available(key, word)
                    if refusal is not None:
                        return path, refusal
    return None


def refusal(error: ValidationError, study: type[BaseModel]) -> tuple[str, str]:
    """The key path and the line of what is wrong first; unknown keys come first, as they cause other errors."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] not in ("extra_forbidden", "invalid_key"))
    first = details[0]
    problem = first.get("ctx", {}).get("error")
    path = getattr(problem, "path", None) or path_of(first["loc"][: -1 if first["type"] == "invalid_key" else None])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        return path, unknown_key(path, first["input"], study) + more
    if first["type"] == "missing":
        return path, f"{path} is missing; a study needs task and data, and data needs train{more}"
    return path, rule(first) + more


def path_of(location: Sequence[str | int]) -> str:
    """``train.lr``, or ``ensembles.builders[1].stacking.top``; pydantic's names of union members are left out."""
    path = ""
    if "[key]" in location:  # the key itself is wrong, and no place
        location = location[: location.index("[key]") - 1]
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):
            path += f".{part}" if path else part
    return path


def rule(error: ErrorDetails) -> str:
    """What a value must be and what it is, for one of pydantic's errors."""
    context = error.get("ctx", {})
    allowed: list[str] = []
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
            must = f"must be {_or(allowed)}"
        case "greater_than":
            must = f"must be above {number(context['gt'])}"
        case "greater_than_equal":
            must = f"must be at least {number(context['ge'])}"
        case "less_than":
            must = f"must be below {number(context['lt'])}"
        case "less_than_equal":
            must = f"must be at most {number(context['le'])}"
        case "float_type":
            must = f"must be a number{unit_of(error)}"
        case "finite_number":
            must = "must be finite"
        case "int_type" | "int_from_float":
            must = "must be an integer"
        case "string_type":
            must = "must be text (in quotes, if it looks like a number)"
            if error["loc"][-1] == "[key]":
                return f'its key {shown(error["input"])} must be text; write it in quotes, "{shown(error["input"])}"'
        case "list_type":
            must = "must be a list"
        case "tuple_type":
            must = "must be two numbers, [lo, hi]"
        case "too_short":
            must = "must name at least one"
        case "bool_type":
            must = "must be true or false"
        case "invalid_key":
            comma = ", or a comma out of a number (0.001, 1000)" if isinstance(error["input"], int) else ""
            return f"{shown(error['input'])} is no key: keys are words, such as task or data; take it out{comma}"
        case "model_type" | "dict_type" | "model_attributes_type":
            must = "must be a mapping of keys to values"
        case "none_required":
            must = "must be null"
        case _:
            must = error["msg"]
    path = path_of(error["loc"])
    advice = way_out(error, allowed, searched_as=path if path in leaves() else None)
    return f"{must}, but got {shown(error['input'])}" + (f"; {advice}" if advice else "")


def number(value: float) -> str:
    """All digits of a bound: 2147483648, and not 2.14748e+09."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"


def unknown_key(path: str, value: Any, study: type[BaseModel]) -> str:
    plain = re.sub(r"\[\d+\]", "", path)
    parent, _, leaf = plain.rpartition(".")
    known = list(key_paths(study))
    siblings = [key for key in known if key.rpartition(".")[0] == parent]
    allowed = ", ".join(key.rpartition(".")[2] for key in siblings)
    name = path if re.fullmatch(r"[!-~]+", path) else ascii(path)
    line = f"{name} (with the value {shown(value)}) is not a key of a study; "
    if meant := _key_meant(plain, parent, leaf, known):
        return line + meant
    if not siblings:
        return line + "no keys are allowed there"
    return line + f"nearest: {nearest_key(parent, leaf, known)}; {f'{parent} has' if parent else 'there are'} {allowed}"


def _key_meant(path: str, parent: str, leaf: str, known: Sequence[str]) -> str | None:
    """What is plainly wrong with how a key is written, if anything is."""
    within = f"{parent}." if parent else ""
    if path in known and parent and path.count(".") == 1:  # search.trials, as one word
        section, _, inner = path.partition(".")
        return f"write it under its section, as in {section}: {{{inner}: …}}"
    word, colon, rest = leaf.partition(":")
    if colon and within + word in known:
        return f"a space is missing behind its colon, as in {word}: {rest or '…'}"
    clean = name_of(leaf)
    if clean != leaf and any(key.rpartition(".")[2] == clean for key in known):
        return f"it has spaces or characters that are not shown; write {clean} anew, behind plain spaces"
    return SAID.get(path)


def nearest_key(parent: str, leaf: str, known: Sequence[str]) -> str:
    """The path that was most likely meant by ``leaf`` under ``parent``: its name elsewhere, or one spelt like it."""
    leaf = OTHER_NAMES.get(leaf, leaf)
    names = {key: key.rpartition(".")[2] for key in known}
    siblings = {name: key for key, name in names.items() if key.rpartition(".")[0] == parent}
    small = leaf.lower().replace("-", "_")
    leaf = small if small in names.values() else leaf
    if leaf in siblings:
        return siblings[leaf]
    close = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.7)
    if close:
        return siblings[close[0]]
    same = [key for key, name in names.items() if name == leaf]
    if same:
        return min(same, key=len)
    everywhere = difflib.get_close_matches(leaf, list(names.values()), n=1, cutoff=0.75)
    if everywhere:
        return min((key for key, name in names.items() if name == everywhere[0]), key=len)
    if not siblings:
        whole = f"{parent}.{leaf}" if parent else leaf
        return difflib.get_close_matches(whole, known, n=1, cutoff=0.0)[0]
    return siblings[difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.0)[0]]


def key_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key path that a study file may hold."""
    for name, field in model.model_fields.items():
        yield prefix + name
        inner = (path for each in _models(field.annotation) for path in key_paths(each, f"{prefix}{name}."))
        yield from dict.fromkeys(inner)  # models that stand for each other may have a key in common


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def fail(where: str, key: str, line: str) -> StudyError:
    """The error at ``key`` of the file or flag ``where``; the key is not said twice."""
    said = line.startswith((key, ascii(key))) or where == f"--set {key}" or not key
    return StudyError(" ".join(f"{where}: {line}".split() if said else f"{where}: {key}: {line}".split()))
