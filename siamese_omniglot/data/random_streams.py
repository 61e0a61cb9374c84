"""The random numbers of NumPy's `RandomState` for many seeds, in less time than NumPy needs to start it for each.

The generator is MT19937 (Matsumoto & Nishimura 1998, "Mersenne Twister: a 623-dimensionally equidistributed uniform
pseudorandom number generator"), started from an array of words as in their program of 2002.
"""
from __future__ import annotations

import random
from typing import Sequence

import numpy as np

_WORDS, _DISTANCE = 624, 397  # of the state; from a word to the one that it is combined with
_FIRST, _SECOND = np.uint32(1664525), np.uint32(1566083941)  # factors of the two rounds of the start
_FEW = 400  # seeds for which Python's generator takes less time than arrays


class NumpyStream(random.Random):
    """The random numbers of NumPy's `RandomState`. Both generators are MT19937; Python's takes less time to start."""

    def start(self, seed: Sequence[int]) -> None:
        """Do what `RandomState.seed` does with a list of words of 32 bits."""
        if seed[-1]:
            self.seed(sum(word << 32 * place for place, word in enumerate(seed)))
        else:  # of which Python's generator would drop the last words
            words = np.random.RandomState(list(seed)).get_state()[1]
            self.setstate((self.VERSION, (*words.tolist(), len(words)), None))

    def below(self, limit: int) -> int:
        """Do what `RandomState.randint` does."""
        num_bits = (limit - 1).bit_length()
        while num_bits:
            number = self.getrandbits(32) & ((1 << num_bits) - 1)
            if number < limit:
                return number
        return 0


def uniform(seeds: np.ndarray, num: int) -> np.ndarray:
    """Return the first random numbers in [0, 1) of each seed, float64 [seeds, num], those of `RandomState`.

    Seeds are integers below 2^32 [seeds, words]; `num` is at most 113.
    """
    if len(seeds) >= _FEW:
        return _doubles(_started(seeds.astype(np.uint32)), num)
    stream, rows = NumpyStream(), []
    for seed in seeds.tolist():
        stream.start(seed)
        rows.append([stream.random() for _ in range(num)])
    return np.array(rows)


def _started(seeds: np.ndarray) -> np.ndarray:
    """Return the states that seeds start, uint32 [624, seeds]."""
    words = [seeds[:, place] + np.uint32(place) for place in range(seeds.shape[1])]
    before = np.random.RandomState(19650218).get_state()[1]
    state, mixed = np.empty((_WORDS, len(seeds)), np.uint32), np.empty(len(seeds), np.uint32)
    state[0] = before[0]
    for number in range(1, _WORDS):
        np.bitwise_xor(_mix(state[number - 1], _FIRST, mixed), before[number], out=state[number])
        state[number] += words[(number - 1) % len(words)]
    state[1] = (state[1] ^ _mix(state[-1], _FIRST, mixed)) + words[(_WORDS - 1) % len(words)]
    for number in (*range(2, _WORDS), 1):
        state[number] ^= _mix(state[number - 1 if number > 1 else -1], _SECOND, mixed)
        state[number] -= np.uint32(number)
    state[0] = 1 << 31
    return state


def _mix(words: np.ndarray, factor: np.uint32, out: np.ndarray) -> np.ndarray:
    np.right_shift(words, np.uint32(30), out=out)
    np.bitwise_xor(out, words, out=out)
    return np.multiply(out, factor, out=out)


def _doubles(state: np.ndarray, num: int) -> np.ndarray:
    """Return the first numbers that come from states, float64 [states, num]; each takes two words."""
    count = 2 * num
    words = (state[:count] & np.uint32(1 << 31)) | (state[1:count + 1] & np.uint32((1 << 31) - 1))
    words = (words >> np.uint32(1)) ^ ((words & np.uint32(1)) * np.uint32(0x9908b0df))
    words ^= state[_DISTANCE:_DISTANCE + count]
    words ^= words >> np.uint32(11)
    words ^= (words << np.uint32(7)) & np.uint32(0x9d2c5680)
    words ^= (words << np.uint32(15)) & np.uint32(0xefc60000)
    words ^= words >> np.uint32(18)
    high, low = words[::2] >> np.uint32(5), words[1::2] >> np.uint32(6)
    return ((high * 2.0 ** 26 + low) / 2.0 ** 53).T
