// A machine of a cluster that only plays one, by docs/cluster.md: it takes jobs, waits for so many
// seconds, sends a film that was made before, and tells true facts of it. With `evil` it does what
// no machine should (the list is EVIL). Node 18, no packages.
//
// What it saw it counts (`seen`), so that tests can say what must have happened.
import { spawnSync } from 'node:child_process';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { RedisClient } from './redis.mjs';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const sign = (secret, text) => createHmac('sha256', secret).update(text).digest('hex');
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

// The fields of an entry of a stream.
const table = (list) => Object.fromEntries(Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i], list[2 * i + 1]]));

// A lease has 63 bits, a number of JavaScript 53: it is kept as its digits.
const encode = (body) => JSON.stringify(body).replace(/"lease":"(\d+)"/g, '"lease":$1');
const decode = (text) => JSON.parse(text.replace(/"lease":\s*(\d+)/g, '"lease":"$1"'));

const KB_CANCELLED = 2, KB_BAD_INPUT = 3; // base/base.h

// claim: says it has taken, made and done whatever any machine has; twice: sends results and `done`
// again, also after `over`; text: a text file for a film; liar: true bytes, wrong facts; ghost:
// progress of jobs that it does not have, and of some that nobody has; replay: repeats what others
// told, word for word; forge: orders to other machines, and messages in their name; mute: takes jobs and
// says nothing more of them; fail: every job fails.
export const EVIL = ['claim', 'twice', 'text', 'liar', 'ghost', 'replay', 'forge', 'mute', 'fail'];

// A second of a moving picture with a tone, small, and what a machine tells of it.
export function make_film(folder, seconds = 1) {
    const file = path.join(folder, `film-${seconds}.mp4`);
    const made = spawnSync('ffmpeg', ['-v', 'error', '-nostdin', '-y', '-f', 'lavfi', '-i', `testsrc=size=160x120:rate=25:duration=${seconds}`,
        '-f', 'lavfi', '-i', `sine=frequency=300:duration=${seconds}`, '-pix_fmt', 'yuv420p', '-c:v', 'libx264', '-preset', 'ultrafast',
        '-crf', '40', '-c:a', 'aac', '-b:a', '32k', '-shortest', file], { encoding: 'utf8' });
    if (made.status !== 0) throw new Error(`ffmpeg: ${made.error ?? made.stderr}`);
    return { bytes: readFileSync(file), facts: { frames: Math.round(seconds * 25), animated: Math.round(seconds * 25), seconds, width: 160, height: 120 } };
}

// The same film as another file: a box that players skip, with what is to differ.
function unlike(bytes, text) {
    const box = Buffer.alloc(8 + Buffer.byteLength(text));
    box.writeUInt32BE(box.length, 0);
    box.write(`free${text}`, 4);
    return Buffer.concat([bytes, box]);
}

export class FakeNode {
    // depot: the head's address; version: the head's; film: of make_film(); seconds: how long a job takes.
    // fetch_inputs: gets the files of a job and looks whether they are what they should be.
    constructor({ name, secret, redis, depot, version, film, slots = 1, seconds = 1, evil = [], fetch_inputs = true, prefix = 'koubo', beat_ms = 500 }) {
        Object.assign(this, { name, secret, redis, depot, version, film, slots, seconds, fetch_inputs, prefix, beat_ms });
        this.evil = new Set(evil);
        this.boot = randomBytes(8).toString('hex');
        this.pulse = '';
        this.jobs = new Map(); // id: what it knows of a job that it has
        this.seen = { taken: 0, go: 0, over: 0, lost: 0, again: 0, cancel: 0, refused: 0, files: 0, bad_files: 0, puts: {}, states: {} };
        this.faults = [];
        this.state = ''; // until the head says that it may take jobs
    }

    key(rest) {
        return `${this.prefix}:${rest}`;
    }

    start() {
        this.running = true;
        this.clients = { take: new RedisClient(this.redis), hear: new RedisClient(this.redis), tell: new RedisClient(this.redis) };
        this.after = '0-0';
        const loops = [this.take(), this.hear(), this.beat()];
        if (this.evil.size > 0) loops.push(this.misbehave());
        this.stopped = Promise.all(loops);
        return this;
    }

