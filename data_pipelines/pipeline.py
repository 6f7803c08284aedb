"""The road from raw videos to shards: read, measure, compare, decide, write."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_pipelines.comparing import compare
from data_pipelines.config import PruneConfig
from data_pipelines.decisions import Decisions, decide
from data_pipelines.evaluation_sets import EvaluationSet, count_compared, read_evaluation_sets
from data_pipelines.existing import existing_summary, hash_input
from data_pipelines.ingest.fetch import ChangedVideoError, clear_copies
from data_pipelines.ingest.read import read_records
from data_pipelines.ingest.records import Records
from data_pipelines.media import MediaSettings
from data_pipelines.media_stage import MediaWork
from data_pipelines.outputs import write_pictures, write_tables
from data_pipelines.scoring import Model, Scored, Stages, score
from data_pipelines.sharding import frames_setting, no_places, sample_kept, without, write_shards
from data_pipelines.summary import Summary, Tally, count_reasons, tally
from data_pipelines.writing import explain_full_disk
from recot.atomic import new_folder, sole_process
from recot.data.shard_index import planned_visual_tokens
from recot.errors import DataError
from recot.video_io import VideoLimits

_MIB = 2**20


@dataclass(frozen=True)
class Models:
    """What the entry hands in; None for what isn't there."""

    encoder: Model | None = None
    language_model: Model | None = None
    video_lm: Model | None = None

    def identities(self) -> list[dict[str, Any] | None]:
        """What tells each from others."""
        return [None if m is None else dict(m.identity) for m in (self.encoder, self.language_model, self.video_lm)]


def prune(config: PruneConfig, models: Models) -> Summary:
    """Make ``config.output`` from ``config.source``: shards, manifest, audit, report, ``summary.json``.

    The output appears whole at the end. One that exists, made with the same config from the same input, is left as
    it is. What was measured stays in ``config.scores``, so a run that was killed goes on, and other thresholds don't
    need the videos again.

    Raises:
        ConfigError: for impossible values.
        DataError: if the source or the output can't be used, if another process is making it, or if no video is left
            to write.
    """
    config.check()
    frames_setting(config)  # impossible values are told before anything is measured
    output = Path(config.output)
    name = hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:16]
    # From the start, so that a second run of one command finds the first one at work, or its output whole.
    with sole_process(Path(config.scores) / f"{name}.lock", output):
        return _prune(config, models, output)


def _prune(config: PruneConfig, models: Models, output: Path) -> Summary:
    scratch = Path(config.scores) / "scratch"
    clear_copies(scratch)
    read = partial(read_records, scratch=scratch, leave_out=[Path(config.scores), output])
    records = read(config.source, video_root=config.video_root)
    evaluation = read_evaluation_sets(config.evaluation_sets, partial(read, video_root=None))
    input_hash = hash_input([records, *evaluation], models.identities())
    existing = existing_summary(config, output, [records, *evaluation], input_hash)
    if existing is not None:
        sys.stdout.write(f"{output} is up to date: same input, same config. Nothing to do.\n{existing.table(output)}\n")
        return existing
    stages = _stages(config, models, scratch)
    scored, compared = _score(records, evaluation, config, stages)
    with _inspect_changed_again(scored, stages):
        scored, decisions = _decide(scored, config)
        replace_it = config.overwrite or Summary.read(output) is not None
        with explain_full_disk(output), new_folder(output, replace=replace_it) as folder:
            places = (
                write_shards(folder, config, scored, decisions, scratch)
                if config.write_shards
                else no_places(scored, decisions)
            )
            summary = _summarize(config, input_hash, records, decisions, places, compared)
            write_tables(folder, config, records, scored, decisions, places)
            write_pictures(folder, config, records, scored, decisions, stages.media_ledger(), compared)
            summary.write(folder)
    sys.stdout.write(f"{summary.table(output)}\n")
    return summary


@contextmanager
def _inspect_changed_again(scored: Scored, stages: Stages) -> Iterator[None]:
    """A video that changed within the block ends the run; the next one measures it anew."""
    try:
        yield
    except ChangedVideoError as error:
        place = scored.videos["uri"].to_pylist().index(error.uri)
        stages.media_ledger().forget(scored.media_items[place])
        raise


