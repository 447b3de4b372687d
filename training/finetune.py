#!/usr/bin/env python3
"""The bundled network, made to know one person: for who makes the same avatar speak every day.

    python3 training/finetune.py --video anna.mp4 --name anna
    koubo generate --model koubo-lips-anna -a speech.wav -i anna.mp4 -o out.mp4

One or two minutes in which the person talks to the camera are enough. Of one video the last tenth is kept to check with, of
several the last. models/koubo-lips-NAME.safetensors appears only if the person comes out better there than from the bundled network.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

import torch

import train
from evaluate import here, load_network
from generator import measure_val, train_generator
from network import load_module
from reader import LipReader
from run import Run

WORSE = 0.03  # of correlation, that is chance on a tail of some seconds


def make_data(args):
    folder, list_path = os.path.join(args.run, 'data'), os.path.join(args.run, 'videos.txt')
    videos = '\n'.join(os.path.abspath(v) for v in args.video)
    if os.path.exists(os.path.join(folder, 'index.json')):
        if os.path.exists(list_path) and open(list_path, encoding='utf-8').read() != videos:
            raise SystemExit(f'{args.run} was begun with other videos; name another folder with --run')
        return folder
    try:
        made = subprocess.run([args.koubo, 'dataset', *args.video, '-o', folder]).returncode
    except OSError as error:
        raise SystemExit(f"cannot run '{args.koubo}': {error.strerror}; build koubo first, or name it with --koubo")
    if made not in (0, 6):  # 6: some videos were of no use, as the lines above say
        raise SystemExit('koubo could not make training data of these videos; the lines above say why')
    with open(list_path, 'w', encoding='utf-8') as f:
        f.write(videos)
    return folder


def arguments():
    root = os.path.join(here, '..')
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--video', required=True, action='append', help='the person, talking; with sound')
    p.add_argument('--name', required=True, help='the network will be koubo-lips-NAME')
    p.add_argument('--minutes', type=float, default=20, help='of training (20); 0 = count steps')
    p.add_argument('--steps', type=int, default=0)
    p.add_argument('--start', default=os.path.join(root, 'models', 'koubo-lips.safetensors'), help='default: the bundled network')
    p.add_argument('--run', help='folder of the work (finetune-NAME); begun again with it, it goes on')
    p.add_argument('--models', default=os.path.join(root, 'models'), help='folder of the result')
    p.add_argument('--judges', default=os.path.join(here, 'judges'))
    p.add_argument('--koubo', default=os.path.join(root, 'build', 'koubo'))
    p.add_argument('--batch', type=int, default=16)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = p.parse_args()
    if not re.fullmatch(r'[\w-]{1,40}', args.name):
        raise SystemExit('--name takes up to 40 letters, digits, - and _')
    for path in (args.start, os.path.join(args.judges, 'reader.safetensors')):
        if not os.path.exists(path):
            raise SystemExit(f"'{path}' is missing; see --start and --judges")
    if not os.access(args.models, os.W_OK):
        raise SystemExit(f"'{args.models}' is no folder that can be written; see --models")
    args.run = args.run or f'finetune-{args.name}'
    return args


def main():
    args = arguments()
    name = f'koubo-lips-{args.name}'
    data = make_data(args)
    run = Run(train.arguments([
        '--data', data, '--out', args.run, '--start', args.start, '--name', name, '--minutes', str(args.minutes), '--steps', str(args.steps),
        '--batch', str(args.batch), '--rate', '2e-4', '--listener-rate', '0', '--device', args.device, '--save-minutes', '3',
        '--training-data', f'{name}: one person, beside what {os.path.basename(args.start)} was trained on, whose terms hold']))
    torch.manual_seed(1)
    torch.set_num_threads(os.cpu_count())
    reader = load_module(LipReader(), os.path.join(args.judges, 'reader.safetensors')).to(args.device)
    network, run.data.columns, run.data.offset_s = load_network(args.start, args.device)
    before = measure_val(run, network, reader)
    train_generator(run, reader, None, None)
    made = run.path(f'{name}.safetensors')
    after = measure_val(run, load_network(made, args.device)[0], reader)
    for what in ('lips_psnr_db', 'aperture_correlation', 'amplitude'):
        print(f'{what:22} before {before[what]:.3f}  after {after[what]:.3f}')
    if after['lips_psnr_db'] <= before['lips_psnr_db'] or after['aperture_correlation'] < before['aperture_correlation'] - WORSE:
        raise SystemExit(f'no better than before: nothing was written to {args.models}; give it more minutes or more video')
    result = os.path.join(args.models, f'{name}.safetensors')
    shutil.copyfile(made, result + '.part')
    os.replace(result + '.part', result)
    print(f"written: {result}; use it with --model {name}")


if __name__ == '__main__':
    sys.exit(main())
