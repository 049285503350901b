"""A memory limit that one trial reaches: it fails with its reason, and the search goes on."""

import pytest

from pipeline.errors import ExitCode
from tests.faults import command, ended
from tests.kill import answer_in
from tests.tiny_study import runs_of, write_study

FIELDS = """dict(
    space={
        "learning_rate": 0.01,
        "max_epochs": 3,
        "size": CategoricalDistribution([1, 2, 3]),
    },
    sampler=lambda seed: GridSampler({"size": [1, 2, 3]}, seed=0),
    test_size=0.2,
)"""

LIMITED = """
    if params["size"] == 3:
        import resource

        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 2**32  # enough for the others
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
"""

BUILDER = LIMITED + "        np.ones(2**30)\n"

TRAINING = (
    LIMITED
    + """
        model = keras.Sequential([
            keras.Input((3,)),
            keras.layers.Lambda(lambda x: keras.ops.sum(keras.ops.tile(x, [1, 2**28]), 1)[:, None]),
            keras.layers.Dense(1, activation="sigmoid"),
        ])
        model.compile("adam", loss="binary_crossentropy")
        return model
"""
)


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        pytest.param(BUILDER, "MemoryError", id="builder"),
        pytest.param(TRAINING, "ResourceExhausted", id="training", marks=pytest.mark.long),
    ],
)
def test_a_trial_that_reaches_a_memory_limit_fails_and_the_search_goes_on(home, builder, reason):
    study = write_study(home, fields=FIELDS, builder=builder)
    study.write_text("from optuna.samplers import GridSampler\n" + study.read_text())
    code, said = ended(command, [str(study)])
    assert code in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), said
    assert "Traceback" not in said
    trials = answer_in(home)["trials"]
    assert (trials["failed"], trials["completed"]) == (1, 2)
    _, children = runs_of(home)
    (failed,) = [run for run in children if run.info.status == "FAILED"]
    assert reason in failed.data.tags["reason"]
