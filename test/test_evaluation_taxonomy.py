# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names of data sets and labels of models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_class_names, read_taxonomy
from mt_perception.types import UNLABELLED

TAXONOMY = read_taxonomy()
COARSE = TAXONOMY.labels


def test_a_name_that_is_a_label_stays_itself() -> None:
    classes = ClassMap(('chair', 'seat'), ('chair', 'seat', 'object'), TAXONOMY)
    assert classes.detection_id('chair') == 0
    assert classes.segmentation_id('chair') == 0


def test_a_name_is_gathered_by_a_coarser_label() -> None:
    classes = ClassMap(('vehicle', 'person'), COARSE, TAXONOMY)
    assert classes.detection_id('car') == 0
    assert classes.detection_id('motorbike') == 0
    assert COARSE[classes.segmentation_id('floor-wood')] == 'ground'
    assert COARSE[classes.segmentation_id('sofa')] == 'seat'


def test_other_spellings() -> None:
    classes = ClassMap(('dining table', 'tv'), (), TAXONOMY)
    assert classes.detection_id('diningtable') == 0
    assert classes.detection_id('tvmonitor') == 1


def test_names_that_no_line_lists() -> None:
    classes = ClassMap(('person',), COARSE, TAXONOMY)
    assert classes.detection_id('banana') == -1
    assert COARSE[classes.segmentation_id('banana')] == 'object'
    without_rest = ClassMap((), ('person',), TAXONOMY)
    assert without_rest.segmentation_id('banana') == UNLABELLED


def test_exhaustive_classes_are_those_the_data_set_knows() -> None:
    classes = ClassMap(('person', 'vehicle', 'cup'), (), TAXONOMY)
    assert classes.exhaustive(['person']) == {0}
    assert classes.exhaustive(['person', 'car', 'bus', 'banana']) == {0, 1}


def test_table_of_pixel_values() -> None:
    table = ClassMap((), COARSE, TAXONOMY).segmentation_table(
        {0: 'unlabeled', 1: 'person', 190: 'floor-other-merged', 300: 'car'}
    )
    assert table[0] == UNLABELLED
    assert table[2] == UNLABELLED
    assert [COARSE[table[i]] for i in (1, 190, 300)] == ['person', 'ground', 'vehicle']
    assert table.dtype == np.uint8


def test_every_panoptic_name_has_a_place(data: Path) -> None:
    names = read_class_names(data / 'coco' / 'panoptic_classes.yaml')
    table = ClassMap((), COARSE, TAXONOMY).segmentation_table(names)
    assert all(table[value] < len(COARSE) for value in names if value)


@pytest.mark.parametrize(
    'text',
    ['', '[]', 'classes: []', 'classes: {a: [x], b: [x]}', 'classes: {a: [x]}\nrest: b', '{: {['],
)
def test_bad_taxonomies_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 't.yaml').write_text(text)
    with pytest.raises(SourceError, match=r't\.yaml'):
        read_taxonomy(tmp_path / 't.yaml')


@pytest.mark.parametrize('text', ['', 'classes: {a: b}', 'classes: {70000: b}', '{x: 1}'])
def test_bad_class_names_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 'n.yaml').write_text(text)
    with pytest.raises(SourceError, match=r'n\.yaml'):
        read_class_names(tmp_path / 'n.yaml')


def test_class_names_as_a_list(tmp_path: Path) -> None:
    (tmp_path / 'n.yaml').write_text('names: [background, person]')
    assert read_class_names(tmp_path / 'n.yaml') == {0: 'background', 1: 'person'}
