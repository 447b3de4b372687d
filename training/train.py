#!/usr/bin/env python3
"""From the training data to a listener, on which motion.py puts the head of koubo-lips.safetensors.

    python3 training/train.py --data DATASET --out RUN                  by the clock, learning rate with it
    python3 training/train.py --data DATASET --out RUN --minutes 0 --steps 8000

RUN keeps a checkpoint of each round (begin again with the same command to go on), log.csv and listener.safetensors.
"""
import argparse
import os

import torch

from network import write_safetensors
from run import Run
from speech import train_speech


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder that koubo dataset made')
    p.add_argument('--out', required=True, help='folder for checkpoints, log and the listener')
    p.add_argument('--training-data', default='own videos', help='what to write into the file about it, terms included')
    p.add_argument('--minutes', type=float, default=12, help='of all rounds; 0 = count steps')
    p.add_argument('--steps', type=int, default=0, help='of all rounds, with --minutes 0')
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--precision', choices=['bf16', 'f32'], help='bf16 on a GPU and where the processor computes in it, else f32')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--clips', type=int, default=0, help='use so many clips of each split only')
    p.add_argument('--report', type=int, default=100, help='steps between lines of the log')
    p.add_argument('--save-minutes', type=float, default=5)
    args = p.parse_args(argv)
    args.precision = args.precision or ('bf16' if has_bf16(args.device) else 'f32')
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
    speech = train_speech(run)
    write_safetensors(run.path('listener.safetensors'), speech.listener.folded(), {'training_data': args.training_data})


if __name__ == '__main__':
    main()
