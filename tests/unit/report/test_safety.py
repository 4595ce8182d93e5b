"""The page is safe whatever the names are, and readable for everybody."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence

import pytest
from factories import prediction, results_document
from headstart.report import render
from html_page import Page
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("mistakes", [None, [prediction("a.jpg", "hat", "shirt", 0.9)]])
def test_the_page_loads_nothing_and_runs_its_own_scripts_only(
    mistakes: list[dict[str, str]] | None,
):
    page = Page(render(results_document(), mistakes))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"iframe", "object", "embed", "audio", "video"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert all(src.startswith("data:image/webp;base64,") for src in page.values("src"))
    assert all(href.startswith("#") or href == "data:," for href in page.values("href"))
    assert "url(" not in page.style
    assert "@import" not in page.style
    policy = next(text for text in page.values("content") if text.startswith("default-src 'none'"))
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    _, *programs = page.scripts
    for program in programs:
        digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_every_reference_has_its_target_and_every_scroller_the_keyboard():
    html = render(results_document(), [prediction("a.jpg", "hat", "shirt", 0.9)])
    page = Page(html)
    identifiers = page.values("id")
    assert len(set(identifiers)) == len(identifiers)
    links = [href[1:] for href in page.values("href") if href.startswith("#")]
    assert set(links + page.values("aria-labelledby")) <= set(identifiers)
    assert html.count('class="scroll"') == html.count('tabindex="0"') > 0
    assert [tag for tag, _ in page.tags].count("h1") == 1


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "</title></style><h1>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_only_text(name: str):
    def page(text: str) -> Page:
        results = results_document([text, "pants", "shirt"])
        results["dataset"]["name"] = text
        results["dataset"]["failure_reasons"] = {text: 2}
        results["warnings"] = [{"topic": text, "text": text, "code": text}]
        results["provenance"] |= {"command": text, "machine": {text: text}}
        results["protocol"]["test_split"] = text
        results["extraction"]["document"]["backbone"]["source"] = text
        results["heads"][1]["params"] = {text: text}
        mistake = prediction(text, "shirt", "hat", 0.9) | {"predicted": text, f"p:{text}": "0.9"}
        return Page(render(results, [mistake]))

    hostile = page(name)
    assert hostile.tags == page("harmless").tags
    assert hostile.text.count(name) > 10


@functools.cache
def plain_tags() -> list[tuple[str, tuple[str, ...]]]:
    return Page(render(results_document())).tags


@pytest.mark.slow
@given(st.text(st.characters(), max_size=20))
def test_any_class_name_gives_the_same_page_structure(name: str):
    html = render(results_document([name, "pants", "shirt"]))
    assert Page(html).tags == plain_tags()
    assert html.encode("utf-8").decode("utf-8") == html


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("襯衫", "襯衫"),
        ("قميص", "قميص"),
        ("क्\u200dष", "क्\u200dष"),
        ("caf\udce9", "caf\\xe9"),
        ("a\ud800b", "a\\ud800b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb\x00", "a\\nb\\x00"),
    ],
)
def test_names_of_any_script_are_shown_and_broken_ones_spelled_out(name: str, shown: str):
    assert f"<bdi>{shown}</bdi>" in render(results_document([name, "pants", "shirt"]))


def _luminance(colour: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Contrast ratio of WCAG 2.2, with sRGB colours on the 0…1 scale."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_have_the_contrast_of_wcag_aa(scheme: int):
    style = Page(render(results_document())).style
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = {
        name: [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        for name, digits in re.findall(r"--([a-z-]+): #([0-9a-f]{6});", block)
    }
    for text in ("ink", "muted", "accent"):
        assert _contrast(colours[text], colours["paper"]) >= 4.5
    assert _contrast(colours["ink"], colours["raised"]) >= 4.5
    shades = re.findall(r"--(hit|miss): (\d+) (\d+) (\d+);", block)
    assert len(shades) == 2
    least = float(re.search(r"--least: ([.\d]+)", block)[1])
    strongest = {"hit": 0.08 + 0.47, "miss": least + 0.46}
    assert "rgb(var(--hit) / calc(.08 + .47 * var(--s)))" in style
    assert "rgb(var(--miss) / calc(var(--least) + .46 * var(--s)))" in style
    for kind, *channels in shades:
        alpha = strongest[kind]
        cell = [
            alpha * int(channel) / 255 + (1 - alpha) * paper
            for channel, paper in zip(channels, colours["paper"], strict=True)
        ]
        assert _contrast(colours["ink"], cell) >= 4.5
