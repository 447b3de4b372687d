// A voice service of a test's own, which speaks as each of the services that koubo knows: a tone as long as the sentence. What it
// is asked is remembered, and words in the sentence make it misbehave.
//
//     import { VoiceService } from '../voices/service.mjs';
//     const service = await new VoiceService().start();       // service.url, service.asked = [{ path, body, headers }]
//
//     node tests/voices/service.mjs                            the same for other programs: says its address, then answers each
//                                                              line with the latest question as JSON
import http from 'node:http';
import readline from 'node:readline';

const RATE = 24000;

// Samples of 16 bits: 80 ms for a letter, with silence of 0.2 s around it.
export function tone(text) {
    const silence = RATE / 5, n = Math.max(1, [...text].length) * RATE * 0.08;
    const bytes = Buffer.alloc(2 * (n + 2 * silence));
    for (let i = 0; i < n; i++) bytes.writeInt16LE(Math.round(9000 * Math.sin((2 * Math.PI * 440 * i) / RATE)), 2 * (i + silence));
    return bytes;
}

export function wav(samples) {
    const head = Buffer.alloc(44);
    head.write('RIFF');
    head.writeUInt32LE(36 + samples.length, 4);
    head.write('WAVEfmt ', 8);
    head.writeUInt32LE(16, 16);
    head.writeUInt16LE(1, 20);
    head.writeUInt16LE(1, 22);
    head.writeUInt32LE(RATE, 24);
    head.writeUInt32LE(RATE * 2, 28);
    head.writeUInt16LE(2, 32);
    head.writeUInt16LE(16, 34);
    head.write('data', 36);
    head.writeUInt32LE(samples.length, 40);
    return Buffer.concat([head, samples]);
}

function form_of(body, type) {
    const boundary = /boundary=(.+)$/.exec(type)?.[1];
    const fields = {};
    for (const part of body.toString('latin1').split(`--${boundary}`)) {
        const name = /name="([^"]+)"/.exec(part)?.[1], at = part.indexOf('\r\n\r\n');
        if (name) fields[name] = Buffer.from(part.slice(at + 4, -2), 'latin1').toString();
    }
    return fields;
}

const PATHS = ['/v1/audio/speech', '/v1/invoke', '/tts', '/inference_sft', '/inference_zero_shot', '/inference_cross_lingual', '/inference_instruct2'];

export class VoiceService {
    constructor() {
        this.asked = [];
        this.at_once = this.most_at_once = 0;
        this.server = http.createServer((req, res) => this.#hear(req, res));
    }

    async start() {
        await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
        this.url = `http://127.0.0.1:${this.server.address().port}`;
        return this;
    }

    stop() {
        this.server.closeAllConnections();
        return new Promise((done) => this.server.close(done));
    }

    #hear(req, res) {
        const parts = [];
        this.most_at_once = Math.max(this.most_at_once, ++this.at_once);
        res.on('close', () => this.at_once--);
        req.on('data', (part) => parts.push(part));
        req.on('end', () => {
            const type = req.headers['content-type'] ?? '', raw = Buffer.concat(parts);
            const body = type.includes('json') ? JSON.parse(raw.toString()) : form_of(raw, type);
            this.asked.push({ path: req.url, body, headers: req.headers });
            this.#answer(req, res, body);
        });
    }

    #answer(req, res, body) {
        const text = body.input ?? body.text ?? body.tts_text ?? '';
        const say = (status, type, what) => {
            res.writeHead(status, { 'Content-Type': type });
            res.end(what);
        };
        if (!PATHS.includes(req.url)) return say(404, 'application/json', '{"detail":"Not Found"}');
        if (text.includes('refuse')) return say(400, 'application/json', JSON.stringify({ error: { message: `no: ${req.headers.authorization}` } }));
        if (text.includes('code')) return say(200, 'application/json', '{"code":-1,"msg":"speaker not found"}');
        if (text.includes('once') && !this.failed) {
            this.failed = true;
            return say(503, 'text/plain', 'try later');
        }
        if (text.includes('broken')) return say(500, 'text/html', '<h1>Internal\nError</h1>');
        if (text.includes('noise')) return say(200, 'audio/wav', 'this is no sound at all, whatever the header says');
        if (text.includes('slow')) return; // never
        if (text.includes('moved')) {
            res.writeHead(302, { Location: 'http://169.254.169.254/' });
            return res.end();
        }
        if (text.includes('endless')) {
            res.writeHead(200, { 'Content-Type': 'audio/wav' });
            const more = () => {
                while (!res.destroyed && res.write(Buffer.alloc(1 << 20)));
            };
            res.on('drain', more);
            return more();
        }
        if (text.includes('cut')) {
            res.writeHead(200, { 'Content-Type': 'audio/wav', 'Content-Length': 100000 });
            res.write(Buffer.alloc(100));
            return setTimeout(() => res.destroy(), 20);
        }
        if (req.url.startsWith('/inference_')) { // as a stream of samples without any type
            res.removeHeader('Content-Type');
            res.writeHead(200);
            return res.end(tone(text));
        }
        return say(200, 'audio/wav', wav(tone(text)));
    }
}

if (process.argv[1]?.endsWith('voices/service.mjs')) {
    const service = await new VoiceService().start();
    console.log(service.url);
    for await (const line of readline.createInterface({ input: process.stdin }))
        console.log(JSON.stringify(line === 'count' ? service.asked.length : line === 'most' ? service.most_at_once : (service.asked.at(-1) ?? null)));
    process.exit(0);
}
