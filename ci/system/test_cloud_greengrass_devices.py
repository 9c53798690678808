"""Core devices: deployments taken by MQTT, what they report, and what they may ask over HTTPS."""
import base64
import hashlib
import json
import ssl
import urllib.request

import pytest
from core_device import POLICY, CoreDevice
from device import until
from test_cloud_greengrass import group, make


def test_a_group_deployment_reaches_a_device_and_its_outcome_comes_back(cloud):
    client = cloud.client("greengrassv2")
    target = group(cloud)
    make(client)
    core = CoreDevice(cloud, "core1", groups=["line"])
    first = client.create_deployment(targetArn=target, deploymentName="first", components={"com.example.Hello": {"componentVersion": "1.0.0"}})
    with core:
        core.subscribe(core.jobs("notify-namespace-aws-gg-deployment"), core.jobs("notify-next-namespace-aws-gg-deployment"))
        execution = core.next_job()
        assert execution["jobId"] == first["iotJobId"]
        document = execution["jobDocument"]
        assert document["components"] == {"com.example.Hello": {"version": "1.0.0"}}
        core.report({})
        effective = until(lambda: effective_of(client), "the core device is there")
        assert [(e["coreDeviceExecutionStatus"], e["targetArn"], e["deploymentName"]) for e in effective] == [("QUEUED", target, "first")]
        core.job_is(execution["jobId"], "IN_PROGRESS")
        assert effective_of(client)[0]["coreDeviceExecutionStatus"] == "IN_PROGRESS"
        core.job_is(execution["jobId"], "SUCCEEDED", **{"detailed-deployment-status": "SUCCESSFUL"})
        [done] = effective_of(client)
        assert done["coreDeviceExecutionStatus"] == "SUCCEEDED" and done["reason"] == "SUCCESSFUL" and done["iotJobArn"] == first["iotJobArn"]
        core.report(
            {"com.example.Hello": {"version": "1.0.0", "status": "RUNNING", "fleetConfigArns": [document["configurationArn"]]}},
            message="PARTIAL", trigger="THING_GROUP_DEPLOYMENT")
        [installed] = until(lambda: installed_on(client), "the component is installed")
        assert installed["lifecycleState"] == "RUNNING" and installed["isRoot"] and installed["lastInstallationSource"] == first["deploymentId"]
        listed = client.list_core_devices(thingGroupArn=target)["coreDevices"]
        assert [c["coreDeviceThingName"] for c in listed] == ["core1"]

        second = client.create_deployment(targetArn=target, components={})
        assert core.expect(core.jobs("notify-next-namespace-aws-gg-deployment"))["execution"]["jobId"] == second["iotJobId"]
        core.job_is(second["iotJobId"], "IN_PROGRESS")
        core.job_is(second["iotJobId"], "FAILED", **{
            "detailed-deployment-status": "FAILED_NO_STATE_CHANGE", "deployment-failure-cause": "no disk",
            "deployment-error-stack": '["DEPLOYMENT_FAILURE","DISK_SPACE_CRITICAL"]', "deployment-error-types": '["DEVICE_ERROR"]'})
        newest, oldest = effective_of(client)
        assert newest["coreDeviceExecutionStatus"] == "FAILED" and newest["reason"] == "FAILED_NO_STATE_CHANGE: no disk"
        assert newest["statusDetails"] == {"errorStack": ["DEPLOYMENT_FAILURE", "DISK_SPACE_CRITICAL"], "errorTypes": ["DEVICE_ERROR"]}
        assert oldest["coreDeviceExecutionStatus"] == "SUCCEEDED"
        pages = list(client.get_paginator("list_effective_deployments").paginate(coreDeviceThingName="core1", PaginationConfig={"PageSize": 1}))
        assert [p["effectiveDeployments"][0]["deploymentId"] for p in pages if p["effectiveDeployments"]] == [second["deploymentId"], first["deploymentId"]]

        third = client.create_deployment(targetArn=target)
        assert core.expect(core.jobs("notify-next-namespace-aws-gg-deployment"))["execution"]["jobId"] == third["iotJobId"]
        client.cancel_deployment(deploymentId=third["deploymentId"])
        assert "execution" not in core.expect(core.jobs("notify-next-namespace-aws-gg-deployment"))


def effective_of(client, name="core1"):
    try:
        return client.list_effective_deployments(coreDeviceThingName=name)["effectiveDeployments"]
    except client.exceptions.ResourceNotFoundException:
        return None


def installed_on(client, name="core1", **more):
    return client.list_installed_components(coreDeviceThingName=name, **more)["installedComponents"]


