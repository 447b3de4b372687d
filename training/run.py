"""What every stage of training needs: its folder, its device, its clock."""
import csv
import math
import os
import time

import torch

from data import Dataset


class Run:
    """A folder with checkpoints and a log, the device, and how far the clock says a stage is."""

    def __init__(self, args):
        self.args = args
        os.makedirs(args.out, exist_ok=True)
        self.device = args.device
        self.half = args.precision == 'bf16'
        self.data = Dataset(args.data, args.device, args.clips)

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
        saved = torch.load(self.path(f'{stage}.pt'), map_location='cpu')
        missing = [name for name in states if name not in saved]
        if missing:
            raise SystemExit(f"{self.path(f'{stage}.pt')} has no {', '.join(missing)}: it was begun with other options; take another --out")
        for name, state in states.items():
            state.load_state_dict(saved[name])
        return saved['step'], saved['seconds']

    def log(self, stage, step, seconds, **values):
        values = {k: f'{float(v):.5f}' for k, v in values.items()}
        print(f'{stage} step {step} {seconds:.0f} s  ' + '  '.join(f'{k} {v}' for k, v in values.items()), flush=True)
        with open(self.path('log.csv'), 'a', newline='', encoding='utf-8') as f:
            csv.writer(f).writerow([stage, step, f'{seconds:.0f}', *[f'{k}={v}' for k, v in values.items()]])

    def loop(self, stage, minutes, steps, states, one_step, report):
        """Steps until the clock or the count says so; without both the stage is left out. one_step(generator) returns losses;
        report(step) figures. The learning rate rises for 2 % of the stage and then falls as a cosine. Returns the step, and
        whether anything was done now."""
        args = self.args
        optimizer, schedule_of = states['optimizer'], [g['lr'] for g in states['optimizer'].param_groups]
        step, spent = self.load(stage, **states)
        begin, sums, n = time.time() - spent, {}, 0
        last_report, first = spent, step
        while True:
            seconds = time.time() - begin
            done = max(seconds / (60 * minutes) if minutes else 0, step / steps if steps else 0, not (minutes or steps))
            if done >= 1:
                break
            rate = min(1, done / 0.02 + 0.01) * (0.5 + 0.5 * math.cos(math.pi * done)) + 0.002
            for group, base in zip(optimizer.param_groups, schedule_of):
                group['lr'] = base * rate
            generator = torch.Generator().manual_seed(args.seed * 1000003 + step)
            torch.manual_seed(args.seed * 1000003 + step)  # dropout
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
        if step == first:
            return step, False
        self.save(stage, step, time.time() - begin, **states)
        self.log(stage + ' val', step, time.time() - begin, **report(step))
        return step, True
