"""The papers' tables and figures by name: each row is what the paper's row means, and asking for one is asking for its rows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from cli_cases import assert_one_line, good, run
from helpers import SMALL_SGRNET
from study_cases import go

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.models import ModelInput, build_model
from dgl_merc.reports.study_report import write_study_report
from dgl_merc.settings import differences, flat_settings
from dgl_merc.studies.grid import Grid, Variant
from dgl_merc.studies.named import NAMED, NamedStudy, named_study
from dgl_merc.studies.summary import summarise
from dgl_merc.training.settings import load_settings, preset_names

M3 = ("text", "audio", "visual")
TINY = ("model.dim=4", "model.attention.head_dim=2", "training.max_epochs=1", "training.batch_size=5")
SMALL = {
    "mglra": ("model.dim=4", "model.attention.head_dim=2"),
    "sgrnet": SMALL_SGRNET,
}
PRESETS = [name for name in preset_names() if load_settings(name).model in NAMED]
EVERY = [(preset, study) for preset in PRESETS for study in NAMED[load_settings(preset).model]]

every_study = pytest.mark.parametrize(("preset", "study"), EVERY, ids=[f"{p} {s.slug}" for p, s in EVERY])
every_preset = pytest.mark.parametrize("preset", [name for name in PRESETS if load_settings(name).model == "mglra"])
every_sgrnet = pytest.mark.parametrize("preset", [name for name in PRESETS if load_settings(name).model == "sgrnet"])


def grid_of(preset: str, study: NamedStudy, *words: str, seeds: int = 1) -> Grid:
    return Grid(preset, words, study.variants(M3), tuple(range(seeds)), title=study.title, note=study.note)


def changes(grid: Grid, variant: Variant) -> dict[str, object]:
    """Which settings of the preset a row changes, and to what."""
    tables = [dict(flat_settings(grid.settings(v).to_json())) for v in (Variant(), variant)]
    return {key: after for key, _, after in differences(*tables)}


# ---- the rows


@every_study
def test_rows_differ_and_one_is_the_preset(preset, study):
    grid = grid_of(preset, study)
    assert len(grid.cells()) == len(grid.variants) == len({v.folder for v in grid.variants})
    assert sum(grid.is_preset(v) for v in grid.variants) == 1
    assert all(re.fullmatch(r"[A-Za-z]+(-rate)?=[^ ]+", v.folder) and not re.search(r"-[0-9a-f]{6}$", v.folder) for v in grid.variants)
    assert len({tuple(v.labels) for v in grid.variants}) == 1
    assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


OFF: dict[str, dict[str, object]] = {
    "GAF": {"model.filter.output": "none"},
    "MRFA": {"model.rounds": 1, "model.memory": "none"},
    "MHA": {"model.attention.heads": 0, "model.speaker_base": "head"},
    "MG": {"model.gcn.rate": 0.0},
}
PRINTED = ["----", "y---", "yy--", "yyy-", "yyyy"]
OURS = ["-yyy", "y-yy", "yy-y"]


@every_preset
def test_components(preset):
    grid = grid_of(preset, named_study("mglra", "table", "VI"))
    *rows, bare = grid.variants
    whole = dict(flat_settings(grid.settings(Variant()).to_json()))
    for variant, row in zip(rows, PRINTED + OURS, strict=True):
        off = [part for part, mark in zip(OFF, row, strict=True) if mark == "-"]
        assert changes(grid, variant) == {key: value for part in off for key, value in OFF[part].items() if whole[key] != value}
        assert variant.labels == {**{part: "-" if part in off else "yes" for part in OFF}, "graph": "yes"}
    assert changes(grid, bare) == {"model.fusion": "none"}
    assert list(bare.labels.values()) == ["yes", "yes", "yes", "-", "-"]


def test_without_a_mask_or_a_graph_no_node_is_guessed():
    grid = grid_of("mglra-paper", named_study("mglra", "table", "VI"), "model.reconstruction=0.5")
    assert [grid.settings(v).options.reconstruction for v in grid.variants] == [0.0] * 4 + [0.5] * 4 + [0.0]


@every_preset
def test_the_mask(preset):
    grid = grid_of(preset, named_study("mglra", "table", "iv"))
    assert [(v.labels, changes(grid, v)) for v in grid.variants] == [({"mask": "no"}, {"model.gcn.rate": 0.0}), ({"mask": "yes"}, {})]


@pytest.mark.parametrize("preset", PRESETS)
def test_modalities(preset):
    study = named_study(load_settings(preset).model, "table", "V")
    grid = grid_of(preset, study)
    names = ["text", "audio", "visual", "text+audio", "text+visual", "audio+visual", "text+audio+visual"]
    assert [v.labels for v in grid.variants] == [{"modalities": name} for name in names]
    assert [changes(grid, v) for v in grid.variants] == [{"data.modalities": tuple(n.split("+"))} for n in names[:-1]] + [{}]
    assert [v.labels["modalities"] for v in study.variants(("b", "a"))] == ["b", "a", "b+a"]


@every_preset
@pytest.mark.parametrize(
    ("number", "label", "key", "values"),
    [
        ("8", "heads", "model.attention.heads", [2, 4, 6, 8, 10, 12, 14, 16, 20]),
        ("9", "mask rate", "model.gcn.rate", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
    ],
)
def test_figures(preset, number, label, key, values):
    grid = grid_of(preset, named_study("mglra", "figure", number))
    assert [float(v.labels[label]) for v in grid.variants] == values
    default = {"model.attention.heads": 10, "model.gcn.rate": 0.7}[key]
    assert [changes(grid, v) for v in grid.variants] == [{key: value} if value != default else {} for value in values]


LESS = {
    "UW": {"model.fusion.uncertainty": "equal"},
    "CMI": {"model.fusion.interaction": "sum"},
    "SyE": {"model.graph.edge_weight": False},
    "SeE": {"model.graph.bias": False},
    "syntactic-encoder": {"model.graph.layers": 0},
    "semantic-encoder": {"model.graph.heads": 0},
    "IA": {"model.alignment.instance": 0.0},
    "PA": {"model.alignment.prototype": 0.0},
    "LSA": {"model.alignment.latent": 0.0},
}


@every_sgrnet
@pytest.mark.parametrize(
    ("kind", "number", "parts"),
    [("table", "IV", ["UW", "CMI", "SyE", "SeE", "syntactic-encoder", "semantic-encoder"]), ("figure", "5", ["IA", "PA", "LSA"])],
)
def test_parts_of_sgrnet(preset, kind, number, parts):
    grid = grid_of(preset, named_study("sgrnet", kind, number))
    assert [v.labels for v in grid.variants] == [{"without": part} for part in [*parts, "nothing"]]
    assert [changes(grid, v) for v in grid.variants] == [*(LESS[part] for part in parts), {}]


@every_sgrnet
def test_lambda(preset):
    grid = grid_of(preset, named_study("sgrnet", "figure", "8"))
    values, own = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], load_settings(preset).options.alignment.weight
    assert [float(v.labels["lambda"]) for v in grid.variants] == values
    assert [changes(grid, v) for v in grid.variants] == [{"model.alignment.weight": value} if value != own else {} for value in values]


@every_study
def test_every_row_is_a_model_that_computes(preset, study):
    widths = {"text": 5, "audio": 3, "visual": 2}
    grid = grid_of(preset, study, *SMALL[load_settings(preset).model])
    seen: list[torch.Tensor] = []
    for variant in grid.variants:
        settings = grid.settings(variant)
        spec = GraphSpec(settings.data.modalities or M3, cross=settings.graph.cross or "utterance")
        torch.manual_seed(0)
        model = build_model(settings.model, ModelInput({m: widths[m] for m in spec.modalities}, 4, spec, speakers=2), settings.options)
        s = Structure.of([7, 1, 9], spec, presence=[[(t + k) % 3 > 0 for k in range(len(spec.modalities))] for t in range(17)])
        generator = torch.Generator().manual_seed(1)
        x = {m: torch.randn(n, widths[m], generator=generator) for m, n in s.sizes.items()}
        torch.manual_seed(2)
        output = model.train()(s, x, step=1, labels=torch.arange(17) % 4)
        assert output.logits.shape == (17, 4)
        assert output.logits.isfinite().all()
        said = output.logits + sum(output.losses.values())
        assert not any(torch.equal(said, other) for other in seen), "two rows compute the same"
        seen.append(said)


@pytest.mark.parametrize("mask", ["edges", "nodes", "both"])
def test_the_mask_has_no_parameters(mask):
    """What the caption of Table IV says."""
    grid = grid_of("mglra", named_study("mglra", "table", "IV"), f"model.gcn.mask={mask}")
    given = ModelInput({"text": 3, "audio": 2}, 4, GraphSpec(M3[:2]))
    counts = [sum(p.numel() for p in build_model("mglra", given, grid.settings(v).options).parameters()) for v in grid.variants]
    assert counts[0] == counts[1] > 0


# ---- made


@pytest.mark.slow
def test_a_figure_is_a_curve(source, store, tmp_path):
    grid = grid_of("mglra", named_study("mglra", "figure", "9"), *TINY)
    result = write_study_report(tmp_path / "s", *summarise(grid, go(grid, tmp_path / "s", source, store), tmp_path / "s"))
    assert list(result.shown["mask rate"]) == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7 *", "0.8", "0.9"]
    assert "Line: mean over seeds. Band:" in (tmp_path / "s" / "report.html").read_text()
    assert (tmp_path / "s" / "mask-rate=0.3" / "seed0" / "metrics.json").is_file()


@pytest.fixture
def here(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "graphs").symlink_to(store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SET = [part for word in TINY for part in ("--set", word)]


@pytest.mark.slow
def test_a_table_by_name(here):
    command = ("ablate", "mglra", "graphs", "--table", "iv", *SET, "--seeds", 1, "--jobs", 1)
    lines = good(*command)
    assert lines[0] == "mglra on synthetic, Table IV of the MGLRA paper: 2 rows x 1 seed, 1 at once"
    (caption,) = [
        line for line in lines if line.startswith("Table IV of the MGLRA paper (here mglra on synthetic, dev): weighted F1, one seed")
    ]
    assert "*: mglra itself, with --set. " in caption
    assert "No reading of eq. 19 to 21 changes the number of parameters" in caption
    assert any(line.startswith("| yes * |") for line in lines)
    assert any(line.startswith("| no    |") for line in lines)
    place = here / "runs" / "ablate-mglra-graphs-table-IV"
    assert {p.parent.parent.name for p in place.rglob("metrics.json")} == {"mask=no", "mask=yes"}
    study = json.loads((place / "study.json").read_text())
    assert study["words"] == ["model.dynamics.share=0", *TINY], "the network alone"
    assert study["title"] == "Table IV of the MGLRA paper"
    for key in ("title", "note"):
        del study[key]
    (place / "study.json").write_text(json.dumps(study))  # as an older version wrote it
    assert Grid.from_json(study).title == ""
    shutil.rmtree(place / "mask=no")  # as if it had been interrupted
    kept = (place / "mask=yes" / "seed0" / "weights.safetensors").stat().st_mtime_ns
    lines = good(*command, "--final")
    assert any(line.startswith("Table IV of the MGLRA paper (here mglra on synthetic, test): ") for line in lines)
    assert (place / "mask=yes" / "seed0" / "weights.safetensors").stat().st_mtime_ns == kept, "a run was made twice"
    table = pd.read_csv(place / "table.csv")
    assert table["mask"].tolist() == ["no", "yes"]
    assert table["test mean"].notna().all()
    assert json.loads((place / "study.json").read_text())["title"] == "Table IV of the MGLRA paper"
    for name in ("table.txt", "table.tex", "report.html"):
        assert "Table IV of the MGLRA paper (here mglra on synthetic, test)" in (place / name).read_text(), name
    assert_one_line(
        run(*command, "--out", "runs/ablate-mglra-graphs-table-IV", "--set", "model.gcn.rate=0.5"), "model.gcn.rate = 0.7, not 0.5"
    )


FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "nothing": ("mglra graphs", ("pass one of --over, --table and --figure", "found none")),
    "two": ("mglra graphs --table V --figure 8", ("pass one of", "found --table and --figure")),
    "two of them": ("mglra graphs --table V --over training.lr=1,2", ("pass one of", "found --over and --table")),
    "no such table": ("mglra graphs --table VII", ("--table VII: mglra has --table IV, V, VI and --figure 8, 9",)),
    "no such figure": ("mglra-paper graphs --figure VI", ("--figure VI: mglra has --table IV, V, VI and --figure 8, 9",)),
    "nothing as a table": ("mglra graphs --table=", ("--table : mglra has",)),
    "a model without": ("bilstm graphs --table V", ("no table or figure of bilstm is known by name", "mglra has --table IV, V, VI", "sgrnet has --table IV, V and --figure 5, 8", "--over KEY=")),
    "no preset": ("mglrb graphs --table V", ("no preset 'mglrb'",)),
    "one modality": ("mglra graphs --table V --set data.modalities=text", ("--table V compares modalities, and here is one: text",)),
    "another modality": ("mglra graphs --table V --set data.modalities=smell", ("data.modalities names smell; the graphs have text, audio, visual",)),
    "rows that are the same": (
        "mglra graphs --table IV --set training.lr=.1 --set model.gcn.rate=0",
        ("Table IV of the MGLRA paper: with --set model.gcn.rate=0 its rows mask=no and mask=yes are the same settings",),
    ),
    "no graph at all": ("mglra graphs --table VI --set model.fusion=none", ("with --set model.fusion=none its rows", "are the same settings")),
    "a setting of every row": (
        "mglra graphs --figure 8 --set model.attention.heads=3",
        ("--set model.attention.heads=3: every row of Figure 8 of the MGLRA paper sets model.attention.heads anew",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(here, fault):
    words, pieces = FAULTS[fault]
    assert_one_line(run("ablate", *words.split()), *pieces)
    assert not (here / "runs").exists()


def test_a_set_that_leaves_the_rows_different_counts():
    grid = grid_of("mglra", named_study("mglra", "table", "IV"), "model.gcn.rate=0.5")
    grid.check_words()
    assert [grid.settings(v).options.gcn.rate for v in grid.variants] == [0.0, 0.5]


def test_the_help_says_what_there_is():
    said = " ".join(run("ablate", "--help").stdout.split())
    for model, studies in NAMED.items():
        for kind in ("table", "figure"):
            words = said.split(f"--{kind} NUMBER", 1)[1].split(" --", 1)[0]
            numbers = re.findall(r"(\w+) \(", words.split(f"{model}: ", 1)[1].split(".")[0])
            assert numbers == [study.number for study in studies if study.kind == kind]
