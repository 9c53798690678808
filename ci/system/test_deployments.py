"""Local deployments: what they change, what they refuse, and that whatever happens in between the set is the old or the new one, whole."""
import base64
import hashlib
import io
import json
import os
import pwd
import time
import zipfile

import pytest
from conftest import python_probe
from device import Probe, Refused, until

STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
A, B, C = "com.test.A", "com.test.B", "com.test.C"


def details_of(report):
    return report.get("deploymentStatusDetails", {})


def cause_of(report):
    return details_of(report).get("deploymentFailureCause", "")


def failed(report, detailed, *codes):
    """Asserts how a deployment failed; returns the cause."""
    about = json.dumps(report, indent=1)
    details = details_of(report)
    assert report["status"] == "FAILED", about
    assert details["detailedDeploymentStatus"] == detailed, about
    assert details["deploymentErrorStack"][0] == "DEPLOYMENT_FAILURE", about
    for code in codes:
        assert code in details["deploymentErrorStack"], about
    return cause_of(report)


def ours(device):
    """Versions of the test's own components."""
    return {name: version for name, version in device.versions().items() if name.startswith("com.test.")}


def mark(device):
    """A folder where steps leave files for the test, and the test for them, whoever runs them."""
    folder = device.root.parent / "marks"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    return folder


# --- updates ---

def test_an_update_stops_the_old_version_before_it_installs_and_runs_the_new_one(device):
    for version in ["1.0.0", "2.0.0"]:
        device.shell(A, version, Install=f"echo install {version}", Run=f"echo run {version}; {STAY}", Shutdown=f"echo shutdown {version}")
    device.deploy(f"{A}=1.0.0")
    device.wait_log(A, "run 1.0.0")
    old = device.details(A)["pid"]
    device.deploy(f"{A}=2.0.0")
    device.wait_log(A, "run 2.0.0")
    log = device.component_log(A)
    places = [log.index(f"stdout. {text}") for text in ["run 1.0.0", "shutdown 1.0.0", "install 2.0.0", "run 2.0.0"]]
    assert places == sorted(places), log
    assert "shutdown 2.0.0" not in log
    details = device.details(A)
    assert details["version"] == "2.0.0" and details["state"] == "RUNNING" and details["pid"] != old
    device.deploy(f"{A}=1.0.0")
    assert ours(device) == {A: "1.0.0"}


def test_deploying_what_is_there_already_disturbs_nothing(device):
    device.deploy(device.shell(A, Install="echo install", Run=f"echo run; {STAY}"))
    before = device.details(A)["pid"]
    device.deploy(f"{A}=1.0.0")
    assert device.details(A)["pid"] == before
    assert device.component_log(A).count("stdout. install") == 1


def test_the_same_version_with_another_script_is_deployed_anew(device):
    device.deploy(device.shell(A, Run=f"echo first; {STAY}"))
    device.wait_log(A, "first")
    device.deploy(device.shell(A, Run=f"echo second; {STAY}"))
    device.wait_log(A, "second")
    assert ours(device) == {A: "1.0.0"}


def test_the_same_version_with_another_artifact_is_deployed_anew(device):
    lifecycle = [{"Lifecycle": {"Run": "sh {artifacts:path}/say.sh; " + STAY}}]
    device.deploy(device.component(A, files={"say.sh": "echo first"}, Manifests=lifecycle))
    device.wait_log(A, "first")
    device.deploy(device.component(A, files={"say.sh": "echo second"}, Manifests=lifecycle))
    device.wait_log(A, "second")


def test_ten_components_are_deployed_at_once(device):
    names = [f"com.test.Many{n}" for n in range(10)]
    chain = {names[0]: {"VersionRequirement": "^1.0.0"}}
    device.deploy(*[
        device.shell(name, dependencies=chain if name != names[0] else None, Install="echo installed", Run=f"echo running; {STAY}") for name in names])
    components = device.components()
    assert {components[name]["state"] for name in names} == {"RUNNING"}
    pids = {device.details(name)["pid"] for name in names}
    assert len(pids) == 10


# --- failures ---

def two_sets(device, broken="echo no camera >&2; exit 7"):
    """A in a good version and a bad one; B, which only the bad set has; C, which both have."""
    default = {"level": 1, "keep": "old"}
    device.shell(A, "1.0.0", configuration=default, Run=f"echo run one; {STAY}")
    device.shell(A, "2.0.0", configuration={**default, "new": True}, dependencies={B: {"VersionRequirement": "1.0.0"}}, Run=broken)
    device.shell(B, Run=STAY)
    device.shell(C, Run=STAY)
    device.deploy(f"{A}=1.0.0", f"{C}=1.0.0", update={A: {"MERGE": {"level": 5}}})
    device.wait_log(A, "run one")