def test_a_thing_deployment_reaches_the_device_as_a_delta_and_its_report_ends_it(cloud):
    client = cloud.client("greengrassv2")
    core = CoreDevice(cloud, "core1")
    make(client)
    shadow = core.topic("shadow/name/AWSManagedGreengrassV2Deployment")
    with core:
        core.report({})
        core.subscribe(f"{shadow}/update/delta", f"{shadow}/update/accepted")
        arn = cloud.client("iot").describe_thing(thingName="core1")["thingArn"]
        made = client.create_deployment(targetArn=arn, components={"com.example.Hello": {"componentVersion": "1.0.0"}})
        delta = core.expect(f"{shadow}/update/delta")["state"]
        document = json.loads(delta["fleetConfig"])
        assert document["deploymentId"] == made["deploymentId"] and delta["desiredStatus"] == "SUCCEEDED"
        assert effective_of(client)[0]["coreDeviceExecutionStatus"] == "QUEUED"

        def tell(status, **details):
            core.publish(f"{shadow}/update", {"state": {"reported": {
                "fleetConfigurationArnForStatus": document["configurationArn"], "status": status, "statusDetails": details}}})
            until(lambda: effective_of(client)[0]["coreDeviceExecutionStatus"] == status, f"the deployment is {status}")

        tell("IN_PROGRESS")
        tell("FAILED", detailedStatus="FAILED_ROLLBACK_COMPLETE", failureCause="broken",
             errorStack=["DEPLOYMENT_FAILURE"], errorTypes=["COMPONENT_ERROR"])
        [failed] = effective_of(client)
        assert failed["reason"] == "FAILED_ROLLBACK_COMPLETE: broken" and failed["statusDetails"]["errorTypes"] == ["COMPONENT_ERROR"]
        assert client.get_deployment(deploymentId=made["deploymentId"])["deploymentStatus"] == "FAILED"
        client.create_deployment(targetArn=arn)
        newest, kept = effective_of(client)
        assert newest["coreDeviceExecutionStatus"] == "QUEUED" and kept["coreDeviceExecutionStatus"] == "FAILED"


