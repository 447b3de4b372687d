// Subtitles as the API has them: seconds and text.
export interface Cue {
    begin: number;
    end: number;
    text: string;
}

const two = (n: number) => String(n).padStart(2, '0');

// 75.5 -> "1:15.500"
export function clockOf(seconds: number): string {
    const ms = Math.round(seconds * 1000);
    return `${Math.floor(ms / 60000)}:${two(Math.floor(ms / 1000) % 60)}.${String(ms % 1000).padStart(3, '0')}`;
}

// What somebody types: "1:15.5", "75,5", "1:02:03.25"; NaN if it is no time.
export function secondsOf(text: string): number {
    const parts = text.trim().replace(/[\uff0c,]/g, '.').replace(/\uff1a/g, ':').split(':');
    if (!parts.length || parts.length > 3 || parts.some((p) => !/^\d+(\.\d*)?$/.test(p.trim()))) return NaN;
    return parts.reduce((sum, p) => sum * 60 + Number(p), 0);
}

// The time shared out by the length of both texts.
export function split(cue: Cue, at: number): [Cue, Cue] {
    const before = cue.text.slice(0, at).trim();
    const after = cue.text.slice(at).trim();
    const part = before.length / Math.max(1, before.length + after.length);
    const middle = Math.round((cue.begin + (cue.end - cue.begin) * part) * 1000) / 1000;
    return [{ ...cue, end: middle, text: before }, { begin: middle, end: cue.end, text: after }];
}

const isWide = (letter: string) => /[\u2e80-\u9fff\uf900-\ufaff\u3000-\u303f\uff00-\uffef]/.test(letter);

// One subtitle of two: with a blank between, unless Chinese stands on a side.
export function join(a: Cue, b: Cue): Cue {
    const gap = !a.text || !b.text || isWide(a.text.slice(-1)) || isWide(b.text[0]) ? '' : ' ';
    return { begin: a.begin, end: b.end, text: a.text + gap + b.text };
}

// The numbers of those whose times the server would refuse.
export function wrong(cues: Cue[]): number[] {
    return cues.map((_, i) => i).filter((i) => {
        const c = cues[i];
        return !(c.begin >= 0 && c.end > c.begin) || (i > 0 && c.begin < cues[i - 1].begin);
    });
}