    // At once, as by kill -9: nothing is told to anybody.
    async stop() {
        this.running = false;
        for (const client of Object.values(this.clients)) client.close();
        await this.stopped;
    }

    // Another process of that machine, which knows nothing of before.
    reborn() {
        this.boot = randomBytes(8).toString('hex');
        this.jobs = new Map();
        this.pulse = '';
        this.state = '';
        return this.start();
    }

    // Does it again and again until it is stopped; Redis may be away.
    async always(action) {
        while (this.running) {
            try {
                await action();
            } catch (error) {
                if (this.running) await sleep(100);
                this.last_fault = error;
            }
        }
    }

    // --- what it tells

    async tell(body, { node = this.name, secret = this.secret } = {}) {
        const text = encode(body);
        const mac = sign(secret, `told\n${node}\n${this.pulse}\n${text}`);
        await this.clients.tell.ask('XADD', this.key('told'), 'MAXLEN', '~', 10000, '*',
            'node', node, 'nonce', this.pulse, 'mac', mac, 'body', text);
    }

    // Not heard is said again later.
    async say(body) {
        await this.tell(body).catch(() => {});
    }

    facts() {
        return {
            is: 'beat', version: this.version, boot: this.boot, slots: this.slots,
            draining: this.state === 'draining', workers: this.slots, cores: 2, cpu: 'a machine that only plays one', load: 0.5,
            memory: { total: 2 ** 33, available: 2 ** 32 }, disk: { total: 2 ** 37, free: 2 ** 36 }, cache: 0, gpus: [], clock: Date.now(),
        };
    }

    async beat() {
        let turn = 0;
        await this.always(async () => {
            if (turn++ % 4 === 0 || !this.pulse) this.pulse = await this.clients.tell.ask('GET', this.key('pulse')) ?? '';
            const jobs = [...this.jobs.values()].filter((job) => job.begun && !job.mute).map((job) => ({
                job: job.job, lease: job.lease, stage: job.stage, done: Math.round(job.done), total: this.film.facts.frames, fps: 25,
            }));
            if (this.evil.has('ghost')) jobs.push(...this.ghosts());
            await this.tell({ ...this.facts(), jobs });
            const since = Date.now();
            const pause_ms = () => (this.jobs.size > 0 ? this.beat_ms : 2 * this.beat_ms);
            while (this.running && Date.now() - since < pause_ms()) await sleep(50);
        });
    }

    // --- jobs

    free() {
        const busy = [...this.jobs.values()].filter((job) => !job.made).length;
        return this.state === 'active' ? this.slots - busy : 0;
    }

    async take() {
        await this.always(async () => {
            if (!this.pulse || this.free() <= 0) {
                await sleep(20);
                return;
            }
            const answer = await this.clients.take.ask('XREADGROUP', 'GROUP', 'nodes', this.name, 'COUNT', this.free(), 'BLOCK', 1000,
                'STREAMS', this.key('jobs'), '>').catch(async (error) => {
                if (!/NOGROUP/.test(error.message)) throw error;
                await this.clients.take.ask('XGROUP', 'CREATE', this.key('jobs'), 'nodes', '0', 'MKSTREAM').catch(() => {});
                return null;
            });
            for (const [, fields] of answer?.[0]?.[1] ?? []) {
                if (!fields) continue; // it was withdrawn meanwhile
                const offer = table(fields), job = Number(offer.job), { lease } = offer;
                if (this.jobs.get(job)?.begun) continue; // forged, or told lost in a moment
                const taken = { job, lease, stage: 0, done: 0 };
                this.jobs.set(job, taken);
                this.seen.taken++;
                this.ask_for(taken);
            }
        });
    }

    // Said again every 2 s until it hears that it may begin, or that the job is not its own.
    async ask_for(job) {
        while (this.running && this.jobs.get(job.job) === job && !job.begun) {
            await this.say({ is: 'taken', job: job.job, lease: job.lease });
            for (let wait = 0; wait < 2000 && this.running && !job.begun && !job.over; wait += 50) await sleep(50);
        }
    }

