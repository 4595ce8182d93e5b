"""``headstart backbones --shortlist``."""

import json
from pathlib import Path

import pytest
from headstart import backbones
from headstart.backbones import shortlist
from headstart.core.choices import SHORTLISTS
from headstart.core.errors import InputError
from headstart.workflows import backbones as workflow

PAGE = Path(__file__).parents[2] / "docs" / "shortlist.md"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Give the hub an empty cache and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_every_kind_has_networks_and_the_page_has_the_table():
    assert {each.kind for each in shortlist.every()} == set(SHORTLISTS)
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    expected = [
        f"| `{each.name}` | {each.parameters:,.1f} | {each.download_mb:,} | {each.licence} | "
        f"{each.commercial} | {each.trained_on} | {each.access} |"
        for each in shortlist.every()
    ]
    assert rows == expected
    for kind in SHORTLISTS:
        assert f"## {kind.capitalize()}" in PAGE.read_text()


@pytest.mark.parametrize("each", shortlist.every(), ids=lambda each: f"{each.kind} {each.name}")
def test_a_row_is_of_a_network_that_can_be_named(each):
    assert each.commercial in ("yes", "no", "under its terms", "ask")
    assert each.access in ("built in", "open", "gated")
    assert not ("-nc" in each.licence and each.commercial == "yes")
    prefix, _, rest = each.name.rpartition(":")
    if prefix == "timm":  # the library's own facts
        entry = backbones.provider_of(each.name).find(each.name)
        assert entry is not None
        assert (entry.licence, entry.repo) == (each.licence, each.repository)
        assert entry.name == each.name
    else:
        assert each.access == "built in" or rest == each.repository


def test_it_says_what_to_fetch(headstart, empty_cache):
    text = headstart("backbones", "--shortlist", "pathology").stdout
    assert "hf download MahmoodLab/UNI2-h" in text
    assert "ask for access at https://huggingface.co/MahmoodLab/UNI2-h" in text
    assert "cc-by-nc-nd-4.0" in text
    document = json.loads(headstart("backbones", "--shortlist", "species", "--json").stdout)
    assert [row["commercial"] for row in document["backbones"]] == ["yes", "yes"]
    assert not any(row["at_hand"] for row in document["backbones"])


@pytest.mark.parametrize("kind", SHORTLISTS)
def test_its_lines_fit_a_terminal(kind, headstart, empty_cache):
    text = headstart("backbones", "--shortlist", kind).stdout
    names = [each.name for each in shortlist.of(kind)]
    assert [line for line in text.splitlines() if line in names] == names
    facts = text.partition("To fetch")[0].splitlines()
    assert max(len(line) for line in facts if line not in names) < 80


@pytest.mark.slow
@pytest.mark.cases(2)
@pytest.mark.parametrize(
    "each", [each for each in shortlist.every() if each.name.startswith("timm:")], ids=str
)
def test_the_size_of_a_network_of_timm_is_the_librarys(each):
    from headstart.core.torchvision_import import import_timm

    timm = import_timm()
    import torch

    with torch.device("meta"):
        network = timm.create_model(each.name.removeprefix("timm:"))
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert each.parameters == round(parameters, 1)
    assert abs(each.download_mb / (4 * parameters) - 1) < 0.01


def test_what_is_here_needs_no_download(headstart, empty_cache):
    weights = empty_cache / "models--imageomics--bioclip" / "snapshots" / "a" / "w.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    text = headstart("backbones", "--shortlist", "species").stdout
    assert "hf download imageomics/bioclip-2" in text
    assert "hf download imageomics/bioclip\n" not in text


@pytest.mark.slow
def test_one_yes_fetches_and_ranks(headstart, empty_cache, monkeypatch):
    ranked = []

    def choose(data, out, *, candidates, **options):
        ranked.append((data, candidates))
        raise InputError("ranked")

    monkeypatch.setattr(workflow, "choose_backbone", choose)
    command = ("backbones", "--for", "photos", "--shortlist", "photos", "--yes", "--backbone", "x")
    done = headstart(*command, code=1)
    assert done.stderr.count("without timm:") == 4  # there is no network
    assert ranked == [("photos", ("x", "efficientnet-lite0"))]


def test_without_a_terminal_to_ask_on_it_prints_the_commands(headstart, empty_cache, monkeypatch):
    monkeypatch.setattr(workflow, "choose_backbone", pytest.fail)
    text = headstart("backbones", "--for", "photos", "--shortlist", "species").stdout
    assert "hf download imageomics/bioclip-2" in text
    assert "--yes" in text


def test_without_a_network_nothing_can_be_ranked(headstart, empty_cache):
    done = headstart("backbones", "--shortlist", "species", "--yes", code=1)
    assert "none of the networks for species could be fetched" in done.stderr


def test_yes_needs_a_shortlist(headstart):
    assert "--shortlist" in headstart("backbones", "--yes", code=2).stderr
