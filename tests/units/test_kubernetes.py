"""CronJobs: read as YAML, held to Kubernetes' own schema, and to what it substitutes."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.errors import BadInput
from pipeline.units import Job, When
from pipeline.units.kubernetes import cron_job
from tests.units.stub import AWKWARD, job_in

OLDEST = "1.31"
"""The version from which on a job's pod failure policy is stable."""

HOME = Path("/projects") / AWKWARD


def job(*options: str, home: Path = HOME, **fields: Any) -> Job:
    given = {"image": "registry.example/epochs:1", "environment": {"TEXT": AWKWARD}}
    return job_in(home, *options, **{**given, **fields})


def read(text: str) -> dict[str, Any]:
    manifest = yaml.safe_load(text)
    kubernetes_validate.validate(manifest, OLDEST, strict=True)
    return manifest


def substituted(text: str) -> str:
    """Return what Kubernetes starts: "$$" is a "$", and "$(NAME)" a variable."""
    assert "$(" not in text.replace("$$", "")
    return text.replace("$$", "$")


def test_the_container_is_started_as_the_job_says():
    wanted = job("--set", "name=a: b # 'c' \\ $(x) - \"d\"")
    pod = read(cron_job(wanted))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [substituted(word) for word in container["command"]] == list(wanted.command)
    assert container["workingDir"] == str(HOME)
    assert container["image"] == "registry.example/epochs:1"
    environment = {each["name"]: substituted(each["value"]) for each in container["env"]}
    assert environment == {"TEXT": AWKWARD}


def test_the_project_is_mounted_where_it_lies():
    for given, claim in (("", "search-tiny-study-1"), ("shared", "shared")):
        pod = read(cron_job(job(claim=given)))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (mount,), (volume,) = pod["containers"][0]["volumeMounts"], pod["volumes"]
        assert mount == {"name": volume["name"], "mountPath": str(HOME)}
        assert volume["persistentVolumeClaim"] == {"claimName": claim}


def test_it_starts_when_it_is_to_and_never_twice_at_once():
    spec = read(cron_job(job(when=When(4, 5, 12, ("sat",)))))["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("5 4,16 * * 6", "Etc/UTC")
    assert spec["concurrencyPolicy"] == "Forbid"


def test_it_is_asked_to_stop_after_its_time_and_then_killed():
    template = read(cron_job(job(timeout_secs=90.5, margin_secs=60.0, grace_secs=7.0)))["spec"][
        "jobTemplate"
    ]["spec"]
    assert template["activeDeadlineSeconds"] == 151
    assert template["template"]["spec"]["terminationGracePeriodSeconds"] == 7


def test_an_interrupted_search_goes_on_and_a_hopeless_one_is_not_tried_again():
    template = read(cron_job(job()))["spec"]["jobTemplate"]["spec"]
    # Kubernetes refuses a pod failure policy with any other.
    assert template["template"]["spec"]["restartPolicy"] == "Never"
    rules = template["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"]
        for rule in reversed(rules)  # the first that matches counts
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert by_code == {130: "Ignore", 2: "FailJob", 4: "FailJob", 5: "FailJob"}
    names = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    assert names == {template["template"]["spec"]["containers"][0]["name"]}
    disrupted = next(rule for rule in rules if "onPodConditions" in rule)
    assert disrupted["action"] == "Ignore"
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"image": ""}, "--image must be given for --kubernetes"),
        ({"home": Path("/a:b")}, "the project's folder must be a path without ':'"),
        ({"study": Path("/elsewhere/a.py")}, "the study must be in .*, got '/elsewhere/a.py'"),
        ({"name": "a" * 50}, "the study's name must be shorter"),
    ],
)
def test_what_cannot_be_mounted_or_named_is_refused(fields, says):
    with pytest.raises(BadInput, match=says):
        cron_job(job(**fields))


def test_pods_that_join_each_other_are_several():
    spec = read(cron_job(job("--if-running", "join")))["spec"]["jobTemplate"]["spec"]
    assert spec["completions"] == spec["parallelism"] == 2
    assert "parallelism" not in read(cron_job(job()))["spec"]["jobTemplate"]["spec"]
