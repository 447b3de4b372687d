#!/usr/bin/env python3
"""From the training data to koubo-lips.safetensors.

    python3 training/train.py --data DATASET --out RUN                        both stages, then the export
    python3 training/train.py --data DATASET --out RUN --minutes 30           stop by the clock, learning rate with it
    python3 training/train.py --data DATASET --out RUN --start models/koubo-lips.safetensors   not from scratch

Stages: `reader` learns to read lip landmarks from true pictures and is frozen; `generator` learns to draw the lower
half so that it looks like the truth and the reader reads the true landmarks in it. RUN keeps a checkpoint of each
(begin again with the same command to go on), log.csv, sheets of samples, and the exported network.
"""
import argparse
import csv
import json
import os
import time

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from data import Dataset, aperture, correlation, faces, mouth_mask
from network import LipReader, Network, lip_sync_graph, write_safetensors

CROP = {'33': [0.28, 0.32], '133': [0.41383, 0.32542], '362': [0.58593, 0.32513], '263': [0.72, 0.32],
        '168': [0.49898, 0.29479], '6': [0.49901, 0.33431], '197': [0.49948, 0.37137], '195': [0.49989, 0.40426],
        '5': [0.50013, 0.44049], '4': [0.50057, 0.48353]}


class Run:
    """A folder with checkpoints and a log, the device, and how far the clock says a stage is."""

    def __init__(self, args):
        self.args = args
        os.makedirs(args.out, exist_ok=True)
        self.device = args.device
        self.half = args.precision == 'bf16'
        self.data = Dataset(args.data, args.device, args.clips, args.columns, args.mel_offset)

    def path(self, name):
        return os.path.join(self.args.out, name)

    def autocast(self):
        return torch.autocast(self.device.split(':')[0], torch.bfloat16, enabled=self.half)

    def save(self, stage, step, seconds, **states):
        torch.save({'step': step, 'seconds': seconds, **{k: v.state_dict() for k, v in states.items()}}, self.path('new.pt'))
        os.replace(self.path('new.pt'), self.path(f'{stage}.pt'))

    def load(self, stage, **states):
        """(step, seconds spent) of the checkpoint; (0, 0) without one."""
        if not os.path.exists(self.path(f'{stage}.pt')):
            return 0, 0.0
        saved = torch.load(self.path(f'{stage}.pt'), map_location=self.device)
        for name, state in states.items():
            state.load_state_dict(saved[name])
        return saved['step'], saved['seconds']

    def log(self, stage, step, seconds, **values):
        values = {k: f'{float(v):.5f}' for k, v in values.items()}
        print(f'{stage} step {step} {seconds:.0f} s  ' + '  '.join(f'{k} {v}' for k, v in values.items()), flush=True)
        with open(self.path('log.csv'), 'a', newline='', encoding='utf-8') as f:
            csv.writer(f).writerow([stage, step, f'{seconds:.0f}', *[f'{k}={v}' for k, v in values.items()]])

    def loop(self, stage, minutes, steps, states, one_step, report):
        """Steps until the clock or the count says so. one_step(generator) returns losses; report() figures. The learning
        rate rises for 2 % of the stage and then falls as a cosine."""
        args = self.args
        optimizer, schedule_of = states['optimizer'], [g['lr'] for g in states['optimizer'].param_groups]
        step, spent = self.load(stage, **states)
        begin, sums, n = time.time() - spent, {}, 0
        last_report = spent
        while True:
            seconds = time.time() - begin
            done = max(seconds / (60 * minutes) if minutes else 0, step / steps if steps else 0)
            if done >= 1:
                break
            rate = min(1, done / 0.02 + 0.01) * (0.5 + 0.5 * np.cos(np.pi * done)) + 0.002
            for group, base in zip(optimizer.param_groups, schedule_of):
                group['lr'] = base * rate
            generator = torch.Generator().manual_seed(args.seed * 1000003 + step)
            losses = one_step(generator)
            step += 1
            n += 1
            for k, v in losses.items():
                sums[k] = sums.get(k, 0) + v.detach()
            if step % args.report == 0:
                self.log(stage, step, time.time() - begin, **{k: v / n for k, v in sums.items()})
                sums, n = {}, 0
            if time.time() - begin - last_report > 60 * args.save_minutes:
                last_report = time.time() - begin
                self.save(stage, step, last_report, **states)
                self.log(stage + ' val', step, last_report, **report(step))
        for group, base in zip(optimizer.param_groups, schedule_of):
            group['lr'] = base  # so that a longer run finds its own
        self.save(stage, step, time.time() - begin, **states)
        self.log(stage + ' val', step, time.time() - begin, **report(step))


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


