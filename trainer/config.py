"""From gin files to checked Python values.

gin itself accepts any type, and reports a typo by listing the bindings it
knows. Here every value that gin passes on is held against the annotation of its
parameter, a misspelt name gets a suggestion, and every failure is a ConfigError
that says the name, the value, the rule and the fix.
"""

import collections.abc
import dataclasses
import difflib
import functools
import inspect
import io
import logging
import math
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typeguard

import gin
from input import gcs
from trainer import errors

_REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_REGISTERED: dict[str, Callable[..., Any]] = {}


def register(function: Callable[..., Any], name: str, module: str) -> None:
    """Makes a function or class configurable under `module.name`, checked.

    Does nothing where it is already.
    """
    if _REGISTERED.get(name) is function:
        return
    _REGISTERED[name] = function
    gin.external_configurable(_checked(function, name), name, module=module)


def registered(name: str) -> Callable[..., Any] | None:
    """Returns what a name in gin files stands for, unchecked; None: nothing."""
    return _REGISTERED.get(name)


def _checked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Returns `function` with its arguments held against its annotations."""
    signature = inspect.signature(function)
    hints = typing.get_type_hints(
        function.__init__ if inspect.isclass(function) else function
    )

    @functools.wraps(function, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise errors.ConfigError(_binding_message(name, error)) from error
        for parameter, value in bound.arguments.items():
            if parameter in hints:
                _check_type(f"{name}.{parameter}", value, hints[parameter])
        try:
            return function(*args, **kwargs)
        except errors.ConfigError:
            raise
        except ValueError as error:
            if type(error) is not ValueError:  # DataError keeps its own code.
                raise
            raise errors.ConfigError(f"{name}: {error}") from error

    # gin reads the parameters from the signature it finds by unwrapping.
    return call


def _binding_message(name: str, error: TypeError) -> str:
    missing = re.search(
        r"missing a required (?:\S+ )?argument: '(\w+)'", str(error)
    )
    if not missing:
        return f"{name}: {error}."
    parameter = missing.group(1)
    return (
        f"{name}.{parameter} has no value and no default. Add a line "
        f"`{name}.{parameter} = ...` to the gin file, or pass "
        f"--gin_param='{name}.{parameter}=...'."
    )


def _check_type(name: str, value: Any, annotation: Any) -> None:
    if typing.get_origin(annotation) is collections.abc.Callable:
        # The signature of what gin wraps cannot be compared; that it can be
        # called is the useful part.
        annotation = Callable
        _check_is_made(name, value)
    is_list = typing.get_origin(annotation) is collections.abc.Sequence
    listed = isinstance(value, list | tuple)
    if is_list and listed:
        (element,) = typing.get_args(annotation)
        if typing.get_origin(element) is collections.abc.Callable:
            for each in value:
                _check_is_made(name, each)
    if isinstance(value, float) and not math.isfinite(value):
        raise errors.ConfigError(f"{name}={value!r} must be finite.")
    wrong_bool = isinstance(value, bool) and annotation in (int, float)
    try:
        if wrong_bool:
            raise typeguard.TypeCheckError("is a bool")
        if is_list and isinstance(value, str):
            raise typeguard.TypeCheckError("is a sequence of letters")
        typeguard.check_type(value, annotation)
    except typeguard.TypeCheckError:
        hint = ""
        if is_list and not listed:
            hint = " Put it in brackets: [...]."
        elif inspect.isfunction(value) or inspect.isclass(value):
            _check_is_made(name, value)
        elif not isinstance(value, str) and annotation is str:
            hint = " Put it in quotes."
        raise errors.ConfigError(
            f"{name}={value!r} is {_describe(type(value))}; it must be "
            f"{_describe(annotation)}.{hint}"
        ) from None


def _check_is_made(name: str, value: Any) -> None:
    """A factory where what it makes is wanted lacks its parentheses."""
    made_later = name.endswith(".model")
    if not made_later and inspect.unwrap(value) in _REGISTERED.values():
        raise errors.ConfigError(
            f"{name} is the maker, not what it makes. Write "
            f"`{name} = @{value.__name__}()`, with the parentheses."
        )


def _describe(annotation: Any) -> str:
    """Returns a type as a person would say it."""
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(annotation)))
    arguments = typing.get_args(annotation)
    if type(None) in arguments:
        rest = [a for a in arguments if a is not type(None)]
        return " or ".join([*map(_describe, rest), "None"])
    if inspect.isclass(annotation):
        article = "an" if annotation.__name__[0] in "aeiouAEIOU" else "a"
        return f"{article} {annotation.__name__}"
    return (
        str(annotation).replace("typing.", "").replace("collections.abc.", "")
    )


def parse(gin_files: Sequence[str], gin_params: Sequence[str]) -> None:
    """Reads gin files and overrides; replaces any earlier configuration.

    Args:
        gin_files: Paths, relative to the current folder or to the repository;
            `include` statements inside them are resolved in the same way.
        gin_params: Bindings such as ``"train.seed=1"``, applied last.

    Raises:
        errors.ConfigError: A file is missing, a line cannot be read, or a name
            is unknown.
    """
    gin.clear_config()
    gin.add_config_file_search_path(_REPO)
    gin.config.register_file_reader(_open_remote, _is_remote_file)
    paths = [_find_file(path) for path in gin_files]
    # gin logs "Path not found" for each folder but the right one.
    logging.disable(logging.ERROR)
    try:
        gin.parse_config_files_and_bindings(paths, None, finalize_config=False)
        _check_macros(gin_params)
        gin.parse_config(list(gin_params))
        gin.finalize()
    except errors.ConfigError:
        raise
    except Exception as error:
        raise errors.ConfigError(_parse_message(error)) from error
    finally:
        logging.disable(logging.NOTSET)


def _check_macros(gin_params: Sequence[str]) -> None:
    """A macro that no recipe has would be set, and then silently unused."""
    known = [
        scope
        for scope, selector in gin.config._CONFIG
        if selector == "gin.macro"
    ]
    for param in gin_params:
        name = re.match(r"\s*(\w+)\s*=", param)
        if name and name.group(1) not in known:
            raise errors.ConfigError(
                _suggest(
                    f"--gin_param={param!r}: no macro {name.group(1)!r} in "
                    "the gin files",
                    name.group(1),
                    known,
                )
            )


def _find_file(path: str) -> str:
    """Returns the path in full; gin takes a/b.gin for a file in a package."""
    if gcs.is_remote(path):
        if _is_remote_file(path):
            return path
        raise errors.ConfigError(f"--gin_file={path}: no such object.")
    for folder in (os.getcwd(), _REPO):
        found = os.path.join(folder, path)
        if os.path.isfile(found):
            return found
    recipes = sorted(
        os.path.join("gin", file)
        for file in os.listdir(os.path.join(_REPO, "gin"))
        if file.endswith(".gin")
    )
    close = difflib.get_close_matches(path, recipes, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise errors.ConfigError(
        f"--gin_file={path}: no such file in {os.getcwd()} or {_REPO}.{hint} "
        f"Recipes here: {', '.join(recipes)}."
    )


def _is_remote_file(path: str) -> bool:
    try:
        return gcs.is_remote(path) and gcs.exists(path)
    except gcs.StorageError as error:
        raise errors.ConfigError(f"--gin_file: {error}") from error


def _open_remote(path: str) -> io.StringIO:
    return io.StringIO(gcs.read(path).content.decode())


def _parse_message(error: Exception) -> str:
    """Returns gin's message, shortened and with a suggestion for a typo."""
    text = " ".join(str(error).split())
    where = re.search(r"In (?:file|bindings string).*$", text)
    place = f" {where.group(0)}." if where else ""
    name = re.search(r"No configurable matching (?:reference )?'@?(.+?)'", text)
    if name:
        problem = f"{name.group(1)!r} is not a name that can be configured"
        last = name.group(1).split(".")[-1]
        return _suggest(problem, last, list(_REGISTERED)) + place
    parameter = re.search(
        r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", text
    )
    if parameter:
        owner, name_ = parameter.group(1).split(".")[-1], parameter.group(2)
        problem = f"{owner}.{name_} does not exist"
        known = list(inspect.signature(_REGISTERED[owner]).parameters)
        return _suggest(problem, name_, known) + place
    macro = re.search(r"No bindings specified for '(\w+)/gin.macro'", text)
    if macro:
        return (
            f"%{macro.group(1)} is used but has no value. Add a line "
            f"`{macro.group(1)} = ...` at the top of the gin file, or pass "
            f"--gin_param='{macro.group(1)}=...'."
        )
    return f"gin: {text}"


