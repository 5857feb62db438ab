"""Layers, head and loss against plain Python over one sequence, one node, one utterance at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import word_is_kept, word_of
from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import ContextEncoder, ContextEncoderOptions, Dropout, MaskedGCN, MaskedGCNOptions, Recurrent, Sequences, beside
from dgl_merc.losses import cross_entropy

M2, M3 = ("text", "audio"), ("text", "audio", "visual")
LENGTHS = {
    "one": [1],
    "one sequence": [5],
    "ones": [1, 1, 1],
    "zeros": [0, 3, 0, 1, 7, 2, 0],
    "ragged": [9, 1, 5, 5, 2, 8, 3, 33],
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def structure(presence: list[list[list[int]]], modalities: tuple[str, ...], keys: list[int] | None = None) -> Structure:
    """From presence[dialogue][utterance][modality]."""
    s = Structure.of([len(d) for d in presence], GraphSpec(modalities), presence=[u for d in presence for u in d])
    return replace(s, keys=torch.tensor(keys)) if keys else s


def features(s: Structure, width: int, seed: int = 1) -> dict[str, Tensor]:
    return {m: random(n, width, seed=seed + k) for k, (m, n) in enumerate(s.sizes.items())}


HOLES = [[[1, 1], [0, 1], [1, 0], [1, 1]], [[1, 0]], [[0, 0], [1, 0], [1, 0]], [[1, 1], [1, 1]]]


# ---- recurrent networks


def plain(ours: Recurrent, kind: str, width: int, hidden: int, layers: int, both: bool) -> nn.Module:
    """torch's own network with the same weights, all layers and directions in one."""
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](width, hidden, layers, bidirectional=both).double()
    with torch.no_grad():
        for k in range(layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(theirs, f"{name}_l{k}").copy_(getattr(ours.forwards[k], f"{name}_l0"))
                if both:
                    getattr(theirs, f"{name}_l{k}_reverse").copy_(getattr(ours.backwards[k], f"{name}_l0"))
    return theirs


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_is_the_plain_network_sequence_by_sequence(kind, both, layers, lengths):
    torch.manual_seed(0)
    ours = Recurrent(kind, 4, 3, layers=layers, bidirectional=both).double()
    theirs = plain(ours, kind, 4, 3, layers, both)
    assert ours.width == (6 if both else 3)
    x = random(sum(lengths), 4)
    cotangent = random(len(x), ours.width, seed=1)
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    got = ours(mine, Sequences(torch.tensor(lengths)))
    want = torch.cat([theirs(part)[0] for part in its.split(lengths) if len(part)])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    got.backward(cotangent)
    want.backward(cotangent)
    torch.testing.assert_close(mine.grad, its.grad, rtol=0, atol=1e-10)
    assert its.grad.abs().max() > 1e-5
    for k in range(layers):
        torch.testing.assert_close(ours.forwards[k].weight_hh_l0.grad, getattr(theirs, f"weight_hh_l{k}").grad, rtol=0, atol=1e-10)
        if both:
            back = getattr(theirs, f"weight_ih_l{k}_reverse").grad
            torch.testing.assert_close(ours.backwards[k].weight_ih_l0.grad, back, rtol=0, atol=1e-10)


@pytest.mark.parametrize("lengths", [[0], [0, 0, 0]])
def test_recurrent_of_nothing(lengths):
    y = Recurrent("lstm", 4, 3).double()(random(0, 4), Sequences(torch.tensor(lengths)))
    assert y.shape == (0, 6)
    assert y.dtype == torch.float64


def test_sequences_name_every_row_once_and_pad_with_rows_of_the_same_sequence():
    lengths = torch.tensor([3, 0, 17, 1, 2, 2])
    sequences = Sequences(lengths)
    owner = torch.repeat_interleave(torch.arange(6), lengths)
    for order, where in ((0, sequences.where), (1, sequences.where_flipped)):
        flat = torch.cat([block[order].flatten() for block in sequences.blocks])
        assert torch.equal(flat[where], torch.arange(25))
        for block in sequences.blocks:
            assert (owner[block[order]] == owner[block[order]][:, :1]).all()
    assert sum(block[0].numel() for block in sequences.blocks) < 5 * 17, "everything was padded to the longest"


def test_dropout_stands_between_stacked_layers_only_and_in_training_only():
    torch.manual_seed(0)
    x, s = random(6, 4), Sequences(torch.tensor([6]))
    one, two = (Recurrent("gru", 4, 3, layers=k, dropout=0.5).double() for k in (1, 2))
    assert torch.equal(one(x, s), one.eval()(x, s))
    assert not torch.equal(two(x, s), two(x, s))
    assert torch.equal(two.eval()(x, s), two(x, s))


@pytest.mark.parametrize("both", [False, True])
def test_context_encoder_skips_absent_utterances(both):
    torch.manual_seed(0)
    s = structure(HOLES, M2)
    encoder = ContextEncoder({"text": 4, "audio": 5}, 6, ContextEncoderOptions(input_dropout=0.0), bidirectional=both).double()
    x = {"text": random(s.sizes["text"], 4), "audio": random(s.sizes["audio"], 5, seed=1)}
    got = encoder(s, x)
    for k, m in enumerate(M2):
        network = plain(encoder.networks[m], "lstm", x[m].shape[1], 3 if both else 6, 1, both)
        rows, number = [], 0
        for dialogue in HOLES:
            mine = []
            for utterance in dialogue:
                if utterance[k]:
                    mine.append(x[m][number])
                    number += 1
            if mine:
                projection = encoder.projections[m]
                rows.append(network(torch.stack(mine))[0] @ projection.weight.T + projection.bias)
        torch.testing.assert_close(got[m], torch.cat(rows), rtol=0, atol=1e-10)


def test_context_encoder_has_one_network_a_modality_and_drops_in_training_only():
    s = structure(HOLES, M2)
    encoder = ContextEncoder({"text": 4, "audio": 4}, 6, dropout=0.5).double()
    x = features(s, 4)
    assert not torch.equal(encoder(s, x)["text"], encoder(s, x)["text"])
    encoder.eval()
    before = encoder(s, x)
    changed = encoder(s, {"text": x["text"], "audio": x["audio"] + 1})
    assert torch.equal(before["text"], changed["text"])
    assert not torch.equal(before["audio"], changed["audio"])


# ---- from nodes to utterances


def test_beside_is_the_loop():
    presence = [[[1, 1, 0], [0, 1, 1], [0, 0, 0]], [[1, 0, 0]], [[0, 0, 1], [1, 1, 1]]]
    s = structure(presence, M3)
    x = {m: random(n, 2 + k, seed=k) for k, (m, n) in enumerate(s.sizes.items())}
    leaves = {m: v.clone().requires_grad_() for m, v in x.items()}
    rows, seen = [], dict.fromkeys(M3, 0)
    for dialogue in presence:
        for utterance in dialogue:
            parts = []
            for k, m in enumerate(M3):
                parts.append(x[m][seen[m]] if utterance[k] else torch.zeros(2 + k, dtype=torch.float64))
                seen[m] += utterance[k]
            rows.append(torch.cat(parts))
    got = beside(s, leaves)
    assert torch.equal(got, torch.stack(rows))
    got.sum().backward()
    assert all((v.grad == 1).all() for v in leaves.values()), "each node stands in one place"


def test_beside_of_a_modality_that_is_nowhere():
    s = structure([[[1, 0], [1, 0]]], M2)
    got = beside(s, {"text": random(2, 3), "audio": random(0, 2)})
    assert got.shape == (2, 5)
    assert (got[:, 3:] == 0).all()


# ---- head and loss


def test_emotion_head_is_two_maps_with_a_relu_between():
    torch.manual_seed(0)
    head = EmotionHead(5, 4, 3, dropout=0.9).double()
    h = random(7, 5)
    first, second = (layer for layer in head.layers if isinstance(layer, nn.Linear))
    want = (h @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    assert not torch.allclose(head(h), want)
    torch.testing.assert_close(head.eval()(h), want, rtol=0, atol=1e-12)


def test_cross_entropy_is_torch_s_on_the_labelled():
    logits, labels = random(6, 3).requires_grad_(), torch.tensor([2, -1, 0, -1, 1, 1])
    loss = cross_entropy(logits, labels)
    known = labels >= 0
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits[known], labels[known]), rtol=0, atol=1e-12)
    loss.backward()
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).all()


