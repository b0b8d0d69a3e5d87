"""The page in a real browser: nothing is reported on its console, and its script does its work.

A script added to a copy of the page, with the policy taken out, plays the reader and reports
through the console, which Chromium writes to its standard error.
"""

import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib import image

from ray_slm.continuation.speech import write_mp3
from ray_slm.report.page import render
from tests.report.made_up import made_up, nothing_ran

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--virtual-time-budget=3000", "--enable-logging=stderr", "--v=0", "--hide-scrollbars"),
)
READER = """
const panel = document.querySelector("#figure1 svg.panel");
const tip = document.getElementById("tip");
const key = (name) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true }));
panel.focus();
key("ArrowRight");
key("ArrowRight");
console.log(`KEYS ${document.activeElement.getAttribute("aria-label")} | ${tip.textContent}`);
key("ArrowDown");
console.log(`DOWN ${tip.textContent}`);
key("Escape");
console.log(`ESCAPE ${tip.hidden}`);
const last = [...panel.querySelectorAll(".mean .pt")].at(-1);
const box = last.getBoundingClientRect();
panel.dispatchEvent(new PointerEvent("pointermove", {
  clientX: box.left + box.width / 2 + 3, clientY: box.top + box.height / 2 + 3, bubbles: true }));
console.log(`HOVER ${tip.textContent === last.getAttribute("aria-label")}`);
document.querySelector("#figure1 .legend button").click();
console.log(`LEGEND ${panel.querySelectorAll(".mean:not(.dim)").length}`);
console.log(`WIDE ${document.documentElement.scrollWidth - innerWidth}`);
"""


