// A server under load: node bench/load.mjs [build/koubo] [history=100000] [streams=1000] [uploads=200] [seconds=12]
// Needs the program sqlite3; less than two minutes. Prints, for each part of the run and each kind of request, how many
// there were and how long they took (milliseconds, at the client), and the server's memory.
//
// The history is jobs that are done, with their results. Eight visitors ask what the page asks, with a pause of 25 to
// 75 ms between two questions: alone, then beside `streams` event streams to which something new is sent ten times a second,
// then beside `uploads` uploads that begin at once, too. Streams and uploads come from many addresses of loopback
// (127.0.0.2…, Linux), as one client may have only so many connections, and from a thread of their own, so that they do
// not hold up the clock of those who measure. All of it shares the machine with the server.
import http from 'node:http';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// One request; the whole answer. Resolves with { status, headers, body }.
function ask(url, { method = 'GET', headers = {}, body, agent, localAddress } = {}) {
    return new Promise((resolve, reject) => {
        const request = http.request(url, { method, headers, agent, localAddress }, (response) => {
            const parts = [];
            response.on('data', (part) => parts.push(part));
            response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }));
            response.on('error', reject);
        });
        request.on('error', reject);
        request.end(body);
    });
}

// --- the crowd, in a thread of its own

const PER_ADDRESS = 100;
const address_of = (i) => `127.0.1.${1 + Math.floor(i / PER_ADDRESS)}`;

async function open_streams(url, n, counts) {
    const all = [];
    for (let i = 0; i < n; i++)
        all.push(new Promise((resolve) => {
            const request = http.get(`${url}/api/v1/events`, { localAddress: address_of(i), agent: false }, (response) => {
                if (response.statusCode !== 200) counts.refused++;
                else counts.open++;
                response.on('data', (part) => { counts.bytes += part.length; });
                response.on('error', () => {});
                response.on('end', () => { counts.ended++; });
                resolve();
            });
            request.on('error', () => { counts.refused++; resolve(); });
        }));
    await Promise.all(all);
}

// By tus, as the page does it; asked again when that is asked for.
async function upload(url, i, bytes, counts) {
    const localAddress = address_of(i);
    const tus = { 'Tus-Resumable': '1.0.0' };
    const begin = performance.now();
    const again = async (request) => {
        for (;;) {
            const answer = await request();
            if (answer.status !== 503) return answer;
            counts.again++;
            await sleep(Number(answer.headers['retry-after'] ?? 1) * 1000);
        }
    };
    const made = await again(() => ask(`${url}/api/v1/uploads`, { method: 'POST', localAddress, agent: false,
        headers: { ...tus, 'Upload-Length': String(bytes.length), 'Upload-Metadata': `filename ${Buffer.from(`第${i}课.wav`).toString('base64')}` } }));
    if (made.status !== 201) throw new Error(`upload: ${made.status} ${made.body}`);
    const place = url + made.headers.location;
    const offset = async () => Number((await again(() => ask(place, { method: 'HEAD', headers: tus, localAddress, agent: false }))).headers['upload-offset']);
    for (let at = 0; at < bytes.length; at = await offset()) {
        const sent = await ask(place, { method: 'PATCH', localAddress, agent: false, body: bytes.subarray(at),
            headers: { ...tus, 'Upload-Offset': String(at), 'Content-Type': 'application/offset+octet-stream' } });
        if (sent.status === 204) break;
        if (sent.status !== 503) throw new Error(`upload: ${sent.status} ${sent.body}`);
        counts.again++;
        await sleep(1000);
    }
    counts.times.push(performance.now() - begin);
}

async function crowd() {
    const { url, make_wav_at } = workerData;
    const { make_wav } = await import(make_wav_at);
    const streams = { open: 0, refused: 0, ended: 0, bytes: 0 };
    const uploads = { times: [], again: 0, failed: [] };
    parentPort.on('message', async ({ what, n }) => {
        if (what === 'streams') await open_streams(url, n, streams);
        if (what === 'uploads') {
            const films = Array.from({ length: n }, (_, i) => make_wav(8, 100 + i)); // 256 KB, each another one
            await Promise.all(films.map((film, i) => upload(url, i, film, uploads).catch((error) => uploads.failed.push(String(error)))));
        }
        parentPort.postMessage({ what, streams, uploads });
    });
}

