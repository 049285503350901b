"""The limit: an epoch of the digits network written by hand, without Keras.

What a training loop costs when nothing is in its way: three matrix products forward, their
gradients, and Adam (Kingma & Ba 2015, algorithm 1), in one call compiled with XLA. For the study
`speed_studies/mlp.py` only.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tests.benchmarks.speed_turns import Job, Piece, Turns

SIZES = (64, 128, 64, 10)
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


class State(NamedTuple):
    """Weights and biases of each layer in turn, Adam's two moments of them, and its clock."""

    weights: tuple
    first: tuple
    second: tuple
    n_updates: Any


def limit(turns: Turns, job: Job) -> None:
    """Train the same epochs as the other ways, and log nothing. A piece is a trial."""
    spec, work = job.study, job.work
    x, y = spec.load_data()
    y = y.astype(np.int32)
    folds = list(spec.splitter.split(x, y))
    rng = np.random.default_rng(0)
    epoch_of = compiled_epoch()
    for number in range(job.n_trials):
        states = [initial_state(rng) for _ in folds]
        for _ in range(work.n_epochs):
            scores = []
            for index, (train, validation) in enumerate(folds):
                order = rng.permutation(train).astype(np.int32)
                n_full = len(order) // spec.batch_size * spec.batch_size
                states[index], score = epoch_of(
                    states[index],
                    x,
                    y,
                    order[:n_full].reshape(-1, spec.batch_size),
                    order[n_full:],
                    validation.astype(np.int32),
                    np.float32(job.learning_rate),
                )
                scores.append(score)
            losses = [float(score[2]) for score in scores]  # waits for the device
        turns.count(work.n_fold_epochs, sum(int(state.n_updates) for state in states))
        loss = float(np.mean(losses))
        turns.hand_over(Piece(number, job.learning_rate, work.n_fold_epochs, loss))
    turns.end()


def initial_state(rng: np.random.Generator) -> State:
    """Return Glorot-uniform weights, zero biases and zero moments."""
    weights: list[np.ndarray] = []
    for n_in, n_out in pairwise(SIZES):
        bound = np.sqrt(6 / (n_in + n_out))
        weights.append(rng.uniform(-bound, bound, (n_in, n_out)).astype(np.float32))
        weights.append(np.zeros(n_out, np.float32))
    zeros = tuple(np.zeros_like(weight) for weight in weights)
    return State(tuple(weights), zeros, zeros, np.int32(0))


def compiled_epoch() -> Callable[..., tuple[State, Any]]:
    """Return (state, x, y, full, last, validation, learning_rate) -> (state, scores [4]).

    full: rows [n_batches, batch_size]; last: rows of the smaller last batch
    scores: loss, accuracy, validation loss and validation accuracy
    """
    return tf.function(_epoch, jit_compile=True, autograph=False)


def _epoch(
    state: State, x: Any, y: Any, full: Any, last: Any, validation: Any, learning_rate: Any
) -> tuple[State, Any]:
    def update(state: State, sums: Any, rows: Any) -> tuple[State, Any]:
        gradients, scores = _gradients(state.weights, tf.gather(x, rows), tf.gather(y, rows))
        return _adam(state, gradients, learning_rate), sums + scores

    n_batches = full.shape[0]
    _, state, sums = tf.while_loop(
        lambda i, *_: i < n_batches,
        lambda i, state, sums: (i + 1, *update(state, sums, full[i])),
        (tf.constant(0), tf.nest.map_structure(tf.convert_to_tensor, state), tf.zeros(2)),
    )
    state, sums = update(state, sums, last)
    n_rows = full.shape[0] * full.shape[1] + last.shape[0]
    y_true = tf.gather(y, validation)
    *_, probabilities = _forward(state.weights, tf.gather(x, validation))
    held_out = _sums(probabilities, y_true) / tf.cast(tf.size(y_true), tf.float32)
    return state, tf.concat([sums / float(n_rows), held_out], 0)


def _forward(weights: tuple, x: Any) -> tuple[Any, Any, Any]:
    w1, b1, w2, b2, w3, b3 = weights
    h1 = tf.nn.relu(x @ w1 + b1)
    h2 = tf.nn.relu(h1 @ w2 + b2)
    return h1, h2, tf.nn.softmax(h2 @ w3 + b3)


def _gradients(weights: tuple, x: Any, y: Any) -> tuple[tuple, Any]:
    """Return the gradients of the mean cross-entropy, and the batch's summed loss and hits."""
    h1, h2, probabilities = _forward(weights, x)
    _, _, w2, _, w3, _ = weights
    d3 = (probabilities - tf.one_hot(y, SIZES[-1])) / float(x.shape[0])
    d2 = tf.matmul(d3, w3, transpose_b=True) * tf.cast(h2 > 0, tf.float32)
    d1 = tf.matmul(d2, w2, transpose_b=True) * tf.cast(h1 > 0, tf.float32)
    gradients: list[Any] = []
    for inputs, d in ((x, d1), (h1, d2), (h2, d3)):
        gradients += [tf.matmul(inputs, d, transpose_a=True), tf.reduce_sum(d, 0)]
    return tuple(gradients), _sums(probabilities, y)


def _sums(probabilities: Any, y: Any) -> Any:
    """Return the summed cross-entropy and the number of right answers, [2]."""
    own = tf.gather(probabilities, y, batch_dims=1)
    hits = tf.cast(tf.argmax(probabilities, 1, output_type=tf.int32) == y, tf.float32)
    return tf.stack([-tf.reduce_sum(tf.math.log(own)), tf.reduce_sum(hits)])


def _adam(state: State, gradients: tuple, learning_rate: Any) -> State:
    n = state.n_updates + 1
    power = tf.cast(n, tf.float32)
    rate = learning_rate * tf.sqrt(1 - BETA_2**power) / (1 - BETA_1**power)
    moments = list(zip(state.weights, state.first, state.second, gradients, strict=True))
    first = tuple(BETA_1 * m + (1 - BETA_1) * g for _, m, _, g in moments)
    second = tuple(BETA_2 * v + (1 - BETA_2) * g * g for _, _, v, g in moments)
    weights = tuple(
        w - rate * m / (tf.sqrt(v) + EPSILON)
        for w, m, v in zip(state.weights, first, second, strict=True)
    )
    return State(weights, first, second, n)
