"""Secrets Manager of greengrass-cloud by the AWS CLI and boto3."""
import json

import pytest
from botocore.exceptions import ClientError


def code(excinfo):
    return excinfo.value.response["Error"]["Code"]


@pytest.fixture
def secrets(cloud):
    return cloud.client("secretsmanager")


def test_the_cli_creates_reads_changes_and_removes_a_secret(cloud):
    made = cloud.json("secretsmanager", "create-secret", "--name", "app/key", "--secret-string", "one", "--description", "d",
                      "--tags", "Key=team,Value=a")
    assert made["ARN"].startswith(f"arn:aws:secretsmanager:us-east-1:{cloud.account()}:secret:app/key-") and made["VersionId"]
    value = cloud.json("secretsmanager", "get-secret-value", "--secret-id", "app/key")
    assert (value["SecretString"], value["VersionStages"], value["ARN"]) == ("one", ["AWSCURRENT"], made["ARN"])
    cloud.json("secretsmanager", "put-secret-value", "--secret-id", made["ARN"], "--secret-string", "two")
    previous = cloud.json("secretsmanager", "get-secret-value", "--secret-id", "app/key", "--version-stage", "AWSPREVIOUS")
    assert previous["SecretString"] == "one" and previous["VersionId"] == made["VersionId"]
    described = cloud.json("secretsmanager", "describe-secret", "--secret-id", "app/key")
    assert described["Tags"] == [{"Key": "team", "Value": "a"}] and sorted(sum(described["VersionIdsToStages"].values(), [])) == ["AWSCURRENT", "AWSPREVIOUS"]
    cloud.json("secretsmanager", "delete-secret", "--secret-id", "app/key", "--recovery-window-in-days", "7")
    name, text = cloud.refused("secretsmanager", "get-secret-value", "--secret-id", "app/key")
    assert name == "InvalidRequestException" and "marked for deletion" in text
    cloud.json("secretsmanager", "restore-secret", "--secret-id", "app/key")
    assert cloud.json("secretsmanager", "get-secret-value", "--secret-id", "app/key")["SecretString"] == "two"
    cloud.json("secretsmanager", "delete-secret", "--secret-id", "app/key", "--force-delete-without-recovery")
    assert cloud.refused("secretsmanager", "describe-secret", "--secret-id", "app/key")[0] == "ResourceNotFoundException"
    assert "two" not in cloud.log()


def test_binary_values_and_partial_arns(secrets):
    arn = secrets.create_secret(Name="bin", SecretBinary=b"\x00\xff")["ARN"]
    assert secrets.get_secret_value(SecretId=arn)["SecretBinary"] == b"\x00\xff"
    assert secrets.get_secret_value(SecretId=arn.rsplit("-", 1)[0])["Name"] == "bin"
    with pytest.raises(ClientError) as refused:
        secrets.create_secret(Name="both", SecretBinary=b"x", SecretString="x")
    assert code(refused) == "InvalidParameterException"


def test_a_request_that_is_repeated_changes_nothing_and_one_that_differs_is_refused(secrets):
    token = "12345678-1234-1234-1234-123456789012"
    first = secrets.create_secret(Name="s", SecretString="x", ClientRequestToken=token)
    assert secrets.create_secret(Name="s", SecretString="x", ClientRequestToken=token)["ARN"] == first["ARN"]
    with pytest.raises(ClientError) as refused:
        secrets.create_secret(Name="s", SecretString="y", ClientRequestToken=token)
    assert code(refused) == "ResourceExistsException"
    with pytest.raises(ClientError) as refused:
        secrets.create_secret(Name="s", SecretString="x")
    assert code(refused) == "ResourceExistsException"
    with pytest.raises(ClientError) as refused:
        secrets.put_secret_value(SecretId="s", SecretString="y", ClientRequestToken=token)
    assert code(refused) == "ResourceExistsException"
    assert secrets.put_secret_value(SecretId="s", SecretString="x", ClientRequestToken=token)["VersionId"] == token


