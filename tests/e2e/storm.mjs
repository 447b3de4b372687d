// A storm over the real server and its workers, then calm, then a look from outside at what is left:
//
//   node tests/e2e/storm.mjs --seconds 20 --seed 7
//
// Clients upload, also in pieces with broken connections, make batches, cancel, delete, retry, rename
// and download. Meanwhile the server, its workers and the inspector are killed (-9) or stopped for a
// while, the clock jumps forward and back by hours, and the disk is full now and then (weather.c). What
// each of them decides comes out of the seed, which is printed; when it happens is the machine's.
// KOUBO_WEATHER_LIBRARY is the built weather.c; without it the weather stays fair.
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { check_folder, check_results, check_rows, processes_of } from './calm.mjs';
import { Dice, option } from './chance.mjs';
import { make_wav, program, root, Server, sleep, temporary_folder, until } from './server.mjs';

const seconds = option('seconds', 20);
const seed = option('seed', Math.floor(Math.random() * 1e9));
const n_workers = option('workers', 2);
const still_ms = 90000; // in the calm something ends at least so often, on a machine that is busy

const ENDED = ['done', 'failed', 'cancelled', 'skipped'];
const HOUR = 3600;

// --- what the storm knows

const folder = temporary_folder();
const weather_file = path.join(folder, 'weather');
const library = process.env.KOUBO_WEATHER_LIBRARY;
const world = {
    raging: true,
    uploads: new Map(), // id: { sha256, name, good, gone }: what was answered as kept
    jobs: new Map(), // id: { ends: Map of retried: state, length_s, gone }
    lengths: new Map(), // id of a speech: seconds
    given_up: new Set(), // ids of good uploads over which the inspector was killed too often
    stopped: new Set(), // pids
    counts: {},
    complaints: [],
};

const count = (what) => { world.counts[what] = (world.counts[what] ?? 0) + 1; };
const complain = (what) => {
    if (world.complaints.push(what) <= 20) console.error(`# ${what}`);
};

function set_weather(offset_s, full) {
    const bytes = Buffer.alloc(16);
    bytes.writeBigInt64LE(BigInt(Math.round(offset_s)), 0);
    bytes.writeBigInt64LE(full ? 1n : 0n, 8);
    writeFileSync(weather_file, bytes, { flag: 'r+' });
}

writeFileSync(weather_file, Buffer.alloc(16));
// A server that is started on a full disk runs, but cannot write down which port it found: so the port is known.
const port = await new Promise((resolve) => {
    const probe = net.createServer().listen(0, '127.0.0.1', () => {
        const free = probe.address().port;
        probe.close(() => resolve(free));
    });
});
const server = new Server(path.join(folder, 'data'),
    ['--workers', String(n_workers), '--hang-timeout', '10', '--port', String(port)], program,
    library ? { ...process.env, LD_PRELOAD: library, KOUBO_WEATHER: weather_file } : process.env);
server.url = `http://127.0.0.1:${port}`;
server.address = () => server.url;

// Null when there was no answer: the server is down, or was killed meanwhile. Every refusal must be a
// sentence, and none the server's own fault.
async function ask(method, address, { json, body, headers = {}, signal } = {}) {
    try {
        const response = await server.request(address, {
            method,
            body: json === undefined ? body : JSON.stringify(json),
            headers: json === undefined ? headers : { 'Content-Type': 'application/json', ...headers },
            signal: signal ?? AbortSignal.timeout(30000),
        });
        const text = await response.text();
        count(`${response.status}`);
        if (response.status >= 400 && method !== 'HEAD') {
            let problem = null;
            try {
                problem = JSON.parse(text);
            } catch { /* it is none */ }
            if (!problem?.detail || response.status === 500)
                complain(`${method} ${address}: ${response.status} ${text.slice(0, 300)}`);
        }
        return { status: response.status, headers: response.headers, text, ok: response.ok };
    } catch (error) {
        if (error.name === 'TimeoutError' && !signal) complain(`${method} ${address}: no answer within 30 s`);
        count('no answer');
        await sleep(30);
        return null;
    }
}

const get = async (address) => {
    const answer = await ask('GET', address);
    return answer?.ok ? JSON.parse(answer.text) : null;
};

// --- what is uploaded: as small as it can be, and different each time

const ffmpeg = (...args) => {
    const made = spawnSync('ffmpeg', ['-v', 'error', '-nostdin', '-y', ...args]);
    if (made.status !== 0) throw new Error(`ffmpeg: ${made.stderr}`);
};

