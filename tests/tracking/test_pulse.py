"""What tells a running study from one that was killed outright."""

import time
from datetime import datetime

from pipeline.tracking.pulse import PULSE_TAG, alive


def last_seen(store, study):
    study.flush()
    tag = store.client.get_run(study.run_id).data.tags[PULSE_TAG]
    return datetime.strptime(tag, "%Y-%m-%d %H:%M:%S UTC")


def test_a_running_study_is_seen_again_and_again_and_an_ended_one_no_more(store, open_study):
    study = open_study()
    with alive(study, every_secs=0.1):
        first = last_seen(store, study)
        deadline = time.monotonic() + 60
        while last_seen(store, study) == first:
            assert time.monotonic() < deadline
    last = last_seen(store, study)
    time.sleep(1.2)
    assert last_seen(store, study) == last > first


def test_while_the_store_is_away_nothing_gathers(open_study, writer):
    study = open_study()
    study.flush()
    writer.is_away = True
    with alive(study, every_secs=0.001):
        time.sleep(0.05)
    assert not writer._pending
