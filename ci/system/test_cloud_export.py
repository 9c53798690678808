"""`greengrass-cloud export`: from one control plane to another, which stands for AWS."""
import hashlib
import json
import os
import subprocess

import pytest
from cloud import PROGRAM, Cloud


@pytest.fixture
def other(tmp_path):
    """The new place: another account in another region."""
    (tmp_path / "other").mkdir()
    made = Cloud(tmp_path / "other").start("--region", "eu-west-1")
    yield made
    made.stop()


def export(cloud, other, *extra, endpoint=None, keys=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**clean, **other.credentials(), **(keys or {})}
    environment.pop("AWS_ENDPOINT_URL")
    words = [PROGRAM, "export", "--data", cloud.data, "--endpoint-url", endpoint or other.url, "--report", cloud.folder / "report.json", *extra]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
    report = cloud.folder / "report.json"
    found = json.loads(report.read_text()) if report.exists() else None
    report.unlink(missing_ok=True)
    return done, found


def recipe(name, version, uri=None, digest=None):
    manifest = {"Platform": {"os": "linux"}, "Lifecycle": {"Run": "echo hello"}}
    if uri:
        manifest["Artifacts"] = [{"Uri": uri}]
    return json.dumps({"RecipeFormatVersion": "2020-01-25", "ComponentName": name, "ComponentVersion": version, "Manifests": [manifest]}).encode()


ARTIFACT = os.urandom(300_000)


@pytest.fixture
def furnished(cloud):
    """A control plane with some of everything."""
    iot, greengrass, s3 = cloud.client("iot"), cloud.client("greengrassv2"), cloud.client("s3")
    account = cloud.account()
    iot.create_thing_type(thingTypeName="gateway", thingTypeProperties={"thingTypeDescription": "A gateway"})
    iot.create_thing_group(thingGroupName="europe")
    berlin = iot.create_thing_group(thingGroupName="berlin", parentGroupName="europe")["thingGroupArn"]
    for n in range(5):
        iot.create_thing(thingName=f"gateway-{n}", thingTypeName="gateway", attributePayload={"attributes": {"site": f"hall-{n}"}})
        iot.add_thing_to_thing_group(thingGroupName="berlin", thingName=f"gateway-{n}")
    document = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"arn:aws:iot:us-east-1:{account}:client/${{iot:Connection.Thing.ThingName}}"}]}
    iot.create_policy(policyName="gateways", policyDocument=json.dumps(document))
    iot.attach_policy(policyName="gateways", target=berlin)
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "credentials.iot.amazonaws.com"}}]}
    role = cloud.client("iam").create_role(RoleName="tokens", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iot.create_role_alias(roleAlias="tokens", roleArn=role, credentialDurationSeconds=900)
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName="gateways", target=made["certificateArn"])
    iot.attach_thing_principal(thingName="gateway-0", principal=made["certificateArn"])
    s3.create_bucket(Bucket="artifacts")
    s3.put_object(Bucket="artifacts", Key="hello/1.0.0/he llo.bin", Body=ARTIFACT)
    greengrass.create_component_version(inlineRecipe=recipe("com.example.Plain", "1.0.0"))
    for version in ("1.0.0", "1.2.0"):
        greengrass.create_component_version(inlineRecipe=recipe("com.example.Hello", version, "s3://artifacts/hello/1.0.0/he llo.bin"))
    greengrass.create_deployment(targetArn=berlin, deploymentName="Winter", components={
        "com.example.Hello": {"componentVersion": "1.2.0", "configurationUpdate": {"merge": '{"a":1}'}}, "com.example.Plain": {"componentVersion": "1.0.0"}})
    cloud.certificate = made
    # What the new account must have of its own.
    return cloud


def moved(report, kind):
    counts = report["kinds"][kind]
    return {word: count for word, count in counts.items() if count}


def roles(other):
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "credentials.iot.amazonaws.com"}}]}
    other.client("iam").create_role(RoleName="tokens", AssumeRolePolicyDocument=json.dumps(trust))


def test_a_dry_run_says_what_would_be_moved_and_moves_nothing(furnished, other):
    done, report = export(furnished, other, "--dry-run", "--bucket", "moved")
    assert done.returncode == 0, done.stderr
    assert moved(report, "things") == {"moved": 5} and moved(report, "component versions") == {"moved": 3}
    assert moved(report, "deployments") == {"moved": 1} and moved(report, "certificates") == {"left": 1}
    iot = other.client("iot")
    assert not iot.list_things()["things"] and not iot.list_thing_groups()["thingGroups"] and not iot.list_policies()["policies"]
    assert not other.client("greengrassv2").list_components(scope="PRIVATE")["components"] and not other.client("s3").list_buckets()["Buckets"]


