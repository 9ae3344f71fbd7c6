"""Formulas are drawn when the site is built, so that a page needs neither a script nor a network.

matplotlib draws a part of TeX: what our docstrings use beyond it is first put in its words.
"""

import html
import re

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)
ARGUMENT = r"(\\[a-zA-Z]+|[0-9a-zA-Z])"
SIZE = 100
FONT = FontProperties(size=SIZE, math_fontfamily="stix")

REWRITES = [
    (r"\\tfrac(?![a-zA-Z])", r"\\frac"),
    (r"\\(?:textstyle|displaystyle)", ""),
    (r"\\[bB]igg?l(?![a-zA-Z])", r"\\left"),
    (r"\\[bB]igg?r(?![a-zA-Z])", r"\\right"),
    (r"\\[bB]igg?(?![a-zA-Z])", ""),
    (r"\\ge(?![a-zA-Z])", r"\\geq"),
    (r"\\le(?![a-zA-Z])", r"\\leq"),
    (r"\\ne(?![a-zA-Z])", r"\\neq"),
    (r"\\(mathbf|mathbb|sqrt)\s*" + ARGUMENT, r"\\\1{\2}"),
    (r"\\(d?frac)\s*" + ARGUMENT, r"\\\1{\2}"),
    (r"(\\d?frac\{(?:[^{}]|\{[^{}]*\})*\})\s*" + ARGUMENT, r"\1{\2}"),
    (r"(\\sum(?:[_^](?:\{(?:[^{}]|\{[^{}]*\})*\}|\w))*)", r"\1\\,"),  # it would touch its summand
    (r"&", ""),
]

# Parts of a page in which a sign is no formula: code, addresses, and what is set already.
KEPT = re.compile(
    r"(```.*?^```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$|\]\([^)]*\)|<[^>]+>)", re.DOTALL | re.MULTILINE
)
GREEK = zip(
    ("lambda", "sigma", "beta", "rho", "delta", "kappa", "tau", "Sigma"), "λσβρδκτΣ", strict=True
)
SIGNS = [
    (r"\bI x (?=\w)", "I ⊗ "),
    (r"(?<=\w) x (?=\w)", " × "),
    (r"(?:\\?\|){2}", "‖"),
    (r"\bsqrt(?=\()", "√"),
    (r"√\((\w)\)", r"√\1"),
    (r"(?<![=<>-])(?:&gt;|>)=", "≥"),
    (r"(?<![=<>-])(?:&lt;|<)=", "≤"),
    *((rf"\b{name}(?![a-zA-Z])", sign) for name, sign in GREEK),
]
GROUP = r"\((?:[^()]|\([^()]*\))*\)"  # with one more pair in it
RAISED = re.compile(rf"\^(?:\{{([^{{}}]+)\}}|({GROUP})|([-−]?\w+))")
LOWERED = re.compile(r"((?<![A-Za-z`\\])[A-Za-zα-ωΑ-Ω]|‖)\\?_(min|max|[A-Za-z0-9]{1,2})(?![\w-])")

# A minus sign, and not the hyphen of a word or of a range; a letter that stands for a number.
MINUS = re.compile(
    r"(?<=[\s(=≥≤])-(?=[\w(√])|(?<=\b[A-Za-z])-(?=\d|[A-Za-z]\b)|(?<=\))-(?=[\w(])"
    r"|(?<=[\w)>] )-(?= [\w(<])"
)
VARIABLE = re.compile(
    r"(?<![\w.'’&\\(-])[b-zB-HJ-Z](?![\w'’-]|\.\s?[A-Z])|(?<=\()[b-zB-HJ-Z](?=[ ,^/−+<])"
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx draw formulas by `drawing`."""
    app.add_html_math_renderer("drawn", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _visit_inline(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(drawing(node.astext(), display=False))
    raise nodes.SkipNode


def _visit_block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(drawing(node.astext(), display=True))
    raise nodes.SkipNode


def drawing(tex: str, display: bool) -> str:
    """Return a formula as inline SVG in the text's colour, or its source where that fails."""
    full = tex.replace(r"\frac", r"\dfrac") if display else tex
    lines = [plain_tex(line) for line in full.split(r"\\")]
    try:
        drawn = "".join(_svg(line, tex) for line in lines if line)
    except (ValueError, RuntimeError) as error:
        log.warning("formula %r: %s", tex, str(error).splitlines()[-1])
        return f"<code>{html.escape(tex)}</code>"
    return f'<div class="formula">{drawn}</div>' if display else drawn


def typeset(text: str) -> str:
    """Return Markdown in which plain formulas are set: signs, what is raised, what is lowered.

    Examples
    --------
    >>> typeset("||W||^2 >= (log t)^(-1/2), but `x^2`, and 2 lambda_W")
    '‖W‖<sup>2</sup> ≥ (log t)<sup>−1/2</sup>, but `x^2`, and 2 λ<sub>W</sub>'
    """
    parts = KEPT.split(text)
    parts[::2] = map(_set, parts[::2])
    return "".join(parts)


def stated(text: str) -> str:
    """Return a statement in plain text with its formulas set, its variables in italics.

    Examples
    --------
    >>> stated("least-norm heads (ours) have ||W||^2 - s >= -1/(K-1)")
    'least-norm heads (ours) have ‖<i>W</i>‖<sup>2</sup> − <i>s</i> ≥ −1/(<i>K</i>−1)'
    """
    parts = KEPT.split(MINUS.sub("−", typeset(text)))
    parts[::2] = (VARIABLE.sub(r"<i>\g<0></i>", part) for part in parts[::2])
    return "".join(parts)


def _set(prose: str) -> str:
    for pattern, sign in SIGNS:
        prose = re.sub(pattern, sign, prose)
    prose = RAISED.sub(
        lambda m: f"<sup>{(m[1] or (m[2] or '')[1:-1] or m[3]).replace('-', '−')}</sup>", prose
    )
    return LOWERED.sub(r"\1<sub>\2</sub>", prose)


def plain_tex(tex: str) -> str:
    """Return a formula in matplotlib's part of TeX."""
    tex = " ".join(tex.split())
    for pattern, words in REWRITES:
        tex = re.sub(pattern, words, tex)
    return tex


def _svg(tex: str, source: str) -> str:
    """Draw one line, on the text's base line."""
    text = f"${tex}$"
    width, height, depth = text_to_path.get_text_width_height_descent(text, FONT, ismath=True)
    outline = _path_data(TextPath((0, 0), text, prop=FONT))
    return (
        f'<svg class="tex" role="img" aria-label="{html.escape(source)}" '
        f'viewBox="0 {depth - height:.1f} {width:.1f} {height:.1f}" '
        f'style="width:{width / SIZE:.3f}em;vertical-align:{-depth / SIZE:.3f}em">'
        f'<path d="{outline}"/></svg>'
    )


def _path_data(outline: Path) -> str:
    """Return a path as SVG writes it, with y pointing down."""
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    data = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        if code == Path.CLOSEPOLY:
            data.append("z")
            continue
        pairs = zip(points[::2], points[1::2], strict=True)
        data.append(letters[code] + " ".join(f"{x:.1f} {-y:.1f}" for x, y in pairs))
    return "".join(data)
