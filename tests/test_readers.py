"""The readers: every cell and every vector arrives at its utterance, and what does not is counted."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from layout_cases_more import small_meld

from dgl_merc.corpus import SPLITS, Corpus, open_corpus, save_corpus
from dgl_merc.corpus.readers.meld import EMOTIONS, SENTIMENTS, read_meld
from dgl_merc.corpus.readers.table import Columns, read_table
from dgl_merc.corpus.reading.by_column import matching_columns
from dgl_merc.corpus.reading.cells import seconds
from dgl_merc.corpus.reading.expressions import FUNCTIONS, parse_expressions
from dgl_merc.corpus.reading.feature_spec import parse_spec
from dgl_merc.corpus.reading.landmarks import normalise_face
from dgl_merc.errors import InputError

TEXT = "text={split}_sent_emo.minilm.npy"
FIVE = ("anger", "disgust", "fear", "joy", "sadness")


# --- MELD -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def meld(meld_dir: Path) -> Corpus:
    return read_meld(meld_dir, [TEXT])


@pytest.fixture(scope="module")
def five(meld_dir: Path) -> Corpus:
    features = [TEXT, "audio=av_main_cast.npz:mfcc13,log(mel128),contrast7", "visual=av_main_cast.npz:face(landmarks60)"]
    return read_meld(meld_dir, features, classes=FIVE, label_only_where=["audio"], nan="absent")


def official(folder: Path, split: str) -> list[dict[str, str]]:
    with (folder / f"{split}_sent_emo.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def feature(corpus: Corpus, modality: str, row: int) -> np.ndarray:
    """The vector of one utterance, by the corpus's own arithmetic."""
    return corpus.features[modality][corpus.feature_rows[row, list(corpus.modalities).index(modality)]]


@pytest.mark.data
def test_meld_has_the_published_counts(meld: Corpus) -> None:
    utterances = meld.utterances.groupby("split").size()
    assert [int(utterances[s]) for s in SPLITS] == [9989, 1109, 2610]
    assert [int((meld.splits == s).sum()) for s in SPLITS] == [1038, 114, 280]
    assert meld.targets["emotion"].labels == EMOTIONS
    assert meld.targets["sentiment"].labels == SENTIMENTS
    assert list(meld.targets) == ["emotion", "sentiment"]
    assert meld.utterances[["emotion", "sentiment"]].notna().all(axis=None)
    assert meld.modalities["text"].width == 384
    assert meld.notes[1:] == ()


@pytest.mark.data
@pytest.mark.parametrize("split", SPLITS)
def test_every_cell_and_vector_of_meld_arrives_at_its_utterance(meld: Corpus, meld_dir: Path, split: str) -> None:
    """By an independent reading; the rows of the official files happen to be in order, so row i is row i."""
    raw = official(meld_dir, split)
    mine = meld.utterances[meld.utterances["split"] == split]
    for ours, theirs in (
        ("text", "Utterance"), ("speaker", "Speaker"), ("emotion", "Emotion"), ("sentiment", "Sentiment"),
        ("utterance_id", "Utterance_ID"), ("season", "Season"), ("episode", "Episode"), ("sr_no", "Sr No."),
    ):  # fmt: skip
        assert mine[ours].astype(str).tolist() == [row[theirs] for row in raw], ours
    assert mine["dialogue_id"].tolist() == [f"{split}/{row['Dialogue_ID']}" for row in raw]
    h, m, s = zip(*(row["StartTime"].replace(",", ".").split(":") for row in raw), strict=True)
    start = np.array(h, dtype=float) * 3600 + np.array(m, dtype=float) * 60 + np.array(s, dtype=float)
    np.testing.assert_allclose(mine["start"], start, rtol=0, atol=1e-6)
    vectors = np.load(meld_dir / f"{split}_sent_emo.minilm.npy").astype(np.float32)
    np.testing.assert_array_equal(meld.features["text"][mine.index.to_numpy()], vectors)


@pytest.mark.data
def test_positions_close_the_gaps_of_utterance_ids(meld: Corpus) -> None:
    table = meld.utterances
    rank = table.groupby("dialogue_id", sort=False)["utterance_id"].rank().astype(int) - 1
    assert (table["position"] == rank).all()
    assert (table["position"] != table["utterance_id"]).any()


