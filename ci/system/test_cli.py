"""The command line as people and scripts meet it: answers, exit codes, and what it says when something is wrong."""
import json
import os
import pty
import re
import shutil
import subprocess

import pytest
from device import BINARY, Following, until

STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
A, B = "com.test.A", "com.test.B"
NO_SUCH = "00000000-0000-0000-0000-000000000000"


def run(*command, environment=None, timeout=30, **options):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(environment or {})}, **options)


def cli(*arguments, **options):
    return run(BINARY, "cli", *arguments, **options)


# --- without a runtime ---

def test_help_names_every_command_and_the_exit_codes():
    result = cli("--help")
    assert result.returncode == 0 and result.stderr == ""
    for word in ["deployment", "deploy", "component", "logs", "recipe", "completions", "man", "--ggcRootPath", "--output", "Exit codes"]:
        assert word in result.stdout, word
    for group, commands in {
        "deployment": ["create", "status", "list", "cancel"], "component": ["list", "details", "restart", "stop"],
        "logs": ["list-log-files", "list-keywords", "list-log-groups", "get"], "recipe": ["check"],
    }.items():
        text = cli(group, "--help").stdout
        assert all(re.search(rf"^  {command}\b", text, re.MULTILINE) for command in commands), text


def test_the_version_is_told():
    assert re.fullmatch(r"greengrass-cli \d+\.\d+\.\d+\S*\n", cli("--version").stdout)
    assert re.fullmatch(r"greengrass \d+\.\d+\.\d+\S*\n", run(BINARY, "--version").stdout)


@pytest.mark.parametrize("line, text", [
    ("", "Usage"),
    ("component", "list"),
    ("component lst", "list"),
    ("component details", "--name"),
    ("component details -n", "NAME"),
    ("component list --output xml", "json"),
    ("component list --nonsense", "--nonsense"),
    ("deployment create --merge com.test.A", "NAME=VERSION"),
    ("deployment create --merge com.test.A=one", "one"),
    ("deployment create --failure-handling-policy PERHAPS --merge com.test.A=1.0.0", "DO_NOTHING"),
    ("deployment create --runWith com.test.A:posixUser", "posixUser=USER"),
    ("deployment status", "--deploymentId"),
    ("deployment create --merge com.test.A=1.0.0 --dry-run --follow", "--follow"),
    ("completions tcsh", "bash"),
    ("recipe check", "FILE"),
])
def test_wrong_arguments_end_with_2_and_say_what_would_be_right(line, text):
    result = cli(*line.split())
    assert result.returncode == 2, result
    assert text in result.stderr and result.stdout == "", result


@pytest.mark.parametrize("arguments, text", [
    (["--merge", "com.test.A=1.0.0", "--recipeDir", "/no/such/folder"], "/no/such/folder"),
    (["--merge", "com.test.A=1.0.0", "--artifactDir", "/no/such/folder"], "/no/such/folder"),
    (["--merge", "com.test.A=1.0.0", "--merge", "com.test.A=2.0.0"], "two versions"),
    (["--merge", "com.test.A=1.0.0", "--remove", "com.test.A"], "com.test.A"),
    (["--update-config", "{not json"], "--update-config"),
    (["--update-config", "/no/such/file.json"], "/no/such/file.json"),
    (["--update-config", '{"com.test.A": {"ADD": {}}}'], "MERGE"),
    (["--systemLimits", '{"com.test.A": {"cpus": -1}}'], "cpus"),
    ([], "nothing to deploy"),
])
def test_a_request_that_makes_no_sense_ends_with_2_before_it_is_sent(tmp_path, arguments, text):
    result = cli("--ggcRootPath", tmp_path, "deployment", "create", *arguments)
    assert result.returncode == 2 and text in result.stderr and result.stdout == "", result