def test_status_messages_come_in_parts_partly_and_late(cloud):
    client = cloud.client("greengrassv2")
    core = CoreDevice(cloud, "core1")

    def names(**more):
        return [c["componentName"] for c in installed_on(client, **more)]

    with core:
        core.report({"A": {"version": "1.0.0", "status": "RUNNING"}, "B": {"version": "1.0.0", "status": "FINISHED", "isRoot": False}})
        until(lambda: client.list_core_devices()["coreDevices"], "the device is listed")
        device = client.get_core_device(coreDeviceThingName="core1")
        wanted = {"coreVersion": "2.12.0", "platform": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite", "status": "HEALTHY"}
        assert {name: device[name] for name in wanted} == wanted
        assert names() == ["A"] and names(topologyFilter="ALL") == ["A", "B"]
        pages = client.get_paginator("list_installed_components").paginate(coreDeviceThingName="core1", topologyFilter="ALL", PaginationConfig={"PageSize": 1})
        assert [p["installedComponents"][0]["componentName"] for p in pages if p["installedComponents"]] == ["A", "B"]
        core.report(
            {"A": {"version": "1.0.0", "status": "BROKEN", "componentStatusDetails": {"statusCodes": ["RUN_ERROR"], "statusReason": "exit code 1"}}},
            message="PARTIAL", trigger="COMPONENT_STATUS_CHANGE", status="UNHEALTHY")
        until(lambda: client.get_core_device(coreDeviceThingName="core1")["status"] == "UNHEALTHY", "the device is unhealthy")
        [broken] = installed_on(client)
        assert broken["lifecycleState"] == "BROKEN" and broken["lifecycleStateDetails"] == "exit code 1" and broken["lifecycleStatusCodes"] == ["RUN_ERROR"]
        assert names(topologyFilter="ALL") == ["A", "B"], "a partial message leaves the others"
        assert client.list_core_devices(status="HEALTHY")["coreDevices"] == []
        assert len(client.list_core_devices(status="UNHEALTHY", runtime="aws_nucleus_lite")["coreDevices"]) == 1
        # A whole report in two parts replaces everything only when both have come.
        core.report({"C": {"version": "1.0.0", "status": "RUNNING"}}, chunk=(1, 2))
        until(lambda: "C" in names(), "the first part is taken")
        assert names(topologyFilter="ALL") == ["A", "B", "C"]
        core.report({"D": {"version": "1.0.0", "status": "RUNNING"}}, chunk=(2, 2), sequence=core.sequence)
        until(lambda: names(topologyFilter="ALL") == ["C", "D"], "the second part completes it")
        # One that was overtaken on the way changes nothing.
        core.report({"E": {"version": "1.0.0", "status": "RUNNING"}}, sequence=core.sequence - 1, timestamp=1000)
        core.report({"D": {"status": "UNINSTALLED"}}, message="PARTIAL", sequence=core.sequence + 5)
        until(lambda: names(topologyFilter="ALL") == ["C"], "the removed component is gone")
        # Nonsense is left aside.
        core.publish(core.topic("greengrassv2/health/json"), ["nonsense"])
        core.publish(core.topic("greengrass/health/json"), {"Schema": "2022-06-30", "ADP": []})
        core.report({}, message="PARTIAL", sequence=core.sequence + 1)
        until(lambda: client.get_core_device(coreDeviceThingName="core1")["status"] == "HEALTHY", "the device is healthy again")
        client.delete_core_device(coreDeviceThingName="core1")
        for call in [client.get_core_device, client.delete_core_device, client.list_installed_components, client.list_effective_deployments]:
            with pytest.raises(client.exceptions.ResourceNotFoundException):
                call(coreDeviceThingName="core1")


def test_a_device_resolves_components_and_fetches_artifacts_with_its_certificate(cloud):
    client, s3 = cloud.client("greengrassv2"), cloud.client("s3")
    s3.create_bucket(Bucket="parts")
    s3.put_object(Bucket="parts", Key="run.sh", Body=b"echo hello")
    arn = make(client, artifacts=["s3://parts/run.sh"])
    core = CoreDevice(cloud, "core1")
    wish = {"platform": {"name": "linux", "attributes": {"os": "linux", "architecture": "amd64"}},
            "componentCandidates": [{"componentName": "com.example.Hello", "versionRequirements": {"requirements": ">=1.0.0"}}]}
    status, answer = core.ask("POST", "/greengrass/v2/resolveComponentCandidates", wish)
    assert status == 200 and [c["arn"] for c in answer["resolvedComponentVersions"]] == [arn]
    wish["componentCandidates"][0]["versionRequirements"] = {"a": ">=2.0.0"}
    status, answer = core.ask("POST", "/greengrass/v2/resolveComponentCandidates", wish)
    assert status == 404 and "no usable version" in answer["message"]
    for written in [arn, arn.replace(":", "%3A")]:
        status, answer = core.ask("GET", f"/greengrass/v2/components/{written}/artifacts/run.sh?s3EndpointType=REGIONAL")
        assert status == 200
        context = ssl.create_default_context(cafile=str(cloud.ca))
        with urllib.request.urlopen(answer["preSignedUrl"], timeout=10, context=context) as got:
            assert got.read() == b"echo hello"
    assert core.ask("GET", f"/greengrass/v2/components/{arn}/artifacts/none")[0] == 404
    assert core.ask("POST", "/greengrass/v2/resolveComponentCandidates", [])[0] == 400


def test_a_device_sees_its_own_groups_and_nobody_elses(cloud):
    iot = cloud.client("iot")
    iot.create_thing_group(thingGroupName="site")
    iot.create_thing_group(thingGroupName="line", parentGroupName="site")
    core, other = CoreDevice(cloud, "core1", groups=["line"]), CoreDevice(cloud, "core2")
    status, answer = core.ask("GET", "/greengrass/v2/coreDevices/core1/thingGroups")
    assert status == 200
    by_name = {g["thingGroupName"]: [p["groupName"] for p in g["rootToParentThingGroups"]] for g in answer["thingGroups"]}
    assert by_name == {"line": ["site"], "site": []}
    assert other.ask("GET", "/greengrass/v2/coreDevices/core2/thingGroups") == (200, {"thingGroups": []})
    for path in ["/greengrass/v2/coreDevices/core1/thingGroups", "/greengrass/things/core1/connectivityInfo", "/greengrass/discover/thing/core1"]:
        assert other.ask("GET", path)[0] == 403, path
    silent = CoreDevice(cloud, "core3", policy={"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
    status, answer = silent.ask("GET", "/greengrass/v2/coreDevices/core3/thingGroups")
    assert status == 403 and "greengrass:ListThingGroupsForCoreDevice" in answer["message"]
    assert silent.ask("GET", "/greengrass/v2/nothing")[0] == 404


def test_a_document_that_is_too_large_to_send_is_fetched(cloud):
    client = cloud.client("greengrassv2")
    target = group(cloud)
    make(client)
    core, other = CoreDevice(cloud, "core1", groups=["line"]), CoreDevice(cloud, "core2")
    made = client.create_deployment(targetArn=target, components={"com.example.Hello": {
        "componentVersion": "1.0.0", "configurationUpdate": {"merge": json.dumps({"text": "x" * 200_000})}}})
    with core:
        document = core.next_job()["jobDocument"]
    assert document["requiredCapabilities"] == ["LARGE_CONFIGURATION"] and "components" not in document
    path = f"/greengrass/v2/coreDevices/core1/deployments/{made['deploymentId']}/configuration"
    status, answer = core.ask("GET", path)
    assert status == 200 and answer["integrityCheck"]["algorithm"] == "SHA-256"
    with urllib.request.urlopen(answer["preSignedUrl"], timeout=10, context=ssl.create_default_context(cafile=str(cloud.ca))) as got:
        text = got.read()
    whole = json.loads(text)
    assert len(whole["components"]["com.example.Hello"]["configurationUpdate"]["merge"]["text"]) == 200_000
    assert whole["configurationArn"] == document["configurationArn"]
    assert answer["integrityCheck"]["digest"] == base64.b64encode(hashlib.sha256(text).digest()).decode()
    assert other.ask("GET", path.replace("core1", "core2"))[0] == 404


def test_a_client_device_finds_its_core(cloud):
    client = cloud.client("greengrassv2")
    core, sensor, stranger = CoreDevice(cloud, "core1"), CoreDevice(cloud, "sensor1"), CoreDevice(cloud, "sensor2")
    client.batch_associate_client_device_with_core_device(coreDeviceThingName="core1", entries=[{"thingName": "sensor1"}])
    with core:
        core.subscribe("$aws/things/core1-gci/shadow/update/delta")
        addresses = [{"Id": "lan", "HostAddress": "10.0.0.9", "PortNumber": 8883, "Metadata": ""}]
        status, answer = core.ask("PUT", "/greengrass/things/core1/connectivityInfo", {"ConnectivityInfo": addresses})
        assert status == 200
        assert core.expect("$aws/things/core1-gci/shadow/update/delta")["state"] == {"version": answer["Version"]}
    assert core.ask("GET", "/greengrass/things/core1/connectivityInfo")[1]["ConnectivityInfo"] == addresses
    path = "/greengrass/v2/coreDevices/core1"
    authority = cloud.ca.read_text()
    assert core.ask("PUT", f"{path}/certificateAuthorities", {"coreDeviceCertificates": [authority]})[0] == 200
    assert core.ask("PUT", f"{path}/certificateAuthorities", {"coreDeviceCertificates": ["no"]})[0] == 400
    [group] = sensor.ask("GET", "/greengrass/discover/thing/sensor1")[1]["GGGroups"]
    assert group["GGGroupId"] == "greengrassV2-coreDevice-core1" and group["CAs"] == [authority]
    assert group["Cores"][0]["thingArn"].endswith(":thing/core1") and group["Cores"][0]["Connectivity"] == addresses
    assert stranger.ask("GET", "/greengrass/discover/thing/sensor2")[0] == 404
    associated = core.ask("GET", f"{path}/associatedClientDevices")[1]["associatedClientDevices"]
    assert [a["thingName"] for a in associated] == ["sensor1"]
    shown = {"clientDeviceCertificate": sensor.pem_text}
    assert core.ask("POST", f"{path}/verifyClientDeviceIdentity", shown) == (200, {"clientDeviceCertificateId": sensor.certificate})
    assert core.ask("POST", f"{path}/verifyClientDeviceIdentity", {"clientDeviceCertificate": authority})[0] == 404
    pair = {"clientDeviceThingName": "sensor1", "clientDeviceCertificateId": sensor.certificate}
    assert core.ask("POST", f"{path}/verifyClientDeviceIoTCertificateAssociation", pair)[0] == 200
    pair["clientDeviceThingName"] = "sensor2"
    assert core.ask("POST", f"{path}/verifyClientDeviceIoTCertificateAssociation", pair)[0] == 404
    cloud.client("iot").update_certificate(certificateId=sensor.certificate, newStatus="REVOKED")
    assert core.ask("POST", f"{path}/verifyClientDeviceIdentity", shown)[0] == 404
    assert sensor.ask("GET", "/greengrass/discover/thing/sensor1")[0] == 403


def test_a_thing_that_is_deleted_takes_its_core_device_along(cloud):
    client, iot = cloud.client("greengrassv2"), cloud.client("iot")
    core = CoreDevice(cloud, "core1", policy=POLICY)
    with core:
        core.report({})
        until(lambda: client.list_core_devices()["coreDevices"], "the device is listed")
    iot.detach_thing_principal(thingName="core1", principal=iot.list_thing_principals(thingName="core1")["principals"][0])
    iot.delete_thing(thingName="core1")
    until(lambda: not client.list_core_devices()["coreDevices"], "the device is no longer listed")
