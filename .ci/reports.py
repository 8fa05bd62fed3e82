"""Summarize the test reports, and fail unless tests ran and passed in each environment.

The argument is the prefix of the environments' names. ddev does not fail if an interpreter is missing or if all tests
are skipped, so its exit code is not sufficient.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

# The tests that compare the checkout with release 5.0.0, and record how many servers and series.
COMPARISON = "testcase[@classname='tests.test_release_before']"
# The properties that tests/conftest.py records in each report.
VERSIONS = ("python", "gunicorn", "psutil", "datadog-checks-base")


def verdict(environment: str) -> tuple[bool, str]:
    """Return whether an environment's tests ran and passed, and a summary of them."""
    report = Path(f".venv/reports/{environment}.xml")
    if not report.exists():
        return False, f"{environment}: no report, so its tests did not complete"
    suite = next(ET.parse(report).iter("testsuite"))
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    skipped = int(suite.attrib["skipped"])
    passed = int(suite.attrib["tests"]) - failed - skipped
    recorded = {each.get("name"): each.get("value") for each in suite.findall("properties/property")}
    versions = ", ".join(f"{name} {recorded.get(name)}" for name in VERSIONS)
    lines = [f"{environment}: {passed} passed, {failed} failed, {skipped} skipped ({versions})"]
    lines += [f"    {line}" for line in summarize_comparison(suite)]
    reasons = Counter(each.get("message") for each in suite.iter("skipped"))
    lines += [f"    skipped {number}: {reason}" for reason, number in reasons.most_common()]
    return passed > 0 and not failed, "\n".join(lines)


def summarize_comparison(suite: ET.Element) -> Iterator[str]:
    """Yield one line about the comparison with release 5.0.0, if it ran."""
    counts: Counter[str] = Counter()
    for each in suite.iterfind(f"{COMPARISON}/properties/property"):
        counts[each.attrib["name"]] += int(each.attrib["value"])
    failed = [*suite.iterfind(f"{COMPARISON}[failure]"), *suite.iterfind(f"{COMPARISON}[error]")]
    if counts or failed:
        result = f"{len(failed)} failed" if failed else "no difference"
        yield f"compared with release 5.0.0: {counts['servers']} servers, {counts['series']} series, {result}"


def main(prefix: str) -> int:
    environments = json.loads(subprocess.check_output(["hatch", "env", "show", "--json"]))
    verdicts = [verdict(each) for each in environments if each.startswith(prefix)]
    for good, line in verdicts:
        print(line if good else f"FAILED {line}")
    return 0 if verdicts and all(good for good, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