def test_everything_is_there_afterwards_and_a_second_run_changes_nothing(furnished, other):
    roles(other)
    done, report = export(furnished, other, "--bucket", "moved", "--certificates")
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {kind: moved(report, kind) for kind in report["kinds"]}
    assert kinds == {
        "thing types": {"moved": 1}, "thing groups": {"moved": 2}, "policies": {"moved": 1}, "things": {"moved": 5}, "policies of groups": {"moved": 1},
        "role aliases": {"moved": 1}, "component versions": {"moved": 3}, "deployments": {"moved": 1}, "certificates": {"moved": 1}}
    iot, greengrass, account = other.client("iot"), other.client("greengrassv2"), other.account()
    thing = iot.describe_thing(thingName="gateway-3")
    assert thing["thingTypeName"] == "gateway" and thing["attributes"] == {"site": "hall-3"}
    assert iot.describe_thing_group(thingGroupName="berlin")["thingGroupMetadata"]["parentGroupName"] == "europe"
    assert len(iot.list_things_in_thing_group(thingGroupName="berlin")["things"]) == 5
    assert f"arn:aws:iot:eu-west-1:{account}:client/$" in iot.get_policy(policyName="gateways")["policyDocument"]
    assert iot.describe_role_alias(roleAlias="tokens")["roleAliasDescription"]["roleArn"] == f"arn:aws:iam::{account}:role/tokens"
    group = iot.describe_thing_group(thingGroupName="berlin")["thingGroupArn"]
    assert [p["policyName"] for p in iot.list_attached_policies(target=group)["policies"]] == ["gateways"]
    deployment, = greengrass.list_deployments()["deployments"]
    deployment = greengrass.get_deployment(deploymentId=deployment["deploymentId"])
    assert deployment["targetArn"] == group and deployment["deploymentName"] == "Winter"
    assert deployment["components"]["com.example.Hello"] == {"componentVersion": "1.2.0", "configurationUpdate": {"merge": '{"a":1}'}}
    arn = f"arn:aws:greengrass:eu-west-1:{account}:components:com.example.Hello:versions:1.2.0"
    own = json.loads(greengrass.get_component(arn=arn, recipeOutputFormat="JSON")["recipe"])
    artifact, = own["Manifests"][0]["Artifacts"]
    assert "s3://moved/hello/1.0.0/he llo.bin" in artifact.values()
    there = other.client("s3").get_object(Bucket="moved", Key="hello/1.0.0/he llo.bin")
    assert hashlib.sha256(there["Body"].read()).digest() == hashlib.sha256(ARTIFACT).digest()
    certificate = iot.describe_certificate(certificateId=furnished.certificate["certificateId"])["certificateDescription"]
    assert certificate["status"] == "ACTIVE" and certificate["certificatePem"].strip() == furnished.certificate["certificatePem"].strip()
    assert iot.list_principal_things(principal=certificate["certificateArn"])["things"] == ["gateway-0"]

    done, report = export(furnished, other, "--bucket", "moved", "--certificates")
    assert done.returncode == 0, done.stderr
    for kind in report["kinds"]:
        assert set(moved(report, kind)) == {"there"}, (kind, report["notes"])
    assert len(greengrass.list_deployments(historyFilter="ALL")["deployments"]) == 1


def test_an_export_that_was_hindered_is_run_again(furnished, other):
    # The role is not there, nor may the bucket of this name be made by it: the rest is moved all the same.
    done, report = export(furnished, other, "--bucket", "Not A Bucket")
    assert done.returncode != 0 and "run the same command again" in done.stderr
    assert moved(report, "things") == {"moved": 5} and moved(report, "component versions") == {"moved": 1, "failed": 2}
    assert moved(report, "deployments") == {"failed": 1}
    assert any(note["kind"] == "component versions" and "artifact" in note["why"] for note in report["notes"])
    roles(other)
    done, report = export(furnished, other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert moved(report, "things") == {"there": 5} and moved(report, "component versions") == {"there": 1, "moved": 2}
    assert moved(report, "deployments") == {"moved": 1}
    assert [b["Name"] for b in other.client("s3").list_buckets()["Buckets"]] == ["artifacts"]


def test_what_is_there_and_different_is_left_alone_and_told(furnished, other):
    roles(other)
    iot = other.client("iot")
    iot.create_thing(thingName="gateway-1", attributePayload={"attributes": {"site": "elsewhere"}})
    document = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'
    iot.create_policy(policyName="gateways", policyDocument=document)
    done, report = export(furnished, other)
    assert done.returncode == 0, done.stderr
    assert moved(report, "things") == {"moved": 4, "differs": 1} and moved(report, "policies") == {"differs": 1}
    assert iot.describe_thing(thingName="gateway-1")["attributes"] == {"site": "elsewhere"}
    assert "gateway-1: its type or attributes are others" in done.stdout


def test_it_says_what_is_left_to_people(furnished, other):
    roles(other)
    done, _ = export(furnished, other)
    for words in ("register-ca-certificate", "--certificates", "Private keys", "aws iam create-role", "describe-endpoint"):
        assert words in done.stdout


def test_over_tls_with_a_bundle(furnished, other):
    roles(other)
    done, report = export(furnished, other, endpoint=other.https, keys={"AWS_CA_BUNDLE": str(other.ca)})
    assert done.returncode == 0, done.stderr
    assert moved(report, "things") == {"moved": 5}
    done, _ = export(furnished, other, endpoint=other.https)
    assert done.returncode != 0 and "TLS" in done.stderr


def test_wrong_keys_no_keys_and_the_place_itself_are_refused_before_anything(furnished, other):
    done, _ = export(furnished, other, keys={"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert done.returncode != 0 and "SignatureDoesNotMatch" in done.stderr
    done, _ = export(furnished, furnished)
    assert done.returncode != 0 and "the new place is the old one" in done.stderr
    furnished.stop()
    done, _ = export(furnished, other)
    assert done.returncode != 0 and "not running" in done.stderr
