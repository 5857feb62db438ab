"""``MODEL_CARD.md`` of a run (Mitchell et al. 2019): what the model is, is for, must not be used for, and was measured on.

Every number in it stands in the files of the run folder. What these do not know, such as a corpus's language, it says they do not know.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dgl_merc.files import write_bytes
from dgl_merc.reports.contributions import alone_in_words, beside_in_words
from dgl_merc.reports.features import made_features
from dgl_merc.reports.page import number
from dgl_merc.version import __version__

__all__ = ["CARD", "INTENDED", "LAW", "LAW_ADVICE", "NOT_FOR", "read_in_words", "write_card"]

CARD = "MODEL_CARD.md"
"""The name of its file."""

INTENDED = (
    "Research on emotion recognition in conversation: comparing models under one protocol, on recorded conversations whose participants "
    "agreed to such use, with features made as those of the training data were."
)
"""What a model is for."""
NOT_FOR = (
    "deciding anything about a person: employment, schooling, credit, insurance, asylum, policing, diagnosis",
    "watching people without their knowledge, or where they can't refuse",
    "telling lies, intentions, personality or illness: it was not trained on any of them",
)
"""What it must not be used for."""
LAW = (
    "Regulation (EU) 2024/1689 (AI Act), Article 5(1)(f), prohibits AI systems that infer the emotions of natural persons in the areas of "
    "workplace and education institutions, except for medical or safety reasons.",
    "Its Annex III, point 1(c), lists AI systems intended to be used for emotion recognition among the high-risk ones.",
    "Its Article 50(3) demands that deployers of an emotion recognition system inform the natural persons exposed to it.",
)
"""What the law of the European Union says."""
LAW_ADVICE = (
    "Exceptions, definitions (Article 3(39) speaks of biometric data, such as voice and face) and dates of application matter, and other "
    "places have other laws. This is no legal advice: check the law where and when the model is to be used."
)
"""What else is to be known of it."""

_SOURCES = {
    "synthetic": "drawn from a known model of conversations: no person spoke, it has no language, and its scores say nothing about people",
    "meld": "read from MELD's official files: scripted, acted dialogues of one English-language television series, labelled by annotators",
}
_NO_FACTS: Mapping[str, Any] = {"source": None, "provenance": {}, "speakers": {}}  # of a run of an older version
_UNKNOWN = "of which this folder does not say who spoke, in what language, and whether it was acted, read or spontaneous"

_PAPERS = {
    "dialoguegcn": "Ghosal, Majumder, Poria, Chhaya, Gelbukh: DialogueGCN: A Graph Convolutional Neural Network for Emotion Recognition in "
    "Conversation. EMNLP-IJCNLP, 2019. doi:10.18653/v1/D19-1015",
    "dialoguernn": "Majumder, Poria, Hazarika, Mihalcea, Gelbukh, Cambria: DialogueRNN: An Attentive RNN for Emotion Detection in "
    "Conversations. AAAI, 2019. doi:10.1609/aaai.v33i01.33016818",
    "m3net": "Chen, Shao, Zhu, Shen: Multivariate, Multi-Frequency and Multimodal: Rethinking Graph Neural Networks for Emotion "
    "Recognition in Conversation. CVPR, 2023. doi:10.1109/CVPR52729.2023.01036",
    "mglra": "Meng, Zhang, Shou, Shao, Ai, Li: Masked Graph Learning With Recurrent Alignment for Multimodal Emotion Recognition in "
    "Conversation. IEEE/ACM Transactions on Audio, Speech, and Language Processing, 2024. doi:10.1109/TASLP.2024.3434495",
    "mmgcn": "Hu, Liu, Zhao, Jin: MMGCN: Multimodal Fusion via Deep Graph Convolution Network for Emotion Recognition in "
    "Conversation. ACL-IJCNLP, 2021. doi:10.18653/v1/2021.acl-long.440",
    "sgrnet": "Zhang, Cui, Hu, Li: A Multi-level Alignment and Cross-Modal Unified Semantic Graph Refinement Network for Conversational "
    "Emotion Recognition. IEEE Transactions on Affective Computing, 2024. doi:10.1109/TAFFC.2024.3354382",
}


class _Verbatim(str):
    """Text of an indented code block, which Markdown leaves alone."""


def _opinion(config: Mapping[str, Any], outputs: int) -> float:
    """The share of a second opinion, which no paper has; 0: none."""
    given = config.get("options", {}).get("dynamics", {}).get("share", 0.0)
    return float(given) if outputs > 1 and config["data"].get("learn", "classes") == "classes" else 0.0


def read_in_words(widths: Mapping[str, int], reduced: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a model reads of each modality.

    Args:
        widths: modality -> numbers of an utterance that come in.
        reduced: what ``metrics.json`` says of those that were reduced.

    >>> read_in_words({"text": 384}, {"text": {"from": 384, "to": 100, "directions": 100, "variance": 0.81234}})
    ['text (384 numbers an utterance, reduced to 100 that keep 81.2 % of the training variance)']
    """
    said = []
    for m, width in widths.items():
        row = reduced.get(m)
        some = f", of which {row['directions']} vary," if row and row["directions"] < row["to"] else ""
        less = f", reduced to {row['to']}{some} that keep {number(100 * row['variance'], 1)} % of the training variance" if row else ""
        said.append(f"{m} ({width} numbers an utterance{less})")
    return said


