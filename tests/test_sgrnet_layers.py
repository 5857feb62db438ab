"""SGRNet's layers: what each promises beyond the equations, which test_sgrnet.py holds them to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import M2, M3, features_for, normal, structure_for

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.layers import (
    ContextEncoder,
    ContextEncoderOptions,
    DistributionEncoder,
    DistributionEncoderOptions,
    Gaussian,
    SemanticGraph,
    SemanticGraphOptions,
    UncertaintyFusion,
    UncertaintyFusionOptions,
)
from dgl_merc.losses import AlignmentOptions
from dgl_merc.models import ModelInput, build_model
from dgl_merc.models.sgrnet import SGRNetOptions

D, W = 6, 4
PRESENCE = [[1, 1, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]]


def three() -> Structure:
    return Structure.of([3, 1], GraphSpec(M3), presence=PRESENCE)


def gaussians(s: Structure, sigma: float = 0.3) -> dict[str, Gaussian]:
    means, spreads = features_for(s, D, 1), features_for(s, D, 2)
    return {m: Gaussian(means[m], sigma * spreads[m].abs() + 0.01) for m in means}


# ---- distributions


@pytest.mark.parametrize("spread", [0.01, 0.1, 2.0])
@pytest.mark.parametrize("paths", ["split", "full"])
def test_sigma_begins_near_the_spread_and_is_never_0(paths, spread):
    s = structure_for(GraphSpec(M2), [40, 30], drop=0.0)
    layer = DistributionEncoder(M2, 60, DistributionEncoderOptions(5, paths, spread=spread)).double()
    z = {m: torch.nn.functional.normalize(x, dim=-1) for m, x in features_for(s, 60, 1).items()}
    for d in layer(s, z).values():
        assert 0.8 * spread < d.sigma.mean() < 1.25 * spread
    for parameter in layer.deviation.parameters():
        parameter.detach().fill_(-1e3)
    assert all((d.sigma >= 1e-6).all() for d in layer(s, z).values())


def test_each_modality_is_its_own():
    s = three()
    layer = DistributionEncoder(M3, D, DistributionEncoderOptions(2)).double()
    z = features_for(s, D, 1)
    before = layer(s, z)
    after = layer(s, {**z, "audio": z["audio"] + 1})
    for part in (0, 1):
        assert torch.equal(before["text"][part], after["text"][part])
        assert not torch.allclose(before["audio"][part], after["audio"][part])


def test_the_paths_of_a_head_see_their_half_only():
    s = structure_for(GraphSpec(("text",)), [4], drop=0.0)
    layer = DistributionEncoder(("text",), 8, DistributionEncoderOptions(2, "split")).double()
    z = normal(4, 8, seed=1)
    changed = z.clone()
    changed[:, 2:4] += 1.0  # the second half of the first head's slice
    before, after = layer(s, {"text": z})["text"], layer(s, {"text": changed})["text"]
    torch.testing.assert_close(after.mean - before.mean, changed - z)  # the residual alone
    assert torch.equal(after.sigma[:, 4:], before.sigma[:, 4:])
    assert not torch.allclose(after.sigma[:, :4], before.sigma[:, :4])


# ---- fusion


@pytest.mark.parametrize("kind", ["printed", "inverse", "equal"])
def test_weights_by_hand(kind):
    s = three()
    given = gaussians(s)
    found = UncertaintyFusion(M3, D, W, UncertaintyFusionOptions(kind, heads=2, head_dim=3)).double().eval()(s, given)
    t, a, v = (d.sigma.norm(dim=-1) for d in given.values())
    shares = {"printed": lambda n: n, "inverse": lambda n: 1 / n, "equal": torch.ones_like}[kind]
    first = shares(torch.stack([t[0], a[0], v[0]]))
    torch.testing.assert_close(found.weights[0], first / first.sum())
    second = shares(torch.stack([t[1], v[1]]))
    torch.testing.assert_close(found.weights[1, [0, 2]], second / second.sum())
    assert found.weights[1, 1] == 0
    assert found.weights[2].tolist() == [0, 0, 0]
    assert found.weights[3].tolist() == [0, 1, 0]
    torch.testing.assert_close(found.norms[0], torch.stack([t[0], a[0], v[0]]))


@pytest.mark.parametrize("kind", ["printed", "inverse"])
def test_weights_have_a_gradient_and_a_bare_utterance_does_not_spoil_it(kind):
    s = three()
    given = {m: Gaussian(d.mean, d.sigma.requires_grad_()) for m, d in gaussians(s).items()}
    UncertaintyFusion(M3, D, W, UncertaintyFusionOptions(kind, heads=2, head_dim=3)).double().eval()(s, given).g.square().sum().backward()
    for d in given.values():
        assert d.sigma.grad.isfinite().all()
        assert d.sigma.grad[0].abs().max() > 0


@pytest.mark.parametrize("options", [UncertaintyFusionOptions(heads=2, head_dim=3), UncertaintyFusionOptions(interaction="sum")])
def test_noise_has_sigma_s_size_in_training_and_is_none_outside(options):
    s = Structure.of([1], GraphSpec(M2))
    layer = UncertaintyFusion(M2, D, D, options).double()
    mean, sigma = normal(1, D, seed=1), normal(1, D, seed=2).abs() + 0.1
    given = {m: Gaussian(mean, sigma) for m in M2}
    if options.interaction == "sum":  # g = the mean of both modalities' samples
        layer.sum.weight.detach().copy_(torch.eye(D))
        torch.manual_seed(0)
        drawn = torch.stack([layer.train()(s, given).g[0] for _ in range(4000)])
        torch.testing.assert_close(drawn.mean(0), mean[0], rtol=0, atol=0.1)
        torch.testing.assert_close(drawn.std(0), sigma[0] / 2**0.5, rtol=0.06, atol=0)
    first, second = layer.train()(s, given).g, layer(s, given).g
    assert not torch.equal(first, second)
    layer.eval()
    assert torch.equal(layer(s, given).g, layer(s, given).g)
    torch.testing.assert_close(layer(s, given).weights, layer.train()(s, given).weights)


@pytest.mark.parametrize("spec", [GraphSpec(M2), GraphSpec(M3)])
@pytest.mark.parametrize("residual", [False, True])
def test_an_utterance_without_any_modality_has_zeros(residual, spec):
    s = Structure.of([3, 1], spec, presence=[row[: len(spec.modalities)] for row in PRESENCE])
    layer = UncertaintyFusion(spec.modalities, D, W, UncertaintyFusionOptions(heads=2, head_dim=3, residual=residual)).double()
    g = layer(s, gaussians(s)).g
    assert g.shape == (4, W)
    assert g[2].tolist() == [0] * W
    assert (g[[0, 1, 3]].abs().sum(1) > 0).all()


def test_each_branch_of_two_fills_its_part_of_g():
    s = Structure.of([2], GraphSpec(M2), presence=[[1, 1], [1, 0]])
    layer = UncertaintyFusion(M2, D, 5, UncertaintyFusionOptions(heads=2, head_dim=3, residual=False)).double()
    g = layer(s, gaussians(s)).g
    assert (g[1, :3] != 0).all()
    assert g[1, 3:].tolist() == [0, 0], "the branch of audio, which the utterance has not"
    assert (g[0] != 0).all()


def test_dropout_after_the_encoders_and_after_the_fusion():
    s = structure_for(GraphSpec(M2), [40, 30], drop=0.0)
    options = SGRNetOptions(dropout=0.4, alignment=AlignmentOptions(prototypes=3))
    model = build_model("sgrnet", ModelInput({"text": 3, "audio": 2}, 4, s.spec), options).double()
    seen: dict[str, Any] = {}
    model.encoder.register_forward_hook(lambda *made: seen.update(encoded=made[2]["text"]))
    model.graph.register_forward_pre_hook(lambda _, given: seen.update(g=given[1]))
    x = {"text": normal(70, 3, seed=1), "audio": normal(70, 2, seed=2)}
    for training, share in ((True, 0.4), (False, 0.0)):
        model.train(training)(s, x)
        for part in ("encoded", "g"):
            assert abs((seen[part] == 0).double().mean() - share) < 0.03, part


# ---- the semantic graph


def test_the_encoders_stand_side_by_side():
    s = structure_for(GraphSpec(M2), [5, 2])
    g = normal(7, 8, seed=3)
    whole = SemanticGraph(8, SemanticGraphOptions(heads=3)).double()
    assert whole.width == 8
    syntactic, semantic = whole.syntactic(s, g), whole.semantic(s, g)
    assert (syntactic.shape[1], semantic.shape[1]) == (5, 3), "three heads of one feature; the rest is the other's"
    assert torch.equal(whole(s, g), torch.cat([syntactic, semantic], 1))
    assert SemanticGraph(8, SemanticGraphOptions(heads=0)).double()(s, g).shape == (7, 8)
    alone = SemanticGraph(8, SemanticGraphOptions(layers=0, heads=3)).double()
    assert alone.width == alone(s, g).shape[1] == 6


@pytest.mark.parametrize(("spec", "reached"), [(GraphSpec(M2, past=1, future=0), {2, 3, 4}), (GraphSpec(M2, past=0, future=2), {0, 1, 2})])
def test_the_syntactic_encoder_hears_what_the_windows_reach(spec, reached):
    s = structure_for(spec, [6], drop=0.0)
    g = normal(6, 8, seed=3)
    layer = SemanticGraph(8, SemanticGraphOptions(heads=0, layers=2)).double()
    changed = g.clone()
    changed[2] += 1.0
    moved = (layer(s, changed) - layer(s, g)).abs().amax(1) > 1e-12
    assert set(moved.nonzero()[:, 0].tolist()) == reached


# ---- the context encoder's part


def test_a_gru_s_state_is_the_encoding():
    s = structure_for(GraphSpec(M2), [5, 3])
    options = ContextEncoderOptions(cell="gru", projected=False, bidirectional=False, input_dropout=0.0)
    layer = ContextEncoder({"text": 3, "audio": 2}, 4, options).double()
    x = {"text": normal(s.sizes["text"], 3, seed=1), "audio": normal(s.sizes["audio"], 2, seed=2)}
    plain = torch.nn.GRU(3, 4, batch_first=True).double()
    plain.load_state_dict(layer.networks["text"].forwards[0].state_dict())
    first = int(s.counts["text"][s.offsets[1]])
    torch.testing.assert_close(layer(s, x)["text"][:first], plain(x["text"][None, :first])[0][0])
    assert not list(layer.projections)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ContextEncoderOptions(projected=False, input_dim=4), "projected must be True with input_dim"),
        (lambda: ContextEncoderOptions(projected=False, speaker_context=True), "projected must be True with input_dim or speaker"),
        (lambda: ContextEncoderOptions(cell="rnn"), "cell must be"),  # type: ignore[arg-type]
        (lambda: ContextEncoder({"text": 3}, 5, ContextEncoderOptions(projected=False)), "projected must be True for an odd width"),
        (lambda: DistributionEncoderOptions(0), "heads must be at least 1, found 0"),
        (lambda: DistributionEncoderOptions(spread=0.0), "spread must be from"),
        (lambda: DistributionEncoderOptions(paths="half"), "paths must be"),  # type: ignore[arg-type]
        (lambda: DistributionEncoder(M2, 7, DistributionEncoderOptions(5)), r"heads must divide dim \(7\), found 5"),
        (
            lambda: DistributionEncoder(M2, 5, DistributionEncoderOptions(5, "split")),
            r"heads must divide dim and leave halves \(5\), found 5",
        ),
        (lambda: UncertaintyFusionOptions("variance"), "uncertainty must be"),  # type: ignore[arg-type]
        (lambda: UncertaintyFusionOptions(heads=0), "heads must be at least 1"),
        (lambda: SemanticGraphOptions(3), "relations must be 2 or 4, found 3"),
        (lambda: SemanticGraphOptions(layers=0, heads=0), "layers must be at least 1 where heads is 0"),
        (lambda: SemanticGraphOptions(buckets=0), "buckets must be at least 1"),
        (lambda: SemanticGraph(4, SemanticGraphOptions(heads=3)), "heads must be at most 2 with a width of 4, found 3"),
        (lambda: SGRNetOptions(dim=128), r"^distribution.heads must divide dim \(128\), found 5"),
        (lambda: SGRNetOptions(width=2), "^graph.heads must be at most 1 with a width of 2, found 2"),
        (lambda: AlignmentOptions(weight=-1.0), "weight must be at least 0"),
        (lambda: AlignmentOptions(tau_cross=0.0), "tau_cross must be at least"),
        (lambda: AlignmentOptions(xi_text=float("nan")), "xi_text must be finite"),
        (lambda: AlignmentOptions(prototypes=0), "prototypes must be at least 1"),
        (lambda: AlignmentOptions(hard_same="positive"), "hard_same must be"),  # type: ignore[arg-type]
    ],
)
def test_options_out_of_bounds(make: Any, said: str):
    with pytest.raises(ValueError, match=said):
        make()
