// Chance that can be repeated: the same seed and name roll the same numbers (mulberry32). One for each
// of those who act, so that none disturbs the others.
import { createHash } from 'node:crypto';

export class Dice {
    constructor(seed, name) {
        this.state = createHash('sha256').update(`${seed} ${name}`).digest().readUInt32LE(0);
    }

    roll() { // 0 up to, but not, 1
        this.state = (this.state + 0x6d2b79f5) >>> 0;
        let t = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    }

    between(low, high) {
        return low + this.roll() * (high - low);
    }

    below(n) {
        return Math.floor(this.roll() * n);
    }

    pick(list) {
        return list[this.below(list.length)];
    }
}

// The number behind --NAME on the command line.
export function option(name, usual) {
    const at = process.argv.indexOf(`--${name}`);
    return at < 0 ? usual : Number(process.argv[at + 1]);
}
