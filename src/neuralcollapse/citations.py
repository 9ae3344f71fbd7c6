"""cite: the papers behind what was used, as BibTeX."""

from __future__ import annotations

from importlib.resources import files

from neuralcollapse.errors import NeuralCollapseError

# Key -> entry. Keys are those of presets and studies.
PAPERS = {
    entry.partition("{")[2].partition(",")[0]: entry
    for entry in (files("neuralcollapse") / "papers.bib").read_text("utf-8").strip().split("\n\n")
}

# Name here -> papers behind it, for scores and models. Metrics name theirs in the catalogue.
USES: dict[str, tuple[str, ...]] = {
    "separation_fuzziness": ("he2023",),
    "separation_law": ("he2023",),
    "minority_collapse": ("fang2021",),
    "sel": ("thrampoulidis2022",),
    "central_path": ("han2022",),
    "layer_peeled": ("fang2021", "ji2022"),
    "near_features": ("tirer2023",),
    "neco": ("ammar2024",),
    "nci": ("liu2025",),
    "vim": ("wang2022",),
    "mahalanobis": ("lee2018",),
    "msp": ("hendrycks2017",),
    "energy": ("liu2020",),
    "aurc": ("geifman2019",),
}

MAIN = ("ji2022", "tirer2023", "gao2023", "papyan2020")


def cite(*names: str) -> str:
    r"""Return the BibTeX entries of the papers behind what was used.

    Parameters
    ----------
    names
        Papers (the names of presets and studies, such as ``"papyan2020"``), or what was used, by
        its name in this library: a metric (``"cdnv"``; ``cite(*report)`` for all of a report), a
        score (``"neco"``) or a model (``"layer_peeled"``).
        If omitted, the three papers that this library is about, and the one that discovered
        neural collapse.

    Returns
    -------
    str
        One entry a paper, each once.

    Raises
    ------
    NeuralCollapseError
        If a name is unknown.

    Examples
    --------
    >>> from neuralcollapse import cite
    >>> print(cite("cdnv"))
    @inproceedings{galanti2022,
      author = {Galanti, Tomer and Gy{\"o}rgy, Andr{\'a}s and Hutter, Marcus},
      title = {On the Role of Neural Collapse in Transfer Learning},
      booktitle = {International Conference on Learning Representations},
      year = {2022},
      eprint = {2112.15121},
      archiveprefix = {arXiv},
    }
    """
    keys = dict.fromkeys(key for name in names or MAIN for key in _keys(name))
    return "\n\n".join(PAPERS.get(key, key) for key in keys)  # or one that a metric brings


def _keys(name: str) -> tuple[str, ...]:
    if name in PAPERS:
        return (name,)
    from neuralcollapse.metrics.catalogue import CATALOGUE  # needs torch; a paper alone does not

    metric = CATALOGUE.get(name.removeprefix("test_"))
    if metric is not None:
        return metric.cites
    if name not in USES:
        expected = (
            f"papers ({', '.join(PAPERS)}) or what was used ({', '.join([*CATALOGUE, *USES])})"
        )
        raise NeuralCollapseError("names", expected, repr(name), "call cite() for the main papers")
    return USES[name]
