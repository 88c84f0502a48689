"""Which sample comes when, whether it is mirrored and how it is changed: pure functions of (seed, epoch, position).

Nothing here has a state, so nothing has to be saved: a run that resumes at any sample of any epoch, with another
number of ranks or workers, sees the samples that the uninterrupted run would have seen.

The order of an epoch is the argsort of one 64-bit hash per sample (SplitMix64, Steele et al. 2014, "Fast splittable
pseudorandom number generators", with seed and epoch mixed into the start). It is a uniform shuffle of the whole
dataset, not of a window, because every reader of this package has random access. It does not depend on numpy's
generators, whose streams may change between versions. Cost: 16 bytes per sample and about 0.1 s per million samples.

Positions are cut into global batches of ``batch_size * world_size`` consecutive positions; rank r takes the r-th
slice of each. Two world sizes with the same global batch see the same samples in every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from arcface_paddle.errors import ConfigError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_ORDER_STREAM, _MIRROR_STREAM, _AUGMENT_STREAM = 1, 2, 3


def epoch_order(num_samples: int, *, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return (num_samples,) int64: the index of the sample at each position of an epoch."""
    if not shuffle:
        return np.arange(num_samples, dtype=np.int64)
    keys = splitmix64(np.arange(num_samples, dtype=np.uint64), _start(seed, epoch, _ORDER_STREAM))
    return np.argsort(keys, kind="stable")


def mirrored(indices: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Return (N,) bool: whether each sample is mirrored in this epoch, with probability 1/2."""
    keys = splitmix64(np.asarray(indices).astype(np.uint64), _start(seed, epoch, _MIRROR_STREAM))
    return (keys >> np.uint64(63)).astype(bool)


def augment_keys(indices: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Return (N,) uint64: the number from which each sample's random changes of this epoch follow."""
    return splitmix64(np.asarray(indices).astype(np.uint64), _start(seed, epoch, _AUGMENT_STREAM))


def _start(seed: int, epoch: int, stream: int) -> np.uint64:
    state = np.zeros(1, dtype=np.uint64)
    for word in (seed, epoch, stream):
        state = splitmix64(np.array([word % 2**64], dtype=np.uint64), state[0])
    return state[0]


def splitmix64(counters: np.ndarray, start: np.uint64) -> np.ndarray:
    """Return the counter-th outputs of the SplitMix64 generator that begins at ``start``; it wraps around at 2**64.

    Args:
        counters: (N,) uint64.
        start: uint64.
    """
    state = counters + np.uint64(1)
    state *= _GOLDEN
    state += start
    state ^= state >> np.uint64(30)
    state *= _MIX1
    state ^= state >> np.uint64(27)
    state *= _MIX2
    state ^= state >> np.uint64(31)
    return state


@dataclass(frozen=True)
class BatchOrder:
    """The batches of one rank.

    The samples at the end of an epoch that do not fill a global batch are left out of this epoch; the next epoch
    shuffles anew, so each sample is left out equally rarely. With ``drop_last=False`` the last batch is short.

    Attributes:
        num_samples: size of the dataset.
        batch_size: samples per step of one rank.
        rank: this rank.
        world_size: number of ranks.
        seed: the number from which the shuffle follows.
        shuffle: False keeps the order of the dataset.
        drop_last: whether an incomplete global batch is left out; must be True with several ranks.
    """

    num_samples: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.world_size < 1 or not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"batch_size {self.batch_size}, rank {self.rank}, world_size {self.world_size}; "
                "allowed: batch_size and world_size from 1, rank below world_size"
            )
        if not self.drop_last and self.world_size > 1:
            raise ConfigError("drop_last=False gives ranks batches of different sizes; use it with one rank only")
        if self.steps_per_epoch == 0:
            raise ConfigError(
                f"a global batch of {self.batch_size} x {self.world_size} samples does not fit into the dataset of "
                f"{self.num_samples}; make batch_size smaller"
            )

    @property
    def global_batch(self) -> int:
        """Samples per step of all ranks together."""
        return self.batch_size * self.world_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a whole epoch."""
        whole, rest = divmod(self.num_samples, self.global_batch)
        return whole + (0 if self.drop_last or rest == 0 else 1)

    def positions(self, *, start_sample: int = 0) -> Iterator[range]:
        """Give the positions of the epoch that make up this rank's batches.

        Args:
            start_sample: positions of the epoch already trained on by all ranks together; steps go on exactly
                there, also when it is no multiple of the global batch (another batch size after a resume).

        Raises:
            ConfigError: ``start_sample`` is negative or beyond the epoch.
        """
        if not 0 <= start_sample <= self.num_samples:
            raise ConfigError(f"start_sample is {start_sample}; allowed: 0 to {self.num_samples}")
        for begin in range(start_sample, self.num_samples, self.global_batch):
            if begin + self.global_batch > self.num_samples and self.drop_last:
                return
            first = begin + self.rank * self.batch_size
            yield range(first, min(first + self.batch_size, self.num_samples))

    def batches(self, epoch: int, *, start_sample: int = 0) -> Iterator[np.ndarray]:
        """Give the indices of this rank's batches, (batch_size,) int64 each; see ``positions``."""
        order = epoch_order(self.num_samples, seed=self.seed, epoch=epoch, shuffle=self.shuffle)
        for span in self.positions(start_sample=start_sample):
            yield order[span.start : span.stop]
