"""The limit of benchmarks/epoch.py is honest: what it lists, the model really makes, and it lists nearly all of that."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from dgl_merc.models import MODELS
from dgl_merc.training.settings import load_settings

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LENGTHS, WIDTHS = (30, 33, 31, 29, 32), {"text": 12, "audio": 8, "visual": 10}
SMALL = ["model.dim=48", "model.attention.heads=4", "model.attention.head_dim=12", "training.batch_size=3"]


SGRNET = [
    *("model.dim=50", "model.width=40", "model.fusion.head_dim=12", "model.alignment.prototypes=60", "training.batch_size=3"),
]


@pytest.fixture(scope="module")
def epoch() -> ModuleType:
    """The benchmark, imported as a script's neighbours are."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(BENCHMARKS)
        return importlib.import_module("epoch")


def subject(epoch: ModuleType, preset: str, words: list[str], widths: dict[str, int] | None = None) -> Any:
    corpus = epoch.random_corpus("small", epoch.Shape(LENGTHS, widths or WIDTHS, 4))
    return epoch.Subject(corpus, load_settings(preset, words))


def listed(products: list[Any], part: str = "") -> int:
    return sum(p.operations for p in products if part in ("", p.part))


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("mglra", SMALL),
        ("mglra", [*SMALL, "model.gcn.rate=0"]),
        ("mglra", [*SMALL, "graph.cross=dialogue", "model.gcn.layers=3"]),
        ("mglra", [*SMALL, "graph.window=4", "model.memory=own"]),
        ("mglra", [*SMALL, "model.memory=own+h", "model.rounds=2", "model.filter.attention=channel"]),
        ("mglra", [*SMALL, "model.context.layers=2", "model.context.bidirectional=false", "model.attention.projections=shared"]),
        ("mglra", [*SMALL, "model.context.hears=all", "model.context.speaker_context=true", "model.context.input_dim=16"]),
        ("mglra", [*SMALL, "model.context.speaker_context=true"]),
        ("mglra-paper", SMALL),
        ("m3net", ["model.dim=48", "training.batch_size=3"]),
        ("mmgcn", ["model.dim=48", "training.batch_size=3"]),
        ("sgrnet", SGRNET),
        ("sgrnet", [*SGRNET, "model.context.hears=own", "model.context.input_dim=0", "data.modalities=text,audio"]),
        ("sgrnet", [*SGRNET, "model.fusion.interaction=sum", "model.graph.heads=0", "model.alignment.instance=0"]),
        ("sgrnet", [*SGRNET, "model.graph.layers=0", "model.graph.bias=false", "model.alignment.prototype=0"]),
        ("sgrnet", [*SGRNET, "data.modalities=text", "model.graph.edge_weight=false"]),
        ("sgrnet-paper", SGRNET),
        ("bilstm", ["model.hidden=48", "training.batch_size=3"]),
        ("transformer", ["model.dim=48", "model.feed_forward=60", "training.batch_size=3"]),
        ("dialoguegcn", ["model.hidden=48", "model.dim=64", "model.attention=true"]),
        ("dialoguernn", ["model.attention=true"]),
    ],
)
def test_what_is_listed_is_made_and_is_nine_tenths_of_what_is_made(epoch, preset, words):
    found = subject(epoch, preset, words).needed
    assert set(found) == {"training epoch", "inference"}
    for products, made in found.values():
        assert 0.9 * made <= listed(products) <= made
    (training, _), (inference, _) = found.values()
    assert {p.when for p in training} == {"forward", "backward"}
    assert {p.when for p in inference} == {"forward"}


def test_two_modalities_have_two_pairs_and_not_six(epoch):
    three, two = (subject(epoch, "mglra", SMALL, dict(list(WIDTHS.items())[:n])).needed["inference"] for n in (3, 2))
    assert 0.9 * two[1] <= listed(two[0]) <= two[1]
    pairs = [sum(p.operations for p in products if p.kind == "attention") for products, _ in (three, two)]
    assert pairs[0] == 3 * pairs[1] > 0


@pytest.mark.parametrize(
    ("word", "part", "least"),
    [
        ("model.fusion=none", "gcn", 0.85),
        ("model.attention.heads=0", "attention", 0.8),  # the kernel makes its logits again in the backward pass
        ("model.filter.output=none", "filter", 0.9),
        ("model.memory=none", "memory", 0.3),  # its weighted means of three rows are not listed
    ],
)
def test_a_part_turned_off_takes_exactly_its_products_along(epoch, word, part, least):
    on, off = (subject(epoch, "mglra", words).needed for words in (SMALL, [*SMALL, word]))
    for what, (products, made) in on.items():
        rest, made_without = off[what]
        assert Counter(p for p in products if p.part != part) == Counter(rest)
        assert least * (made - made_without) <= listed(products, part) <= made - made_without


def test_every_model_and_every_module_with_matrices_has_its_list(epoch):
    assert set(importlib.import_module("products").MODELS) == set(MODELS)
    others = ("bilstm", "dialoguegcn", "dialoguernn", "logistic", "transformer")
    for preset, words in (("mglra", SMALL), ("sgrnet", SGRNET), *((name, []) for name in others)):
        s = subject(epoch, preset, words)
        modules = {name for name, module in s.model.named_children() if any(p.ndim > 1 for p in module.parameters())}
        learning, answering = ({p.part for p in s.needed[what][0]} for what in ("training epoch", "inference"))
        assert learning == modules - {"speakers", "dynamics"}, "a table of rows multiplies nothing, and what is solved is at rest"
        assert answering - {"alignment"} == modules - {"speakers", "alignment"}


