#!/usr/bin/python3
"""From a listener to koubo-lips.safetensors: what the 40 points of the lips do to a speech.

    python3 training/motion.py --data DATASET --start FILE --trust grid --out koubo-lips.safetensors

FILE holds a listener (convolutions au.*), which train.py teaches. Here it gets its head: a linear map from
some of its features, 40 a second, to displacements of the points, by ridge regression on whole clips, each less its mean and
moved to where its sound fits. What the head says of silence is taken off, so that silence is a closed mouth; a curve then
gives the opening the distribution that true mouths have, for a linear map is lazy. No picture is looked at; minutes on one core.
"""
import argparse
import json
import os
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional as F

from data import MEL_RATE, OFFSET_S, Dataset, aperture, best_lag, correlation, mirror_order
from network import COLUMNS, LISTENER, GraphBuilder, Network, listener, listener_graph, read_safetensors, write_safetensors

RATE = 40          # features a second: the listener strides over two columns of the mel
LISTENER_WIDTH = LISTENER[-1][0]
STRETCH = 256      # samples in one run of the exported network
FAR = 5            # samples that a clip may be moved, 25 ms each
ROUNDS = 3
CLOSED = 0.1       # part of the time in which a mouth is closed

# FaceMesh's numbers of the points: as the dataset has them, and as koubo's tracks do, which the file follows.
POINTS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
          78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
TRACK_POINTS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
                78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
TRACK_ORDER = [POINTS.index(i) for i in TRACK_POINTS]


def symmetric(lips):
    """The mean of mouths and their mirror images: a speech says nothing of left and right."""
    mirrored = lips[..., mirror_order(), :].clone()
    mirrored[..., 0] = 1 - mirrored[..., 0]
    return (lips + mirrored) / 2


@torch.no_grad()
def hear(network, data, clips, room):
    """What the network hears of each clip, with `room` samples more at both ends, and what its lips do."""
    heard = []
    for clip in clips:
        rows, times = data.make_table([clip])
        starts = data.mel_starts(rows, times)
        begin = int(starts[0]) - 2 * room
        n = int(starts[-1]) - begin + 2 * room + COLUMNS + 2
        features = network(mel=data.mel_columns(rows[:1], torch.tensor([begin], device=rows.device), n))[0, :, 0].T
        seconds = torch.arange(clip['n']) * times[0, 1].cpu()
        columns = times[0, 0].cpu() + MEL_RATE * (seconds + OFFSET_S)
        lips = symmetric(data.landmarks(rows[:, 0])).cpu()
        heard.append(SimpleNamespace(features=features.cpu(), place=(columns - begin) / 2, lips=lips.flatten(1),
                                     opening=aperture(lips), group=clip['group']))
    return heard


def at(series, place):
    """(n, …) series at places between its rows."""
    low = place.floor().long().clamp(0, len(series) - 2)
    part = (place - low)[:, None]
    return series[low] * (1 - part) + series[low + 1] * part


def neighbours(features, place, taps):
    """(n, taps * 224): the features at the places and around them."""
    half = taps // 2
    return torch.cat([at(features, place + k) for k in range(-half, half + 1)], 1)


