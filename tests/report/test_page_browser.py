"""The report page in headless Chromium: filters, masks, keyboard, themes, phone, 500 scenes."""

import json
import shutil
from pathlib import Path

import pytest

from udit_bench.report.page import PageOptions, write_page

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
DRIVER = shutil.which("chromedriver") or "/usr/bin/chromedriver"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
WIDE, PHONE = (1400, 1000), (390, 844)


class Page:
    """One page in a browser; what it asked for and complained about is kept from its start."""

    def __init__(self, driver, folder):
        self.driver, self.address = driver, (folder / "index.html").as_uri()
        self.asked, self.said = [], []

    def open(self, hash_="", size=WIDE, dark=False, motion="reduce"):
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")
        self.driver.get(self.address + hash_)
        return self

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def wait(self, code, *arguments):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 20, 0.05).until(lambda _: self.js(code, *arguments))

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def choose(self, id_, text):
        from selenium.webdriver.support.ui import Select

        Select(self.one(f"#{id_}")).select_by_visible_text(text)

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def ids(self):
        """The scenes listed, in order."""
        return self.js("return [...document.querySelectorAll('.scene h3')].map(h => h.textContent)")

    def status(self):
        return self.one(".status").text

    def focused(self):
        return self.js("return document.activeElement.getAttribute('aria-label')")

    def logs(self):
        """Addresses that were asked for, and complaints, of everything since the last call."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
        self.said += [entry["message"] for entry in self.driver.get_log("browser")]
        return self.asked, self.said


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not Path(CHROMIUM).is_file() or not Path(DRIVER).is_file():
        pytest.skip("no chromium and chromedriver: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def written(make_world, tmp_path_factory):
    """The world of the page, and its folder."""
    root = tmp_path_factory.mktemp("world")
    world = make_world(root, scenes=12)
    world.add_run(7, "instagan", seed=1)
    world.write()
    out = root / "page"
    bench = root / "bench.json"
    costs = [
        {"method": "mgdgan", "phase": phase, "instances": n, "seconds": n / 10,
         "peak_memory_mib": 500.0 + n}
        for phase in ("masks", "images") for n in (1, 2, 4)
    ]  # fmt: skip
    bench.write_text(json.dumps({"what": "train", "options": {}, "hardware": {}, "costs": costs}))
    write_page(PageOptions(results=world.results, runs=world.runs, out=out, bench=(bench,)))
    return world, out


@pytest.fixture
def page(driver, written):
    made = Page(driver, written[1])
    made.logs()
    made.asked, made.said = [], []
    yield made
    asked, said = made.logs()
    assert said == []
    assert asked
    assert {address.split(":")[0] for address in asked} <= {"file", "data", "about"}


@pytest.fixture(scope="module")
def data(written, page_data):
    return page_data(written[1])


def column(data, title, seed=None):
    return str(
        next(
            place for place, held in enumerate(data["columns"])
            if held["title"] == title and seed in (None, held["seed"])
        )
    )  # fmt: skip


def mean_iou(scene, number, protocol="retrieval"):
    held = scene["v"][protocol][number]
    return sum(line[0] for line in held) / len(held) if held else None


# ------------------------------------------------------------------------------ opening it, themes


def test_it_opens_without_a_network_and_without_a_complaint(page, written):
    page.open()
    assert page.status() == "24 of 24 scenes"
    assert page.js("return document.querySelectorAll('#tables table').length") >= 2
    page.js("document.querySelector('.list').scrollIntoView()")
    page.wait("return [...document.images].some(i => i.complete && i.naturalWidth)")
    page.js("for (const p of document.querySelectorAll('.pic')) p.focus()")
    page.wait("return document.querySelector('.pic path') !== null")
    asked, said = page.logs()
    files = {address.rsplit("/", 1)[-1] for address in asked}
    assert {"index.html", "0.js", "0.webp"} <= files  # the log sees what the page asks for
    assert said == []


def test_the_log_of_this_test_sees_a_complaint_and_a_request(driver, tmp_path):
    (tmp_path / "index.html").write_text(
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('oh')</script>"
    )
    asked, said = Page(driver, tmp_path).open().logs()
    assert any(address.startswith("http://127.0.0.1:9") for address in asked)
    assert any("oh" in text for text in said)


def test_what_a_user_named_is_shown_and_never_run(page, evil_title, evil_id):
    page.open()
    assert page.js("return window.evil") is None
    assert f"{evil_id}A" in page.ids()
    page.js("document.querySelector('.list').scrollIntoView()")
    page.wait("return document.querySelector('.tile .name') !== null")
    names = page.js("return [...document.querySelectorAll('.tile .name')].map(n => n.textContent)")
    assert evil_title in names
    assert page.js("return document.querySelectorAll('img[src=x]').length") == 0
    assert evil_title in page.js("return document.querySelector('#tables').textContent")


def brightness(page):
    text = page.js("return getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in text.strip("rgb()").split(","))


def test_dark_and_light_follow_the_system_and_the_button(page):
    assert brightness(page.open(dark=False)) > 600
    assert brightness(page.open(dark=True)) < 150
    button = page.one("#theme")
    assert button.text == "Theme: auto"
    button.click()
    assert (button.text, brightness(page) > 600) == ("Theme: light", True)
    assert brightness(page.open(dark=True)) > 600  # kept
    page.one("#theme").click()
    assert page.one("#theme").text == "Theme: dark"
    assert brightness(page.open(dark=False)) < 150
    page.one("#theme").click()
    assert brightness(page) > 600


def test_motion_is_left_to_those_who_want_it(page):
    behaviour = "return getComputedStyle(document.documentElement).scrollBehavior"
    assert page.open(motion="no-preference").js(behaviour) == "smooth"
    assert page.open(motion="reduce").js(behaviour) == "auto"


@pytest.mark.parametrize("width", [320, 390, 768, 1400])
def test_no_width_scrolls_the_page_sideways(page, width):
    page.open("#gallery?cols=all", size=(width, 844))
    page.wait("return document.querySelector('.tile') !== null")
    page.js("for (const d of document.querySelectorAll('details')) d.open = true")
    page.js("for (const s of document.querySelectorAll('section')) s.scrollIntoView()")
    assert page.js("return document.documentElement.scrollWidth") <= width


# --------------------------------------------------------------------------------------- filters


def test_missed_and_low_iou_count_what_the_data_say(page, data):
    page.open()
    number = column(data, "instagan", 0)
    page.choose("f-of", "instagan, seed 0")
    page.one("#f-missed").click()
    missed = [
        s["id"] for s in data["scenes"] if any(line[2] for line in s["v"]["retrieval"][number])
    ]
    assert page.ids() == missed
    assert 0 < len(missed) < 24
    assert page.status() == f"{len(missed)} of 24 scenes"
    page.one("#f-missed").click()
    page.js(
        "const s = document.querySelector('input[type=range]'); s.value = '0.2';"
        "s.dispatchEvent(new Event('input', { bubbles: true }))"
    )
    low = [
        s["id"]
        for s in data["scenes"]
        if any(line[0] < 200 for line in s["v"]["retrieval"][number])
    ]
    assert page.ids() == low
    assert 0 < len(low) < len(missed)
    page.choose("f-protocol", "strict")
    strict = [
        s["id"] for s in data["scenes"] if any(line[0] < 200 for line in s["v"]["strict"][number])
    ]
    assert page.ids() == strict != low


def test_any_method_means_those_that_are_shown(page, data):
    page.open("#gallery?missed=1&cols=mgdgan")
    number = column(data, "mgdgan")
    missed = [
        s["id"] for s in data["scenes"] if any(line[2] for line in s["v"]["retrieval"][number])
    ]
    assert page.ids() == missed
    page.open("#gallery?missed=1")
    assert len(page.ids()) > len(missed)


def test_where_one_method_beats_another(page, data):
    page.open()
    a, b = column(data, "mgdgan"), column(data, "cyclegan_seg nearest")
    page.choose("f-a", "mgdgan")
    assert len(page.ids()) == 24  # half a question filters nothing
    page.choose("f-b", "cyclegan_seg nearest")
    expected = [s["id"] for s in data["scenes"] if s["k"] and mean_iou(s, a) > mean_iou(s, b)]
    assert page.ids() == expected
    assert 0 < len(expected) < 24


def test_sorting_by_iou_puts_scenes_without_one_last(page, data):
    number = column(data, "mgdgan")
    values = {s["id"]: mean_iou(s, number) for s in data["scenes"]}
    page.open()
    page.choose("f-of", "mgdgan")
    page.choose("f-sort", "lowest IoU first")
    up = [values[id_] for id_ in page.ids()]
    some = [value for value in up if value is not None]
    assert some == sorted(some)
    assert len(some) == 18
    assert up[18:] == [None] * 6
    page.choose("f-sort", "highest IoU first")
    down = [values[id_] for id_ in page.ids()]
    assert down == sorted(some, reverse=True) + [None] * 6


def test_directions(page, data):
    page.open()
    page.choose("f-dir", "sheep to giraffe")
    assert len(page.ids()) == 12
    assert {id_[:1] for id_ in page.ids()[1:]} == {"A"}


def test_a_view_has_an_address(page):
    page.open()
    page.choose("f-of", "mgdgan")
    page.choose("f-sort", "highest IoU first")
    page.choose("f-dir", "giraffe to sheep")
    page.one("#f-missed").click()
    address, listed = page.driver.current_url, page.ids()
    assert "#gallery?" in address
    assert 0 < len(listed) < 12
    page.open("#" + address.split("#")[1])
    assert page.ids() == listed
    assert page.one("#f-missed").is_selected()
    assert page.one("#f-of").get_attribute("value") == "mgdgan"
    page.one("#f-reset").click()
    assert page.status() == "24 of 24 scenes"
    assert page.driver.current_url.endswith("#gallery")
    page.driver.back()


def test_nothing_found_is_said(page):
    page.open("#gallery?a=mgdgan&b=mgdgan")
    assert page.status() == "0 of 24 scenes"
    assert "No scene passes" in page.one(".list").text


def test_columns_are_chosen(page):
    page.open()
    page.wait("return document.querySelector('.tile') !== null")
    names = "return [...document.querySelectorAll('#scene-0 .name')].map(n => n.textContent)"
    assert len(page.js(names)) == 7  # the source and the first seed of every row
    page.one("#f-cols summary").click()
    page.js("document.querySelectorAll('#f-cols input')[0].click()")
    page.wait(names.replace("return ", "return (") + ").length === 6")
    assert "cyclegan_seg nearest" not in page.js(names)
    page.choose("f-a", "cyclegan_seg nearest")  # what a filter speaks of is shown
    page.wait(names.replace("return ", "return (") + ").length === 7")


# --------------------------------------------------------------- masks, keyboard, the large view

SEEN = (
    "const p = document.querySelectorAll(`#scene-${arguments[0]} .pic`)[arguments[1]];"
    "const s = p.querySelector('svg'); return s && getComputedStyle(s).visibility === 'visible'"
)


def go_to_gallery(page, **options):
    page.open("#gallery", **options)
    page.js("document.querySelector('#scene-3').scrollIntoView()")
    page.wait("return document.querySelector('#scene-3 .pic') !== null")


def test_masks_show_under_the_pointer_and_go_with_it(page):
    from selenium.webdriver.common.action_chains import ActionChains

    go_to_gallery(page)
    pics = page.driver.find_elements("css selector", "#scene-3 .pic")
    assert not page.js(SEEN, 3, 1)
    ActionChains(page.driver).move_to_element(pics[1]).perform()
    page.wait(SEEN, 3, 1)
    assert page.js("return document.querySelectorAll('#scene-3 .pic path').length") == 3
    ActionChains(page.driver).move_to_element(page.one("#scene-3 h3")).perform()
    page.wait(
        f"return !(() => {{ {SEEN} }})()".replace("arguments[0]", "3").replace("arguments[1]", "1")
    )


def test_all_masks_at_once(page):
    go_to_gallery(page)
    page.js("document.getElementById('f-masks').click()")
    page.wait(SEEN, 3, 0)
    page.wait(SEEN, 3, 4)
    assert "masks=1" in page.driver.current_url


def test_a_finger_gets_masks_first_and_the_large_view_then(page):
    go_to_gallery(page, size=PHONE)
    tap = (
        "const p = document.querySelectorAll('#scene-3 .pic')[2];"
        "p.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true, pointerType: 'touch' }));"
        "p.click(); return document.getElementById('large').open"
    )
    assert page.js(tap) is False
    page.wait(SEEN, 3, 2)
    assert page.js(tap) is True


def test_the_gallery_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    go_to_gallery(page)
    ids = page.ids()
    page.press("j")
    first = page.focused()
    assert first.startswith("source, ")
    place = next(k for k, id_ in enumerate(ids) if id_ in first)
    page.press("j", "j")
    assert ids[place + 2] in page.focused()
    page.press("k", Keys.ARROW_RIGHT)
    assert page.focused().startswith("cyclegan_seg nearest, " + ids[place + 1])
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.js(outline) == "solid"
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert page.focused().startswith("cyclegan_seg nearest, " + ids[place + 2])
    page.wait("return document.activeElement.querySelector('svg') !== null")
    page.press(Keys.ENTER)
    title = page.one("#large-title")
    assert title.text.startswith(ids[place + 2])
    assert "cyclegan_seg nearest" in page.one("#large").text
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert page.one("#large-title").text.startswith(ids[place + 3])
    assert "cyclegan_seg components" in page.one("#large").text
    page.wait("return document.querySelectorAll('#large .pic.on svg').length === 2")
    page.press("m")
    assert page.js("return document.querySelectorAll('#large .pic.on').length") == 0
    page.press(Keys.ESCAPE)
    assert page.js("return document.getElementById('large').open") is False
    assert page.focused().startswith("cyclegan_seg components, " + ids[place + 3])


def test_everything_is_reached_by_tab(page):
    from selenium.webdriver.common.keys import Keys

    page.open()
    reached = set()
    for _ in range(60):
        page.press(Keys.TAB)
        reached.add(
            page.js("const a = document.activeElement; return a.id || a.className || a.hash")
        )
        if "pic" in reached:
            break
    assert {"skip", "theme", "#gallery", "scroll", "f-dir", "f-of", "f-missed", "f-low", "f-a",
            "f-b", "f-sort", "f-reset", "pic"} <= reached  # fmt: skip


def test_names_for_those_who_hear_the_page(page):
    page.open()
    page.wait("return document.querySelector('.tile') !== null")
    unnamed = page.js(
        "return [...document.querySelectorAll('button, input, select, [role=region], [role=img]')]"
        ".filter(n => !(n.getAttribute('aria-label') || n.textContent.trim() || n.labels?.length))"
        ".map(n => n.outerHTML)"
    )
    assert unnamed == []
    assert page.js("return document.documentElement.lang") == "en"


# ------------------------------------------------------------------------------------------- charts


def test_charts_are_drawn_with_axes_and_a_table(page, data):
    page.open()
    charts = page.js("return document.querySelectorAll('#points .chart').length")
    assert charts == 2
    marks = page.js("return document.querySelectorAll('#points .chart .mark').length")
    assert marks == 2 * 5
    texts = page.js(
        "return [...document.querySelectorAll('#points .chart text')].map(t => t.textContent)"
    )
    assert "training time (s)" in texts
    assert "MMR (%)" in texts
    page.js(
        "const s = document.querySelector('#points select'); s.value = 'mvis';"
        "s.dispatchEvent(new Event('change'))"
    )
    point = next(p for p in data["points"] if p["metric"] == "mvis" and p["title"] == "mgdgan")
    cells = page.js("return document.querySelector('#points table').textContent")
    assert str(float(f"{point['value']:.3g}")).removesuffix(".0") in cells
    assert page.js("return document.querySelectorAll('#losses .chart').length") == 2
    assert page.js("return document.querySelectorAll('#costs .chart').length") == 2
    assert (
        page.js("return document.querySelectorAll('#costs .chart:first-child .mark').length") == 6
    )
    assert "NaN" not in page.js("return document.querySelector('main').innerHTML")


# --------------------------------------------------------------------------------------- 500 scenes


@pytest.mark.slow
def test_500_scenes_by_6_methods_stay_light(driver, make_world, tmp_path, page_data):
    world = make_world(tmp_path, scenes=250, evil=False)
    world.write()
    out = tmp_path / "page"
    write_page(PageOptions(results=world.results, runs=world.runs, out=out))
    assert len(page_data(out)["scenes"]) == 500
    assert [len(side["columns"]) for side in page_data(out)["sides"]] == [6, 6]
    assert (out / "index.html").stat().st_size < 3e6
    scripts = sum(path.stat().st_size for path in (out / "media/masks").iterdir())
    assert (out / "index.html").stat().st_size + scripts < 20e6

    page = Page(driver, out)
    page.logs()
    page.asked = []
    page.open()
    page.js(
        "window.long = []; new PerformanceObserver(list => window.long.push("
        "...list.getEntries().map(e => e.duration))).observe({ type: 'longtask', buffered: true })"
    )
    page.wait("return document.querySelectorAll('.scene').length === 500")
    loaded = "return [...document.images].filter(i => i.complete && i.naturalWidth).length"
    assert page.js("return document.images.length") < 100
    assert page.js("return [...document.images].every(image => image.loading === 'lazy')")
    assert page.js("return document.querySelectorAll('*').length") < 12_000
    page.logs()
    assert sum(".webp" in address for address in page.asked) < 100
    assert not any("/masks/" in address for address in page.asked)

    for step in range(60):
        page.js("scrollTo({ top: arguments[0], behavior: 'instant' })", 900 * step)
        page.js("return new Promise(done => requestAnimationFrame(() => setTimeout(done, 15)))")
    page.wait(loaded + " > 100")
    seen = page.js("return document.images.length")
    assert 100 < seen < 3500
    page.js("document.querySelector('.scene:last-child').scrollIntoView({ behavior: 'instant' })")
    page.wait("return document.querySelector('.scene:last-child .pic') !== null")
    page.choose("f-sort", "lowest IoU first")
    page.choose("f-a", "mgdgan")
    page.choose("f-b", "instagan")
    assert 0 < len(page.ids()) < 500
    assert page.logs()[1] == []
    print("long tasks (ms):", sorted(page.js("return window.long"), reverse=True)[:8])  # noqa: T201
    print("page (bytes):", (out / "index.html").stat().st_size, "masks:", scripts)  # noqa: T201
