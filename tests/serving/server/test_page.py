"""The page at the REST port's root, as a visitor has it in headless Chromium."""

import base64
import hashlib
import json
import re
import subprocess

import grpc
import pytest
from browser import CHROMIUM, Browser

from kerasner.serving.server.status import ServingError
from kerasner.serving.server.web_page import Page

TEXT = (
    "Abel Arnstad 🗽 lives in Avalund .\n"
    "<img src=x onerror=alert(1)> Axonix Group opened an office in 'Brixby' & \"Avalund\" ."
)
LABELS = (  # of OntoNotes, CoNLL-2003 and one that the page has no colour for
    "CARDINAL DATE EVENT FAC GPE LANGUAGE LAW LOC MISC MONEY NORP ORDINAL ORG PER PERCENT PERSON "
    "PRODUCT QUANTITY TIME WORK_OF_ART some-other-label"
).split()

# What is highlighted: text, label, score, and where it starts in code points.
MARKS = """(() => {
    const before = (mark) => {
        const range = document.createRange();
        range.setStart(document.querySelector("#tagged"), 0);
        range.setEndBefore(mark);
        const part = range.cloneContents();
        part.querySelectorAll(".name").forEach((name) => name.remove());
        return Array.from(part.textContent).length;
    };
    return [...document.querySelectorAll("#tagged mark")].map((mark) => {
        const [label, score] = mark.querySelector(".name").textContent.split(" ");
        return [mark.firstChild.data, label, score, before(mark)];
    });
})()"""
STICKING_OUT = """[...document.querySelectorAll("section *")].filter((element) =>
    element.getBoundingClientRect().right
    > element.closest("section").getBoundingClientRect().right
).map((element) => element.outerHTML)"""
SHOWN = "!document.querySelector('#result').hidden"
WRONG = "!document.querySelector('#wrong').hidden"

in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture
def page(browser, rest_server):
    """The page, just opened."""
    browser.console.clear()
    browser.requests.clear()
    open_page(browser, rest_server)
    return browser


def open_page(browser, server, **options):
    browser.open(f"{server.url}/", **options)
    browser.wait_for("document.querySelector('#model').value")


def text_of(browser, selector):
    return browser.run(f"document.querySelector({selector!r}).textContent")


def expected_marks(tagger, text):
    return [
        [entity.text, entity.label, f"{entity.score:.2f}", entity.start]
        for entity in tagger.entities([text])[0]
    ]


def test_headers_of_the_page(rest_server):
    answer = rest_server.ask("GET", "/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>".encode(), answer.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert rest_server.ask("HEAD", "/").body == b""
    answer = rest_server.ask("POST", "/", b"x")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_page_needs_nothing_else():
    source = Page().body.decode()
    assert not re.search(r"https?:|//\w|@import|url\(|<link(?! rel=\"icon\" href=\"data:)", source)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", source)


def test_models_of_the_page(rest_server):
    assert rest_server.ask("GET", "/page/models.json").json == {"models": ["small"]}


@in_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_entities_are_the_taggers(browser, rest_server, tagger, width):
    open_page(browser, rest_server, width=width)
    browser.type("#text", TEXT)
    browser.click("#tag")
    browser.wait_for(SHOWN)
    expected = expected_marks(tagger, TEXT)
    assert len(expected) >= 3 and any(start > TEXT.index("🗽") for *_, start in expected)
    assert browser.run(MARKS) == expected
    shown = "[...document.querySelectorAll('#tagged .name')].forEach((name) => name.remove())"
    cells = "[...row.cells].map((cell) => cell.textContent)"
    rows = f"[...document.querySelectorAll('#rows tr')].map((row) => {cells})"
    assert browser.run(rows) == [
        [e.text, e.label, f"{e.score:.4f}", str(e.start), str(e.end)]
        for e in tagger.entities([TEXT])[0]
    ]
    found = text_of(browser, "#found")
    assert re.fullmatch(rf"{len(expected)} entities in \d+(\.\d)? ms", found)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(STICKING_OUT) == []
    browser.run(shown)
    assert text_of(browser, "#tagged") == TEXT  # no markup came of it


@in_chromium
def test_only_its_own_server_is_asked(page, rest_server):
    page.click("#tag")
    page.wait_for(SHOWN)
    paths = [url.removeprefix(rest_server.url) for url in page.requests if url[:5] != "data:"]
    assert paths == ["/", "/page/models.json", "/v1/models/small:predict"]
    assert page.console == []  # nothing broke its policy either


@in_chromium
def test_keyboard_alone(page, tagger):
    page.run("document.querySelector('#text').select()")
    page.run("document.querySelector('#text').focus()")
    page.send("Input.insertText", text="Abel Arnstad lives in Avalund .")
    page.press("Enter", 13, control=True)
    page.wait_for(SHOWN)
    assert page.run(MARKS) == expected_marks(tagger, "Abel Arnstad lives in Avalund .")
    stops = []
    for _ in range(20):
        page.press("Tab", 9)
        stops.append(page.run("document.activeElement.id || document.activeElement.textContent"))
        ring = page.run("getComputedStyle(document.activeElement).outlineWidth")
        assert ring == "3px", stops
        if stops[-1] == "The same with curl":
            break
    order = ["model", "tag", "least", "tagged", "Entities", "Answer as JSON", "The same with curl"]
    assert stops == order


@in_chromium
def test_names_for_a_screen_reader(page):
    page.click("#tag")
    page.wait_for(SHOWN)
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    names = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    }
    assert {
        ("textbox", "Text"),
        ("combobox", "Model"),
        ("button", "Tag"),
        ("slider", "Least score"),
        ("columnheader", "Label"),
        ("heading", "kerasner"),
    } <= names
    roles = [node["role"]["value"] for node in nodes]
    assert roles.count("mark") == page.run("document.querySelectorAll('mark').length")