def _stages(config: PruneConfig, models: Models, scratch: Path) -> Stages:
    limits = config.limits
    media = MediaWork(
        settings=MediaSettings(config.scorers.frame_size, config.scorers.frames),
        limits=VideoLimits(limits.max_side, limits.max_duration_s, limits.max_pixels, limits.timeout_s),
        max_bytes=limits.max_file_mib * _MIB,
        memory_bytes=limits.memory_mib * _MIB,
        recycle_after=limits.recycle_after,
        scratch=scratch.resolve(),
    )
    return Stages(
        scores=Path(config.scores).resolve(),
        media=media,
        encoder=models.encoder,
        language_model=models.language_model,
        video_lm=models.video_lm,
        choice_instruction=config.scorers.choice_instruction,
        workers=config.worker_count(),
        model_workers=config.scorers.workers or config.worker_count(),
        address=config.engine.address,
    )


def _score(
    records: Records, evaluation: list[Records], config: PruneConfig, stages: Stages
) -> tuple[Scored, list[EvaluationSet]]:
    """Measure of the evaluation sets what is compared, and the input; compare all videos and questions.

    Raises:
        DataError: if the videos of an evaluation set aren't there; before the input takes its time.
    """
    tokens = partial(planned_visual_tokens, fps=config.sampling.fps, tokens_per_group=config.sampling.tokens_per_group)
    measure = partial(score, licence=config.licence, tokens=tokens)
    to_compare = replace(stages, language_model=None, video_lm=None)
    others = [measure(other.videos, to_compare) for other in evaluation]
    compared = count_compared(config.evaluation_sets, evaluation, [other.videos for other in others])
    scored = measure(records.videos, stages)
    pruning = config.pruning
    scored = compare(
        scored,
        others,
        duplicates=pruning.duplicates,
        decontamination=pruning.decontamination,
        clusters=pruning.clusters,
    )
    return scored, compared


def _decide(scored: Scored, config: PruneConfig) -> tuple[Scored, Decisions]:
    """What to keep. A kept video whose frames can't be sampled is lost alone, and then all is decided again."""
    while True:
        decisions = decide(scored.videos, scored.samples, config.pruning.policy)
        if config.write_shards:
            _require_some(config, scored.videos, decisions)
        failures = sample_kept(config, scored, decisions)
        if not failures:
            return scored, decisions
        scored = without(scored, failures)


def _require_some(config: PruneConfig, videos: pa.Table, decisions: Decisions) -> None:
    """Raise ``DataError`` if nothing is kept."""
    if "keep" in decisions.videos["decision"].to_pylist():
        return
    reasons = decisions.videos["reason_codes"].to_pylist()
    counted = ", ".join(f"{count} x {reason}" for reason, count in count_reasons(reasons).items())
    detail = videos["error_detail"][0].as_py() or ", ".join(reasons[0])
    raise DataError(
        f"source={config.source}: none of {len(videos)} videos is kept ({counted}). First one: "
        f"{videos['video_id'][0].as_py()}: {detail}. Check the paths (video_root={config.video_root}) and files, or "
        "the policy: pruning=none keeps all that decodes."
    )


def _summarize(
    config: PruneConfig,
    input_hash: str,
    records: Records,
    decisions: Decisions,
    places: pa.Table,
    compared: list[EvaluationSet],
) -> Summary:
    splits = [name for name in places["split"].to_pylist() if name is not None]
    return Summary(
        config_hash=config.hash(),
        input_hash=input_hash,
        videos=tally(decisions.videos),
        rows=Tally(records.rows, records.rows - len(records.rejected), len(records.rejected)),
        questions=tally(decisions.samples),
        splits={name: splits.count(name) for name in dict.fromkeys(splits)},
        video_reasons=count_reasons(decisions.videos["reason_codes"].to_pylist()),
        question_reasons=count_reasons(decisions.samples["reason_codes"].to_pylist()),
        row_reasons=count_reasons([row.reason] for row in records.rejected),
        not_judged=list(decisions.not_judged),
        renamed_ids=records.renamed_ids,
        ignored_files=records.ignored_files,
        evaluation_sets=compared,
    )