def test_a_root_that_is_none_or_never_ran_is_told(tmp_path):
    nowhere = cli("--ggcRootPath", tmp_path / "nowhere", "component", "list")
    assert nowhere.returncode == 2 and str(tmp_path / "nowhere") in nowhere.stderr and "--ggcRootPath" in nowhere.stderr
    never = cli("--ggcRootPath", tmp_path, "component", "list")
    assert never.returncode == 2 and str(tmp_path) in never.stderr


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_without_a_running_runtime_the_way_to_start_one_is_told(device, how):
    getattr(device, how)()
    for line in ["component list", "deployment list", f"deployment create --remove {A}", f"deployment status -i {NO_SUCH} --follow"]:
        result = device.cli(*line.split(), check=False)
        assert result.returncode == 1 and result.stdout == "", result
        assert f"greengrass run --root {device.root}" in result.stderr, result.stderr
    assert device.cli("logs", "list-log-files").returncode == 0  # it reads files


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_the_commands(shell, tmp_path):
    result = cli("completions", shell)
    assert result.returncode == 0 and "list-log-files" in result.stdout and "greengrass-cli" in result.stdout
    if shutil.which(shell):
        script = tmp_path / "completions"
        script.write_text(result.stdout)
        assert run(shell, "-n", script).returncode == 0


@pytest.mark.parametrize("words, completed", [
    (["component", "re"], ["restart"]),
    (["logs", "list-log-f"], ["list-log-files"]),
    (["logs", "list-log-files", "--log-d"], ["--log-dir"]),
    (["deployment", "create", "--failure-handling-policy", "DO"], ["DO_NOTHING"]),
])
def test_bash_completes_commands_options_and_values(tmp_path, words, completed):
    script = tmp_path / "completions"
    script.write_text(cli("completions", "bash").stdout)
    asked = f"""source {script}
COMP_WORDS=(greengrass-cli {" ".join(words)}); COMP_CWORD={len(words)}
completer=$(complete -p greengrass-cli | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$completer" greengrass-cli {words[-1]} {words[-2]}
echo "${{COMPREPLY[@]}}" """
    result = run("bash", "-c", asked)
    assert result.stdout.split() == completed, result


def test_manual_pages_are_made_for_every_command(tmp_path):
    assert cli("man").stdout.startswith(".ie") or ".TH greengrass-cli" in cli("man").stdout
    result = cli("man", "--out", tmp_path / "man")
    assert result.returncode == 0, result
    pages = {page.name for page in (tmp_path / "man").iterdir()}
    assert {"greengrass-cli.1", "greengrass-cli-deployment-create.1", "greengrass-cli-logs-get.1", "greengrass-cli-recipe-check.1"} <= pages, pages
    assert "--failure-handling-policy" in (tmp_path / "man" / "greengrass-cli-deployment-create.1").read_text().replace("\\-", "-")


def test_the_programs_other_names_are_the_command_line(device, tmp_path):
    for name in ["greengrass-cli", "ggl-cli"]:
        (tmp_path / name).symlink_to(BINARY)
        result = run(tmp_path / name, "--ggcRootPath", device.root, "component", "list", "--output", "json")
        assert result.returncode == 0 and isinstance(json.loads(result.stdout), list), result
    result = run(tmp_path / "greengrass-cli", "component", "list", environment={"GGC_ROOT_PATH": str(device.root)})
    assert result.returncode == 0, result


# --- components ---

def test_components_are_listed_and_detailed_for_people_and_for_scripts(device):
    device.deploy(
        device.shell(A, configuration={"k": [1, {"x": None}]}, Run=STAY), device.shell(B, Run="echo no sensor >&2; exit 3"), check=False)
    device.wait_state(B, "BROKEN", seconds=30)
    lines = device.cli("component", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "VERSION", "STATE", "REASON"], lines
    rows = {line.split()[0]: line.split() for line in lines[1:]}
    assert rows[A][1:3] == ["1.0.0", "RUNNING"] and rows[B][1:3] == ["1.0.0", "BROKEN"], lines
    assert list(rows) == sorted(rows)
    listed = {c["componentName"]: c for c in device.json("component", "list")}
    assert listed[A]["version"] == "1.0.0" and listed[A]["state"] == "RUNNING" and "no sensor" in listed[B]["statusReason"]
    details = device.cli("component", "details", "--name", A).stdout
    assert f"Component Name: {A}\n" in details and "Version: 1.0.0" in details and "State: RUNNING" in details
    assert json.loads(details.split("Configuration: ")[1]) == {"k": [1, {"x": None}]}
    document = device.json("component", "details", "-n", A)
    assert document["configuration"] == {"k": [1, {"x": None}]} and os.path.exists(f"/proc/{document['pid']}")


