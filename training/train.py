#!/usr/bin/env python3
"""From the training data to koubo-lips.safetensors.

    python3 training/train.py --data DATASET --out RUN                        all stages, then the export
    python3 training/train.py --data DATASET --out RUN --minutes 30           stop by the clock, learning rate with it
    python3 training/train.py --data DATASET --out RUN --start models/koubo-lips.safetensors   not from scratch

Stages: `reader` learns to read lip landmarks from true pictures and is frozen; `speech` teaches the network's listener,
without pictures, what lips do; `sync` learns which speech belongs to which mouth and is frozen; `generator` learns to draw
the lower half so that it looks like the truth and the reader reads the true landmarks in it, with --sync-weight also so that
sync finds that the speech fits, with --sharp-weight so that a critic takes it for true. RUN keeps a checkpoint of each (begin
again with the same command to go on), log.csv, sheets of samples, the exported network, and reader and sync to judge with.
"""
import argparse
import os

import torch

from generator import train_generator
from network import write_module
from reader import train_reader
from run import Run
from speech import train_speech
from sync import LENGTH, train_sync


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder that koubo dataset made')
    p.add_argument('--out', required=True, help='folder for checkpoints, log and the exported network')
    p.add_argument('--start', help='an exported network to go on from, instead of from scratch')
    p.add_argument('--name', default='koubo-lips', help='of the exported network')
    p.add_argument('--training-data', default='own videos', help='what to write into the network about it, terms included')
    p.add_argument('--minutes', type=float, default=60, help='of the generator (60); 0 = count steps')
    p.add_argument('--steps', type=int, default=0, help='of the generator, with --minutes 0')
    p.add_argument('--reader-minutes', type=float, default=6)
    p.add_argument('--reader-steps', type=int, default=0)
    p.add_argument('--speech-minutes', type=float, default=12)
    p.add_argument('--speech-steps', type=int, default=0)
    p.add_argument('--trust', metavar='GROUP', help='the group of clips whose sound is exactly in time: the exported window fits them')
    p.add_argument('--keep-encoder', action='store_true', help='with --start: leave the encoder of the pictures as it is; faster')
    p.add_argument('--keep-listener', action='store_true', help='with --start: its listener, not that of the stage speech')
    p.add_argument('--shake', type=float, default=1.0, help='how strongly pictures are turned, shifted and coloured')
    p.add_argument('--batch', type=int, default=32)
    p.add_argument('--rate', type=float, default=1e-3, help='learning rate of the generator')
    p.add_argument('--listener-rate', type=float, default=0.2, help='of the listener, as a part of that')
    p.add_argument('--lips-weight', type=float, default=8)
    p.add_argument('--points-weight', type=float, default=10)
    p.add_argument('--sync-weight', type=float, default=0, help='of sync as a loss; 0.1 wants a GPU')
    p.add_argument('--sync-minutes', type=float, default=6, help='0 and no steps: left out, as with the other stages')
    p.add_argument('--sync-steps', type=int, default=0)
    p.add_argument('--sync-batch', type=int, default=64, help='sequences of five frames')
    p.add_argument('--sharp-weight', type=float, default=0, help='of a critic around the mouth; 0 = without one')
    p.add_argument('--sharp-from', type=float, default=0.5, help='the part of the generator after which the critic speaks')
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--precision', choices=['bf16', 'f32'], help='bf16 on a GPU and where the processor computes in it, else f32')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--clips', type=int, default=0, help='use so many clips of each split only')
    p.add_argument('--report', type=int, default=100, help='steps between lines of the log')
    p.add_argument('--save-minutes', type=float, default=5)
    args = p.parse_args(argv)
    args.precision = args.precision or ('bf16' if has_bf16(args.device) else 'f32')
    if (args.keep_encoder or args.keep_listener) and not args.start:
        p.error('--keep-encoder and --keep-listener keep those of --start')
    if args.batch % LENGTH and args.sync_weight or args.sync_batch % 2:
        p.error(f'--sync-batch must be even, and --batch a multiple of {LENGTH} with --sync-weight')
    return args


def has_bf16(device):
    if device.startswith('cuda'):
        return torch.cuda.is_bf16_supported()
    try:
        with open('/proc/cpuinfo', encoding='ascii', errors='replace') as f:
            return 'avx512_bf16' in f.read()
    except OSError:
        return False


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(os.cpu_count())
    run = Run(args)
    print(f'{len(run.data.train)} clips to train on, {len(run.data.val)} to check, on {args.device}', flush=True)
    reader, speech, sync = train_reader(run), train_speech(run), train_sync(run)
    write_module(run.path('reader.safetensors'), reader)
    write_module(run.path('sync.safetensors'), sync)
    train_generator(run, reader, sync if args.sync_weight else None, None if args.keep_listener else speech)


if __name__ == '__main__':
    main()
