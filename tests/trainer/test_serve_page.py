"""The page of trainer.serve in a real browser."""

import pathlib
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.trainer import exported
from tests.trainer.served import served

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="no Chromium: apt-get install chromium chromium-driver",
)
NASTY = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(1000, 700)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pictures")
    for colour in exported.CLASSES:
        data = exported.picture(colour, size=200)
        (folder / f"{colour}.png").write_bytes(data)
    (folder / "text.png").write_text("no picture")
    (folder / "large.png").write_bytes(bytes(200_000))
    return folder


class Page:
    """What a user sees, and does."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser = browser
        browser.get(address)

    def find(self, id_: str):
        return self.browser.find_element(By.ID, id_)

    def text(self, id_: str) -> str:
        found = self.find(id_)
        return found.text if found.is_displayed() else ""

    def wait_for(self, id_: str, text: str) -> None:
        WebDriverWait(self.browser, 20).until(
            lambda _: text in self.text(id_), f"{id_}: no {text!r}"
        )

    def choose(self, path: pathlib.Path) -> None:
        self.find("file").send_keys(str(path))

    def drop(self, path: pathlib.Path) -> None:
        """Drops the file on the page, as the browser tells of it."""
        data = list(path.read_bytes())
        self.browser.execute_script(
            """
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(arguments[0])], "a.png"));
            for (const name of ["dragover", "drop"]) {
              arguments[1].dispatchEvent(new DragEvent(name,
                { dataTransfer: files, bubbles: true, cancelable: true }));
            }
            """,
            data,
            self.find("drop"),
        )


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models") / "colours"
    folder.mkdir()
    exported.export(folder / "4", class_names=["red", NASTY, "blue"])
    with served(folder, max_body_bytes=100_000) as client:
        yield client.address


@pytest.fixture
def page(browser, address) -> Page:
    return Page(browser, address)


def test_a_picture_gets_bars(page: Page, pictures: pathlib.Path) -> None:
    assert page.browser.title == "colours"
    page.wait_for("about", "version 4")
    assert "most likely classes" in page.text("hint")
    page.drop(pictures / "red.png")
    page.wait_for("classes", "red")
    assert page.text("hint") == ""
    rows = page.find("classes").find_elements(By.TAG_NAME, "li")
    assert [row.text.split("\n") for row in rows] == [
        ["red", "98.7 %"],
        [NASTY, "0.7 %"],
        ["blue", "0.7 %"],
    ]
    meters = page.find("classes").find_elements(By.TAG_NAME, "meter")
    values = [float(meter.get_attribute("value")) for meter in meters]
    assert values == pytest.approx(exported.probabilities("red"), rel=1e-4)
    assert "version 4" in page.text("timing")
    assert page.find("picture").is_displayed()
    # A class is text, whatever it is called.
    assert page.browser.title == "colours"


def test_another_picture_takes_its_place(
    page: Page, pictures: pathlib.Path
) -> None:
    page.choose(pictures / "red.png")
    page.wait_for("classes", "red")
    page.choose(pictures / "blue.png")
    WebDriverWait(page.browser, 20).until(
        lambda _: page.text("classes").startswith("blue")
    )


def test_errors_are_shown_and_overcome(
    page: Page, pictures: pathlib.Path
) -> None:
    page.choose(pictures / "text.png")
    page.wait_for("error", "The picture: not an image, begins with 6e 6f 20 70")
    assert page.text("classes") == ""
    page.choose(pictures / "large.png")
    page.wait_for("error", "The file has 0.2 MB; at most 0.1 MB are taken.")
    page.choose(pictures / "blue.png")
    page.wait_for("classes", "blue")
    assert page.text("error") == ""


def test_nothing_is_fetched_from_elsewhere(
    page: Page, pictures: pathlib.Path
) -> None:
    page.choose(pictures / "red.png")
    page.wait_for("classes", "red")
    fetched = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    origin = page.browser.current_url
    assert all(url.startswith((origin, "blob:" + origin)) for url in fetched)
    # The favicon apart, nothing is refused or missing.
    complaints = [
        entry["message"]
        for entry in page.browser.get_log("browser")
        if "favicon" not in entry["message"]
        and "/classify" not in entry["message"]
    ]
    assert complaints == []


def test_it_fits_a_telephone(page: Page, pictures: pathlib.Path) -> None:
    page.browser.set_window_size(500, 900)
    page.choose(pictures / "red.png")
    page.wait_for("classes", "red")
    width = page.browser.execute_script(
        "return [document.documentElement.scrollWidth, innerWidth]"
    )
    assert width[0] <= width[1]
    page.browser.set_window_size(1000, 700)


def test_a_server_that_has_gone(
    browser, tmp_path: pathlib.Path, pictures: pathlib.Path
) -> None:
    folder = tmp_path / "colours"
    folder.mkdir()
    exported.export(folder / "1")
    with served(folder) as client:
        page = Page(browser, client.address)
        page.wait_for("about", "version 1")
    page.choose(pictures / "red.png")
    page.wait_for("error", "The server does not answer. Is it running?")
