"""The functions of a study file that is written for a data file, as source."""

from __future__ import annotations

import math
from textwrap import indent

from pipeline.data_file.source import quoted
from pipeline.data_file.target import Target

PREPROCESS_TABLE = """\
# Fitted on each fold's training rows. The levels are those above in every fold, so that every fold
# has the same inputs; another level is none of them.
preprocess = ColumnTransformer(
    [
{transformers}
    ],
    sparse_threshold=0,
)"""

NUMBERS = """\
        (
            "numbers",
{numbers},
            NUMBERS,
        ),"""

GAPS = """\
        ("gaps", MissingIndicator(features="all"), GAPS),"""

LEVELS = """\
        (
            "levels",
            make_pipeline(
                SimpleImputer(strategy="constant", fill_value={missing}),
                OneHotEncoder(categories=list(LEVELS.values()), handle_unknown="ignore"),
            ),
            list(LEVELS),
        ),"""

WORDS = """\
# Adapted to each fold's training rows: a vocabulary of its own, of the same size.
def preprocess():
    import keras

    return keras.layers.TextVectorization(max_tokens=N_TOKENS, output_sequence_length=N_WORDS)"""

IMPUTED = 'SimpleImputer(strategy="median", keep_empty_features=True)'

DENSE = """\
def build_model(params):
    import keras

{first}
    for _ in range(params["n_layers"]):
        layers.append(keras.layers.Dense(params["units"], activation="relu"))
        if params["dropout"]:
            layers.append(keras.layers.Dropout(params["dropout"]))
{output}"""

OF_NUMBERS = """\
    layers = [keras.Input((N_INPUTS,))]"""

OF_WORDS = """\
    # The mean of the words' vectors. Masking what fills a text would make NaN of an empty one.
    layers = [keras.Input((N_WORDS,)), keras.layers.Embedding(N_TOKENS, 32)]
    layers.append(keras.layers.GlobalAveragePooling1D())"""

CONVOLUTIONAL = """\
def build_model(params):
    import keras

{prepare}
    for block in range({n_blocks}):
        filters = params["filters"] * 2**block
        layers.append(keras.layers.Conv2D(filters, 3, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D())
    layers.append(keras.layers.{pooled}())
    if params["dropout"]:
        layers.append(keras.layers.Dropout(params["dropout"]))
{output}"""

OUTPUT = """\
{last}
    model = keras.Sequential(layers)
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]),
        loss={loss},
        metrics={metrics},{compiled}
    )
    return model"""

WITHOUT_XLA = """
        # XLA takes several times as long for convolutions on processors, and to find that out.
        jit_compile=False,"""

SCALED_LOSS = '''\
def scaled_squared_error(y, predictions):
    """Each target's squared error as a share of its variance: none outweighs the others."""
    from keras import ops

    return ops.mean(ops.square((y - predictions) / ops.convert_to_tensor(SCALES)), axis=-1)'''

SAVED = """\
def build_model(params):
    return pipeline.saved_model(
        {path},
        project_of=__file__,
        sha256="{sha256}",
        learning_rate=params["learning_rate"],
        keep_weights={keep_weights},
        trust={trust},{compiled}
    )"""


def loss_of(target: Target) -> tuple[str, list[str]]:
    """Return the loss, as source, and the metrics of a task."""
    match target.task:
        case "regression":
            return ("scaled_squared_error" if len(target.names) > 1 else '"mse"'), ["mae"]
        case "labels":
            return '"binary_crossentropy"', ["binary_accuracy"]
    if target.n_outputs == 1:
        return '"binary_crossentropy"', ["accuracy", "auc"]
    return '"sparse_categorical_crossentropy"', ["accuracy"]


def numbers_as(*, scaled: bool) -> str:
    """Return the transformer of numbers, as source.

    scaled: standardise them, which is wrong for a model that keeps its weights
    """
    if not scaled:
        return IMPUTED
    return f"make_pipeline(\n    {IMPUTED},\n    StandardScaler(),\n)"


def preprocessing(*, numbers: bool, gaps: bool, levels: bool, missing: str, scaled: bool) -> str:
    """Return `preprocess = …` for a table with such columns."""
    parts = [
        NUMBERS.format(numbers=indent(numbers_as(scaled=scaled), 12 * " ")) if numbers else "",
        GAPS if gaps else "",
        LEVELS.format(missing=quoted(missing)) if levels else "",
    ]
    return PREPROCESS_TABLE.format(transformers="\n".join(filter(None, parts)))


def dense(target: Target, *, of_words: bool = False) -> str:
    """Return a builder of dense layers, on numbers or on the words of a text."""
    first = OF_WORDS if of_words else OF_NUMBERS
    return _with_loss(target, DENSE.format(first=first, output=_output(target)))


def convolutional(target: Target, shape: tuple[int, ...], brightest: float) -> str:
    """Return a builder of a small convolutional network.

    shape: of an image, height × width or height × width × channels
    brightest: the largest value of a pixel
    """
    side = min(shape[:2])
    n_blocks = min(4, max(1, int(math.log2(side)) - 1))
    prepare = ["    layers = [keras.Input(IMAGE)]"]
    if len(shape) == 2:
        prepare.append(f"    layers.append(keras.layers.Reshape({(*shape, 1)}))")
    if brightest > 1:
        prepare.append(f"    layers.append(keras.layers.Rescaling(1 / {brightest:g}))")
    builder = CONVOLUTIONAL.format(
        prepare="\n".join(prepare),
        n_blocks=n_blocks,
        pooled="Flatten" if side / 2**n_blocks <= 4 else "GlobalAveragePooling2D",
        output=_output(target, WITHOUT_XLA),
    )
    return _with_loss(target, builder)


def from_file(
    target: Target, path: str, sha256: str, *, compiled: bool, keep_weights: bool, trust: bool
) -> str:
    """Return a builder that reads a saved model; one that is not compiled gets the task's loss."""
    loss, metrics = loss_of(target)
    own = "" if compiled else f"\n        loss={loss},\n        metrics={quoted(metrics)},"
    builder = SAVED.format(
        path=quoted(path), sha256=sha256, keep_weights=keep_weights, trust=trust, compiled=own
    )
    return builder if compiled else _with_loss(target, builder)


def _output(target: Target, compiled: str = "") -> str:
    loss, metrics = loss_of(target)
    if target.task == "regression":
        n = target.n_outputs
        scale = "SCALES[0], CENTRES[0]" if n == 1 else "SCALES, CENTRES"
        last = (
            f"    layers.append(keras.layers.Dense({n}))\n"
            "    # From standard units to the target's own: learning does not depend on these.\n"
            f"    layers.append(keras.layers.Rescaling({scale}))"
        )
    else:
        several = target.task == "classification" and target.n_outputs > 1
        activation = "softmax" if several else "sigmoid"
        last = (
            f'    layers.append(keras.layers.Dense({target.n_outputs}, activation="{activation}"))'
        )
    return OUTPUT.format(last=last, loss=loss, metrics=quoted(metrics), compiled=compiled)


def _with_loss(target: Target, builder: str) -> str:
    has_own = loss_of(target)[0] == "scaled_squared_error"
    return f"{SCALED_LOSS}\n\n\n{builder}" if has_own else builder
