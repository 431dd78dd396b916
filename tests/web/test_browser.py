"""The page of `refsr web` in a real browser: a headless Chromium, driven by Playwright."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from refsr import Upscaler
from refsr.report.provenance import map_colors
from refsr.resize import imresize
from scenes import facade, seen_through

pytest.importorskip("starlette", reason="the extra `web` is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]
PATIENCE = 600_000  # milliseconds: other work may share the cores
NEARER = np.array([[1.1, 0.02, -30.0], [0.01, 1.08, -22.0], [0.0, 0.0, 1.0]])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"there is no Chromium ({CHROMIUM})"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    small = PIL.Image.fromarray(imresize(facade(3)[:256, :384], scale=0.25))
    small.save(folder / "small.png")
    sharp = PIL.Image.fromarray(seen_through(facade(3), NEARER, (512, 384)))
    sharp.save(folder / "sharp.jpg", quality=95)
    (folder / "diary.jpg").write_text("Dear diary, this is no photo at all.\n")
    return folder


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    """A server of its own process, as a user starts it."""
    command = [sys.executable, "-m", "refsr", "web", "--port", "0", "--threads", "1"]
    command += ["--max-pixels", "300000"]  # a photo of 4 MP can only keep its size
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    match = re.search(r"http://\S+", server.stdout.readline())
    assert match
    yield match.group()
    server.terminate()
    server.wait(timeout=600)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[BrowserContext]:
    """Chromium with a new, empty profile; downloads are taken."""
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=FLAGS,
            chromium_sandbox=False,
            viewport={"width": 1280, "height": 900},
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
        context.set_default_timeout(PATIENCE)
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext, url: str) -> Generator[Page]:
    """The page, which must ask no other server for anything and have no error of its own."""
    page = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#examples:not([hidden])")
    yield page
    page.evaluate("() => localStorage.clear()")  # the choices that the next page would have
    page.close()
    assert wrong == []
    assert [one for one in asked if not one.startswith((url, f"blob:{url}"))] == []


def choose(page: Page, photo: Path, *references: Path) -> None:
    page.set_input_files("#photo-input", photo)
    if references:
        page.set_input_files("#reference-input", references)


def drawn(page: Page) -> NDArray[np.int16]:
    """What the view shows now, (H, W, 3)."""
    page.evaluate(
        "() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))"
    )
    shot = page.locator("#view").screenshot()
    return np.asarray(PIL.Image.open(io.BytesIO(shot)).convert("RGB"), np.int16)


def comes(page: Page, at: str, true: str) -> None:
    """Wait until something holds of ``one``, an element: a gesture may count a frame later."""
    page.wait_for_function(f"() => ((one) => {true})(document.querySelector('{at}'))")


def slide(page: Page, id: str, value: float) -> None:
    page.locator(f"#{id}").fill(str(value))


# What the progress shows while it lasts, each step of it: more than one may come between two looks.
WATCH = """() => {
  window.shown = [];
  const [left, bar] = ["#left", "#bar"].map((one) => document.querySelector(one));
  const look = () => window.shown.push([left.textContent, bar.getAttribute("value")]);
  new MutationObserver(look).observe(left, { childList: true });
}"""


def test_from_two_photos_to_a_download(page: Page, photos: Path, tmp_path: Path) -> None:
    choose(page, photos / "small.png", photos / "sharp.jpg")
    page.wait_for_selector("#verdict:has-text('of your photo; there expect a')")
    for card in ("photo", "reference"):  # the matching region on both
        assert page.locator(f"#{card}-tiles svg path.line").count() == 1
    page.click("#run")
    page.wait_for_selector("#result:not([hidden])")

    half = drawn(page)
    middle = half.shape[1] // 2
    slide(page, "divider", 0)
    after = drawn(page)
    slide(page, "divider", 100)
    before = drawn(page)
    assert np.abs(after - before).mean() > 1.5
    left, right = slice(100, middle - 60), slice(middle + 60, -100)
    assert np.abs(half[100:, left] - before[100:, left]).max() <= 2
    assert np.abs(half[100:, right] - after[100:, right]).max() <= 2

    box = page.locator("#view").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 3)
    page.mouse.down()  # at fit a drag anywhere takes the line along
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 3, steps=4)
    page.mouse.up()
    comes(page, "#divider", "one.value === '25'")

    slide(page, "divider", 0)
    slide(page, "strength", 0)
    plain = drawn(page)
    slide(page, "strength", 0.5)
    between = drawn(page)
    inner = slice(100, -100)
    mean = (after[100:, inner] + plain[100:, inner]) / 2
    assert np.abs(after - plain).mean() > 1
    assert np.abs(between[100:, inner] - mean).max() <= 2.5
    slide(page, "strength", 1)
    page.click("#map")
    assert page.is_visible("#legend")
    assert np.abs(drawn(page) - after).mean() > 3
    page.click("#map")
    page.click("#lens")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert np.abs(drawn(page) - after).mean() > 1
    page.click("#lens")

    page.select_option("#format", "png")
    with page.expect_download() as taken:
        page.click("#download")
    assert taken.value.suggested_filename == "small-4x.png"
    taken.value.save_as(tmp_path / "got.png")
    upscaler = Upscaler.load(threads=1)
    upscaler.set_reference(photos / "sharp.jpg")
    upscaler.upscale(photos / "small.png").save(tmp_path / "own.png")
    assert (tmp_path / "got.png").read_bytes() == (tmp_path / "own.png").read_bytes()


def test_strict_is_explained_and_sent(page: Page, photos: Path) -> None:
    choose(page, photos / "small.png")
    page.click("#more summary")
    assert not page.is_visible("#strict-hint")
    page.check("text=only what my photo confirms")
    assert "too coarse to tell" in page.inner_text("#strict-hint")
    with page.expect_response("**/api/jobs") as begun:
        page.click("#run")
    job = f"api/jobs/{begun.value.json()['id']}"
    page.wait_for_selector("#result:not([hidden])")
    assert page.evaluate(f"async () => (await (await fetch('{job}')).json()).report.strict")


def test_zoom_and_pan_by_keyboard(page: Page, photos: Path) -> None:
    choose(page, photos / "small.png")
    page.click("#run")
    page.wait_for_selector("#result:not([hidden])")
    assert page.is_disabled("#strength")  # there is nothing to fade
    assert page.inner_text("#strength-hint").startswith("No reference is used")
    fitted = page.inner_text("#zoom")  # nothing was clicked since: the keys work at once
    page.keyboard.press("1")
    assert page.inner_text("#zoom") == "100 %"
    for _ in range(6):
        page.keyboard.press("+")
    assert page.inner_text("#zoom") == "381 %"  # 1.25 to the sixth
    still = drawn(page)
    page.keyboard.press("ArrowRight")
    moved = drawn(page)
    width = still.shape[1]
    step = width // 8
    ours, theirs = slice(60, width // 2 - 40 - step), slice(60 + step, width // 2 - 40)
    assert np.abs(moved[100:, ours] - still[100:, theirs]).mean() < 2  # the before side, and
    ours, theirs = slice(width // 2 + 40, -180 - step), slice(width // 2 + 40 + step, -180)
    assert np.abs(moved[100:, ours] - still[100:, theirs]).mean() < 2  # the after side alike
    page.keyboard.press("0")
    assert page.inner_text("#zoom") == fitted
    page.keyboard.press("]")
    assert page.input_value("#divider") == "52"
    page.keyboard.press("l")
    assert page.get_attribute("#lens", "aria-pressed") == "true"
    page.focus("#download")  # nor must the view be clicked again
    page.keyboard.press("1")
    assert page.inner_text("#zoom") == "100 %"
    page.focus("#width")
    page.keyboard.press("2")
    page.keyboard.press("0")
    assert page.inner_text("#zoom") == "100 %", "a number that is typed is no key"
    assert page.input_value("#width") == "20"

    hand = page.context.new_cdp_session(page)
    screen = {"width": 1280, "height": 900, "deviceScaleFactor": 2, "mobile": False}
    hand.send("Emulation.setDeviceMetricsOverride", screen)
    page.click("#fit")
    box = page.locator("#view").bounding_box()
    assert box is not None
    wanted = round(200 * min(box["width"] / 384, box["height"] / 256))
    assert page.inner_text("#zoom") == f"{wanted} %", "of the screen's pixels, two for one of CSS"
    page.click("#full")
    page.keyboard.press("l")
    drawn(page)
    rows = page.evaluate(DRAWN_ROWS)
    assert abs(rows - 256) <= 1, "a row of the result is a row of the screen"


# Rows of the canvas, in its own pixels, in which the photo is drawn a little right of the middle.
DRAWN_ROWS = """() => {
  const canvas = document.querySelector("#view");
  const column = Math.round(canvas.width / 2) + 90;
  const { data } = canvas.getContext("2d").getImageData(column, 0, 1, canvas.height);
  return data.filter((_, index) => index % 4 === 3 && data[index] > 127).length;
}"""

HAND_OVER = """async ([type, at, files]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const target = document.querySelector(at);
  const more = { bubbles: true, cancelable: true };
  if (type === "paste") {
    target.dispatchEvent(new ClipboardEvent("paste", { ...more, clipboardData: data }));
    return [];
  }
  const seen = [];
  for (const name of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(name, { ...more, dataTransfer: data });
    target.dispatchEvent(event);
    seen.push([event.defaultPrevented, !document.querySelector("#dropping").hidden]);
  }
  return seen;
}"""


def hand_over(page: Page, how: str, at: str, *photos: Path) -> Any:
    """Drop or paste files on an element, as a browser tells a page of it."""
    files = [[photo.name, base64.b64encode(photo.read_bytes()).decode()] for photo in photos]
    return page.evaluate(HAND_OVER, [how, at, files])


def test_drop_and_paste(page: Page, photos: Path) -> None:
    # Two on the page: the first is the small photo, the other a reference.
    seen = hand_over(page, "drop", "footer", photos / "small.png", photos / "sharp.jpg")
    assert [over for _, over in seen] == [True, True, False], "the page says that it takes them"
    assert [taken for taken, _ in seen[1:]] == [True, True], "or the browser would open the file"
    page.wait_for_selector("#verdict:has-text('of your photo; there expect a')")
    page.click("#clear")

    assert hand_over(page, "drop", "#reference-card", photos / "sharp.jpg")[-1] == [True, False]
    assert page.locator("#reference-tiles .tile").count() == 1
    assert page.locator("#photo-tiles .tile").count() == 0
    assert page.is_disabled("#run")
    hand_over(page, "paste", "body", photos / "small.png")  # there is no small photo: it is that
    page.wait_for_selector("#verdict:has-text('of your photo; there expect a')")
    hand_over(page, "paste", "body", photos / "sharp.jpg")
    assert page.locator("#reference-tiles .tile").count() == 2


def test_fingers(page: Page, photos: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    hand = page.context.new_cdp_session(page)
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    choose(page, photos / "small.png")
    page.click("#run")
    page.wait_for_selector("#result:not([hidden])")
    page.locator("#view").scroll_into_view_if_needed()
    box = page.locator("#view").bounding_box()
    assert box is not None
    x, y, width = box["x"], box["y"] + box["height"] / 2, box["width"]

    touch("touchStart", (x + width / 2, y))  # one finger across: the line goes along
    for step in range(1, 6):
        touch("touchMove", (x + width / 2 + step * width / 20, y))
    touch("touchEnd")
    comes(page, "#divider", "one.value === '75'")

    fitted = int(page.inner_text("#zoom").split()[0])
    touch("touchStart", (x + 150, y))
    touch("touchStart", (x + 150, y), (x + 200, y))
    for step in range(1, 11):  # two fingers apart: 50 px to 150 px
        touch("touchMove", (x + 150 - 5 * step, y), (x + 200 + 5 * step, y))
    touch("touchEnd")
    comes(page, "#zoom", f"Math.abs(parseInt(one.textContent) - {3 * fitted}) <= 4")
    assert page.input_value("#divider") == "75", "a pinch does not move the line"
    assert page.evaluate("() => visualViewport.scale") == 1, "nor zoom the page"

    still, until = drawn(page), time.monotonic() + PATIENCE / 1000
    touch("touchStart", (x + 100, y))
    touch("touchMove", (x + 60, y))
    touch("touchMove", (x + 40, y))
    touch("touchEnd")
    while np.abs(drawn(page) - still).mean() <= 1:  # one finger moves the photo
        assert time.monotonic() < until
    page.click("#fit")
    assert int(page.inner_text("#zoom").split()[0]) == fitted

    page.evaluate("() => scrollTo(0, 0)")
    page.locator("#view").scroll_into_view_if_needed()
    box = page.locator("#view").bounding_box()
    assert box is not None
    x, y = box["x"] + 40, box["y"] + box["height"] - 30
    before = page.evaluate("() => scrollY")
    touch("touchStart", (x, y))
    for step in range(1, 11):  # up: the page scrolls, and the line stays
        touch("touchMove", (x, y - 20 * step))
    touch("touchEnd")
    page.wait_for_function(f"() => scrollY > {before} + 50")
    assert page.input_value("#divider") == "75"


def test_errors_stand_where_the_photo_is(page: Page, photos: Path) -> None:
    choose(page, photos / "small.png", photos / "sharp.jpg", photos / "diary.jpg")
    problem = page.wait_for_selector("#reference-problem:not(:empty)")
    assert problem is not None
    assert problem.inner_text() == "diary.jpg holds text, not a picture."
    assert page.locator("#reference-tiles .tile.wrong").count() == 1
    page.click("button[aria-label='Remove diary.jpg']")
    page.wait_for_selector("#verdict:has-text('of your photo; there expect a')")
    assert page.inner_text("#reference-problem") == ""
    page.set_input_files("#photo-input", photos / "diary.jpg")
    page.wait_for_selector("#photo-problem:has-text('diary.jpg holds text, not a picture.')")


def test_progress_is_shown_and_a_cancel_ends_the_work(
    page: Page, photos: Path, tmp_path: Path
) -> None:
    large = PIL.Image.fromarray(imresize(facade(3), size=(450, 600)))
    large.save(tmp_path / "large.png")
    choose(page, tmp_path / "large.png", photos / "sharp.jpg")
    page.evaluate(WATCH)
    page.click("#run")
    left = "window.shown.filter(([words]) => words.endsWith('left'))"
    page.wait_for_function(f"() => {left}.length > 2")
    shares = [float(share) for _, share in page.evaluate(f"() => {left}")]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as ended:
        page.click("#cancel")
    assert ended.value.status == 204
    assert page.is_visible("#run")
    assert page.is_hidden("#working")
    assert page.is_hidden("#result")


def test_an_example_and_what_a_phone_sees(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_text("A reference that shows another place").click()
    page.wait_for_selector("#verdict:has-text('could not be matched: no place of the photo')")
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 390
    low: list[Any] = page.evaluate(
        "() => [...document.querySelectorAll('button, select')]"
        ".filter((one) => one.offsetParent && one.offsetHeight < 36).map((one) => one.outerHTML)"
    )
    assert low == []
    light = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != light


def test_what_people_expect_while_it_works(page: Page, photos: Path) -> None:
    """On a small laptop: progress in view, also in the tab's title; a reload keeps the job."""
    page.set_viewport_size({"width": 1366, "height": 768})
    choose(page, photos / "small.png", photos / "sharp.jpg")
    page.wait_for_selector("#verdict:has-text('of your photo; there expect a')")
    assert "dB" not in page.inner_text("body")
    assert re.fullmatch(r"about [\d.]+ dB over .*", page.get_attribute("#verdict", "title") or "")
    page.click("#run")
    comes(page, "#working", "!one.hidden")
    for part in ("#bar", "#cancel"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 768, part
    page.wait_for_function("() => /^(\\d+ %|Starting|Waiting.*) · refsr$/.test(document.title)")

    page.reload()
    comes(page, "#working", "!one.hidden")
    assert page.locator("#photo-tiles .tile").count() == 1
    assert "of your photo; there expect a" in page.inner_text("#verdict")
    page.wait_for_selector("#result:not([hidden])")
    assert page.title() == "Done · refsr"
    comes(page, "#size", "one.textContent.includes('% of your photo’s file')")
    page.reload()
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#reference-tiles .tile").count() == 1

    assert page.inner_text("#stale") == ""
    page.select_option("#scale", "2")
    assert "still the result from before (4×)" in page.inner_text("#stale")
    page.select_option("#scale", "4")
    assert page.inner_text("#stale") == ""
    page.select_option("#scale", "2")
    page.click("#run")  # again, without sending anything twice
    comes(page, "#size", "one.textContent.startsWith('192 × 128 pixels')")
    assert page.inner_text("#stale") == ""
    assert "dB" not in page.inner_text("body")
    page.click("#clear")
    page.reload()
    page.wait_for_selector("#examples:not([hidden])")
    assert page.locator(".tile").count() == 0


def test_several_photos_in_a_row(page: Page, photos: Path, tmp_path: Path) -> None:
    """One that cannot be read stops none of the others; all are downloaded with one click."""
    other = PIL.Image.fromarray(imresize(facade(4)[:256, :320], scale=0.25))
    other.save(tmp_path / "other.png")
    row = [photos / "small.png", photos / "diary.jpg", tmp_path / "other.png"]
    page.set_input_files("#photo-input", row)
    page.set_input_files("#reference-input", photos / "sharp.jpg")
    page.wait_for_selector("#photo-problem:has-text('diary.jpg holds text')")  # before Run
    assert page.inner_text("#run") == "Upscale 3 photos"
    page.click("#run")
    comes(page, "#stage", "one.textContent.startsWith('Photo 1 of 3: ')")
    page.wait_for_selector("#result:not([hidden])")
    names = [one.inner_text() for one in page.locator("#strip button").all()]
    assert names == ["small.png", "other.png"]
    assert "sharp.jpg: It covers" in page.inner_text("#facts")
    assert page.locator("#photo-tiles .tile.wrong").count() == 1
    page.locator("#strip button").nth(1).click()
    comes(page, "#facts", "one.textContent.includes('could not be matched')")
    page.select_option("#format", "jpg")
    page.fill("#quality", "60")
    got: list[Any] = []

    def take(download: Any) -> None:  # Playwright refuses the method of a list
        got.append(download)

    page.on("download", take)
    page.click("#download-all")
    page.wait_for_function("() => document.querySelector('#download-all').disabled")
    page.wait_for_function("() => !document.querySelector('#download-all').disabled")
    page.click("#download-report")
    page.wait_for_function("() => !document.querySelector('#download-report').disabled")
    until = time.monotonic() + PATIENCE / 1000
    while len(got) < 3:
        page.wait_for_timeout(100)
        assert time.monotonic() < until
    wanted = ["other-4x.jpg", "other-report.json", "small-4x.jpg"]
    assert sorted(one.suggested_filename for one in got) == wanted

    page.reload()  # the last choices are remembered, and all results are there
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#strip button").count() == 2
    assert (page.input_value("#format"), page.input_value("#quality")) == ("jpg", "60")
    page.fill("#width", "200")
    comes(page, "#size", "/^200 × 133 pixels, \\d+ kB, \\d+ % of/.test(one.textContent)")
    with page.expect_download() as taken:
        page.click("#download")
    taken.value.save_as(tmp_path / "got.jpg")
    assert PIL.Image.open(tmp_path / "got.jpg").size == (200, 133)
    size = round((tmp_path / "got.jpg").stat().st_size / 1000)
    assert f", {size} kB, " in page.inner_text("#size")


def test_a_wrong_photo_is_told_before_there_is_a_reference(page: Page, photos: Path) -> None:
    page.set_input_files("#photo-input", photos / "diary.jpg")
    page.wait_for_selector("#photo-problem:has-text('diary.jpg holds text, not a picture.')")
    assert page.locator("#photo-tiles .tile.wrong").count() == 1
    assert page.is_disabled("#run")
    page.click("#clear")
    page.set_input_files("#reference-input", photos / "diary.jpg")  # and before a photo
    page.wait_for_selector("#reference-problem:has-text('diary.jpg holds text, not a picture.')")
    assert page.locator("#reference-tiles .tile.wrong").count() == 1


def test_the_maps_colors_are_the_legends(page: Page, photos: Path, tmp_path: Path) -> None:
    """Of a photo without a reference all is guessed: vermilion, on bright ground and on dark."""
    checks = np.kron(np.indices((24, 24)).sum(axis=0) % 2, np.ones((3, 3))) * 90
    ground = np.repeat(np.linspace(20, 160, 72)[None], 72, axis=0)
    PIL.Image.fromarray((ground + checks).astype(np.uint8)).save(tmp_path / "checks.png")
    choose(page, tmp_path / "checks.png")
    page.click("#run")
    page.wait_for_selector("#result:not([hidden])")
    page.click("#map")
    for name, color in map_colors().items():
        shown = page.eval_on_selector(
            f"#legend .{name}", "one => getComputedStyle(one).backgroundColor"
        )
        assert shown == f"rgb({color[0]}, {color[1]}, {color[2]})"
    slide(page, "divider", 0)
    picture = drawn(page).astype(np.float64)
    saturation = picture.max(axis=2) - picture.min(axis=2)
    strong = picture[saturation > 0.6 * saturation.max()]
    red, green, blue = (strong[:, plane] for plane in range(3))
    guessed = map_colors()["guessed"]
    hue = (guessed[1] - guessed[2]) / (guessed[0] - guessed[2])
    assert len(strong) > 1000
    assert np.abs((green - blue) / (red - blue) - hue).max() < 0.12


@pytest.mark.parametrize("format", ["png", "tif"])  # Chromium reads no TIFF: the server has to say
def test_a_large_photo_can_only_keep_its_size(page: Page, photos: Path, format: str) -> None:
    """The next photo has the choice again, and the scale that was chosen before."""
    large = photos / f"large.{format}"
    PIL.Image.new("RGB", (2100, 2000), (90, 120, 60)).save(large)
    page.locator("#scale").select_option("3")
    choose(page, large)
    comes(page, "#scale-hint", "one.textContent.includes('more than 1.2 megapixels can only keep')")
    page.wait_for_timeout(1000)  # a picture from the server is smaller than the photo
    assert page.locator("#scale").input_value() == "1"
    assert page.locator("#scale option:disabled").count() == 3
    choose(page, photos / "small.png")
    comes(page, "#scale-hint", "one.textContent === ''")
    assert page.locator("#scale").input_value() == "3"
    assert page.locator("#scale option:disabled").count() == 0
    assert page.inner_text("#photo-limits").startswith("Up to 0.3 megapixels for 4×, 1.2 for 2×")
