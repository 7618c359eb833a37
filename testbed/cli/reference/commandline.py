"""The page about the command line, from the command line itself: typer's functions, their annotations and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from testbed.cli.reference import pages

_WORDS: dict[type, str] = {int: "NUMBER", float: "NUMBER", Path: "PATH"}


def command_line(app: typer.Typer) -> str:
    """Every verb with its arguments and options."""
    parts = [
        "Results go to stdout, everything else to stderr. Options that several verbs have mean the same. Every "
        "verb has `--help`; `testbed --version` shows the versions of testbed, Python, torch and transformers. [Exit "
        "statuses](exit-status.md)."
    ]
    for verb in verbs(app):
        parts += [f"## {verb.name}", inspect.cleandoc(verb.call.__doc__ or ""), f"```\n{verb.usage}\n```"]
        if verb.parameters:
            parts.append(pages.table(["", "default", "what it is"], (one.row for one in verb.parameters)))
    return pages.page("Command line", *parts)


@dataclass(frozen=True)
class Parameter:
    """An argument or an option of a verb, from the annotation of the function that runs it."""

    name: str
    annotation: Any
    info: typer.models.ParameterInfo
    default: Any

    @property
    def argument(self) -> str | None:
        """As a usage line has it; None for an option."""
        if not isinstance(self.info, typer.models.ArgumentInfo):
            return None
        text = str(self.info.metavar or self.name.upper()) + ("..." if list in _types(self.annotation) else "")
        return text if self.default is inspect.Parameter.empty else f"[{text}]"

    @property
    def help(self) -> str:
        return str(self.info.help or "")

    @property
    def row(self) -> tuple[str, str, str]:
        if self.argument is not None:
            named = f"`{self.argument}`"
        else:
            named = ", ".join(f"`{one}`" for one in self._flags())
            if bool not in _types(self.annotation):
                named += f" `{self._takes()}`"
        default = getattr(self.default, "value", self.default)
        if default is inspect.Parameter.empty:
            return named, "required", self.help
        return named, "" if default in (None, False, "") else f"`{default}`", self.help

    def _flags(self) -> tuple[str, ...]:
        """In an annotation the first one stands where typer has the default."""
        first = (self.info.default,) if isinstance(self.info.default, str) else ()
        return (*first, *(self.info.param_decls or ())) or (f"--{self.name.replace('_', '-')}",)

    def _takes(self) -> str:
        if self.info.metavar:
            return self.info.metavar
        kinds = _types(self.annotation)
        for kind in kinds:
            if issubclass(kind, Enum):
                return "|".join(str(one.value) for one in kind)
        return next((word for kind, word in _WORDS.items() if kind in kinds), "TEXT")


@dataclass(frozen=True)
class Verb:
    name: str
    call: Callable[..., Any]

    @property
    def parameters(self) -> list[Parameter]:
        hints = get_type_hints(self.call, include_extras=True)
        found = []
        for name, parameter in inspect.signature(self.call).parameters.items():
            inner, *notes = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
            info = next((one for one in notes if isinstance(one, typer.models.ParameterInfo)), None)
            if info is None:  # typer makes an argument of what has no default
                required = parameter.default is inspect.Parameter.empty
                info = typer.models.ArgumentInfo() if required else typer.models.OptionInfo()
            if not info.hidden:
                found.append(Parameter(name, inner, info, parameter.default))
        return found

    @property
    def usage(self) -> str:
        arguments = [one.argument for one in self.parameters if one.argument]
        options = ["[OPTIONS]"] if len(arguments) < len(self.parameters) else []
        return " ".join([self.name, *options, *arguments])


def verbs(app: typer.Typer) -> list[Verb]:
    """Every verb, groups after the verbs beside them, in the order of `--help`."""
    return list(_verbs(app, "testbed"))


def _verbs(app: typer.Typer, before: str) -> Iterator[Verb]:
    for command in app.registered_commands:
        assert command.callback is not None
        if not command.hidden:
            yield Verb(f"{before} {command.name or command.callback.__name__.replace('_', '-')}", command.callback)
    for group in app.registered_groups:
        if not group.hidden and group.typer_instance is not None:
            yield from _verbs(group.typer_instance, f"{before} {group.name}")


def _types(annotation: Any) -> list[type]:
    """The classes in an annotation: of a union, of a list."""
    origin = get_origin(annotation)
    inner = [found for one in get_args(annotation) for found in _types(one)]
    if isinstance(origin, type) and origin not in (Union, UnionType):
        inner.append(origin)
    return [*inner, annotation] if isinstance(annotation, type) and origin is None else inner
