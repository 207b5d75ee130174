"""One measured number beside its target and the limit of the machine that it was measured on."""

from dataclasses import dataclass, field

import msgspec
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """``limit`` is the machine's own number of the same unit, measured in the same run; only their ratio travels."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False
    limit: float | None = None
    note: str = ""
    more: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def show(figures: list[Figure], *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(figures).decode())  # noqa: T201 - this is the terminal
        return
    table = Table(box=None, pad_edge=False)
    for column in ("figure", "measured", "target", "machine's limit", "ratio", "note"):
        table.add_column(column, justify="left" if column in {"figure", "note"} else "right")
    for figure in figures:
        table.add_row(*_cells(figure), style="red" if figure.met is False else "")
    Console(width=150).print(table)


def _cells(figure: Figure) -> tuple[str, ...]:
    sign = "≤" if figure.at_most else "≥"
    return (
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        "" if figure.target is None else f"{sign} {_number(figure.target)}",
        "" if figure.limit is None else _number(figure.limit),
        "" if not figure.limit else f"{figure.value / figure.limit:.2f}",
        figure.note,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
