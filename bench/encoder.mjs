// What x264's settings cost, for films of one's own: processor time, bytes, SSIM and PSNR of luma, and over
// all films size and processor time at equal quality, against the first settings.
//
//   node bench/encoder.mjs [OPTION]... FILM[@W:H:X:Y]... [NAME=PRESET/X264-PARAMS]...
//
//   --frames N    no more of each film (default: 200)
//   --threads N   of the encoder (default: 1)
//   --repeat N    encodings of each point, of which the median counts (default: 1)
//
// A film should be what a job encodes, which is what `koubo generate --crf 0 --preset ultrafast` keeps
// without loss. W:H:X:Y is its face: size at equal SSIM is said of it too. Without settings: those of
// SETTINGS. Each is encoded at four CRF in turn with the first ones, so that both meet the same machine;
// between the four the logarithm is interpolated by piecewise cubics (Bjontegaard), SSIM in decibels.
// Needs ffmpeg with libx264, and room in the temporary folder for the films unpacked.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

const CRFS = [15, 18, 21, 24];
const SHOWN = 18; // of these, that of --crf unless said otherwise
const OLD = 'superfast/mbtree=1:rc-lookahead=10';
const SETTINGS = [
    `before=${OLD}`,
    `auto=${OLD}:aq-mode=2:aq-strength=0.8:no-dct-decimate=1`,
    `aq-mode=2=${OLD}:aq-mode=2`,
    `aq-strength=0.7=${OLD}:aq-strength=0.7`,
    `qcomp=0.5=${OLD}:qcomp=0.5`,
    `no-dct-decimate=${OLD}:no-dct-decimate=1`,
    `b-adapt=0=${OLD}:b-adapt=0`,
    `rc-lookahead=20=${OLD}:rc-lookahead=20`,
    `ref=2=${OLD}:ref=2`,
    `trellis=1=${OLD}:trellis=1`,
    `subme=0=${OLD}:subme=0`,
    `subme=2=${OLD}:subme=2`,
    'superfast=superfast/',
    'veryfast=veryfast/',
];

function ffmpeg(args) {
    const done = spawnSync('ffmpeg', ['-hide_banner', '-nostdin', '-y', ...args],
        { encoding: 'utf8', maxBuffer: 1 << 26 });
    if (done.error) throw done.error;
    if (done.status !== 0) throw new Error(`ffmpeg ${args.join(' ')}\n${done.stderr.slice(-2000)}`);
    return done.stderr;
}

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;

function processor_s(said) {
    const [, user, system] = /utime=([\d.]+)s stime=([\d.]+)s/.exec(said);
    return Number(user) + Number(system);
}

// --- the area between two curves

// Monotone piecewise cubic through points of rising x (Fritsch and Carlson).
function cubic(x, y) {
    const n = x.length;
    const h = Array.from({ length: n - 1 }, (_, i) => x[i + 1] - x[i]);
    const d = h.map((step, i) => (y[i + 1] - y[i]) / step);
    const edge = (h0, h1, d0, d1) => {
        const slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
        if (slope * d0 <= 0) return 0;
        return d0 * d1 <= 0 && Math.abs(slope) > 3 * Math.abs(d0) ? 3 * d0 : slope;
    };
    const m = x.map((_, i) => {
        if (i === 0) return edge(h[0], h[1], d[0], d[1]);
        if (i === n - 1) return edge(h[n - 2], h[n - 3], d[n - 2], d[n - 3]);
        if (d[i - 1] * d[i] <= 0) return 0;
        const [a, b] = [2 * h[i] + h[i - 1], h[i] + 2 * h[i - 1]];
        return (a + b) / (a / d[i - 1] + b / d[i]);
    });
    return (at) => {
        let i = 0;
        while (i < n - 2 && at > x[i + 1]) i++;
        const s = (at - x[i]) / h[i];
        return y[i] * (2 * s ** 3 - 3 * s ** 2 + 1) + h[i] * m[i] * (s ** 3 - 2 * s ** 2 + s)
            + y[i + 1] * (3 * s ** 2 - 2 * s ** 3) + h[i] * m[i + 1] * (s ** 3 - s ** 2);
    };
}

// cost of the points over that of the others at equal quality, the mean over the qualities both reach.
function ratio(points, others, quality, cost) {
    const curve = (list) => {
        const sorted = [...list].sort((a, b) => a[quality] - b[quality]);
        return cubic(sorted.map((p) => p[quality]), sorted.map((p) => Math.log(p[cost])));
    };
    const all = [points, others].map((list) => list.map((p) => p[quality]));
    const low = Math.max(...all.map((q) => Math.min(...q)));
    const high = Math.min(...all.map((q) => Math.max(...q)));
    if (low >= high) return NaN; // no quality that both reach
    const [a, b] = [curve(points), curve(others)];
    const steps = Array.from({ length: 401 }, (_, i) => low + (high - low) * i / 400);
    return Math.exp(mean(steps.map((q) => a(q) - b(q))));
}

// --- one point

const decibels = (ssim) => -10 * Math.log10(1 - ssim);

