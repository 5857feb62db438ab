"""Import, graphs and an epoch of training, each with the most that numpy and Python held at once; run by test_large.py.

python tests/large_driver.py FOLDER: FOLDER holds table.csv, text.npy and audio.npz. Prints bytes by phase, as JSON.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path

import sklearn.decomposition
import torch

from dgl_merc.corpus import save_corpus
from dgl_merc.corpus.readers.table import read_table
from dgl_merc.corpus.reading import arrays, on_demand
from dgl_merc.evaluation import statistics
from dgl_merc.graphs import GraphSpec, common_space
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.training import run_folder
from dgl_merc.training.run import fit
from dgl_merc.training.settings import load_settings
from dgl_merc.training.source import open_source


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    on_demand.IN_MEMORY = arrays.IN_MEMORY = 1 << 20  # what is small beside these features
    common_space.MOST = 100
    statistics._CELLS = 1 << 18
    run_folder.write_report = lambda *_: Path()  # figures have no part in this
    assert sklearn.decomposition  # imported on first use, as what torch imports on its first step: no part of it
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.sum().backward()
    torch.optim.AdamW([weight]).step()
    peaks = {}

    def done(phase: str) -> None:
        peaks[phase] = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()

    tracemalloc.start()
    corpus = save_corpus(read_table(folder / "table.csv", ["text=text.npy", "audio=audio.npz:x"], nan="absent"), folder / "corpus")
    done("import")
    build_store(corpus, folder / "graphs", GraphSpec(("text", "audio"), window=2), BuildOptions(edges=False))
    done("build")
    source = open_source(folder / "graphs")
    settings = load_settings("bilstm", ("model.hidden=8", "training.max_epochs=1"), 0)
    fit(source.corpus, source.spec, settings, folder / "run", store=source.store)
    done("fit")
    print(json.dumps(peaks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
