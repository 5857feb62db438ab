"""What spoils an experiment, looked for in a whole corpus.

The rules stand where they are made: :mod:`dgl_merc.corpus.care.check_duplicates`, :mod:`dgl_merc.corpus.care.check_labels`,
:mod:`dgl_merc.corpus.care.check_columns`, :mod:`dgl_merc.corpus.care.check_features`, :mod:`dgl_merc.corpus.care.check_order`.
Features are read in pieces, three times; of a vector eight bytes are kept.
"""

from __future__ import annotations

from dgl_merc.corpus.care.check_columns import check_columns
from dgl_merc.corpus.care.check_duplicates import check_duplicates
from dgl_merc.corpus.care.check_features import check_features
from dgl_merc.corpus.care.check_labels import check_labels, check_presence
from dgl_merc.corpus.care.check_order import check_order
from dgl_merc.corpus.care.findings import SEVERITIES, Finding
from dgl_merc.corpus.care.vectors import texts_of, vectors_of
from dgl_merc.corpus.corpus import Corpus

__all__ = ["check"]


def check(corpus: Corpus) -> list[Finding]:
    """Everything that was found, leaks first.

    The same corpus has the same findings. None found is no proof that there is none.
    """
    texts = texts_of(corpus)
    vectors = {modality: vectors_of(corpus, modality, texts) for modality in corpus.modalities}
    found = [
        *check_duplicates(corpus, texts, vectors),
        *check_presence(corpus),
        *check_columns(corpus),
        *check_labels(corpus),
        *check_features(corpus, vectors),
        *check_order(corpus, texts),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
