"""The known faults can still be put in; `make faults` sees that the tests notice them."""

import shutil

import pytest

from tests.faults import HOME, apply, read_faults


@pytest.mark.skipif(not shutil.which("git"), reason="patches are applied by git")
@pytest.mark.parametrize("fault", read_faults(), ids=lambda fault: fault.patch.stem)
def test_a_known_fault_still_applies(fault):
    answer = apply(fault, HOME, "--check")
    assert answer.returncode == 0, answer.stderr
    assert fault.tests
    assert all((HOME / test).exists() for test in fault.tests)
