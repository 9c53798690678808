"""Jobs of greengrass-cloud by boto3 and the AWS CLI, as operators and devices over HTTP use them."""
import json

import pytest
from cloud import Cloud
from cloud_device import Fleet, all_pages, refuses
from device import until


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("jobs")).start()
    yield Fleet(cloud)
    assert cloud.stop() == 0, cloud.log()[-3000:]


def things(fleet, count):
    """A group of so many things."""
    names = sorted(fleet.name() for _ in range(count))
    for name in names:
        fleet.iot.create_thing(thingName=name)
    group = fleet.group(*names)
    return names, fleet.arn(f"thinggroup/{group}")


def begin(fleet, thing):
    return fleet.jobs_data.start_next_pending_job_execution(thingName=thing)["execution"]["jobId"]


def report(fleet, job, thing, status, **more):
    return fleet.jobs_data.update_job_execution(jobId=job, thingName=thing, status=status, **more)


def status_of(fleet, job):
    return fleet.iot.describe_job(jobId=job)["job"]["status"]


def executions(fleet, job):
    return {e["thingArn"].rsplit("/", 1)[1]: e["jobExecutionSummary"]["status"]
            for e in fleet.iot.list_job_executions_for_job(jobId=job)["executionSummaries"]}


def test_a_job_for_a_group_runs_on_each_of_its_things(fleet):
    (one, two, three), group = things(fleet, 3)
    job = fleet.job(group, description="d", tags=[{"Key": "a", "Value": "b"}])
    found = fleet.iot.describe_job(jobId=job)["job"]
    assert (found["status"], found["targetSelection"], found["targets"], found["description"]) == ("IN_PROGRESS", "SNAPSHOT", [group], "d")
    assert found["jobProcessDetails"]["numberOfQueuedThings"] == 3
    assert json.loads(fleet.iot.get_job_document(jobId=job)["document"]) == {"do": "it"}
    assert fleet.iot.list_tags_for_resource(resourceArn=found["jobArn"])["tags"] == [{"Key": "a", "Value": "b"}]
    items, pages = all_pages(fleet.iot.list_job_executions_for_job, "executionSummaries", jobId=job, maxResults=2)
    assert (len(items), pages) == (3, 2)
    assert [e["jobId"] for e in fleet.iot.list_job_executions_for_thing(thingName=one)["executionSummaries"]] == [job]
    for thing, status in ((one, "SUCCEEDED"), (two, "FAILED"), (three, "REJECTED")):
        assert begin(fleet, thing) == job
        report(fleet, job, thing, status, statusDetails={"why": "test"})
    assert status_of(fleet, job) == "COMPLETED"
    found = fleet.iot.describe_job_execution(jobId=job, thingName=two)["execution"]
    assert (found["status"], found["statusDetails"]["detailsMap"], found["executionNumber"]) == ("FAILED", {"why": "test"}, 1)
    failed = fleet.iot.list_job_executions_for_job(jobId=job, status="FAILED")["executionSummaries"]
    assert [e["thingArn"] for e in failed] == [fleet.arn(f"thing/{two}")]


