"""The tests that the documents name exist: a claim whose test was renamed or removed has none."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DECLARED = re.compile(r"^(?:TEST|TEST_F|TEST_P|RC_GTEST_PROP)\(\s*(\w+),\s*(\w+)", re.MULTILINE)
NAMED = re.compile(r"`([A-Z]\w+)\.(\*|[A-Z]\w+)`|`(Contract\d\d)`")


def declared_tests():
    tests = {}
    for source in (ROOT / "tests").rglob("*"):
        if source.suffix in (".cpp", ".cu"):
            for suite, name in DECLARED.findall(source.read_text()):
                tests.setdefault(suite, set()).add(name)
    return tests


def named_tests():
    """(document, suite, name or "*") for each test that a document names."""
    for document in sorted((ROOT / "docs").rglob("*.md")):
        for suite, name, contract in NAMED.findall(document.read_text()):
            yield document.relative_to(ROOT), suite or contract, name or "*"


class DocumentsNameTests(unittest.TestCase):
    def test_that_exist(self):
        tests = declared_tests()
        missing = [f"{document}: {suite}.{name}" for document, suite, name in named_tests()
                   if suite not in tests or (name != "*" and name not in tests[suite])]
        self.assertEqual(missing, [])

    def test_that_the_search_finds_some(self):
        self.assertGreater(len(declared_tests()["Contract01"]), 0)
        self.assertGreater(len(list(named_tests())), 10)


if __name__ == "__main__":
    unittest.main()
