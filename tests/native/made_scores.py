"""Scores for the tests of calibration, and calibrators that have seen them."""

import numpy as np
from scipy import stats
from vadfast_kernels.score_chain.watch import Calibrator

WATCH = {"half_life_frames": 2000.0, "clip": 3.0, "max_drift": 0.5}

# What scores may look like: light, heavy and bounded tails, skew, and few distinct values.
DISTRIBUTIONS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "gamma": stats.gamma(3),
    "lognormal": stats.lognorm(0.5),
    "student, 5": stats.t(5),
    "uniform": stats.uniform(),
}


def draw(name: str, n: int, seed: int = 1) -> np.ndarray:
    return DISTRIBUTIONS[name].rvs(n, random_state=np.random.default_rng(seed))


def learned(x: np.ndarray, **options: float) -> Calibrator:
    calibrator = Calibrator(**options)
    calibrator.push(x)
    return calibrator


def watching(x: np.ndarray, **options: float) -> Calibrator:
    calibrator = Calibrator(**options)
    calibrator.restore(learned(x).save())
    return calibrator
