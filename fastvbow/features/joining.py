"""Several shards as one: what many small additions to a project leave behind, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastvbow.features.base import LocalFeatures, Modality
from fastvbow.features.store import FeatureShard, ImageRecord
from fastvbow.features.writer import shard_writer
from fastvbow.project import fingerprint_of

__all__ = ["join_shards"]


def join_shards(shards: Sequence[FeatureShard], folder: Path, key: str) -> None:
    """Write the images of several shards of the same kinds of features into one, in their order.

    Where the shards differ in what made a kind of feature (vectors from two files), the new one's ``made_by`` is like
    nobody's, so that nothing is taken over from it by mistake.

    Parameters
    ----------
    shards : sequence of FeatureShard
        At least one.
    folder : Path
        Where the new one shall stand.
    key : str
        See `fastvbow.features.store`.
    """
    modalities = [
        Modality(name, array.shape[1], array.dtype.name)
        for name in shards[0].card.rows
        for array in [shards[0].descriptors(name)]
    ]
    made_by = {}
    for name in shards[0].card.made_by:
        makers = [shard.card.made_by.get(name, "") for shard in shards]
        made_by[name] = makers[0] if len(set(makers)) == 1 else fingerprint_of(makers)
    with shard_writer(folder, key, modalities, made_by) as writer:
        for shard in shards:
            arrays = {
                m.name: (shard.offsets(m.name), shard.keypoints(m.name), shard.descriptors(m.name)) for m in modalities
            }
            for index, row in enumerate(shard.images.to_pylist()):
                features = None
                if row["reason"] is None:
                    features = {
                        name: LocalFeatures(
                            keypoints[offsets[index] : offsets[index + 1]],
                            descriptors[offsets[index] : offsets[index + 1]],
                        )
                        for name, (offsets, keypoints, descriptors) in arrays.items()
                    }
                writer.append(ImageRecord(features, **row))
