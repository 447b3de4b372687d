// Starting, killing and asking a real `koubo serve`, and a small TAP runner. Node 18, no packages.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export const program = process.env.KOUBO_PROGRAM ?? 'build/koubo';
export const root = process.env.KOUBO_SOURCE_ROOT ?? '.';

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Ask again until answer() gives something true; fails with a sentence after the time is up.
export async function until(what, answer, timeout_ms = 30000) {
    const end = Date.now() + timeout_ms;
    for (;;) {
        const value = await answer();
        if (value) return value;
        if (Date.now() > end) throw new Error(`waited ${timeout_ms} ms for ${what}`);
        await sleep(50);
    }
}

process.setMaxListeners(0); // one for each folder to be removed, and each process to be ended

export function temporary_folder() {
    const folder = mkdtempSync(path.join(tmpdir(), 'koubo-e2e-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    return folder;
}

// What a test started ends with it, however it ends; a SIGTERM is how Meson says that the time is up.
export function ends_with_us(child) {
    process.prependListener('exit', () => child.kill('SIGKILL')); // before its folder goes
    return child;
}

for (const [signal, status] of [['SIGTERM', 143], ['SIGINT', 130]]) process.once(signal, () => process.exit(status));

export class Server {
    constructor(data, options = [], binary = program, environment = process.env) {
        this.data = data;
        this.options = options;
        this.binary = binary;
        this.environment = environment;
        this.token = null;
    }

    // Starts and waits until it answers.
    async start() {
        rmSync(path.join(this.data, 'lock'), { force: true });
        const log = openSync(path.join(this.data, '..', 'server.err'), 'a');
        this.process = ends_with_us(spawn(
            this.binary,
            ['serve', '--lang', 'en', '--port', '0', '--data', this.data, '--min-free', '0', ...this.options],
            { stdio: ['ignore', 'ignore', log], env: { ...this.environment, LANG: 'C.UTF-8' } },
        ));
        closeSync(log);
        const child = this.process;
        this.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
        let gone = null;
        this.ended.then((how) => { gone = how; });
        await until('the server to start', async () => {
            if (gone) throw new Error(`the server ended: ${JSON.stringify(gone)}\n${this.errors()}`);
            this.url = this.address();
            if (!this.url) return false;
            return fetch(`${this.url}/healthz`).then((r) => r.ok, () => false);
        });
        return this;
    }

    // "PID\nADDRESS\n" in the lock file.
    address() {
        const file = path.join(this.data, 'lock');
        const [pid, url] = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
        return Number(pid) === this.process.pid && url ? url : null;
    }

    errors() {
        return readFileSync(path.join(this.data, '..', 'server.err'), 'utf8').slice(-4000);
    }

    async kill(signal = 'SIGKILL') {
        this.process.kill(signal);
        return this.ended;
    }

    request(address, options = {}) {
        const headers = { 'Accept-Language': 'en', ...options.headers };
        if (this.token) headers.Authorization = `Bearer ${this.token}`;
        return fetch(this.url + address, { ...options, headers });
    }

    // Asks again while the database is busy, as every client should.
    async patiently(address, options) {
        for (let tries = 0; ; tries++) {
            const response = await this.request(address, options);
            if (response.status !== 503 || tries === 60) return response;
            await response.arrayBuffer();
            await sleep(500);
        }
    }

    // Changes since a revision as the event stream tells them, {rev, jobs…}, until it ends or is aborted.
    async *events(since, signal) {
        const response = await this.request(`/api/v1/events${since === null ? '' : `?since=${since}`}`, { signal });
        let text = '';
        for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
            text += piece;
            for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
                const [, id] = /^id: (\d+)$/m.exec(text.slice(0, end)) ?? [];
                const [, data] = /^data: (.*)$/m.exec(text.slice(0, end)) ?? [];
                if (id && data) yield JSON.parse(data);
            }
        }
    }

    // JSON in, JSON out; an answer of another kind than 2xx is an error with its sentence.
    async api(method, address, body) {
        const response = await this.patiently(`/api/v1${address}`, {
            method,
            body: body === undefined ? undefined : JSON.stringify(body),
            headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
        });
        const text = await response.text();
        if (!response.ok) {
            const error = new Error(`${method} ${address}: ${response.status} ${text}`);
            error.status = response.status;
            throw error;
        }
        return text ? JSON.parse(text) : null;
    }

    // Every page of a list.
    async list(address) {
        const items = [];
        for (let total = 1; items.length < total;) {
            const mark = address.includes('?') ? '&' : '?';
            const page = await this.api('GET', `${address}${mark}offset=${items.length}&limit=500`);
            total = page.total;
            if (page.items.length === 0) break;
            items.push(...page.items);
        }
        return items;
    }

    async upload(name, bytes) {
        const form = new FormData();
        form.append('file', new Blob([bytes]), name);
        const response = await this.patiently('/api/v1/assets', { method: 'POST', body: form });
        const text = await response.text();
        if (!response.ok) throw new Error(`upload of ${name}: ${response.status} ${text}`);
        return JSON.parse(text).items[0];
    }
}

