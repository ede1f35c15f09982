"""The web page in a real Chromium, against the real API: a job is submitted through it and followed live.

The job's attempt is written by the test as its runner would write it, so no Ray is needed. Whatever the page logs as a
warning or an error fails the test, except what it says of the refusals that a test asks for.
"""

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.attempt import Attempt
from tests.api.made import warp_file
from tests.require import require_module, require_program
from tests.warpadam.sdk.served import Served
from warpadam import Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

WAIT_MS = 20_000
NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1200, "height": 800}
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    require_module("playwright", "`make test` installs it")
    program = require_program("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    from playwright.sync_api import sync_playwright

    # Root cannot have Chromium's sandbox; what it shows here is our own page.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*options, "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser", served: Served) -> Iterator[Open]:
    """Opens the page at a hash, in a browser context of its own."""
    complaints: list[str] = []

    def open_(place: str = "#/", *, refused: str = "(none)", **options: Any) -> "Page":
        """`refused`: part of a complaint that the test asks for."""
        page = browser.new_context(base_url=served.url, **options).new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("close", lambda _: complaints.__setitem__(slice(None), [c for c in complaints if refused not in c]))
        page.goto(f"/{place}")
        return page

    yield open_
    for context in browser.contexts:
        context.close()
    assert complaints == []


def test_a_job_is_submitted_and_followed_to_its_end(open_page: Open, served: Served) -> None:
    page = open_page(refused="422", viewport=WIDE)
    page.get_by_role("link", name="Submit one here").click()
    description = page.get_by_label("description of the job")
    page.get_by_role("button", name="check").click()
    page.get_by_text("It would be accepted").wait_for()
    good = description.input_value()
    description.fill(good.replace('"steps": 300', '"steps": -1'))
    page.get_by_role("button", name="submit").click()
    page.get_by_text("training.steps").wait_for()
    description.fill(good.replace("{", '{"name": "<b>first</b>",', 1))
    page.get_by_role("button", name="submit").click()
    page.get_by_role("heading", name="<b>first</b>").wait_for()
    page.locator("main .pill", has_text="queued").wait_for()

    attempt = Attempt.begin(served.database)
    page.locator("main .pill", has_text="running").wait_for()
    attempt.metric("train_loss", [4.0, 2.0, 1.0])
    page.locator("svg.chart path.s0").wait_for()
    before = page.locator("svg.chart path.s0").get_attribute("d")
    assert before is not None
    attempt.metric("val_loss", [3.0, 2.5, 1.5])
    attempt.tell("half of it")
    page.locator("#log").get_by_text("half of it").wait_for()
    page.get_by_text("validation loss 1.5").wait_for()
    assert page.locator("svg.chart path.s1").count() == 1
    final = {"val_loss": 1.5}
    attempt.finish(result={"steps": 3, "seconds": 1.5, "final": final, "best": {**final, "step": 2}})
    page.locator("main .pill", has_text="succeeded").wait_for()
    page.locator("#log td", has_text="end").first.wait_for()
    assert page.get_by_role("button", name="cancel").count() == 0
    kinds = page.locator("#log tr td:nth-child(2)").all_inner_texts()
    assert (kinds[0], kinds.count("end"), kinds.count("progress")) == ("end", 1, 1)
    page.close()


@pytest.fixture
def family(served: Served, tmp_path: Any) -> None:
    (tmp_path / "p.safetensors").write_bytes(warp_file())
    with Client(served.url) as client:
        client.families.create("patches", description="image patches")
        client.warps.push("patches", tmp_path / "p.safetensors")
        client.aliases.set("patches", "stable", 1)
        client.jobs.create(
            family="patches-of-a-name-that-no-telephone-can-show-on-one-line",
            name="n" * 200,
            dataset={"builtin": "digits"},
            task="classification",
            model={"arch": "mlp", "hidden": [8]},
        )


@pytest.mark.usefixtures("family")
def test_pages_fit_a_telephone_and_both_schemes(open_page: Open) -> None:
    page = open_page(viewport=NARROW, color_scheme="light")
    page.get_by_text("queued").first.wait_for()
    assert brightness(page, "background-color") > brightness(page, "color")
    page.emulate_media(color_scheme="dark")
    assert brightness(page, "background-color") < brightness(page, "color")
    job = page.locator("a.card").first.get_attribute("href")
    places = {job: "Events", "#/families": "image patches", "#/cluster": "Nodes", "#/submit": "check"}
    for place, sign in places.items():
        page.goto(f"/{place}")
        page.get_by_text(sign, exact=True).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
    page.goto("/#/families/patches")
    page.get_by_text("input:4").wait_for()
    assert {"latest", "stable"} <= set(page.locator("td .pill").all_inner_texts())
    with page.expect_download() as download:
        page.locator("a[href$='/content']").click()
    assert download.value.suggested_filename == "patches-1.safetensors"
    page.close()


def brightness(page: "Page", style: str) -> int:
    color: str = page.evaluate(f"getComputedStyle(document.body).getPropertyValue('{style}')")
    return sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))


def test_what_is_not_there_is_said(open_page: Open) -> None:
    page = open_page("#/jobs/job_x", refused="404")
    page.get_by_text("There is no job job_x").wait_for()
    page.goto("/#/nowhere")
    page.get_by_text("There is no such page").wait_for()
    page.close()


def test_a_key_is_asked_for_once_and_sent_in_a_header(open_page: Open) -> None:
    """The service here has no keys: what one with keys answers is put between it and the page."""
    page = open_page("#/cluster", refused="401")

    def guard(route: "Route") -> None:
        if route.request.headers.get("authorization") == "Bearer wa_right":
            route.continue_()
        else:
            told = route.request.headers.get("authorization", "none").removeprefix("Bearer ")
            route.fulfill(status=401, json={"code": "bad_key", "detail": f"No such key: {told}"})

    page.route("**/v1/**", guard)
    page.goto("/#/")
    page.get_by_text("This service wants a key").wait_for()
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="use it").click()
    page.get_by_role("alert").get_by_text("No such key: wrong").wait_for()
    page.get_by_label("API key").fill("wa_right")
    page.get_by_label("API key").press("Enter")
    page.get_by_text("No jobs yet").wait_for()
    assert "wa_right" not in page.url
    page.close()
