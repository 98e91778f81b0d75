# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lists the licences of the packages in this environment: a table, or a CycloneDX SBOM.

`python tools/licences.py` prints a table, with `--cyclonedx sbom.json` it writes an SBOM.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import Distribution, distributions
from pathlib import Path


def licence(package: Distribution) -> str:
    """Return the declared licence: an SPDX expression, else classifiers, else a short text."""
    data = package.metadata
    declared = data.get('License-Expression')
    classes = [c.split(' :: ')[-1] for c in data.get_all('Classifier') or () if 'License ::' in c]
    text = (data.get('License') or '').strip().split('\n')[0]
    return declared or ', '.join(classes) or text or 'not declared'


def sbom(packages: list[Distribution]) -> dict[str, object]:
    """Return a CycloneDX 1.5 document."""
    parts = [
        {
            'type': 'library',
            'name': package.name,
            'version': package.version,
            'purl': f'pkg:pypi/{package.name.lower().replace("_", "-")}@{package.version}',
            'licenses': [{'license': {'name': licence(package)}}],
        }
        for package in packages
    ]
    return {'bomFormat': 'CycloneDX', 'specVersion': '1.5', 'version': 1, 'components': parts}


def main() -> None:
    """Print the table, or write the SBOM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cyclonedx', type=Path, metavar='FILE', help='write an SBOM')
    arguments = parser.parse_args()
    found = {package.name.lower(): package for package in distributions() if package.name}
    packages = [found[name] for name in sorted(found)]
    if arguments.cyclonedx:
        text = json.dumps(sbom(packages), indent=1)
        arguments.cyclonedx.write_text(text + '\n', encoding='utf-8')
        return
    print('| package | version | licence |\n|---|---|---|')
    for package in packages:
        print(f'| {package.name} | {package.version} | {licence(package)} |')


if __name__ == '__main__':
    main()