function make_materials() {
    const clip = path.join(root, 'tests/clips/grid_brbk7n.mpg');
    const picture = path.join(folder, 'picture.jpg');
    const film = path.join(folder, 'film.mp4');
    ffmpeg('-i', clip, '-frames:v', '1', '-q:v', '3', picture);
    ffmpeg('-i', clip, '-t', '0.4', '-c:v', 'libx264', '-preset', 'ultrafast', '-c:a', 'aac', film);
    return { picture: readFileSync(picture), film: readFileSync(film) };
}

// A box that players skip makes another file of the same film; behind a JPEG anything may stand.
function unlike(bytes, is_film, number) {
    const tail = Buffer.alloc(is_film ? 16 : 8);
    if (is_film) {
        tail.writeUInt32BE(16, 0);
        tail.write('free', 4);
    }
    tail.writeUInt32LE(number, tail.length - 4);
    return Buffer.concat([bytes, tail]);
}

function make_film(dice, materials) {
    const kind = dice.pick(['picture', 'picture', 'film', 'film', 'film', 'broken']);
    if (kind === 'broken') return { name: '坏.mp4', bytes: Buffer.from(`no film ${dice.roll()}`), good: false };
    const number = dice.below(2 ** 32);
    const bytes = dice.roll() < 0.5 ? unlike(materials[kind], kind === 'film', number) : materials[kind];
    return { name: kind === 'film' ? '影片 a.mp4' : '人.jpg', bytes, good: true };
}

// --- uploading

const kept = (id, { bytes, name, good }) => {
    count('uploads');
    world.uploads.set(id, { sha256: createHash('sha256').update(bytes).digest('hex'), name, good, gone: false });
    return id;
};

async function upload_form(file) {
    const form = new FormData();
    form.append('file', new Blob([file.bytes]), file.name);
    const answer = await ask('POST', '/api/v1/assets', { body: form });
    return answer?.ok ? kept(JSON.parse(answer.text).items[0].id, file) : null;
}

// A request whose connection breaks after some of its body.
function break_off(dice, method, address, headers, body) {
    count('broken connections');
    return new Promise((resolve) => {
        const lines = Object.entries({ Host: `127.0.0.1:${port}`, 'Content-Length': body.length, ...headers })
            .map(([name, value]) => `${name}: ${value}\r\n`).join('');
        const socket = net.connect(port, '127.0.0.1', () => {
            socket.write(`${method} ${address} HTTP/1.1\r\n${lines}\r\n`);
            socket.write(body.subarray(0, Math.floor(dice.roll() * body.length)));
            setTimeout(() => socket.destroy(), dice.between(5, 60));
        });
        socket.on('error', () => {});
        socket.on('close', resolve);
    });
}

const TUS = { 'Tus-Resumable': '1.0.0' };

async function upload_tus(dice, file) {
    const { bytes } = file;
    const created = await ask('POST', '/api/v1/uploads', {
        headers: {
            ...TUS, 'Upload-Length': `${bytes.length}`,
            'Upload-Metadata': `filename ${Buffer.from(file.name).toString('base64')}`,
        },
    });
    if (created?.status !== 201) return null;
    const address = new URL(created.headers.get('location'), 'http://localhost').pathname;
    const id = address.split('/').pop();
    let acknowledged = 0;
    for (let tries = 0; world.raging && tries < 40; tries++) {
        const head = await ask('HEAD', address, { headers: TUS });
        if (!head?.ok) {
            if (head && head.status !== 423 && head.status !== 503 && head.status !== 507 && acknowledged > 0)
                complain(`an upload of which ${acknowledged} bytes were kept: HEAD says ${head.status}`);
            await sleep(200);
            continue;
        }
        const offset = Number(head.headers.get('upload-offset'));
        if (offset < acknowledged || offset > bytes.length)
            complain(`upload ${id} is at ${offset}, after ${acknowledged} were answered as kept`);
        if (offset === bytes.length) return kept(id, file);
        const end = dice.roll() < 0.4 ? bytes.length : Math.min(bytes.length, offset + 1 + dice.below(20000));
        const headers = { ...TUS, 'Upload-Offset': `${offset}`, 'Content-Type': 'application/offset+octet-stream' };
        const piece = bytes.subarray(offset, end);
        if (dice.roll() < 0.2) {
            await break_off(dice, 'PATCH', address, headers, piece);
            continue;
        }
        const sent = await ask('PATCH', address, { body: piece, headers });
        if (sent?.status === 204) acknowledged = end;
        if (acknowledged === bytes.length) return kept(id, file);
        if (!sent?.ok) await sleep(100);
    }
    return null;
}

