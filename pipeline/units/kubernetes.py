"""A CronJob for Kubernetes 1.31 or newer (batch/v1), as YAML."""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.errors import ExitCode, require
from pipeline.units.job import Job, commented

MAX_NAME_CHARS = 52
"""Kubernetes adds eleven characters for each of a CronJob's jobs."""


SEVERAL = [
    "completions and parallelism are how many pods work at the study: whichever comes first holds",
    "it, the others join it. Give both the number that you want. Where pods do not share the",
    "claim's stores, they meet in a database server (OPTUNA_STORAGE) and a tracking server.",
]
"""For jobs that join each other."""


def cron_job(job: Job) -> str:
    """Return the manifest that `kubectl apply` takes.

    Raises BadInput without an image, and for a project that cannot be mounted.
    """
    require(job.image, "--image", "given for --kubernetes: one with this program", job.image)
    home = str(job.home)
    require(":" not in home, "the project's folder", "a path without ':' for a mount", home)
    require(job.study.is_relative_to(job.home), "the study", f"in {home}", str(job.study))
    require(len(job.unit_name) <= MAX_NAME_CHARS, "the study's name", "shorter", job.name)
    how = [
        *job.comments,
        "Times of the day are UTC.",
        "",
        f"Save it as {job.unit_name}.yaml, then: kubectl apply -f {job.unit_name}.yaml",
        f"Claim {_claim(job)} must hold the project, stores included. It is mounted where",
        "the project lies here, so that what the stores say of paths stays true.",
        *(SEVERAL if job.joins else []),
        f"Its log: kubectl logs -l job={job.unit_name}. Add resources: as your cluster asks for.",
        "",
        "Exit code 130 (interrupted: the node was drained) starts it again, which continues it.",
        "Kubernetes calls every other code but 0 a failure; it does not try again where that",
        "would end the same way: 2 (bad input), 4 (undetermined) and 5 (another run active).",
    ]
    manifest = yaml.safe_dump(_manifest(job), sort_keys=False, allow_unicode=True, width=10_000)
    return f"{commented(how)}\n{manifest}"


def _manifest(job: Job) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": job.unit_name},
        "spec": {
            "schedule": job.when.cron,
            # Otherwise it is the time zone of the control plane, whichever that is.
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {
                "spec": {
                    **({"completions": 2, "parallelism": 2} if job.joins else {}),
                    "activeDeadlineSeconds": job.stop_after_secs,
                    "backoffLimit": 2,
                    "podFailurePolicy": {"rules": _failure_rules()},
                    "template": {
                        "metadata": {"labels": {"job": job.unit_name}},
                        "spec": _pod(job),
                    },
                }
            },
        },
    }


def _failure_rules() -> list[dict[str, Any]]:
    hopeless = (ExitCode.BAD_INPUT, ExitCode.UNDETERMINED, ExitCode.ANOTHER_RUN_ACTIVE)
    return [
        _on_codes("Ignore", ExitCode.INTERRUPTED),
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        _on_codes("FailJob", *hopeless),
    ]


def _on_codes(action: str, *codes: ExitCode) -> dict[str, Any]:
    values = [code.value for code in codes]
    on = {"containerName": "search", "operator": "In", "values": values}
    return {"action": action, "onExitCodes": on}


def _pod(job: Job) -> dict[str, Any]:
    home = str(job.home)
    variables = [{"name": n, "value": _literal(text)} for n, text in job.environment.items()]
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": job.kill_after_secs,
        "containers": [
            {
                "name": "search",
                "image": job.image,
                "command": [_literal(word) for word in job.command],
                "workingDir": home,
                "env": variables,
                "volumeMounts": [{"name": "project", "mountPath": home}],
            }
        ],
        "volumes": [{"name": "project", "persistentVolumeClaim": {"claimName": _claim(job)}}],
    }


def _claim(job: Job) -> str:
    return job.claim or job.unit_name


def _literal(text: str) -> str:
    """Return a text as it stands: Kubernetes would put variables in place of "$(…)"."""
    return text.replace("$", "$$")