def fit(clips, moved, taps, ridge):
    """The head (taps * 224, 80) over clips that are moved so many samples."""
    width = taps * clips[0].features.shape[1]
    inputs, both = torch.zeros(width, width), torch.zeros(width, 80)
    for some in np.array_split(np.arange(len(clips)), -(-len(clips) // 64)):
        x = [neighbours(clips[i].features, clips[i].place + float(moved[i]), taps) for i in some]
        x = torch.cat([v - v.mean(0) for v in x])
        y = torch.cat([clips[i].lips - clips[i].lips.mean(0) for i in some])
        inputs += x.T @ x
        both += x.T @ y
    return torch.linalg.solve(inputs + ridge * torch.eye(width), both)


def tell(features, head):
    """(n, 80): what the head says at every feature; the ends are repeated."""
    taps = len(head) // features.shape[1]
    kernel = head.view(taps, features.shape[1], 80).permute(2, 1, 0)
    return F.conv1d(F.pad(features.T[None], (taps // 2, taps // 2), 'replicate'), kernel)[0].T


def opening(told):
    return aperture(told.view(-1, 40, 2))


def misfits(clips, head):
    """By how many samples the speech of each clip is late; 0 on the average."""
    shifts = torch.arange(-2 * FAR, 2 * FAR + 1) / 2
    found = []
    for clip in clips:
        told = opening(tell(clip.features, head))[:, None]
        told = torch.stack([at(told, clip.place + s)[:, 0] for s in shifts.tolist()])
        told, true = told - told.mean(1, keepdim=True), clip.opening - clip.opening.mean()
        fits = (told * true).sum(1) / ((told * told).sum(1) * (true * true).sum() + 1e-12).sqrt()
        # A chance maximum far away is likelier than such a shift: one frame (1.6 samples) costs 0.03, two cost 0.12.
        found.append(float(shifts[(fits - 0.03 * (shifts / 1.6) ** 2).argmax()]))
    return np.array(found) - np.mean(found)


def curve_at(knots, x):
    """As koubo applies it: flat before the knots, straight between them, of slope 1 behind."""
    return np.interp(x, knots[:, 0], knots[:, 1]) + np.maximum(x - knots[-1, 0], 0)


def calibrate(train, moved, val, head, silence):
    """(gain, knots): with both the openings of people not heard spread as far as true ones (median of the clips), and a tenth of
    the time mouths are closed, which a linear head, that guesses between what may be, hardly ever tells."""
    closed = float(torch.cat([told_opening(c, m, head, silence) for c, m in zip(train, moved)]).quantile(CLOSED))
    closed = max(closed, 0)
    spreads = [float(c.opening.std() / (told_opening(c, 0, head, silence) - closed).clamp(min=0).std().clamp(min=1e-6)) for c in val]
    gain = float(np.median(spreads))
    if not 0.1 < gain < 10:
        raise SystemExit(f'the openings told would have to be made {gain:.3g} times as large: the head does not know silence from '
                         'speech; more clips, with pauses in them, or a larger --ridge help')
    return gain, np.array([[0, 0], [gain * closed + 1e-4, 0], [0.1, 0.1 - gain * closed - 1e-4]])


def told_opening(clip, late, head, silence):
    return opening(at(tell(clip.features, head), clip.place + float(late)) - silence)


@torch.no_grad()
def silent_features(network, taps):
    return network(mel=torch.full((1, 1, 80, COLUMNS), -4.0))[0, :, 0, 0].repeat(taps)


def opening_direction(clips):
    """(40, 2): how the points move when the opening grows by 1."""
    lips = torch.cat([c.lips - c.lips.mean(0) for c in clips])
    open_by = opening(lips)
    direction = (lips * open_by[:, None]).sum(0)
    return (direction / opening(direction[None])).view(40, 2)


def measure(clips, head, silence, knots):
    """Figures over clips whose sound is taken to be in time: the opening as koubo tells it against the true one."""
    rows = []
    for clip in clips:
        told = torch.from_numpy(curve_at(knots, told_opening(clip, 0, head, silence).numpy())).float()
        true = clip.opening - clip.opening.sort().values[:max(1, len(clip.opening) // 10)].mean()
        best, lag = best_lag(true, told)
        rows.append((best, correlation(true, told), abs(lag) <= 1, told.std() / true.std(), (told - true).abs().mean(),
                     (told[true < 0.002] < 0.004).float().mean()))
    rows = np.array(rows, float)
    return {'correlation': rows[:, 0].mean(), 'correlation_median': np.median(rows[:, 0]), 'at_lag_0': rows[:, 1].mean(),
            'within_1': rows[:, 2].mean(), 'amplitude_median': np.median(rows[:, 3]), 'error': rows[:, 4].mean(),
            'closes': np.nanmean(rows[:, 5])}


def motion_graph(taps):
    """The listener with the head behind it, over a stretch of a speech."""
    b = GraphBuilder()
    heard = listener(b)
    b.conv(heard, 'motion', LISTENER_WIDTH, 80, (1, taps), relu=False)
    return b.ops, b.shapes


def export(path, network, head, gain, knots, direction, offset_s, metadata):
    """head: less nothing and not scaled; what it says of silence is taken off here, as rounded numbers say it."""
    taps = len(head) // LISTENER_WIDTH
    columns = COLUMNS + 2 * (taps - 1 + STRETCH - 1)
    ops, shapes = motion_graph(taps)
    whole = Network(ops, shapes)
    in_order = (gain * head).view(-1, 40, 2)[:, TRACK_ORDER].flatten(1)
    kernel = in_order.view(taps, LISTENER_WIDTH, 1, 80).permute(3, 1, 2, 0)
    whole.take({**network.folded(), 'motion.weight': kernel.half().float().numpy(), 'motion.bias': np.zeros(80, np.float32)})
    with torch.no_grad():
        silence = whole.eval()(mel=torch.full((1, 1, 80, columns), -4.0))[0, :, 0, 0]
        whole.convs['motion'].bias.copy_(-silence)
    arrays = {**whole.folded(), 'opening': direction[TRACK_ORDER].numpy().astype(np.float32)}
    write_safetensors(path, arrays, {
        'format': 'koubo-motion', 'version': '1', 'graph': json.dumps(ops),
        'inputs': json.dumps({'mel': [-1, 1, 80, columns]}), 'output': json.dumps({'motion': [-1, 80, 1, STRETCH]}),
        'rate': str(RATE), 'mel_offset_s': f'{offset_s - taps // 2 / RATE:.6g}', 'points': json.dumps(TRACK_POINTS),
        'curve': json.dumps(np.round(knots, 5).tolist()), 'gain': '1.0', **metadata})


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder that koubo dataset made')
    p.add_argument('--start', required=True, help='a file with a listener: of train.py, or a koubo-lips.safetensors')
    p.add_argument('--out', required=True, help='where to write koubo-lips.safetensors')
    p.add_argument('--name', default='koubo-lips')
    p.add_argument('--training-data', help='what to write into the file about it, terms included; else that of --start')
    p.add_argument('--trust', metavar='GROUP', help='the group of clips whose sound is exactly in time: the motion fits them')
    p.add_argument('--taps', type=int, default=5, help='features of 25 ms that the head sees, an odd number')
    p.add_argument('--ridge', type=float, default=300)
    p.add_argument('--rounds', type=int, default=ROUNDS)
    p.add_argument('--clips', type=int, default=0, help='use so many clips of each split only')
    p.add_argument('--threads', type=int, default=os.cpu_count())
    args = p.parse_args(argv)
    if args.taps % 2 == 0:
        p.error('--taps must be odd: as many before as after')
    return args


def show(name, figures):
    print(name + '  ' + '  '.join(f'{k} {v:.3f}' for k, v in figures.items()), flush=True)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    data = Dataset(args.data, max_clips=args.clips, offset_s=OFFSET_S)
    arrays, start = read_safetensors(args.start)
    network = Network(*listener_graph()).eval()
    missing = network.take(arrays)
    if missing:
        raise SystemExit(f"{args.start} has no listener: {', '.join(missing)} are missing or of another shape")
    room = FAR + 3 + args.taps // 2
    train, val = (hear(network, data, clips, room) for clips in (data.train, data.val))
    silent = silent_features(network, args.taps)
    moved = np.zeros(len(train))
    straight = np.array([[-1, -1], [1, 1]])
    for i in range(args.rounds):
        if i:
            moved = misfits(train, head)
        head = fit(train, moved, args.taps, args.ridge)
        show(f'round {i + 1}', measure(val, head, silent @ head, straight))

    # Where the window of a mouth begins, a whole column; clips of the trusted group are right there.
    late = [m for m, c in zip(moved, train) if c.group == args.trust]
    exact = MEL_RATE * OFFSET_S + 2 * (np.mean(late) if late else 0)
    column = round(exact)
    moved = moved + (column - exact) / 2
    for clip in val:
        clip.place = clip.place + (column - MEL_RATE * OFFSET_S) / 2
    head = fit(train, moved, args.taps, args.ridge)
    silence = silent @ head
    gain, knots = calibrate(train, moved, val, head, silence)
    figures = {}
    for name, clips in (('all', val), *((g, [c for c in val if c.group == g]) for g in sorted({c.group for c in val}))):
        show(f'{name}, linear', measure(clips, head, silence, straight))
        show(f'{name}, gain {gain:.2f}', measure(clips, gain * head, gain * silence, straight))
        figures[name] = {'clips': len(clips), **measure(clips, gain * head, gain * silence, knots)}
        show(f'{name}, gain and curve', figures[name])
    export(args.out, network, head, gain, knots, opening_direction(train), column / MEL_RATE, {
        'name': args.name, 'training_data': args.training_data or start.get('training_data', 'own videos'),
        'figures': json.dumps({g: {k: round(float(v), 4) for k, v in f.items()} for g, f in figures.items()})})
    print(f'{args.out}: {os.path.getsize(args.out)} bytes, offset {column / MEL_RATE} s, gain {gain:.3f}, curve {np.round(knots, 4).tolist()}')


if __name__ == '__main__':
    main()
