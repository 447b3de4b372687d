#!/usr/bin/python3
"""How well a listener's lips follow speech that it has not heard, by the definitions of `koubo eval` (src/lab/measure.h).

    python3 training/evaluate.py --data DATASET --listener koubo-lips.safetensors

The clips of `val`, by group. Curves are in canonical units (src/rig/person.h): the opening (mean of the nine gaps between the inner lips) and the
width (distance of their corners). Two controls: the same lips against the speech of another clip, at lag 0 (`swapped`: what everybody's
sentences have in common) and at its best lag (`chance`: what eleven lags find in noise).
"""
import argparse
import json
import os

import numpy as np
import torch

from network import load

MEL_RATE, RATE, POINTS = 80, 40, 40  # columns of the mel a second, samples of a listener a second, points of the lips
MAX_LAG, MIN_FRAMES, NEAR = 5, 12, 2  # frames


# --- measures of curves; NaN marks frames that show nothing ---

def correlation(truth, test, lag=0):
    """Pearson's, of test[k + lag] and truth[k]; NaN where the pairs say nothing."""
    n = len(truth)
    a, b = truth[max(0, -lag):n - max(0, lag)].astype(float), test[max(0, lag):n - max(0, -lag)].astype(float)
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if len(a) < MIN_FRAMES:
        return np.nan
    a, b = a - a.mean(), b - b.mean()
    if (a * a).sum() <= 1e-12 * len(a) or (b * b).sum() <= 1e-12 * len(a):
        return np.nan
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def best_lag(truth, test):
    """(correlation, lag in frames, > 0: test is late) where test follows truth best; (0, 0) if no lag says anything."""
    best = (0.0, 0) if all(np.isnan(correlation(truth, test, lag)) for lag in range(-MAX_LAG, MAX_LAG + 1)) else (-np.inf, 0)
    for lag in sorted(range(-MAX_LAG, MAX_LAG + 1), key=lambda lag: (abs(lag), lag < 0)):
        r = correlation(truth, test, lag)
        if r > best[0] + 1e-9:
            best = (r, lag)
    return best


def amplitude(truth, test):
    both = ~(np.isnan(truth) | np.isnan(test))
    return test[both].std() / max(truth[both].std(), 1e-6)


def stretches(curve, there, closes, opens):
    """[begin, end) of each run of closed frames: from below `closes` on, as long as it stays below `opens`."""
    found, begin = [], None
    for k, (opening, seen) in enumerate(zip(curve, there)):
        if begin is None and seen and opening < closes:
            begin = k
        elif begin is not None and not (seen and opening < opens):
            found.append((begin, k))
            begin = None
    return found + ([(begin, len(curve))] if begin is not None else [])


def closures(truth, test):
    """(closed stretches of truth, of test, matched ones), as measure_closures()."""
    there = ~(np.isnan(truth) | np.isnan(test))
    v = np.sort(truth[there])
    if len(v) < MIN_FRAMES:
        return 0, 0, 0
    low, high = (v[int(np.floor(part * (len(v) - 1) + 0.5))] for part in (0.05, 0.95))
    if not high - low > 1e-6:
        return 0, 0, 0
    levels = low + 0.15 * (high - low), low + 0.25 * (high - low)
    a, b = stretches(truth, there, *levels), stretches(test, there, *levels)
    i = j = matched = 0
    while i < len(a) and j < len(b):
        before, behind = b[j][1] <= a[i][0] - NEAR, b[j][0] >= a[i][1] + NEAR
        matched += not before and not behind
        i, j = i + (not before), j + (not behind)
    return len(a), len(b), matched


def bend(lips):
    """Mean second difference of (n, 40, 2) lips and of the nine gaps of the inner ones."""
    gaps = lips[:, 39:30:-1] - lips[:, 21:30]
    every = np.concatenate([lips, gaps], 1)
    return np.linalg.norm(every[:-2] - 2 * every[1:-1] + every[2:], axis=-1).mean()


def opening(lips):
    return (lips[..., 39:30:-1, 1] - lips[..., 21:30, 1]).mean(-1)


def width(lips):
    return lips[..., 30, 0] - lips[..., 20, 0]


# --- what the listener says ---

def curve_at(knots, x):
    """As koubo applies it: flat before the knots, straight between them, of slope 1 behind."""
    return np.interp(x, knots[:, 0], knots[:, 1]) + np.maximum(x - knots[-1, 0], 0)


