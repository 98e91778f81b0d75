# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One evaluation as plain data (source, model, settings, folder), and how it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.pseudo_truth import SURE, ReferenceSource
from mt_perception.evaluation.datasets.sample_source import SampleSource
from mt_perception.evaluation.datasets.taxonomy import DEFAULT_TAXONOMY, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.datasets.truth_topics import OFF, TruthTopics
from mt_perception.evaluation.exports.coco_folder import CocoFolder
from mt_perception.evaluation.exports.rerun_file import RerunFile
from mt_perception.evaluation.exports.result_bag import ResultBag
from mt_perception.evaluation.inputs import differences, input_state
from mt_perception.evaluation.metrics.cost import CostMetric
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.evaluation.metrics.stability import StabilityMetric
from mt_perception.evaluation.metrics.tracking import TrackingMetric
from mt_perception.evaluation.output import OutputFolder
from mt_perception.evaluation.predictor import Predictor, RunSettings, model_sha256, open_predictor
from mt_perception.evaluation.record_writer import RecordWriter
from mt_perception.evaluation.records import (
    FRAMES_FILE,
    SUMMARY_FILE,
    Json,
    Metric,
    Summary,
    count_records,
    read_summary,
    to_json,
)
from mt_perception.evaluation.runner import Progress, evaluate, run_all
from mt_perception.model.folder import MANIFEST
from mt_perception.planning.budget import Budget
from mt_perception.types import Result

BAG_FOLDER = 'results'


@dataclass(frozen=True)
class Job:
    """One source, evaluated with one model and one set of parameters.

    Attributes:
        source: The path of the source.
        model: The model folder, or a baseline such as ``onnx:…``.
        folder: Output folder of records and summary.
        name: Name of the source.
        source_options: How to read the source.
        settings: How to run the model.
        taxonomy: The file that maps class names of data sets to labels.
        reference: A model folder for pseudo ground truth, or None.
        limit: Largest number of samples; None for all.
        save_bag: Whether to write the results as a bag too.
        rerun: File for a recording of the Rerun viewer, or None.
        coco: Folder for images, ground truth and detections in COCO's formats, or None.
        swept: The parameters that differ between the jobs of a sweep, by name.
        at_once: Number of jobs that share the machine; more than one makes times longer.

    Example:
        >>> from pathlib import Path
        >>> from mt_perception.evaluation.job import Job
        >>> Job('my_bag', 'models/cspnano', Path('out'), limit=10).parameters['limit']
        10
    """

    source: str
    model: str
    folder: Path
    name: str | None = None
    source_options: SourceOptions = field(default_factory=SourceOptions)
    settings: RunSettings = field(default_factory=RunSettings)
    taxonomy: Path = DEFAULT_TAXONOMY
    reference: str | None = None
    limit: int | None = None
    save_bag: bool = False
    rerun: Path | None = None
    coco: Path | None = None
    swept: tuple[tuple[str, Json], ...] = ()
    at_once: int = 1

    @property
    def parameters(self) -> dict[str, Json]:
        """All parameters by name; equal parameters and data give equal records."""
        plain: dict[str, Json] = to_json(
            {
                **asdict(self.settings.options),
                'providers': self.settings.providers,
                'threads': self.settings.threads,
                'tasks': self.settings.tasks,
                **({'offload': self.settings.offload} if self.settings.offload else {}),
                **({'codec': self.settings.codec} if self.settings.codec else {}),
                'budget': asdict(self.settings.budget),
                'model': self.model,
                'source': self.source,
                'source_options': asdict(self.source_options),
                'reference': self.reference,
                'limit': self.limit,
                'swept': dict(self.swept),
            }
        )
        return plain

    @property
    def inputs(self) -> dict[str, str]:
        """Role of each input but the model → its ``input_state``."""
        paths = {
            'source': self.source,
            'truth': self.source_options.truth,
            'class_names': self.source_options.class_names,
            'taxonomy': self.taxonomy,
            'reference': self.reference and Path(self.reference) / MANIFEST,
            'depth_calibration': self.settings.options.depth_calibration,
        }
        return {role: input_state(Path(path)) for role, path in paths.items() if path}

    def earlier(self) -> tuple[Summary, tuple[str, ...]] | None:
        """A completed evaluation with all records in this job's folder; None if there is none.

        Returns:
            Its summary, and what differs from this job: names of parameters with both values, and
            of inputs whose content changed since. Empty for the same evaluation.
        """
        path = self.folder / SUMMARY_FILE
        if not (path.is_file() and (self.folder / FRAMES_FILE).is_file()):
            return None
        try:
            summary = read_summary(path)
        except SourceError:
            return None
        if summary.counts.get('frames') != count_records(self.folder / FRAMES_FILE):
            return None
        found = differences(summary.parameters, self.parameters)
        # Where the path is another one, the parameters say it.
        if not found:
            if summary.model.get('sha256') != model_sha256(self.model):
                found.append(f'the content of the model {self.model}')
            before, now = summary.data.get('inputs', {}), self.inputs
            found += [f'the content of the {k}' for k in before if before[k] != now.get(k)]
        return summary, tuple(found)

    def finished(self) -> Summary | None:
        """The summary of a completed earlier run of this job, or None."""
        earlier = self.earlier()
        return earlier[0] if earlier is not None and not earlier[1] else None