def test_a_failed_deployment_stays_as_it_is_unless_a_rollback_is_asked_for(device):
    two_sets(device)
    report = device.deploy(f"{A}=2.0.0", update={A: {"MERGE": {"level": 9}}}, check=False)
    cause = failed(report, "FAILED_ROLLBACK_NOT_REQUESTED", "COMPONENT_UPDATE_ERROR", "COMPONENT_BROKEN")
    assert A in cause and "7" in cause and "no camera" in cause, cause
    assert {"COMPONENT_ERROR", "USER_COMPONENT_ERROR"} <= set(details_of(report)["deploymentErrorTypes"])
    assert ours(device) == {A: "2.0.0", B: "1.0.0", C: "1.0.0"}
    assert device.state(A) == "BROKEN"
    assert device.details(A)["configuration"]["level"] == 9
    # The next deployment repairs it.
    device.deploy(f"{A}=1.0.0")
    assert ours(device) == {A: "1.0.0", C: "1.0.0"} and device.state(A) == "RUNNING"


def test_a_rollback_brings_versions_configuration_and_processes_back(device):
    two_sets(device)
    undisturbed = device.details(C)["pid"]
    before = device.details(A)["configuration"]
    report = device.deploy(f"{A}=2.0.0", update={A: {"MERGE": {"level": 9, "more": [1]}}, C: {"MERGE": {"x": 1}}}, policy="ROLLBACK", check=False)
    cause = failed(report, "FAILED_ROLLBACK_COMPLETE", "COMPONENT_UPDATE_ERROR", "COMPONENT_BROKEN")
    assert "7" in cause and "no camera" in cause, cause
    assert ours(device) == {A: "1.0.0", C: "1.0.0"}
    assert device.state(A) == "RUNNING"
    assert device.details(A)["configuration"] == before
    assert "x" not in device.details(C)["configuration"]
    assert device.details(C)["pid"] == undisturbed
    device.wait_log(A, "run one", count=2)
    # What was rolled back is also what a start brings up.
    device.stop()
    device.start()
    device.wait_state(A, "RUNNING")
    assert ours(device) == {A: "1.0.0", C: "1.0.0"} and device.details(A)["configuration"] == before


def test_a_rollback_takes_back_what_the_same_version_was_before(device):
    device.deploy(device.component(A, files={"say.sh": "echo good"}, Manifests=[{"Lifecycle": {"Run": "sh {artifacts:path}/say.sh; " + STAY}}]))
    device.wait_log(A, "good")
    device.component(A, files={"say.sh": "echo worse; exit 3"}, Manifests=[{"Lifecycle": {"Run": "sh {artifacts:path}/say.sh || exit 3; " + STAY}}])
    report = device.deploy(f"{A}=1.0.0", policy="ROLLBACK", check=False)
    failed(report, "FAILED_ROLLBACK_COMPLETE")
    device.wait_log(A, "good", count=2)
    assert device.state(A) == "RUNNING"


def test_a_failing_install_is_told_with_its_exit_code_and_what_it_wrote(device):
    report = device.deploy(device.shell(A, Install="echo half way; echo disk is read-only >&2; exit 42", Run=STAY), policy="ROLLBACK", check=False)
    cause = failed(report, "FAILED_ROLLBACK_COMPLETE", "COMPONENT_BROKEN")
    assert "42" in cause and "disk is read-only" in cause and "install" in cause.lower(), cause
    assert ours(device) == {}


# --- configuration ---

DEFAULTS = {"a": 1, "b": {"c": 2}, "list": [1, 2], "word": "w"}


def test_configuration_is_reset_before_it_is_merged(device):
    device.deploy(device.shell(A, configuration=DEFAULTS, Run=STAY))

    def after(**update):
        device.deploy(update={A: update})
        return device.details(A)["configuration"]

    assert after(MERGE={"a": 10, "b": {"d": 3}, "list": [9], "extra": {"x": None}}) == {
        "a": 10, "b": {"c": 2, "d": 3}, "list": [9], "word": "w", "extra": {"x": None}}
    assert after(RESET=["/a", "/extra"], MERGE={"b": {"c": 5}}) == {"a": 1, "b": {"c": 5, "d": 3}, "list": [9], "word": "w"}
    assert after(RESET=["/a", "/b"], MERGE={"a": 42}) == {**DEFAULTS, "a": 42, "list": [9]}
    assert after(RESET=[""], MERGE={"word": "last"}) == {**DEFAULTS, "word": "last"}
    device.deploy(f"{A}=1.0.0")
    assert device.details(A)["configuration"]["word"] == "last"