def test_cross_entropy_of_nothing_labelled_is_zero_with_a_graph():
    logits = random(4, 3).requires_grad_()
    loss = cross_entropy(logits, torch.full((4,), -1))
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cross_entropy_of_half_precision_is_float32(dtype):
    logits, labels = (100 * random(6, 3)).to(dtype), torch.tensor([2, 1, 0, -1, 1, 1])
    loss = cross_entropy(logits, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(logits.float(), labels), rtol=0, atol=0)


# ---- the masked GCN as a module


def node_kept(seed: int, step: int, dialogue: int, place: int, rate: float) -> bool:
    return word_is_kept(word_of(seed, step, dialogue, place) ^ 0x5BD1E995, rate)


def gcn(**options: object) -> MaskedGCN:
    torch.manual_seed(0)
    module = MaskedGCN(4, MaskedGCNOptions(**options), seed=7).double()
    if module.token is not None:
        nn.init.normal_(module.token)
    return module


LONG = [[[1, 1], [1, 1], [0, 1], [1, 0], [1, 1]], [[1, 1], [1, 1], [1, 1]]]


@pytest.mark.parametrize("mask", ["edges", "nodes", "both"])
def test_the_mask_is_drawn_in_training_only(mask):
    s, module = structure(LONG, M2, [31, 4]), gcn(mask=mask, rate=0.5)
    x = features(s, 4)
    trained, shown, _ = module(s, x)
    still, input_, _ = module.eval()(s, x, step=3)
    assert not torch.equal(torch.cat(list(trained.values())), torch.cat(list(still.values())))
    none, _, _ = gcn(mask=mask, rate=0.0)(s, x)
    for m in M2:
        assert torch.equal(input_[m], x[m])
        assert torch.equal(none[m], still[m])
        assert torch.equal(shown[m], x[m]) == (mask == "edges")


