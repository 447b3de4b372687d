#!/usr/bin/env python3
"""How good an exported network is, on people it was not trained on.

    python3 training/evaluate.py --data DATASET [--network FILE] [--koubo build/koubo]

Every val clip is driven by its own speech against its first frame. Beside it stand: the reference frame copied, the
true frames five late, the network with the next clip's speech, and with its own speech moved to where it fits best (sound and
picture of many clips are some frames apart). Lips are read by a reader (quick). With --koubo the
pictures are made by koubo's engine instead of PyTorch, written as films, and measured by `koubo eval`: that is what counts.
"""
import argparse
import json
import os
import subprocess
import tempfile
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from data import SIZE, Dataset, aperture, best_lag, correlation, mouth_mask
from generator import drive, lips_psnr, sheet
from network import Network, load_module, read_safetensors
from reader import LipReader
from sync import SyncNet, distances, lse, sync_mel

LATE = 5  # frames
here = os.path.dirname(os.path.abspath(__file__))


def ssim(a, b):
    """Mean structural similarity (Wang et al. 2004) in windows of 7 pixels, of all channels."""
    def mean(x):
        return F.avg_pool2d(x, 7, 1)
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    return float(((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4))).mean())


def second_difference(x):
    return x[2:] - 2 * x[1:-1] + x[:-2]


def jitter(lips):
    """Mean second difference of the landmarks, sides of the crop."""
    return float(second_difference(lips).norm(dim=-1).mean())


def flicker(film, lips):
    """Mean second difference of the pixels well outside the mouth, which should move as the head does."""
    still = 1 - mouth_mask(lips, grow=12)[1:-1]
    return float((second_difference(film).abs() * still).sum() / (film.shape[1] * still.sum()))


def load_network(path, device):
    """(network, columns of its mel window, where that begins) of any exported network."""
    arrays, metadata = read_safetensors(path)
    ops = json.loads(metadata['graph'])
    network = Network(ops, {op['output']: arrays[op['weight']].shape for op in ops if op['op'] == 'conv2d'})
    network.take(arrays)
    return network.to(device).eval(), json.loads(metadata['inputs'])['mel'][3], float(metadata.get('mel_offset_s', -0.08))


def engine(program, path):
    """The exported network as koubo runs it: a function that stands in for the PyTorch one."""
    def run(mel, face):
        with tempfile.TemporaryDirectory() as folder:
            files = {name: os.path.join(folder, f'{name}.npy') for name in ('mel', 'face', 'out')}
            np.save(files['mel'], mel.cpu().numpy())
            np.save(files['face'], np.ascontiguousarray(face.cpu().numpy()))
            subprocess.run([program, 'model', 'run', path, '--input', f"mel={files['mel']}", '--input', f"face={files['face']}",
                            '-o', files['out'], '-q'], check=True)
            return torch.from_numpy(np.load(files['out'])).to(mel.device)
    return run


def versions(run, network, clip, other):
    """{name: lower halves}"""
    made, truth, lips = drive(run, network, clip)
    swapped, _, _ = drive(run, network, clip, other)
    n = len(truth)
    late = truth[(torch.arange(n, device=truth.device) - LATE).clamp(min=0)]
    return {'made': made.float(), 'swapped speech': swapped.float(), 'reference copied': truth[:1].expand_as(truth),
            'five frames late': late}, truth, lips


