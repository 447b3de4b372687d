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

import numpy as np
import torch

import follow
import motion
from data import SIZE, Dataset, aperture, check_split, correlation, mirror_order
from network import COLUMNS, Network, listener_graph, read_safetensors, write_safetensors
from speech import Speech

here = os.path.dirname(os.path.abspath(__file__))
program = os.environ.get('KOUBO_PROGRAM')
folder = tempfile.TemporaryDirectory()


def mouth(x, y, wide, high):
    """40 points: two rings, each from the left corner below to the right one and back above."""
    ring = []
    for scale in (1.0, 0.7):
        angles = np.pi - np.pi * np.arange(20) / 10
        ring.append(np.stack([x + scale * wide * np.cos(angles), y + scale * high * np.sin(angles)], 1))
    return np.concatenate(ring)


def make_dataset(path, n_clips=6, n=40, seed=1):
    """People whose mouths open as far as their speech is loud."""
    random = np.random.default_rng(seed)
    clips, mels, lips, rows = [], [], [], 0
    for i in range(n_clips):
        mel_n = int(n * 3.2) + 8
        loud = np.convolve(random.random(mel_n + 19), np.ones(20) / 20, 'valid')
        loud = (loud - loud.min()) / (loud.max() - loud.min())
        mels.append(np.repeat((60 * loud).astype(np.uint8)[:, None], 80, 1))
        for k in range(n):
            high = 2 + 12 * loud[min(mel_n - 1, round(3.2 * k))]
            lips.append(mouth(64 + np.sin(k / 9), 96, 20, high) * 2)
        clips.append({'name': f'{i}.mp4', 'frame': i * n, 'n': n, 'mel': rows, 'mel_n': mel_n, 'mel_lead': 0.0,
                      'split': 'val' if i >= n_clips * 2 // 3 else 'train', 'group': 'other', 'cluster': -1})
        rows += mel_n
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


def the_listener_learns():
    out = os.path.join(folder.name, 'run')
    command = [sys.executable, os.path.join(here, 'train.py'), '--data', folder.name, '--out', out, '--device', 'cpu', '--minutes', '0', '--report', '5']
    subprocess.run(command + ['--steps', '20'], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(command + ['--steps', '40'], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, 'log.csv'), newline='', encoding='utf-8') as f:
        log = [(stage, int(step), dict(v.split('=') for v in values)) for stage, step, _, *values in csv.reader(f)]
    equal([step for stage, step, _ in log if stage == 'speech-1'], [5, 10], 'resumed, not begun again')
    follows = [float(v['follows']) for _, _, v in log if 'follows' in v]
    equal(len(follows), 8, 'two lines of each round')
    assert follows[-1] > follows[0] + 0.1, f'the listener learns: {follows}'
    arrays, metadata = read_safetensors(os.path.join(out, 'listener.safetensors'))
    equal(Network(*listener_graph()).take(arrays), [], 'what motion.py needs is there')
    equal(metadata['training_data'], 'own videos', 'metadata')


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


def a_head_is_found_where_there_is_one():
    # Clips whose lips are a known map of what is heard, each moved by some samples and with a mean of its own.
    generator = torch.Generator().manual_seed(4)
    true = torch.randn(3 * 224, 80, generator=generator) / 100
    smooth = torch.ones(224, 1, 9) / 3
    clips, late = [], [0, 2, -1.5, 0.5, -2, 1]
    for moved in late:
        features = torch.randn(1, 224, 240, generator=generator)
        features = torch.nn.functional.conv1d(features, smooth, groups=224, padding=4)[0].T
        place = 20 + 1.6 * torch.arange(120)
        lips = motion.neighbours(features, place + moved, 3) @ true + torch.randn(80, generator=generator)
        clips.append(motion.SimpleNamespace(features=features, place=place, lips=lips, opening=motion.opening(lips), group='one'))
    near(motion.misfits(clips, true), np.array(late) - np.mean(late), 1e-6, 'how late')
    head = motion.fit(clips, late, 3, 1e-3)
    near(head, true, 1e-3, 'the head')
    heard = motion.at(motion.tell(clips[0].features, head), clips[0].place)
    near(heard, motion.neighbours(clips[0].features, clips[0].place, 3) @ head, 1e-4, 'at once or place by place')


def mouths_told_are_symmetric():
    lips = torch.from_numpy(mouth(70, 92, 14, 8)).float() / SIZE
    lips[3] += 0.02
    twice = motion.symmetric(lips)
    near(motion.symmetric(twice), twice, 1e-6, 'symmetric already')
    near(aperture(twice), aperture(lips), 1e-6, 'as open')
    direction = motion.opening_direction([motion.SimpleNamespace(lips=torch.stack([twice, twice * 1.1]).flatten(1))])
    near(aperture(direction), 1, 1e-4, 'opens by 1')


def the_curve_is_what_the_engine_does():
    knots = np.array([[0.0, 0.0], [0.01, 0.0], [0.1, 0.18]])
    near(motion.curve_at(knots, np.array([-1, 0, 0.01, 0.055, 0.1, 0.2])), [0, 0, 0, 0.09, 0.18, 0.28], 1e-6, 'curve')


def speech_moves_lips():
    out, start = (os.path.join(folder.name, n) for n in ('motion.safetensors', 'random.safetensors'))
    torch.manual_seed(3)
    write_safetensors(start, Network(*listener_graph()).folded(), {'format': 'koubo'})
    told = subprocess.run([sys.executable, os.path.join(here, 'motion.py'), '--data', folder.name, '--start', start, '--out', out, '--rounds', '2',
                           '--trust', 'other', '--ridge', '0.01', '--name', 'other'], check=True, capture_output=True, text=True).stdout
    arrays, metadata = read_safetensors(out)
    figures = json.loads(metadata['figures'])['all']
    assert figures['correlation'] > 0.8 and 0.5 < figures['amplitude_median'] < 2, told  # their mouths open as speech is loud
    equal((metadata['format'], metadata['name'], metadata['rate'], figures['clips']), ('koubo-motion', 'other', '40', 2), 'contract')
    ops, columns = json.loads(metadata['graph']), json.loads(metadata['inputs'])['mel'][3]
    equal({op['op'] for op in ops}, {'conv2d'}, 'operations')
    network = Network(ops, {op['output']: arrays[op['weight']].shape for op in ops}).eval()
    equal(network.take(arrays), [], 'all weights are there')
    with torch.no_grad():
        silence = network(mel=torch.full((1, 1, 80, columns), -4.0))
        near(silence, torch.zeros_like(silence), 1e-5, 'silence')
        mel = torch.randn(1, 1, 80, columns)
        wanted = network(mel=mel)
    equal(tuple(wanted.shape), (1, 80, 1, motion.STRETCH), 'a stretch')
    if program:
        files = {k: os.path.join(folder.name, k) for k in ('mel.npy', 'out.npy')}
        np.save(files['mel.npy'], mel.numpy())
        subprocess.run([program, 'model', 'run', out, '--input', f"mel={files['mel.npy']}", '-o', files['out.npy'], '--precision', 'f32', '-q'], check=True)
        near(np.load(files['out.npy']), wanted, 1e-4, 'engine against PyTorch')


def faces(n_people=12, n=40, seed=5):
    """People who turn their heads and whose chins go half as far as their lips."""
    random = np.random.default_rng(seed)
    other = follow.partners()
    mean = random.uniform(0.2, 0.8, (follow.N_POINTS, 3))
    mean[follow.RIGID[:10], :2] = follow.UNITS
    mean[follow.PLACE[10], :2], mean[follow.PLACE[152], :2] = (0.5, 0.1), (0.5, 0.95)
    mean = (mean + mean[other] * [-1, 1, 1] + [1, 0, 0]) / 2
    for _ in range(n_people):
        frames = np.repeat(mean[None], n, 0)
        frames[:, follow.LIPS, :2] += random.normal(0, 0.02, (n, 40, 2))
        lower = frames[:, follow.PLACE[17], 1] - mean[follow.PLACE[17], 1]
        for point in follow.MOVED:
            frames[:, follow.PLACE[point], 1] += 0.5 * lower
        posed = []
        for frame in frames:
            turn, _ = np.linalg.qr(np.eye(3) + random.normal(0, 0.1, (3, 3)))
            turn *= np.sign(np.diag(turn))
            posed.append(random.uniform(100, 300) * frame @ turn.T + random.normal(0, 50, 3))
        yield frames, np.stack(posed)


def a_head_that_turns_moves_no_lips():
    for frames, posed in faces(2):
        near(follow.displacements(follow.canonical(posed))[0], follow.displacements(frames)[0], 2e-3, 'lips without the pose')


def the_chin_follows():
    people = [follow.canonical(posed) for _, posed in faces()]
    weights, figures = follow.fit(people, 1e-6)
    assert min(v[1] for k, v in figures['explained'].items() if k != 'depth of the lips') > 0.98, figures
    chin = weights[:, 3 * follow.MOVED.index(152) + 1]
    near(chin[2 * 15 + 1], 0.5, 0.02, 'of the lower lip')
    near(np.delete(chin, 31), 0, 0.02, 'of the others')
    path = os.path.join(folder.name, 'follow.safetensors')
    follow.export(path, weights, figures, 'made up')
    arrays, metadata = read_safetensors(path)
    near(arrays['moved'][follow.MOVED.index(152), 1], chin, 1e-3, 'written')
    equal((arrays['lips_depth'].shape, json.loads(metadata['points'])[20:22]), ((40, 80), [57, 43]), 'written')


def tracks_are_read():
    clips = os.environ.get('KOUBO_CLIPS')
    if not program or not clips:
        return 'no KOUBO_PROGRAM, or no KOUBO_CLIPS'
    tracks, out = os.path.join(folder.name, 'tracks'), os.path.join(folder.name, 'own.safetensors')
    subprocess.run([program, 'preprocess', '-q', '-o', tracks, os.path.join(clips, 'square_512.mp4'), os.path.join(clips, 'two_people_720p.mp4')],
                   check=True, stdout=subprocess.DEVNULL)
    read = [frames for name in sorted(os.listdir(tracks)) for frames in follow.read_track(os.path.join(tracks, name))]
    equal(len(read), 3, 'faces')
    for frames in read:
        right, left, chin = (frames[:, follow.PLACE[i]] for i in (33, 263, 152))
        assert (right[:, 0] < left[:, 0]).all() and (chin[:, 1] > right[:, 1]).all(), 'a face'
        assert abs(frames[..., 2]).max() < 2 * np.ptp(frames[..., 0]), 'its depth'
    subprocess.run([sys.executable, os.path.join(here, 'follow.py'), '--tracks', tracks, '--out', out], check=True, stdout=subprocess.DEVNULL)
    lower, chin = (json.loads(read_safetensors(out)[1]['figures'])['open by 0.08'][k] for k in ('lower lip', 'chin'))
    assert 0.2 * lower < chin[1] < lower, (lower, chin)


def main():
    make_dataset(folder.name)
    torch.manual_seed(1)
    tests = [the_split_may_not_leak, the_mel_window_stands_where_it_should, the_mirror_is_its_own_inverse, an_open_mouth_measures_open,
             a_clip_sounds_as_its_windows, another_frame_rate_moves_the_window, the_program_makes_what_training_reads, the_listener_learns,
             a_head_is_found_where_there_is_one, mouths_told_are_symmetric, the_curve_is_what_the_engine_does,
             speech_moves_lips, a_head_that_turns_moves_no_lips, the_chin_follows, tracks_are_read]
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
