"""What a search would cost and use, found out without running it."""

from __future__ import annotations

from pipeline import optimization, tracking, training
from pipeline.data import load
from pipeline.folds import set_test_rows_aside, split
from pipeline.progress import duration
from pipeline.schedules import updates_per_epoch
from pipeline.spec import StudySpec
from pipeline.study_file import source_of


def cost_of(spec: StudySpec, *, tracking_uri: str | None, storage: str | None) -> str:
    """Check the study, time its model, and return a page that says what a search would cost.

    Raises what `search` would raise before its first trial. Writes nothing.
    """
    devices = training.set_up(spec.threads)
    data = load(spec.load_data)
    development, test = set_test_rows_aside(data, spec.test_size, spec.seed)
    folds = split(development, spec.splitter, spec.seed)
    model = training.check_model(spec, development, folds[0])
    measured = training.measured_engine(spec, development, tuple(folds))
    work = training.expected_work(spec, tuple(folds))
    typical = training.typical_params(spec)
    updates = [updates_per_epoch(len(fold.train), int(typical["batch_size"])) for fold in folds]
    most = spec.budget.n_trials * len(folds) * spec.longest_horizon
    home = source_of(spec.build_model, spec.load_data).home
    signature = spec.signature(data_fingerprint=data.fingerprint, splits_hash=folds.hash)
    folder = home / "mlruns" / "studies" / f"{spec.name}-{signature}"
    rows = {
        "study": f"{spec.name}, signature {signature}",
        "rows": f"{development.n_rows} in {len(folds)} fold(s) of "
        f"{min(len(f.train) for f in folds)}–{max(len(f.train) for f in folds)} training rows"
        + (f"; {test.n_rows} test rows set aside" if test else ""),
        "model": f"{model.count_params():,} parameters, {len(model.layers)} layers, at "
        + ", ".join(f"{k}={_short(v)}" for k, v in typical.items()),
        "space": ", ".join(spec.sampled) + (f"; fixed: {spec.fixed}" if spec.fixed else ""),
        "devices": ", ".join(devices),
        "engine": f"{measured.timing.mode} ({measured.reason})",
        "one epoch of one fold": f"{1e3 * measured.timing.fold_epoch_secs:.2g} ms, "
        f"{updates[0]} updates; {measured.timing.compile_secs:.1f} s to compile",
        "at most": f"{spec.budget.n_trials} trials, {most:,} fold-epochs, "
        f"{most * sum(updates) // len(updates):,} updates, "
        f"{duration(most * measured.timing.fold_epoch_secs)} of training",
        "expected": f"{work.n_fold_epochs:,.0f} fold-epochs after pruning and early stopping, "
        f"{work.n_programs} compiled programs, {duration(measured.timing.search_secs(work))}",
        "MLflow": tracking.mask_password(
            tracking_uri or f"sqlite:///{home / 'mlruns' / 'mlflow.db'}"
        ),
        "Optuna": optimization.masked(storage or folder / "journal.log"),
        "decision": str(folder / "decision.json"),
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
