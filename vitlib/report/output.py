"""What a cell of a page shows: tables, figures and source code, each with its numbers as CSV.

pytest's nbval compares the CSV, and the page offers it for download. Figures share one look: colours that colour-blind
readers can tell apart (Okabe and Ito, 2008), vector graphics, no wider than a phone's screen allows.
"""

import ast
import csv
import inspect
import json
import re
import textwrap
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import HTML, Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from myst_nb import glue
from PIL import Image

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
WIDTH = 5.6  # inches: letters of 10 points stay readable where a phone shows the figure 330 pixels wide

Row = Sequence[Any]


def style() -> None:
    """Set the look of a notebook's figures: SVG without a date, so that they compare as text, and each with its CSV.

    Neither a matplotlibrc nor the variable MPLBACKEND, which change a reader's own figures, changes these.
    """
    shell: Any = InteractiveShell.instance()
    shell.enable_matplotlib("inline")
    plt.rcdefaults()
    set_matplotlib_formats("svg", metadata={"Date": None})
    formatter = shell.display_formatter
    formatter.mimebundle_formatter.for_type(
        Figure, lambda figure, **_: {"text/csv": figure.csv} if hasattr(figure, "csv") else {}
    )
    plt.rcParams.update(
        {
            "svg.hashsalt": "vitlib",
            "figure.figsize": (WIDTH, 3.2),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.7,
            "lines.linewidth": 2,
            "legend.frameon": False,
            "image.cmap": "gray_r",
        }
    )


def name_rows(ax: Axes, names: Iterable[str]) -> None:
    """Label the rows of a horizontal plot, the last at height 0."""
    names = list(names)
    ax.set_yticks(range(len(names)), names[::-1])
    ax.grid(axis="y", visible=False)


def legend_above(ax: Axes) -> None:
    """Put the legend above the axes, in two columns."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


class Output:
    """A cell's output: `content` of one MIME type, and its numbers as CSV."""

    def __init__(self, mime_type: str, content: str, csv: str, **metadata: int) -> None:
        self.forms, self.metadata = {mime_type: content, "text/csv": csv}, {mime_type: metadata}

    def __repr__(self) -> str:
        return f"Output({', '.join(self.forms)})"  # without an address, which differs from run to run

    def _repr_mimebundle_(self, **_: object) -> tuple[Mapping[str, str], Mapping[str, Any]]:
        return self.forms, self.metadata


def to_csv(head: Sequence[str], rows: Iterable[Row]) -> str:
    """Return rows as CSV: numbers with up to six digits and no thousands separators, text without markup."""

    def plain(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
        return re.sub(r"\{doc\}|\*\*|[`$]|\\(?=[_*|])", "", str(value))

    written = StringIO()
    csv.writer(written, lineterminator="\n").writerows([plain(value) for value in row] for row in [head, *rows])
    return written.getvalue()


def attach_csv(figure: Any, head: Sequence[str], rows: Iterable[Row]) -> None:  # noqa: ANN401, Matplotlib's has no csv
    """Give a figure its numbers: `style` makes a notebook show them with it."""
    figure.csv = to_csv(head, rows)


def table(head: Sequence[str], rows: Iterable[Row], left: int = 1) -> Output:
    """Return a Markdown table: the first `left` columns aligned left, the others right, integers with separators."""
    rows = list(rows)
    cells = [[f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in rows]
    rule = "|" + "|".join(":---" if i < left else "---:" for i in range(len(head))) + "|"
    first, *body = ["| " + " | ".join(row) + " |" for row in [head, *cells]]
    return Output("text/markdown", "\n".join([first, rule, *body]), to_csv(head, rows))


def file(name: str) -> str:
    """Return the text of a file of this package."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def page_part(name: str, inputs: Mapping[str, Any], **parts: str) -> HTML:
    """Return an HTML file of this package with `inputs` as JSON in place of ``__DATA__``, and each part of its name."""
    markup = file(f"{name}.html")
    data = json.dumps(inputs, sort_keys=True, ensure_ascii=False).replace("</", "<\\/")
    for place, content in {"DATA": data, **parts}.items():
        markup = markup.replace(f"__{place}__", content)
    return HTML(markup)


def source(code: Callable[..., Any], *methods: str) -> Markdown:
    """Return a function's code, or the first line of a class and some of its methods, without docstrings."""
    lines = _without_docstring(code)
    if methods:
        lines = [lines[0]]
        for name in methods:
            lines += [f"    {line}".rstrip() for line in [*_without_docstring(getattr(code, name)), ""]]
        lines.pop()
    return Markdown("\n".join(["```python", *lines, "```"]))


def _without_docstring(code: Callable[..., Any]) -> list[str]:
    lines = textwrap.dedent(inspect.getsource(code)).splitlines()
    parsed: Any = ast.parse("\n".join(lines)).body[0]
    if ast.get_docstring(parsed):
        del lines[parsed.body[0].lineno - 1 : parsed.body[0].end_lineno]
    return lines


def quote(**numbers: float) -> None:
    """Glue numbers under their names, so that the sentences of any page can quote them; call it once a page.

    Raises:
        TypeError: a value is not a Python int or float.
    """
    for name, number in numbers.items():
        if type(number) not in (int, float):  # words belong in the page, and NumPy's numbers glue as their repr
            raise TypeError(f"{name} is {number!r}, but must be an int or a float.")
        glue(name, number, display=False)


def png(figure: Any) -> Output:  # noqa: ANN401
    """Return a figure made of images as a PNG at twice its size, in 64 colours, and close it; SVG would be larger."""
    drawn, content = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=160, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(64).save(content, format="png", optimize=True)
    width = round(figure.get_figwidth() * 96)
    plt.close(figure)
    return Output("image/png", b64encode(content.getvalue()).decode(), figure.csv, width=width)


def interactive_scatter(ax: Axes, marks: Iterable[tuple[float, float, str]], alt: str) -> Output:
    """Return the figure of `ax` with a description for each point, and close it.

    The page shows a point's description when a reader hovers over it, taps it or selects it by keyboard.

    Args:
        ax: axes with the points drawn, whose figure has its CSV.
        marks: for each point its x and y in the units of the axes, and its description, in the arrow keys' order.
        alt: the alternative text of the figure.
    """
    figure: Any = ax.figure
    content = BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    spots = []
    for x, y, description in marks:
        across, up = figure.transFigure.inverted().transform(ax.transData.transform((x, y)))
        place = f"left: {100 * across:.2f}%; top: {100 * (1 - up):.2f}%"
        spots.append(f'<span style="{place}" data-detail="{escape(description)}"></span>')
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    plt.close(figure)
    hint = "Hover over a dot, tap it, or use the arrow keys to see its values."
    html = (
        f'<div class="closer points" data-hint="{hint}">\n<img width="{width}" height="{height}" alt="{escape(alt)}"'
        f' src="data:image/svg+xml;base64,{b64encode(content.getvalue()).decode()}">\n' + "\n".join(spots) + "\n</div>"
    )
    return Output("text/html", html, figure.csv)