    async hear() {
        await this.always(async () => {
            const answer = await this.clients.hear.ask('XREAD', 'COUNT', 100, 'BLOCK', 1000, 'STREAMS', this.key(`to:${this.name}`), this.after);
            for (const [id, fields] of answer?.[0]?.[1] ?? []) {
                this.after = id;
                const { mac, body } = table(fields);
                if (mac === sign(this.secret, `to\n${this.name}\n${body}`)) this.ordered(decode(body));
            }
            // Redis lost everything: its ids begin anew, or those told no more can be heard.
            if (!answer && this.after !== '0-0' && await this.clients.hear.ask('EXISTS', this.key(`to:${this.name}`)) === 0) this.after = '0-0';
        });
    }

    ordered(order) {
        const job = this.jobs.get(order.job);
        const mine = job && job.lease === order.lease;
        switch (order.is) {
        case 'go':
            if (mine && !job.begun) {
                this.seen.go++;
                job.begun = true;
                Promise.resolve(this.work(job, order)).catch((error) => this.faults.push(`${this.name}: ${error.stack}`));
            }
            break;
        case 'cancel':
            this.seen.cancel++;
            if (mine) job.cancelled = true;
            break;
        case 'again':
            this.seen.again++;
            if (mine) job.again = true;
            break;
        case 'over':
        case 'lost':
            if (!mine) break;
            this.seen[order.is] += job.begun ? 1 : 0; // an offer that is void is no job
            job.over = order.is;
            this.jobs.delete(order.job);
            break;
        case 'state':
            this.state = order.state;
            this.why = order.why;
            this.seen.states[order.state] = (this.seen.states[order.state] ?? 0) + 1;
            break;
        default:
            this.faults.push(`${this.name} heard ${JSON.stringify(order)}`);
        }
    }

    // Until over: says it every 5 s.
    async insist(job, body) {
        for (let wait = 0; this.running && !job.over && !job.again; wait += 50) {
            if (wait % 5000 === 0) await this.say(body());
            await sleep(50);
        }
    }

    async work(job, order) {
        if (this.evil.has('mute')) {
            job.mute = true;
            return;
        }
        if (this.fetch_inputs)
            for (const file of order.files) await this.fetch_input(job, file);
        job.begin = Date.now();
        while (this.running && !job.over && !job.cancelled && Date.now() - job.begin < this.seconds * 1000) {
            job.stage = 3;
            job.done = Math.min(1, (Date.now() - job.begin) / (this.seconds * 1000)) * this.film.facts.frames;
            await sleep(Math.min(100, this.seconds * 100));
        }
        if (!this.running || job.over) return;
        const ids = { job: job.job, lease: job.lease };
        if (job.cancelled || this.evil.has('fail')) {
            const code = job.cancelled ? KB_CANCELLED : KB_BAD_INPUT;
            await this.insist(job, () => ({ is: 'failed', ...ids, code, why: 'this machine only plays one' }));
            return;
        }
        const bytes = this.evil.has('text') ? Buffer.from(`no film ${job.job}`) : unlike(this.film.bytes, `${this.name} ${job.job} ${job.lease}`);
        job.made = true;
        job.stage = 4;
        await this.say({ is: 'made', ...ids });
        const facts = this.evil.has('liar') ? { ...this.film.facts, seconds: 1000, width: 4000, height: 3000 } : this.film.facts;
        const done = { is: 'done', ...ids, sha256: sha256(bytes), size: bytes.length, ...facts, stages: [0.1, 0.1, 0, this.seconds, 0.1] };
        do {
            job.again = false;
            await this.put(job, bytes, done.sha256);
            await this.insist(job, () => done);
        } while (this.running && !job.over);
        if (this.evil.has('twice') && job.over === 'over') {
            const answers = [await this.put({ ...ids, once: true }, bytes, done.sha256)];
            await this.say(done);
            await this.say({ ...done, size: 1, sha256: sha256('another') });
            this.seen.after_over = answers;
        }
    }

    // --- files, by HTTP

    request(method, address, options = {}) {
        const mac = sign(this.secret, `${method}\n${address}\n${this.pulse}`);
        return fetch(this.depot + address, {
            method, ...options, headers: { Authorization: `Koubo-Node ${this.name}:${this.pulse}:${mac}` }, signal: AbortSignal.timeout(20000),
        });
    }