def test_a_new_version_keeps_what_was_configured_and_brings_its_new_defaults(device):
    device.shell(A, "1.0.0", configuration=DEFAULTS, Run=STAY)
    device.shell(A, "1.1.0", configuration={**DEFAULTS, "word": "other", "new": "n"}, Run=STAY)
    device.deploy(f"{A}=1.0.0", update={A: {"MERGE": {"a": 5}}})
    device.deploy(f"{A}=1.1.0")
    configuration = device.details(A)["configuration"]
    assert configuration["a"] == 5 and configuration["new"] == "n"


def test_a_change_of_configuration_alone_restarts_only_what_is_made_from_it(device):
    device.deploy(
        device.shell(A, configuration={"word": "one"}, Run=STAY),
        device.shell(B, configuration={"word": "one"}, Install="echo installed", Run="echo the word is {configuration:/word}; " + STAY))
    device.wait_log(B, "the word is one")
    before = device.details(A)["pid"], device.details(B)["pid"]
    change = {"MERGE": {"word": "two"}}
    device.deploy(update={A: change, B: change})
    assert device.details(A)["configuration"]["word"] == "two"
    assert device.details(A)["pid"] == before[0]
    device.wait_log(B, "the word is two")
    assert device.details(B)["pid"] != before[1]
    assert device.component_log(B).count("stdout. installed") == 1


def test_configuration_for_a_component_that_is_not_there_is_refused(device):
    device.deploy(device.shell(A, Run=STAY))
    report = device.deploy(update={B: {"MERGE": {"x": 1}}}, check=False)
    assert B in failed(report, "FAILED_NO_STATE_CHANGE", "DEPLOYMENT_DOCUMENT_NOT_VALID")


# --- groups and dependencies ---

def test_a_component_of_two_groups_goes_when_both_have_removed_it(device):
    for name in [A, B, C]:
        device.shell(name, Run=STAY)
    device.deploy(f"{A}=1.0.0", f"{C}=1.0.0", group="Left")
    device.deploy(f"{B}=1.0.0", f"{C}=1.0.0", group="Right")
    assert set(ours(device)) == {A, B, C}
    pid = device.details(C)["pid"]
    device.deploy(remove=[C], group="Left")
    assert set(ours(device)) == {A, B, C} and device.details(C)["pid"] == pid
    device.deploy(remove=[C], group="Right")
    assert set(ours(device)) == {A, B}
    device.deploy(remove=[A], group="Right")  # it is not of that group
    assert set(ours(device)) == {A, B}


def test_a_conflict_of_versions_names_who_wants_what(device):
    for version in ["1.0.0", "1.2.0", "2.0.0"]:
        device.shell(C, version, Run=STAY)
    device.shell(A, dependencies={C: {"VersionRequirement": "^1.0.0"}}, Run=STAY)
    device.deploy(f"{A}=1.0.0", group="Left")
    assert ours(device) == {A: "1.0.0", C: "1.2.0"}  # the highest that fits
    report = device.deploy(f"{C}=2.0.0", group="Right", check=False)
    cause = failed(report, "FAILED_NO_STATE_CHANGE", "NO_AVAILABLE_COMPONENT_VERSION", "COMPONENT_VERSION_REQUIREMENTS_NOT_MET")
    assert C in cause and f"{A}=" in cause and "thinggroup/Right==2.0.0" in cause, cause
    assert ours(device) == {A: "1.0.0", C: "1.2.0"}
    device.deploy(f"{C}=1.0.0", group="Right")
    assert ours(device) == {A: "1.0.0", C: "1.0.0"}


def test_a_missing_dependency_is_named_with_who_needs_it(device):
    device.shell(A, dependencies={"com.test.Nowhere": {"VersionRequirement": ">=1.0.0 <2.0.0"}}, Run=STAY)
    report = device.deploy(f"{A}=1.0.0", check=False)
    cause = failed(report, "FAILED_NO_STATE_CHANGE", "NO_AVAILABLE_COMPONENT_VERSION")
    assert "com.test.Nowhere" in cause and A in cause and ">=1.0.0 <2.0.0" in cause, cause
    assert ours(device) == {}


