"""The same IoT calls to greengrass-cloud and to moto's server: same shapes, same errors. What is allowed to differ stands at the call."""
import json

from moto_peer import moto_server, pair  # noqa: F401 (fixtures)

POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})


def test_things_types_and_groups_are_as_with_moto(pair):  # noqa: F811
    iot = pair("iot")
    iot.call("create_thing_type", thingTypeName="k", thingTypeProperties={"thingTypeDescription": "d"}, only_ours=("thingTypeId",))
    iot.call("describe_thing_type", thingTypeName="k",
             only_ours=("thingTypeArn", "searchableAttributes", "thingTypeId"), only_theirs=("thingTypeArn", "thingTypeId"))
    iot.call("describe_thing_type", thingTypeName="none")
    iot.call("create_thing", thingName="t", thingTypeName="k", attributePayload={"attributes": {"a": "b"}})
    iot.call("describe_thing", thingName="t", only_ours=("thingId", "thingArn"), only_theirs=("thingId", "thingArn"))
    iot.call("describe_thing", thingName="none")
    iot.call("list_things")
    iot.call("list_things", attributeName="a", attributeValue="b")
    iot.call("update_thing", thingName="t", attributePayload={"attributes": {"c": "d"}, "merge": True})
    iot.call("update_thing", thingName="none", attributePayload={"attributes": {"c": "d"}})
    iot.call("create_thing_group", thingGroupName="g")
    iot.call("create_thing_group", thingGroupName="h", parentGroupName="g")
    iot.call("describe_thing_group", thingGroupName="h", only_ours=("attributePayload",), only_theirs=("attributePayload",))
    iot.call("describe_thing_group", thingGroupName="none")
    iot.call("list_thing_groups")
    iot.call("list_thing_groups", parentGroup="g")
    iot.call("add_thing_to_thing_group", thingGroupName="h", thingName="t")
    iot.call("add_thing_to_thing_group", thingGroupName="none", thingName="t")
    iot.call("list_things_in_thing_group", thingGroupName="h")
    iot.call("list_thing_groups_for_thing", thingName="t")
    iot.call("remove_thing_from_thing_group", thingGroupName="h", thingName="t")
    iot.call("delete_thing_group", thingGroupName="g")
    iot.call("delete_thing_group", thingGroupName="h")
    iot.call("delete_thing", thingName="t")


def test_certificates_and_policies_are_as_with_moto(pair):  # noqa: F811
    iot = pair("iot")
    made = iot.call("create_keys_and_certificate", setAsActive=True)
    ids = {side: answer["certificateId"] for side, answer in enumerate(made)}
    arns = {side: answer["certificateArn"] for side, answer in enumerate(made)}
    # moto tells of transfers, and of who owned it before; we have neither.
    iot.call("describe_certificate", certificateId=ids.get, only_theirs=("transferData", "previousOwnedBy", "customerVersion"),
             only_ours=("customerVersion", "generationId", "certificateMode"))
    iot.call("describe_certificate", certificateId="0" * 64)
    iot.call("list_certificates", only_ours=("certificateMode",), only_theirs=("certificateMode",))
    iot.call("create_policy", policyName="p", policyDocument=POLICY)
    iot.call("create_policy", policyName="p", policyDocument=POLICY)
    iot.call("get_policy", policyName="p", only_ours=("creationDate", "lastModifiedDate", "generationId"),
             only_theirs=("creationDate", "lastModifiedDate", "generationId"))
    iot.call("get_policy", policyName="none")
    iot.call("list_policies")
    for _ in range(4):
        iot.call("create_policy_version", policyName="p", policyDocument=POLICY, only_ours=("isDefaultVersion",))
    iot.call("create_policy_version", policyName="p", policyDocument=POLICY)
    iot.call("list_policy_versions", policyName="p")
    iot.call("set_default_policy_version", policyName="p", policyVersionId="3")
    iot.call("delete_policy_version", policyName="p", policyVersionId="1")
    iot.call("attach_policy", policyName="p", target=arns.get)
    iot.call("list_attached_policies", target=arns.get)
    iot.call("list_targets_for_policy", policyName="p")
    iot.call("delete_policy", policyName="p")
    iot.call("create_thing", thingName="t")
    iot.call("attach_thing_principal", thingName="t", principal=arns.get)
    iot.call("list_thing_principals", thingName="t")
    iot.call("list_principal_things", principal=arns.get)
    iot.call("delete_certificate", certificateId=ids.get)
    iot.call("update_certificate", certificateId=ids.get, newStatus="INACTIVE")
    iot.call("delete_certificate", certificateId=ids.get)
    iot.call("detach_thing_principal", thingName="t", principal=arns.get)
    iot.call("detach_policy", policyName="p", target=arns.get)
    iot.call("delete_certificate", certificateId=ids.get)


def test_role_aliases_and_endpoints_are_as_with_moto(pair):  # noqa: F811
    iot, role = pair("iot"), "arn:aws:iam::123456789012:role/my-role"
    iot.call("create_role_alias", roleAlias="a", roleArn=role)
    iot.call("create_role_alias", roleAlias="a", roleArn=role)
    iot.call("describe_role_alias", roleAlias="a")
    iot.call("describe_role_alias", roleAlias="none")
    iot.call("list_role_aliases")
    iot.call("update_role_alias", roleAlias="a", credentialDurationSeconds=900)
    iot.call("delete_role_alias", roleAlias="a")
    iot.call("describe_endpoint", endpointType="iot:Data-ATS")
    iot.call("describe_endpoint", endpointType="iot:Nonsense")


def test_shadows_are_as_with_moto(pair):  # noqa: F811
    iot, data = pair("iot"), pair("iot-data")
    iot.call("create_thing", thingName="t")

    def body(call, **arguments):
        """Both documents; clocks and tokens are each their own."""
        return [json.loads(answer["payload"].read()) for answer in data.call(call, only_ours=("payload",), only_theirs=("payload",), **arguments)]
    data.call("get_thing_shadow", thingName="t")
    data.call("get_thing_shadow", thingName="none")
    for number, state in enumerate(({"desired": {"a": 1, "b": {"c": "d"}}}, {"reported": {"a": 2}}, {"desired": {"b": None}})):
        body("update_thing_shadow", thingName="t", payload=json.dumps({"state": state}))
        ours, theirs = body("get_thing_shadow", thingName="t")
        assert (ours["state"], ours["version"]) == (theirs["state"], theirs["version"]), number
    data.call("update_thing_shadow", thingName="t", payload=json.dumps({"state": {"desired": {"a": 9}}, "version": 1}))
    body("update_thing_shadow", thingName="t", shadowName="n", payload=json.dumps({"state": {"desired": {"a": 1}}}))
    data.call("list_named_shadows_for_thing", thingName="t", only_ours=("timestamp",), only_theirs=("timestamp",))
    body("delete_thing_shadow", thingName="t")
    data.call("get_thing_shadow", thingName="t")


def test_jobs_are_as_with_moto(pair):  # noqa: F811
    iot = pair("iot")
    made = iot.call("create_thing", thingName="t")
    arns = {side: [answer["thingArn"]] for side, answer in enumerate(made)}
    document = json.dumps({"do": "it"})
    iot.call("create_job", jobId="j", targets=arns.get, document=document, description="d")
    iot.call("describe_job", jobId="none")
    iot.call("get_job_document", jobId="j")
    iot.call("describe_job_execution", jobId="j", thingName="none")
    iot.call("list_job_executions_for_thing", thingName="t", only_ours=("retryAttempt",), only_theirs=("startedAt", "retryAttempt"))
    iot.call("cancel_job", jobId="j")
