// A studio of many machines on this one: a redis-server, a head, nodes that are real or only play one
// (tests/cluster/fake_node.mjs), and lines between them that can be cut.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { FakeNode, make_film } from '../cluster/fake_node.mjs';
import { free_port, RedisServer } from '../cluster/redis.mjs';
import { KEY, NODE_KEY, NODE_SECRET, S3Server, SECRET } from '../cluster/s3.mjs';
import { ends_with_us, make_wav, person, program, Server, temporary_folder, until } from './server.mjs';

export const ENDED = ['done', 'failed', 'cancelled', 'skipped'];
export const ended = (job) => ENDED.includes(job.state);

// A line from one machine to another that passes on what it gets, until it is cut: then nothing
// comes through and nobody is told, as when a cable is pulled.
export class Line {
    constructor(port, host = '127.0.0.1') {
        this.to = { port, host };
        this.pairs = new Set();
        this.is_cut = false;
    }

    async open() {
        this.server = net.createServer((near) => {
            const pair = { near, far: this.is_cut ? null : net.connect(this.to) };
            this.pairs.add(pair);
            if (this.is_cut) near.pause();
            else this.join(pair);
            near.on('error', () => {});
            near.on('close', () => {
                this.pairs.delete(pair);
                pair.far?.destroy();
            });
        });
        await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
        this.port = this.server.address().port;
        return this;
    }

    join(pair) {
        const { near, far } = pair;
        far.setNoDelay(true);
        near.setNoDelay(true);
        near.pipe(far);
        far.pipe(near);
        far.on('error', () => near.destroy());
        far.on('close', () => near.destroy());
    }

    cut() {
        this.is_cut = true;
        for (const { near, far } of this.pairs)
            for (const [one, other] of [[near, far], [far, near]]) {
                one?.unpipe(other);
                one?.pause();
            }
    }

    // What was under way comes through late; who connected meanwhile is connected now.
    mend() {
        if (!this.is_cut) return;
        this.is_cut = false;
        for (const pair of this.pairs) {
            if (pair.far) {
                pair.near.pipe(pair.far);
                pair.far.pipe(pair.near);
            } else {
                pair.far = net.connect(this.to);
                this.join(pair);
                pair.near.resume();
            }
        }
    }

    close() {
        for (const { near } of this.pairs) near.destroy();
        this.server.close();
    }
}

// What weather.c shows to the programs that it is loaded into.
export class Weather {
    constructor(file) {
        this.file = file;
        writeFileSync(file, Buffer.alloc(16));
    }

    set(offset_s, full) {
        const bytes = Buffer.alloc(16);
        bytes.writeBigInt64LE(BigInt(Math.round(offset_s)), 0);
        bytes.writeBigInt64LE(full ? 1n : 0n, 8);
        writeFileSync(this.file, bytes, { flag: 'r+' });
    }

    environment() {
        const library = process.env.KOUBO_WEATHER_LIBRARY;
        return library ? { ...process.env, LD_PRELOAD: library, KOUBO_WEATHER: this.file } : process.env;
    }
}

// A real `koubo node` with a folder of its own.
export class Machine {
    constructor(studio, name, { options = [], environment = process.env, wrap = [], redis, depot }) {
        Object.assign(this, { studio, name, options, environment, wrap, redis, depot });
        this.data = path.join(studio.folder, name);
        this.log = path.join(studio.folder, `${name}.err`);
        this.secret_file = path.join(studio.folder, `${name}.secret`);
    }

    start() {
        const log = openSync(this.log, 'a');
        const words = [...this.wrap, program, 'node', '--lang', 'en', '--cluster', this.redis, '--depot', this.depot, '--name', this.name,
            '--token-file', this.secret_file, '--data', this.data, '--workers', '1', '--min-free', '0', '--cache-gb', '0', ...this.options];
        this.process = ends_with_us(spawn(words[0], words.slice(1),
            { stdio: ['ignore', log, log], env: { ...this.environment, ...this.studio.node_keys, LANG: 'C.UTF-8' } }));
        closeSync(log);
        this.gone = null;
        this.ended = new Promise((resolve) => this.process.once('exit', (code, signal) => {
            this.gone = { code, signal };
            resolve(this.gone);
        }));
        return this;
    }

    async kill(signal = 'SIGKILL') {
        if (!this.gone) this.process.kill(signal);
        return this.ended;
    }

    said() {
        return existsSync(this.log) ? readFileSync(this.log, 'utf8').slice(-3000) : '';
    }

    // Files that hold something of a job: none is left of jobs that are over where nothing is kept.
    left() {
        return ['files', 'uploads', 'results', 'work', 'thumbs'].flatMap((folder) => {
            const at = path.join(this.data, folder);
            if (!existsSync(at)) return [];
            return readdirSync(at, { recursive: true }).filter((name) => lstatSync(path.join(at, name)).isFile()).map((name) => `${folder}/${name}`);
        });
    }
}

export class Studio {
    constructor() {
        this.folder = temporary_folder();
        this.redis = new RedisServer(this.folder);
        this.machines = [];
        this.fakes = [];
        this.lines = [];
    }