def test_a_circle_of_dependencies_is_told_round(device):
    for name, next_one in [(A, B), (B, C), (C, A)]:
        device.shell(name, dependencies={next_one: {"VersionRequirement": "1.0.0"}}, Run=STAY)
    report = device.deploy(f"{A}=1.0.0", check=False)
    cause = failed(report, "FAILED_NO_STATE_CHANGE", "COMPONENT_CIRCULAR_DEPENDENCY_ERROR")
    assert "REQUEST_ERROR" in details_of(report)["deploymentErrorTypes"]
    assert all(name in cause for name in [A, B, C]), cause


def test_a_removal_ends_everything_of_the_component_and_what_only_it_needed(device):
    marks = mark(device)
    device.shell(B, Run=STAY)
    device.shell(A, dependencies={B: {"VersionRequirement": "1.0.0"}}, Run=STAY, Uninstall=f"echo gone >> {marks}/uninstalled")
    device.deploy(f"{A}=1.0.0", device.shell(C, Run=STAY))
    device.deploy(remove=[A])
    assert set(ours(device)) == {C}
    assert (marks / "uninstalled").read_text() == "gone\n"
    assert device.cli("component", "details", "-n", A, check=False).returncode == 1
    device.stop()
    device.start()
    assert set(ours(device)) == {C}


# --- recipes and artifacts ---

@pytest.mark.parametrize("timeout, unarchive, code, line, texts", [
    ("soon", "NONE", "CONFIG_INTERPOLATE_ERROR", 9, ["Timeout", "soon"]),  # known when variables are filled in
    ("5", "RAR", "RECIPE_PARSE_ERROR", 12, ["Unarchive", "RAR", "ZIP"]),
])
def test_a_bad_recipe_is_refused_with_file_line_and_key(device, timeout, unarchive, code, line, texts):
    device.deploy(device.shell(A, Run=STAY))
    file = device.sources / "recipes" / f"{B}-1.0.0.yaml"
    file.write_text(f"""RecipeFormatVersion: "2020-01-25"
ComponentName: {B}
ComponentVersion: "1.0.0"
Manifests:
  - Platform: {{os: linux}}
    Lifecycle:
      Run:
        Script: exit 0
        Timeout: {timeout}
    Artifacts:
      - Uri: s3://bucket/recipe.bin
        Unarchive: {unarchive}
""")
    folder = device.sources / "artifacts" / B / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "recipe.bin").write_bytes(b"")
    report = device.deploy(f"{B}=1.0.0", check=False)
    cause = failed(report, "FAILED_NO_STATE_CHANGE", code)
    assert "COMPONENT_RECIPE_ERROR" in details_of(report)["deploymentErrorTypes"]
    assert f"{file}:{line}:" in cause and all(text in cause for text in texts), cause
    assert ours(device) == {A: "1.0.0"}


def with_artifacts(device, files, artifacts, run, version="1.0.0", make=True):
    return device.component(
        A, version, files if make else {},
        Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": {"Run": f"{run}; {STAY}"}, "Artifacts": artifacts}])


def digest(content):
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def test_an_artifact_whose_digest_is_wrong_is_not_deployed(device):
    content = b"some bytes"
    artifact = {"Uri": "s3://bucket/data.bin", "Algorithm": "SHA-256", "Digest": digest(b"other bytes")}
    report = device.deploy(with_artifacts(device, {"data.bin": content}, [artifact], "true"), check=False)
    cause = failed(report, "FAILED_NO_STATE_CHANGE", "ARTIFACT_CHECKSUM_MISMATCH")
    assert "data.bin" in cause and artifact["Digest"] in cause and digest(content) in cause, cause
    assert ours(device) == {}
    artifact["Digest"] = digest(content)
    device.deploy(with_artifacts(device, {"data.bin": content}, [artifact], "echo it has $(wc -c < {artifacts:path}/data.bin)"))
    device.wait_log(A, "it has 10")


@pytest.mark.parametrize("uri, code, text", [
    ("ftp://host/data.bin", "UNSUPPORTED_ARTIFACT_SCHEME", "ftp"),
    ("docker:hello-world:latest", "ARTIFACT_DOWNLOAD_ERROR", "container images"),
    ("s3://bucket/absent.bin", "ARTIFACT_DOWNLOAD_ERROR", "absent.bin"),
])
def test_an_artifact_that_cannot_be_had_is_named(device, uri, code, text):
    report = device.deploy(with_artifacts(device, {"data.bin": b""}, [{"Uri": uri}], "true"), check=False)
    cause = failed(report, "FAILED_NO_STATE_CHANGE", code)
    assert uri in cause and text in cause, cause
    assert ours(device) == {}


def archive(*entries):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)
    return memory.getvalue()


