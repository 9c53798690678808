"""Components and deployments with the unmodified AWS CLI and boto3."""
import base64
import hashlib
import json
import urllib.error
import urllib.request

import pytest
from botocore.config import Config


def recipe(name="com.example.Hello", version="1.0.0", artifacts=(), platform="linux", **more):
    return {
        "RecipeFormatVersion": "2020-01-25", "ComponentName": name, "ComponentVersion": version,
        "ComponentDescription": "says hello", "ComponentPublisher": "Example",
        "ComponentConfiguration": {"DefaultConfiguration": {"who": "world"}},
        "Manifests": [{"Platform": {"os": platform}, "Lifecycle": {"Run": "echo hello"}, "Artifacts": [{"URI": uri} for uri in artifacts]}],
        **more}


def make(client, **what):
    return client.create_component_version(inlineRecipe=json.dumps(recipe(**what)))["arn"]


def code(error):
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def group(cloud, name="line", things=()):
    iot = cloud.client("iot")
    arn = iot.create_thing_group(thingGroupName=name)["thingGroupArn"]
    for thing in things:
        iot.create_thing(thingName=thing)
        iot.add_thing_to_thing_group(thingName=thing, thingGroupName=name)
    return arn


def test_a_component_is_made_described_listed_and_deleted_with_the_cli(cloud):
    made = cloud.json("greengrassv2", "create-component-version", "--inline-recipe", f"{json.dumps(recipe())}", "--tags", "team=a")
    assert made["status"]["componentState"] == "REQUESTED" and made["componentName"] == "com.example.Hello"
    arn = made["arn"]
    assert arn.endswith(":components:com.example.Hello:versions:1.0.0")
    described = cloud.json("greengrassv2", "describe-component", "--arn", arn)
    assert described["status"] == {
        "componentState": "DEPLOYABLE", "message": "NONE", "errors": {}, "vendorGuidance": "ACTIVE", "vendorGuidanceMessage": ""}
    assert described["publisher"] == "Example" and described["description"] == "says hello"
    assert described["platforms"] == [{"attributes": {"os": "linux"}}] and described["tags"] == {"team": "a"}
    got = cloud.json("greengrassv2", "get-component", "--arn", arn)
    assert got["recipeOutputFormat"] == "JSON"
    assert json.loads(base64.b64decode(got["recipe"]))["ComponentName"] == "com.example.Hello"
    yaml = cloud.json("greengrassv2", "get-component", "--arn", arn, "--recipe-output-format", "YAML")
    text = base64.b64decode(yaml["recipe"]).decode()
    assert 'ComponentName: com.example.Hello\n' in text
    # What is given out can be put in again.
    again = text.replace("1.0.0", "1.1.0")
    assert cloud.json("greengrassv2", "create-component-version", "--inline-recipe", again)["componentVersion"] == "1.1.0"
    listed = cloud.json("greengrassv2", "list-components")["components"]
    assert [(c["componentName"], c["latestVersion"]["componentVersion"]) for c in listed] == [("com.example.Hello", "1.1.0")]
    assert cloud.json("greengrassv2", "list-components", "--scope", "PUBLIC")["components"] == []
    base = arn.split(":versions:")[0]
    versions = cloud.json("greengrassv2", "list-component-versions", "--arn", base)["componentVersions"]
    assert [v["componentVersion"] for v in versions] == ["1.1.0", "1.0.0"]
    cloud.aws("greengrassv2", "delete-component", "--arn", arn)
    assert cloud.refused("greengrassv2", "describe-component", "--arn", arn)[0] == "ResourceNotFoundException"


