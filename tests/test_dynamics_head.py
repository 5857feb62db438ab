"""The second opinion by emotion dynamics: what it says, how it is found and by what it is chosen, written out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from helpers import M2, features_for, normal
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch import Tensor

from dgl_merc.corpus import Scaling
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import DivergedError
from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.heads import DynamicsOptions, EmotionDynamics
from dgl_merc.heads import dynamics_solution as solution
from dgl_merc.heads.dynamics_solution import last_emotions, solve_dynamics
from dgl_merc.kernels.emotion_dynamics import emotion_dynamics_loop
from dgl_merc.models import ModelInput, build_model
from dgl_merc.models.bilstm import BiLSTMOptions
from dgl_merc.training import fit, load_settings
from dgl_merc.training.data import DialogueData
from dgl_merc.training.loop import Trainer
from dgl_merc.training.settings import TrainingSettings

SPEC = GraphSpec(M2)
WIDTH, CLASSES = 4, 3
HALF = DynamicsOptions(share=0.5)


def head_for(options: DynamicsOptions = HALF, *, random: bool = True) -> EmotionDynamics:
    """All of its parameters are random, or those it begins with."""
    made = EmotionDynamics.of(dict.fromkeys(M2, WIDTH), CLASSES, options)
    assert made is not None
    made = made.double()
    for k, p in enumerate(made.parameters()) if random else ():
        p.data = normal(*p.shape, seed=40 + k)
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
        b = head.evidence.bias.clone() if any(there) else torch.zeros(CLASSES, dtype=torch.float64)
        for k, m in enumerate(M2):
            if there[k]:
                w = head.evidence.weight[:, k * WIDTH : (k + 1) * WIDTH]
                b = b + w @ x[m][seen[m]] + head.evidence.weight[:, len(M2) * WIDTH + k]
                seen[m] += 1
        rows.append(b)
    return torch.stack(rows)


def transition_by_hand(inertia: Tensor, contagion: Tensor) -> Tensor:
    rows = [[a + b for b in contagion] for a in inertia]
    return torch.stack([torch.stack([row - row.exp().sum().log() for row in some]) for some in rows])


def opinion_by_hand(s: Structure, b: Tensor, t: Tensor, speakers: int = 3) -> Tensor:
    ends = pairwise(s.offsets.tolist())
    heard = [emotion_dynamics_loop(s.speakers[i:j].tolist(), b[i:j], t, causal=s.spec.causal, remembered=speakers) for i, j in ends]
    return (b + torch.cat(heard)).softmax(-1)


# ---- what it says


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_it_answers_with_the_product_of_the_two(share, causal):
    head = head_for(replace(HALF, share=share)).eval()
    s, x, logits, _ = talk(replace(SPEC, causal=causal))
    q = opinion_by_hand(s, evidence_by_hand(head, s, x), transition_by_hand(head.inertia, head.contagion))
    want = logits.softmax(-1) ** (1 - share) * q**share
    got = head(s, x, logits)
    torch.testing.assert_close(got.softmax(-1), want / want.sum(-1, keepdim=True), rtol=0, atol=1e-10)
    if share == 1:
        torch.testing.assert_close(got.softmax(-1), q, rtol=0, atol=1e-10)
        assert torch.equal(head(s, x, -3 * logits), got)


def test_who_has_no_modality_shows_nothing_and_is_heard_of_all_the_same():
    head = head_for(replace(HALF, share=1.0)).eval()
    s, x, logits, _ = talk()
    q = head(s, x, logits).softmax(-1)[4]
    assert (q - 1 / CLASSES).abs().max() > 0.01, "the others tell of it"
    bare = Structure.of([1], SPEC, presence=[[0, 0]])
    alone = head(bare, {m: torch.zeros(0, WIDTH, dtype=torch.float64) for m in M2}, logits[:1]).softmax(-1)
    torch.testing.assert_close(alone[0], transition_by_hand(head.inertia, head.contagion)[-1, -1].exp(), rtol=0, atol=1e-12)


def test_in_training_the_model_s_own_logits_are_all_there_is():
    head = head_for().train()
    s, x, logits, _ = talk()
    assert head(s, x, logits) is logits
    assert not any(p.requires_grad for p in head.parameters())


def test_fewer_speakers_remembered_are_another_answer():
    s, x, logits, _ = talk()
    s = replace(s, speakers=torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2]))
    three, two = (head_for(replace(HALF, speakers=n)).eval()(s, x, logits) for n in (3, 2))
    assert not torch.equal(three, two)


# ---- how it is found


def solved(s: Structure, x: Any, labels: Tensor, classes: int = CLASSES, speakers: int = 3) -> solution.DynamicsSolution:
    return solve_dynamics(s, np.asarray(x), labels, classes, speakers=speakers)


def conversations(seed: int, count: int = 9, **spec: Any) -> tuple[Structure, Any, Tensor]:
    """Short ones, features that say something of the emotion, and emotions that move."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 5, count).tolist()
    total = sum(lengths)
    s = Structure.of(lengths, GraphSpec(("text",), **spec), speakers=rng.integers(0, 2, total).tolist())
    y = (s.position + s.dialogue + torch.from_numpy(rng.integers(0, 2, total))) % CLASSES
    x = np.concatenate([np.eye(CLASSES)[y] + rng.normal(0, 0.8, (total, CLASSES)), np.ones((total, 1))], axis=1)
    y[torch.from_numpy(rng.random(total) < 0.1)] = -1
    return s, x, y