@in_chromium
def test_entities_below_a_score_are_hidden(page, tagger):
    page.type("#text", TEXT)
    page.click("#tag")
    page.wait_for(SHOWN)
    scores = sorted(entity.score for entity in tagger.entities([TEXT])[0])
    least = round((scores[0] + scores[-1]) / 2, 2)
    page.run(
        f"""(() => {{
            const slider = document.querySelector("#least");
            slider.value = {least};
            slider.dispatchEvent(new Event("input"));
        }})()"""
    )
    left = sum(score >= least for score in scores)
    assert 0 < left < len(scores)
    visible = "document.querySelectorAll('{}:not(.low)').length"
    assert page.run(visible.format("#tagged mark")) == left
    assert page.run(visible.format("#rows tr")) == left
    assert text_of(page, "#found").startswith(f"{left} of {len(scores)} entities in ")
    assert text_of(page, "#shown") == f"{least:.2f}"


@in_chromium
def test_the_command_asks_the_same(page, rest_server):
    page.type("#text", TEXT)
    page.click("#tag")
    page.wait_for(SHOWN)
    script = "curl() { printf '%s\\0' \"$@\"; }\n" + text_of(page, "#curl")
    words = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    *options, body, url, _ = words.decode().split("\0")
    assert options == ["-H", "Content-Type: application/json", "-d"]
    assert json.loads(body)["instances"] == [TEXT]
    again = rest_server.ask("POST", url.removeprefix(rest_server.url), body.encode())
    assert again.json == json.loads(text_of(page, "#json"))
    page.click("#result details:last-of-type summary")
    page.send("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    page.click("#copy")
    page.wait_for("document.querySelector('#copied').textContent")
    assert page.run("navigator.clipboard.readText()") == text_of(page, "#curl")


@in_chromium
def test_half_a_surrogate_pair(page):
    page.run("document.querySelector('#text').value = 'Abel \\ud83d Arnstad'")
    page.click("#tag")
    page.wait_for(SHOWN)
    assert "Abel" in text_of(page, "#tagged")


@in_chromium
def test_no_text_at_all(page):
    page.run("document.querySelector('#text').value = ''")
    page.click("#tag")
    page.wait_for(SHOWN)
    assert text_of(page, "#found").startswith("0 entities in ")


@in_chromium
def test_a_long_text_is_drawn_in_part(page, tagger):
    sentence = "Abel Arnstad lives in Avalund . "
    text = sentence * 2500
    page.run(f"document.querySelector('#text').value = {text!r}")
    page.click("#tag")
    page.wait_for(SHOWN)
    found = tagger.entities([text])[0]
    drawn = page.run("document.querySelectorAll('#tagged mark').length")
    assert drawn == 1000 < len(found)
    assert text_of(page, "#found").startswith(f"1000 of {len(found)} entities in ")
    more = f"Only the first {found[999].end} of {len(text)} characters are drawn."
    assert text_of(page, "#more") == more
    assert re.search(r"\.\.\. \d+ characters more$", text_of(page, "#json"))


@in_chromium
def test_errors_are_told_in_words(page, monkeypatch):
    page.run("document.querySelector('#text').value = 'x'.repeat(200000)")
    page.click("#tag")
    page.wait_for(WRONG)
    assert text_of(page, "#wrong").startswith("The text is too long for this server.")
    assert page.run("document.querySelector('#result').hidden")

    async def busy(*_, **__):
        raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "<b>1024</b> wait")

    monkeypatch.setattr("kerasner.serving.server.prediction.Predictor.predict", busy)
    page.run("document.querySelector('#text').value = 'x'")
    page.click("#tag")
    page.wait_for("document.querySelector('#wrong').textContent.includes('busy')")
    assert text_of(page, "#wrong") == (
        "The server is busy. Try again in a moment. The server says: <b>1024</b> wait"
    )
    monkeypatch.undo()
    page.click("#tag")
    page.wait_for(SHOWN)
    assert page.run("document.querySelector('#wrong').hidden")

    page.send(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    page.click("#tag")
    page.wait_for(WRONG)
    assert text_of(page, "#wrong") == "The server does not answer. Is it still running?"
    page.send(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )


@in_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_contrast(browser, rest_server, dark):
    open_page(browser, rest_server, dark=dark)
    answer = {
        "counts": len(LABELS),
        "texts": ["x"] * len(LABELS),
        "labels": LABELS,
        "scores": [0.5] * len(LABELS),
        "starts": list(range(len(LABELS))),
        "ends": list(range(1, len(LABELS) + 1)),
    }
    text = "x" * len(LABELS)
    browser.run(f"show({json.dumps(text)}, {{predictions: [{json.dumps(answer)}]}}, 1)")
    colours = browser.run(
        """(() => {
            const read = (element, name) =>
                getComputedStyle(element)[name].match(/[\\d.]+/g).map(Number);
            return [...document.querySelectorAll("#tagged mark")].map((mark) => [
                mark.querySelector(".name").textContent,
                read(mark, "backgroundColor"), read(mark, "color"),
                read(mark.querySelector(".name"), "color"),
            ]);
        })()"""
    )
    assert len(colours) == len(LABELS)
    for name, ground, *inks in colours:
        for ink in inks:
            assert contrast(ground, ink) >= 4.5, name


def contrast(one, other):
    """Ratio of WCAG 2."""

    def luminance(colour):
        channels = [value / 255 for value in colour[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
