"""The nodes of a Ray cluster, asked before anything is trained whether they can take part."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import BadInput, StoreUnavailable, in_one_line
from pipeline.on_ray.actor import about_node
from pipeline.on_ray.connection import connected
from pipeline.on_ray.places import Node
from pipeline.optimization.database import MAX_CLOCK_DIFFERENCE_SECS
from pipeline.tracking import versions

ANSWER_SECS = 60.0
"""How long the nodes have to answer, all together, besides what they wait for a server."""


def surveyed(
    address: str,
    study: Path,
    folder: Path,
    *,
    shared: Path | None,
    server: str | None,
    patience_secs: float,
) -> list[Node]:
    """Return the nodes of a cluster, each of which has what a worker needs.

    study: the study's file; folder: in which the command was started
    shared: a folder that all nodes must share; None where they need not
    server: the database server on which they meet then
    patience_secs: how long a server that is away is asked again
    Raises BadInput, naming the node and what it lacks, and StoreUnavailable.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(connected(address, log=scratch / "ray.log"))
        marker = None
        if shared is not None:
            shared.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(tempfile.NamedTemporaryFile(dir=shared, prefix=".ray-"))
            marker = file.name
        nodes = [
            Node(each["NodeManagerHostname"], each["NodeID"], each["Resources"])
            for each in ray.nodes()
            if each["Alive"]
        ]
        mine, asked = versions(), time.time()
        ask = ray.remote(num_cpus=0, max_retries=0)(about_node)
        answers = [
            ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.identifier, soft=False)
            ).remote(str(study), str(folder), marker, server, patience_secs)
            for node in nodes
        ]
        until = asked + ANSWER_SECS + patience_secs
        for node, answer in zip(nodes, answers, strict=True):
            about = _answered(node, answer, until)
            if problem := problem_of(about, mine, asked, time.time()):
                raise BadInput(f"every node of Ray's cluster must {problem}, on {node.name}")
    return nodes


def _answered(node: Node, answer: Any, until: float) -> dict[str, Any]:
    try:
        return ray.get(answer, timeout=max(0.0, until - time.time()))
    except GetTimeoutError as error:
        raise StoreUnavailable(
            f"node {node.name} of Ray's cluster did not answer in time"
        ) from error
    except Exception as error:
        match _cause(error):
            case BadInput() | StoreUnavailable() as cause:
                raise type(cause)(f"on node {node.name} of Ray's cluster: {cause}") from error
            case cause:  # this program is not installed there, most often
                raise BadInput(
                    f"every node of Ray's cluster must have this program, got on {node.name}: "
                    f"{in_one_line(cause)}"
                ) from error


def _cause(error: Exception) -> Exception:
    """Return what was raised on the node."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def problem_of(
    about: Mapping[str, Any], mine: Mapping[str, str], asked: float, answered: float
) -> str:
    """Return what a node must have and has not, in words; "" where it can take part.

    about: as of `about_node`; mine: the head's versions
    asked, answered: the head's time of day around the node's answer
    """
    if about["lacks"]:
        return f"have {about['lacks'][0]}; it is missing"
    wrong = [
        f"{name} {about['versions'].get(name, 'missing')} there and {version} here"
        for name, version in mine.items()
        if about["versions"].get(name) != version
    ]
    if wrong:
        return f"have the head's versions, got {', '.join(wrong)}"
    off, most = max(asked - about["time"], about["time"] - answered), MAX_CLOCK_DIFFERENCE_SECS
    if off > most:
        return f"have the head's time within {most:g} s, got {off:.0f} s more or less"
    return ""