def test_artifacts_are_hashed_linked_and_refused_when_they_are_missing(cloud):
    client, s3 = cloud.client("greengrassv2"), cloud.client("s3")
    s3.create_bucket(Bucket="parts")
    contents = b"#!/bin/sh\necho hello\n" * 1000
    s3.put_object(Bucket="parts", Key="hello/1.0.0/run.sh", Body=contents)
    arn = make(client, artifacts=["s3://parts/hello/1.0.0/run.sh"])
    stored = json.loads(client.get_component(arn=arn)["recipe"])["Manifests"][0]["Artifacts"][0]
    assert stored["Digest"] == base64.b64encode(hashlib.sha256(contents).digest()).decode()
    assert stored["Algorithm"] == "SHA-256"
    for name in ["run.sh", "hello/1.0.0/run.sh"]:
        url = client.get_component_version_artifact(arn=arn, artifactName=name)["preSignedUrl"]
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.read() == contents
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.get_component_version_artifact(arn=arn, artifactName="other.sh")
    assert missing.value.response["resourceType"] == "artifact"
    with pytest.raises(client.exceptions.ValidationException) as error:
        make(client, version="2.0.0", artifacts=["s3://parts/none", "s3://nowhere/x"])
    text = error.value.response["Error"]["Message"]
    assert "Encountered following errors in Artifacts: {s3://nowhere/x = Specified artifact resource cannot be accessed, s3://parts/none =" in text
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("X-Amz-Signature=", "X-Amz-Signature=0"), timeout=10)
    assert refused.value.code == 403


def test_every_wrong_component_request_gets_the_error_of_the_model(cloud):
    client = cloud.client("greengrassv2")
    arn = make(client)
    with pytest.raises(client.exceptions.ConflictException) as error:
        make(client)
    assert code(error) == ("ConflictException", 409) and error.value.response["resourceId"] == arn
    for call in [
        dict(inlineRecipe=b"no recipe"),
        dict(inlineRecipe=json.dumps(recipe(version="one"))),
        dict(inlineRecipe=json.dumps(recipe(name="a b"))),
        dict(inlineRecipe=json.dumps(recipe(version="3.0.0", ComponentDescription="x" * 17000))),
        dict(lambdaFunction={"lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:f:1"}),
        dict(),
        dict(inlineRecipe=json.dumps(recipe(version="3.0.0")), tags={"aws:x": "y"}),
    ]:
        with pytest.raises(client.exceptions.ValidationException) as error:
            client.create_component_version(**call)
        assert code(error) == ("ValidationException", 400)
    absent = arn.replace("1.0.0", "9.9.9")
    for call in [client.describe_component, client.get_component, client.delete_component]:
        with pytest.raises(client.exceptions.ResourceNotFoundException) as error:
            call(arn=absent)
        assert code(error) == ("ResourceNotFoundException", 404) and error.value.response["resourceType"] == "component"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_component_versions(arn=absent.replace("Hello", "Other").split(":versions:")[0])
    with pytest.raises(client.exceptions.ValidationException):
        client.describe_component(arn=arn.split(":versions:")[0])
    with pytest.raises(client.exceptions.ClientError) as error:
        client.list_components(nextToken="bm90IGEgdG9rZW4")
    assert code(error) == ("ValidationException", 400)


def test_a_client_token_makes_a_request_the_same_one(cloud):
    client = cloud.client("greengrassv2")
    first = client.create_component_version(inlineRecipe=json.dumps(recipe()), clientToken="one")
    again = client.create_component_version(inlineRecipe=json.dumps(recipe()), clientToken="one")
    assert first["arn"] == again["arn"] and first["creationTimestamp"] == again["creationTimestamp"]
    with pytest.raises(client.exceptions.ConflictException):
        client.create_component_version(inlineRecipe=json.dumps(recipe(version="2.0.0")), clientToken="one")