async function upload(dice, file) {
    if (dice.roll() < 0.15) {
        const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="x.mp4"\r\n\r\n';
        await break_off(dice, 'POST', '/api/v1/assets', { 'Content-Type': 'multipart/form-data; boundary=b' },
            Buffer.concat([Buffer.from(head), file.bytes, Buffer.from('\r\n--b--\r\n')]));
    }
    return dice.roll() < 0.5 ? upload_form(file) : upload_tus(dice, file);
}

// --- those who act, until the storm is over

async function bring(dice, materials) {
    while (world.raging) {
        const length_s = dice.pick([0.3, 0.5, 0.8]);
        const wav = make_wav(length_s, Math.floor(dice.between(150, 400)));
        const speech = await upload(dice, { name: '稿 1.wav', bytes: wav, good: true });
        const videos = [];
        for (let n = Math.ceil(dice.roll() * 4); n > 0 && world.raging; n--) {
            const id = await upload(dice, make_film(dice, materials));
            if (id) videos.push(id);
        }
        if (speech && videos.length > 0) {
            world.lengths.set(speech, length_s);
            const made = await ask('POST', '/api/v1/batches', { json: { audio: speech, videos, priority: dice.below(10) } });
            if (made?.ok) count('batches');
        }
        await sleep(dice.between(0, 400));
    }
}

async function forget(kind, id, address) {
    const answer = await ask('DELETE', address);
    const row = world[kind].get(id);
    // Without an answer nobody knows.
    if (row && (!answer || answer.ok)) row.gone = true;
    if (answer?.ok) count('deleted');
}

async function meddle(dice) {
    while (world.raging) {
        await sleep(dice.between(30, 250));
        const [jobs, batches] = [await get('/api/v1/jobs?limit=200'), await get('/api/v1/batches?limit=50')];
        const job = jobs && dice.pick(jobs.items), batch = batches && dice.pick(batches.items);
        if (!job || !batch) continue;
        count('meddling');
        const result = `/api/v1/results/${job.id}`;
        switch (dice.pick(['cancel', 'cancel', 'retry', 'retry', 'retry', 'delete', 'result', 'asset', 'rename', 'pause', 'resume', 'move',
            'batch', 'cancel batch', 'retry batch', 'download', 'zip', 'zip'])) {
        case 'cancel': await ask('POST', `/api/v1/jobs/${job.id}/cancel`); break;
        case 'retry': await ask('POST', `/api/v1/jobs/${job.id}/retry`); break;
        case 'delete': await forget('jobs', job.id, `/api/v1/jobs/${job.id}`); break;
        case 'result': await forget('jobs', job.id, result); break;
        case 'asset': await forget('uploads', job.video, `/api/v1/assets/${job.video}`); break;
        case 'rename': await ask('PATCH', result, { json: { name: `改名 ${dice.below(5)}` } }); break;
        case 'pause': await ask('POST', `/api/v1/batches/${batch.id}/pause`); break;
        case 'resume': await ask('POST', `/api/v1/batches/${batch.id}/resume`); break;
        case 'move': await ask('POST', `/api/v1/jobs/${job.id}/move`, { json: { before: 0 } }); break;
        case 'batch':
            for (const one of jobs.items) if (one.batch === batch.id && world.jobs.has(one.id)) world.jobs.get(one.id).gone = true;
            await ask('DELETE', `/api/v1/batches/${batch.id}`);
            break;
        case 'cancel batch': await ask('POST', `/api/v1/batches/${batch.id}/cancel`); break;
        case 'retry batch': await ask('POST', `/api/v1/batches/${batch.id}/retry`); break;
        case 'download': await ask('GET', `${result}/download`, { signal: AbortSignal.timeout(Math.ceil(dice.between(1, 3000))) }); break;
        default: await ask('GET', `/api/v1/results/zip?batch=${batch.id}`);
        }
    }
}

const kill = (pid, signal) => {
    try {
        process.kill(pid, signal);
        return true;
    } catch {
        return false; // it is gone
    }
};

async function restart() {
    await server.kill('SIGKILL');
    // On a full disk it may refuse to start.
    await until('the server to start again', () => server.start().then(() => true, () => server.kill().then(() => false)), 90000);
}