def test_an_archive_is_unpacked_where_the_recipe_variable_says(device):
    content = archive(("top.txt", "salt"), ("deep/er/file.txt", "pepper"))
    artifact = {"Uri": "s3://bucket/pack.zip", "Unarchive": "ZIP"}
    run = "cat {artifacts:decompressedPath}/pack/top.txt {artifacts:decompressedPath}/pack/deep/er/file.txt; echo"
    device.deploy(with_artifacts(device, {"pack.zip": content}, [artifact], run))
    device.wait_log(A, "saltpepper")


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "deep/../../../outside.txt", "..\\outside.txt/../../x"])
def test_an_archive_cannot_write_outside_its_folder(device, name):
    content = archive(("fine.txt", "fine"), (name, "evil"))
    artifact = {"Uri": "s3://bucket/pack.zip", "Unarchive": "ZIP"}
    report = device.deploy(with_artifacts(device, {"pack.zip": content}, [artifact], "true"), check=False)
    cause = failed(report, "FAILED_NO_STATE_CHANGE", "IO_UNZIP_ERROR")
    assert "pack.zip" in cause and "outside.txt" in cause, cause
    found = [str(file) for file in device.root.rglob("*") if file.name in ("outside.txt", "fine.txt")]
    assert found == [] and ours(device) == {}


def test_a_link_in_an_archive_cannot_lead_outside(device):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as file:
        link = zipfile.ZipInfo("way")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        file.writestr(link, str(device.root.parent))
        file.writestr("way/outside.txt", "evil")
    artifact = {"Uri": "s3://bucket/pack.zip", "Unarchive": "ZIP"}
    report = device.deploy(with_artifacts(device, {"pack.zip": memory.getvalue()}, [artifact], "true"), check=False)
    failed(report, "FAILED_NO_STATE_CHANGE", "IO_UNZIP_ERROR")
    assert not (device.root.parent / "outside.txt").exists()


def test_artifacts_get_the_permissions_and_the_owner_that_the_recipe_asks_for(device):
    files = {"tool.sh": "echo the tool ran as $(id -un)", "plain.txt": "x"}
    artifacts = [
        {"Uri": "s3://bucket/tool.sh", "Permission": {"Read": "OWNER", "Execute": "OWNER"}},
        {"Uri": "s3://bucket/plain.txt", "Permission": {"Read": "ALL", "Execute": "NONE"}},
    ]
    device.deploy(with_artifacts(device, files, artifacts, "sh {artifacts:path}/tool.sh"))
    device.wait_log(A, "the tool ran as")
    folder = device.root / "packages" / "artifacts" / A / "1.0.0"
    tool, plain = (folder / "tool.sh").stat(), (folder / "plain.txt").stat()
    assert tool.st_mode & 0o777 == 0o550 and plain.st_mode & 0o777 == 0o444
    owner = pwd.getpwnam("ggc_user").pw_uid if os.getuid() == 0 else os.getuid()
    assert tool.st_uid == owner and plain.st_uid == owner


# --- dry run ---

def test_a_dry_run_prints_the_plan_and_changes_nothing(device):
    device.shell(A, "1.0.0", Run=f"echo run; {STAY}")
    device.shell(A, "2.0.0", dependencies={B: {"VersionRequirement": "1.0.0"}}, Bootstrap="exit 0", Run=STAY)
    device.shell(B, Run=STAY)
    device.deploy(f"{A}=1.0.0", device.shell(C, configuration={"k": 1}, Run=STAY))
    folders = ["--recipeDir", device.sources / "recipes", "--artifactDir", device.sources / "artifacts"]
    arguments = ["deployment", "create", *folders, "--merge", f"{A}=2.0.0", "--update-config", json.dumps({C: {"MERGE": {"k": 2}}}), "--dry-run"]
    before = device.components(), device.json("deployment", "list"), device.details(A)["pid"]
    plan = device.json(*arguments)
    changes = {change["component"]: change for change in plan["components"]}
    assert changes[A]["change"] == "UPGRADE" and changes[A]["oldVersion"] == "1.0.0" and changes[A]["newVersion"] == "2.0.0"
    assert changes[B]["change"] == "ADD" and any(A in why for why in changes[B]["why"])
    assert changes[C]["change"] == "CONFIGURATION"
    assert plan["bootstrap"] == [A]
    text = device.cli(*arguments).stdout
    assert f"{A}" in text and "1.0.0 -> 2.0.0" in text and "upgrade" in text, text
    assert (device.components(), device.json("deployment", "list"), device.details(A)["pid"]) == before
    assert not (device.root / "packages" / "artifacts" / B).exists()
    assert [file.name for file in (device.root / "packages" / "recipes").iterdir() if "2.0.0" in file.name] == []
    refused = device.cli("deployment", "create", "--merge", "com.test.Nowhere=1.0.0", "--dry-run", check=False)
    assert refused.returncode == 2 and "com.test.Nowhere" in refused.stderr