@pytest.mark.data
def test_five_classes_with_audio_are_the_published_subset(five: Corpus) -> None:
    table = five.utterances
    labelled = table[table["emotion"].notna()]
    assert [int((labelled["split"] == s).sum()) for s in SPLITS] == [3452, 428, 924]
    assert len(table) == 13708
    assert five.targets["emotion"].labels == FIVE
    assert {m: v.width for m, v in five.modalities.items()} == {"text": 384, "audio": 148, "visual": 60}
    assert labelled["has_audio"].all()
    assert not table.loc[~table["has_audio"], ["emotion", "sentiment"]].notna().any(axis=None)
    assert int(table["has_visual"].sum()) == 4804 - 410
    assert "emotion: 6436 utterances labelled neutral became context (--classes)" in five.notes
    assert any(note.startswith("visual: absent in 410 of 13708") for note in five.notes)
    assert any(note == "audio: absent in 8904 of 13708 utterances: no row in av_main_cast.npz" for note in five.notes)


@pytest.mark.data
def test_audio_and_faces_join_by_split_dialogue_and_utterance(five: Corpus, meld_dir: Path) -> None:
    table = five.utterances
    with np.load(meld_dir / "av_main_cast.npz", allow_pickle=False) as raw:
        archive = {name: raw[name] for name in raw.files}
    names = archive["landmark_names"].tolist()
    row_of = {key: row for row, key in enumerate(zip(table["dialogue_id"], table["utterance_id"], strict=True))}
    faces = 0
    for k in range(0, 4804, 37):
        row = row_of[f"{archive['split'][k]}/{archive['dialogue_id'][k]}", int(archive["utterance_id"][k])]
        expected = [archive["mfcc13"][k], np.log(archive["mel128"][k].astype(np.float64)), archive["contrast7"][k]]
        np.testing.assert_allclose(feature(five, "audio", row), np.concatenate(expected), rtol=1e-6)
        points = archive["landmarks60"][k].astype(np.float64).reshape(30, 2)
        assert table["has_visual"].iloc[row] == np.isfinite(points).all()
        if table["has_visual"].iloc[row]:
            left, right = points[names.index("eyeLeft")], points[names.index("eyeRight")]
            face = (points - (left + right) / 2) / np.sqrt(((left - right) ** 2).sum())
            np.testing.assert_allclose(feature(five, "visual", row), face.ravel(), rtol=1e-5, atol=1e-6)
            faces += 1
    assert faces > 100


@pytest.mark.data
def test_a_missing_face_is_an_error_by_default(meld_dir: Path) -> None:
    with pytest.raises(InputError, match=r"av_main_cast\.npz: dialogue 4, utterance 1: visual: .*found nan in column 0 \(410 utt"):
        read_meld(meld_dir, ["visual=av_main_cast.npz:face(landmarks60)"])


@pytest.mark.data
def test_the_imported_corpus_survives_the_disk(five: Corpus, tmp_path: Path) -> None:
    save_corpus(five, tmp_path / "c")
    opened = open_corpus(tmp_path / "c", check="full")
    assert opened.content_sha256 == five.content_sha256
    assert opened.notes == five.notes
    assert set(opened.source["files"]) >= {"train_sent_emo.csv", "av_main_cast.npz", "dev_sent_emo.minilm.npy"}


# --- a small MELD, made here ------------------------------------------------------------------------------------------


def archive(path: Path, **changes: object) -> Path:
    """Audio of three of the twelve utterances, out of order."""
    arrays: dict[str, object] = {
        "split": np.array(["test", "train", "dev"]),
        "dialogue_id": np.array([1, 1, 0]),
        "utterance_id": np.array([3, 0, 3]),
        "power": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    }
    arrays |= changes
    np.savez(path, **{name: x for name, x in arrays.items() if x is not None})  # type: ignore[arg-type]
    return path


def test_rows_of_meld_may_be_scattered_and_vectors_follow(tmp_path: Path) -> None:
    small_meld(tmp_path)
    lines = (tmp_path / "dev_sent_emo.csv").read_text().splitlines()
    (tmp_path / "dev_sent_emo.csv").write_text("\n".join([lines[0], lines[4], lines[2], lines[3], lines[1]]))
    corpus = read_meld(tmp_path, ["text={split}.npy"])
    dev = corpus.utterances[corpus.utterances["split"] == "dev"]
    assert dev["dialogue_id"].tolist() == ["dev/1", "dev/1", "dev/0", "dev/0"]
    assert dev["text"].tolist() == ["Line 2", "Line 3", "Line 0", "Line 1"]
    assert corpus.features["text"][dev.index.to_numpy()].ravel().tolist() == [12.0, 10.0, 13.0, 11.0]