def test_lists_of_components_come_in_pages(cloud):
    client = cloud.client("greengrassv2")
    for number in range(5):
        make(client, name=f"com.example.C{number}")
        make(client, name="com.example.Many", version=f"1.{number * 5}.0")
    pages = list(client.get_paginator("list_components").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["components"]) for page in pages] == [2, 2, 2]
    arn = pages[2]["components"][1]["arn"]
    pages = list(client.get_paginator("list_component_versions").paginate(arn=arn, PaginationConfig={"PageSize": 2}))
    assert [v["componentVersion"] for p in pages for v in p["componentVersions"]] == ["1.20.0", "1.15.0", "1.10.0", "1.5.0", "1.0.0"]


def test_the_highest_fitting_version_is_resolved_and_else_the_text_says_why(cloud):
    client = cloud.client("greengrassv2")
    for version in ["1.0.0", "1.2.0", "2.0.0"]:
        make(client, version=version)
    make(client, version="1.3.0", platform="windows")
    platform = {"name": "linux", "attributes": {"os": "linux", "architecture": "amd64"}}

    def resolve(requirements, platform=platform, **more):
        candidate = {"componentName": "com.example.Hello", "versionRequirements": requirements, **more}
        answer = client.resolve_component_candidates(platform=platform, componentCandidates=[candidate])
        [found] = answer["resolvedComponentVersions"]
        assert json.loads(found["recipe"])["ComponentVersion"] == found["componentVersion"]
        return found["componentVersion"]

    assert resolve({"a": ">=1.0.0"}) == "2.0.0"
    assert resolve({"a": "^1.0.0", "b": ">=1.0.0"}) == "1.2.0"
    assert resolve({"a": "^1.0.0"}, componentVersion="1.0.0") == "1.0.0"
    assert resolve({"a": "^1.0.0"}, platform={"attributes": {"os": "windows"}}) == "1.3.0"
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="Component com.example.Hello has no usable version satisfying requirements"):
        resolve({"a": ">=3.0.0"})
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="doesn't claim platform .* compatibility"):
        resolve({"a": ">=1.0.0"}, platform={"attributes": {"os": "darwin"}})
    with pytest.raises(client.exceptions.ValidationException):
        client.resolve_component_candidates(platform=platform, componentCandidates=[])