// --- the visitors

const quantile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];

function show(part, times) {
    console.log(`\n${part}`);
    console.log(`  ${'request'.padEnd(26)}${['n', 'p50', 'p99', 'most'].map((h) => h.padStart(9)).join('')}`);
    let all = [];
    for (const [kind, list] of Object.entries(times)) {
        const sorted = [...list].sort((a, b) => a - b);
        all = all.concat(sorted);
        const row = [sorted.length, ...[0.5, 0.99, 1].map((p) => quantile(sorted, p).toFixed(1))];
        console.log(`  ${kind.padEnd(26)}${row.map((v) => String(v).padStart(9)).join('')}`);
    }
    all.sort((a, b) => a - b);
    console.log(`  ${'all of them'.padEnd(26)}${[all.length, ...[0.5, 0.99, 1].map((p) => quantile(all, p).toFixed(1))].map((v) => String(v).padStart(9)).join('')}`);
}

async function main() {
    const args = process.argv.slice(2);
    const options = { history: 100000, streams: 1000, uploads: 200, seconds: 12 };
    for (const [name, value] of args.filter((a) => a.includes('=')).map((a) => a.split('='))) options[name] = Number(value);
    process.env.KOUBO_PROGRAM ??= args.find((a) => !a.includes('=')) ?? 'build/koubo';
    const library = new URL('../tests/e2e/server.mjs', import.meta.url);
    const { Server, temporary_folder } = await import(library);
    const { fill } = await import('./history.mjs');

    const folder = temporary_folder();
    const data = path.join(folder, 'data');
    mkdirSync(data);
    await (await new Server(data, ['--workers', '1']).start()).kill('SIGTERM'); // makes the database
    console.log(`machine: ${cpus().length} processors, load ${loadavg()[0].toFixed(1)} before this (beyond the processors the figures are others')`);
    let begin = performance.now();
    fill(data, { done: options.history });
    console.log(`history: ${options.history} jobs, made in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
    begin = performance.now();
    const server = await new Server(data, ['--workers', '1']).start();
    console.log(`start: ${((performance.now() - begin) / 1000).toFixed(1)} s`);
    // Processor time of the server in ms, by the scheduler's account: it depends less on what else the machine does.
    const tasks = `/proc/${server.process.pid}/task`;
    const worked = () => readdirSync(tasks).reduce((sum, id) => sum + Number(readFileSync(`${tasks}/${id}/schedstat`, 'utf8').split(' ')[0]) / 1e6, 0);
    let before = { at: performance.now(), worked: worked() };
    const memory = (when) => {
        const status = readFileSync(`/proc/${server.process.pid}/status`, 'utf8');
        const now = { at: performance.now(), worked: worked() };
        const share = (100 * (now.worked - before.worked)) / (now.at - before.at);
        console.log(`  memory ${when}: ${(Number(status.match(/VmRSS:\s+(\d+)/)[1]) / 1024).toFixed(0)} MB; ${share.toFixed(0)} % of a processor until then`);
        before = now;
    };
    memory('at rest');

    const thread = new Worker(fileURLToPath(import.meta.url), { workerData: { url: server.url, make_wav_at: library.href } });
    thread.on('error', (error) => { throw error; });
    const order = (what, n) => new Promise((resolve) => {
        const hear = (message) => {
            if (message.what !== what) return;
            thread.off('message', hear);
            resolve(message);
        };
        thread.on('message', hear);
        thread.postMessage({ what, n });
    });

    const last = (await server.api('GET', '/batches?limit=1')).items[0].id;
    const job = (await server.api('GET', '/jobs?limit=1')).items[0].id;
    const far = Math.floor(options.history / 2);
    const kinds = {
        'the page': ['GET', '/'],
        'batches': ['GET', '/api/v1/batches?limit=20'],
        'a batch': ['GET', `/api/v1/batches/${last}`],
        'jobs that are not over': ['GET', '/api/v1/jobs?state=unfinished&limit=1000'],
        'jobs of a batch': ['GET', `/api/v1/jobs?batch=${last}&limit=1000`],
        'a job': ['GET', `/api/v1/jobs/${job}`],
        'results': ['GET', '/api/v1/results?limit=24'],
        'results by name': ['GET', '/api/v1/results?limit=24&sort=name&order=asc'],
        'results, a page far behind': ['GET', `/api/v1/results?limit=24&offset=${far}`],
        'results, a search': ['GET', '/api/v1/results?limit=24&search=_77_'],
        'files': ['GET', '/api/v1/assets?limit=50'],
        'system': ['GET', '/api/v1/system'],
        'metrics': ['GET', '/metrics'],
        'healthz': ['GET', '/healthz'],
        'a change': ['PUT', '/api/v1/settings/notify', () => '{}'],
    };
    const visit = async (until) => {
        const times = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
        let busy = 0;
        const one = async (i) => {
            const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
            const names = Object.keys(kinds);
            for (let k = i * 2; !until(); k += 1 + Math.floor(Math.random() * names.length)) { // not in step
                const kind = names[k % names.length];
                const [method, address, body] = kinds[kind];
                const start = performance.now();
                const answer = await ask(server.url + address, { method, agent, body: body?.(),
                    headers: { 'Accept-Language': 'zh', 'Accept-Encoding': 'gzip', ...(body ? { 'Content-Type': 'application/json' } : {}) } });
                times[kind].push(performance.now() - start);
                if (answer.status === 503) busy++;
                else if (answer.status >= 400) throw new Error(`${method} ${address}: ${answer.status} ${answer.body}`);
                await sleep(25 + 50 * Math.random());
            }
            agent.destroy();
        };
        await Promise.all(Array.from({ length: 8 }, (_, i) => one(i)));
        if (busy) console.log(`  ${busy} were told to ask again`);
        return times;
    };
    const for_seconds = (s) => {
        const end = performance.now() + s * 1000;
        return () => performance.now() > end;
    };

    await visit(for_seconds(2)); // what is read first is in memory afterwards
    console.log('\none after another, 20 of each: processor time of the server, ms');
    for (const [kind, [method, address, body]] of Object.entries(kinds)) {
        const start = worked();
        for (let i = 0; i < 20; i++) await (await server.request(address, { method, body: body?.(), headers: { 'Content-Type': 'application/json' } })).arrayBuffer();
        console.log(`  ${kind.padEnd(26)}${((worked() - start) / 20).toFixed(2).padStart(9)}`);
    }
    show('eight visitors', await visit(for_seconds(options.seconds)));
    memory('then');

    const { streams } = await order('streams', options.streams);
    console.log(`\nstreams: ${streams.open} open, ${streams.refused} refused`);
    memory('with them');
    let pushing = true;
    let turn = 0;
    const push = (async () => {
        while (pushing) {
            turn = 1 - turn;
            await server.api('PATCH', `/batches/${last}`, { priority: 4 + turn })
                .catch((error) => { if (error.status !== 503) throw error; }); // the next one says it again
            await sleep(100);
        }
    })();
    show(`… and ${options.streams} event streams, ten changes a second`, await visit(for_seconds(options.seconds)));
    memory('then');

    let over = false;
    const uploading = order('uploads', options.uploads).then((message) => { over = true; return message; });
    const enough = for_seconds(5);
    const end = for_seconds(40);
    show(`… and ${options.uploads} uploads at once`, await visit(() => (over && enough()) || end()));
    const done = await uploading;
    pushing = false;
    await push;
    const { times, again, failed } = done.uploads;
    times.sort((a, b) => a - b);
    if (times.length) console.log(`  uploads: ${times.length} whole, ${(quantile(times, 0.5) / 1000).toFixed(2)} s the middle one, ${(quantile(times, 1) / 1000).toFixed(2)} s the last; asked again ${again} times`);
    failed.slice(0, 5).forEach((sentence) => console.log(`  ${sentence}`));
    console.log(`  streams: ${done.streams.ended} ended, ${(done.streams.bytes / 1e6).toFixed(0)} MB were sent to them`);
    memory('at the end');
    await server.kill('SIGTERM');
    process.exit(failed.length || done.streams.refused || done.streams.ended ? 1 : 0);
}

if (isMainThread) main();
else crowd();
