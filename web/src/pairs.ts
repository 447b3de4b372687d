// Several speeches: which goes with which video. Each with each, by their names, or by a list; the same rules as koubo
// batch (src/cli/pairs.c, pairs_list.c).
import { filesNamed } from './listed';
import { isText } from './options';
import type { Selection } from './selection';
import type { OptionValue, OwnOptions } from './types';
import type { Entry } from './uploads';

type State = Selection['state'];
export type Pairing = 'each' | 'name' | 'list';

// A line of a list.
export interface Line {
    line: number;
    audio: string;
    video: string;
    output: string;
    text: string;
    voice: string;
    options: OwnOptions;
}

export interface Pair {
    audio: Entry | null; // null: its line has a text to be spoken
    video: Entry;
    line?: Line;
}

export interface Pairs {
    pairs: Pair[];
    left: Entry[]; // speeches and videos that fit nothing
    missing: { line: number; name: string; several?: boolean }[]; // names of a list that no file has, or several of those chosen here
}

const LIST_BYTES = 8 << 20;
export const isList = (file: { name: string }) => /\.(csv|tsv)$/i.test(file.name);
export const speechesOf = (state: State) => [state.audio, ...state.more].filter((e): e is Entry => e !== null);
export const isPaired = (state: State) => state.more.length > 0 || state.list !== null;
const stem = (name: string) => name.replace(/^.*[\\/]/, '').replace(/(.)\.[^.]*$/, '$1').toLowerCase();

// Is name a part of the film's? A number at its rim is not part of a longer one: 1 is not in 10.
function isPart(film: string, name: string): boolean {
    const digit = (c: string | undefined) => c !== undefined && c >= '0' && c <= '9';
    for (let at = film.indexOf(name); name && at >= 0; at = film.indexOf(name, at + 1)) {
        const before = digit(film[at - 1]) && digit(name[0]);
        const behind = digit(film[at + name.length]) && digit(name[name.length - 1]);
        if (!before && !behind) return true;
    }
    return false;
}

function speechFor(video: Entry, speeches: Entry[]): Entry | undefined {
    const film = stem(video.name);
    const fits = speeches.filter((s) => isPart(film, stem(s.name)));
    return speeches.find((s) => stem(s.name) === film) ?? fits.sort((a, b) => stem(b.name).length - stem(a.name).length)[0];
}

// The file of that name, with or without its ending and the folder before it.
const named = (name: string, files: Entry[]) => {
    const wanted = name.replace(/^.*[\\/]/, '').toLowerCase();
    return files.find((e) => e.name.toLowerCase() === wanted) ?? files.find((e) => stem(e.name) === wanted);
};

function byList(lines: Line[], speeches: Entry[], videos: Entry[], used: Set<Entry>): Pairs {
    const found: Pairs = { pairs: [], left: [], missing: [] };
    const chosen = [...speeches, ...videos];
    for (const line of lines) {
        const audio = line.text ? null : named(line.audio, speeches);
        const video = named(line.video, videos);
        if (audio === undefined) found.missing.push({ line: line.line, name: line.audio });
        if (!video) found.missing.push({ line: line.line, name: line.video });
        const files = filesNamed(line.options, chosen);
        const bad = files.filter((f) => f.fault);
        found.missing.push(...bad.map((f) => ({ line: line.line, name: f.name, several: f.fault === 'several' })));
        if (audio !== undefined && video && !bad.length) found.pairs.push({ audio, video, line });
        files.forEach((f) => { if (f.entry) used.add(f.entry); });
    }
    return found;
}

export function pairsOf(state: State): Pairs {
    const speeches = speechesOf(state);
    const used = new Set<Entry>();
    let found: Pairs = { pairs: [], left: [], missing: [] };
    if (state.pairing === 'list') found = byList(state.list?.lines ?? [], speeches, state.videos, used);
    else if (state.pairing === 'each') found.pairs = speeches.flatMap((audio) => state.videos.map((video) => ({ audio, video })));
    else {
        for (const video of state.videos) {
            const audio = speechFor(video, speeches);
            if (audio) found.pairs.push({ audio, video });
        }
    }
    found.pairs.forEach(({ audio, video }) => [audio, video].forEach((e) => { if (e) used.add(e); }));
    found.left = [...speeches, ...state.videos].filter((e) => !used.has(e));
    return found;
}