# --- the reader

def train_reader(run):
    reader = LipReader().to(run.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(reader.parameters(), 2e-3, weight_decay=1e-3)

    def one_step(generator):
        _, _, truth, lips = run.data.batch(64, generator)
        # What the generator draws is softer than a photograph: the reader must know soft pictures too.
        if torch.rand(1, generator=generator) < 0.3:
            truth = F.interpolate(F.avg_pool2d(truth, 2), scale_factor=2, mode='bilinear', align_corners=False)
        with run.autocast():
            read = reader(channels_last(truth))
        loss = (read - lips).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {'reader': loss}

    def report(step):
        return read_val(run, reader)

    reader.train()
    run.loop('reader', run.args.reader_minutes, run.args.reader_steps, {'reader': reader, 'optimizer': optimizer}, one_step, report)
    return reader.eval().requires_grad_(False)


@torch.no_grad()
def read_val(run, reader):
    """How well it reads people it has not seen: distance in widths of the crop, correlation of the opening by clip."""
    was = reader.training
    reader.eval()
    distances, correlations = [], []
    for clip in run.data.val:
        index = torch.arange(clip['frame'], clip['frame'] + clip['n'], device=run.device)
        read = reader(run.data.pictures(index)[:, :, 64:])
        lips = run.data.landmarks(index)
        distances.append((read - lips).norm(dim=-1).mean())
        correlations.append(correlation(aperture(read), aperture(lips)))
    reader.train(was)
    return {'distance': torch.stack(distances).mean(), 'correlation': np.mean(correlations)}


# --- the generator

def picture_loss(made, truth, weight):
    """L1, on the lips `weight` times, at three scales, and of the gradients."""
    loss = ((made - truth).abs() * weight).mean()
    for factor in (2, 4):
        loss = loss + 0.5 * ((F.avg_pool2d(made, factor) - F.avg_pool2d(truth, factor)).abs() * F.avg_pool2d(weight, factor)).mean()
    for axis in (2, 3):
        loss = loss + 0.5 * ((made.diff(dim=axis) - truth.diff(dim=axis)).abs() * weight.narrow(axis, 1, weight.shape[axis] - 1)).mean()
    return loss


def train_generator(run, reader):
    args = run.args
    graph = lip_sync_graph(columns=args.columns)
    network = Network(*graph, norm=not args.start)
    if args.start:
        network.start_from(args.start)
    network = network.to(run.device, memory_format=torch.channels_last)
    smooth = Network(*graph, norm=not args.start).to(run.device, memory_format=torch.channels_last)
    smooth.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), args.rate, weight_decay=1e-4)

    def one_step(generator):
        mel, face, truth, lips = run.data.batch(args.batch, generator)
        weight = 1 + args.lips_weight * mouth_mask(lips)
        with run.autocast():
            made = network(mel, channels_last(face))
            read = reader(channels_last(made))
        with torch.no_grad(), run.autocast():
            wanted = reader(channels_last(truth))
        picture = picture_loss(made, truth, weight / weight.mean(dim=(2, 3), keepdim=True))
        # Beside the points themselves the opening, which is small among them and what is seen.
        points = (read - wanted).abs().mean() + 2 * (aperture(read) - aperture(wanted)).abs().mean()
        loss = picture + args.points_weight * points
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(smooth.state_dict().values(), network.state_dict().values()):
                if a.is_floating_point():
                    a.lerp_(b, 0.002)
                else:
                    a.copy_(b)
        return {'picture': picture, 'points': points}

    def report(step):
        figures = measure_val(run, smooth, reader)
        sheet(run, smooth, f'sheet-{step:07d}.png')
        export(run, smooth, figures)
        return figures

    run.log('generator val', 0, 0, **measure_val(run, smooth, reader))
    run.loop('generator', args.minutes, args.steps, {'network': network, 'smooth': smooth, 'optimizer': optimizer}, one_step, report)
    return smooth


@torch.no_grad()
def drive(run, network, clip, other=None, late=0.0):
    """(made, truth, landmarks) of a clip with its own speech, or another clip's, against its first frame."""
    data = run.data
    network.eval()
    index = torch.arange(clip['frame'], clip['frame'] + clip['n'], device=run.device)
    rows, lead = data.make_table([clip])
    if other:
        source, source_lead = data.make_table([other])
        rows[:, 3:], lead = source[0, 3:], source_lead[0].expand(len(rows))
    target = data.pictures(index)
    face = faces(target, target[:1].expand_as(target))
    mel = data.mel_windows(rows, lead, late)
    with run.autocast():
        made = torch.cat([network(m, channels_last(f)) for m, f in zip(mel.split(64), face.split(64))])
    network.train()
    return made, target[:, :, 64:], data.landmarks(index)


