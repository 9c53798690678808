"""`recipe check`: what a recipe would do here, or where it is wrong."""
import json
import pathlib
import subprocess

import pytest
from device import BINARY

OURS = sorted((pathlib.Path(__file__).parents[1] / "components" / "recipes").glob("*"))

GOOD = """RecipeFormatVersion: "2020-01-25"
ComponentName: com.test.Good
componentversion: "1.2.3"
ComponentDependencies:
  com.test.Base: {VersionRequirement: "^2.0.0", DependencyType: SOFT}
ComponentConfiguration:
  DefaultConfiguration: {word: salt, wait: 7}
Manifests:
  - Name: mine
    Platform: {os: linux}
    Artifacts:
      - Uri: s3://bucket/tool.zip
        Unarchive: ZIP
    Lifecycle:
      Setenv: {WORD: "{configuration:/word}"}
      Install: {Script: "echo install", Timeout: "{configuration:/wait}", RequiresPrivilege: "true"}
      Run: "{artifacts:decompressedPath}/tool/run {configuration:/word}"
  - Platform: {os: windows}
    Lifecycle: {Run: "run.exe"}
"""

BAD = [
    # what to replace, with what, the line the error is on, what it says
    ("Timeout: \"{configuration:/wait}\"", "Timeout: soon", 16, ["Timeout", "soon"]),
    ("RecipeFormatVersion: \"2020-01-25\"", "RecipeFormatVersion: \"2021-01-01\"", 1, ["2020-01-25"]),
    ("componentversion: \"1.2.3\"", "componentversion: \"1.2\"", 3, ["1.2"]),
    ("ComponentName: com.test.Good", "ComponentName: com test", 2, ["ComponentName", "letters"]),
    ("DependencyType: SOFT", "DependencyType: FIRM", 5, ["FIRM", "HARD", "SOFT"]),
    ("\"^2.0.0\"", "\"about 2\"", 5, ["about 2"]),
    ("Unarchive: ZIP", "Unarchive: RAR", 13, ["RAR", "ZIP"]),
    ("    Lifecycle:\n      Setenv", "    Lifecycle: [\n      Setenv", 16, ["YAML"]),
]


def check(*arguments, text=None):
    return subprocess.run([BINARY, "cli", "recipe", "check", *map(str, arguments)], capture_output=True, text=True, input=text, timeout=20)


def written(folder, text, name="recipe.yaml"):
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize("recipe", OURS, ids=lambda path: path.name)
def test_the_recipes_of_this_project_pass_without_a_warning(recipe):
    result = check(recipe)
    assert result.returncode == 0, result.stdout
    assert "warning" not in result.stdout and "run" in result.stdout


def test_a_good_recipe_shows_what_would_run_here(tmp_path):
    result = check(written(tmp_path, GOOD), "--platform", "os=linux")
    assert result.returncode == 0, result.stdout
    for text in ["com.test.Good 1.2.3", "manifest: mine", "needs: com.test.Base", "(SOFT)", "s3://bucket/tool.zip", "WORD=salt",
                 "as root", "at most 7 s", "| echo install", "tool/run salt"]:
        assert text in result.stdout, (text, result.stdout)
    assert "run.exe" not in result.stdout


def test_scripts_read_the_same_as_json_and_from_standard_input(tmp_path):
    document = json.loads(check("-", "--output", "json", text=GOOD).stdout)
    assert document["errors"] == [] and document["plan"]["name"] == "com.test.Good" and document["plan"]["manifest"] == "mine"
    as_json = {"recipeformatversion": "2020-01-25", "COMPONENTNAME": "com.test.J", "ComponentVersion": "1.0.0",
               "Manifests": [{"Lifecycle": {"run": {"script": "echo hi"}}}]}
    result = check(written(tmp_path, json.dumps(as_json), "recipe.json"))
    assert result.returncode == 0 and "| echo hi" in result.stdout, result


def test_another_platform_can_be_asked_about(tmp_path):
    file = written(tmp_path, GOOD)
    assert "run.exe" in check(file, "--platform", "os=windows").stdout
    none = check(file, "--platform", "os=darwin")
    assert none.returncode == 2 and "darwin" in none.stdout, none


@pytest.mark.parametrize("old, new, line, texts", BAD, ids=[new.split("\n")[0].strip() for _, new, _, _ in BAD])
def test_an_error_names_file_line_and_what_is_wrong(tmp_path, old, new, line, texts):
    assert GOOD.count(old) == 1
    file = written(tmp_path, GOOD.replace(old, new))
    result = check(file)
    assert result.returncode == 2
    errors = [text for text in result.stdout.splitlines() if text.startswith("error: ")]
    assert any(text.startswith(f"error: {file}:{line}:") for text in errors), result.stdout
    assert all(text in "\n".join(errors) for text in texts), result.stdout
    document = json.loads(check(file, "--output", "json").stdout)
    assert line in [error["line"] for error in document["errors"]] and document["plan"] is None


def test_an_unknown_key_is_only_a_warning_with_its_place(tmp_path):
    file = written(tmp_path, GOOD.replace("      Run:", "      Rum: x\n      Run:"))
    result = check(file)
    assert result.returncode == 0
    assert f"warning: {file}:17:" in result.stdout and "Rum" in result.stdout, result.stdout


def test_one_bad_recipe_among_good_ones_fails_the_whole(tmp_path):
    good, bad = written(tmp_path, GOOD, "good.yaml"), written(tmp_path, "ComponentName: x\n", "bad.yaml")
    result = check(good, bad)
    assert result.returncode == 2 and "com.test.Good 1.2.3" in result.stdout and f"error: {bad}:1:" in result.stdout, result.stdout


@pytest.mark.parametrize("text", ["", "[]", "just text", "a: b: c", "\x00\x01", "{" * 2000])
def test_what_is_no_recipe_at_all_is_an_error_and_no_crash(tmp_path, text):
    result = check(written(tmp_path, text))
    assert result.returncode == 2 and "error: " in result.stdout + result.stderr, result
    assert "panicked" not in result.stderr


def test_a_file_that_is_not_there_is_named():
    result = check("/no/such/recipe.yaml")
    assert result.returncode == 2 and "/no/such/recipe.yaml" in result.stderr