def write_card(folder: Path, run: str, split: str, parts: Mapping[str, Any]) -> Path:
    """Write the card into a run folder.

    Args:
        folder: of the run.
        run: what the card calls it.
        split: that is shown: test, or dev where test was not evaluated.
        parts: ``config``, ``data``, ``environment``, ``metrics`` and ``contributions`` (may be None), as the folder's files hold them.

    Returns:
        The card's path.
    """
    metrics, contributions = parts["metrics"], parts["contributions"]
    shown, facts = metrics["splits"][split], metrics.get("corpus", _NO_FACTS)
    judged = {name: row for name, row in shown["per_class"].items() if row["support"]}
    page = Environment(
        loader=PackageLoader("dgl_merc.reports", "."),
        autoescape=False,  # noqa: S701  Markdown: every value goes through _plain
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["percent"] = number
    text = page.get_template("model_card.md").render(
        run=run,
        split=split,
        shown=shown,
        facts=facts,
        made=made_features(parts["data"]),
        reads=read_in_words(parts["data"]["widths"], metrics.get("reduced", {})),
        origin=_SOURCES.get(facts["source"], _UNKNOWN),
        sentences=[*alone_in_words(contributions), *beside_in_words(contributions)] if contributions else [],
        worst=min(judged.items(), key=lambda row: row[1]["f1"], default=None),
        memory={k: f"{v / 2**20:.0f} MiB" for k, v in metrics.get("memory", {}).items() if v},
        command=_Verbatim(shlex.join(parts["environment"]["command"])),
        paper=_PAPERS.get(parts["config"]["model"]),
        opinion=_opinion(parts["config"], len(parts["data"]["labels"])),
        version=__version__,
        intended=INTENDED,
        not_for=NOT_FOR,
        law=LAW,
        law_advice=LAW_ADVICE,
        **{key: parts[key] for key in ("config", "data", "environment", "metrics")},
    )
    write_bytes(folder / CARD, text.encode("utf-8", "replace"))
    return folder / CARD


_SPECIAL = {c: f"\\{c}" for c in "\\`*_[]|~$#"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def _plain(value: object) -> object:
    r"""Text that Markdown prints as it is, on one line.

    >>> print(_plain("a_b <i>"))
    a\_b &lt;i&gt;
    """
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())
    return line if isinstance(value, _Verbatim) else "".join(_SPECIAL.get(c, c) for c in line)