// --- lists

// As spreadsheets write them: comma, semicolon or tab, quotations of RFC 4180. Rows with the line that they begin on.
export function readTable(text: string): { line: number; cells: string[] }[] {
    const first = text.replace(/"[^"]*"/g, '').split(/\r?\n|\r/, 1)[0];
    const counts = [',', ';', '\t'].map((c) => ({ c, n: first.split(c).length }));
    const { c: separator } = counts.reduce((a, b) => (b.n > a.n ? b : a));
    const rows: { line: number; cells: string[] }[] = [];
    let cells: string[] = [];
    let cell = '';
    let isQuoted = false;
    let wasQuoted = false;
    let line = 1;
    let began = 1;
    const endCell = () => {
        cells.push(wasQuoted ? cell : cell.trim());
        cell = '';
        wasQuoted = false;
    };
    const endRow = () => {
        endCell();
        if (cells.some(Boolean)) rows.push({ line: began, cells });
        cells = [];
        began = line;
    };
    for (let i = 0; i < text.length; i++) {
        const c = text[i];
        if (c === '\n' || (c === '\r' && text[i + 1] !== '\n')) line++;
        if (isQuoted) {
            if (c !== '"') cell += c;
            else if (text[i + 1] === '"') cell += text[++i];
            else isQuoted = false;
        } else if (c === '"' && !cell.trim() && !wasQuoted) {
            isQuoted = true;
            wasQuoted = true;
            cell = '';
        } else if (c === separator) endCell();
        else if (c === '\n' || c === '\r') {
            if (c === '\r' && text[i + 1] === '\n') {
                i++;
                line++;
            }
            endRow();
        } else cell += c;
    }
    endRow();
    return rows;
}

const COLUMNS: Record<string, keyof Omit<Line, 'line' | 'options'>> = {
    audio: 'audio', speech: 'audio', 语音: 'audio', 音频: 'audio', video: 'video', 视频: 'video', output: 'output', result: 'output', 输出: 'output',
    text: 'text', 文字: 'text', 文本: 'text', language: 'voice', voice: 'voice', 语言: 'voice', 音色: 'voice',
};

// The option says what it takes: a text, however it looks (a subtitle may be 2026 or no), or a value of another kind; what
// is none stays a text, and the server says what the option takes. null: its default again.
function valueOf(name: string, cell: string): OptionValue | null {
    if (isText(name)) return cell;
    if (/^(true|yes|是|对)$/i.test(cell)) return true;
    if (/^(false|no|否|不)$/i.test(cell)) return false;
    try {
        const value = JSON.parse(cell);
        return typeof value === 'number' && !Number.isFinite(value) ? cell : value;
    } catch {
        return cell;
    }
}

export type ListFault = 'large' | 'noText' | 'header' | 'empty';

// The lines of a list, or what is wrong with it.
export async function readList(file: File): Promise<Line[] | ListFault> {
    if (file.size > LIST_BYTES) return 'large';
    const bytes = new Uint8Array(await file.arrayBuffer());
    const wide = (bytes[0] === 0xff && bytes[1] === 0xfe && 'utf-16le') || (bytes[0] === 0xfe && bytes[1] === 0xff && 'utf-16be');
    let text: string | null = null;
    for (const encoding of wide ? [wide] : ['utf-8', 'gb18030']) {
        try {
            text ??= new TextDecoder(encoding, { fatal: true }).decode(bytes);
        } catch {
            // the next one
        }
    }
    if (text === null || text.includes('\0')) return 'noText';
    const [header, ...rows] = readTable(text);
    const columns = (header?.cells ?? []).map((name) => ({ name, place: COLUMNS[name.toLowerCase()] }));
    const has = (place: string) => columns.some((c) => c.place === place);
    if (!has('video') || !(has('audio') || has('text'))) return 'header';
    const lines = rows.map(({ line, cells }) => {
        const made: Line = { line, audio: '', video: '', output: '', text: '', voice: '', options: {} };
        columns.forEach(({ name, place }, i) => {
            if (!cells[i]) return;
            if (place) made[place] = cells[i];
            else if (name) made.options[name] = valueOf(name, cells[i]);
        });
        return made;
    });
    return lines.length ? lines : 'empty';
}
