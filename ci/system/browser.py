"""Chromium without a window, as Debian packages it, driven by its own chromedriver."""
import contextlib
import json
import os
import pathlib
import shutil
import urllib.parse

import pytest
from device import ROOT, until

SHOTS = pathlib.Path(os.environ.get("GREENGRASS_ARTIFACTS", ROOT / ".work" / "artifacts")) / "console"
selenium = pytest.importorskip("selenium", reason="selenium is not installed")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("Debian's chromium and chromium-driver are not installed", allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

PASSWORD = "correct horse battery"


class Browser:
    def __init__(self, cloud, folder, dark=False, https=False):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
                         "--no-first-run", "--window-size=1280,900", f"--user-data-dir={folder}", *(["--ignore-certificate-errors"] if https else [])):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_page_load_timeout(30)
        if dark:
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        self.base = f"{cloud.https if https else cloud.url}/console/"
        self.requests = []

    def open(self, page=""):
        self.driver.get(self.base + page)
        return self

    def sign_in(self, name="admin", password=PASSWORD):
        self.fill("name", name).fill("password", password)
        self.press("Sign in")
        return self

    def fill(self, field, text):
        found = self.driver.find_element(By.ID, field)
        found.clear()
        found.send_keys(text)
        return self

    def choose(self, field, text):
        Select(self.driver.find_element(By.ID, field)).select_by_visible_text(text)
        return self

    def press(self, text):
        buttons = [b for b in self.driver.find_elements(By.CSS_SELECTOR, "main button, main a.button, header button") if b.text == text]
        assert buttons, f"no button '{text}' on {self.title}: {self.text[:500]}"
        return self.leave(buttons[0])

    def leave(self, control):
        """Uses a control that leads to another page, and waits for that."""
        old = self.driver.find_element(By.TAG_NAME, "html")
        control.click()

        def gone():
            try:
                return not old.is_enabled()
            except selenium.common.exceptions.WebDriverException:
                return True
        until(gone, "another page is shown")
        until(lambda: self.driver.execute_script("return document.readyState") == "complete", "the page is whole")
        return self

    def follow(self, text):
        return self.leave(self.driver.find_element(By.LINK_TEXT, text))

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def rows(self):
        return [row.text for row in self.all("tbody tr")]

    def shot(self, name):
        SHOTS.mkdir(parents=True, exist_ok=True)
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.driver.set_window_size(1280, min(max(900, height + 150), 2400))
        self.driver.save_screenshot(str(SHOTS / f"{name}.png"))
        self.driver.set_window_size(1280, 900)

    @property
    def title(self):
        return self.driver.title.removesuffix(" · greengrass-cloud")

    @property
    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def shows(self, text, seconds=20):
        """Waits until the page, by itself, shows a text."""
        def there():
            # The part of the page may be replaced while it is read.
            with contextlib.suppress(selenium.common.exceptions.StaleElementReferenceException):
                return text in self.text
        until(there, f"the page shows '{text}'", seconds)
        return self

    def hosts(self):
        """Every host that a page has asked, by the browser's own log."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                self.requests.append(message["params"].get("request", message["params"])["url"])
        return {urllib.parse.urlsplit(url).netloc for url in self.requests if not url.startswith(("chrome:", "data:", "about:"))}

    def complaints(self):
        """What the browser says about scripts and policies."""
        return [entry["message"] for entry in self.driver.get_log("browser") if "Failed to load resource" not in entry["message"]]

    def end(self):
        self.driver.quit()


# What is wrong with a page for those who use a keyboard or a screen reader; an empty list is what is wanted.
CHECK = """
const wrong = [], all = (s) => [...document.querySelectorAll(s)];
if (!document.documentElement.lang) wrong.push("the page has no language");
if (!document.title) wrong.push("the page has no title");
if (all("h1").length !== 1) wrong.push(all("h1").length + " first headings");
let level = 0;
for (const heading of all("h1,h2,h3,h4")) {
  const own = Number(heading.tagName[1]);
  if (own > level + 1) wrong.push("a heading jumps to " + own + ": " + heading.textContent);
  level = own;
}
const skip = document.querySelector("a[href]");
if (!skip || !document.querySelector(skip.getAttribute("href").replace(/^[^#]*/, "") || "#none")) wrong.push("the first link does not lead to the content");
for (const field of all("input:not([type=hidden]),select,textarea"))
  if (!field.labels?.length && !field.getAttribute("aria-label")) wrong.push("a field without a label: " + field.name);
for (const one of all("button,a[href]"))
  if (!one.textContent.trim() && !one.getAttribute("aria-label")) wrong.push("a control without a name: " + one.outerHTML);
for (const image of all("img")) if (!image.hasAttribute("alt")) wrong.push("a picture without a text");
for (const table of all("table")) {
  if (!table.querySelector("thead th[scope=col]")) wrong.push("a table without headers of columns");
  for (const row of table.querySelectorAll("tbody tr")) if (!row.querySelector("th[scope=row]")) wrong.push("a row without a header");
}
const ids = all("[id]").map((one) => one.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("an id twice: " + id);
for (const one of all("[aria-describedby],[aria-labelledby]"))
  for (const id of ((one.getAttribute("aria-describedby") || "") + " " + (one.getAttribute("aria-labelledby") || "")).trim().split(/\\s+/))
    if (!document.getElementById(id)) wrong.push("described by what is not there: " + id);
for (const mark of all(".mark")) if (!/[a-z]{3}/i.test(mark.textContent)) wrong.push("a state without a word");
const number = (c) => c.match(/[\\d.]+/g).map(Number);
const light = (c) => {
  const [r, g, b] = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (one) => {
  for (let at = one; at; at = at.parentElement) {
    const c = number(getComputedStyle(at).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
for (const one of all("main *, header *")) {
  if (![...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || one.closest(".hidden,.skip") || !one.offsetParent) continue;
  const pair = [light(number(getComputedStyle(one).color).slice(0, 3)), light(ground(one).slice(0, 3))].sort((a, b) => b - a);
  const ratio = (pair[0] + .05) / (pair[1] + .05);
  if (ratio < 4.5) wrong.push("contrast " + ratio.toFixed(2) + ": " + one.outerHTML.slice(0, 120));
}
if (document.documentElement.scrollWidth > document.documentElement.clientWidth) wrong.push("the page is wider than the window");
return wrong;
"""


def accessible(browser):
    wrong = browser.driver.execute_script(CHECK)
    assert wrong == [], f"{browser.title}: {wrong}"


__all__ = ["PASSWORD", "Browser", "By", "Keys", "accessible"]
