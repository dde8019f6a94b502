"""Commands of the command line that refuse an option that is given twice."""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperOption

Command = TypeVar("Command", bound=Callable[..., Any])


class StrictCommand(TyperCommand):
    """A command whose options are given at most once: else the last value would count, and the others be ignored.

    Options that take several values may be repeated.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments. Raises typer.BadParameter for an option that is given twice."""
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        options = [p.opts[0] for p in given if isinstance(p, TyperOption) and not p.multiple]
        for option in dict.fromkeys(options):
            if options.count(option) > 1:
                message = f"expected {option} once; got it {options.count(option)} times; keep one"
                raise typer.BadParameter(message, ctx)
        return super().parse_args(ctx, args)


class StrictTyper(typer.Typer):
    """An application whose commands are strict."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Command], Command]:
        """Register a function as a strict command, as `typer.Typer.command` does."""
        register: Callable[[Command], Command] = super().command(name, cls=StrictCommand, **options)
        return register