# --- cancelling ---

def test_a_deployment_is_cancelled_in_the_queue_and_under_way(device):
    device.deploy(device.shell(C, Run=STAY))
    before = device.details(C)["pid"]
    first = device.deploy(device.shell(A, Install={"Script": "sleep 1000", "Timeout": 900}, Run=STAY), wait=False)
    second = device.deploy(device.shell(B, Run=STAY), wait=False)
    device.wait_state(A, "NEW", "INSTALLED", "STARTING")
    assert device.json("deployment", "status", "-i", second)["status"] == "QUEUED"
    device.cli("deployment", "cancel", "-i", second)
    assert device.finished(second)["status"] == "CANCELED"
    device.cli("deployment", "cancel", "-i", first)
    report = device.finished(first)
    assert report["status"] == "CANCELED" and details_of(report)["detailedDeploymentStatus"] == "CANCELED"
    assert ours(device) == {C: "1.0.0"} and device.details(C)["pid"] == before
    assert not [command for _, command in device.survivors() if "sleep 1000" in command]
    device.deploy(f"{B}=1.0.0")
    assert set(ours(device)) == {B, C}


def test_a_cancelled_update_brings_the_old_version_back(device):
    device.shell(A, "1.0.0", Run=f"echo run one; {STAY}")
    device.shell(A, "2.0.0", Startup={"Script": "echo starting two; sleep 1000", "Timeout": 900})
    device.deploy(f"{A}=1.0.0")
    identifier = device.deploy(f"{A}=2.0.0", wait=False)
    device.wait_log(A, "starting two")
    device.cli("deployment", "cancel", "-i", identifier)
    assert device.finished(identifier)["status"] == "CANCELED"
    assert ours(device) == {A: "1.0.0"}
    device.wait_log(A, "run one", count=2)
    late = device.cli("deployment", "cancel", "-i", identifier, check=False)
    assert late.returncode in (0, 1) and late.stdout + late.stderr


# --- bootstrap ---

def test_a_bootstrap_step_restarts_the_runtime_and_the_deployment_goes_on(device):
    device.deploy(device.shell(C, Run=f"echo other runs; {STAY}"))
    name = device.shell(A, Bootstrap="echo bootstrap ran; exit 100", Install="echo install", Run=f"echo run; {STAY}")
    identifier = device.deploy(name, wait=False)
    watcher = device.follow(identifier)
    until(lambda: device.process.poll() is not None or device.answers(), "the runtime answers or has ended")
    if device.process.poll() is not None:  # restarting is the service manager's work then
        assert device.process.returncode == 100
        device.start()
    assert watcher.end(60) == 0, watcher.text()
    report = device.finished(identifier)
    assert report["status"] == "SUCCEEDED", report
    device.wait_log(A, "stdout. run")
    log = device.component_log(A)
    assert log.count("bootstrap ran") == 1 and log.index("bootstrap ran") < log.index("stdout. install"), log
    assert "starting anew" in device.log()
    device.wait_state(C, "RUNNING")


def test_a_failing_bootstrap_step_rolls_back_since_nothing_of_the_new_set_can_run(device):
    device.shell(A, "1.0.0", Run=f"echo run one; {STAY}")
    device.shell(A, "2.0.0", Bootstrap="echo no kernel module >&2; exit 5", Run=f"echo run two; {STAY}")
    device.deploy(f"{A}=1.0.0")
    report = device.deploy(f"{A}=2.0.0", check=False)
    cause = failed(report, "FAILED_ROLLBACK_COMPLETE", "COMPONENT_BOOTSTRAP_ERROR")
    assert A in cause and "5" in cause and "no kernel module" in cause, cause
    assert ours(device) == {A: "1.0.0"} and "run two" not in device.component_log(A)
    device.wait_state(A, "RUNNING")


def test_a_reboot_that_a_bootstrap_step_wants_is_asked_for_until_it_is_given_up(device):
    device.deploy(device.shell(C, Run=STAY))
    identifier = device.deploy(device.shell(A, Bootstrap="echo bootstrap ran; exit 101", Run=STAY), wait=False)
    assert device.process.wait(30) == 101  # for whoever started the runtime, which may not reboot this machine
    for _ in range(3):  # and who does not reboot it either
        device.start(wait=False)
        assert device.process.wait(30) == 101
    device.start()
    cause = failed(device.finished(identifier), "FAILED_ROLLBACK_COMPLETE", "DEPLOYMENT_INTERRUPTED")
    assert "device to be restarted" in cause, cause
    assert device.component_log(A).count("bootstrap ran") == 1
    device.wait_state(C, "RUNNING")
    assert ours(device) == {C: "1.0.0"}


