"""The list of pitfalls in docs/methods.md is whole, and the tests that it names exist."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
N_PITFALLS = 23


def test_every_pitfall_names_tests_that_exist() -> None:
    text = (TESTS.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", text, flags=re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, N_PITFALLS + 1))
    for number, _, named in rows:
        places = re.findall(r"`((?:[a-z_]+/)+[a-z_*]*(?:\.py)?)(?:::([a-z_0-9]+))?", named)
        assert places, number
        for place, test in places:
            files = sorted(TESTS.glob(place.removeprefix("tests/")))
            assert files, (number, place)
            if test:
                source = "".join(file.read_text(encoding="utf-8") for file in files)
                assert f"def {test}" in source, (number, test)
        everything = "".join(
            file.read_text(encoding="utf-8")
            for place, _ in places
            for file in TESTS.glob(place.removeprefix("tests/"))
            if file.is_file()
        )
        for test in re.findall(r"`(test_[a-z_0-9]+)", named):
            assert f"def {test}" in everything, (number, test)
