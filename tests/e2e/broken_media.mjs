// Damaged films, pictures and sounds through the real inspector and workers, in their cages:
//
//   node tests/e2e/broken_media.mjs --count 500 --seed 7
//
// Each file is a good mp4, mkv, wav or jpg of which bytes were changed, left out, doubled or taken from
// another one. It must end as ready or bad, its job as done or failed, with a sentence; no worker may
// die of one, nor any of them take much more memory than a good file takes.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { processes_of } from './calm.mjs';
import { Dice, option } from './chance.mjs';
import { make_wav, root, Server, sleep, temporary_folder, until } from './server.mjs';

const count = option('count', 40);
const seed = option('seed', Math.floor(Math.random() * 1e9));
const memory_gb = option('memory', 4);
const limit_ms = 120000 + count * 4000;
const most_rss_kb = 600e3; // files of this size take 60 to 130 MB

const ENDED = ['done', 'failed', 'cancelled', 'skipped'];
const folder = temporary_folder();
const complaints = [];
const complain = (what) => {
    if (complaints.push(what) <= 20) console.log(`# ${what}`);
};

// --- the files

function make_good() {
    const clip = path.join(root, 'tests/clips/grid_brbk7n.mpg');
    const recipes = {
        'a.mp4': ['-t', '0.4', '-c:v', 'libx264', '-preset', 'ultrafast', '-c:a', 'aac'],
        'b.mp4': ['-t', '0.4', '-c:v', 'libx264', '-preset', 'veryfast', '-bf', '2', '-c:a', 'aac', '-movflags', 'frag_keyframe+empty_moov'],
        'c.mp4': ['-t', '0.3', '-c:v', 'mpeg4', '-c:a', 'libmp3lame'],
        'd.mkv': ['-t', '0.4', '-c:v', 'libx264', '-preset', 'ultrafast', '-c:a', 'pcm_s16le'],
        'e.mkv': ['-t', '0.3', '-c:v', 'libvpx', '-deadline', 'realtime', '-c:a', 'libvorbis'],
        'f.wav': ['-t', '0.5', '-vn', '-c:a', 'pcm_s16le', '-ar', '16000'],
        'g.wav': ['-t', '0.3', '-vn', '-c:a', 'adpcm_ms'],
        'h.jpg': ['-frames:v', '1', '-q:v', '3'],
    };
    return Object.entries(recipes).map(([name, options]) => {
        const file = path.join(folder, name);
        const made = spawnSync('ffmpeg', ['-v', 'error', '-nostdin', '-y', '-i', clip, ...options, file]);
        if (made.status !== 0) throw new Error(`ffmpeg ${name}: ${made.stderr}`);
        return { name, bytes: readFileSync(file) };
    });
}

const ODD = [0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];

// Half of the changes strike where a file describes itself: at its beginning or its end.
function damage(dice, good) {
    const { name, bytes } = dice.pick(good);
    let data = Buffer.from(bytes);
    const place = () => {
        const near = Math.min(data.length, 1500);
        return dice.pick([() => dice.below(data.length), () => dice.below(near), () => data.length - 1 - dice.below(near)])();
    };
    for (let n = 1 + dice.below(dice.pick([2, 8, 40])); n > 0 && data.length > 8; n--) {
        const at = place(), length = Math.min(1 + dice.below(dice.pick([4, 64, 2000])), data.length - at);
        switch (dice.below(7)) {
        case 0: data[at] ^= 1 << dice.below(8); break;
        case 1: data[at] = dice.below(256); break;
        case 2: data.writeUInt32BE(dice.pick(ODD), Math.min(at, data.length - 4)); break;
        case 3: data.writeUInt32LE(dice.pick(ODD), Math.min(at, data.length - 4)); break;
        case 4: data.fill(0, at, at + length); break;
        case 5: data = Buffer.concat([data.subarray(0, at), data.subarray(at + length)]); break;
        default: {
            const other = dice.pick(good).bytes, from = dice.below(other.length);
            data = Buffer.concat([data.subarray(0, at), other.subarray(from, from + length), data.subarray(at)]);
        }
        }
    }
    return { name, bytes: dice.roll() < 0.1 ? data.subarray(0, dice.below(data.length) + 1) : data };
}

// --- what workers took and how they ended

const peaks = { rss_kb: 0 };

