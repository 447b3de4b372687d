#!/usr/bin/env python3
"""Tests of the recipe, as TAP: the parts against plain computations, then the whole of it on a tiny made-up dataset.

    KOUBO_PROGRAM=build/koubo python3 training/test.py [DATASET]
"""
import csv
import json
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import torch

from data import SIZE, Dataset, aperture, augment_pictures, check_split, correlation, mirror_order, mouth_mask
from network import Network, lip_sync_graph, read_safetensors, write_safetensors

here = os.path.dirname(os.path.abspath(__file__))
program = os.environ.get('KOUBO_PROGRAM')
folder = tempfile.TemporaryDirectory()


def mouth(x, y, wide, high):
    """40 points: two rings, each from the left corner below to the right one and back above."""
    ring = []
    for scale in (1.0, 0.7):
        angles = np.pi - np.pi * np.arange(20) / 10
        ring.append(np.stack([x + scale * wide * np.cos(angles), y + scale * high * np.sin(angles) * -1], 1))
    return np.concatenate(ring)


def make_dataset(path, n_clips=6, n=40):
    """People whose mouths open as far as their speech is loud."""
    random = np.random.default_rng(1)
    film = cv2.VideoWriter(os.path.join(path, 'faces.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 25, (SIZE, SIZE))
    clips, mels, lips, rows = [], [], [], 0
    for i in range(n_clips):
        mel_n = int(n * 3.2) + 8
        loud = np.convolve(random.random(mel_n + 19), np.ones(20) / 20, 'valid')
        loud = (loud - loud.min()) / (loud.max() - loud.min())
        mels.append(np.repeat((60 * loud).astype(np.uint8)[:, None], 80, 1))
        skin = random.integers(100, 220, 3)
        for k in range(n):
            high = 2 + 12 * loud[min(mel_n - 1, round(3.2 * k))]
            points = mouth(64 + np.sin(k / 9), 96, 20, high)
            picture = np.empty((SIZE, SIZE, 3), np.uint8)
            picture[:] = skin
            cv2.fillPoly(picture, [points[:20].round().astype(np.int32)], (60, 60, 200))
            cv2.fillPoly(picture, [points[20:].round().astype(np.int32)], (20, 10, 30))
            film.write(picture)
            lips.append(points * 2)
        clips.append({'name': f'{i}.mp4', 'frame': i * n, 'n': n, 'mel': rows, 'mel_n': mel_n, 'mel_lead': 0.0,
                      'split': 'val' if i >= n_clips - 2 else 'train', 'group': 'other', 'cluster': -1, 'face_px': 128})
        rows += mel_n
    film.release()
    np.savez(os.path.join(path, 'mel_lips.npz'), mel=np.concatenate(mels), lips=np.array(lips).round().astype(np.uint8))
    with open(os.path.join(path, 'index.json'), 'w', encoding='utf-8') as f:
        json.dump({'clips': clips}, f)


def equal(a, b, what):
    assert a == b, f'{what}: {a}, wanted {b}'


def near(a, b, limit, what):
    distance = float((torch.as_tensor(a) - torch.as_tensor(b)).abs().max())
    assert distance <= limit, f'{what}: {distance} away, at most {limit}'


def the_split_may_not_leak():
    clip = {'name': 'a', 'cluster': 3, 'group': 'arabic'}
    check_split([clip], [{**clip, 'name': 'b', 'cluster': 4}])
    check_split([clip], [{**clip, 'name': 'b', 'group': 'grid'}])  # clusters are numbered in each group
    for leak in ({**clip, 'name': 'b'}, {**clip, 'cluster': 4}):
        try:
            check_split([clip], [leak])
        except SystemExit:
            continue
        raise AssertionError(f'{leak} beside {clip} is no leak?')


def the_real_split_does_not_leak():
    path = os.path.join(sys.argv[1] if len(sys.argv) > 1 else '', 'index.json')
    if not os.path.exists(path):
        return 'no dataset here'
    with open(path, encoding='utf-8') as f:
        clips = json.load(f)['clips']
    check_split([c for c in clips if c['split'] == 'train'], [c for c in clips if c['split'] == 'val'])
    assert sum(c['split'] == 'val' for c in clips) > 0, 'no clip to validate on'


def the_mel_window_stands_where_it_should():
    d = Dataset(folder.name, columns=16, offset_s=-0.08)
    clip = d.train[1]
    rows, lead = d.make_table([clip])
    windows = d.mel_windows(rows, lead)
    equal(tuple(windows.shape), (clip['n'], 1, 80, 16), 'shape')
    start = round(80 * (10 / 25 - 0.08))
    wanted = d.mel[clip['mel'] + start:clip['mel'] + start + 16, 0].float() * 8 / 63 - 4
    near(windows[10, 0, 0], wanted, 1e-6, 'frame 10')
    near(windows[0, 0, 0, :6], windows[0, 0, 0, :1].expand(6), 1e-6, 'before the clip its first column')


def landmarks_go_where_the_picture_goes():
    # A picture that is red where the mouth is: its centre of mass must move with the points.
    lips = torch.from_numpy(mouth(70, 92, 14, 8)).float()[None].repeat(16, 1, 1) / SIZE
    mask = torch.nn.functional.pad(mouth_mask(lips, grow=0), (0, 0, 64, 0)).expand(-1, 3, -1, -1)
    _, _, moved = augment_pictures(mask, mask, lips, torch.Generator().manual_seed(1))
    warped, _, _ = augment_pictures(mask, mask, lips, torch.Generator().manual_seed(1))
    weight = (warped[:, 0] - warped[:, 0].amin(dim=(1, 2), keepdim=True))
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing='ij')
    total = weight.sum(dim=(1, 2))
    centre = torch.stack([(weight * x).sum(dim=(1, 2)) / total, (weight * y).sum(dim=(1, 2)) / total], 1)
    near(centre, moved[:, :20].mean(1) * SIZE, 0.7, 'centre of the mouth')
    assert float((moved[:, 0, 0] < moved[:, 10, 0]).float().mean()) == 1, 'after a flip the left corner is the left one'


def the_mirror_is_its_own_inverse():
    order = mirror_order()
    equal([order[i] for i in order], list(range(40)), 'twice')
    points = torch.from_numpy(mouth(64, 90, 20, 9))
    mirrored = points.clone()
    mirrored[:, 0] = 128 - mirrored[:, 0]
    near(mirrored[order], points, 1e-9, 'a symmetric mouth')


def an_open_mouth_measures_open():
    small, large = (aperture(torch.from_numpy(mouth(64, 90, 20, h))) for h in (2, 10))
    near(large / small, 5, 1e-6, 'five times as high')
    assert correlation(torch.arange(9.0), 3 * torch.arange(9.0) + 1) > 0.999


def export_matches_the_engine():
    if not program:
        return 'no KOUBO_PROGRAM'
    torch.manual_seed(2)
    ops, shapes = lip_sync_graph()
    network = Network(ops, shapes)
    for norm in network.norms.values():  # as if trained
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    network.eval()
    mel, face = torch.randn(2, 1, 80, 32), torch.rand(2, 6, 128, 128)
    files = {k: os.path.join(folder.name, k) for k in ('n.safetensors', 'mel.npy', 'face.npy', 'out.npy')}
    write_safetensors(files['n.safetensors'], network.folded(), {
        'format': 'koubo', 'graph': json.dumps(ops), 'output': json.dumps({'lower_face': [-1, 3, 64, 128]}),
        'inputs': json.dumps({'mel': [-1, 1, 80, 32], 'face': [-1, 6, 128, 128]})})
    np.save(files['mel.npy'], mel.numpy())
    np.save(files['face.npy'], face.numpy())
    subprocess.run([program, 'model', 'run', files['n.safetensors'], '--input', f"mel={files['mel.npy']}", '--input',
                    f"face={files['face.npy']}", '-o', files['out.npy'], '--precision', 'f32', '-q'], check=True)
    # What was written is fp16, so that is what is compared.
    again = Network(ops, shapes, norm=False)
    again.start_from(files['n.safetensors'])
    with torch.no_grad():
        wanted, trained = again(mel, face), network(mel, face)
    near(np.load(files['out.npy']), wanted, 1e-3, 'engine against PyTorch')
    near(wanted, trained, 5e-3, 'folded and rounded against trained')


def a_network_with_a_wider_window_begins_as_the_old_one():
    narrow = Network(*lip_sync_graph(columns=16), norm=False)
    path = os.path.join(folder.name, 'narrow.safetensors')
    write_safetensors(path, narrow.folded(), {})
    wide = Network(*lip_sync_graph(columns=32), norm=False)
    wide.start_from(path)
    narrow.start_from(path)
    # With silence outside the old window's margins both see nearly the same.
    mel, face = torch.randn(1, 1, 80, 16), torch.rand(1, 6, 128, 128)
    with torch.no_grad():
        near(wide(torch.nn.functional.pad(mel, (8, 8)), face), narrow(mel, face), 2e-2, 'output')


def the_recipe_runs_from_data_to_file():
    out = os.path.join(folder.name, 'run')
    command = [sys.executable, os.path.join(here, 'train.py'), '--data', folder.name, '--out', out, '--device', 'cpu', '--minutes', '0',
               '--reader-minutes', '0', '--reader-steps', '40', '--batch', '8', '--report', '5', '--rate', '2e-3']
    subprocess.run(command + ['--steps', '20'], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(command + ['--steps', '30'], check=True, stdout=subprocess.DEVNULL)  # goes on
    with open(os.path.join(out, 'log.csv'), newline='', encoding='utf-8') as f:
        log = [(stage, int(step), dict(v.split('=') for v in values)) for stage, step, _, *values in csv.reader(f)]
    steps = [s for stage, s, _ in log if stage == 'generator']
    equal(steps, [5, 10, 15, 20, 25, 30], 'resumed, not begun again')
    losses = [float(v['picture']) for stage, _, v in log if stage == 'generator']
    assert losses[-1] < 0.7 * losses[0], f'the loss falls: {losses}'
    reader = [float(v['reader']) for stage, _, v in log if stage == 'reader']
    assert reader[-1] < 0.5 * reader[0], f'the reader learns: {reader}'
    arrays, metadata = read_safetensors(os.path.join(out, 'koubo-lips.safetensors'))
    equal(arrays['out.weight'].shape, (12, 32, 3, 3), 'weights')
    assert 'aperture_correlation' in json.loads(metadata['figures'])
    assert any(name.startswith('sheet-') for name in os.listdir(out)), 'a sheet of samples'
    if program:
        told = subprocess.run([program, 'model', 'info', os.path.join(out, 'koubo-lips.safetensors'), '--lang', 'en'],
                              check=True, capture_output=True, text=True).stdout
        assert 'aperture_correlation' in told, told


def main():
    make_dataset(folder.name)
    torch.manual_seed(1)
    tests = [the_split_may_not_leak, the_real_split_does_not_leak, the_mel_window_stands_where_it_should,
             landmarks_go_where_the_picture_goes, the_mirror_is_its_own_inverse, an_open_mouth_measures_open,
             export_matches_the_engine, a_network_with_a_wider_window_begins_as_the_old_one, the_recipe_runs_from_data_to_file]
    print(f'1..{len(tests)}', flush=True)
    failed = 0
    for i, test in enumerate(tests, 1):
        try:
            skipped = test()
            print(f"ok {i} - {test.__name__}{f' # {skipped}' if skipped else ''}", flush=True)
        except Exception as error:
            failed += 1
            print(f'# {type(error).__name__}: {error}\nnot ok {i} - {test.__name__}', flush=True)
    sys.exit(failed > 0)


if __name__ == '__main__':
    main()