# --- kills ---

def kill_setting(device, version_two="true", **steps):
    """Two components that are updated together; every step of them waits while `hold-<step>` exists and tells when it is reached."""
    marks = mark(device)

    def step(name, then):
        return f"touch {marks}/at-{name}; while [ -e {marks}/hold-{name} ]; do sleep 0.05; done; {then}"

    for component in [A, B]:
        device.shell(component, "1.0.0", configuration={"is": "old"}, Run=f"echo old runs; {STAY}", Shutdown=step("shutdown", "true"))
        device.shell(
            component, "2.0.0", configuration={"is": "new", "only": "new"}, Bootstrap=step("bootstrap", "true"), Install=step("install", "true"),
            Run=step("run", f"{version_two}; echo new runs; {STAY}"))
    device.deploy(f"{A}=1.0.0", f"{B}=1.0.0")
    return marks


def whole(device, report):
    """The set is the old one or the new one; which depends on how the deployment ended."""
    new = report["status"] == "SUCCEEDED"
    version = "2.0.0" if new else "1.0.0"
    assert report["status"] in ("SUCCEEDED", "FAILED"), report
    assert ours(device) == {A: version, B: version}, report
    for name in [A, B]:
        device.wait_state(name, "RUNNING")
        configuration = device.details(name)["configuration"]
        assert ("only" in configuration) == new, (configuration, report)

    def running(which):
        return [command for _, command in device.survivors() if f"{which} runs" in command]

    # A condition, since a shell that forks for its `sleep` is seen twice for a moment.
    until(lambda: len(running("new" if new else "old")) == 2, f"each runs once: {device.survivors()}", 5)
    assert running("old" if new else "new") == [], device.survivors()


@pytest.mark.parametrize("policy", ["ROLLBACK", "DO_NOTHING"])
@pytest.mark.parametrize("moment", ["created", "shutdown", "bootstrap", "install", "run"])
def test_a_runtime_killed_in_a_deployment_ends_it_with_the_old_or_the_new_set_whole(device, moment, policy):
    marks = kill_setting(device)
    if moment != "created":
        (marks / f"hold-{moment}").touch()
    identifier = device.deploy(f"{A}=2.0.0", f"{B}=2.0.0", wait=False, policy=policy)
    if moment != "created":
        until((marks / f"at-{moment}").exists, f"the {moment} step is reached")
    device.kill()
    if moment != "created":
        (marks / f"hold-{moment}").unlink()
    device.start()
    report = device.finished(identifier)
    assert report["status"] == "SUCCEEDED", report  # nothing is wrong with the new set
    whole(device, report)


@pytest.mark.parametrize("moment", ["run", "way back"])
def test_a_runtime_killed_on_the_way_back_ends_with_the_old_set_whole(device, moment):
    marks = kill_setting(device, version_two="exit 3")
    identifier = device.deploy(f"{A}=2.0.0", f"{B}=2.0.0", wait=False, policy="ROLLBACK")
    if moment == "run":
        until((marks / "at-run").exists, "the new set has started")
    else:
        until(lambda: "rolling back" in device.log(), "the way back has begun", 30)
    device.kill()
    device.start()
    report = device.finished(identifier, 90)
    assert details_of(report)["detailedDeploymentStatus"] == "FAILED_ROLLBACK_COMPLETE", report
    whole(device, report)


# Milliseconds after the deployment was accepted; many more with `ci/test --long`.
MOMENTS = range(0, 1500, 15) if os.environ.get("GREENGRASS_LONG") == "1" else [5, 20, 60, 150, 400, 900]


@pytest.mark.parametrize("after_ms", MOMENTS)
def test_a_runtime_killed_at_any_time_leaves_no_mixture(device, after_ms):
    kill_setting(device)
    identifier = device.deploy(f"{A}=2.0.0", f"{B}=2.0.0", wait=False, policy="ROLLBACK")
    end = time.monotonic() + after_ms / 1000
    until(lambda: time.monotonic() > end, "the moment has come")
    device.kill()
    device.start()
    whole(device, device.finished(identifier))


