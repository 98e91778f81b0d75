# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Requirements on metrics, such as ``detection.ap>=0.3``, and their outcome as JUnit XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.evaluation.records import Json, Summary, value_at

GROUPS = (
    'detection', 'tracking', 'segmentation', 'depth', 'stability', 'cost', 'counts', 'latency_ms',
)  # fmt: skip

_FORM = re.compile(r'\s*([a-z][a-z0-9_.]*)\s*(>=|<=|>|<)\s*(\S+)\s*')
_SUITES = 'mt_perception evaluate'


@dataclass(frozen=True)
class Requirement:
    """A bound on one metric.

    Attributes:
        metric: Group and keys, as ``detection.ap`` or ``depth.median.abs_rel``.
        operator: One of ``>=``, ``<=``, ``>``, ``<``.
        bound: The bound.
    """

    metric: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f'{self.metric}{self.operator}{self.bound:g}'

    def accepts(self, value: float | None) -> bool:
        """Whether a value is measured and within the bound."""
        if value is None:
            return False
        return {
            '>=': value >= self.bound,
            '<=': value <= self.bound,
            '>': value > self.bound,
            '<': value < self.bound,
        }[self.operator]


@dataclass(frozen=True)
class Check:
    """The outcome of a requirement in one evaluation.

    Attributes:
        evaluation: Source, model and point of a sweep.
        requirement: The requirement.
        value: The metric; None where it was not measured.
    """

    evaluation: str
    requirement: Requirement
    value: float | None

    @property
    def passed(self) -> bool:
        """Whether the requirement is met."""
        return self.requirement.accepts(self.value)

    def __str__(self) -> str:
        found = 'was not measured' if self.value is None else f'is {self.value:.4g}'
        return f'{self.evaluation}: {self.requirement.metric} {found}, required {self.requirement}'


def parse_requirements(text: str) -> tuple[Requirement, ...]:
    """Parse ``detection.ap>=0.30,depth.abs_rel<=0.2``.

    Raises:
        OptionError: A part has another form, or names an unknown group of metrics.
    """
    requirements = []
    for part in text.split(','):
        found = _FORM.fullmatch(part)
        try:
            bound = float(found[3]) if found else float('nan')
        except ValueError:
            bound = float('nan')
        if found is None or bound != bound:
            raise OptionError(
                f'--require: expected METRIC>=NUMBER or METRIC<=NUMBER, for example '
                f'detection.ap>=0.3, found {part!r}'
            )
        group, dot, _ = found[1].partition('.')
        if group not in GROUPS or not dot:
            raise OptionError(
                f'--require: unknown metric {found[1]!r}; expected one of the groups '
                f'{", ".join(GROUPS)} and a name, for example detection.ap'
            )
        requirements.append(Requirement(found[1], found[2], bound))
    return tuple(requirements)


def check_requirements(
    requirements: Sequence[Requirement], summaries: Sequence[Summary]
) -> list[Check]:
    """Check every requirement in every evaluation."""
    return [
        Check(_name(summary), requirement, _value(summary, requirement.metric))
        for summary in summaries
        for requirement in requirements
    ]


def junit_xml(checks: Sequence[Check], failed: Sequence[tuple[str, str]] = ()) -> str:
    """JUnit XML with one test case for each check, and an error for each failed evaluation.

    Args:
        checks: The outcomes.
        failed: Source and reason of evaluations without a summary.
    """
    root = ET.Element('testsuites', name=_SUITES)
    suites: dict[str, ET.Element] = {}
    for check in checks:
        suite = suites.get(check.evaluation)
        if suite is None:
            suite = ET.SubElement(root, 'testsuite', name=_printable(check.evaluation))
            suites[check.evaluation] = suite
        case = _case(suite, check.evaluation, str(check.requirement))
        if not check.passed:
            ET.SubElement(case, 'failure', message=_printable(str(check)))
    for source, reason in failed:
        suite = ET.SubElement(root, 'testsuite', name=_printable(source))
        case = _case(suite, source, 'evaluation')
        ET.SubElement(case, 'error', message=_printable(reason))
    for suite in root:
        suite.set('tests', str(len(suite)))
        suite.set('failures', str(len(suite.findall('testcase/failure'))))
        suite.set('errors', str(len(suite.findall('testcase/error'))))
    ET.indent(root)
    text = ET.tostring(root, encoding='unicode')
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n"


def is_junit_xml(text: str) -> bool:
    """Whether a text is a result of ``junit_xml``."""
    return f'<testsuites name="{_SUITES}"' in text[:200]


def _case(suite: ET.Element, evaluation: str, name: str) -> ET.Element:
    return ET.SubElement(
        suite, 'testcase', classname=_printable(evaluation), name=_printable(name)
    )


def _name(summary: Summary) -> str:
    swept = summary.parameters.get('swept') or {}
    point = ', '.join(f'{name}={value}' for name, value in swept.items())
    return ' '.join(filter(None, (summary.source, str(summary.model.get('name', '')), point)))


def _value(summary: Summary, metric: str) -> float | None:
    """The metric of a summary; ``depth.abs_rel`` is short for ``depth.metric.abs_rel``."""
    group, *keys = metric.split('.')
    found: Json = {
        **summary.metrics,
        'counts': summary.counts,
        'latency_ms': summary.timing.get('latency_ms', {}).get('total', {}),
    }.get(group)
    if group == 'depth' and len(keys) == 1 and keys[0] not in (found or {}):
        keys = ['metric', *keys]
    return value_at(found, keys)


def _printable(text: str) -> str:
    """Text that XML 1.0 can hold; names come from bags and data sets."""
    return ''.join(c if c.isprintable() else '\N{REPLACEMENT CHARACTER}' for c in text)
