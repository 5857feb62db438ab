"""Features by row from MAT and HDF5 files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from dgl_merc.corpus.readers.table import read_table
from dgl_merc.errors import InputError

X = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Six utterances, not in order, in two splits that take turns; their features in a file of each kind."""
    rows = [
        f"{split},{split},ann,{k},joy" for k, split in ((1, "train"), (0, "test"), (0, "train"), (1, "test"), (2, "test"), (2, "train"))
    ]
    rows[0] = rows[0].replace("joy", "fear")
    (tmp_path / "talk.csv").write_text("split,dialogue_id,speaker,utterance_id,emotion\n" + "\n".join(rows) + "\n")
    scipy.io.savemat(tmp_path / "av.mat", {"mfcc": X, "name": "x"})
    np.save(tmp_path / "x.npy", X)
    for split in ("train", "test"):
        with h5py.File(tmp_path / f"{split}.h5", "w") as file:
            file["audio/mfcc"] = X[[row.startswith(split) for row in rows]]
    return tmp_path / "talk.csv"


@pytest.mark.parametrize("said", ["av.mat:mfcc", "{split}.h5:audio/mfcc"])
def test_an_array_by_name_is_the_same_as_one_alone(talk: Path, said: str) -> None:
    corpus, wanted = read_table(talk, [f"audio={said}"]), read_table(talk, ["audio=x.npy"])
    np.testing.assert_array_equal(corpus.features["audio"], wanted.features["audio"])
    assert corpus.features["audio"][:, 0].tolist() != sorted(X[:, 0]), "vacuous"
    assert corpus.modalities["audio"].provenance.endswith(f": {said.split(':')[1]}, by row")


FAULTS = {
    "av.mat:energy": "av.mat: expected an array 'energy', found mfcc, name",
    "av.mat:mfcc/x": "av.mat: expected an array 'mfcc/x', found an array",
    "av.mat:name": "av.mat: name: expected an array, found str",
    "train.h5:audio": "train.h5: audio: expected an array, found a dict of 1",
    "train.h5:audio/mfcc": "train.h5: expected 6 rows, one for each row in the CSV, found 3",
    "av.mat:log(mfcc)": "expected the name of one array behind the file, found 'log(mfcc)'",
    "av.mat:mfcc,name": "expected the name of one array behind the file, found 'mfcc,name'",
    "av.mat": "expected the names of arrays behind the file",
}


@pytest.mark.parametrize("said", FAULTS)
def test_faults(talk: Path, said: str) -> None:
    with pytest.raises(InputError) as error:
        read_table(talk, [f"audio={said}"])
    assert FAULTS[said] in str(error.value)
