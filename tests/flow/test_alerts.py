# SPDX-License-Identifier: MPL-2.0
"""The alert rules: Prometheus takes them, they fire when they should, and what they look at is what a running shop tells."""

import os
import pathlib
import re
import shutil
import subprocess

from patience import stretched
from processes import request

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "alerts" / "larder.rules.yml"
CASES = ROOT / "tests" / "alerts" / "larder.rules.test.yml"
# These are told only when there is something to tell: an amount of money, a first answer.
BY_EVENT = {"larder_letters_value_minor", "larder_letters_buried_total", "larder_requests_total"}


def promtool(*arguments):
    """Prometheus' own checker: `make build/promtool` brings it."""
    program = ROOT / "build" / "promtool"
    found = str(program) if os.access(program, os.X_OK) else shutil.which("promtool")
    assert found, "promtool is not there: make build/promtool"
    return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=stretched(120), check=False, cwd=ROOT)


def test_prometheus_takes_the_rules():
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should():
    done = promtool("test", "rules", str(CASES))
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


def test_every_alert_says_what_to_do():
    rules = RULES.read_text().split("- alert: ")[1:]
    assert len(rules) >= 10
    for rule in rules:
        name = rule.split()[0]
        for words in ("severity:", "summary:", "description:", "runbook:"):
            assert words in rule, f"{name}: no {words}"


def test_a_running_shop_tells_what_the_rules_look_at(shop):
    expressions = re.findall(r"^ +expr: (.*)$", RULES.read_text(), re.M)
    wanted = set(re.findall(r"\blarder_[a-z_]+", " ".join(expressions)))
    status, _, told = request(shop.probes, "GET", "/metrics")
    assert status == 200 and wanted
    missing = {name for name in wanted - BY_EVENT if f"\n{name}" not in f"\n{told.decode()}"}
    assert not missing