@pytest.mark.parametrize("mask", ["nodes", "both"])
def test_masked_nodes_show_the_token_to_the_graph_and_to_the_residual(mask):
    s, module = structure(LONG, M2, [31, 4]), gcn(mask=mask, rate=0.5)
    x = features(s, 4)
    _, shown, _ = module(s, x, step=2)
    hidden = 0
    for k, m in enumerate(M2):
        for row, at in enumerate(s.nodes[m].tolist()):
            place = int(s.position[at]) * 2 + k
            kept = node_kept(7, 2, int(s.keys[s.dialogue[at]]), place, 0.5)
            assert torch.equal(shown[m][row], x[m][row] if kept else module.token)
            hidden += not kept
    assert 0 < hidden < sum(s.sizes.values())
    leaves = {m: v.clone().requires_grad_() for m, v in x.items()}
    _, shown, _ = module(s, leaves, step=2)
    torch.cat(list(shown.values())).sum().backward()
    assert module.token.grad[0] == hidden


def test_what_the_kernel_gets_is_the_token_and_weights_of_the_unmasked():
    s, module = structure(LONG, M2, [31, 4]), gcn(mask="nodes", rate=0.5, layers=1, aleph=0.6)
    x = features(s, 4)
    out, shown, _ = module(s, x, step=2)
    h = torch.cat([shown[m] for m in M2])
    n = torch.nn.functional.normalize(torch.cat([x[m] for m in M2]))
    at = torch.cat([s.nodes[m] for m in M2])
    kind = torch.tensor([k for k, m in enumerate(M2) for _ in range(s.sizes[m])])
    a = (1 - torch.arccos((n @ n.T).clamp(-1, 1)) / torch.pi) * (1 - 0.4 * (kind[:, None] != kind).double())
    same = (kind[:, None] == kind) & (s.dialogue[at][:, None] == s.dialogue[at])
    a = a * ((same | (at[:, None] == at)) & ~torch.eye(len(h), dtype=torch.bool))
    root = (a.sum(1) + 1).rsqrt()
    p = root[:, None] * (a + torch.eye(len(h))) * root
    want = torch.relu(p @ h @ module.matrices[0])
    torch.testing.assert_close(torch.cat([out[m] for m in M2]), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mask", ["edges", "nodes", "both"])
def test_the_mask_is_a_function_of_step_and_seed(mask):
    s, module = structure(LONG, M2, [31, 4]), gcn(mask=mask, rate=0.5)
    x = features(s, 4)

    def run(step: int) -> Tensor:
        return torch.cat(list(module(s, x, step=step)[0].values()))

    first = run(5)
    torch.manual_seed(99)
    assert torch.equal(run(5), first)
    assert not torch.equal(run(6), first)
    module.seed = 8
    assert not torch.equal(run(5), first)


def test_node_and_edge_masks_only_do_what_they_say():
    s = structure(LONG, M2, [31, 4])
    x = features(s, 4)
    nodes, edges = gcn(mask="nodes", rate=1.0), gcn(mask="edges", rate=1.0, layers=1)
    _, shown, _ = nodes(s, x)
    assert all((v == nodes.token).all() for v in shown.values())
    alone, _, _ = edges(s, x)
    for m in M2:
        torch.testing.assert_close(alone[m], torch.relu(x[m] @ edges.matrices[0]), rtol=0, atol=1e-12)
    assert gcn(mask="edges").token is None


@pytest.mark.dgl
@pytest.mark.parametrize("backend", ["dense", "dgl"])
def test_a_batch_without_any_node(backend):
    s = structure([[[0, 0], [0, 0]], [[0, 0]]], M2)
    module = MaskedGCN(4, MaskedGCNOptions(mask="both"), backend=backend)
    out, shown, _ = module(s, {m: torch.zeros(0, 4) for m in M2})
    assert {m: tuple(v.shape) for m, v in (out | shown).items()} == dict.fromkeys(M2, (0, 4))


def test_rescale_divides_the_kept_edges():
    s = structure(LONG, M2, [31, 4])
    x = features(s, 4)
    runs = [gcn(mask="edges", rate=0.5, degree="full", rescale=r, layers=1) for r in (False, True)]
    plain_, scaled = (torch.cat(list(g(s, x)[0].values())) for g in runs)
    assert not torch.allclose(plain_, scaled)
    runs[1].eval()
    runs[0].eval()
    plain_, scaled = (torch.cat(list(g(s, x)[0].values())) for g in runs)
    assert torch.equal(plain_, scaled)


@pytest.mark.parametrize("aleph", [0.5, 1.0, 3.0])
def test_aleph_is_learnt_through_softplus(aleph):
    s, module = structure(LONG, M2), gcn(learn_aleph=True, aleph=aleph)
    assert module.aleph.item() == pytest.approx(aleph, abs=1e-6)
    x = features(s, 4)
    torch.cat(list(module(s, x)[0].values())).square().sum().backward()
    assert module.raw_aleph.grad.abs() > 1e-4
    fixed = gcn(aleph=aleph)
    assert fixed.raw_aleph is None
    for m in M2:
        torch.testing.assert_close(fixed.eval()(s, x)[0][m], module.eval()(s, x)[0][m], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("layers", -1), ("rate", 1.5), ("rate", -0.1), ("rate", float("nan")), ("aleph", -1.0), ("aleph", 1e9)]
)
def test_options_out_of_bounds(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        MaskedGCNOptions(**{name: value})


# ---- dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate):
    torch.manual_seed(0)
    layer, count = Dropout(rate), 400_003  # not whole words
    x = torch.ones(count, requires_grad=True)
    y = layer(x)
    dropped = (y == 0).double()
    assert abs(dropped.mean() - rate) < 5 * (rate * (1 - rate) / count) ** 0.5
    realised = round(rate * 65536) / 65536
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - realised)))
    for k in range(4):  # each place within a word
        assert abs(dropped[k::4].mean() - rate) < 0.01
    for apart in range(1, 9):  # a feature does not tell of its neighbours
        assert abs(torch.corrcoef(torch.stack([dropped[apart:], dropped[:-apart]]))[0, 1]) < 5 * count**-0.5
    ct = torch.randn(count)
    (gradient,) = torch.autograd.grad(y, x, ct)
    assert torch.equal(gradient, ct * y.detach())


def test_dropout_is_a_function_of_the_seed():
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(7, 9))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    torch.manual_seed(1)
    layer = Dropout(0.5)
    assert not torch.equal(layer(torch.ones(7, 9)), layer(torch.ones(7, 9)))


def test_dropout_at_its_ends_and_in_evaluation():
    x = random(3, 5)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert Dropout(0.5)(x[:0]).shape == (0, 5)
    assert Dropout(0.5)(x.T).dtype == x.dtype
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(1.5)
