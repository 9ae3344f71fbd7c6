"""cite: the papers behind what was used, as BibTeX."""

from __future__ import annotations

from neuralcollapse.errors import NeuralCollapseError

_PNAS = "Proceedings of the National Academy of Sciences"
_ICLR = "International Conference on Learning Representations"
_ICML = "Proceedings of the 40th International Conference on Machine Learning"
_CVPR = "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition"
_NEURIPS = "Advances in Neural Information Processing Systems"

# Key -> kind, then fields in the order they are printed. Keys are those of presets and studies.
PAPERS: dict[str, tuple[str, dict[str, str]]] = {
    "ji2022": (
        "inproceedings",
        {
            "author": "Ji, Wenlong and Lu, Yiping and Zhang, Yiliang and Deng, Zhun and "
            "Su, Weijie J.",
            "title": "An Unconstrained Layer-Peeled Perspective on Neural Collapse",
            "booktitle": _ICLR,
            "year": "2022",
            "eprint": "2110.02796",
        },
    ),
    "tirer2023": (
        "inproceedings",
        {
            "author": "Tirer, Tom and Huang, Haoxiang and Niles-Weed, Jonathan",
            "title": "Perturbation Analysis of Neural Collapse",
            "booktitle": _ICML,
            "series": "Proceedings of Machine Learning Research",
            "volume": "202",
            "pages": "34301--34329",
            "year": "2023",
            "eprint": "2210.16658",
        },
    ),
    "gao2023": (
        "misc",
        {
            "author": "Gao, Peifeng and Xu, Qianqian and Yang, Yibo and Wen, Peisong and "
            "Shao, Huiyang and Yang, Zhiyong and Ghanem, Bernard and Huang, Qingming",
            "title": "Towards Demystifying the Generalization Behaviors When Neural Collapse "
            "Emerges",
            "year": "2023",
            "eprint": "2310.08358",
        },
    ),
    "papyan2020": (
        "article",
        {
            "author": "Papyan, Vardan and Han, X. Y. and Donoho, David L.",
            "title": "Prevalence of neural collapse during the terminal phase of deep learning "
            "training",
            "journal": _PNAS,
            "volume": "117",
            "number": "40",
            "pages": "24652--24663",
            "year": "2020",
            "doi": "10.1073/pnas.2015509117",
        },
    ),
    "zhu2021": (
        "inproceedings",
        {
            "author": "Zhu, Zhihui and Ding, Tianyu and Zhou, Jinxin and Li, Xiao and You, Chong "
            "and Sulam, Jeremias and Qu, Qing",
            "title": "A Geometric Analysis of Neural Collapse with Unconstrained Features",
            "booktitle": _NEURIPS,
            "volume": "34",
            "pages": "29820--29834",
            "year": "2021",
            "eprint": "2105.02375",
        },
    ),
    "han2022": (
        "inproceedings",
        {
            "author": "Han, X. Y. and Papyan, Vardan and Donoho, David L.",
            "title": "Neural Collapse Under {MSE} Loss: Proximity to and Dynamics on the Central "
            "Path",
            "booktitle": _ICLR,
            "year": "2022",
            "eprint": "2106.02073",
        },
    ),
    "wu2024": (
        "inproceedings",
        {
            "author": "Wu, Robert and Papyan, Vardan",
            "title": "Linguistic Collapse: Neural Collapse in (Large) Language Models",
            "booktitle": _NEURIPS,
            "volume": "37",
            "year": "2024",
            "eprint": "2405.17767",
        },
    ),
    "jiang2023": (
        "misc",
        {
            "author": "Jiang, Jiachen and Zhou, Jinxin and Wang, Peng and Qu, Qing and "
            "Mixon, Dustin and You, Chong and Zhu, Zhihui",
            "title": "Generalized Neural Collapse for a Large Number of Classes",
            "year": "2023",
            "eprint": "2310.05351",
        },
    ),
    "andriopoulos2024": (
        "inproceedings",
        {
            "author": "Andriopoulos, George and Dong, Zixuan and Guo, Li and Zhao, Zifan and "
            "Ross, Keith W.",
            "title": "The Prevalence of Neural Collapse in Neural Multivariate Regression",
            "booktitle": _NEURIPS,
            "volume": "37",
            "year": "2024",
            "eprint": "2409.04180",
        },
    ),
    "galanti2022": (
        "inproceedings",
        {
            "author": "Galanti, Tomer and Gy{\\\"o}rgy, Andr{\\'a}s and Hutter, Marcus",
            "title": "On the Role of Neural Collapse in Transfer Learning",
            "booktitle": _ICLR,
            "year": "2022",
            "eprint": "2112.15121",
        },
    ),
    "fang2021": (
        "article",
        {
            "author": "Fang, Cong and He, Hangfeng and Long, Qi and Su, Weijie J.",
            "title": "Exploring deep neural networks via layer-peeled model: Minority collapse in "
            "imbalanced training",
            "journal": _PNAS,
            "volume": "118",
            "number": "43",
            "pages": "e2103091118",
            "year": "2021",
            "doi": "10.1073/pnas.2103091118",
        },
    ),
    "thrampoulidis2022": (
        "inproceedings",
        {
            "author": "Thrampoulidis, Christos and Kini, Ganesh Ramachandra and Vakilian, Vala "
            "and Behnia, Tina",
            "title": "Imbalance Trouble: Revisiting Neural-Collapse Geometry",
            "booktitle": _NEURIPS,
            "volume": "35",
            "pages": "27225--27238",
            "year": "2022",
            "eprint": "2208.05512",
        },
    ),
    "he2023": (
        "article",
        {
            "author": "He, Hangfeng and Su, Weijie J.",
            "title": "A law of data separation in deep learning",
            "journal": _PNAS,
            "volume": "120",
            "number": "36",
            "pages": "e2221704120",
            "year": "2023",
            "doi": "10.1073/pnas.2221704120",
        },
    ),
    "xu2023": (
        "inproceedings",
        {
            "author": "Xu, Jing and Liu, Haoxiong",
            "title": "Quantifying the Variability Collapse of Neural Networks",
            "booktitle": _ICML,
            "series": "Proceedings of Machine Learning Research",
            "volume": "202",
            "pages": "38535--38550",
            "year": "2023",
            "eprint": "2306.03440",
        },
    ),
    "hendrycks2017": (
        "inproceedings",
        {
            "author": "Hendrycks, Dan and Gimpel, Kevin",
            "title": "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in "
            "Neural Networks",
            "booktitle": _ICLR,
            "year": "2017",
            "eprint": "1610.02136",
        },
    ),
    "lee2018": (
        "inproceedings",
        {
            "author": "Lee, Kimin and Lee, Kibok and Lee, Honglak and Shin, Jinwoo",
            "title": "A Simple Unified Framework for Detecting Out-of-Distribution Samples and "
            "Adversarial Attacks",
            "booktitle": _NEURIPS,
            "volume": "31",
            "year": "2018",
            "eprint": "1807.03888",
        },
    ),
    "geifman2019": (
        "inproceedings",
        {
            "author": "Geifman, Yonatan and Uziel, Guy and El-Yaniv, Ran",
            "title": "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers",
            "booktitle": _ICLR,
            "year": "2019",
            "eprint": "1805.08206",
        },
    ),
    "liu2020": (
        "inproceedings",
        {
            "author": "Liu, Weitang and Wang, Xiaoyun and Owens, John D. and Li, Yixuan",
            "title": "Energy-based Out-of-distribution Detection",
            "booktitle": _NEURIPS,
            "volume": "33",
            "year": "2020",
            "eprint": "2010.03759",
        },
    ),
    "wang2022": (
        "inproceedings",
        {
            "author": "Wang, Haoqi and Li, Zhizhong and Feng, Litong and Zhang, Wayne",
            "title": "{ViM}: Out-Of-Distribution with Virtual-logit Matching",
            "booktitle": _CVPR,
            "pages": "4921--4930",
            "year": "2022",
            "eprint": "2203.10807",
        },
    ),
    "ammar2024": (
        "inproceedings",
        {
            "author": 'Ben Ammar, Mou{\\"i}n and Belkhir, Nacim and Popescu, Sebastian and '
            "Manzanera, Antoine and Franchi, Gianni",
            "title": "{NECO}: {NE}ural Collapse Based Out-of-distribution detection",
            "booktitle": _ICLR,
            "year": "2024",
            "eprint": "2310.06823",
        },
    ),
    "liu2025": (
        "inproceedings",
        {
            "author": "Liu, Litian and Qin, Yao",
            "title": "Detecting Out-of-Distribution Through the Lens of Neural Collapse",
            "booktitle": _CVPR,
            "year": "2025",
            "eprint": "2311.01479",
        },
    ),
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
    return "\n\n".join(_entry(key) for key in keys)


def _keys(name: str) -> tuple[str, ...]:
    if name in PAPERS:
        return (name,)
    from neuralcollapse.metrics.catalogue import CATALOGUE  # needs torch; a paper alone does not

    metric = CATALOGUE.get(name.removeprefix("test_"))
    if metric is not None:
        return metric.cites
    if name not in USES:
        raise NeuralCollapseError(
            "names",
            f"papers ({', '.join(PAPERS)}) or what was used ({', '.join([*CATALOGUE, *USES])})",
            repr(name),
            "call cite() for the main papers",
        )
    return USES[name]


def _entry(key: str) -> str:
    if key.startswith("@"):  # a metric that brings its own
        return key
    kind, fields = PAPERS[key]
    if "eprint" in fields:
        fields = fields | {"archiveprefix": "arXiv"}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
