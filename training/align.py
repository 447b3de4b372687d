"""Two sounds of the same words laid over each other: dynamic time warping over mel spectrograms (Sakoe and Chiba 1978)."""
import numpy as np

COEFFICIENTS = 14   # of the cosine transform of a column: its envelope, without the pitch
STILL, FAST = 0.25, 0.15  # what a step costs that moves on by none or by two columns


def features(mel):
    """(n, 2 * COEFFICIENTS): shape and loudness of each column and how they change; each of variance 1, whoever speaks."""
    bands = mel.shape[1]
    basis = np.cos(np.pi * np.arange(COEFFICIENTS)[:, None] * (np.arange(bands) + 0.5) / bands)
    own = mel @ basis.T / bands
    loud = own[:, 0]
    speech = loud > np.quantile(loud, 0.1) + 0.25 * (np.quantile(loud, 0.95) - np.quantile(loud, 0.1))
    own = (own - own[speech].mean(0)) / (own[speech].std(0) + 1e-3)
    padded = np.pad(own, ((2, 2), (0, 0)), mode='edge')
    change = (2 * padded[4:] + padded[3:-1] - padded[1:-3] - 2 * padded[:-4]) / 10
    change = change / (change[speech].std(0) + 1e-3)
    return np.clip(np.concatenate([own * np.where(np.arange(COEFFICIENTS) == 0, 1.5, 1), 0.7 * change], 1), -4, 4)


def warp(heard, several):
    """[(path, cost)] of features heard (n, k) on each of several spoken (m, k): path[i] is the column of `spoken` that column i of
    `heard` is; it rises by 0, 1 or 2 at each step, from 0 to m - 1. Cost: of a column on the average."""
    n, lengths = len(heard), [len(s) for s in several]
    far = np.full((n, len(several), max(lengths)), 1e3)
    own = (heard ** 2).sum(1)[:, None]
    for v, spoken in enumerate(several):
        squares = own + (spoken ** 2).sum(1) - 2 * heard @ spoken.T
        far[:, v, :lengths[v]] = np.sqrt(np.maximum(squares, 0) / heard.shape[1])
    best = np.full(far.shape[1:], np.inf)
    best[:, 0] = far[0, :, 0]
    came = np.zeros(far.shape, np.int8)
    for i in range(1, n):
        now = best + STILL * far[i]
        for step, cost in ((1, 0), (2, FAST)):
            other = best[:, :-step] + cost * far[i, :, step:]
            better = other < now[:, step:]
            now[:, step:][better] = other[better]
            came[i, :, step:][better] = step
        best = now + far[i]
    return [(trace(came[:, v], m), best[v, m - 1] / n) for v, m in enumerate(lengths)]


def trace(came, m):
    path = np.zeros(len(came), int)
    path[-1] = m - 1
    for i in range(len(came) - 1, 0, -1):
        path[i - 1] = path[i] - came[i, path[i]]
    return path


def back(path, m):
    """(m,) for each column of `spoken` where it is in `heard`: the middle of the columns that are it, straight between them."""
    n = np.arange(len(path))
    hits, sums = np.bincount(path, minlength=m), np.bincount(path, n, minlength=m)
    there = np.flatnonzero(hits)
    return np.interp(np.arange(m), there, sums[there] / hits[there])