def _suggest(problem: str, name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{problem}.{hint} Known here: {', '.join(sorted(known))}."


def call(name: str) -> Any:
    """Calls a configurable with what the gin files bind to it.

    Raises:
        errors.ConfigError: A value is missing, or of the wrong type or range.
    """
    return gin.get_configurable(name)()


def operative_config() -> str:
    """Returns the bindings that were used, one line each, re-parsable."""
    text = gin.operative_config_str(max_line_length=100_000)
    # gin underlines its headings over the whole length of a line.
    return re.sub(r"^# ={80,}$", "# " + "=" * 78, text, flags=re.MULTILINE)


def all_bindings() -> str:
    """Returns all bindings in force, whether used yet or not."""
    return gin.config_str(max_line_length=100_000)


def settings(config_text: str) -> dict[str, str]:
    """Reads ``name = value`` lines, as `operative_config` writes them."""
    pairs = (
        line.split(" = ", 1)
        for line in config_text.splitlines()
        if " = " in line and not line.startswith("#")
    )
    return {name.strip(): value.strip() for name, value in pairs}


@dataclasses.dataclass(frozen=True)
class Difference:
    """One binding whose value is not what it was."""

    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        old, new = self.old or "default", self.new or "default"
        return f"{self.name}: {old} -> {new}"


def differences(
    old: Mapping[str, str], new: Mapping[str, str]
) -> list[Difference]:
    """Returns the settings that differ, in order of name."""
    return [
        Difference(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