def browse(page, profile, *options):
    """Open a page; the console's lines."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.fail("chromium is not installed: run `make setup`, or apt-get install chromium")
    command = [browser, *QUIET, f"--user-data-dir={profile}", *options, page.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [line for line in ran.stderr.splitlines() if ":CONSOLE:" in line]


def read_by(script, results, folder, *options):
    """What a reader, played by a script, reports."""
    render(results, folder)
    path = folder / "index.html"
    text = re.sub(r"<meta http-equiv=[^>]*>", "", path.read_text())
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    lines = browse(path, folder / "profile", *(options or ("--window-size=1280,2000",)))
    return dict(re.findall(r'"([A-Z]+) (.*)", source', "\n".join(lines)))


@pytest.mark.parametrize("make", [made_up, nothing_ran])
@pytest.mark.parametrize("options", [(), ("--blink-settings=preferredColorScheme=0",)])
def test_the_page_shows_and_the_console_stays_empty(make, options, tmp_path):
    from tests.report.picture import SIZE, take

    render(make(), tmp_path)
    shot = tmp_path / "shot.png"
    assert take(tmp_path / "index.html", shot, *options) == []
    pixels = image.imread(shot)[..., :3]
    assert pixels.shape == (*SIZE[::-1], 3)
    dark = pixels[0, 0].mean() < 0.5
    assert dark == bool(options)
    ink = np.abs(pixels - pixels[0, 0]).max(-1) > 0.3
    assert 0.005 < ink.mean() < 0.5


def test_a_complaint_of_the_policy_would_be_noticed(tmp_path):
    render(nothing_ran(), tmp_path)
    path = tmp_path / "index.html"
    path.write_text(path.read_text().replace("<main>", '<main><p style="color:red">no</p>'))
    assert browse(path, tmp_path / "profile", f"--screenshot={tmp_path / 'shot.png'}")


def test_keys_pointer_and_legend_reach_the_values(tmp_path):
    said = read_by(READER, made_up(), tmp_path)
    label, shown = said["KEYS"].split(" | ")
    assert label == shown
    assert label.startswith("text-bpe, ")
    assert said["DOWN"].startswith("text-raw, ")
    assert said["ESCAPE"] == "true"
    assert said["HOVER"] == "true"
    assert said["LEGEND"] == "1"
    assert int(said["WIDE"]) <= 0


PLAYER = """
const sounds = [...document.querySelectorAll("audio")];
for (const [i, sound] of sounds.slice(0, 2).entries()) {
  sound.addEventListener("loadedmetadata", () => console.log(`SOUND${"AB"[i]} ${sound.duration}`));
  sound.addEventListener("error", () => console.log(`SOUND${"AB"[i]} ${sound.error.message}`));
  sound.preload = "auto";
  sound.load();
}
const named = sounds.filter((sound) => sound.controls && sound.getAttribute("aria-label"));
console.log(`NAMED ${named.length} of ${sounds.length}`);
sounds[0].focus();
console.log(`FOCUS ${document.activeElement === sounds[0]}`);
const summary = document.querySelector("details.prompt:not([open]) summary");
summary.click();
console.log(`OPEN ${summary.parentNode.open}`);
"""


def audible(results, folder):
    """The same results with a second of a real tone wherever there is a sound."""
    path = folder / "tone.mp3"
    write_mp3(path, 0.3 * np.sin(np.arange(16_000) / 8).astype(np.float32))
    return results._replace(clips=dict.fromkeys(results.clips, path.read_bytes()))


def test_samples_can_be_played_and_reached_by_keys(tmp_path):
    said = read_by(PLAYER, audible(made_up(), tmp_path), tmp_path)
    assert float(said["SOUNDA"]) == pytest.approx(1.0, abs=0.2)
    assert float(said["SOUNDB"]) == pytest.approx(1.0, abs=0.2)
    first, _, last = said["NAMED"].split()
    assert int(first) == int(last) > 20
    assert said["FOCUS"] == said["OPEN"] == "true"


def test_the_policy_lets_sounds_through(tmp_path):
    render(audible(made_up(), tmp_path), tmp_path)
    path = tmp_path / "index.html"
    path.write_text(path.read_text().replace('preload="none"', 'preload="auto"'))
    assert browse(path, tmp_path / "profile", f"--screenshot={tmp_path / 'shot.png'}") == []


def test_a_narrow_window_scrolls_tables_and_never_the_page(tmp_path):
    render(made_up(), tmp_path)
    path, frame = tmp_path / "index.html", tmp_path / "frame.html"
    path.write_text(re.sub(r"<meta http-equiv=[^>]*>", "", path.read_text()))
    script = "console.log('OVER ' + (document.documentElement.scrollWidth - innerWidth))"
    path.write_text(path.read_text().replace("</body>", f"<script>{script}</script></body>"))
    # A window cannot be narrower than 500 pixels without a display; a frame can.
    frame.write_text('<iframe src="index.html" width="360" height="3000"></iframe>')
    lines = browse(frame, tmp_path / "profile", f"--screenshot={tmp_path / 'shot.png'}")
    found = re.findall(r'"OVER (-?\d+)"', "\n".join(lines))
    assert [int(excess) <= 0 for excess in found] == [True]


PRINTER = """
for (const rule of document.styleSheets[0].cssRules) {
  if (rule.media?.mediaText === "print") rule.media.mediaText = "all";
  else if (rule.media?.mediaText.startsWith("screen")) rule.media.mediaText = "not all";
}
const some = (query) => [...document.querySelectorAll(query)];
const seen = (query) => some(query).filter((x) => x.checkVisibility()).length;
const closed = some("details:not(.prompt):not([open]) table");
console.log(`FOLDED ${closed.filter((x) => x.checkVisibility()).length} of ${closed.length}`);
console.log(`USELESS ${seen("audio, nav, summary:not(.prompt summary), a.file")}`);
const edges = some("table, svg").map((x) => x.getBoundingClientRect().right);
console.log(`WIDEST ${Math.max(...edges)}`);
console.log(`PAPER ${getComputedStyle(document.body).backgroundColor}`);
"""
PRINTABLE_PIXELS = 688  # of A4 between the page's margins


def test_in_print_everything_is_unfolded_fits_the_paper_and_is_dark_on_white(tmp_path):
    said = read_by(
        PRINTER,
        audible(made_up(), tmp_path),
        tmp_path,
        f"--window-size={PRINTABLE_PIXELS},2000",
        "--blink-settings=preferredColorScheme=0",
    )
    shown, _, closed = said["FOLDED"].split()
    assert int(shown) == int(closed) > 5
    assert said["USELESS"] == "0"
    assert float(said["WIDEST"]) <= PRINTABLE_PIXELS
    assert said["PAPER"] == "rgb(255, 255, 255)"