function likeness(film, out) {
    const said = (filter) => ffmpeg(['-i', out, '-i', film.raw, '-lavfi', filter, '-f', 'null', '-']);
    const luma = 'extractplanes=y';
    const text = said(`[0:v]${luma},split[a][b];[1:v]${luma},split[c][d];[a][c]ssim;[b][d]psnr`);
    const ret = { ssim: Number(/SSIM Y:([\d.]+)/.exec(text)[1]), psnr: Number(/PSNR y:([\d.]+)/.exec(text)[1]) };
    if (film.face) {
        const face = said(`[0:v]${luma},crop=${film.face}[a];[1:v]${luma},crop=${film.face}[b];[a][b]ssim`);
        ret.face_db = decibels(Number(/SSIM Y:([\d.]+)/.exec(face)[1]));
    }
    return { ...ret, ssim_db: decibels(ret.ssim) };
}

function encode(film, setting, crf, threads, out) {
    const params = setting.params ? ['-x264-params', setting.params] : [];
    const said = ffmpeg(['-benchmark', '-i', film.raw, '-c:v', 'libx264', '-preset', setting.preset, ...params,
        '-crf', String(crf), '-threads', String(threads), '-f', 'h264', out]);
    return processor_s(said) - film.reading_s;
}

// Both settings at one CRF, in turn.
function measure(film, pair, crf, options, out) {
    const seconds = pair.map(() => []);
    const sizes = [];
    const marks = [];
    for (let i = 0; i < options.repeat; i++) {
        pair.forEach((setting, k) => {
            seconds[k].push(encode(film, setting, crf, options.threads, out));
            if (i > 0) return;
            sizes[k] = statSync(out).size;
            marks[k] = likeness(film, out);
        });
    }
    return pair.map((_, k) => ({ crf, seconds: median(seconds[k]), bytes: sizes[k], ...marks[k] }));
}

// --- all of them

function read_setting(text) {
    const [, name, preset, params] = /^(.*)=(\w+)\/(.*)$/.exec(text);
    return { name, preset, params };
}

function unpack(word, folder, i, frames) {
    const [, file, face] = /^(.*?)(?:@([\d:]+))?$/.exec(word);
    const raw = path.join(folder, `${i}.y4m`);
    ffmpeg(['-i', file, '-an', '-frames:v', String(frames), '-fps_mode', 'passthrough', '-pix_fmt', 'yuv420p', raw]);
    const reading_s = median([1, 2, 3].map(() => processor_s(ffmpeg(['-benchmark', '-i', raw, '-f', 'null', '-']))));
    return { name: path.basename(file), face, raw, reading_s };
}

const three = (x) => (Number.isNaN(x) ? '-' : x.toFixed(3));

function main() {
    const { values, positionals } = parseArgs({
        allowPositionals: true,
        options: {
            frames: { type: 'string', default: '200' },
            threads: { type: 'string', default: '1' },
            repeat: { type: 'string', default: '1' },
        },
    });
    const options = { threads: Number(values.threads), repeat: Number(values.repeat) };
    const is_setting = (word) => /=\w+\/[^/]*$/.test(word);
    const words = positionals.filter((word) => !is_setting(word));
    const chosen = positionals.filter(is_setting);
    const settings = (chosen.length ? chosen : SETTINGS).map(read_setting);
    if (!words.length) {
        console.error(readFileSync(new URL(import.meta.url), 'utf8').split('\nimport')[0].replaceAll(/^\/\/ ?/gm, ''));
        process.exit(2);
    }
    const folder = mkdtempSync(path.join(tmpdir(), 'koubo-encoder-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    const films = words.map((word, i) => unpack(word, folder, i, values.frames));
    const out = path.join(folder, 'out.h264');
    console.log(`${'settings'.padEnd(28)} ${'film'.padEnd(20)} processor s       MB     SSIM  PSNR   at equal SSIM: size, processor; in the face: size; at equal PSNR: size`);
    for (const setting of settings) {
        const ratios = [];
        for (const film of films) {
            const pairs = CRFS.map((crf) => measure(film, [settings[0], setting], crf, options, out));
            const [before, now] = [0, 1].map((k) => pairs.map((pair) => pair[k]));
            const row = [['ssim_db', 'bytes'], ['ssim_db', 'seconds'], ['face_db', 'bytes'], ['psnr', 'bytes']]
                .map(([quality, cost]) => (quality === 'face_db' && !film.face ? NaN : ratio(now, before, quality, cost)));
            ratios.push(row);
            const at = now.find((point) => point.crf === SHOWN);
            console.log(`${setting.name.padEnd(28)} ${film.name.padEnd(20)} ${three(at.seconds).padStart(11)} ${three(at.bytes / 1e6).padStart(8)} `
                + `${at.ssim.toFixed(5)} ${at.psnr.toFixed(2)}   ${row.map(three).join('  ')}`);
        }
        const all = [0, 1, 2, 3].map((k) => ratios.map((row) => row[k]).filter((x) => !Number.isNaN(x)))
            .map((list) => (list.length ? three(Math.exp(mean(list.map(Math.log)))) : '-'));
        console.log(`${setting.name.padEnd(28)} ${'all'.padEnd(48)}        ${all.join('  ')}`);
    }
}

main();