def test_a_deployment_to_a_group_is_a_job_and_each_new_one_a_revision(cloud):
    client, iot, jobs = cloud.client("greengrassv2"), cloud.client("iot"), cloud.client("iot-jobs-data")
    target = group(cloud, things=["core1"])
    make(client)
    first = client.create_deployment(
        targetArn=target, deploymentName="first", tags={"a": "b"},
        components={"com.example.Hello": {
            "componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"who":{"x":null}}', "reset": ["/a"]},
            "runWith": {"posixUser": "ggc", "systemResourceLimits": {"memory": 1024, "cpus": 0.5}}}},
        deploymentPolicies={"failureHandlingPolicy": "DO_NOTHING", "componentUpdatePolicy": {"timeoutInSeconds": 5, "action": "SKIP_NOTIFY_COMPONENTS"}},
        iotJobConfiguration={
            "jobExecutionsRolloutConfig": {"maximumPerMinute": 100}, "timeoutConfig": {"inProgressTimeoutInMinutes": 9},
            "abortConfig": {"criteriaList": [{"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50, "minNumberOfExecutedThings": 2}]}})
    job = iot.describe_job(jobId=first["iotJobId"])["job"]
    assert job["targetSelection"] == "CONTINUOUS" and job["namespaceId"] == "aws-gg-deployment" and job["targets"] == [target]
    assert job["jobExecutionsRolloutConfig"]["maximumPerMinute"] == 100 and job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 9}
    document = json.loads(iot.get_job_document(jobId=first["iotJobId"])["document"])
    assert document["configurationArn"].endswith(":configuration:thinggroup/line:1") and document["deploymentName"] == "first"
    assert document["components"] == {"com.example.Hello": {
        "version": "1.0.0", "configurationUpdate": {"merge": {"who": {"x": None}}, "reset": ["/a"]},
        "runWith": {"posixUser": "ggc", "systemResourceLimits": {"memory": 1024, "cpus": 0.5}}}}
    assert document["componentUpdatePolicy"] == {"timeout": 5, "action": "SKIP_NOTIFY_COMPONENTS"}
    assert document["requiredCapabilities"] == ["LINUX_RESOURCE_LIMITS"] and document["failureHandlingPolicy"] == "DO_NOTHING"
    got = client.get_deployment(deploymentId=first["deploymentId"])
    assert got["deploymentStatus"] == "ACTIVE" and got["revisionId"] == "1" and got["isLatestForTarget"] and got["tags"] == {"a": "b"}
    assert got["components"]["com.example.Hello"]["configurationUpdate"]["merge"] == '{"who":{"x":null}}'
    assert got["deploymentPolicies"]["configurationValidationPolicy"] == {"timeoutInSeconds": 60}
    second = client.create_deployment(targetArn=target, components={})
    assert client.get_deployment(deploymentId=first["deploymentId"])["deploymentStatus"] == "INACTIVE"
    assert iot.describe_job(jobId=first["iotJobId"])["job"]["status"] == "CANCELED"
    assert client.get_deployment(deploymentId=second["deploymentId"])["revisionId"] == "2"
    listed = client.list_deployments(targetArn=target)["deployments"]
    assert [d["deploymentId"] for d in listed] == [second["deploymentId"]]
    everything = client.list_deployments(targetArn=target, historyFilter="ALL")["deployments"]
    assert [d["revisionId"] for d in everything] == ["2", "1"]
    with pytest.raises(client.exceptions.ConflictException):
        client.delete_deployment(deploymentId=second["deploymentId"])
    assert client.cancel_deployment(deploymentId=second["deploymentId"])["message"]
    with pytest.raises(client.exceptions.ConflictException):
        client.cancel_deployment(deploymentId=second["deploymentId"])
    assert iot.describe_job(jobId=second["iotJobId"])["job"]["status"] == "CANCELED"
    client.delete_deployment(deploymentId=second["deploymentId"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_deployment(deploymentId=second["deploymentId"])
    third = client.create_deployment(targetArn=target)
    assert client.get_deployment(deploymentId=third["deploymentId"])["revisionId"] == "3", "revisions are not given out twice"
    assert jobs.get_pending_job_executions(thingName="core1") is not None


def test_a_deployment_to_a_thing_is_in_its_shadow_and_follows_what_the_thing_reports(cloud):
    client, data = cloud.client("greengrassv2"), cloud.client("iot-data")
    arn = cloud.client("iot").create_thing(thingName="core1")["thingArn"]
    make(client)

    def deploy():
        return client.create_deployment(targetArn=arn, components={"com.example.Hello": {"componentVersion": "1.0.0"}})

    def shadow():
        return json.loads(data.get_thing_shadow(thingName="core1", shadowName="AWSManagedGreengrassV2Deployment")["payload"].read())["state"]

    def report(configuration, status):
        state = {"state": {"reported": {"fleetConfigurationArnForStatus": configuration, "status": status, "statusDetails": {"detailedStatus": "SUCCESSFUL"}}}}
        data.update_thing_shadow(thingName="core1", shadowName="AWSManagedGreengrassV2Deployment", payload=json.dumps(state))

    def standing(deployment):
        return client.get_deployment(deploymentId=deployment["deploymentId"])["deploymentStatus"]

    first = deploy()
    assert "iotJobId" not in first
    desired = shadow()["desired"]
    document = json.loads(desired["fleetConfig"])
    assert desired["desiredStatus"] == "SUCCEEDED" and document["configurationArn"] == desired["fleetConfigurationArn"]
    assert document["deploymentId"] == first["deploymentId"] and document["components"]["com.example.Hello"] == {"version": "1.0.0"}
    assert standing(first) == "ACTIVE"
    report(document["configurationArn"], "IN_PROGRESS")
    assert standing(first) == "ACTIVE"
    report(document["configurationArn"], "SUCCEEDED")
    assert standing(first) == "COMPLETED"
    second = deploy()
    assert (standing(first), standing(second)) == ("INACTIVE", "ACTIVE")
    report(document["configurationArn"].replace("core1:1", "core1:2"), "FAILED")
    assert standing(second) == "FAILED"
    third = deploy()
    client.cancel_deployment(deploymentId=third["deploymentId"])
    assert shadow()["desired"]["desiredStatus"] == "CANCELED" and standing(third) == "CANCELED"


def test_every_wrong_deployment_request_gets_the_error_of_the_model(cloud):
    client = cloud.client("greengrassv2", config=Config(parameter_validation=False))
    target = group(cloud)
    make(client)
    hello = {"componentVersion": "1.0.0"}
    for call in [
        dict(targetArn="line"),
        dict(targetArn=target, components={"com.example.Hello": {}}),
        dict(targetArn=target, components={"com.example.Hello": {"componentVersion": "x"}}),
        dict(targetArn=target, components={"com.example.Hello": {**hello, "configurationUpdate": {"merge": "{"}}}),
        dict(targetArn=target, components={"com.example.Hello": {**hello, "configurationUpdate": {"reset": ["a"]}}}),
        dict(targetArn=target, components={"com.example.Hello": {**hello, "runWith": {"posixUser": "a:b:c"}}}),
        dict(targetArn=target, deploymentPolicies={"failureHandlingPolicy": "MAYBE"}),
        dict(targetArn=target, iotJobConfiguration={"timeoutConfig": {"inProgressTimeoutInMinutes": 0}}),
        dict(targetArn=target, iotJobConfiguration={"jobExecutionsRolloutConfig": {"maximumPerMinute": 0}}),
        dict(targetArn=target, parentTargetArn=target),
    ]:
        with pytest.raises(client.exceptions.ClientError) as error:
            client.create_deployment(**call)
        assert code(error) == ("ValidationException", 400), call
    for call in [
        dict(targetArn=target + "2"),
        dict(targetArn=target, components={"com.example.Hello": {"componentVersion": "9.0.0"}}),
        dict(targetArn=target, components={"com.example.None": hello}),
        dict(targetArn=target, parentTargetArn=target + "2"),
    ]:
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.create_deployment(**call)
    assert client.list_deployments()["deployments"] == []
    # Devices have these without a recipe of ours.
    client.create_deployment(targetArn=target, components={"aws.greengrass.Nucleus": {"componentVersion": "2.12.0"}})
    for call in [client.get_deployment, client.cancel_deployment, client.delete_deployment]:
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            call(deploymentId="none")
    with pytest.raises(client.exceptions.ClientError) as error:
        client.list_deployments(historyFilter="SOME")
    assert code(error) == ("ValidationException", 400)


def test_deployments_come_in_pages_and_by_parent(cloud):
    client = cloud.client("greengrassv2")
    parent, targets = group(cloud, "all"), [group(cloud, f"g{n}") for n in range(5)]
    for target in targets:
        client.create_deployment(targetArn=target, parentTargetArn=parent)
    client.create_deployment(targetArn=parent)
    pages = list(client.get_paginator("list_deployments").paginate(PaginationConfig={"PageSize": 4}))
    assert [len(p["deployments"]) for p in pages] == [4, 2]
    assert len({d["deploymentId"] for p in pages for d in p["deployments"]}) == 6
    refining = client.list_deployments(parentTargetArn=parent)["deployments"]
    assert [d["targetArn"] for d in refining] == targets[::-1]
    document = json.loads(cloud.client("iot").get_job_document(jobId=refining[0]["deploymentId"])["document"])
    assert document["parentTargetArn"] == parent and document["onBehalfOf"] == targets[-1]
    assert document["requiredCapabilities"] == ["SUB_DEPLOYMENTS"]


def test_tags_client_devices_addresses_and_the_service_role_are_kept(cloud):
    client, iot = cloud.client("greengrassv2"), cloud.client("iot")
    arn = make(client)
    client.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    client.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_tags_for_resource(resourceArn=arn.replace("1.0.0", "2.0.0"))
    for thing in ["core1", "c1", "c2", "c3"]:
        iot.create_thing(thingName=thing)
    entries = [{"thingName": name} for name in ["c1", "c2", "c3", "none"]]
    answer = client.batch_associate_client_device_with_core_device(coreDeviceThingName="core1", entries=entries)
    assert [(e["thingName"], e["code"]) for e in answer["errorEntries"]] == [("none", "ResourceNotFoundException")]
    pages = client.get_paginator("list_client_devices_associated_with_core_device").paginate(
        coreDeviceThingName="core1", PaginationConfig={"PageSize": 2})
    assert [[d["thingName"] for d in p["associatedClientDevices"]] for p in pages] == [["c1", "c2"], ["c3"]]
    answer = client.batch_disassociate_client_device_from_core_device(coreDeviceThingName="core1", entries=entries[2:])
    assert [e["thingName"] for e in answer["errorEntries"]] == ["none"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_client_devices_associated_with_core_device(coreDeviceThingName="other")
    address = {"id": "lan", "hostAddress": "10.0.0.9", "portNumber": 8883, "metadata": ""}
    version = client.update_connectivity_info(thingName="core1", connectivityInfo=[address])["version"]
    assert client.get_connectivity_info(thingName="core1")["connectivityInfo"] == [address]
    note = json.loads(cloud.client("iot-data").get_thing_shadow(thingName="core1-gci")["payload"].read())
    assert note["state"]["desired"] == {"version": version}
    with pytest.raises(client.exceptions.ValidationException):
        client.update_connectivity_info(thingName="none", connectivityInfo=[])
    with pytest.raises(client.exceptions.ClientError) as error:
        client.get_service_role_for_account()
    assert code(error)[1] == 404
    role = f"arn:aws:iam::{cloud.account()}:role/greengrass"
    assert client.associate_service_role_to_account(roleArn=role)["associatedAt"]
    assert client.get_service_role_for_account()["roleArn"] == role
    with pytest.raises(client.exceptions.ValidationException):
        client.associate_service_role_to_account(roleArn="greengrass")
    assert client.disassociate_service_role_from_account()["disassociatedAt"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_core_device(coreDeviceThingName="core1")
    assert client.list_core_devices()["coreDevices"] == []


def test_a_roles_keys_see_the_components_that_its_policy_names(cloud):
    client, iam = cloud.client("greengrassv2"), cloud.client("iam")
    mine, other = make(client, name="com.example.Mine"), make(client, name="com.example.Other")
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{cloud.account()}:root"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="reader", PolicyName="read", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "greengrass:GetComponent", "Resource": mine}]}))
    keys = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    limited = cloud.client("greengrassv2", keys=keys)
    assert limited.get_component(arn=mine)["recipe"]
    for call, about in [(limited.get_component, {"arn": other}), (limited.delete_component, {"arn": mine}), (limited.list_components, {})]:
        with pytest.raises(limited.exceptions.AccessDeniedException) as error:
            call(**about)
        assert code(error) == ("AccessDeniedException", 403)


def test_a_restart_loses_nothing(cloud):
    client = cloud.client("greengrassv2")
    target = group(cloud)
    arn = make(client)
    made = client.create_deployment(targetArn=target, components={"com.example.Hello": {"componentVersion": "1.0.0"}})
    cloud.kill()
    cloud.start()
    client = cloud.client("greengrassv2")
    assert client.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE"
    assert client.get_deployment(deploymentId=made["deploymentId"])["deploymentStatus"] == "ACTIVE"
    assert [d["deploymentId"] for d in client.list_deployments()["deployments"]] == [made["deploymentId"]]
