// A redis-server of a test's own, and a small client (RESP 2 over a socket). Node 18, no packages.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { ends_with_us } from '../e2e/server.mjs';

export const has_redis = () => spawnSync('redis-server', ['--version']).status === 0;

export function free_port() {
    return new Promise((resolve, reject) => {
        const probe = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
            const { port } = probe.address();
            probe.close(() => resolve(port));
        });
    });
}

// Keeps nothing on the disk: killed and started again it is empty.
export class RedisServer {
    constructor(folder, bind = '127.0.0.1') {
        this.folder = path.join(folder, 'redis');
        this.bind = bind;
        mkdirSync(this.folder, { recursive: true });
    }

    async start() {
        this.port ??= await free_port();
        this.url = `redis://${this.bind}:${this.port}`;
        this.process = ends_with_us(spawn('redis-server', ['--port', this.port, '--bind', this.bind, '--save', '', '--appendonly', 'no',
            '--daemonize', 'no', '--protected-mode', 'no', '--dir', this.folder], { stdio: 'ignore' }));
        this.ended = new Promise((resolve) => this.process.once('exit', resolve));
        for (let tries = 0; ; tries++) {
            const client = new RedisClient(this.url);
            try {
                await client.ask('PING');
                return this;
            } catch (error) {
                if (tries === 400 || this.process.exitCode !== null) throw new Error(`redis-server does not start: ${error.message}`);
                await new Promise((resolve) => setTimeout(resolve, 25));
            } finally {
                client.close();
            }
        }
    }

    async kill(signal = 'SIGKILL') {
        this.process.kill(signal);
        await this.ended;
    }
}

// --- the client

// [value, where it ends], or null where the answer is not whole yet. Errors are returned as Error.
function read_answer(bytes, at) {
    const end = bytes.indexOf('\r\n', at);
    if (end < 0) return null;
    const text = bytes.toString('utf8', at + 1, end);
    let next = end + 2;
    switch (String.fromCharCode(bytes[at])) {
    case '+': return [text, next];
    case '-': return [new Error(text), next];
    case ':': return [Number(text), next];
    case '$': {
        const length = Number(text);
        if (length < 0) return [null, next];
        return bytes.length < next + length + 2 ? null : [bytes.toString('utf8', next, next + length), next + length + 2];
    }
    case '*': {
        if (Number(text) < 0) return [null, next];
        const list = [];
        for (let n = Number(text); n > 0; n--) {
            const item = read_answer(bytes, next);
            if (!item) return null;
            list.push(item[0]);
            next = item[1];
        }
        return [list, next];
    }
    default: throw new Error(`no answer of Redis: ${bytes.toString('latin1', at, at + 40)}`);
    }
}

// One connection, made when it is first asked and again after it was lost. Commands are answered in
// order; what is under way when the connection ends fails.
export class RedisClient {
    constructor(url) {
        const { hostname, port } = new URL(url);
        this.to = { host: hostname, port: Number(port) || 6379 };
        this.waiting = [];
    }

    connect() {
        const socket = net.connect({ ...this.to, noDelay: true });
        let rest = Buffer.alloc(0);
        this.socket = socket;
        const end = (error) => {
            if (this.socket !== socket) return;
            this.socket = null;
            for (const { reject } of this.waiting.splice(0)) reject(error);
        };
        socket.on('data', (bytes) => {
            rest = rest.length ? Buffer.concat([rest, bytes]) : bytes;
            let at = 0;
            for (let answer; at < rest.length && (answer = read_answer(rest, at)); at = answer[1]) {
                const { resolve, reject } = this.waiting.shift();
                if (answer[0] instanceof Error) reject(answer[0]);
                else resolve(answer[0]);
            }
            rest = rest.subarray(at);
        });
        socket.on('error', end);
        socket.on('close', () => end(new Error('the connection to Redis ended')));
    }

    ask(...words) {
        return new Promise((resolve, reject) => {
            if (!this.socket) this.connect();
            this.waiting.push({ resolve, reject });
            const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
            this.socket.write(`*${words.length}\r\n${parts.join('')}`);
        });
    }

    close() {
        this.socket?.destroy();
    }
}
