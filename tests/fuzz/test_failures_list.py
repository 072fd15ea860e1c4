"""docs/failures.md is whole, and the tests that it names exist."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
N_FAULTS = 25


def test_every_fault_has_tests_that_exist_or_cannot_happen() -> None:
    text = (TESTS.parent / "docs" / "failures.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in row] for row in rows if "tests" not in row[-1].split()]
    numbers = [int(row[0]) for row in rows if row[0].isdigit()]
    assert numbers == list(range(1, N_FAULTS + 1))
    for row in rows:
        files, source = 0, ""
        for place, test in re.findall(r"`([a-z_0-9/]+\.py)`|`(test_[a-z_0-9]+)`", row[-1]):
            if place:
                source = (TESTS / place).read_text(encoding="utf-8")
                files += 1
            else:
                assert f"def {test}(" in source, (row[0], test)
        assert files or row[-1] == "cannot happen", row[0]