def test_what_is_no_job_is_refused(fleet):
    (one,), _ = things(fleet, 1)
    iot, target, text = fleet.iot, fleet.arn(f"thing/{one}"), json.dumps({"a": 1})
    job = fleet.job(target)
    refuses(iot.create_job, "ResourceAlreadyExistsException", jobId=job, targets=[target], document=text)
    refuses(iot.create_job, "ResourceNotFoundException", jobId=fleet.name("job"), targets=[fleet.arn("thing/none")], document=text)
    for bad in ({"document": "nonsense"}, {"targets": ["nonsense"]}, {"targetSelection": "SOME"}, {"document": json.dumps({"a": "x" * 40000})},
                {"jobExecutionsRolloutConfig": {"maximumPerMinute": 20000}}, {"timeoutConfig": {"inProgressTimeoutInMinutes": 20000}},
                {"abortConfig": {"criteriaList": [{"failureType": "NEVER", "action": "CANCEL", "thresholdPercentage": 10.0, "minNumberOfExecutedThings": 1}]}},
                {"jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 11}]}},
                {"presignedUrlConfig": {"roleArn": "arn:aws:iam::123456789012:role/a-role", "expiresInSec": 60}}):
        refuses(fleet.unchecked.create_job, "InvalidRequestException", **{"jobId": fleet.name("job"), "targets": [target], "document": text, **bad})
    for call in (iot.describe_job, iot.cancel_job, iot.delete_job, iot.get_job_document, iot.list_job_executions_for_job):
        refuses(call, "ResourceNotFoundException", jobId="none")
    refuses(iot.describe_job_execution, "ResourceNotFoundException", jobId=job, thingName="none")
    refuses(iot.list_job_executions_for_thing, "ResourceNotFoundException", thingName="none")
    refuses(iot.list_jobs, "InvalidRequestException", nextToken="nonsense")


def test_jobs_are_canceled_and_deleted_by_their_rules(fleet):
    (one, two), group = things(fleet, 2)
    job = fleet.job(group)
    begin(fleet, one)
    refuses(fleet.iot.delete_job, "InvalidStateTransitionException", jobId=job)
    refuses(fleet.iot.cancel_job_execution, "InvalidStateTransitionException", jobId=job, thingName=one)
    refuses(fleet.iot.cancel_job_execution, "VersionConflictException", jobId=job, thingName=two, expectedVersion=9)
    fleet.iot.cancel_job_execution(jobId=job, thingName=two, statusDetails={"by": "hand"})
    assert executions(fleet, job) == {one: "IN_PROGRESS", two: "CANCELED"}
    fleet.iot.cancel_job(jobId=job, reasonCode="WHY", comment="c")
    found = fleet.iot.describe_job(jobId=job)["job"]
    assert (found["status"], found["reasonCode"], found["comment"]) == ("CANCELED", "WHY", "c")
    # A device that is at it may end it.
    assert executions(fleet, job)[one] == "IN_PROGRESS"
    report(fleet, job, one, "SUCCEEDED")
    fleet.iot.delete_job(jobId=job)
    refuses(fleet.iot.describe_job, "ResourceNotFoundException", jobId=job)
    forced = fleet.job(group)
    begin(fleet, one)
    fleet.iot.cancel_job(jobId=forced, force=True)
    assert executions(fleet, forced) == {one: "CANCELED", two: "CANCELED"}
    assert fleet.iot.describe_job_execution(jobId=forced, thingName=one)["execution"]["forceCanceled"] is True
    last = fleet.job(group)
    fleet.iot.delete_job(jobId=last, force=True)
    assert fleet.jobs_data.get_pending_job_executions(thingName=one)["queuedJobs"] == []
    done = fleet.job(fleet.arn(f"thing/{one}"))
    report(fleet, done, begin(fleet, one) and one, "SUCCEEDED")
    refuses(fleet.iot.cancel_job, "InvalidRequestException", jobId=done)
    fleet.iot.delete_job_execution(jobId=done, thingName=one, executionNumber=1)
    refuses(fleet.iot.describe_job_execution, "ResourceNotFoundException", jobId=done, thingName=one)


def test_a_rollout_keeps_its_rate(fleet):
    names, group = things(fleet, 3)
    job = fleet.job(group, jobExecutionsRolloutConfig={"maximumPerMinute": 60})
    until(lambda: len(executions(fleet, job)) == 1, "the first is told")
    until(lambda: len(executions(fleet, job)) == 3, "in a second each, all are")
    times = sorted(e["jobExecutionSummary"]["queuedAt"] for e in fleet.iot.list_job_executions_for_job(jobId=job)["executionSummaries"])
    gaps = [(b - a).total_seconds() for a, b in zip(times, times[1:], strict=False)]
    assert min(gaps) > 0.5, gaps
    slow = fleet.job(group, jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    until(lambda: len(executions(fleet, slow)) == 1, "the first is told")
    fleet.iot.update_job(jobId=slow, jobExecutionsRolloutConfig={"maximumPerMinute": 1000})
    assert fleet.iot.describe_job(jobId=slow)["job"]["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 1000}
    fleet.iot.cancel_job(jobId=slow, force=True)
    assert status_of(fleet, slow) == "CANCELED" and len(executions(fleet, slow)) <= 3
    del names


def test_too_many_failures_call_a_job_off(fleet):
    (one, two, three, four), group = things(fleet, 4)
    job = fleet.job(group, abortConfig={"criteriaList": [
        {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50.0, "minNumberOfExecutedThings": 2}]})
    for thing in (one, two):
        begin(fleet, thing)
        report(fleet, job, thing, "FAILED")
    assert status_of(fleet, job) == "CANCELED"
    assert executions(fleet, job) == {one: "FAILED", two: "FAILED", three: "CANCELED", four: "CANCELED"}


def test_a_failed_run_is_queued_again_as_often_as_it_may(fleet):
    (one,), group = things(fleet, 1)
    job = fleet.job(group, jobExecutionsRetryConfig={"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]})
    for attempt in range(3):
        (summary,) = fleet.iot.list_job_executions_for_thing(thingName=one)["executionSummaries"]
        assert summary["jobExecutionSummary"].get("retryAttempt", 0) == attempt
        assert begin(fleet, one) == job
        report(fleet, job, one, "FAILED")
    assert (status_of(fleet, job), executions(fleet, job)) == ("COMPLETED", {one: "FAILED"})


def test_a_timer_is_told_and_set_anew_by_each_step(fleet):
    (one,), group = things(fleet, 1)
    job = fleet.job(group, timeoutConfig={"inProgressTimeoutInMinutes": 10})
    begin(fleet, one)

    def left():
        return fleet.iot.describe_job_execution(jobId=job, thingName=one)["execution"]["approximateSecondsBeforeTimedOut"]
    assert 560 < left() <= 600
    report(fleet, job, one, "IN_PROGRESS", stepTimeoutInMinutes=1)
    assert left() <= 60
    report(fleet, job, one, "IN_PROGRESS", stepTimeoutInMinutes=-1)
    assert left() > 60
    refuses(fleet.jobs_data.update_job_execution, "InvalidRequestException", jobId=job, thingName=one, status="IN_PROGRESS", stepTimeoutInMinutes=20000)


def test_a_continuous_job_takes_targets_later(fleet):
    (one,), group = things(fleet, 1)
    (two,), other = things(fleet, 1)
    job = fleet.job(group, targetSelection="CONTINUOUS")
    snapshot = fleet.job(group)
    fleet.iot.associate_targets_with_job(jobId=job, targets=[other])
    assert executions(fleet, job) == {one: "QUEUED", two: "QUEUED"}
    refuses(fleet.iot.associate_targets_with_job, "InvalidRequestException", jobId=snapshot, targets=[other])
    refuses(fleet.iot.associate_targets_with_job, "ResourceNotFoundException", jobId=job, targets=[fleet.arn("thinggroup/none")])
    found = [j["jobId"] for j in fleet.iot.list_jobs(targetSelection="CONTINUOUS", status="IN_PROGRESS", thingGroupName=group.rsplit("/", 1)[1])["jobs"]]
    assert found == [job]


def test_a_device_reports_over_http_with_the_errors_of_the_model(fleet):
    (one,), group = things(fleet, 1)
    data = fleet.jobs_data
    assert "execution" not in data.start_next_pending_job_execution(thingName=one)
    job = fleet.job(group)
    found = data.describe_job_execution(jobId="$next", thingName=one, includeJobDocument=True)["execution"]
    assert (found["jobId"], json.loads(found["jobDocument"]), found["status"]) == (job, {"do": "it"}, "QUEUED")
    answer = report(fleet, job, one, "IN_PROGRESS", includeJobExecutionState=True, includeJobDocument=True, expectedVersion=1)
    assert (answer["executionState"]["versionNumber"], json.loads(answer["jobDocument"])) == (2, {"do": "it"})
    refuses(data.update_job_execution, "ResourceNotFoundException", jobId="none", thingName=one, status="FAILED")
    refuses(data.update_job_execution, "InvalidRequestException", jobId=job, thingName=one, status="QUEUED")
    report(fleet, job, one, "SUCCEEDED")
    refuses(data.update_job_execution, "InvalidStateTransitionException", jobId=job, thingName=one, status="FAILED")
    refuses(data.describe_job_execution, "TerminalStateException", jobId=job, thingName=one)
    refuses(data.get_pending_job_executions, "ResourceNotFoundException", thingName="none")


def test_the_cli_creates_lists_and_cancels_a_job(fleet):
    (one,), group = things(fleet, 1)
    (fleet.folder / "job.json").write_text(json.dumps({"do": "it"}))
    job, cloud = fleet.name("job"), fleet.cloud
    made = cloud.json("iot", "create-job", "--job-id", job, "--targets", group, "--document", "file://job.json", "--target-selection", "CONTINUOUS")
    assert made["jobArn"] == fleet.arn(f"job/{job}")
    assert cloud.json("iot-jobs-data", "get-pending-job-executions", "--thing-name", one)["queuedJobs"][0]["jobId"] == job
    assert cloud.json("iot", "cancel-job", "--job-id", job)["jobId"] == job
    assert cloud.refused("iot", "describe-job", "--job-id", "none")[0] == "ResourceNotFoundException"