def test_the_pairs_of_the_graph_are_listed_where_they_are_made(epoch):
    def made_of(words: list[str]) -> dict[str, bool]:
        return {
            what: any(p.part == "gcn" and p.batch > 1 for p in products)
            for what, (products, _) in subject(epoch, "mglra", words).needed.items()
        }

    assert made_of([*SMALL, "model.gcn.rate=0"]) == {"training epoch": True, "inference": True}
    assert made_of([*SMALL, "model.gcn.rate=0.99"]) == {"training epoch": False, "inference": True}  # training goes along a few edges


def test_the_limit_makes_what_is_listed_and_no_more(epoch):
    products, _ = subject(epoch, "mglra", SMALL).needed["training epoch"]
    run = epoch.bare(products)
    assert epoch.counted(run) == listed(products)
    assert set(run()) == {(p.part, p.kind, p.when) for p in products}


def test_an_order_is_kept_so_that_every_epoch_makes_the_same_products(epoch):
    s = subject(epoch, "mglra", SMALL)
    first = s.needed["training epoch"]
    del s.needed
    assert s.needed["training epoch"] == first


def test_the_tables(epoch, monkeypatch):
    monkeypatch.setattr(epoch, "CORPORA", {"small": epoch.Shape(LENGTHS, WIDTHS, 4)})
    words = [option for word in SMALL[1:] for option in ("--set", word)]
    command = ["--rounds", "1", "--dim", "48", *words]
    done = CliRunner().invoke(epoch.main, command, catch_exceptions=False)
    head, _, *rows = [[c.strip() for c in line.strip("|").split("|")] for line in done.output.splitlines()]
    assert head[-5:] == ["linear", "recurrent", "attention", "graph", "alignment"]
    assert [row[1] for row in rows] == ["training epoch", "inference"]
    assert all(96 <= sum(int(share.rstrip("%")) for share in row[-5:]) <= 104 for row in rows)

    done = CliRunner().invoke(epoch.main, [*command, "--profile"], catch_exceptions=False)
    table = [[c.strip() for c in line.strip("|").split("|")] for line in done.output.splitlines() if line][2:]
    parts = ["encoder", "filter", "memory", "attention", "update", "speakers", "gcn", "head", "dynamics"]
    assert [row[0] for row in table] == [*parts, epoch.REST, epoch.OPTIMISER, epoch.BATCH, "all"]
    assert all(float(row[1]) > 0 and float(row[2]) > 0 for row in table if row[0] in parts[:-1] and row[0] != "speakers"), "both passes"


def test_watching_changes_nothing_and_leaves_nothing(epoch):
    alike = [subject(epoch, "bilstm", ["model.hidden=8", "model.dropout=0"]) for _ in range(2)]
    alike[1].model.load_state_dict(alike[0].model.state_dict())
    epoch.Stopwatch(alike[0]).epoch()
    alike[1].train()
    for watched, plain in zip(alike[0].model.parameters(), alike[1].model.parameters(), strict=True):
        assert watched.equal(plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in alike[0].model.modules())


def test_one_dialogue_of_three_by_hand(epoch):
    corpus = epoch.random_corpus("one", epoch.Shape((3,), {"text": 5}, 4))
    s = epoch.Subject(corpus, load_settings("bilstm", ["model.hidden=2", "model.layers=1"]))
    found = Counter((p.part, p.when, p.batch, p.m, p.k, p.n, p.times) for p in s.needed["training epoch"][0])
    direction = {
        ("encoder", "forward", 1, 3, 5, 8, 1): 1,  # X W of three utterances, four gates of 2
        ("encoder", "backward", 1, 5, 3, 8, 1): 1,  # dW; nobody needs dX
        ("encoder", "forward", 1, 1, 2, 8, 2): 1,  # h U, from the second utterance on
        ("encoder", "backward", 1, 1, 8, 2, 2): 1,  # dh
        ("encoder", "backward", 1, 2, 2, 8, 1): 1,  # dU
    }
    head = {
        ("head", "forward", 1, 3, 4, 2, 1): 1,
        ("head", "backward", 1, 3, 2, 4, 1): 1,
        ("head", "backward", 1, 4, 3, 2, 1): 1,
        ("head", "forward", 1, 3, 2, 4, 1): 1,
        ("head", "backward", 1, 3, 4, 2, 1): 1,
        ("head", "backward", 1, 2, 3, 4, 1): 1,
    }
    expected = Counter({shape: 2 * count for shape, count in direction.items()})  # both directions
    assert found == expected + Counter(head)


def test_the_similarities_need_one_product_for_their_gradient(epoch):
    products, _ = subject(epoch, "mglra", [*SMALL, "model.gcn.rate=0", "training.batch_size=5"]).needed["training epoch"]
    pairs = Counter(p.when for p in products if p.part == "gcn" and p.batch > 1)
    assert pairs == {"forward": 1 + 2, "backward": 1 + 2 * 2}  # U U^T, and A H in two layers
