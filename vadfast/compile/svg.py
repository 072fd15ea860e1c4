"""Figures as SVG inside a page: its fonts, its colours in light and in dark, no reference to anything outside."""

import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from vadfast.evaluate.figure import ABNORMAL_FACE, BLUE, GREEN, GRID, INK, MUTED, VERMILION, look

# What is drawn in these colours takes the page's variable of that name.
_THEMED = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BLUE: "blue",
    VERMILION: "vermilion",
    GREEN: "green",
    ABNORMAL_FACE: "abnormal",
}
_REFERRED = re.compile(r"""(?:href="#|url\(#)([^")]+)""")


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Returns ``figure`` as an <svg> element.

    Args:
        figure: drawn in the colours of ``vadfast.evaluate.figure``; its pictures become data in the page.
        name: another for each figure of a page: identifiers inside begin with it.
        description: for those who cannot see it; any text.
    """
    stream = io.StringIO()
    # Text stays text, in the page's font; identifiers follow from the content, so equal runs write equal pages.
    with look(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    start, _, body = text.partition(">")
    box = re.search(r'viewBox="[^"]+"', start)
    assert box is not None  # Matplotlib always writes one
    body = body.replace("xlink:href", "href")
    for colour, variable in _THEMED.items():
        body = body.replace(colour, f"var(--{variable})")
    used = set(_REFERRED.findall(body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    return f'<svg {box[0]} role="img" aria-label="{escape(description)}">{body}'
