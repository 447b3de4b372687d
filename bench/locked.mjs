// A server whose database another program holds for ten seconds: node bench/locked.mjs [build/koubo] [writers=16]
// Needs the program sqlite3. Prints how long answers took meanwhile (milliseconds), and whether those who were told to
// ask again were served afterwards.
import { spawn } from 'node:child_process';
import path from 'node:path';

const args = process.argv.slice(2);
const writers = Number(args.find((a) => a.startsWith('writers='))?.split('=')[1] ?? 16);
process.env.KOUBO_PROGRAM ??= args.find((a) => !a.includes('=')) ?? 'build/koubo';
const { Server, sleep, temporary_folder } = await import('../tests/e2e/server.mjs');

const HELD_MS = 10000;
const server = await new Server(path.join(temporary_folder(), 'data'), ['--workers', '1']).start();
const sqlite = spawn('sqlite3', [path.join(server.data, 'koubo.db')], { stdio: ['pipe', 'pipe', 'inherit'] });
sqlite.stdin.write('.timeout 10000\nBEGIN IMMEDIATE;\nSELECT 1;\n');
await new Promise((resolve) => { sqlite.stdout.once('data', resolve); });

const times = {};
let refused = 0;
async function timed(kind, address, options) {
    const begin = performance.now();
    const response = await server.request(address, options);
    await response.text();
    (times[kind] ??= []).push(performance.now() - begin);
    return response;
}

let held = true;
async function write(i) {
    const body = JSON.stringify({ events: [i % 2 ? 'batch_ended' : 'job_failed'] });
    for (;;) {
        const response = await timed(held ? 'a change' : 'a change, afterwards', '/api/v1/settings/notify',
            { method: 'PUT', body, headers: { 'Content-Type': 'application/json' } });
        if (response.ok) return;
        if (response.status !== 503) throw new Error(`${response.status}`);
        refused++;
        await sleep(Number(response.headers.get('Retry-After')) * 1000);
    }
}

const all = Array.from({ length: writers }, (_, i) => write(i));
const end = performance.now() + HELD_MS;
while (performance.now() < end) {
    await timed('healthz', '/healthz');
    await timed('batches', '/api/v1/batches?limit=20');
    await timed('results', '/api/v1/results?limit=24');
    await sleep(50);
}
held = false;
sqlite.stdin.end('ROLLBACK;\n');
await Promise.all(all);
for (const [kind, list] of Object.entries(times)) {
    const sorted = list.sort((a, b) => a - b);
    console.log(`${kind.padEnd(22)}${String(sorted.length).padStart(5)} times, ${sorted[Math.floor(sorted.length / 2)].toFixed(1)} the middle one, ${sorted.at(-1).toFixed(1)} the longest`);
}
console.log(`${refused} refusals, ${writers} of ${writers} writers served`);
await server.kill('SIGTERM');
process.exit();