def test_components_are_restarted_and_stopped_and_a_failure_among_them_is_told(device):
    device.deploy(device.shell(A, Run=f"echo run; {STAY}"), device.shell(B, Run=f"echo run; {STAY}"))
    result = device.cli("component", "restart", "--names", f"{A},{B}")
    assert result.stdout.splitlines() == [f"{A}: restarted", f"{B}: restarted"]
    device.wait_log(A, "run", count=2)
    device.wait_log(B, "run", count=2)
    assert device.cli("component", "stop", "-n", A).stdout == f"{A}: stopped\n"
    device.wait_state(A, "FINISHED")
    mixed = device.cli("component", "stop", "-n", f"com.test.Nobody,{B}", check=False)
    assert mixed.returncode == 1 and f"{B}: stopped" in mixed.stdout and "com.test.Nobody" in mixed.stdout
    document = device.cli("component", "restart", "-n", f"{A},com.test.Nobody", "--output", "json", check=False)
    assert document.returncode == 1
    assert [each["restartStatus"] for each in json.loads(document.stdout)] == ["SUCCEEDED", "FAILED"]
    nobody = device.cli("component", "details", "-n", "com.test.Nobody", check=False)
    assert nobody.returncode == 1 and "com.test.Nobody" in nobody.stderr and nobody.stdout == ""


# --- deployments ---

def test_a_deployment_is_created_listed_and_looked_up_for_people(device):
    device.shell(A, Run=STAY)
    folders = ["--recipeDir", device.sources / "recipes", "--artifactDir", device.sources / "artifacts"]
    created = device.cli("deployment", "create", *folders, "--merge", f"{A}=1.0.0")
    identifier = re.fullmatch(r"Local deployment submitted! Deployment Id: (\S+)\n", created.stdout).group(1)
    device.finished(identifier)
    status = device.cli("deployment", "status", "-i", identifier).stdout
    assert status.startswith(f"{identifier}: SUCCEEDED\n") and "SUCCESSFUL" in status, status
    lines = device.cli("deployment", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "CREATED", "CAUSE"]
    assert lines[1].split()[:2] == [identifier, "SUCCEEDED"]
    for command in ["status", "cancel"]:
        unknown = device.cli("deployment", command, "-i", NO_SUCH, check=False)
        assert unknown.returncode == 1 and NO_SUCH in unknown.stderr, unknown


def test_the_lite_form_deploys_too(device, tmp_path):
    device.shell(A, Run=STAY)
    (tmp_path / "ggl-cli").symlink_to(BINARY)
    result = run(
        tmp_path / "ggl-cli", "--ggcRootPath", device.root, "deploy", "--recipe-dir", device.sources / "recipes",
        "--artifacts-dir", device.sources / "artifacts", "--add-component", f"{A}=1.0.0", "--follow")
    assert result.returncode == 0, result
    assert device.state(A) == "RUNNING"
    assert device.cli("deployment", "remove", A, "--follow").returncode == 0
    assert A not in device.components()


def test_following_shows_progress_and_ends_as_the_deployment_ends(device):
    device.shell(A, "1.0.0", Install="sleep 0.5", Run=STAY)
    device.shell(A, "2.0.0", Run="echo no sensor >&2; exit 3")
    folders = ["--recipeDir", device.sources / "recipes", "--artifactDir", device.sources / "artifacts"]
    good = device.cli("deployment", "create", *folders, "--merge", f"{A}=1.0.0", "--follow")
    assert "SUCCEEDED" in good.stdout and A in good.stderr and len(good.stderr.splitlines()) >= 2, good
    bad = device.cli("deployment", "create", *folders, "--merge", f"{A}=2.0.0", "--failure-handling-policy", "ROLLBACK", "--follow", check=False)
    assert bad.returncode == 1 and "FAILED_ROLLBACK_COMPLETE" in bad.stdout and "no sensor" in bad.stdout, bad
    document = device.cli("deployment", "create", *folders, "--merge", f"{A}=1.0.0", "--follow", "--output", "json")
    assert json.loads(document.stdout)["status"] == "SUCCEEDED"


def test_following_gives_up_in_time_and_leaves_the_deployment_alone(device):
    identifier = device.deploy(device.shell(A, Install={"Script": "sleep 1000", "Timeout": 900}, Run=STAY), wait=False)
    result = device.cli("deployment", "status", "-i", identifier, "--follow", "--timeout", "1", check=False)
    assert result.returncode == 1 and identifier in result.stderr and "goes on" in result.stderr
    assert device.json("deployment", "status", "-i", identifier)["status"] == "IN_PROGRESS"
    cancelled = device.cli("deployment", "cancel", "-i", identifier)
    assert identifier in cancelled.stdout
    assert device.finished(identifier)["status"] == "CANCELED"


