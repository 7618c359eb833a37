"""The mechanism of `testbed THINGS list` and `testbed THINGS show NAME`, the same for every kind of thing with names.

A `Shelf` says what there is and what is known of each; this makes the verbs, tables and JSON of it. The shelves are in
`testbed.cli.shelves`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

import typer

from testbed.cli.options import Json
from testbed.cli.output import pairs, print_json, show, table

if TYPE_CHECKING:
    from testbed.files.refusals import Refusals

Thing = TypeVar("Thing")


class Shelf(ABC, Generic[Thing]):
    """Things of one kind that have names. Whatever is imported for them is imported in its methods."""

    group: ClassVar[str]  # the word on the command line
    key: ClassVar[str]  # what JSON calls the list
    help: ClassVar[str]  # of the group
    lists: ClassVar[str]  # what `list` does
    shows: ClassVar[str]  # what `show` does
    argument: ClassVar[str]  # help of NAME
    metavar: ClassVar[str] = "NAME"

    @abstractmethod
    def names(self) -> Iterable[str]:
        """Of everything, in the order of the list."""

    @abstractmethod
    def find(self, name: str) -> Thing:
        """By name, or as the argument may say it otherwise. Raises BadInput."""

    @abstractmethod
    def row(self, thing: Thing) -> dict[str, Any]:
        """One line of the list: plain data under the headings of the table."""

    def cells(self, thing: Thing) -> dict[str, Any]:
        """The same for people, where they need less."""
        return self.row(thing)

    def about(self, thing: Thing) -> dict[str, Any]:
        """Everything that is known, as plain data."""
        return self.row(thing)

    def show(self, thing: Thing) -> None:
        """The same for people."""
        show(pairs("", self.about(thing)))


def add(app: typer.Typer, shelf: Shelf[Any], shows: Callable[..., None] | None = None) -> typer.Typer:
    """The group of a shelf, in which further verbs may be put. `shows`: its verb `show`, if not the usual one."""
    group = typer.Typer(help=shelf.help, no_args_is_help=True)

    def list_all(as_json: Json = False) -> None:
        found, refusals = _all(shelf)
        if as_json:
            print_json({shelf.key: [shelf.row(one) for one in found]})
        elif found:
            show(table("", [shelf.cells(one) for one in found]))
        else:
            print(f"no {shelf.key}")
        refusals.settle()

    def show_one(name: str, as_json: Json = False) -> None:
        thing = shelf.find(name)
        if as_json:
            print_json(shelf.about(thing))
        else:
            shelf.show(thing)

    def names(incomplete: str) -> list[str]:
        return [name for name in shelf.names() if name.startswith(incomplete)]

    list_all.__doc__, show_one.__doc__ = shelf.lists, shelf.shows
    argument = typer.Argument(metavar=shelf.metavar, help=shelf.argument, autocompletion=names)
    show_one.__annotations__["name"] = Annotated[str, argument]
    group.command("list")(list_all)
    group.command("show")(show_one if shows is None else shows)
    app.add_typer(group, name=shelf.group)
    return group


def _all(shelf: Shelf[Thing]) -> tuple[list[Thing], Refusals]:
    """What can be read, and why the others cannot: one bad file in a folder hides none of its neighbours."""
    from testbed.files.refusals import Refusals

    found, refusals = [], Refusals(shelf.key)
    for name in shelf.names():
        with refusals.one():
            found.append(shelf.find(name))
    return found, refusals
