"""The console in Chromium: what a person sees and does, and what is refused to others."""
import http.client
import json
import re
import urllib.parse

import pytest
from browser import PASSWORD, Browser, By, Keys, accessible
from device import until
from simulated import Connection, component, report

HELLO = "com.example.Hello"


@pytest.fixture
def console(cloud, tmp_path):
    cloud.command("user", "password", "admin", stdin=PASSWORD + "\n")
    browser = Browser(cloud, tmp_path / "chromium")
    yield browser.open()
    try:
        assert browser.hosts() <= {urllib.parse.urlsplit(browser.base).netloc}
        assert browser.complaints() == []
    finally:
        browser.end()


def recipe(version, name=HELLO):
    return json.dumps({
        "RecipeFormatVersion": "2020-01-25", "ComponentName": name, "ComponentVersion": version, "ComponentDescription": "Says hello",
        "ComponentPublisher": "Example", "Manifests": [{"Platform": {"os": "linux"}, "Lifecycle": {"Run": "echo hello"}}]}).encode()


def fleet(cloud, count=6, group="berlin"):
    """Things in a group, of which the last one is not well."""
    iot = cloud.client("iot")
    iot.create_thing_group(thingGroupName=group)
    names = [f"gateway-{n:03}" for n in range(count)]
    for n, name in enumerate(names):
        iot.create_thing(thingName=name, attributePayload={"attributes": {"site": f"hall-{n % 2}"}})
        iot.add_thing_to_thing_group(thingName=name, thingGroupName=group)
        well = n < count - 1
        report(cloud, name, [component(HELLO, "1.0.0", "RUNNING" if well else "BROKEN", "" if well else "The run script exited with code 3")], well)
    return names


# --- signing in ---

def test_a_person_signs_in_and_out(console):
    assert console.title == "Sign in"
    accessible(console)
    console.shot("sign-in")
    console.sign_in(password="not the password")
    assert console.title == "Sign in" and "not right" in console.text
    accessible(console)
    console.sign_in("nobody")
    assert "not right" in console.text
    console.sign_in()
    assert console.title == "Devices"
    cookie = next(c for c in console.driver.get_cookies() if "session" in c["name"])
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    console.press("Sign out")
    assert console.title == "Sign in"
    console.open("devices/a")
    assert console.title == "Sign in" and "next=" in console.driver.current_url


def test_a_wanted_page_is_shown_after_signing_in(console):
    console.open("events").sign_in()
    assert console.title == "Events"


def test_over_tls_the_cookie_never_leaves_it(cloud, tmp_path):
    cloud.command("user", "password", "admin", stdin=PASSWORD + "\n")
    browser = Browser(cloud, tmp_path / "chromium", https=True)
    try:
        browser.open().sign_in()
        assert browser.title == "Devices"
        cookie = next(c for c in browser.driver.get_cookies() if "session" in c["name"])
        assert cookie["secure"] and cookie["name"].startswith("__Host-")
    finally:
        browser.end()


def test_a_password_that_is_taken_away_ends_the_session(cloud, console):
    console.sign_in()
    assert console.title == "Devices"
    cloud.command("user", "password", "admin", stdin="another good password\n")
    assert console.open().title == "Sign in"
    console.sign_in(password="another good password")
    assert console.title == "Devices"
    cloud.command("user", "password", "admin", "--remove")
    assert console.open().title == "Sign in"


# --- without a browser: what strangers may try ---