def test_one_array_for_all_rows_follows_the_order_of_the_files(tmp_path: Path) -> None:
    small_meld(tmp_path)
    np.save(tmp_path / "all.npy", np.arange(12))
    corpus = read_meld(tmp_path, ["text=all.npy"])
    assert corpus.features["text"].ravel().tolist() == list(range(12))


def test_the_join_by_key_reads_the_split(tmp_path: Path) -> None:
    """The ids alone are ambiguous: each split has a dialogue 1 with an utterance 3."""
    small_meld(tmp_path)
    archive(tmp_path / "av.npz")
    corpus = read_meld(tmp_path, ["audio=av.npz:power,log(power),sqrt(power),log1p(power)"])
    present = corpus.utterances[corpus.utterances["has_audio"]]
    assert list(zip(present["dialogue_id"], present["utterance_id"], strict=True)) == [("train/1", 0), ("dev/0", 3), ("test/1", 3)]
    power = np.array([[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]])
    expected = np.concatenate([power, np.log(power), np.sqrt(power), np.log1p(power)], axis=1)
    np.testing.assert_allclose(corpus.features["audio"], expected, rtol=1e-6)
    assert corpus.notes[1:] == ("audio: absent in 9 of 12 utterances: no row in av.npz",)


def test_archives_per_split_need_no_split_array(tmp_path: Path) -> None:
    small_meld(tmp_path)
    for number, split in enumerate(SPLITS):
        archive(tmp_path / f"{split}.npz", split=None, dialogue_id=np.array([1, 1, 0]), power=np.full(3, number))
    corpus = read_meld(tmp_path, ["audio={split}.npz:power"])
    assert corpus.features["audio"].ravel().tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_positions_join_where_an_archive_has_them(tmp_path: Path) -> None:
    small_meld(tmp_path)
    archive(tmp_path / "av.npz", utterance_id=None, position=np.array([1, 0, 1]))
    corpus = read_meld(tmp_path, ["audio=av.npz:power"])
    assert corpus.features["audio"].tolist() == [[3, 4], [5, 6], [1, 2]]


def test_values_outside_a_domain_can_mean_absent(tmp_path: Path) -> None:
    small_meld(tmp_path)
    archive(tmp_path / "av.npz", power=np.array([[1.0, 2.0], [0.0, 4.0], [5.0, np.inf]]))
    corpus = read_meld(tmp_path, ["audio=av.npz:log(power)"], nan="absent")
    assert corpus.utterances.loc[corpus.utterances["has_audio"], "dialogue_id"].tolist() == ["test/1"]
    assert corpus.notes[1:][1].startswith("audio: absent in 2 of 12 utterances: NaN")
    assert "the first dialogue 1, utterance 0 (train_sent_emo.csv line 4)" in corpus.notes[1:][1]


def test_an_empty_label_is_context_and_other_columns_are_kept(tmp_path: Path) -> None:
    small_meld(tmp_path)
    path = tmp_path / "train_sent_emo.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(",joy,positive,", ",,,")
    path.write_text("\n".join(f"{line},{'Room' if k == 0 else k}" for k, line in enumerate(lines)))
    corpus = read_meld(tmp_path, ["text={split}.npy"])
    assert corpus.utterances["emotion"].isna().tolist() == [True] + [False] * 11
    assert corpus.utterances["Room"].iloc[:4].tolist() == ["1", "2", "3", "4"]


# --- tables -----------------------------------------------------------------------------------------------------------

TABLE = '''dialogue_id,utterance_id,speaker,split,text,emotion,mood,f0,f1,f2
a,2,None,train,"two
lines",joy,0.5,1,2,3
b,1,NA,dev,hello,,-3,4,5,6
a,1,Bo,train,"say ""hi""",anger,,7,8,9
b,0,null,dev,,joy,3,,,
'''


