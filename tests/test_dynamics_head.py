"""The second opinion by emotion dynamics: what it says and what it learns from, written out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from helpers import M2, features_for, normal
from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.heads import DynamicsOptions, EmotionDynamics
from dgl_merc.heads.dynamics import last_emotions
from dgl_merc.kernels.emotion_dynamics import emotion_dynamics_loop

SPEC = GraphSpec(M2)
WIDTH, CLASSES = 4, 3
HALF = DynamicsOptions(share=0.5, dropout=0.0)


def head_for(options: DynamicsOptions = HALF, *, random: bool = True) -> EmotionDynamics:
    """All of its parameters are random, or those it begins with."""
    torch.manual_seed(0)
    made = EmotionDynamics.of(dict.fromkeys(M2, WIDTH), CLASSES, options)
    assert made is not None
    made = made.double()
    if random:
        for k, p in enumerate(made.parameters()):
            p.data = normal(*p.shape, seed=40 + k) / 2
        made.evidence.weight.data /= made.scale
    return made


def talk(spec: GraphSpec = SPEC) -> tuple[Structure, dict[str, Tensor], Tensor, Tensor]:
    """Two dialogues of two and three speakers; an utterance without audio, one without text, one without either; some labels."""
    presence = [[1, 1], [1, 0], [1, 1], [0, 1], [0, 0], [1, 1], [1, 1], [1, 1], [1, 0]]
    s = Structure.of([5, 4], spec, presence=presence, speakers=[0, 1, 0, 0, 1, 2, 0, 1, 2])
    return s, features_for(s, WIDTH, seed=50), normal(9, CLASSES, seed=60), torch.tensor([0, 2, 1, -1, 2, -1, 1, 0, 2])


def evidence_by_hand(head: EmotionDynamics, s: Structure, x: dict[str, Tensor]) -> Tensor:
    """Utterance by utterance, modality by modality."""
    rows, seen = [], dict.fromkeys(M2, 0)
    for there in s.presence.tolist():
        b = torch.zeros(CLASSES, dtype=torch.float64)
        for k, m in enumerate(M2):
            if there[k]:
                w = 384 / 64 * head.evidence.weight[:, k * WIDTH : (k + 1) * WIDTH]
                b = b + w @ x[m][seen[m]] + head.presence[k]
                seen[m] += 1
        rows.append(b)
    return torch.stack(rows)


def transition_by_hand(head: EmotionDynamics) -> Tensor:
    rows = [[4 * (head.inertia[own] + head.contagion[other]) for other in range(CLASSES + 1)] for own in range(CLASSES + 1)]
    return torch.stack([torch.stack([row - row.exp().sum().log() for row in some]) for some in rows])


def opinion_by_hand(head: EmotionDynamics, s: Structure, b: Tensor) -> Tensor:
    t, causal = transition_by_hand(head), s.spec.causal
    ends = pairwise(s.offsets.tolist())
    heard = [emotion_dynamics_loop(s.speakers[i:j].tolist(), b[i:j], t, causal=causal, remembered=head.options.speakers) for i, j in ends]
    return (b + torch.cat(heard)).softmax(-1)


# ---- what it says


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_it_answers_with_the_product_of_the_two(share, causal):
    head = head_for(replace(HALF, share=share)).eval()
    s, x, logits, labels = talk(replace(SPEC, causal=causal))
    q = opinion_by_hand(head, s, evidence_by_hand(head, s, x))
    want = logits.softmax(-1) ** (1 - share) * q**share
    got, losses = head(s, x, logits, labels)
    torch.testing.assert_close(got.softmax(-1), want / want.sum(-1, keepdim=True), rtol=0, atol=1e-10)
    assert losses == {}
    assert torch.equal(head(s, x, logits).logits, got), "labels are told"
    assert torch.equal(head(s, x, logits, labels.flip(0)).logits, got), "labels are told"
    if share == 1:
        torch.testing.assert_close(got.softmax(-1), q, rtol=0, atol=1e-10)
        assert torch.equal(head(s, x, -3 * logits).logits, got)


def test_who_has_no_modality_shows_nothing_and_is_heard_of_all_the_same():
    head = head_for(replace(HALF, share=1.0)).eval()
    s, x, logits, _ = talk()
    q = head(s, x, logits).logits.softmax(-1)[4]
    assert (q - 1 / CLASSES).abs().max() > 0.01, "the others tell of it"
    bare = Structure.of([1], SPEC, presence=[[0, 0]])
    alone = head(bare, {m: torch.zeros(0, WIDTH, dtype=torch.float64) for m in M2}, logits[:1]).logits.softmax(-1)
    torch.testing.assert_close(alone[0], transition_by_hand(head)[-1, -1].exp(), rtol=0, atol=1e-12)


# ---- what it learns from


@pytest.mark.parametrize("causal", [False, True])
def test_the_loss_is_the_sum_of_three(causal):
    head = head_for(replace(HALF, transitions=0.7))
    s, x, logits, labels = talk(replace(SPEC, causal=causal))
    got = head(s, x, logits, labels)
    assert got.logits is logits, "in training the model's own"
    b, t = evidence_by_hand(head, s, x), transition_by_hand(head)
    q, alone = opinion_by_hand(head, s, b), (b + head.frequency).softmax(-1)
    known = [u for u in range(9) if labels[u] >= 0]
    none = CLASSES
    moves = [(none, none, 0), (none, 0, 2), (0, 2, 1), (none, 1, 0)]  # own, other, new: of the others' moves one of the three is not known
    want = -sum(q[u, labels[u]].log() for u in known) / len(known)
    want = want - sum(alone[u, labels[u]].log() for u in known) / len(known)
    want = want - 0.7 * sum(t[move] for move in moves) / len(moves)
    assert set(got.losses) == {"dynamics"}
    torch.testing.assert_close(got.losses["dynamics"], want, rtol=0, atol=1e-10)
    parameters = list(head.parameters())
    for ours, theirs in zip(torch.autograd.grad(got.losses["dynamics"], parameters), torch.autograd.grad(want, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        assert theirs.abs().max() > 1e-4


def test_the_loss_of_the_transition_forgets_as_the_kernel_does():
    s, labels = Structure.of([4], GraphSpec(("text",)), speakers=[0, 1, 2, 0]), torch.tensor([1, 0, 2, 2])
    for speakers, own in ((2, CLASSES), (3, 1)):
        head = head_for(replace(HALF, speakers=speakers))
        t = head.transition
        moves = [(CLASSES, CLASSES, 1), (CLASSES, 1, 0), (CLASSES, 0, 2), (own, 2, 2)]
        torch.testing.assert_close(head._surprise(s, labels, t), -sum(t[move] for move in moves) / 4, rtol=0, atol=1e-12)


def test_a_model_s_own_logits_learn_nothing_from_it():
    s, x, logits, labels = talk()
    logits.requires_grad_()
    (moved,) = torch.autograd.grad(head_for()(s, x, logits, labels).losses["dynamics"], logits, allow_unused=True)
    assert moved is None


def test_without_labels_there_is_nothing_to_learn():
    head = head_for()
    s, x, logits, labels = talk()
    assert head(s, x, logits).losses == {}
    loss = head(s, x, logits, torch.full_like(labels, -1)).losses["dynamics"]
    assert loss == 0
    assert all(not g.any() for g in torch.autograd.grad(loss, list(head.parameters()))), "every process has every gradient"


def test_it_learns_how_emotions_move():
    """Who speaks goes on to the next emotion, and what is seen is the first turn alone."""
    s = Structure.of([6] * 20, GraphSpec(("text",)), speakers=[0] * 120)
    labels = (s.position + s.dialogue) % CLASSES
    x = {"text": torch.nn.functional.one_hot(labels, CLASSES).double() * (s.position == 0)[:, None]}
    head = EmotionDynamics({"text": CLASSES}, CLASSES, replace(HALF, share=1.0)).double()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        head(s, x, torch.zeros(120, CLASSES), labels).losses["dynamics"].backward()
        optimizer.step()
    q = head.eval()(s, x, torch.zeros(120, CLASSES)).logits.exp()
    assert q.gather(1, labels[:, None]).min() > 0.9
    stays = head.transition.exp()[:CLASSES, CLASSES]
    assert stays[range(CLASSES), [1, 2, 0]].min() > 0.9


# ---- options


def test_where_there_is_no_second_opinion():
    assert EmotionDynamics.of({"text": 3}, CLASSES, DynamicsOptions()) is None
    assert EmotionDynamics.of({"text": 3}, 1, HALF) is None, "a score"
    assert EmotionDynamics.of({"text": 3}, 2, HALF) is not None


@pytest.mark.parametrize("options", [{"share": 0.6}, {"dropout": 0.4}, {"speakers": 2}, {"transitions": 0.0}], ids=str)
def test_every_option_acts(options):
    s, x, logits, labels = talk()
    s = replace(s, speakers=torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2]))
    found = []
    for given in (HALF, replace(HALF, **options)):
        head = head_for(given)
        torch.manual_seed(1)
        loss = head.train()(s, x, logits, labels).losses["dynamics"]
        found.append((loss, head.eval()(s, x, logits).logits))
    assert torch.equal(found[0][0], found[1][0]) == ("share" in options)
    assert torch.equal(found[0][1], found[1][1]) == ("dropout" in options or "transitions" in options)


def test_dropout_is_on_the_features_alone():
    head = head_for(replace(HALF, dropout=1.0))
    s, x, logits, labels = talk()
    deaf = {m: torch.zeros_like(v) for m, v in x.items()}
    assert torch.equal(head(s, x, logits, labels).losses["dynamics"], head(s, deaf, logits, labels).losses["dynamics"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": -0.1}, "share must be from 0 to 1, found -0.1"),
        ({"share": float("nan")}, "share must be from 0 to 1, found nan"),
        ({"dropout": 1.5}, "dropout must be from 0 to 1, found 1.5"),
        ({"speakers": 1}, "speakers must be from 2 to 4, found 1"),
        ({"speakers": 5}, "speakers must be from 2 to 4, found 5"),
        ({"transitions": float("inf")}, "transitions must be at least 0 and finite, found inf"),
        ({"transitions": -1.0}, "transitions must be at least 0 and finite, found -1.0"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        DynamicsOptions(**options)


def test_at_first_an_emotion_is_more_likely_to_stay():
    head = head_for(random=False)
    t = head.transition.exp()
    torch.testing.assert_close(t.sum(-1), torch.ones(CLASSES + 1, CLASSES + 1, dtype=torch.float64))
    stays = torch.e / (torch.e + CLASSES - 1)
    for other in range(CLASSES + 1):
        torch.testing.assert_close(t[:CLASSES, other].diagonal(), torch.full((CLASSES,), stays, dtype=torch.float64))
    torch.testing.assert_close(t[CLASSES], torch.full((CLASSES + 1, CLASSES), 1 / CLASSES, dtype=torch.float64))
    assert isinstance(head.presence, nn.Parameter)
    assert not head.presence.any()


# ---- last emotions


@pytest.mark.parametrize("speakers", [2, 3, 4])
def test_last_emotions_are_found_by_looking_back(speakers):
    generator = torch.Generator().manual_seed(speakers)
    lengths = [1, 30, 2, 40]
    who = torch.randint(0, 6, (73,), generator=generator)
    s, labels = Structure.of(lengths, SPEC, speakers=who.tolist()), torch.randint(-1, 5, (73,), generator=generator)
    own, other, forgotten = [], [], 0
    for u in range(73):
        first = int(s.offsets[s.dialogue[u]])
        before = range(first, u)
        same, others = [v for v in before if who[v] == who[u]], [v for v in before if who[v] != who[u]]
        if same and len(set(who[same[-1] + 1 : u].tolist())) >= speakers:
            same, forgotten = [], forgotten + 1
        own.append(int(labels[same[-1]]) if same else 9)
        other.append(int(labels[others[-1]]) if others else 9)
    found = last_emotions(s, labels, 9, speakers=speakers)
    assert [x.tolist() for x in found] == [own, other]
    assert forgotten > 0, "vacuous: nobody is forgotten"