def test_following_outlives_a_runtime_that_is_killed_and_comes_back(device):
    marks = device.root.parent / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    (marks / "hold").touch()
    identifier = device.deploy(device.shell(A, Install=f"while [ -e {marks}/hold ]; do sleep 0.05; done", Run=STAY), wait=False)
    watcher = device.follow(identifier)
    watcher.wait_for(A)
    device.kill()
    watcher.wait_for("come back")
    (marks / "hold").unlink()
    device.start()
    assert watcher.end() == 0 and "SUCCEEDED" in watcher.text()


# --- logs ---

def logging_device(device):
    device.deploy(
        device.shell(A, Run=f"echo one from a; echo two from a >&2; {STAY}"), device.shell(B, Run=f"echo one from b; {STAY}"))
    device.wait_log(A, "two from a")
    device.wait_log(B, "one from b")


def test_log_files_groups_and_keywords_are_listed(device):
    logging_device(device)
    files = device.cli("logs", "list-log-files").stdout
    assert str(device.root / "logs" / f"{A}.log") in files and re.search(r"Total \d+ files found\.", files)
    groups = {group["name"]: group for group in device.json("logs", "list-log-groups")}
    assert {A, B} <= set(groups) and groups[A]["bytes"] > 0
    assert A in device.cli("logs", "list-log-groups").stdout
    assert "level=$str" in device.cli("logs", "list-keywords").stdout
    assert "priority=$int" in device.cli("logs", "list-keywords", "--syslog").stdout


def test_log_lines_are_found_by_component_text_and_key(device):
    logging_device(device)
    get = ["logs", "get", "--no-color"]
    everything = device.cli(*get).stdout
    assert "one from a" in everything and "one from b" in everything
    of_a = device.cli(*get, "--component", A).stdout
    assert "one from a" in of_a and "two from a" in of_a and "from b" not in of_a
    assert "one from b" in device.cli(*get, "--filter", "one from").stdout
    warned = device.cli(*get, "--component", A, "--filter", "level=WARN").stdout
    assert "two from a" in warned and "one from a" not in warned, of_a
    assert "from a" in device.cli(*get, "-ld", device.root / "logs").stdout
    assert "from a" in device.cli(*get, "-lf", device.root / "logs" / f"{A}.log").stdout
    assert device.cli(*get, "--time-window", "-1h,-30min", "--component", A).stdout == ""
    for arguments, code in [(["--component", "com.test.Nobody"], 1), (["--log-dir", "/no/such/folder"], 2), (["--time-window", "soon"], 2)]:
        assert device.cli(*get, *arguments, check=False).returncode == code, arguments


def test_logs_are_followed_also_of_components_that_come_later(device):
    device.deploy(device.shell(A, Run=f"echo one from a; {STAY}"))
    device.wait_log(A, "one from a")
    watcher = Following([BINARY, "cli", "--ggcRootPath", device.root, "logs", "get", "--follow", "--no-color"])
    try:
        watcher.wait_for("one from a")
        device.deploy(device.shell(B, Run=f"echo one from b; {STAY}"))
        watcher.wait_for("one from b")
        device.cli("component", "restart", "-n", A)
        until(lambda: watcher.text().count("one from a") == 2, "the restart shows")
    finally:
        watcher.stop()


def test_colours_are_for_terminals_only(device):
    logging_device(device)
    assert "\x1b[" not in device.cli("logs", "get").stdout
    leader, follower = pty.openpty()
    subprocess.run([BINARY, "cli", "--ggcRootPath", device.root, "logs", "get", "--component", A], stdout=follower, timeout=20, check=True,
                   env={name: value for name, value in os.environ.items() if name != "NO_COLOR"})
    os.close(follower)
    assert b"from a" in os.read(leader, 65536)
    os.close(leader)


def test_a_reader_that_has_seen_enough_is_no_error(device):
    logging_device(device)
    result = run("bash", "-c", f"set -o pipefail; '{BINARY}' cli --ggcRootPath '{device.root}' logs get | head -n 1")
    assert result.returncode == 0 and result.stderr == "", result
