"""``dglmerc evaluate RUN... [STORE]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dgl_merc.cli.options import DEVICE, THREADS, choose_device
from dgl_merc.errors import InputError, at

__all__ = ["evaluate"]


@click.command("evaluate")
@click.argument("places", metavar="RUN... [STORE]", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--split", type=click.Choice(["train", "dev", "test"]), default="test", show_default=True, help="Of the corpus.")
@click.option(
    "--drop",
    metavar="MODALITY=R1,R2,...",
    multiple=True,
    help="Take away a modality from a share of the utterances, such as audio=0,.1,.3,.7: how a model stands missing data. Repeatable; "
    "the masks depend on --drop-seed alone, so every model loses the same.",
)
@click.option("--drop-seed", type=click.IntRange(0), default=0, show_default=True, help="Of the masks.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for what was found; default: only printed.")
@DEVICE
@THREADS
def evaluate(
    places: tuple[Path, ...], split: str, drop: tuple[str, ...], drop_seed: int, out: Path | None, device: str, threads: int
) -> None:
    """Evaluate the model of RUN on the corpus of STORE, or, without one, on the corpus it was trained on.

    RUN is the folder of one run; of several, what they answer is averaged. Nothing in them is changed.
    """
    from dgl_merc.cli.console import print_line, print_table
    from dgl_merc.files import replaced_folder, write_json
    from dgl_merc.reports.robustness import shown_robustness, write_robustness
    from dgl_merc.training.evaluate import evaluate_runs, robustness
    from dgl_merc.training.run_folder import open_run
    from dgl_merc.training.source import corpus_of

    last = places[-1]
    store = last if len(places) > 1 and not (last / "metrics.json").is_file() else None
    paths = places[:-1] if store else places
    runs = [open_run(path) for path in paths]
    rates = _rates(drop)
    device = choose_device(device, threads)
    if store and not (store / "manifest.json").is_file():
        expected = "the folder of a run (metrics.json) or, at the end, of a store (manifest.json)"
        raise InputError(f"{at(store)}expected {expected}, found neither")
    if not store and len({run.data["corpus"]["content_sha256"] for run in runs}) > 1:
        raise InputError("the runs were trained on different corpora; name the store of the one to evaluate them on")
    corpus = corpus_of(runs[0], store)
    who = str(paths[0]) if len(runs) == 1 else f"the average of {len(runs)} runs"
    if not rates:
        scores, predictions = evaluate_runs(runs, corpus, split, device=device)
        _print_scores(scores, f"{who}: {split} of {corpus.name}")
        if out:
            about = {"runs": [str(path) for path in paths], "corpus": corpus.content_sha256, "split": split}
            with replaced_folder(out, "evaluation.json") as folder:
                predictions.to_parquet(folder / "predictions.parquet", index=False)
                write_json(folder / "evaluation.json", {**about, **scores})
            print_line(f"Written to {out}: evaluation.json and predictions.parquet")
        return
    table = robustness(runs, corpus, split, rates, seed=drop_seed, device=device)
    shown = shown_robustness(table)
    print_table(shown.set_index("modality"), f"{who}: weighted F1 on {split} of {corpus.name}, with modalities taken away")
    if out:
        write_robustness(out, table, paths[0].resolve().name if len(runs) == 1 else who, split)
        print_line(f"Written to {out}: robustness.txt, .csv, .tex and .png")


def _print_scores(scores: dict[str, Any], title: str) -> None:
    import pandas as pd

    from dgl_merc.cli.console import print_line, print_notes, print_table
    from dgl_merc.evaluation.sentiment import in_words

    rows = {n: {"utterances": v["support"], "accuracy": v["accuracy"], "F1": v["f1"]} for n, v in scores["per_class"].items()}
    rows["(all)"] = {"utterances": scores["utterances"], "accuracy": scores["accuracy"], "F1": scores["weighted_f1"]}
    rows |= {
        f"turns: {n}": {"utterances": v["utterances"], "accuracy": v["accuracy"], "F1": v["weighted_f1"]}
        for n, v in scores["shift"].items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    for column in ("accuracy", "F1"):
        frame[column] = ["–" if v is None or pd.isna(v) else f"{v:.2f}" for v in frame[column]]
    print_table(frame, title)
    ece = scores["calibration"]["ece"]
    sure = "" if ece is None else f", expected calibration error {ece:.2f}"
    print_line(f"Weighted F1 {scores['weighted_f1']:.2f}, macro F1 {scores['macro_f1']:.2f}{sure}")
    print_notes(in_words(scores.get("sentiment", {})))


def _rates(words: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """``audio=0,.1`` as shares."""
    found: dict[str, tuple[float, ...]] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            values = tuple(float(v) for v in text.split(","))
        except ValueError:
            values = ()
        if not name or not values or not all(0 <= v <= 1 for v in values) or name in found:
            raise InputError(f"--drop {word}: expected a modality, once, and shares from 0 to 1, such as audio=0,.1,.3,.7")
        found[name] = values
    return found
