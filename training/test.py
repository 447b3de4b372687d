#!/usr/bin/env python3
"""Tests of the recipe, as TAP: the parts against plain computations, then the whole of it on a tiny made-up dataset.

    meson test -C build-test training/recipe

KOUBO_PROGRAM names the built program, KOUBO_CLIPS the folder of clips that the build made (tests/clips).
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
from network import COLUMNS, Network, lip_sync_graph, read_safetensors, write_safetensors
from speech import Speech

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


def make_dataset(path, n_clips=6, n=40, seed=1):
    """People whose mouths open as far as their speech is loud."""
    random = np.random.default_rng(seed)
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
                      'split': 'val' if i >= n_clips * 2 // 3 else 'train', 'group': 'other', 'cluster': -1, 'face_px': 128})
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


def sequences_follow_each_other():
    d = Dataset(folder.name)
    mel, face, truth, lips = d.batch(8, torch.Generator().manual_seed(1), augment=False, length=5, pairs=True)
    equal(len(truth), 40, 'frames')
    # Mouths move little from frame to frame, references not at all, and pairs come from one person.
    reference = face[:, 3:].view(8, 5, 3, SIZE, SIZE)
    near(reference[:, 0], reference[:, 4], 0, 'one reference a sequence')
    skin = face[:, :3, 0, 0].view(8, 5, 3)[:, 0]
    near(skin[:4], skin[4:], 0.03, 'the halves of a pair')
    near(aperture(lips).view(8, 5).diff(dim=1).abs().max(), 0, 0.12, 'no jump')


def an_open_mouth_measures_open():
    small, large = (aperture(torch.from_numpy(mouth(64, 90, 20, h))) for h in (2, 10))
    near(large / small, 5, 1e-6, 'five times as high')
    assert correlation(torch.arange(9.0), 3 * torch.arange(9.0) + 1) > 0.999


def export_matches_the_engine():
    if not program:
        return 'no KOUBO_PROGRAM'
    torch.manual_seed(2)
    ops, shapes = lip_sync_graph()
    network = Network(ops, shapes, norm=('au', 'e', 'd'))
    for norm in network.norms.values():  # as if trained
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    network.eval()
    mel, face = torch.randn(2, 1, 80, COLUMNS), torch.rand(2, 6, 128, 128)
    files = {k: os.path.join(folder.name, k) for k in ('n.safetensors', 'mel.npy', 'face.npy', 'out.npy')}
    write_safetensors(files['n.safetensors'], network.folded(), {
        'format': 'koubo', 'graph': json.dumps(ops), 'output': json.dumps({'lower_face': [-1, 3, 64, 128]}),
        'inputs': json.dumps({'mel': [-1, 1, 80, COLUMNS], 'face': [-1, 6, 128, 128]})})
    np.save(files['mel.npy'], mel.numpy())
    np.save(files['face.npy'], face.numpy())
    subprocess.run([program, 'model', 'run', files['n.safetensors'], '--input', f"mel={files['mel.npy']}", '--input',
                    f"face={files['face.npy']}", '-o', files['out.npy'], '--precision', 'f32', '-q'], check=True)
    # What was written is fp16, so that is what is compared.
    again = Network(ops, shapes)
    equal(again.take(read_safetensors(files['n.safetensors'])[0]), [], 'all weights are there')
    with torch.no_grad():
        wanted, trained = again(mel=mel, face=face), network(mel=mel, face=face)
    near(np.load(files['out.npy']), wanted, 1e-3, 'engine against PyTorch')
    near(wanted, trained, 5e-3, 'folded and rounded against trained')


def a_clip_sounds_as_its_windows():
    d = Dataset(folder.name)
    speech = Speech().eval()
    with torch.no_grad():
        mel, at, _, there = d.speech_batch(3, 20, torch.Generator().manual_seed(1))
        equal(float(there.min()), 1.0, 'clips are long enough')
        at_once = speech(mel).gather(1, at[:, :, None, None].expand(-1, -1, 40, 2))
        for k in range(3):  # frame by frame, as the engine hears it
            windows = torch.stack([mel[k, :, :, 2 * i:2 * i + COLUMNS] for i in at[k].tolist()])
            near(speech(windows)[:, 0], at_once[k], 1e-5, 'a window alone')
    clip = d.train[0]
    rows, times = d.make_table([clip])
    starts = d.mel_starts(rows, times)
    near(d.mel_columns(rows[:1], starts[:1], COLUMNS + 64)[0, 0, :, 64:], d.mel_columns(rows[:1], starts[:1] + 64, COLUMNS)[0, 0], 0,
         'columns further on')


def another_frame_rate_moves_the_window():
    d = Dataset(folder.name, columns=16, offset_s=-0.08)
    rows, times = d.make_table([{**d.train[1], 'fps': 50}])
    equal(int(d.mel_starts(rows, times)[10]), round(80 * (10 / 50 - 0.08)), 'frame 10 at 50 frames a second')


def the_recipe_runs_from_data_to_file():
    out = os.path.join(folder.name, 'run')
    command = [sys.executable, os.path.join(here, 'train.py'), '--data', folder.name, '--out', out, '--device', 'cpu', '--minutes', '0',
               '--reader-minutes', '0', '--reader-steps', '40', '--speech-minutes', '0', '--speech-steps', '40', '--batch', '10', '--report', '5', '--rate', '2e-3',
               '--sync-weight', '0.1', '--sync-minutes', '0', '--sync-steps', '5', '--sync-batch', '8', '--sharp-weight', '0.02']
    subprocess.run(command + ['--steps', '20'], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(command + ['--steps', '75'], check=True, stdout=subprocess.DEVNULL)  # goes on
    with open(os.path.join(out, 'log.csv'), newline='', encoding='utf-8') as f:
        log = [(stage, int(step), dict(v.split('=') for v in values)) for stage, step, _, *values in csv.reader(f)]
    steps = [s for stage, s, _ in log if stage == 'generator']
    equal(steps, list(range(5, 80, 5)), 'resumed, not begun again')
    losses = [float(v['picture']) for stage, _, v in log if stage == 'generator']
    assert losses[-1] < 0.7 * losses[0], f'the loss falls: {losses}'
    reader = [float(v['reader']) for stage, _, v in log if stage == 'reader']
    assert reader[-1] < 0.5 * reader[0], f'the reader learns: {reader}'
    follows = [float(v['follows']) for stage, _, v in log if stage.startswith('speech-') and 'follows' in v]
    equal(len(follows), 8, 'two lines of each round')
    assert follows[-1] > follows[0] + 0.1, f'the listener learns: {follows}'
    arrays, metadata = read_safetensors(os.path.join(out, 'koubo-lips.safetensors'))
    equal(arrays['out.weight'].shape, (12, 32, 3, 3), 'weights')
    assert 'aperture_correlation' in json.loads(metadata['figures'])
    assert any(name.startswith('sheet-') for name in os.listdir(out)), 'a sheet of samples'
    told = subprocess.run([sys.executable, os.path.join(here, 'evaluate.py'), '--data', folder.name, '--judges', out, '--device', 'cpu',
                           '--network', os.path.join(out, 'koubo-lips.safetensors'), '--sheet', os.path.join(out, 'contact.png'), *(['--koubo', program] if program else []),
                           '--json', os.path.join(out, 'figures.json')], check=True, capture_output=True, text=True).stdout
    assert 'reference copied' in told, told
    with open(os.path.join(out, 'figures.json'), encoding='utf-8') as f:
        figures = json.load(f)
    equal(figures['truth']['correlation'], 1.0, 'the truth follows itself')
    equal(cv2.imread(os.path.join(out, 'contact.png')).shape, (2 * 2 * SIZE, 8 * SIZE, 3), 'two clips, truth and made')
    equal(figures['truth']['ssim'], 1.0, 'the truth looks like itself')
    late = figures['five frames late']
    assert late['at_lag_0'] < 0.9 and late['within_1'] == 0, late
    assert 'lse_c' in figures['made'], figures['made']
    if program:
        told = subprocess.run([program, 'model', 'info', os.path.join(out, 'koubo-lips.safetensors'), '--lang', 'en'],
                              check=True, capture_output=True, text=True).stdout
        assert 'aperture_correlation' in told, told


def the_program_makes_what_training_reads():
    clips = os.environ.get('KOUBO_CLIPS')
    if not program or not clips:
        return 'no KOUBO_PROGRAM, or no KOUBO_CLIPS'
    one, other, late, out = (os.path.join(clips, 'square_512.mp4'), os.path.join(clips, 'uneven_700.mp4'),
                             os.path.join(folder.name, 'late.mkv'), os.path.join(folder.name, 'own'))
    # Pictures that begin 0.2 s after their sound.
    subprocess.run(['ffmpeg', '-v', 'error', '-itsoffset', '0.2', '-i', one, '-i', one, '-map', '0:v', '-map', '1:a', '-c', 'copy', late],
                   check=True)
    subprocess.run([program, 'dataset', one, late, other, '-o', out, '-q'], check=True, stdout=subprocess.DEVNULL)
    d = Dataset(out)
    equal([(c['name'].split()[1], c['split']) for c in d.train + d.val],
          [('square_512.mp4#0', 'train'), ('late.mkv#0', 'train'), ('uneven_700.mp4#0', 'val')], 'clips')
    near(d.train[1]['mel_lead'] - d.train[0]['mel_lead'], 16, 2, 'columns that the sound is ahead, AAC priming included')
    near(d.val[0]['fps'], 22.5, 0.1, 'frame rate')
    opened = aperture(d.landmarks(torch.arange(d.val[0]['frame'], d.val[0]['frame'] + d.val[0]['n'])))
    assert 0 < float(opened.std()) < 0.1, opened


def one_person_is_learnt():
    out, run, models = (os.path.join(folder.name, n) for n in ('run', 'one', 'models'))
    os.makedirs(os.path.join(run, 'data'))
    os.makedirs(models)
    make_dataset(os.path.join(run, 'data'), n_clips=3, n=60, seed=7)
    told = subprocess.run([sys.executable, os.path.join(here, 'finetune.py'), '--video', 'is-there-already.mp4', '--name', 'one', '--run', run,
                           '--models', models, '--judges', out, '--start', os.path.join(out, 'koubo-lips.safetensors'), '--device', 'cpu',
                           '--minutes', '0', '--steps', '20', '--batch', '8'], capture_output=True, text=True)
    figures = {words[0]: (float(words[2]), float(words[4])) for words in (line.split() for line in told.stdout.splitlines())
               if words[1:2] == ['before']}
    assert figures['lips_psnr_db'][1] > figures['lips_psnr_db'][0], told.stdout + told.stderr
    # After so few steps the opening follows by chance: the network appears only if it does.
    better = figures['aperture_correlation'][1] >= figures['aperture_correlation'][0] - 0.03
    equal(told.returncode, 0 if better else 1, told.stdout + told.stderr)
    equal(os.listdir(models), ['koubo-lips-one.safetensors'] if better else [], 'only what is better')
    _, metadata = read_safetensors(os.path.join(run, 'koubo-lips-one.safetensors'))
    equal(metadata['name'], 'koubo-lips-one', 'name')
    _, before = read_safetensors(os.path.join(out, 'koubo-lips.safetensors'))
    equal({k for k in before if before[k] != metadata[k]} - {'name', 'figures', 'training_data'}, set(), 'the same contract')


def main():
    make_dataset(folder.name)
    torch.manual_seed(1)
    tests = [the_split_may_not_leak, the_mel_window_stands_where_it_should,
             landmarks_go_where_the_picture_goes, the_mirror_is_its_own_inverse, sequences_follow_each_other, an_open_mouth_measures_open,
             export_matches_the_engine, a_clip_sounds_as_its_windows, another_frame_rate_moves_the_window, the_program_makes_what_training_reads, the_recipe_runs_from_data_to_file,
             one_person_is_learnt]
    print(f'1..{len(tests)}', flush=True)
    failed = 0
    for i, test in enumerate(tests, 1):
        try:
            skipped = test()
            print(f"ok {i} - {test.__name__}{f' # SKIP {skipped}' if skipped else ''}", flush=True)
        except (Exception, SystemExit) as error:
            failed += 1
            print(f'# {type(error).__name__}: {error}\nnot ok {i} - {test.__name__}', flush=True)
    sys.exit(failed > 0)


if __name__ == '__main__':
    main()
