"""The glossary: what each word means, for the site, the report page and the terminal alike."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term of the field, with its meaning.

    Attributes
    ----------
    name
        The term, with its symbol where it has one.
    meaning
        In one to three sentences.
    words
        The words that the report page marks; none where they would mark every line.
    """

    name: str
    meaning: str
    words: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Return its anchor on a page.

        Examples
        --------
        >>> Term("class mean (μ_k)", "...").anchor
        'term-class-mean'
        """
        return "term-" + "-".join(re.findall(r"[a-z0-9]+", self.name.partition(" (")[0].lower()))


GLOSSARY = (
    Term(
        "between-class scatter (Σ_B)",
        "Covariance of the class means about their mean; every class counts the same unless a "
        "name says otherwise.",
        ("Σ_B",),
    ),
    Term(
        "CDNV",
        "Class-distance normalised variance (Galanti et al. 2022): the mean variance of two "
        "classes over the squared distance of their means, averaged over pairs. 0 at "
        "collapse.",
        ("CDNV",),
    ),
    Term(
        "certificate",
        "A bound on the error on new data that holds at a stated confidence, from held-out "
        "samples that chose nothing.",
        ("certificate", "certified"),
    ),
    Term(
        "chance",
        "The value of a metric for features or a head that know nothing about the classes, at "
        "these class sizes and dimensions.",
        ("chance",),
    ),
    Term(
        "class mean (μ_k)",
        "Mean of the features of a class; centred: less the mean of all class means.",
        ("class means", "class mean"),
    ),
    Term(
        "feature",
        "What enters the last linear layer, one row per sample.",
    ),
    Term(
        "grade",
        "“collapsed”, “on the way” or “no better than chance”: where a value lies between "
        "chance and target. A rule of thumb of this library.",
        ("grades", "grade", "collapsed"),
    ),
    Term(
        "head (W, b)",
        "The last linear layer: one row per class, and a bias.",
        ("head",),
    ),
    Term(
        "layer-peeled model",
        "Head and features as free variables under the loss, all earlier layers left out. "
        "Also: unconstrained features model.",
        ("layer-peeled model",),
    ),
    Term(
        "margin",
        "Logit of the right class less the largest of the others. Positive: the sample is "
        "classified correctly. The minimum margin is the least over all training samples.",
        ("margins", "margin"),
    ),
    Term(
        "minority collapse",
        "Classes with few samples whose means and rows of the head become one direction (Fang "
        "et al. 2021).",
        ("minority collapse",),
    ),
    Term(
        "misclassified",
        "Given to another class, or to none: a tie of the largest logits counts as wrong.",
        ("misclassified",),
    ),
    Term(
        "NC1, variability collapse",
        "Features of a class shrink to their mean, relative to the distance between the means.",
        ("NC1",),
    ),
    Term(
        "NC2, simplex",
        "Centred class means have equal lengths and equal angles: they form a simplex ETF.",
        ("NC2",),
    ),
    Term(
        "NC3, self-duality",
        "Rows of the head point along the centred class means.",
        ("NC3", "self-duality"),
    ),
    Term(
        "NC4, nearest class mean",
        "The head decides as the nearest class mean does.",
        ("NC4", "nearest class mean"),
    ),
    Term(
        "near-features model",
        "Features that pay for their distance from those of the layer before (Tirer et al. 2023).",
        ("near-features model",),
    ),
    Term(
        "NRC1 to NRC3",
        "Collapse of a regression: features in few directions, in those of the head, and a "
        "head that follows the targets' covariance.",
        ("NRC1", "NRC2", "NRC3"),
    ),
    Term(
        "simplex ETF",
        "K unit vectors whose pairwise cosines are all −1/(K − 1), as far apart as K vectors can "
        "be; it needs K − 1 dimensions.",
        ("simplex ETF",),
    ),
    Term(
        "softmax code",
        "Unit rows of large one-vs-rest margin, for more classes than dimensions + 1 (Jiang "
        "et al. 2023).",
        ("softmax code",),
    ),
    Term(
        "target",
        "The best value that a metric can have at these class sizes: 0 for distances and "
        "spreads, 1 for shares, the predicted shape for unequal classes.",
        ("target",),
    ),
    Term(
        "temperature",
        "A number that divides all logits: it changes confidences, but no decision.",
        ("temperature",),
    ),
    Term(
        "terminal phase",
        "Training after the last training error has vanished.",
        ("terminal phase",),
    ),
    Term(
        "within-class scatter (Σ_W)",
        "Covariance of the features about their class means; its trace is the within-class "
        "variability.",
        ("Σ_W", "within-class variability"),
    ),
)


def looked_up(words: str) -> list[Term]:
    """Return the terms whose name or words contain the query, ignoring case.

    Examples
    --------
    >>> [term.name for term in looked_up("simplex")]
    ['NC2, simplex', 'simplex ETF']
    """
    asked = words.casefold()
    return [t for t in GLOSSARY if any(asked in w.casefold() for w in (t.name, *t.words))]
