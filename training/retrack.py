#!/usr/bin/python3
"""A dataset of version 1, whose lips are landmarks of the plain mesh in crops of faces, as one of version 2: motion.

    python3 training/retrack.py --data OLD --koubo build/koubo --out NEW

The crops (faces.mp4) are cut into films, one a clip, and go through `koubo dataset` as anybody's own films do: refined lips, the head's pose
taken off, less the person's own closed mouth. The speech stays the old one's (mel_lips.npz), for the crops have none.
"""
import argparse
import json
import os
import shutil
import subprocess

import numpy as np

FPS, MEL_RATE = 25, 80


def cut(data, clips, folder):
    """folder/00000.mp4 …, one a clip, with a silent sound, for koubo dataset asks for one."""
    starts = [c['frame'] for c in clips[1:]]
    subprocess.run(['ffmpeg', '-v', 'error', '-y', '-i', os.path.join(data, 'faces.mp4'), '-f', 'lavfi', '-i', 'anullsrc=r=16000:cl=mono', '-shortest',
                    '-c:v', 'libx264', '-qp', '1', '-preset', 'ultrafast', '-c:a', 'aac',
                    '-force_key_frames', ','.join(f'{s / FPS - 0.005:.3f}' for s in starts), '-f', 'segment',
                    '-segment_frames', ','.join(map(str, starts)), '-reset_timestamps', '1', os.path.join(folder, '%05d.mp4')], check=True)


def joined(old, found):
    """The old clips as koubo found them: what is left of each, with its own speech."""
    clips = []
    for c in found:
        of = old[int(c['name'].split(' ')[1].split('.')[0])]
        first = int(c['name'].split('#')[1])
        clips.append({**{k: of[k] for k in ('mel', 'mel_n', 'split', 'group', 'cluster')}, 'name': of['name'] + (f'#{first}' if first else ''),
                      'frame': c['frame'], 'n': c['n'], 'fps': FPS, 'mel_lead': of['mel_lead'] + first * MEL_RATE / FPS})
    return clips


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='the folder of version 1: index.json, mel_lips.npz, faces.mp4')
    p.add_argument('--koubo', default='koubo', help='the program')
    p.add_argument('--out', required=True, help='the new folder')
    args = p.parse_args(argv)
    with open(os.path.join(args.data, 'index.json'), encoding='utf-8') as f:
        old = sorted(json.load(f)['clips'], key=lambda c: c['frame'])
    films = os.path.join(args.out, 'films')
    os.makedirs(films)
    cut(args.data, old, films)
    tracked = os.path.join(args.out, 'tracked')
    # A film that shows no face is said and left out; then the exit status is 5.
    done = subprocess.run([args.koubo, 'dataset', films, '-o', tracked, '--progress', 'none'], stdout=subprocess.DEVNULL)
    if not os.path.exists(os.path.join(tracked, 'index.json')):
        raise SystemExit(done.returncode or 1)
    with open(os.path.join(tracked, 'index.json'), encoding='utf-8') as f:
        index = json.load(f)
    clips = joined(old, index['clips'])
    os.replace(os.path.join(tracked, 'motion.npy'), os.path.join(args.out, 'motion.npy'))
    np.save(os.path.join(args.out, 'mel.npy'), np.load(os.path.join(args.data, 'mel_lips.npz'))['mel'])
    with open(os.path.join(args.out, 'index.json'), 'w', encoding='utf-8') as f:
        json.dump({**index, 'clips': clips}, f)
    shutil.rmtree(films)
    shutil.rmtree(tracked)
    lost = len(old) - len({c['name'].split('#')[0] for c in clips})
    print(f'{args.out}: {len(clips)} clips, {sum(c["n"] for c in clips)} frames; {lost} clips without a face were left out')


if __name__ == '__main__':
    main()