def test_evidence_is_logistic_regression_without_the_frequencies():
    s, x, y = conversations(0, 30)
    found, known = solved(s, x, y), (y >= 0).numpy()
    direct = LogisticRegression(C=found.cost, max_iter=1000).fit(x[known], y[known])
    frequency = np.bincount(y[known]) / known.sum()
    want = direct.predict_log_proba(x) - np.log(frequency)
    got = x @ found.weight.T + found.bias
    np.testing.assert_allclose(got - got[:, :1], want - want[:, :1], rtol=0, atol=1e-3)
    assert np.ptp(frequency) > 0.01, "vacuous"


def test_transitions_are_where_their_loss_with_its_penalty_is_least():
    s, x, y = conversations(1, 30)
    found = solved(s, x, y)
    a, b = (torch.tensor(m / found.sharpness, requires_grad=True) for m in (found.inertia, found.contagion))
    own, other = last_emotions(s, y, CLASSES, speakers=3)
    turns = [(int(o), int(c), int(e)) for o, c, e in zip(own, other, y, strict=True) if min(o, c, e) >= 0]
    assert 0 < len(turns) < int((y >= 0).sum()), "vacuous: every turn's past is known, or none's"
    bias = (b.detach()[:-1].sum(0) + b.detach()[-1]) / len(b)  # what is in every row costs nothing: an intercept
    t = transition_by_hand(a, b)
    loss = -sum(t[turn] for turn in turns) + (a**2).sum() / 2 + ((b - bias) ** 2).sum() / 2
    for gradient in torch.autograd.grad(loss, [a, b]):
        assert gradient.abs().max() < 0.01 * len(turns)