def load_listener(path):
    """A function from a mel (n, 80) to displacements (samples, 40, 2), 40 a second from the mel's begin, in the order of the
    dataset: what koubo's engine says, with the file's curve and gain. Not what is the plan's: silence, mass, the person's gain."""
    network, arrays, meta = load(path)
    if meta.get('format') != 'koubo-motion':
        raise SystemExit(f'{path} is no listener: koubo model info tells what it is')
    shape, runs = json.loads(meta['inputs'])['mel'], list(json.loads(meta['output']).values())[0][3]
    first, margin, gain = round(float(meta['mel_offset_s']) * MEL_RATE), int(meta.get('margin', 0)), float(meta['gain'])
    knots, grows = np.array(json.loads(meta['curve'])), arrays['opening']

    @torch.no_grad()
    def tell(mel):
        n = (len(mel) - 1) * RATE // MEL_RATE + 1
        columns = np.clip(first + np.arange(shape[3] + MEL_RATE // RATE * (n + 2 * margin - runs)), 0, len(mel) - 1)
        told = network(mel=torch.from_numpy(mel[columns].T.copy()).view(1, *shape[1:3], len(columns)))[0, :, 0].T.numpy()
        told = told[margin:margin + n].reshape(n, POINTS, 2)
        is_open = opening(told)
        return gain * (told + (curve_at(knots, is_open) - is_open)[:, None, None] * grows)

    return tell


def at(samples, place):
    """Samples at places between them, as motion_at() has it (Catmull and Rom 1974); the ends are repeated."""
    place = np.clip(place, 0, len(samples) - 1)
    i = np.clip(place.astype(int), 0, max(len(samples) - 2, 0))
    t = (place - i)[:, None, None]
    p = [samples[np.clip(i + k, 0, len(samples) - 1)] for k in (-1, 0, 1, 2)]
    return (t * (-0.5 + t * (1 - 0.5 * t)) * p[0] + (1 + t * t * (-2.5 + 1.5 * t)) * p[1] +
            t * (0.5 + t * (2 - 1.5 * t)) * p[2] + t * t * (-0.5 + 0.5 * t) * p[3])


# --- the dataset ---

def read_clips(folder, split='val'):
    """The clips of a split, each with its `lips` (n, 40, 2) and its `speech` (mel_n, 80)."""
    with open(os.path.join(folder, 'index.json'), encoding='utf-8') as f:
        index = json.load(f)
    if index.get('version') != 2:
        raise SystemExit(f'{folder} is a dataset of version {index.get("version", 1)}; make it anew with koubo dataset')
    motion, mel = (np.load(os.path.join(folder, name), mmap_mode='r') for name in ('motion.npy', 'mel.npy'))
    clips = [c for c in index['clips'] if c['split'] == split]
    for c in clips:
        c['lips'] = np.array(motion[c['frame']:c['frame'] + c['n'], :POINTS], np.float32)
        c['speech'] = np.array(mel[c['mel']:c['mel'] + c['mel_n']], np.float32) * (8 / 63) - 4
    return clips


def told_of(tell, speech, clip, n, late=0):
    """(n, 40, 2): what is told of the first frames, whose sound is `late` by so many columns."""
    column = speech['mel_lead'] + MEL_RATE * np.arange(n) / clip['fps'] + late
    return at(tell(speech['speech']), column * RATE / MEL_RATE)


def swapped(clips, i):
    """Another clip of the group: the next one of somebody else that is as long, else the longest next one."""
    others = [clips[(i + k) % len(clips)] for k in range(1, len(clips)) if clips[(i + k) % len(clips)]['group'] == clips[i]['group']]
    rank = [(min(c['n'], clips[i]['n']), c['cluster'] != clips[i]['cluster'], -k) for k, c in enumerate(others)]
    return others[rank.index(max(rank))] if others else None


def measure(clip, tell, other=None, late=0):
    """The figures of one clip: a dictionary, `closures` with three numbers in it."""
    truth, told = clip['lips'], told_of(tell, clip, clip, clip['n'], late)
    of = {}
    for name, curve in (('opening', opening), ('width', width)):
        a, b = curve(truth), curve(told)
        of[f'{name}_lag_0'], of[f'{name}_best'] = np.nan_to_num(correlation(a, b)), best_lag(a, b)[0]
    a, b = opening(truth), opening(told)
    of.update(amplitude=amplitude(a, b), closures=closures(a, b), smoothness=bend(told) / max(bend(truth), 1e-9))
    if other:
        n = min(clip['n'], other['n'])
        a, b = opening(truth[:n]), opening(told_of(tell, other, clip, n))
        of.update(swapped=np.nan_to_num(correlation(a, b)), chance=best_lag(a, b)[0])
    return of


def summary(rows):
    """Means over the clips, amplitude and smoothness their medians, closures those of all clips together."""
    out = {'clips': len(rows)}
    for key in ('opening_lag_0', 'opening_best', 'width_lag_0', 'width_best', 'swapped', 'chance'):
        out[key] = float(np.mean([r[key] for r in rows if key in r] or [np.nan]))
    for key in ('amplitude', 'smoothness'):
        out[key] = float(np.median([r[key] for r in rows]))
    n_truth, n_test, matched = np.sum([r['closures'] for r in rows], 0)
    for key, of in (('precision', n_test), ('recall', n_truth), ('f1', (n_truth + n_test) / 2)):
        out[f'closure_{key}'] = float(matched / of) if of else float('nan')
    return out


def evaluate(clips, tell, moved=None):
    """{group: figures}, and `all`. moved: {name of a clip: columns by which its sound is late}."""
    rows = [(c['group'], measure(c, tell, swapped(clips, i), (moved or {}).get(c['name'], 0))) for i, c in enumerate(clips)]
    groups = sorted({g for g, _ in rows})
    return {name: summary([r for g, r in rows if name in (g, 'all')]) for name in groups + ['all']}


def show(figures):
    print(f'{"":18}' + ''.join(f'{name:>10}' for name in figures))
    for key in figures['all']:
        print(f'{key:18}' + ''.join(f'{f[key]:10.3f}' if key != 'clips' else f'{f[key]:10d}' for f in figures.values()))


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder that koubo dataset made')
    p.add_argument('--listener', required=True, help='the file to measure')
    p.add_argument('--moved', help='JSON: by how many columns of the mel the sound of a clip is late, by its name')
    p.add_argument('--split', default='val', choices=('val', 'train'), help='train: to see what is learnt by heart')
    p.add_argument('--json', action='store_true', help='print one JSON object')
    p.add_argument('--threads', type=int, default=os.cpu_count())
    args = p.parse_args(argv)
    torch.set_num_threads(args.threads)
    moved = None
    if args.moved:
        with open(args.moved, encoding='utf-8') as f:
            moved = json.load(f)
    figures = evaluate(read_clips(args.data, args.split), load_listener(args.listener), moved)
    if args.json:
        print(json.dumps(figures))
        return
    show(figures)


if __name__ == '__main__':
    main()
