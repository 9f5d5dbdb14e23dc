"""`make lint` as tests, one for each of its checks."""
# SPDX-License-Identifier: MIT
import pytest

import lint


@pytest.mark.parametrize("name", lint.CHECKS)
def test_lint(name):
    problems = lint.CHECKS[name]()
    if problems:
        pytest.fail("\n".join(problems), False)