def lips_psnr(made, truth, lips):
    mask = mouth_mask(lips)
    error = ((made - truth) ** 2 * mask).sum() / (3 * mask.sum())
    return -10 * torch.log10(error + 1e-8)


@torch.no_grad()
def measure_val(run, network, reader):
    """Figures over the val people, lips read by the reader. Swapped: with the speech of the next clip."""
    rows, clips = [], run.data.val
    for i, clip in enumerate(clips):
        made, truth, lips = drive(run, network, clip)
        other, _, _ = drive(run, network, clip, clips[(i + 1) % len(clips)])
        opened, real = aperture(reader(made)), aperture(lips)
        rows.append((correlation(opened, real), correlation(aperture(reader(other)), real),
                     float(opened.std() / real.std().clamp(min=1e-4)), float(lips_psnr(made, truth, lips))))
    means = np.mean(rows, 0)
    return {'aperture_correlation': means[0], 'aperture_correlation_median': np.median([r[0] for r in rows]),
            'swapped': means[1], 'amplitude': np.median([r[2] for r in rows]), 'lips_psnr_db': means[3]}


def sheet(run, network, name):
    """Rows of eight frames of val clips, the truth above what was made."""
    lines = []
    for clip in run.data.val[::max(1, len(run.data.val) // 6)][:6]:
        made, truth, _ = drive(run, network, clip)
        pick = np.linspace(0, clip['n'] - 1, 8).astype(int)
        for pictures in (truth, made):
            lines.append(np.concatenate([pictures[i].permute(1, 2, 0).float().cpu().numpy() for i in pick], 1))
    picture = (np.concatenate(lines, 0) * 255).clip(0, 255).astype(np.uint8)
    cv2.imwrite(run.path(name), picture[:, :, ::-1])


def export(run, network, figures):
    args = run.args
    ops, _ = lip_sync_graph(columns=args.columns)
    write_safetensors(run.path('koubo-lips.safetensors'), network.folded(), {
        'format': 'koubo', 'version': '2', 'name': 'koubo-lips', 'graph': json.dumps(ops),
        'inputs': json.dumps({'mel': [-1, 1, 80, args.columns], 'face': [-1, 6, 128, 128]}),
        'output': json.dumps({'lower_face': [-1, 3, 64, 128]}), 'colour': 'RGB', 'range': '0..1',
        'crop': json.dumps(CROP), 'crop_size': '128', 'output_rows': '64..127', 'masked_rows': '64..127',
        'face_layout': 'masked,reference', 'reference': 'other', 'mel_offset_s': f'{args.mel_offset:g}',
        'mel_columns': str(args.columns), 'mel_rounding': 'nearest',
        'training_data': 'GRID (CC BY 4.0) and research clips; evaluation and non-commercial use',
        'figures': json.dumps({k: round(float(v), 4) for k, v in figures.items()}),
    })


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder with faces.mp4, index.json, mel_lips.npz')
    p.add_argument('--out', required=True, help='folder for checkpoints, log and the exported network')
    p.add_argument('--start', help='an exported network to go on from, instead of from scratch')
    p.add_argument('--minutes', type=float, default=60, help='of the generator (60); 0 = count steps')
    p.add_argument('--steps', type=int, default=0, help='of the generator, with --minutes 0')
    p.add_argument('--reader-minutes', type=float, default=6)
    p.add_argument('--reader-steps', type=int, default=0)
    p.add_argument('--batch', type=int, default=32)
    p.add_argument('--rate', type=float, default=1e-3, help='learning rate of the generator')
    p.add_argument('--lips-weight', type=float, default=8)
    p.add_argument('--points-weight', type=float, default=3)
    p.add_argument('--columns', type=int, default=32, help='mel columns of a window')
    p.add_argument('--mel-offset', type=float, default=-0.18, help='where the window begins, seconds from the frame')
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--precision', choices=['bf16', 'f32'], default='bf16')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--clips', type=int, default=0, help='use so many clips of each split only')
    p.add_argument('--report', type=int, default=100, help='steps between lines of the log')
    p.add_argument('--save-minutes', type=float, default=5)
    return p.parse_args()


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(os.cpu_count())
    run = Run(args)
    print(f'{len(run.data.train)} clips to train on, {len(run.data.val)} of other people to check, on {args.device}', flush=True)
    train_generator(run, train_reader(run))


if __name__ == '__main__':
    main()
