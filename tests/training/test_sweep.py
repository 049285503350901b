"""The sweep of the learning rate against Keras's own batches."""

import keras
import numpy as np
import pytest

from pipeline.training import swept
from pipeline.training.models import fold_seed, row_order
from tests.training.models import case, dense, dropout


def sweep(case_, low=1e-4, high=1.0):
    return swept(case_.spec, case_.data, case_.folds, case_.params, low=low, high=high)


def test_a_point_is_the_mean_over_folds_of_the_loss_before_each_update():
    case_ = case(dense, engine="plain")
    found = sweep(case_)
    rates = np.geomspace(1e-4, 1.0, 100)
    np.testing.assert_allclose(found.learning_rates, rates)
    assert found.n_updates == 200
    theirs = np.array([losses_by_hand(case_, fold, rates[:7]) for fold in case_.folds]).mean(axis=0)
    np.testing.assert_allclose(found.losses[:7], theirs, rtol=1e-6)


def losses_by_hand(case_, fold, rates):
    """Return each update's loss: whole batches of 8 of 22 rows, so two an epoch."""
    keras.utils.set_random_seed(fold_seed(case_.spec.seed, fold.index))
    model = case_.spec.build_model(dict(case_.params))
    losses = []
    for number, rate in enumerate(rates):
        order = row_order(case_.spec.seed, fold.index, number // 2 + 1, fold.train)
        rows = order[number % 2 * 8 :][:8]
        model.optimizer.learning_rate = rate
        model.reset_metrics()
        losses.append(model.train_on_batch(case_.data.x[rows], case_.data.y[rows])[0])
    return losses


def test_it_ends_where_the_loss_explodes():
    found = sweep(case(dense), high=1e6)
    assert 10 < len(found.losses) < 100
    assert np.isfinite(found.losses).all()
    assert found.losses.max() <= 4 * found.losses[0]


@pytest.mark.parametrize("batch_size", [1, 22, 64])
def test_any_batch_size_has_updates(batch_size):
    assert len(sweep(case(dense, batch_size=batch_size), high=1e-3).losses) == 100


@pytest.mark.long
def test_a_model_that_no_compiled_epoch_holds_streams():
    def eager(params):
        model = dropout(params)
        model.run_eagerly = True
        return model

    found = sweep(case(eager, n_rows=16, batch_size=8), high=1e-3)
    assert len(found.losses) == 100