def table(tmp_path: Path, text: str = TABLE, *, encoding: str = "utf-8") -> Path:
    path = tmp_path / "talk.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_table_is_gathered_sorted_and_kept(tmp_path: Path) -> None:
    corpus = read_table(table(tmp_path), ["text=columns:f0..f2"], targets=["emotion", "mood:-3..3"])
    rows = corpus.utterances
    assert rows["dialogue_id"].tolist() == ["a", "a", "b", "b"]
    assert rows["speaker"].tolist() == ["Bo", "None", "null", "NA"]
    assert rows["text"].tolist() == ['say "hi"', "two\nlines", "", "hello"]
    assert rows["emotion"].fillna("(none)").tolist() == ["anger", "joy", "joy", "(none)"]
    np.testing.assert_array_equal(rows["mood"], [np.nan, 0.5, 3, -3])
    assert corpus.targets["emotion"].labels == ("anger", "joy")
    assert corpus.targets["mood"].bounds == (-3, 3)
    assert corpus.features["text"].tolist() == [[7, 8, 9], [1, 2, 3], [4, 5, 6]]
    assert rows["has_text"].tolist() == [True, True, False, True]
    assert not {"f0", "f1", "f2"} & set(rows.columns)
    assert corpus.notes == (
        "order: utterances stand by their utterance ids, which is not the order of the file",
        "text: empty in 1 of 4 utterances",
        "start: the table has no such column",
        "end: the table has no such column",
        "text: absent in 1 of 4 utterances: their cells are empty",
    )


@pytest.mark.parametrize("pattern", ["columns:f*", "columns:f0,f1,f2", "columns:f0,f1..f2"])
def test_columns_by_name_pattern_and_range(tmp_path: Path, pattern: str) -> None:
    corpus = read_table(table(tmp_path), [f"text={pattern}"])
    assert corpus.features["text"].tolist() == [[7, 8, 9], [1, 2, 3], [4, 5, 6]]


def test_a_range_beyond_all_columns_is_not_spelt_out(tmp_path: Path) -> None:
    for pattern in ("columns:f0..f999999999", "columns:f1..f3"):
        with pytest.raises(InputError, match="expected a column 'f3', found the columns"):
            read_table(table(tmp_path), [f"text={pattern}"])
    with pytest.raises(InputError, match=r"expected a column 'f0\.\.f9999"):
        read_table(table(tmp_path), ["text=columns:f0..f" + "9" * 5000])
    assert matching_columns(parse_spec("text=columns:f0..f2"), ["f0", "f1", "f2"]) == ["f0", "f1", "f2"]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    with_mark = read_table(table(tmp_path, encoding="utf-8-sig"), ["text=columns:f*"])
    without = read_table(table(tmp_path), ["text=columns:f*"])
    assert with_mark.content_sha256 == without.content_sha256


def test_features_by_row_follow_the_file_not_the_order(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[2], [11], [1], [10]], dtype=np.int16))
    np.save(tmp_path / "train_x.npy", np.array([[2], [1]]))
    np.save(tmp_path / "dev_x.npy", np.array([[11], [10]]))
    for spec in ("audio=x.npy", "audio={split}_x.npy", f"audio={tmp_path}/x.npy"):
        corpus = read_table(table(tmp_path), [spec])
        assert corpus.features["audio"].ravel().tolist() == [1, 2, 10, 11], spec


def test_relative_paths_are_tried_from_the_working_directory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    np.save("x.npy", np.array([[2], [11], [1], [10]]))
    assert read_table(table(tmp_path), ["audio=x.npy"]).features["audio"].ravel().tolist() == [1, 2, 10, 11]
    with pytest.raises(InputError, match=rf"tried {tmp_path}/y\.npy and y\.npy"):
        read_table(table(tmp_path), ["audio=y.npy"])


def test_without_ids_the_order_of_the_file_stands(tmp_path: Path) -> None:
    text = "dialogue_id,speaker,emotion,x\nb,S,joy,1\na,S,sad,2\nb,T,sad,3\n"
    corpus = read_table(table(tmp_path, text), ["text=columns:x"], one_split="train")
    assert corpus.utterances["dialogue_id"].tolist() == ["b", "b", "a"]
    assert corpus.features["text"].ravel().tolist() == [1, 3, 2]
    assert any(note.startswith("order: ") for note in corpus.notes)
    assert set(corpus.utterances["split"]) == {"train"}