async function strike(dice) {
    while (world.raging) {
        await sleep(dice.between(200, 1400));
        const system = await get('/api/v1/system');
        const workers = system?.workers.filter((w) => w.pid > 0) ?? [];
        const target = dice.pick(['server', 'worker', 'worker', 'inspector', 'stop', 'stop']);
        if (target === 'server') {
            count('kills of the server');
            await restart();
            continue;
        }
        const victim = dice.pick(workers.filter((w) => (w.id[0] === 'i') === (target === 'inspector')));
        const pause_ms = dice.between(200, 4000);
        if (!victim) continue;
        if (target !== 'stop') {
            if (kill(victim.pid, 'SIGKILL')) count(`kills of the ${target}`);
        } else if (kill(victim.pid, 'SIGSTOP')) {
            count('stops of a worker');
            world.stopped.add(victim.pid);
            setTimeout(() => kill(victim.pid, 'SIGCONT') && world.stopped.delete(victim.pid), pause_ms);
        }
    }
}

async function rain(dice) {
    let offset_s = 0;
    while (library && world.raging) {
        await sleep(dice.between(300, 2500));
        if (dice.roll() < 0.5) {
            offset_s = dice.between(-10 * HOUR, 10 * HOUR); // less than the day after which uploads expire
            count(`jumps of the clock`);
            set_weather(offset_s, false);
        } else {
            count('full disks');
            set_weather(offset_s, true);
            await sleep(dice.between(100, 1500));
            set_weather(offset_s, false);
        }
    }
}

// Every change of every job, as the page hears it: between two requests of a user to repeat it, it ends
// in one way.
function note_job(job) {
    if (!world.jobs.has(job.id)) world.jobs.set(job.id, { ends: new Map(), gone: false });
    const row = world.jobs.get(job.id);
    const before = row.ends.get(job.retried);
    if (before && before !== job.state && !row.gone)
        complain(`job ${job.id} was ${before} and is ${job.state} now, without being repeated`);
    if (ENDED.includes(job.state)) row.ends.set(job.retried, job.state);
    if (job.attempts > job.max_attempts) complain(`job ${job.id}: attempt ${job.attempts} of ${job.max_attempts}`);
}

async function listen() {
    let rev = 0;
    while (world.listening) {
        try {
            for await (const change of server.events(rev, world.listening.signal)) {
                if (change.rev < rev) complain(`revision ${change.rev} after ${rev}`);
                rev = change.rev;
                count('changes heard');
                change.jobs.forEach(note_job);
            }
        } catch {
            await sleep(50); // the server is down
        }
    }
}

// --- calm

// Waits until none is left, as long as they get fewer.
async function fewer(what, how_many) {
    let least = Infinity, since = Date.now();
    for (;;) {
        const n = await how_many();
        if (n === 0) return;
        if (n < least) [least, since] = [n, Date.now()];
        if (Date.now() - since > still_ms) throw new Error(`${least} ${what} for ${still_ms / 1000} s`);
        await sleep(200);
    }
}

async function calm() {
    set_weather(0, false);
    for (const pid of world.stopped) kill(pid, 'SIGCONT');
    if (!await get('/healthz').catch(() => null)) await restart();
    const begin = Date.now();
    await fewer('jobs that have not ended', async () => {
        for (const batch of await server.list('/batches?state=paused').catch(() => []))
            await ask('POST', `/api/v1/batches/${batch.id}/resume`);
        const open = await get('/api/v1/jobs?state=unfinished&limit=5');
        world.open = open?.items.map((j) => ({ id: j.id, state: j.state, waiting: j.waiting, worker: j.worker, attempts: j.attempts }));
        return open?.total;
    });
    await fewer('uploads that nobody looked at', async () => {
        const assets = await server.list('/assets').catch(() => null);
        return assets?.filter((a) => a.state === 'new').length;
    });
    return Date.now() - begin;
}

async function check_uploads() {
    let n = 0;
    for (const [id, upload] of world.uploads) {
        if (upload.gone) continue;
        const asset = await server.api('GET', `/assets/${id}`).catch((error) => error);
        if (asset instanceof Error) {
            complain(`upload ${id} (${upload.name}) was answered as kept: ${asset.message}`);
            continue;
        }
        const bytes = Buffer.from(await (await server.request(`/api/v1/assets/${id}/content`)).arrayBuffer());
        if (createHash('sha256').update(bytes).digest('hex') !== upload.sha256) complain(`the bytes of upload ${id} are not those that were sent`);
        if (asset.state !== (upload.good ? 'ready' : 'bad')) {
            // Whoever kills the inspector three times over one file is believed to have been its victim.
            if (upload.good && /crashed on this one 3 times/.test(asset.error)) world.given_up.add(id);
            else complain(`upload ${id} (${upload.name}) is ${asset.state}: ${JSON.stringify(asset.error)}`);
        }
        n++;
    }
    const kills = world.counts['kills of the inspector'] ?? 0, { size } = world.given_up;
    if (size * 3 > kills) complain(`${size} good uploads are bad after ${kills} kills of the inspector`);
    if (size > 0) world.counts['good uploads given up'] = size;
    return n;
}

