// Subtitles as the mock makes them: of a text, of an SRT, and as WebVTT or SRT again. Not as good as koubo's own, but
// with lines that fit the shape that was asked for.

const PARTS = /[^。！？，；.!?,;]+[。！？，；.!?,;]*/g;
const ENDS = /[。，；.,;\s]+$/;

// Letters of a line in a picture of that shape, with letters of `size` per cent of its shorter side (src/finish/cut.c).
export function lineOf({ width = 1280, height = 720, crop, size }) {
    const [w, h] = crop ? crop.split(':').map(Number) : [Number(width), Number(height)];
    return Math.floor(Math.max(4, Math.min(17, (88 * w) / ((Number(size) || 5.5) * Math.min(w, h)))));
}

// [{begin, end, text}] of what is said within so many seconds: a clause each, all letters equally long.
export function cuesOf(text, seconds, shape = {}) {
    const line = lineOf(shape);
    const parts = text.match(PARTS) ?? [text];
    const all = parts.join('').length;
    let said = 0;
    return parts.map((part) => {
        const begin = (seconds * said) / all;
        said += part.length;
        const plain = part.replace(ENDS, '');
        const lines = Math.ceil(plain.length / line);
        const each = Math.ceil(plain.length / lines);
        const cut = Array.from({ length: lines }, (_, i) => plain.slice(i * each, (i + 1) * each));
        return { begin: Math.round(begin * 1000) / 1000, end: Math.round((seconds * said * 1000) / all) / 1000, text: cut.join('\n') };
    }).filter((c) => c.text);
}

const seconds = (clock) => clock.replace(',', '.').split(':').reduce((sum, part) => sum * 60 + Number(part), 0);

export function fromSrt(text) {
    return text.replace(/\r/g, '').trim().split(/\n\n+/).flatMap((block) => {
        const lines = block.split('\n');
        const at = lines.findIndex((l) => l.includes(' --> '));
        if (at < 0) return [];
        const [begin, end] = lines[at].split(' --> ').map(seconds);
        return [{ begin, end, text: lines.slice(at + 1).join('\n') }];
    });
}

function clock(at, point) {
    const ms = Math.round(at * 1000);
    const two = (n) => String(n).padStart(2, '0');
    return `${two(Math.floor(ms / 3600000))}:${two(Math.floor(ms / 60000) % 60)}:${two(Math.floor(ms / 1000) % 60)}${point}${String(ms % 1000).padStart(3, '0')}`;
}

export const toVtt = (cues) => `WEBVTT\n\n${cues.map((c) => `${clock(c.begin, '.')} --> ${clock(c.end, '.')}\n${c.text}\n\n`).join('')}`;
export const toSrt = (cues) => cues.map((c, i) => `${i + 1}\n${clock(c.begin, ',')} --> ${clock(c.end, ',')}\n${c.text}\n\n`).join('');
