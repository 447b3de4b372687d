#!/usr/bin/python3
"""From the training data to koubo-lips.safetensors: what the 40 points of the lips do to a speech.

    python3 training/train.py --data DATASET [--data MORE] --out RUN              by the clock, learning rate with it
    python3 training/train.py --data DATASET --out RUN --minutes 0 --steps 8000

RUN keeps a checkpoint of each seed (begin again with the same command to go on), log.csv and koubo-lips.safetensors, which koubo runs as it is. No picture
is looked at. evaluate.py says how good it is.
"""
import argparse
import json
import os

import numpy as np
import torch

import data
import evaluate
import listener
from data import opening
from run import Run


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, action='append', help='folder that koubo dataset made; again for more of them')
    p.add_argument('--out', required=True, help='folder for checkpoint, log and the listener')
    p.add_argument('--groups', help='learn from clips of these groups only, with commas between')
    p.add_argument('--trust', default='grid,spoken,warped', help='groups whose sound is exactly in time (default: %(default)s)')
    p.add_argument('--weight', action='append', default=[], metavar='GROUP=N', help='clips of this group are drawn N times as often')
    p.add_argument('--name', default='koubo-lips')
    p.add_argument('--training-data', default='own videos', help='what to write into the file about it, terms included')
    p.add_argument('--minutes', type=float, default=30, help='for each seed; 0 = count steps')
    p.add_argument('--steps', type=int, default=0, help='with --minutes 0')
    p.add_argument('--changed', type=float, default=0.5, help='share of the stretches that get another voice and room; 1 where voices are few (default: %(default)s)')
    p.add_argument('--batch', type=int, default=32)
    p.add_argument('--width', type=int, default=listener.WIDTH, help='channels of the network')
    p.add_argument('--seeds', default='1,2', help='a listener is taught for each of them, and the file tells their mean (default: %(default)s)')
    p.add_argument('--clips', type=int, default=0, help='use so many clips of each split only')
    p.add_argument('--threads', type=int, default=os.cpu_count())
    p.add_argument('--report', type=int, default=100, help='steps between lines of the log')
    p.add_argument('--save-minutes', type=float, default=5)
    args = p.parse_args(argv)
    args.weights = {w.split('=')[0]: float(w.split('=')[1]) for w in args.weight}
    return args


def follows(told, clips):
    """How well the opening told follows the one seen, by group: means at the best lag and at lag 0."""
    rows = [(c.group, evaluate.best_lag(*curves)[0], evaluate.correlation(*curves))
            for c, curves in zip(clips, ((opening(c.motion).numpy(), opening(t).numpy()) for t, c in zip(told, clips)))]
    groups = ['all', *sorted({g for g, *_ in rows})]
    return {f'{name}_{what}': np.nanmean([r[k] for r in rows if name in (r[0], 'all')]) for name in groups for k, what in ((1, 'best'), (2, 'lag_0'))}


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    run = Run(args)
    train, val = data.read(args.data, args.groups and args.groups.split(','), args.clips)
    print(f'{len(train)} clips to train on, {len(val)} to check with', flush=True)

    def check(net):
        return follows(listener.hear(net, val), val)

    nets = [listener.teach(run, train, check, args.trust.split(','), int(seed)) for seed in args.seeds.split(',')]
    groups = {c.group for c in train}
    gain, knots = listener.calibrate(nets, [c for c in val if c.group in groups] or val)
    path = run.path(f'{args.name}.safetensors')
    about = {'name': args.name, 'training_data': args.training_data}
    listener.export(path, nets, gain, knots, listener.opening_direction(train), about)
    films = [c for folder in args.data for c in evaluate.read_clips(folder) if c['group'] not in data.MADE]
    figures = evaluate.evaluate(films, evaluate.load_listener(path))
    evaluate.show(figures)
    listener.export(path, nets, gain, knots, listener.opening_direction(train),
                    {**about, 'figures': json.dumps({g: {k: round(float(v), 4) for k, v in f.items()} for g, f in figures.items()})})
    print(f'{path}: {os.path.getsize(path)} bytes, gain {gain:.3f}, curve {np.round(knots, 4).tolist()}')


if __name__ == '__main__':
    main()