def all_metrics() -> list[Metric]:
    """All metrics; those without ground truth stay empty."""
    return [
        DetectionMetric(),
        SegmentationMetric(),
        DepthMetric(),
        TrackingMetric(),
        StabilityMetric(),
        CostMetric(),
    ]


def run_job(
    job: Job, progress: Progress = lambda done, total: None, predictor: Predictor | None = None
) -> Summary:
    """Run one evaluation.

    Args:
        job: The evaluation.
        progress: Called after each frame.
        predictor: The loaded model; None loads it.

    Raises:
        PerceptionError: The source or the model cannot be read, or the folder not written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import cv2, numpy as np
        >>> from mt_perception.evaluation.job import Job, run_job
        >>> from mt_perception.resources import find_model
        >>> folder, model = Path(tempfile.mkdtemp()), str(find_model('cspnano'))
        >>> _ = cv2.imwrite(str(folder / 'a.png'), np.zeros((240, 320, 3), np.uint8))
        >>> run_job(Job(str(folder), model, folder / 'out', reference=model)).counts['frames']
        1
    """
    # Before anything is read: a change during the run is then noticed, too.
    inputs = job.inputs
    with open_job(job, predictor) as (samples, predictor), ExitStack() as stack:
        # Only now: a source or model that cannot be opened must not leave a folder behind.
        stack.enter_context(OutputFolder(job.folder).exclusive())
        writer = stack.enter_context(RecordWriter(job.folder))
        exports = list(_exports(job))
        for export in exports:
            stack.enter_context(export)

        def keep(sample: Sample, result: Result) -> None:
            for export in exports:
                export.add(sample, result)

        return evaluate(
            samples,
            predictor,
            all_metrics(),
            writer,
            parameters=job.parameters,
            inputs=inputs,
            at_once=job.at_once,
            limit=job.limit,
            progress=progress,
            keep=keep,
        )


def revisit(job: Job, keys: set[str]) -> Iterator[tuple[Sample, Result]]:
    """Run a job's samples of these keys again, for pictures; results are the same.

    Within a budget a result depends on the frames before it, so those run too.

    Raises:
        PerceptionError: As for ``run_job``.
    """
    with open_job(job) as (samples, predictor):
        if job.settings.budget == Budget():
            wanted = (sample for sample in samples if sample.key in keys)
            yield from run_all(wanted, predictor, len(keys))
            return
        left = set(keys)
        for sample, result in run_all(samples, predictor, job.limit):
            if sample.key in left:
                left.remove(sample.key)
                yield sample, result
            if not left:
                return


@contextmanager
def open_job(
    job: Job, predictor: Predictor | None = None
) -> Iterator[tuple[SampleSource, Predictor]]:
    """Load the model, unless it is given, and open the source of a job.

    Raises:
        PerceptionError: One of them cannot be opened.
    """
    predictor = predictor or open_predictor(job.model, job.settings)
    classes = predictor.classes(read_taxonomy(job.taxonomy))
    options = job.source_options
    if job.reference is not None:
        # The source's own ground truth is not used, so errors in it do not matter.
        options = replace(options, truth=None, truth_topics=TruthTopics(OFF, OFF, OFF))
    samples = open_samples(job.source, options, classes, job.name)
    with samples:
        if job.reference is not None:
            sure = replace(job.settings.options, score_threshold=SURE)
            # The reference has no budget and gets frames without loss.
            whole = replace(job.settings, options=sure, budget=Budget(), codec='')
            reference = open_predictor(job.reference, whole)
            samples = ReferenceSource(samples, reference, classes)
        yield samples, predictor


def _exports(job: Job) -> Iterator[ResultBag | RerunFile | CocoFolder]:
    """The other formats that a job writes."""
    if job.save_bag:
        yield ResultBag(job.folder / BAG_FOLDER)
    if job.rerun is not None:
        yield RerunFile(job.rerun)
    if job.coco is not None:
        yield CocoFolder(job.coco)
