"""The server's page in a real browser: what it shows, asks for and does not run."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

HOSTILE = "<img src=x onerror=\"document.title='owned'\">.png"


@pytest.fixture
def page(browser, served) -> Iterator[Any]:
    """Give the page; a word on its console or a request elsewhere is a failure."""
    context = browser.new_context()
    shown, heard, asked = context.new_page(), [], []
    shown.on("console", lambda message: heard.append(message.text))
    shown.on("pageerror", lambda error: heard.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(served.url)
    shown.wait_for_selector("#about:not(:empty)")
    yield shown
    context.close()
    refused = "Failed to load resource: the server responded with a status of 422"
    assert [word for word in heard if not word.startswith(refused)] == []
    own = (served.url, "data:", f"blob:{served.url}")
    assert [url for url in asked if not url.startswith(own)] == []


def choose(page, path) -> None:
    page.set_input_files("#file", path)
    page.wait_for_selector("#result:not([hidden])")


def test_an_image_is_classified(page, served, photos):
    path = next(photos.glob("train/*/*.png"))
    choose(page, path)
    answer = served.ask("POST", "/predict", path.read_bytes())[1]
    assert page.inner_text("#label").startswith(answer["label"] + ", ")
    names = page.locator("#bars bdi").all_inner_texts()
    assert names == sorted(names, key=lambda name: -answer["probabilities"][name])
    widths = [fill.bounding_box()["width"] for fill in page.locator("#bars .bar b").all()]
    track = page.locator("#bars .bar").first.bounding_box()["width"]
    shares = [answer["probabilities"][name] for name in names]
    assert [width / track for width in widths] == pytest.approx(shares, abs=0.01)
    assert page.locator("#nearest li").count() == 6
    assert page.locator("#nearest bdi").nth(1).inner_text() == answer["nearest"][0]["path"]
    loaded = (
        "Promise.all([...document.querySelectorAll('#result img')]"
        ".map(async (i) => (await i.decode(), i.naturalWidth)))"
    )
    assert page.evaluate(loaded) == [48] * 7  # the files themselves, which are small
    assert page.inner_text("#file-name") == path.name
    assert "ms on the server" in page.inner_text("#time")
    assert page.evaluate("document.activeElement.id") == "label"


def test_all_labels_of_an_image_are_shown(browser, start, tiny_backbone, photos, tmp_path):
    from factories import write_tiny_classifier

    server = start(write_tiny_classifier(tmp_path / "m.onnx", tiny_backbone, [0.2, 0.5, 0.6]))
    shown = browser.new_page()
    shown.goto(server.url)
    shown.wait_for_selector("#about:not(:empty)")
    lines = []
    for path in sorted(photos.glob("train/*/*.png")):
        choose(shown, path)
        answer = server.ask("POST", "/predict", path.read_bytes())[1]
        named = [
            f"{name}, {100 * answer['probabilities'][name]:.1f} %" for name in answer["labels"]
        ]
        lines.append(shown.inner_text("#label"))
        assert lines[-1] == ("; ".join(named) or "none of the labels")
    shown.close()
    assert len({line.count(";") for line in lines}) > 1


def test_with_the_keyboard_alone(page, photos):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    photo = next(photos.glob("train/*/*.png"))
    page.on("filechooser", lambda chooser: chooser.set_files(photo))
    page.evaluate("null")  # the browser knows by now that somebody listens for choosers
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")


def test_the_first_screen_has_the_classes_and_an_example_of_each(page, served):
    model = served.ask("GET", "/model")[1]
    assert page.locator("#classes bdi").all_inner_texts() == model["classes"]
    assert page.inner_text("#name") == model["dataset"] != ""
    example = page.locator("#classes button").first
    example.click()
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#file-name") == f"example of {model['classes'][0]}"
    assert page.locator("text=No file chosen").count() == 0


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(page, photos, how):
    content = base64.b64encode(next(photos.glob("train/*/*.png")).read_bytes()).decode()
    page.evaluate(
        """([content, how]) => {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "a.png"));
            const init = { bubbles: true, dataTransfer: data, clipboardData: data };
            document.body.dispatchEvent(how === "drop" ? new DragEvent("drop", init)
                                                       : new ClipboardEvent("paste", init));
        }""",
        [content, how],
    )
    page.wait_for_selector("#result:not([hidden])")


def test_what_is_no_image_is_said(page, tmp_path):
    (tmp_path / HOSTILE).write_bytes(b"text")
    page.set_input_files("#file", tmp_path / HOSTILE)
    page.wait_for_selector("#error:not(:empty)")
    assert page.inner_text("#error").startswith("the image cannot be used: not a JPEG, PNG")
    (tmp_path / HOSTILE).write_bytes(b"x" * (2 << 20))
    page.set_input_files("#file", tmp_path / HOSTILE)
    page.wait_for_selector("#error:has-text('larger')")
    assert page.inner_text("#error") == f"{HOSTILE} is larger than 1 MiB."
    assert page.title().endswith(": classify an image")  # "owned" if the name had run


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1100])
def test_nothing_is_wider_than_the_window(page, photos, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    choose(page, next(photos.glob("train/*/*.png")))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert dark == (scheme == "dark")
