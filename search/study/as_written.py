"""How a value is written that was meant, where a study file has something else in its place: 3600 for ``1h``, 0.001 for
``0,001``, ``tpe`` for ``TPE``. An error is pydantic's; the way out is a piece of a sentence, and empty where none is
plain."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from sweepstack.search.study.axes import KINDS

SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
BYTES = {"kb": 1e3, "kib": 1024.0, "mb": 1e6, "mib": 2.0**20, "gb": 1e9, "gib": 2.0**30, "tb": 1e12, "tib": 2.0**40}
BYTES |= {unit[0]: size for unit, size in BYTES.items() if unit[1] == "b"}
UNITS = {  # of the keys whose numbers have one: its name, and what others are of it
    "wall_time": ("seconds", SECONDS),
    "disk_gb": ("gigabytes", {unit: size / 1e9 for unit, size in BYTES.items()}),
    "size_mb": ("megabytes", {unit: size / 1e6 for unit, size in BYTES.items()}),
    "latency_ms": ("milliseconds", {"ms": 1.0, "us": 1e-3, **{unit: 1e3 * size for unit, size in SECONDS.items()}}),
}
TRUTHS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
OTHER_WORDS = {  # what other programs call a value
    **dict.fromkeys(("gpu", "cuda:0"), "cuda"),
    **dict.fromkeys(("bf16", "fp16", "float16", "half"), "bfloat16"),
    **dict.fromkeys(("fp32", "float", "full"), "float32"),
    "optuna": "tpe",
    "cma": "cmaes",
    "sobol": "qmc",
    "swish": "silu",
    "kaiming": "he",
    "glorot": "xavier",
}
NOTHING = ("", "none", "null", "nan", "nil", "~", "n/a", "na", "default")
DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-")


def unit_of(error: ErrorDetails) -> str:
    """`` of seconds`` where the key's number has a unit."""
    key = error["loc"][-1] if error["loc"] else None
    return f" of {UNITS[key][0]}" if isinstance(key, str) and key in UNITS else ""


def way_out(error: ErrorDetails, allowed: Sequence[str] = (), searched_as: str | None = None) -> str:
    """How to write it, or what else to do. ``allowed``: the words that the key takes, where it takes words;
    ``searched_as``: its path, where a space may hold it."""
    value, kind = error["input"], error["type"]
    if searched_as and ((isinstance(value, list) and len(value) > 1) or _is_interval(value)):
        return f"values to try stand under space, as in space: {{{searched_as}: …}}"
    if allowed:
        return _word(value, allowed)
    if kind == "bool_type":
        return _truth(value)
    if kind in ("float_type", "int_type", "int_from_float"):
        return _number(error, whole=kind != "float_type")
    if kind == "finite_number" or (kind in ("list_type", "tuple_type") and value is None):
        return "leave it out"
    if kind == "list_type" and isinstance(value, str | int | float) and not isinstance(value, bool):
        return f"write [{value}], in brackets"
    if kind == "string_type" and isinstance(value, list) and len(value) == 1:
        return "take the brackets away"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        if value is None:
            return "put keys under it, or leave it out"
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            return "take the dashes away"
        if isinstance(value, str) and re.match(r"\w+:\S", value):
            return f"a space is missing behind the colon of {value.split(':')[0]}"
        if error["loc"] == ("data",) and isinstance(value, str):
            return f"write data: {{train: {value}}}"
        return "put keys under it"
    return ""


def nearest_word(value: object, allowed: Sequence[str]) -> str | None:
    """The word that was most likely meant: one that differs in case, that other programs call so, that is spelt alike,
    or whose part it is."""
    if value is None or value is False:
        return next((word for word in ("none", "off") if word in allowed), None)
    if not isinstance(value, str):
        return None
    lower = {word.lower(): word for word in allowed}
    text = value.strip().lower().replace("-", "_").replace(" ", "_")
    text = OTHER_WORDS.get(text, text)
    found = lower.get(text) or lower.get(text.replace("_", ""))
    if found is None and (close := difflib.get_close_matches(text, lower, n=1, cutoff=0.6)):
        found = lower[close[0]]
    parts = [word for word in allowed if len(text) > 1 and text in word.lower().split("_")]
    return found or (parts[0] if parts else None)