def test_words_as_utterance_ids_keep_the_order_and_join(tmp_path: Path) -> None:
    text = "dialogue_id,utterance_id,speaker,split,x\nd,zeta,S,train,1\nd,alpha,S,train,2\n"
    archive(tmp_path / "a.npz", split=None, dialogue_id=np.array(["d"]), utterance_id=np.array(["alpha"]), power=np.array([7]))
    corpus = read_table(table(tmp_path, text), ["text=columns:x", "audio=a.npz:power"])
    assert corpus.utterances["utterance_id"].tolist() == ["zeta", "alpha"]
    assert corpus.utterances["has_audio"].tolist() == [False, True]
    assert "no target: every utterance is context; `dglmerc import table --target` names a column of labels" in corpus.notes


def test_positions_with_gaps_are_renumbered_counted_and_kept(tmp_path: Path) -> None:
    text = "dialogue_id,position,speaker,split,x\nd,30,S,train,3\nd,10,S,train,1\nd,20,S,train,2\n"
    archive(tmp_path / "a.npz", split=None, utterance_id=None, dialogue_id=np.array(["d"]), position=np.array([20]), power=np.array([7]))
    corpus = read_table(table(tmp_path, text), ["text=columns:x", "audio=a.npz:power"])
    assert corpus.utterances["position"].tolist() == [0, 1, 2]
    assert corpus.utterances["utterance_id"].tolist() == ["10", "20", "30"]
    assert corpus.utterances["has_audio"].tolist() == [False, True, False]
    assert "position: renumbered 0, 1, 2, … in 3 of 3 utterances" in corpus.notes


def test_columns_can_have_any_names(tmp_path: Path) -> None:
    text = TABLE.replace("dialogue_id,utterance_id,speaker,split,text", "conv,turn,who,fold,said").replace("emotion,mood", "label,note")
    names = Columns(dialogue="conv", utterance="turn", speaker="who", split="fold", text="said")
    corpus = read_table(table(tmp_path, text), ["text=columns:f*"], columns=names, targets=["label"])
    assert corpus.utterances["text"].tolist() == ['say "hi"', "two\nlines", "", "hello"]
    assert corpus.utterances["note"].tolist() == ["", "0.5", "3", "-3"]
    assert list(corpus.targets) == ["label"]


def test_classes_of_a_table_make_the_rest_context(tmp_path: Path) -> None:
    corpus = read_table(table(tmp_path), ["text=columns:f*"], classes=["joy", "fear"])
    assert corpus.utterances["emotion"].notna().tolist() == [False, True, True, False]
    assert corpus.targets["emotion"].labels == ("joy", "fear")
    assert "emotion: 1 utterances labelled anger became context (--classes)" in corpus.notes
    assert "emotion: no utterance is labelled fear" in corpus.notes


def test_label_only_where_takes_every_target(tmp_path: Path) -> None:
    corpus = read_table(table(tmp_path), ["text=columns:f*"], targets=["emotion", "mood:-3..3"], label_only_where=["text"])
    assert corpus.utterances["emotion"].notna().tolist() == [True, True, False, False]
    assert corpus.utterances["mood"].notna().tolist() == [False, True, False, True]


# --- small parts ------------------------------------------------------------------------------------------------------


def test_faces_do_not_depend_on_where_and_how_large_they_are() -> None:
    names = ["chin", "eyeRight", "eyeLeft"]
    face = np.random.default_rng(0).normal(size=(4, 3, 2))
    moved = 3.5 * face + np.array([10.0, -2.0])
    normal = normalise_face(face.reshape(4, 6), names)
    np.testing.assert_allclose(normalise_face(moved.reshape(4, 6), names), normal, atol=1e-12)
    eyes = normal.reshape(4, 3, 2)[:, 1:]
    np.testing.assert_allclose(eyes.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1), 1)
    assert np.abs(normal).max() > 0.1
    assert np.isnan(normalise_face(np.ones((1, 6)), names)).all()


@pytest.mark.parametrize("cell", ["1:60:00", "x", "-1", "inf", "1:2", "00:00:61"])
def test_what_is_no_time_is_refused(cell: str) -> None:
    with pytest.raises(ValueError):
        seconds(cell)


def test_the_grammar_of_features() -> None:
    assert parse_spec("a=C:\\x.y/f.npz:log(b) , c").path == "C:\\x.y/f.npz"
    assert [e.text for e in parse_spec("a=f.npz:log(b) , c").expressions] == ["log(b)", "c"]
    assert parse_spec("a=x=y.npy").path == "x=y.npy"
    assert parse_spec("a=columns:p q, r").columns == ("p q", "r")
    assert {parse_expressions(f"{name}(x)", "")[0].function for name in FUNCTIONS} == set(FUNCTIONS)
