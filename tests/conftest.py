"""conftest.py - fixtures of every pytest suite: a scratch folder, the peers, the system under test."""

import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import pp_ca  # noqa: E402
import pp_harness  # noqa: E402
import pp_peers  # noqa: E402
import pp_sanitizer  # noqa: E402
import pp_scratch  # noqa: E402

pp_sanitizer.collect()

# Who runs the tests in the background ignores these, and so would every program that they start.
for ignored in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.default_int_handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what every program of the test logged."""
    outcome = yield
    report = outcome.get_result()
    scratch = item.funcargs.get("scratch") if hasattr(item, "funcargs") else None
    if report.failed and scratch is not None:
        report.sections.append(("logs", scratch.report()))


@pytest.fixture(autouse=True)
def sanitizer_is_silent():
    """Set up first, so it looks when everything that the test started has ended."""
    yield
    said = pp_sanitizer.take()
    assert not said, said


@pytest.fixture
def scratch():
    area = pp_scratch.Scratch()
    yield area
    area.close()


@pytest.fixture
def sink(scratch):
    """An SMTP server that keeps what it gets."""
    return pp_peers.Sink(scratch)


@pytest.fixture
def system(scratch):
    """The system under test, not started."""
    return pp_harness.system_under_test(scratch)


@pytest.fixture
def relayed(system, sink):
    """The system under test, started, with everything relayed to the sink."""
    return system.relay_to(sink).start()


@pytest.fixture(scope="session")
def ca():
    area = pp_scratch.Scratch("pp-ca")
    yield pp_ca.Authority(area.path)
    area.close()


@pytest.fixture(scope="session")
def shim():
    """crash/fault.c as a library for LD_PRELOAD."""
    area = pp_scratch.Scratch("pp-fault")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "crash", "fault.c")
    library = os.path.join(area.path, "fault.so")
    pp_scratch.must(["gcc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", source, "-o", library, "-ldl"])
    yield library
    area.close()


@pytest.fixture
def root():
    if not pp_scratch.is_root():
        pytest.skip("needs root")