def test_labels_move_between_versions(secrets):
    one = secrets.create_secret(Name="s", SecretString="1")["VersionId"]
    two = secrets.put_secret_value(SecretId="s", SecretString="2", VersionStages=["NEXT"])["VersionId"]
    assert secrets.get_secret_value(SecretId="s")["SecretString"] == "1"
    assert secrets.get_secret_value(SecretId="s", VersionStage="NEXT")["SecretString"] == "2"
    with pytest.raises(ClientError) as refused:
        secrets.update_secret_version_stage(SecretId="s", VersionStage="AWSCURRENT", MoveToVersionId=two)
    assert code(refused) == "InvalidParameterException" and one in str(refused.value)
    secrets.update_secret_version_stage(SecretId="s", VersionStage="AWSCURRENT", MoveToVersionId=two, RemoveFromVersionId=one)
    assert secrets.get_secret_value(SecretId="s")["SecretString"] == "2"
    assert secrets.get_secret_value(SecretId="s", VersionStage="AWSPREVIOUS")["SecretString"] == "1"
    secrets.update_secret_version_stage(SecretId="s", VersionStage="NEXT", RemoveFromVersionId=two)
    with pytest.raises(ClientError) as refused:
        secrets.get_secret_value(SecretId="s", VersionStage="NEXT")
    assert code(refused) == "ResourceNotFoundException" and "NEXT" in str(refused.value)
    listed = secrets.list_secret_version_ids(SecretId="s")["Versions"]
    assert {v["VersionId"]: v["VersionStages"] for v in listed} == {one: ["AWSPREVIOUS"], two: ["AWSCURRENT"]}


def test_lists_have_pages_and_filters(secrets):
    for number in range(5):
        secrets.create_secret(Name=f"app/{number}", SecretString="x", Tags=[{"Key": "odd", "Value": str(number % 2)}])
    secrets.create_secret(Name="other", SecretString="x")
    pages = list(secrets.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 4}))
    assert [len(page["SecretList"]) for page in pages] == [4, 2]
    named = secrets.list_secrets(Filters=[{"Key": "name", "Values": ["app/"]}, {"Key": "tag-value", "Values": ["1"]}])
    assert [s["Name"] for s in named["SecretList"]] == ["app/1", "app/3"]
    token = secrets.list_secrets(MaxResults=4)["NextToken"]
    with pytest.raises(ClientError) as refused:
        secrets.list_secrets(MaxResults=4, NextToken=token, Filters=[{"Key": "name", "Values": ["app/"]}])
    assert code(refused) == "InvalidNextTokenException"
    secrets.delete_secret(SecretId="other")
    assert len(secrets.list_secrets()["SecretList"]) == 5
    assert len(secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"]) == 6
    batch = secrets.batch_get_secret_value(SecretIdList=["app/0", "none"])
    assert [v["Name"] for v in batch["SecretValues"]] == ["app/0"] and [e["ErrorCode"] for e in batch["Errors"]] == ["ResourceNotFoundException"]


def test_a_role_reads_the_secrets_that_its_policy_names(cloud, secrets):
    arn = secrets.create_secret(Name="mine", SecretString="x")["ARN"]
    secrets.create_secret(Name="other", SecretString="x")
    iam = cloud.client("iam")
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="core", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    policy = {"Statement": [{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn}]}
    iam.put_role_policy(RoleName="core", PolicyName="p", PolicyDocument=json.dumps(policy))
    keys = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    device = cloud.client("secretsmanager", keys=keys)
    assert device.get_secret_value(SecretId="mine")["SecretString"] == "x"
    for call in (lambda: device.get_secret_value(SecretId="other"), lambda: device.get_secret_value(SecretId="none"),
                 lambda: device.put_secret_value(SecretId="mine", SecretString="y"), lambda: device.list_secrets(),
                 lambda: device.create_secret(Name="new", SecretString="x")):
        with pytest.raises(ClientError) as refused:
            call()
        assert code(refused) == "AccessDeniedException"