    async fetch_input(job, file) {
        for (let tries = 0; this.running && !job.over && tries < 300; tries++) {
            try {
                const answer = await this.request('GET', `/api/v1/depot/files/${file.sha256}`);
                const bytes = Buffer.from(await answer.arrayBuffer());
                if (answer.status === 200) {
                    this.seen.files++;
                    if (sha256(bytes) === file.sha256 && bytes.length === file.size) return;
                    this.seen.bad_files++;
                }
                this.seen.refused += answer.status === 404 ? 1 : 0;
            } catch { /* the head is away */ }
            await sleep(200);
        }
    }

    // From where it stands, until it is there, or the job is not this machine's any more. What was answered last.
    async put(job, bytes, hash) {
        let offset = 0, status = 0;
        for (let tries = 0; this.running && !job.over && tries < 300; tries++) {
            const address = `/api/v1/depot/results/${job.job}?lease=${job.lease}&sha256=${hash}&size=${bytes.length}&offset=${offset}`;
            try {
                const answer = await this.request('PUT', address, { body: bytes.subarray(offset) });
                const text = await answer.text();
                status = answer.status;
                this.seen.puts[status] = (this.seen.puts[status] ?? 0) + 1;
                if (status === 204 || status === 404 || status === 400) return status;
                offset = status === 409 ? JSON.parse(text).offset : 0;
                if (status === 409 && tries < 5) continue;
            } catch { /* the head is away */ }
            if (job.once) break;
            await sleep(200);
        }
        return status;
    }

    // --- evil

    ghosts() {
        const at = { lease: '12345', stage: 3, done: 1, total: 25, fps: 25 };
        return [{ ...at, job: 1 }, { ...at, job: 987654321 }, ...(this.known ?? []).map((one) => ({ ...at, ...one }))];
    }

    // Jobs, leases and words that are not its own, as anybody reads them who can read Redis.
    async eavesdrop() {
        const told = await this.clients.tell.ask('XREVRANGE', this.key('told'), '+', '-', 'COUNT', 50);
        const messages = told.map(([, fields]) => fields).filter((fields) => table(fields).node !== this.name);
        this.known = messages.map((fields) => decode(table(fields).body)).flatMap((body) => (body.is === 'beat' ? body.jobs : [body]))
            .filter((body) => Number.isInteger(body.job)).map(({ job, lease }) => ({ job, lease })).slice(0, 10);
        return messages;
    }

    async misbehave() {
        await this.always(async () => {
            await sleep(300);
            const messages = await this.eavesdrop();
            if (this.evil.has('claim')) for (const one of this.known.slice(0, 4)) await this.claim(one);
            if (this.evil.has('replay'))
                for (const fields of messages.slice(0, 10)) await this.clients.tell.ask('XADD', this.key('told'), 'MAXLEN', '~', 10000, '*', ...fields);
            if (this.evil.has('forge')) await this.forge(messages);
        });
    }

    async claim(one) {
        const bytes = Buffer.from('somebody else made this');
        await this.tell({ is: 'taken', ...one });
        await this.tell({ is: 'made', ...one });
        const status = await this.put({ ...one, once: true }, bytes, sha256(bytes));
        this.seen.stolen = (this.seen.stolen ?? 0) + (status === 204 ? 1 : 0);
        await this.tell({ is: 'done', ...one, sha256: sha256(bytes), size: bytes.length, ...this.film.facts, stages: [0, 0, 0, 0, 0] });
        await this.tell({ is: 'failed', ...one, code: KB_BAD_INPUT, why: 'says who has it not' });
        await this.tell({ is: 'back', ...one });
    }

    async forge(messages) {
        for (const one of this.known) {
            const { node } = table(messages[0]);
            for (const is of ['over', 'lost', 'cancel'])
                await this.clients.tell.ask('XADD', this.key(`to:${node}`), 'MAXLEN', '~', 1000, '*',
                    'mac', sign(this.secret, 'x'), 'body', encode({ is, ...one }));
            await this.tell({ is: 'back', ...one }, { node });
            await this.clients.tell.ask('XADD', this.key('jobs'), '*', 'job', one.job, 'lease', 1);
        }
    }
}