@pytest.mark.parametrize("after_ms", range(0, 4500, 90) if os.environ.get("GREENGRASS_LONG") == "1" else [300, 1500, 3000])
def test_a_runtime_killed_twice_at_any_time_of_a_failing_update_still_brings_the_old_set_back(device, after_ms):
    kill_setting(device, version_two="exit 3")
    identifier = device.deploy(f"{A}=2.0.0", f"{B}=2.0.0", wait=False, policy="ROLLBACK")
    for pause_ms in [after_ms, after_ms // 3]:
        end = time.monotonic() + pause_ms / 1000
        until(lambda end=end: time.monotonic() > end, "the moment has come")
        device.kill()
        device.start()
    report = device.finished(identifier)
    assert details_of(report)["detailedDeploymentStatus"] == "FAILED_ROLLBACK_COMPLETE", report
    whole(device, report)


def test_kills_again_and_again_do_not_keep_a_deployment_from_its_end(device):
    marks = kill_setting(device)
    (marks / "hold-install").touch()
    identifier = device.deploy(f"{A}=2.0.0", f"{B}=2.0.0", wait=False, policy="ROLLBACK")
    for _ in range(2):
        until((marks / "at-install").exists, "the install step is reached")
        device.kill()
        (marks / "at-install").unlink()
        device.start()
    (marks / "hold-install").unlink()
    whole(device, device.finished(identifier))


def test_deployments_that_wait_outlive_a_kill(device):
    marks = mark(device)
    (marks / "hold").touch()
    first = device.deploy(device.shell(A, Install=f"while [ -e {marks}/hold ]; do sleep 0.05; done", Run=STAY), wait=False)
    second = device.deploy(device.shell(B, Run=STAY), wait=False)
    device.kill()
    device.start()
    (marks / "hold").unlink()
    assert device.finished(first)["status"] == "SUCCEEDED" and device.finished(second)["status"] == "SUCCEEDED"
    assert set(ours(device)) == {A, B}


# --- components have a say ---

NOTIFY = ["--component-update-policy", "NOTIFY_COMPONENTS"]


def test_a_component_defers_its_update_until_it_is_ready(device):
    device.deploy(python_probe(device, A))
    python_probe(device, A, version="2.0.0")
    probe = Probe(device, A)
    stream = probe.stream("subscribe_to_component_updates")
    identifier = device.deploy(f"{A}=2.0.0", wait=False, more=NOTIFY)
    for _ in range(2):
        event = stream.take()["preUpdateEvent"]
        assert event["deploymentId"] == identifier and event["isGgcRestarting"] is False
        probe.call("defer_component_update", deploymentId=identifier, message="the press is closed", recheckAfterMs=300)
        assert ours(device) == {A: "1.0.0"}
    stream.take()
    probe.call("defer_component_update", deploymentId=identifier, recheckAfterMs=0)
    assert device.finished(identifier)["status"] == "SUCCEEDED"
    assert ours(device) == {A: "2.0.0"}


def test_a_deferred_deployment_tells_why_it_waits_and_can_be_cancelled(device):
    device.deploy(python_probe(device, A))
    python_probe(device, A, version="2.0.0")
    probe = Probe(device, A)
    stream = probe.stream("subscribe_to_component_updates")
    identifier = device.deploy(f"{A}=2.0.0", wait=False, more=NOTIFY)
    stream.take()
    probe.call("defer_component_update", deploymentId=identifier, message="the press is closed", recheckAfterMs=600000)
    watcher = device.follow(identifier)
    watcher.wait_for("the press is closed")
    device.cli("deployment", "cancel", "-i", identifier)
    assert device.finished(identifier)["status"] == "CANCELED"
    assert watcher.end() == 1
    assert ours(device) == {A: "1.0.0"} and probe.about()["pid"]


def test_a_local_deployment_asks_nobody_unless_told_to_and_tells_when_it_is_over(device):
    device.deploy(python_probe(device, A), device.shell(B, Run=STAY))
    device.shell(B, "2.0.0", Run=STAY)
    probe = Probe(device, A)
    stream = probe.stream("subscribe_to_component_updates")
    identifier = device.deploy(f"{B}=2.0.0", wait=False)
    event = stream.take()
    assert list(event) == ["postUpdateEvent"] and event["postUpdateEvent"]["deploymentId"] == identifier
    with pytest.raises(Refused) as refusal:
        probe.call("defer_component_update", deploymentId=identifier, recheckAfterMs=1000)
    assert refusal.value.kind in ("ServiceError", "InvalidArgumentsError", "ResourceNotFoundError")
    assert device.finished(identifier)["status"] == "SUCCEEDED"