async function watch_memory(server) {
    while (peaks.watching) {
        for (const { pid, command } of processes_of(server.data)) {
            if (!command.includes('koubo worker')) continue;
            try {
                const [, kb] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
                peaks.rss_kb = Math.max(peaks.rss_kb, Number(kb ?? 0));
            } catch { /* it has just ended */ }
        }
        await sleep(200);
    }
}

async function spread(items, n, work) {
    const left = [...items];
    await Promise.all(Array.from({ length: n }, async () => {
        while (left.length > 0) await work(left.shift());
    }));
}

// --- the whole

console.log('1..1');
console.log(`# seed ${seed}, ${count} files`);
const server = new Server(path.join(folder, 'data'), ['--workers', '2', '--memory', String(memory_gb), '--hang-timeout', '30']);
try {
    const good = make_good();
    const dice = new Dice(seed, 'media');
    mkdirSync(path.join(folder, 'files'));
    await server.start();
    peaks.watching = true;
    const watching = watch_memory(server);
    const speech = await server.upload('good.wav', make_wav(0.3));
    const film = await server.upload('good.mp4', good[0].bytes);
    const files = Array.from({ length: count }, (_, i) => ({ ...damage(dice, good), number: i }));
    await spread(files, 4, async (file) => {
        file.kept = path.join(folder, 'files', `${file.number}-${file.name}`);
        writeFileSync(file.kept, file.bytes);
        file.id = (await server.upload(`${file.number}-${file.name}`, file.bytes)).id;
    });
    const assets = await until('all files to be looked at', async () => {
        const all = await server.list('/assets');
        return all.every((a) => ['ready', 'bad'].includes(a.state)) && new Map(all.map((a) => [a.id, a]));
    }, limit_ms);
    const tally = { ready: 0, bad: 0 };
    for (const file of files) {
        const asset = assets.get(file.id);
        tally[asset.state]++;
        if (asset.state === 'bad' && !asset.error) complain(`${file.number}-${file.name} is bad without a sentence`);
        if (asset.state === 'bad') continue;
        await server.api('POST', '/batches', asset.kind === 'audio'
            ? { audio: file.id, videos: [film.id] } : { audio: speech.id, videos: [file.id] });
    }
    const jobs = await until('all jobs to end', async () => {
        const all = await server.list('/jobs');
        return all.every((j) => ENDED.includes(j.state)) && all;
    }, limit_ms);
    for (const job of jobs) {
        tally[job.state] = (tally[job.state] ?? 0) + 1;
        if (job.state === 'failed' && !job.error?.text) complain(`${job.name} failed without a sentence`);
        if (job.attempts > 2 || ['crashed', 'hung', 'internal'].includes(job.error?.code))
            complain(`${job.name} (batch ${job.batch_name}): ${JSON.stringify(job.error)}, ${job.attempts} attempts`);
    }
    peaks.watching = false;
    await watching;
    // One that stood still on a busy machine has not died of a file, unless it does so again and again; and one whose job
    // failed ends by itself.
    const deaths = readFileSync(path.join(folder, 'server.err'), 'utf8').split('\n').filter((line) =>
        line.includes('another one is started') && !/made no progress for too long|worker \w+ has ended;/.test(line));
    for (const death of deaths) complain(death);
    const blamed = [...assets.values()].filter((a) => /\b[23] times\b/.test(a.error ?? ''));
    for (const asset of blamed) complain(`${asset.name}: ${asset.error}`);
    if (peaks.rss_kb > most_rss_kb) complain(`a worker took ${peaks.rss_kb} kB`);
    console.log(`# ${Object.entries(tally).map(([what, n]) => `${what}: ${n}`).join(', ')}; workers that died: ${deaths.length}, most memory of one: ${(peaks.rss_kb / 1000).toFixed(0)} MB`);
    const how = await server.kill('SIGTERM');
    if (how.code !== 0 && how.code !== 130) complain(`the server stopped with ${JSON.stringify(how)}`);
} catch (error) {
    complain(error.stack.replaceAll('\n', '\n# '));
    console.error(server.errors());
}
const kept = process.env.KOUBO_MEDIA_KEEP;
if (kept && complaints.length > 0) spawnSync('cp', ['-r', path.join(folder, 'files'), path.join(folder, 'server.err'), kept]);
for (const { pid } of processes_of(server.data)) process.kill(pid, 'SIGKILL');
console.log(`${complaints.length > 0 ? 'not ok' : 'ok'} 1 - broken_media`);
process.exit(complaints.length > 0 ? 1 : 0);
