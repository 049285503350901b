"""Mixed precision: each engine is `fit` under the same policy, and leaves Keras as it was."""

import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.training import Setup, check_model, fit_on_all_rows
from pipeline.training.models import call_builder
from pipeline.training.snapshot_file import as_bytes, of_bytes
from tests.training.fit import assert_equals_fit
from tests.training.models import advanced, all_curves, case, compiled, dense, hidden, softmax

MIXED = ("mixed_float16", "mixed_bfloat16")
QUICK: list[Any] = [("mixed_float16", "plain"), ("mixed_bfloat16", "stream")]
LONG: list[Any] = [
    pytest.param(policy, mode, marks=pytest.mark.long)
    for policy in MIXED
    for mode in ("plain", "xla", "stream")
    if (policy, mode) not in QUICK
]


def with_a_layer_made_in_the_trace(params):
    """Return a model with a layer that exists from its call on, under the policy of that moment."""

    class Scales(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.out = hidden(), softmax()

        def call(self, x):
            return self.out(keras.layers.Rescaling(1 / 3)(self.inside(x)))

    model = Scales()
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]), loss="sparse_categorical_crossentropy"
    )
    return model


@pytest.mark.parametrize(("policy", "mode"), QUICK + LONG)
def test_equals_fit_under_the_same_policy(policy, mode):
    training = assert_equals_fit(case(dense, dtype_policy=policy), mode=mode)
    assert keras.config.dtype_policy().name == "float32"
    plain = case(dense).trained(3, mode=mode)
    assert not np.array_equal(all_curves(training), all_curves(plain))


def test_layers_made_in_a_trace_follow_the_policy(mode):
    assert_equals_fit(
        case(with_a_layer_made_in_the_trace, dtype_policy="mixed_bfloat16"), mode=mode
    )


def test_float16_puts_loss_scaling_around_the_optimizer_as_compile_does():
    scaled = {}
    for policy in MIXED:
        case_ = case(dense, dtype_policy=policy)
        model = call_builder(case_.spec, case_.params, seed=0)
        scaled[policy] = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == {"mixed_float16": True, "mixed_bfloat16": False}


def test_the_policy_holds_while_the_model_is_checked_and_built_and_no_longer():
    seen = []

    def watched(params):
        seen.append(keras.config.dtype_policy().name)
        return dense(params)

    case_ = case(watched, dtype_policy="mixed_float16")
    check_model(case_.spec, case_.data, case_.folds[0])
    training = case_.trained(1)
    training.program.model(0, training.states[0], case_.params)
    assert len(seen) >= 4
    assert set(seen) == {"mixed_float16"}
    assert keras.config.dtype_policy().name == "float32"


def test_a_builder_that_raises_leaves_the_policy_as_it_was():
    case_ = case(lambda params: 1 / 0, dtype_policy="mixed_float16")
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        check_model(case_.spec, case_.data, case_.folds[0])
    assert keras.config.dtype_policy().name == "float32"


def test_a_builders_own_policies_are_kept():
    def build(params):
        return compiled(hidden(), hidden(dtype="float32"), softmax(), params=params)

    training = case(build, dtype_policy="mixed_float16").trained(1)
    model = training.program.model(0, training.states[0], training.params)
    assert [layer.compute_dtype for layer in model.layers] == ["float16", "float32", "float16"]


def test_without_the_field_a_study_files_own_global_policy_holds():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        theirs = case(dense).trained(2)
    finally:
        keras.config.set_dtype_policy("float32")
    ours = case(dense, dtype_policy="mixed_bfloat16").trained(2)
    np.testing.assert_array_equal(all_curves(ours), all_curves(theirs))


def test_a_snapshot_on_disk_goes_on_to_the_same_bits_with_its_loss_scale():
    case_ = case(dense, dtype_policy="mixed_float16")
    whole = case_.trained(3)
    stored, _ = of_bytes(as_bytes(case_.trained(1).snapshot(), case_.params))
    resumed = case_.training(case_.engine())
    resumed.restore(stored)
    np.testing.assert_array_equal(all_curves(advanced(resumed, 2)), all_curves(whole))


def test_the_served_file_predicts_the_same_in_a_process_of_its_own(tmp_path):
    case_ = case(dense, dtype_policy="mixed_float16")
    fitted = fit_on_all_rows(
        case_.spec, case_.data, case_.params, 2, folds=[len(case_.folds)], setup=Setup("plain")
    )
    files = fitted.save(tmp_path)
    assert fitted.why_not_served(files, case_.data.x[:5]) == ""
    np.save(tmp_path / "x.npy", case_.data.x[:5])
    code = (
        "import keras, numpy as np; import sys; model, x, out = sys.argv[1:]; "
        "m = keras.models.load_model(model, compile=False, safe_mode=True); "
        "assert m.layers[0].compute_dtype == 'float16'; "
        "np.save(out, m.predict(np.load(x), verbose=0))"
    )
    where = [str(files["model_0"]), str(tmp_path / "x.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", code, *where], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), fitted.predict(case_.data.x[:5]))