    // timeout_s: after which silence a job goes to others. options: more of serve's.
    async open({ timeout_s = 4, options = [], listen = '127.0.0.1', token = null, s3 = false, environment = process.env } = {}) {
        await this.redis.start();
        if (s3) await this.open_store();
        const port = await free_port();
        mkdirSync(path.join(this.folder, 'head'));
        this.head = new Server(path.join(this.folder, 'head', 'data'), ['--cluster', this.redis.url, '--workers', '0',
            '--node-timeout', `${timeout_s}`, '--port', `${port}`, '--listen', listen, ...(s3 ? ['--depot', this.s3.depot] : []), ...(token ? ['--token', token] : []), ...options], program, { ...environment, ...this.keys });
        this.head.token = token;
        await this.head.start();
        this.version = (await this.head.api('GET', '/system')).version;
        return this;
    }

    // What a depot on S3 is: a store, and the keys to it, which head and machines each have in their environment.
    async open_store() {
        this.s3 = await new S3Server(path.join(this.folder, 's3')).start();
        this.keys = { AWS_ACCESS_KEY_ID: KEY, AWS_SECRET_ACCESS_KEY: SECRET };
        this.node_keys = { AWS_ACCESS_KEY_ID: NODE_KEY, AWS_SECRET_ACCESS_KEY: NODE_SECRET };
    }

    async add(name) {
        const { secret } = await this.head.api('POST', '/nodes', { name });
        return secret;
    }

    // A line of the machine's own to Redis and one to the depot, or straight.
    async ways(own_lines) {
        if (!own_lines) return { redis: this.redis.url, depot: this.s3?.depot ?? this.head.url, lines: [] };
        const depot = this.s3?.endpoint ?? this.head.url;
        const lines = await Promise.all([this.redis.port, Number(new URL(depot).port)].map((port) => new Line(port).open()));
        this.lines.push(...lines);
        const at = `http://127.0.0.1:${lines[1].port}`;
        return { redis: `redis://127.0.0.1:${lines[0].port}`, depot: this.s3 ? this.s3.depot.replace(depot, at) : at, lines };
    }

    async machine(name, { own_lines = false, depot, ...rest } = {}) {
        const ways = await this.ways(own_lines);
        const machine = new Machine(this, name, { ...ways, ...rest, ...(depot ? { depot } : {}) });
        writeFileSync(machine.secret_file, `${await this.add(name)}\n`, { mode: 0o600 });
        machine.lines = ways.lines;
        this.machines.push(machine);
        return machine.start();
    }

    async fake(name, { own_lines = false, ...options } = {}) {
        this.film ??= make_film(this.folder, 1);
        const ways = await this.ways(own_lines);
        const node = new FakeNode({ name, secret: await this.add(name), version: this.version, film: this.film, ...ways, ...options });
        node.lines = ways.lines;
        this.fakes.push(node);
        return node.start();
    }

    // n jobs of the same picture; several batches of one speech each if wanted.
    async batch(n, { seconds = 1, hz = 220, extra = {} } = {}) {
        this.picture ??= await this.head.upload('person.jpg', person());
        const audio = await this.head.upload('speech.wav', make_wav(seconds, hz));
        return this.head.api('POST', '/batches', { audio: audio.id, videos: Array(n).fill(this.picture.id), ...extra });
    }

    async all_ended(n, timeout_ms = 120000) {
        return until(`${n} jobs to end`, async () => {
            const jobs = await this.head.list('/jobs').catch(() => []);
            return jobs.length === n && jobs.every(ended) && jobs;
        }, timeout_ms);
    }

    async nodes() {
        const list = await this.head.api('GET', '/nodes');
        return list.items ?? list;
    }

    // What is of use when a test failed.
    async tell() {
        const lines = [this.head?.errors() ?? ''];
        for (const machine of this.machines) lines.push(`--- ${machine.name}`, machine.said());
        for (const fake of this.fakes) lines.push(`--- ${fake.name}: ${JSON.stringify(fake.seen)} ${fake.faults.join('\n')} ${fake.last_fault ?? ''}`);
        const open = await this.head.list('/jobs').then((jobs) => jobs.filter((j) => !ended(j)).slice(0, 5), (error) => String(error));
        lines.push(JSON.stringify({ open, nodes: await this.nodes().catch(String) }, null, 1), this.rows());
        return lines.join('\n');
    }

    // What the head's database says of jobs that other machines have, and of results that come.
    rows() {
        const asked = spawnSync('python3', ['-c', `
import sqlite3, sys
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
for sql in ("SELECT * FROM remote", "SELECT * FROM asset WHERE job IS NOT NULL"):
    print([dict(zip([c[0] for c in q.description], row)) for q in [db.execute(sql)] for row in q])
`, path.join(this.head.data, 'koubo.db')], { encoding: 'utf8' });
        return asked.stdout + asked.stderr;
    }

    async close() {
        await Promise.all(this.fakes.map((fake) => fake.stop()));
        await Promise.all(this.machines.map((machine) => machine.kill()));
        if (this.head?.process) await this.head.kill('SIGTERM');
        for (const line of this.lines) line.close();
        await this.s3?.stop();
        if (this.redis.process) await this.redis.kill();
    }
}

export async function with_studio(options, test) {
    const studio = new Studio();
    try {
        await studio.open(options);
        return await test(studio);
    } catch (error) {
        console.error(await studio.tell().catch(String));
        throw error;
    } finally {
        await studio.close();
    }
}
