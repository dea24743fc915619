# SPDX-License-Identifier: MPL-2.0
"""The mark `alone` for both conftests: what measures others meanwhile runs with no test beside it (tests/driven), in rounds (bystanders)."""

import pytest

import bystanders


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: measures others meanwhile, and so is run with no test beside it")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if pyfuncitem.get_closest_marker("alone") is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pylint: disable=protected-access
    bystanders.measure(lambda: pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
