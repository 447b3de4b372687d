"""What a training needs: its folder, and how far the clock says it is."""
import csv
import math
import os
import time

import torch


class Run:
    """A folder with a checkpoint for each seed, and a log. args: out, minutes or steps, report, save_minutes."""

    def __init__(self, args):
        self.args = args
        os.makedirs(args.out, exist_ok=True)

    def path(self, name):
        return os.path.join(self.args.out, name)

    def save(self, seed, step, seconds, states):
        torch.save({'step': step, 'seconds': seconds, **{k: v.state_dict() for k, v in states.items()}}, self.path(f'new-{seed}.pt'))
        os.replace(self.path(f'new-{seed}.pt'), self.path(f'checkpoint-{seed}.pt'))

    def load(self, seed, states):
        """(step, seconds spent) of the checkpoint; (0, 0) without one."""
        path = self.path(f'checkpoint-{seed}.pt')
        if not os.path.exists(path):
            return 0, 0.0
        saved = torch.load(path, map_location='cpu')
        for name, state in states.items():
            state.load_state_dict(saved[name])
        return saved['step'], saved['seconds']

    def log(self, seed, step, seconds, **values):
        values = {k: f'{float(v):.5f}' for k, v in values.items()}
        print(f'seed {seed} step {step} {seconds:.0f} s  ' + '  '.join(f'{k} {v}' for k, v in values.items()), flush=True)
        with open(self.path('log.csv'), 'a', newline='', encoding='utf-8') as f:
            csv.writer(f).writerow([seed, step, f'{seconds:.0f}', *[f'{k}={v}' for k, v in values.items()]])

    def loop(self, seed, states, one_step, check):
        """Steps until the clock or the count says so. one_step(generator, how much is done of 1) returns losses; check() figures. The
        learning rate rises for 2 % of the time and then falls as a cosine. Goes on where a checkpoint is."""
        args = self.args
        optimizer = states['optimizer']
        rates = [g['lr'] for g in optimizer.param_groups]
        step, spent = self.load(seed, states)
        begin, first, sums, n, saved = time.time() - spent, step, {}, 0, spent
        while True:
            seconds = time.time() - begin
            done = max(seconds / (60 * args.minutes) if args.minutes else 0, step / args.steps if args.steps else 0)
            if done >= 1 or not (args.minutes or args.steps):
                break
            for group, rate in zip(optimizer.param_groups, rates):
                group['lr'] = rate * (min(1, done / 0.02 + 0.01) * (0.5 + 0.5 * math.cos(math.pi * done)) + 0.002)
            torch.manual_seed(seed * 1000003 + step)  # dropout
            losses = one_step(torch.Generator().manual_seed(seed * 1000003 + step), done)
            step, n = step + 1, n + 1
            for k, v in losses.items():
                sums[k] = sums.get(k, 0) + v.detach()
            if step % args.report == 0:
                self.log(seed, step, time.time() - begin, **{k: v / n for k, v in sums.items()})
                sums, n = {}, 0
            if time.time() - begin - saved > 60 * args.save_minutes:
                saved = time.time() - begin
                self.save(seed, step, saved, states)
                self.log(seed, step, saved, **check())
        if step > first:
            self.save(seed, step, time.time() - begin, states)
            self.log(seed, step, time.time() - begin, **check())