def by_hand(s: Structure, x: Any, y: Any, speakers: int) -> dict[tuple[float, float], float]:
    """C, s -> weighted F1 of three folds in order."""
    fold = np.repeat([3 * d // s.num_dialogues for d in range(s.num_dialogues)], s.lengths)
    said = {}
    for cost, sharpness in product((0.001, 0.003, 0.01, 0.03, 0.1), (1.0, 0.7, 0.5)):
        answer = np.zeros(len(y), dtype=int)
        for k in range(3):
            known = (y >= 0) & (fold != k)
            direct = LogisticRegression(C=cost, max_iter=1000).fit(x[known], y[known])
            b = direct.predict_log_proba(x[fold == k]) - np.log(np.bincount(y[known]) / known.sum())
            others, held = (s.select(sorted({int(d) for d in s.dialogue[torch.from_numpy(some)]})) for some in (fold != k, fold == k))
            own, other = (last.numpy() for last in last_emotions(others, torch.from_numpy(y[fold != k]), CLASSES, speakers=speakers))
            moved = (own >= 0) & (other >= 0) & (y[fold != k] >= 0)
            at = np.concatenate([np.eye(CLASSES + 1)[own[moved]], np.eye(CLASSES + 1)[other[moved]]], axis=1)
            moves = LogisticRegression(C=1.0, max_iter=1000).fit(at, y[fold != k][moved])
            pairs = np.array([[*np.eye(CLASSES + 1)[o], *np.eye(CLASSES + 1)[c]] for o in range(CLASSES + 1) for c in range(CLASSES + 1)])
            t = torch.tensor(sharpness * moves.decision_function(pairs)).log_softmax(-1).view(CLASSES + 1, CLASSES + 1, CLASSES)
            answer[fold == k] = opinion_by_hand(held, torch.tensor(b), t, speakers).argmax(-1)
        said[cost, sharpness] = f1_score(y[y >= 0], answer[y >= 0], average="weighted")
    return said


@pytest.mark.parametrize(("causal", "speakers"), [(False, 3), (True, 2)])
def test_what_is_chosen_is_best_on_dialogues_left_out(causal, speakers):
    chosen = set()
    for seed in range(4):
        s, x, y = conversations(seed, 11, causal=causal)
        found = solved(s, x, y, speakers=speakers)
        scores = by_hand(s, x, y.numpy(), speakers)
        best = max(scores.values())
        assert scores[found.cost, found.sharpness] > best - 1e-9
        assert (found.cost, found.sharpness) == next(pair for pair, score in scores.items() if score > best - 1e-9), "of equals the first"
        assert best > min(scores.values()) + 0.01, "vacuous"
        chosen.add((found.cost, found.sharpness))
    assert len(chosen) > 1, "vacuous"


def test_it_finds_how_emotions_move():
    """Who speaks goes on to the next emotion, and what is seen is the first turn alone."""
    s = Structure.of([6] * 20, GraphSpec(("text",)), speakers=[0] * 120)
    labels = (s.position + s.dialogue) % CLASSES
    x = {"text": 100 * torch.nn.functional.one_hot(labels, CLASSES).double() * (s.position == 0)[:, None]}
    head = EmotionDynamics({"text": CLASSES}, CLASSES, replace(HALF, share=1.0)).double()
    head.solve(s, x, labels)
    q = head.eval()(s, x, torch.zeros(120, CLASSES)).exp()
    assert q.gather(1, labels[:, None]).min() > 0.6
    assert q.argmax(-1).equal(labels)
    stays = head.transition.exp()[:CLASSES, CLASSES]
    assert stays[range(CLASSES), [1, 2, 0]].min() > 0.9


def test_a_corpus_whose_emotions_move_is_told_better_by_how_they_do():
    corpus = synthetic_corpus(0, (120, 40, 1))

    data = DialogueData(corpus, GraphSpec(tuple(corpus.modalities)), Scaling.fit(corpus, "standard", tuple(corpus.modalities)), "emotion")
    train, dev = (data.batch(corpus.in_split(split)) for split in ("train", "dev"))
    head = EmotionDynamics({m: x.shape[1] for m, x in train.features.items()}, 6, replace(HALF, share=1.0))
    head.solve(train.structure, train.features, train.truth)
    known, own = dev.truth >= 0, torch.zeros(len(dev.truth), 6)
    heard = head.eval()(dev.structure, dev.features, own).argmax(-1)
    for part in (head.inertia, head.contagion):
        part.zero_()
    alone = head(dev.structure, dev.features, own).argmax(-1)
    f1, without = (f1_score(dev.truth[known], said[known], average="weighted") for said in (heard, alone))
    assert f1 > 0.7, "of 120 dialogues; Bayes: 0.81"
    assert f1 > without + 0.05


# ---- with little


def test_one_dialogue_has_nothing_to_leave_out():
    s, x, y = conversations(2, 1)
    found = solved(s, x, torch.where(y < 0, 0, y))
    assert (found.cost, found.sharpness) == solution.ALONE


def test_one_label_is_all_that_is_said():
    s, x, y = conversations(3, 6)
    y[:] = -1
    y[s.offsets[1]] = 1
    found = solved(s, x, y)
    assert (x @ found.weight.T + found.bias).argmax(-1).tolist() == [1] * len(y)
    assert not found.inertia.any(), "how emotions move is not known"
    assert all(np.isfinite(part).all() for part in found)


def test_without_a_label_nothing_is_known():
    s, x, y = conversations(3, 6)
    assert not any(np.any(part) for part in solved(s, x, torch.full_like(y, -1))[:4])


def test_a_class_without_an_example_is_not_expected():
    s, x, y = conversations(4, 20)
    y[y == 1] = 0
    head = head_for(replace(HALF, share=1.0), random=False)
    head.evidence = torch.nn.Linear(x.shape[1], CLASSES).double()
    found = solved(s, x, y)
    b = torch.from_numpy(x @ found.weight.T + found.bias)
    q = opinion_by_hand(s, b, transition_by_hand(torch.from_numpy(found.inertia), torch.from_numpy(found.contagion)))
    assert q[:, 1].max() < 1e-9
    assert q[:, 0].max() > 0.5


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_features_that_are_not_finite_are_refused(value):
    s, x, y = conversations(5)
    x[3, 0] = value
    with pytest.raises(
        DivergedError, match=r"^a training utterance has features beyond what float32 can hold: no evidence can be made of them$"
    ):
        solved(s, x, y)


# ---- options


def test_where_there_is_no_second_opinion():
    assert EmotionDynamics.of({"text": 3}, CLASSES, DynamicsOptions()) is None
    assert EmotionDynamics.of({"text": 3}, 1, HALF) is None, "a score"
    assert EmotionDynamics.of({"text": 3}, 2, HALF) is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": -0.1}, "share must be from 0 to 1, found -0.1"),
        ({"share": float("nan")}, "share must be from 0 to 1, found nan"),
        ({"speakers": 1}, "speakers must be from 2 to 4, found 1"),
        ({"speakers": 5}, "speakers must be from 2 to 4, found 5"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        DynamicsOptions(**options)


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


# ---- in a run


@pytest.mark.usefixtures("unpainted")
def test_a_run_solves_it_before_the_first_step_and_never_again(tmp_path, monkeypatch):
    corpus, solved, seen = synthetic_corpus(0, (12, 4, 4), with_ceilings=False), list[EmotionDynamics](), list[list[Tensor]]()
    inner = EmotionDynamics.solve
    monkeypatch.setattr(EmotionDynamics, "solve", lambda self, *given: solved.append(self) or inner(self, *given))
    words = ("model.hidden=6", "model.dynamics.share=.5", "training.max_epochs=3", "training.averaging=ema", "training.batch_size=4")

    def run(out: str, on_look: Any = None, **options: Any) -> dict[str, Tensor]:
        settings = load_settings("bilstm", words, 7)
        fit(corpus, GraphSpec(tuple(corpus.modalities)), settings, tmp_path / out, on_look=on_look, **options)
        return load_file(tmp_path / out / "weights.safetensors")

    class Stop(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stop

    def look(_look: object, _best: object, model: Any) -> None:
        seen.append([p.clone() for p in model.dynamics.parameters()])

    whole = run("whole", look)
    assert len(solved) == 1
    assert any(p.abs().max() > 0.1 for p in seen[0])
    assert all(torch.equal(p, q) for later in seen for p, q in zip(seen[0], later, strict=True)), "no step moves it, and no average"
    with pytest.raises(Stop):
        run("cut", lambda look, *_: stop() if look.number == 2 else None)
    assert len(solved) == 2
    gone_on = run("cut", resume=True)
    assert len(solved) == 2, "solved again"
    assert all(torch.equal(whole[name], gone_on[name]) for name in whole)
    assert any(name.startswith("dynamics.") for name in whole)


def test_of_many_dialogues_evenly_spaced_ones_are_enough(monkeypatch):
    corpus, given = synthetic_corpus(0, (12, 4, 4), with_ceilings=False), list[Tensor]()
    monkeypatch.setattr(EmotionDynamics, "solve", lambda _self, structure, *_: given.append(structure.keys))
    training = corpus.in_split("train")
    total = int(corpus.lengths[training].sum())
    for enough, step in ((total, 1), (total - 1, 2), (total // 3, 4)):
        monkeypatch.setattr("dgl_merc.training.loop._ENOUGH", enough)
        data = DialogueData(corpus, GraphSpec(("text",)), Scaling.fit(corpus, "standard", ("text",)), "emotion")
        model = build_model(
            "bilstm", ModelInput({"text": corpus.modalities["text"].width}, 6, data.spec), BiLSTMOptions(4, 1, dynamics=HALF)
        )
        Trainer(model, data, training, corpus.in_split("dev"), TrainingSettings(max_steps=1), seed=0).run()
        assert given.pop().tolist() == training[::step].tolist()
