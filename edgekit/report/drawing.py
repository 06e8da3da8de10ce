"""A drawing as inline SVG: text stays text, colours are the page's CSS variables, the same input gives the same bytes.

A drawing is 380 units wide with text of 11 units: on a phone of 360 px, whose column is 328 px, text is 9.5 px high.
Text is laid out with matplotlib's own DejaVu Sans, which is wider than the fonts that a browser then takes.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH = 380.0
FONT = 11.0
#: Every colour of a drawing is one of these CSS variables, drawn as the stand-in #0102nn and named afterwards.
VARIABLES = ("paper", "ink", "muted", "rule", "accent", "soft", "warn", "warn-soft",
             "s1", "s2", "s3", "s4", "s5", "s6", "s7")  # fmt: skip
SERIES = 7
#: Distinct in shape where colour does not help: in print, and to the colour-blind.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"


def colour(variable: str) -> str:
    """The stand-in of a CSS variable: `--s1` is drawn as #010208."""
    return f"#0102{VARIABLES.index(variable):02x}"


def series_colour(position: int) -> str:
    """The colour of the n-th of several things, from 0."""
    return colour(f"s{position % SERIES + 1}")


def draw(key: str, title: str, finding: str, height: float, paint: Callable[[Canvas], None]) -> str:
    """Let `paint` fill an empty canvas of that many units; its SVG, with `finding` as what a screen reader says.

    `key` is unique on the page, since ids in the SVG begin with it. Raises MissingExtra without matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("report", "matplotlib", "report") from None

    stream = io.BytesIO()
    with mpl.rc_context(), warnings.catch_warnings():
        # The browser has fonts for scripts that DejaVu Sans has not.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        mpl.rcdefaults()  # not the user's matplotlibrc
        mpl.rcParams.update(_style(key))
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        paint(figure)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return _inline(stream.getvalue(), key, title, finding)


def _style(key: str) -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "font.size": FONT,
        "axes.edgecolor": colour("rule"),
        "axes.facecolor": "none",
        "axes.labelcolor": colour("muted"),
        "axes.linewidth": 1.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": colour("rule"),
        "grid.linewidth": 0.8,
        "hatch.linewidth": 1.2,
        "text.color": colour("ink"),
        "xtick.color": colour("rule"),
        "xtick.labelcolor": colour("muted"),
        "ytick.color": colour("rule"),
        "ytick.labelcolor": colour("muted"),
        "lines.linewidth": 1.8,
        "patch.linewidth": 0.0,
        "path.simplify": False,
    }


def _inline(document: bytes, key: str, title: str, finding: str) -> str:
    """matplotlib's SVG document as an element for a page: no ids but those that it refers to, no style of its own."""
    root = ET.fromstring(document)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)
    used = set(re.findall(rb"#([\w-]+)", document))
    for element in root.iter():
        if _LINK in element.attrib:
            element.set("href", f"#{key}-{element.attrib.pop(_LINK)[1:]}")
        if (clip := element.get("clip-path")) is not None:
            element.set("clip-path", clip.replace("#", f"#{key}-"))
        if (name := element.attrib.pop("id", None)) is not None and name.encode() in used:
            element.set("id", f"{key}-{name}")
        painted = [f"{name}: {element.attrib.pop(name)}" for name in ("fill", "stroke") if name in element.attrib]
        if style := "; ".join(filter(None, [*painted, element.get("style")])):
            element.set("style", _named(style, key))
    for tag, text in (("desc", finding), ("title", title)):
        node = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"{key}-{tag}"})
        node.text = text
        root.insert(0, node)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {"class": "plot", "viewBox": box, "role": "img", "aria-labelledby": f"{key}-title {key}-desc"}
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def _named(style: str, key: str) -> str:
    """A style with CSS variables for the stand-ins, and the page's font for matplotlib's."""
    style = re.sub(r"#0102([0-9a-f]{2})", lambda found: f"var(--{VARIABLES[int(found[1], 16)]})", style)
    style = re.sub(r"url\(#", f"url(#{key}-", style)
    return re.sub(r"; font-family: [^;]+", "", style)


def clean(text: str) -> str:
    """A name that a drawing or a page can hold: a character that cannot be printed becomes U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def text_units(text: str) -> float:
    """How wide a text of 11 units is at most, in units, by the widths of DejaVu Sans's kinds of letters."""
    return FONT * sum(_ems(c) for c in text)


def _ems(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF" or character in "WM@%mw—…":
        return 1.02
    if character in "ijl|' .,:;I":
        return 0.33
    if character in "!-()[]frt/sczkxyvJL":
        return 0.42 if character in "!-()[]frt/" else 0.6
    return 0.79 if character in "GOQDHNU" else 0.7 if character.isupper() else 0.64


def fit(text: str, units: float) -> str:
    """The text, or, where it is too wide, its two ends with an ellipsis between: names differ at either end."""
    text = clean(text)
    if text_units(text) <= units:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head = (kept + 1) // 2
        short = f"{text[:head].rstrip()}…{text[len(text) - (kept - head) :].lstrip()}"
        if text_units(short) <= units:
            return short
    return "…"


def axes(figure: Canvas, top: float, height: float, left: float = 8.0, right: float = 8.0) -> Axes:
    """Axes at a place in units from the top left of the canvas."""
    total = float(figure.get_figheight()) * 72
    return figure.add_axes((left / WIDTH, 1 - (top + height) / total, (WIDTH - left - right) / WIDTH, height / total))


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values of 1, 2, 5 per decade, or fewer, that lie within a range of positive numbers; at least one."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(ticks) <= most and len(ticks) >= 2:
            return ticks
    if len(ticks) > most:
        return ticks[:: -(-len(ticks) // most)]
    return linear_ticks(low, high, 4)


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values within a range, at steps of 1, 2, 2.5 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    last = np.floor(high / step + 1e-9)
    return [float(round(n * step, 12)) + 0.0 for n in np.arange(first, last + 1)]  # + 0.0: no -0


def tick_text(value: float, largest: float | None = None) -> str:
    """A tick without needless digits: 0.5, 2, 1,000, 20k; in the unit of the largest one, where that is given."""
    largest = abs(value) if largest is None else largest
    scale, unit = (1e6, "M") if largest >= 1e6 else (1e3, "k") if largest >= 1e4 else (1.0, "")
    return f"{value / scale:,.10g}{unit if value else ''}".replace("-", "−")