def write_film(path, data, clip, lower):
    """Whole crops in a grey frame, so that a face detector finds a face that does not touch the border."""
    film = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'FFV1'), 25, (2 * SIZE, 2 * SIZE))
    for k in range(clip['n']):
        crop = data.frames[clip['frame'] + k].cpu().numpy().copy()
        if lower is not None:
            crop[SIZE // 2:] = (lower[k].permute(1, 2, 0).cpu().numpy() * 255).round().clip(0, 255)
        film.write(cv2.copyMakeBorder(crop[:, :, ::-1], SIZE // 2, SIZE // 2, SIZE // 2, SIZE // 2, cv2.BORDER_REPLICATE))
    film.release()


def koubo_eval(program, data, clip, lower):
    """What `koubo eval --json` says of a clip; nothing where it finds no face."""
    with tempfile.TemporaryDirectory() as folder:
        truth, test = os.path.join(folder, 'truth.mkv'), os.path.join(folder, 'test.mkv')
        write_film(truth, data, clip, None)
        write_film(test, data, clip, lower)
        done = subprocess.run([program, 'eval', '--truth', truth, test, '--json', '-q'], capture_output=True, text=True)
    if done.returncode == 3:
        return {}
    if done.returncode:
        raise SystemExit(f'koubo eval: {done.stderr}')
    told = json.loads(done.stdout)
    return {'eval_' + k: told[k] for k in ('aperture_correlation', 'amplitude_ratio', 'lip_landmark_distance', 'jitter_ratio')} | {
        'eval_within_1': float(abs(told['lag_frames']) <= 1)}


class Judges:
    """The reader and SyncNet that were trained beside a network, or come with koubo."""

    def __init__(self, folder, data):
        self.reader = load_module(LipReader(), os.path.join(folder, 'reader.safetensors')).to(data.device)
        self.sync = load_module(SyncNet(), os.path.join(folder, 'sync.safetensors')).to(data.device)

    def lag(self, film, real):
        return best_lag(aperture(real), aperture(self.reader(film)))[1]

    def measure(self, film, truth, real, heard, lips):
        """real: the landmarks read from truth; heard: sync_mel() of the clip."""
        read = self.reader(film)
        best, lag = best_lag(aperture(real), aperture(read))
        lse_d, lse_c, offset = lse(distances(self.sync, film, heard))
        return {'correlation': best, 'within_1': float(abs(lag) <= 1), 'at_lag_0': correlation(aperture(read), aperture(real)),
                'distance': float((read - lips).norm(dim=-1).mean()),
                'amplitude': float(aperture(read).std() / aperture(real).std().clamp(min=1e-4)), 'jitter': jitter(read) / (jitter(real) + 1e-9),
                'flicker': flicker(film, lips) / (flicker(truth, lips) + 1e-9),
                'lips_psnr_db': float(lips_psnr(film, truth, lips)), 'ssim': ssim(film, truth), 'lse_d': lse_d, 'lse_c': lse_c,
                'lse_offset': offset}


@torch.no_grad()
def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True)
    p.add_argument('--network', default=os.path.join(here, '..', 'models', 'koubo-lips.safetensors'), help='default: the bundled one')
    p.add_argument('--koubo', help='the program, to make the pictures and to measure with `koubo eval` too')
    p.add_argument('--judges', default=os.path.join(here, 'judges'), help='folder with reader.safetensors and sync.safetensors')
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--clips', type=int, default=0)
    p.add_argument('--sheet', help='write a PNG of some frames there, the truth above what was made')
    p.add_argument('--group', help='only the clips of this group of the index (grid, arabic, other, own)')
    p.add_argument('--json', help='write the figures there')
    args = p.parse_args()
    torch.set_num_threads(os.cpu_count())
    network, columns, offset = load_network(args.network, args.device)
    data = Dataset(args.data, args.device, args.clips, columns, offset)
    run = SimpleNamespace(data=data, device=args.device, autocast=lambda: torch.autocast('cpu', enabled=False))
    judges = Judges(args.judges, data)
    if args.group:
        data.val = [c for c in data.val if c['group'] == args.group]
    if not data.val:
        raise SystemExit(f'no clip to check with in {args.data}' + (f', group {args.group}' if args.group else ''))
    drawn = engine(args.koubo, args.network) if args.koubo else network
    if args.sheet:
        sheet(run, drawn, args.sheet, data.val[::max(1, len(data.val) // 5)][:5])
    rows = {}
    for i, clip in enumerate(data.val):
        films, truth, lips = versions(run, drawn, clip, data.val[(i + 1) % len(data.val)])
        if len(data.val) == 1:
            del films['swapped speech']  # there is no other
        # Where a clip's own sound is early or late, a mouth that moves right is drawn at the wrong time.
        real, heard = judges.reader(truth), sync_mel(data, clip)
        films['made, moved'] = drive(run, drawn, clip, late=judges.lag(films['made'], real))[0].float()
        for name, film in {**films, 'truth': truth}.items():
            row = judges.measure(film, truth, real, heard, lips)
            if args.koubo and name in ('made', 'swapped speech'):
                row |= koubo_eval(args.koubo, data, clip, film)
            rows.setdefault(name, []).append(row)
    figures = {name: {k: round(float(np.mean([r[k] for r in found if k in r])), 4) for k in {k: 0 for r in found for k in r}}
               for name, found in rows.items()}
    for name, means in figures.items():
        print(f'{name:17}' + '  '.join(f'{k} {v:g}' for k, v in means.items()))
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as f:
            json.dump(figures, f, indent=1)


if __name__ == '__main__':
    main()
