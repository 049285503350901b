"""The job for KubeRay: its search is one of this program's, its pods are Kubernetes' own."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.test_examples_of_clusters import FOLDER, assert_is_search

JOB = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]


def test_it_starts_a_search_of_a_study_that_is_in_the_image():
    assert_is_search(JOB["spec"]["entrypoint"])


def test_there_is_a_pod_for_each_worker():
    (group,) = CLUSTER["workerGroupSpecs"]
    assert f"--workers {group['replicas']} " in JOB["spec"]["entrypoint"]


@pytest.mark.parametrize("group", [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]])
def test_its_pods_are_kubernetes_own(group: dict[str, Any]):
    spec = group["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "search"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.31", strict=True)
    (container,) = spec["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "search-digits"}}]