const EXPECTED = ['crashed', 'hung', 'no_space', 'not_found', 'cancelled'];

async function check_jobs() {
    const jobs = await server.list('/jobs');
    const speeches = new Map((await server.list('/batches')).map((b) => [b.id, b.audio.id]));
    const bad = new Set([...world.uploads].filter(([, u]) => !u.good).map(([id]) => id));
    jobs.forEach(note_job);
    for (const job of jobs) {
        count(`jobs ${job.state}`);
        if (job.state === 'done' && !job.result && !world.jobs.get(job.id).gone) complain(`job ${job.id} is done without a result`);
        if (job.state !== 'failed') continue;
        count(`failed: ${job.error?.code}`);
        const good = !bad.has(job.video) && world.uploads.get(job.video)?.gone === false
            && !world.given_up.has(job.video) && !world.given_up.has(speeches.get(job.batch));
        if (!job.error?.text || (good && !EXPECTED.includes(job.error.code))) complain(`job ${job.id}: ${JSON.stringify(job.error)}`);
    }
    return jobs;
}

// --- the whole

console.log('1..1');
console.log(`# seed ${seed}, ${seconds} s, ${n_workers} workers${library ? '' : ', fair weather: KOUBO_WEATHER_LIBRARY is not set'}`);
let failed = true;
try {
    const materials = make_materials();
    await server.start();
    world.listening = new AbortController();
    const listener = listen();
    const acting = [ // none of them ends before the storm is over
        bring(new Dice(seed, 'bringer 1'), materials), bring(new Dice(seed, 'bringer 2'), materials), bring(new Dice(seed, 'bringer 3'), materials),
        meddle(new Dice(seed, 'meddler')), strike(new Dice(seed, 'lightning')), rain(new Dice(seed, 'weather')),
    ].map((actor) => actor.catch((error) => complain(error.stack)));
    await sleep(seconds * 1000);
    world.raging = false;
    await Promise.all(acting);
    const calm_after_ms = await calm();
    const uploads = await check_uploads();
    const jobs = await check_jobs();
    const results = await server.list('/results');
    const films = await check_results(server, results, world.lengths, complain);
    const { listening } = world;
    world.listening = null;
    listening.abort();
    await listener;
    const how = await server.kill('SIGTERM');
    if (how.code !== 0 && how.code !== 130) complain(`the server stopped with ${JSON.stringify(how)}`);
    await until('all processes to end', () => processes_of(server.data).length === 0, 15000).catch(() =>
        complain(`processes are left: ${JSON.stringify(processes_of(server.data))}`));
    set_weather(60 * HOUR, false); // what was left of broken uploads has expired
    const rows = check_rows(server, complain);
    check_folder(server, rows, complain);
    console.log(`# calm after ${(calm_after_ms / 1000).toFixed(1)} s; looked at ${jobs.length} jobs, ${uploads} uploads, ${films} films`);
    failed = world.complaints.length > 0;
} catch (error) {
    console.log(`# ${error.stack}`.replaceAll('\n', '\n# '));
    if (world.open) console.log(`# open: ${JSON.stringify(world.open)}`);
} finally {
    for (const pid of [...world.stopped, ...processes_of(server.data).map((p) => p.pid)]) kill(pid, 'SIGKILL');
}
console.log(`# ${Object.entries(world.counts).sort().map(([what, n]) => `${what}: ${n}`).join(', ')}`);
for (const complaint of world.complaints.slice(0, 40)) console.log(`# ${complaint}`);
if (failed && process.env.KOUBO_STORM_KEEP) console.log(`# the log: ${spawnSync('cp', ['-r', folder, process.env.KOUBO_STORM_KEEP]).status === 0 ? process.env.KOUBO_STORM_KEEP : 'lost'}`);
rmSync(weather_file, { force: true });
console.log(`${failed ? 'not ok' : 'ok'} 1 - storm`);
process.exit(failed ? 1 : 0);