class Plain:
    """Requests as a script makes them, with a session's cookie or without."""

    def __init__(self, cloud):
        self.host = cloud.url.removeprefix("http://")
        self.cookies = {}

    def ask(self, method, path, form=None, headers=None):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        every = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()), **(headers or {})}
        body = urllib.parse.urlencode(form) if form is not None else None
        if body is not None:
            every["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, "/console" + path, body, every)
        answer = connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, value = line.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer, answer.read().decode()

    def token(self, path="/sign-in"):
        return re.search(r'name="csrf" value="(\w+)"', self.ask("GET", path)[1])[1]

    def sign_in(self, password=PASSWORD, name="admin"):
        return self.ask("POST", "/sign-in", {"csrf": self.token(), "name": name, "password": password})


@pytest.fixture
def plain(cloud):
    cloud.command("user", "password", "admin", stdin=PASSWORD + "\n")
    return Plain(cloud)


def test_every_answer_has_a_strict_policy(plain):
    for path in ("/sign-in", "/", "/none", "/assets/style.css"):
        answer, _ = plain.ask("GET", path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["X-Frame-Options"] == "DENY"
    assert plain.ask("GET", "/sign-in")[0].headers["Cache-Control"] == "no-store"


def test_pages_and_streams_are_for_those_who_are_signed_in(plain):
    for path in ("/", "/devices/a", "/deployments", "/deployments/new", "/components", "/events"):
        answer, _ = plain.ask("GET", path)
        assert answer.status == 303 and answer.headers["Location"].startswith("/console/sign-in")
    assert plain.ask("GET", "/events/stream")[0].status == 401
    assert plain.ask("POST", "/deployments/new", {"csrf": "x"})[0].status == 303


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://example.com"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_a_form_of_another_site_does_nothing(cloud, plain, headers):
    cloud.client("iot").create_thing(thingName="a")
    assert plain.sign_in()[0].status == 303
    good = plain.token("/")
    form = {"kind": "device", "device": "a", "component": f"{HELLO}@1.0.0"}
    tokens = [None, "", "0" * 64] if not headers else [good]
    for token in tokens:
        sent = {**form, **({} if token is None else {"csrf": token})}
        answer, page = plain.ask("POST", "/deployments/new", sent, headers)
        assert answer.status == 403 and "nothing was done" in page
    answer, _ = plain.ask("POST", "/sign-out", {}, headers)
    assert answer.status == 403 and plain.ask("GET", "/")[0].status == 200


def test_the_token_of_one_session_is_no_good_for_another(cloud, plain):
    other = Plain(cloud)
    plain.sign_in()
    other.sign_in()
    assert plain.ask("POST", "/sign-out", {"csrf": other.token("/")})[0].status == 403
    assert plain.ask("POST", "/sign-out", {"csrf": plain.token("/")})[0].status == 303
    assert plain.ask("GET", "/")[0].status == 303


def test_signing_in_needs_the_form_of_this_browser(plain):
    token = plain.token()
    plain.cookies.clear()
    assert plain.ask("POST", "/sign-in", {"csrf": token, "name": "admin", "password": PASSWORD})[0].status == 403


def test_who_guesses_must_wait_also_with_the_right_password(plain):
    for _ in range(5):
        assert plain.sign_in("a wrong password")[0].status == 401
    answer, page = plain.sign_in()
    assert answer.status == 429 and int(answer.headers["Retry-After"]) > 0 and "Too many tries" in page


def test_what_users_have_named_is_shown_and_not_run(cloud, console):
    nasty = '<img src=x onerror="document.title=1">'
    cloud.client("iot").create_thing_group(thingGroupName="plain", thingGroupProperties={"thingGroupDescription": nasty})
    console.sign_in().open("?search=" + urllib.parse.quote(nasty))
    assert console.title == "Devices" and console.driver.find_element(By.ID, "search").get_attribute("value") == nasty
    assert not console.all("main img")


# --- the fleet ---

def test_the_fleet_is_found_by_name_group_and_health(cloud, console):
    names = fleet(cloud)
    iot = cloud.client("iot")
    iot.create_thing_group(thingGroupName="hall", parentGroupName="berlin")
    for n in range(60):
        iot.create_thing(thingName=f"sensor-{n:03}")
    iot.add_thing_to_thing_group(thingName="sensor-000", thingGroupName="hall")
    console.sign_in()
    until(lambda: "Healthy" in console.open().text and "UNHEALTHY" not in console.text, "the reports have arrived")
    rows = console.rows()
    assert len(rows) == 50 and rows[0].startswith(names[0]) and "2.15.0" in rows[0] and "linux aarch64" in rows[0] and "berlin" in rows[0]
    accessible(console)
    console.shot("fleet")
    console.follow("Next")
    assert len(console.rows()) == 16 and "51 to 66 of 66" in console.text
    console.fill("search", "way-00").press("Find")
    assert [row.split()[0] for row in console.rows()] == names
    console.open("?search=hall-1")
    assert len(console.rows()) == 3
    console.open("?search=%25")
    assert console.rows() == [] and "No device is like that" in console.text
    console.open().choose("group", "berlin").press("Find")
    assert len(console.rows()) == 7
    console.choose("health", "Unhealthy").press("Find")
    assert [row.split()[0] for row in console.rows()] == names[-1:]
    console.press("All devices").choose("health", "Not reported yet").press("Find")
    assert "1 to 50 of 60" in console.text


def test_a_device_that_is_not_well_says_why(cloud, console):
    names = fleet(cloud, 3)
    console.sign_in()
    until(lambda: "Unhealthy" in console.open("devices/" + names[-1]).text, "the report has arrived")
    assert "Broken" in console.text and "The run script exited with code 3" in console.text and "hall-0" in console.text
    accessible(console)
    console.open("devices/none")
    assert console.title == "Not found" and "Thing none not found" in console.text
    accessible(console)


def test_shadows_and_jobs_of_a_device_are_shown(cloud, console):
    cloud.client("iot").create_thing(thingName="lamp")
    cloud.client("iot-data").update_thing_shadow(thingName="lamp", payload=json.dumps({"state": {"desired": {"colour": "red"}}}))
    thing = cloud.client("iot").describe_thing(thingName="lamp")["thingArn"]
    cloud.client("iot").create_job(jobId="blink", targets=[thing], document="{}")
    console.sign_in().open("devices/lamp")
    assert "blink" in console.text and "Queued" in console.text
    console.driver.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert '"colour": "red"' in console.text


def test_events_appear_as_they_happen(cloud, console, tmp_path):
    console.sign_in().open("events").shows("Live")
    accessible(console)
    cloud.client("iot").create_thing(thingName="lamp")
    console.shows("lamp was created")
    device = Connection(cloud, tmp_path, "lamp")
    console.shows("lamp connected")
    other = console.driver.current_window_handle
    console.driver.switch_to.new_window("tab")
    console.open("devices/lamp")
    assert "Connected" in console.text and "Not connected" not in console.text
    device.cut()
    console.shows("Not connected")
    console.driver.close()
    console.driver.switch_to.window(other)
    assert console.shows("lamp lost its connection")
    first = console.all("#events li")[0].text
    assert "connection" in first
    console.shot("events")


def test_a_stopping_program_does_not_wait_for_open_pages(cloud, console):
    console.sign_in().open("events").shows("Live")
    assert cloud.stop(8) == 0


# --- deployments ---

def test_a_version_is_deployed_to_a_group_and_watched_to_its_end(cloud, console):
    names = fleet(cloud, 3)
    greengrass = cloud.client("greengrassv2")
    for version in ("1.0.0", "1.1.0"):
        greengrass.create_component_version(inlineRecipe=recipe(version))
    console.sign_in().open("components")
    assert "1.1.0" in console.text
    accessible(console)
    console.shot("components")
    console.open("deployments")
    assert "Nothing has been deployed yet" in console.text
    console.press("Deploy a component")
    accessible(console)
    console.press("Deploy")
    assert "Say which group" in console.text
    accessible(console)
    console.choose("group", "berlin").choose("component", f"{HELLO} 1.1.0").fill("merge", "{not json").fill("name", "Winter").press("Deploy")
    assert "not JSON" in console.text and console.driver.find_element(By.ID, "merge").get_attribute("value") == "{not json"
    console.fill("merge", '{"interval": 10}')
    console.shot("deploy")
    console.press("Deploy")
    assert console.title == "Deployment Winter" and '"interval": 10' in console.text
    identifier = console.driver.current_url.rsplit("/", 1)[1]
    made = greengrass.get_deployment(deploymentId=identifier)
    assert made["components"][HELLO]["configurationUpdate"] == {"merge": '{"interval": 10}'}
    assert made["deploymentName"] == "Winter" and made["targetArn"].endswith("thinggroup/berlin")
    until(lambda: len(console.open(f"deployments/{identifier}").rows()) == 3, "the devices have been told")
    jobs = cloud.client("iot-jobs-data")

    def tell(name, status, **details):
        jobs.update_job_execution(jobId=made["iotJobId"], thingName=name, status=status, statusDetails=details)
    tell(names[0], "IN_PROGRESS")
    console.shows("In progress")
    accessible(console)
    tell(names[0], "SUCCEEDED")
    tell(names[1], "SUCCEEDED")
    tell(names[2], "FAILED", **{
        "detailed-deployment-status": "FAILED_ROLLBACK_COMPLETE", "deployment-failure-cause": "The component com.example.Hello broke: exit code 3",
        "deployment-error-stack": '["DEPLOYMENT_FAILURE","COMPONENT_UPDATE_ERROR","COMPONENT_BROKEN"]', "deployment-error-types": '["COMPONENT_ERROR"]'})
    console.shows("exit code 3").shows("COMPONENT_BROKEN").shows("Succeeded")
    accessible(console)
    console.shot("deployment")
    console.follow(names[2])
    console.shows("Why it failed").shows("exit code 3").shows("COMPONENT_BROKEN")
    accessible(console)
    console.shot("device")
    console.open("deployments")
    assert "Winter" in console.text and "berlin" in console.text
    accessible(console)
    console.shot("deployments")
    console.open("events").shows("admin deployed")


def test_a_revision_keeps_the_other_components_and_an_open_one_is_canceled(cloud, console):
    fleet(cloud, 1)
    greengrass = cloud.client("greengrassv2")
    group = cloud.client("iot").describe_thing_group(thingGroupName="berlin")["thingGroupArn"]
    greengrass.create_component_version(inlineRecipe=recipe("1.0.0"))
    greengrass.create_component_version(inlineRecipe=recipe("2.0.0", "com.example.Other"))
    greengrass.create_deployment(targetArn=group, components={"com.example.Other": {"componentVersion": "2.0.0"}})
    console.sign_in().open("deployments/new?group=berlin")
    assert "com.example.Other 2.0.0" in console.text
    console.choose("component", f"{HELLO} 1.0.0").press("Deploy")
    identifier = console.driver.current_url.rsplit("/", 1)[1]
    made = greengrass.get_deployment(deploymentId=identifier)
    assert {name: c["componentVersion"] for name, c in made["components"].items()} == {HELLO: "1.0.0", "com.example.Other": "2.0.0"}
    console.press("Cancel this deployment")
    assert "Canceled" in console.text
    assert greengrass.get_deployment(deploymentId=identifier)["deploymentStatus"] == "CANCELED"
    console.open("deployments/new?group=berlin").choose("component", f"{HELLO} 1.0.0")
    console.driver.find_element(By.ID, "keep").click()
    console.press("Deploy")
    made = greengrass.get_deployment(deploymentId=console.driver.current_url.rsplit("/", 1)[1])
    assert set(made["components"]) == {HELLO}


# --- for everybody ---

def test_pages_are_used_by_keyboard_alone(cloud, console):
    fleet(cloud, 2)
    body = console.driver.switch_to.active_element
    assert body.get_attribute("id") == "name"
    body.send_keys("admin", Keys.TAB, PASSWORD, Keys.ENTER)
    until(lambda: console.title == "Devices", "signed in")
    console.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = console.driver.switch_to.active_element
    assert skip.text == "Skip to the content" and skip.is_displayed()
    skip.send_keys(Keys.ENTER)
    seen = []
    for _ in range(20):
        at = console.driver.switch_to.active_element
        at.send_keys(Keys.TAB)
        at = console.driver.switch_to.active_element
        seen.append(at.text or at.get_attribute("id"))
        outline = at.value_of_css_property("outline-style")
        assert outline != "none", f"the focus is not seen on {at.get_attribute('outerHTML')}"
        if at.text == "gateway-000":
            break
    assert seen[:2] == ["Deploy a component", "search"] and seen[-1] == "gateway-000", seen
    console.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert console.title == "gateway-000"


def test_dark_and_narrow_are_as_good(cloud, tmp_path):
    cloud.command("user", "password", "admin", stdin=PASSWORD + "\n")
    names = fleet(cloud, 3)
    browser = Browser(cloud, tmp_path / "chromium", dark=True)
    try:
        accessible(browser.open())
        browser.sign_in()
        for page in ("", f"devices/{names[-1]}", "deployments", "deployments/new", "components", "events"):
            accessible(browser.open(page))
        browser.open().shot("fleet-dark")
        browser.open(f"devices/{names[-1]}").shot("device-dark")
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
        for page in ("", f"devices/{names[-1]}", "deployments/new", "events"):
            accessible(browser.open(page))
    finally:
        browser.end()
