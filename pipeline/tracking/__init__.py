"""MLflow: the only folder that talks to it.

    store = open_store(None, home)                    # store.py: where, and can it be written
    with MetricWriter(store.client) as writer:        # writer.py: who writes, in the background
        study = StudyRun.open(store, writer, experiment="digits", signature="0a1b2c3d4e5f",
                              tags=provenance(home), params=spec.described())
        trial = study.start_trial(0, params)          # runs.py: study -> trials
        trial.log_epoch(1, epoch_metrics(...))        # records.py: what to log, as plain values
        trial.end(result, objective)
        study.end("FINISHED")

Read them in that order. Only `store.py` and `runs.py` know MLflow's client; `records.py` and
`provenance.py` never import it (importing MLflow takes two seconds).
"""
