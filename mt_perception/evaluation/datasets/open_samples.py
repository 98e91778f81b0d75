# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Opens a source of samples with ground truth by the path of a bag, data set or video."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.dataset_folder import DatasetFolder
from mt_perception.evaluation.datasets.layout import (
    DEPTH_FOLDER,
    INSTANCES_FILE,
    LABEL_FOLDERS,
    find_layout,
)
from mt_perception.evaluation.datasets.sample_source import (
    Camera,
    FrameSamples,
    SampleSource,
    source_name,
)
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_class_names
from mt_perception.evaluation.datasets.truth_files import TruthFiles
from mt_perception.evaluation.datasets.truth_topics import TopicTruth, TruthTopics, check_topics
from mt_perception.sources import is_bag, open_source
from mt_perception.sources.bag import Bag


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source; plain values, which can be sent to other processes.

    Attributes:
        topic: The image topic of a bag with several.
        truth_topics: The topics of a bag that hold ground truth.
        tolerance_ms: Largest difference in time between an image and its ground truth.
        truth: A folder of ground truth, for a source that has none.
        class_names: A YAML file with the names of numeric class ids.
        split: The part of a data set to use.
        keys: Use only images of these keys (names without the suffix) of a folder.
        camera: The camera; it replaces the one of the source.
    """

    topic: str | None = None
    truth_topics: TruthTopics = field(default_factory=TruthTopics)
    tolerance_ms: float = 20.0
    truth: str | None = None
    class_names: str | None = None
    split: str | None = None
    keys: frozenset[str] | None = None
    camera: Camera | None = None


def check_source(source: str, options: SourceOptions) -> None:
    """Check, before a model is loaded, that a source exists and a bag has the topics.

    Raises:
        SourceError: It does not exist, or the topics are wrong.
    """
    path = _existing(source)
    if is_bag(path):
        check_topics(path, options.topic, options.truth_topics)


def open_samples(
    source: str, options: SourceOptions, classes: ClassMap, name: str | None = None
) -> SampleSource:
    """Open a bag, a data set, a folder of images or a video.

    Args:
        source: The path.
        options: How to read it.
        classes: The labels of the model that is evaluated.
        name: Name of the source; by default that of the file or folder.

    Returns:
        The samples; use them in ``with``.

    Raises:
        SourceError: The path does not exist, or cannot be read as one of these.
    """
    path = _existing(source)
    name = name or source_name(source)
    class_names = None if options.class_names is None else Path(options.class_names)
    beside = None
    if options.truth is not None:
        beside = TruthFiles(Path(options.truth), classes, class_names, options.split)
        if not beside.kinds:
            found = (
                f'{options.truth} has no ground truth for this model: expected {INSTANCES_FILE},'
            )
            found += f' gt/gt.txt, {LABEL_FOLDERS[0]}/ or {DEPTH_FOLDER}/'
            raise SourceError('; '.join([found, *beside.notes]))
    if is_bag(path):
        return _open_bag(path, name, options, classes, beside)
    if path.is_dir():
        files = beside or TruthFiles(path, classes, class_names, options.split)
        layout = files.layout if beside is None else find_layout(path, options.split)
        return DatasetFolder(layout, name, files, options.split, options.camera, options.keys)
    return FrameSamples(name, 'video', open_source(path), beside, options.camera)


def _existing(source: str) -> Path:
    path = Path(os.path.expanduser(source))
    if not source.strip() or not os.path.exists(path):
        raise SourceError(
            f'{source!r} does not exist; expected a bag, a data set, a folder of images or a video'
        )
    return path


def _open_bag(
    path: Path,
    name: str,
    options: SourceOptions,
    classes: ClassMap,
    beside: TruthFiles | None,
) -> FrameSamples:
    frames = Bag(path, options.topic)
    names = None
    if options.class_names is not None:
        names = read_class_names(Path(options.class_names))
    try:
        topics = TopicTruth(
            path,
            frames.name,
            classes,
            options.truth_topics,
            round(options.tolerance_ms * 1e6),
            names,
        )
    except SourceError:
        frames.close()
        raise
    return FrameSamples(name, 'bag', frames, beside, options.camera, topics)
