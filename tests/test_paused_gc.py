import gc

import pytest

from duet_av.av_models.paused_gc import paused_gc


def test_the_collector_pauses_and_goes_on():
    with paused_gc():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_the_collector_goes_on_after_a_failed_import():
    with pytest.raises(ModuleNotFoundError), paused_gc():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with paused_gc(), paused_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_frozen_stays_frozen():
    gc.freeze()
    try:
        with paused_gc():
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_garbage_of_the_pause_is_collected_later():
    class Cycle:
        freed = 0

        def __del__(self):
            Cycle.freed += 1

    with paused_gc():
        cycle = Cycle()
        cycle.itself = cycle
        del cycle
    assert not Cycle.freed
    gc.collect()
    assert Cycle.freed == 1