def _is_interval(value: Any) -> bool:
    return isinstance(value, dict) and any(kind in value for kind in KINDS)


def _word(value: Any, allowed: Sequence[str]) -> str:
    if str(value) in allowed and not isinstance(value, bool | list):
        return f"write {value}, without quotes" if isinstance(value, str) else f'write "{value}", in quotes'
    if isinstance(value, list) and len(value) == 1 and value[0] in allowed:
        return f"write {value[0]}, without brackets"
    nearest = nearest_word(value, allowed)
    return f"did you mean {nearest}?" if nearest else ""


def _truth(value: Any) -> str:
    if isinstance(value, int | float) and value in (0, 1):
        return "write true" if value else "write false"
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in ("true", "false"):
        return f"write {text}, without quotes"
    return f"write {TRUTHS[text]}" if text in TRUTHS else "leave it out" if value is None else ""


def _number(error: ErrorDetails, *, whole: bool) -> str:
    value = error["input"]
    if value is None or (isinstance(value, float) and value != value):
        return "leave it out"
    if isinstance(value, float):
        return f"write {int(value)}" if value.is_integer() else ""
    if isinstance(value, list) and len(value) == 1 and type(value[0]) in ((int,) if whole else (int, float)):
        return f"write {value[0]}, without brackets"
    if not isinstance(value, str):
        return ""
    text = unicodedata.normalize("NFKC", value).translate(DASHES).strip().lower()
    if text in NOTHING:
        return "leave it out"
    if re.fullmatch(r"[+-]?\d+" if whole else r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", text):
        return f"write {text}, without quotes" if text == value.strip().lower() else f"write {text}, in plain digits"
    key = error["loc"][-1] if error["loc"] else None
    meant = _in_units(text, UNITS[key][1]) if isinstance(key, str) and key in UNITS else None
    meant = _worked_out(text) if meant is None else meant
    if meant is not None and (not whole or meant.is_integer()):
        return f"write {int(meant) if meant.is_integer() else f'{meant:.6g}'}"
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text):
        plain = text.replace(",", "")
        return f"write {plain}" + (
            "" if whole or text.count(",") > 1 else f", or {text.replace(',', '.')} with a point"
        )
    if not whole and re.fullmatch(r"[+-]?\d+,\d+(e[+-]?\d+)?", text):
        return f"write {text.replace(',', '.')}, with a point"
    return "write digits alone" if re.search(r"\d", text) else ""


def _in_units(text: str, units: dict[str, float]) -> float | None:
    """``1h 30min``, and ``1:30:00`` where seconds are counted."""
    if "min" in units and re.fullmatch(r"\d+:\d\d:\d\d", text):
        hours, minutes, seconds = map(int, text.split(":"))
        return float(3600 * hours + 60 * minutes + seconds) * units["s"]
    parts = re.findall(r"(\d+(?:[.,]\d+)?)\s*([a-z]+)", text)
    if (
        not parts
        or re.sub(r"[\d.,\sa-z]", "", text)
        or len("".join(map("".join, parts))) < len(re.sub(r"\s", "", text))
    ):
        return None
    if any(unit not in units for _, unit in parts):
        return None
    return sum(float(number.replace(",", ".")) * units[unit] for number, unit in parts)


def _worked_out(text: str) -> float | None:
    """``20%``, ``1/1000``, ``10^-3``, ``20k``, ``20'000``."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text):
        return round(float(found[1]) / 100, 12)
    if (found := re.fullmatch(r"(\d+)/(\d+)", text)) and int(found[2]):
        return float(found[1]) / float(found[2])
    if (found := re.fullmatch(r"(\d{1,2})(?:\^|\*\*)(-?\d{1,2})", text)) and int(found[1]):
        return float(int(found[1])) ** int(found[2])
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([km])", text):
        return float(found[1]) * {"k": 1e3, "m": 1e6}[found[2]]
    if re.fullmatch(r"\d{1,3}(['\u2019 ]\d{3})+", text):
        return float(re.sub(r"\D", "", text))
    return None