// --- materials

// A tone of that many seconds as a WAV file.
export function make_wav(seconds, hz = 220) {
    const rate = 16000;
    const n = Math.round(seconds * rate);
    const wav = Buffer.alloc(44 + n * 2);
    wav.write('RIFF', 0);
    wav.writeUInt32LE(36 + n * 2, 4);
    wav.write('WAVEfmt ', 8);
    wav.writeUInt32LE(16, 16);
    wav.writeUInt16LE(1, 20);
    wav.writeUInt16LE(1, 22);
    wav.writeUInt32LE(rate, 24);
    wav.writeUInt32LE(rate * 2, 28);
    wav.writeUInt16LE(2, 32);
    wav.writeUInt16LE(16, 34);
    wav.write('data', 36);
    wav.writeUInt32LE(n * 2, 40);
    for (let i = 0; i < n; i++) {
        const swell = Math.abs(Math.sin((i / rate) * Math.PI * 3)); // syllables of a kind
        wav.writeInt16LE(Math.round(12000 * swell * Math.sin((2 * Math.PI * hz * i) / rate)), 44 + i * 2);
    }
    return wav;
}

// The demo's photograph of a person: an input like a video, and a quick one.
export function person() {
    return readFileSync(path.join(root, 'node_modules/@vladmandic/face-api/demo/sample1.jpg'));
}

// A video of that person, made by the program itself.
export async function make_video(folder, seconds) {
    const { writeFileSync } = await import('node:fs');
    const wav = path.join(folder, 'made.wav');
    const jpg = path.join(folder, 'made.jpg');
    const mp4 = path.join(folder, `made-${seconds}.mp4`);
    writeFileSync(wav, make_wav(seconds));
    writeFileSync(jpg, person());
    const child = spawn(program, ['generate', '-q', '-y', '-a', wav, '-i', jpg, '-o', mp4, '--no-cache'],
        { stdio: 'inherit' });
    const code = await new Promise((resolve) => child.once('exit', resolve));
    if (code !== 0) throw new Error(`koubo generate ended with ${code}`);
    return readFileSync(mp4);
}

// --- the runner: TAP on the standard output, exit status 1 if a test failed. An argument, or KOUBO_TEST,
// chooses the tests that have it in their name.

export async function run(tests) {
    const wanted = process.argv[2] ?? process.env.KOUBO_TEST ?? '';
    const chosen = Object.entries(tests).filter(([name]) => name.includes(wanted));
    console.log(`1..${chosen.length}${chosen.length ? '' : ` # SKIP no test with '${wanted}' in its name`}`);
    let number = 0;
    for (const [name, test] of chosen) {
        number++;
        const begin = Date.now();
        try {
            const skip = await test();
            console.log(`ok ${number} - ${name}${typeof skip === 'string' ? ` # SKIP ${skip}` : ''}`);
        } catch (error) {
            process.exitCode = 1;
            for (const line of String(error.stack ?? error).split('\n')) console.log(`# ${line}`);
            console.log(`not ok ${number} - ${name}`);
        }
        console.error(`${name}: ${Date.now() - begin} ms`);
    }
    process.exit();
}
