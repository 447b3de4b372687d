// A server that answers as `koubo serve` does (docs/openapi.yaml) and generates nothing: for work
// on the page and for its quick tests. Keeps everything in memory and in a temporary folder.
//   node tests/web/mock_server.mjs [port]        MOCK_TOKEN=secret asks for a token
import { randomBytes } from 'node:crypto';
import { appendFileSync, createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnSync } from 'node:child_process';
import { cuesOf, fromSrt, toSrt, toVtt } from './mock_cues.mjs';
import { peaks, probe, thumbnail, zip } from './mock_media.mjs';
import { Nodes } from './mock_nodes.mjs';
import { Queue, RUNNING } from './mock_queue.mjs';

const POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:";
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
const SECRET = '********';

class Problem extends Error {
    constructor(status, code, zh, en) {
        super(en);
        Object.assign(this, { status, code, zh, en });
    }
}
const notFound = () => new Problem(404, 'not_found', '没有这个东西，可能已经删除', 'it is not there; it may have been deleted');

async function bodyOf(request) {
    const parts = [];
    for await (const part of request) parts.push(part);
    return Buffer.concat(parts);
}

// Runs test(mock) with a server of its own.
export async function with_mock(options, test) {
    const mock = await new Mock(options).start();
    try {
        return await test(mock);
    } finally {
        await mock.stop();
        mock.remove();
    }
}

export class Mock {
    constructor({ page = fileURLToPath(new URL('../../web/dist', import.meta.url)), token = '', workers = 2, pace = 1, looking = 0, cluster = false, beat = 2000 } = {}) {
        this.page = page;
        this.beat = beat; // ms between heartbeats
        this.looking = looking; // fifths of a second for each file
        this.token = token;
        this.queue = new Queue({ workers, pace });
        this.nodes = cluster ? new Nodes(this.queue) : null;
        this.folder = mkdtempSync(path.join(tmpdir(), 'koubo-mock-'));
        this.busy = 0; // so many requests are refused for a moment
        this.sockets = new Set();
        this.looks = { worker: null, waiting: 0, making: null }; // as the system view tells of them
        this.previews = new Map(); // what was asked for, by id
        this.stills = []; // the options of each picture of them that was asked for
        this.voices = []; // that were added
        this.samples = []; // what was heard
        this.spoken = new Map(); // what a speech says, or the subtitles in a file, by its asset
        this.shapes = []; // for which subtitles were asked for
        this.people = new Map();
        this.settings = { events: ['batch_ended', 'job_failed'], webhook: { url: 'https://example.com/hook', secret: SECRET } };
        this.started = Date.now();
    }

    async start(port = 0) {
        this.server = http.createServer((request, response) => this.answer(request, response));
        this.server.on('connection', (socket) => {
            this.sockets.add(socket);
            socket.on('close', () => this.sockets.delete(socket));
        });
        await new Promise((ok, no) => this.server.once('error', no).listen(port, '127.0.0.1', ok));
        this.port = this.server.address().port;
        this.url = `http://127.0.0.1:${this.port}`;
        this.queue.start();
        return this;
    }

    // As a kill: every connection breaks. start(port) continues with the same state.
    async stop() {
        this.queue.stop();
        const closed = new Promise((ok) => this.server.close(ok));
        this.sockets.forEach((socket) => socket.destroy());
        await closed;
    }

    remove() {
        rmSync(this.folder, { recursive: true, force: true });
    }

    file(name) {
        return path.join(this.folder, name);
    }

    // --- answers

    json(response, value, status = 200) {
        response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
        response.end(JSON.stringify(value));
    }

    list(response, rows, query) {
        const offset = Number(query.get('offset') ?? 0);
        const limit = Math.min(1000, Number(query.get('limit') ?? 50));
        this.json(response, { total: rows.length, rev: this.queue.rev, items: rows.slice(offset, offset + limit) });
    }

    sendFile(request, response, file, type, headers = {}) {
        if (!existsSync(file)) throw notFound();
        const { size } = statSync(file);
        const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
        const start = range ? Number(range[1]) : 0;
        const end = range && range[2] ? Math.min(size - 1, Number(range[2])) : size - 1;
        if (start > end && size) throw new Problem(416, 'range', '超出文件范围', 'beyond the end of the file');
        response.writeHead(range ? 206 : 200, {
            'Content-Type': type, 'Accept-Ranges': 'bytes', 'Content-Length': end - start + 1,
            ...(range ? { 'Content-Range': `bytes ${start}-${end}/${size}` } : {}), ...headers,
        });
        // The file may be gone by the time it is opened: deleted, or the test has ended.
        createReadStream(file, { start, end }).on('error', () => response.destroy()).pipe(response);
    }

    sendPage(request, response, name) {
        const known = /^(index\.html|[\w.-]+\.svg|assets\/[\w.-]+\.(js|css))$/.test(name);
        const file = path.join(this.page, name);
        if (!known || !existsSync(file)) throw notFound();
        const packed = existsSync(`${file}.gz`) && /\bgzip\b/.test(request.headers['accept-encoding'] ?? '');
        response.writeHead(200, {
            'Content-Type': TYPES[name.split('.').pop()],
            'Content-Security-Policy': POLICY,
            'Cache-Control': name.startsWith('assets/') ? 'max-age=31536000, immutable' : 'no-cache',
            ...(packed ? { 'Content-Encoding': 'gzip' } : {}),
        });
        response.end(readFileSync(packed ? `${file}.gz` : file));
    }

    async answer(request, response) {
        const url = new URL(request.url, 'http://localhost');
        const chinese = !(url.searchParams.get('lang') ?? request.headers['accept-language'] ?? '').startsWith('en');
        try {
            if (url.pathname === '/healthz') return this.json(response, { status: 'ok', version: '0.3.0', database: 'ok' });
            if (!url.pathname.startsWith('/api/v1/')) return this.sendPage(request, response, url.pathname.slice(1) || 'index.html');
            this.queue.chinese = chinese;
            const parts = url.pathname.slice('/api/v1/'.length).split('/').map(decodeURIComponent);
            if (parts[0] !== 'session' && !this.allowed(request))
                throw new Problem(401, 'unauthorized', '请先输入口令', 'give the token first');
            if (this.busy > 0 && !['session', 'events'].includes(parts[0])) {
                this.busy--;
                throw new Problem(503, 'unavailable', '数据库正忙，请稍后再试', 'the database is busy; try again in a moment');
            }
            const act = this[`${request.method} ${parts[0]}`];
            if (!act) throw notFound();
            await act.call(this, { request, response, query: url.searchParams, id: parts[1], verb: parts[2], chinese });
        } catch (error) {
            const status = error.status ?? 500;
            if (!error.status) console.error(error);
            if (response.headersSent) return response.destroy();
            response.writeHead(status, { 'Content-Type': 'application/problem+json', ...(status === 503 ? { 'Retry-After': '1' } : {}) });
            response.end(JSON.stringify({
                type: 'about:blank', title: http.STATUS_CODES[status] ?? '', status, code: error.code ?? 'internal',
                detail: (chinese ? error.zh : error.en) ?? error.message,
            }));
        }
        return undefined;
    }

    find(kind, id) {
        const row = this.queue.rows[kind].get(kind === 'asset' ? id : Number(id));
        if (!row) throw notFound();
        return row;
    }

    async body(request) {
        return JSON.parse((await bodyOf(request)).toString() || '{}');
    }

    // --- session

    allowed(request) {
        return !this.token || (request.headers.cookie ?? '').includes(`koubo_session=${this.token}`)
            || request.headers.authorization === `Bearer ${this.token}`;
    }

    'GET session'({ request, response }) {
        this.json(response, { required: !!this.token, ok: this.allowed(request) });
    }

    async 'POST session'({ request, response }) {
        const { token } = await this.body(request);
        if (token !== this.token) throw new Problem(401, 'unauthorized', '口令不对', 'that is not the token');
        response.writeHead(204, { 'Set-Cookie': `koubo_session=${this.token}; Path=/; HttpOnly; SameSite=Strict` }).end();
    }

    // --- assets and uploads

    // Also of a server that is gone before ffprobe is ready.
    inspect(id) {
        return this.lookInto(id).catch((error) => { if (existsSync(this.folder)) throw error; });
    }

    async lookInto(id) {
        const asset = this.find('asset', id);
        asset.state = 'new';
        asset.content = `/api/v1/assets/${id}/content`;
        this.queue.put('asset', asset);
        const found = /\.srt$/i.test(asset.name) ? this.readSrt(asset) : await probe(this.file(id));
        await this.look(asset);
        if (!found) {
            Object.assign(asset, { state: 'bad', progress: null });
            asset.error = this.queue.say(`“${asset.name}”打不开：不是能识别的音频或视频，文件可能已损坏。请换一个能正常播放的文件。`,
                `'${asset.name}' is neither audio nor video that koubo knows; it may be damaged. Use a file that plays.`);
        } else {
            const { silent, ...facts } = found;
            Object.assign(asset, facts, { state: 'ready', progress: null, faces: found.kind === 'video' ? 1 : null });
            if (found.kind === 'video') {
                await thumbnail(this.file(id), this.file(`${id}.jpg`));
                asset.thumbnail = `/api/v1/assets/${id}/thumbnail`;
                if (/空镜|scenery/i.test(asset.name)) asset.faces = 0;
                if (/两人|two/i.test(asset.name)) Object.assign(asset, { face_boxes: [[0.08, 0.2, 0.25, 0.45], [0.6, 0.25, 0.3, 0.5]], face_boxes_at: 1.25 });
                else if (asset.faces) asset.face_boxes = [[0.35, 0.25, 0.3, 0.5]];
                if (asset.faces) asset.faces = asset.face_boxes.length;
                if (/绿幕|green/i.test(asset.name)) asset.warnings.push('green_screen');
                if (asset.faces === 0) asset.warnings.push('no_face');
                if (asset.faces > 1) asset.warnings.push('several_faces');
                if (found.height < 360) asset.warnings.push('low_resolution');
            }
            if (!silent) asset.peaks = await peaks(this.file(id), 400);
        }
        if (this.queue.rows.asset.has(id)) this.queue.put('asset', asset);
    }

    readSrt({ id, name }) {
        const cues = fromSrt(readFileSync(this.file(id), 'utf8'));
        if (!cues.length) return null;
        this.spoken.set(id, cues);
        return { kind: 'text', codec: 'SRT, UTF-8', duration: null, silent: true, subtitles: `/api/v1/assets/${id}/subtitles`, name };
    }

    // Looking at a file takes its time, so that this can be seen.
    async look(asset) {
        for (let part = 0; part < this.looking; part++) {
            this.queue.put('asset', Object.assign(asset, { progress: part / this.looking }));
            await new Promise((ok) => setTimeout(ok, 200));
        }
    }

    newAsset(name, size, state) {
        const id = randomBytes(16).toString('hex');
        writeFileSync(this.file(id), '');
        return this.queue.put('asset', {
            id, name, kind: '', state, size, received: 0, duration: null, width: null, height: null, fps: null, codec: null,
            faces: null, face_boxes: [], face_boxes_at: null, progress: null, warnings: [], peaks: null, thumbnail: null, content: null, error: null, created: Date.now(),
        });
    }

    receive(asset, bytes) {
        appendFileSync(this.file(asset.id), bytes);
        asset.received += bytes.length;
        this.queue.put('asset', asset);
        if (asset.received === asset.size) this.inspect(asset.id);
    }

    async 'POST uploads'({ request, response }) {
        const size = Number(request.headers['upload-length']);
        const metadata = Object.fromEntries((request.headers['upload-metadata'] ?? '').split(',').map((pair) => pair.trim().split(' ')));
        const name = Buffer.from(metadata.filename ?? '', 'base64').toString() || 'upload';
        const asset = this.newAsset(name, size, 'uploading');
        const bytes = await bodyOf(request);
        if (bytes.length) this.receive(asset, bytes);
        response.writeHead(201, {
            'Tus-Resumable': '1.0.0', Location: `/api/v1/uploads/${asset.id}`, 'Upload-Offset': asset.received,
        }).end();
    }

    'HEAD uploads'({ response, id }) {
        const asset = this.queue.rows.asset.get(id);
        if (!asset) return response.writeHead(404, { 'Tus-Resumable': '1.0.0' }).end();
        return response.writeHead(200, {
            'Tus-Resumable': '1.0.0', 'Upload-Offset': asset.received, 'Upload-Length': asset.size, 'Cache-Control': 'no-store',
        }).end();
    }

    checkOffset(request, asset) {
        if (Number(request.headers['upload-offset']) !== asset.received)
            throw new Problem(409, 'offset', '上传位置不对，请重试', 'the offset is not where the upload stands');
    }

    async 'PATCH uploads'({ request, response, id }) {
        const asset = this.find('asset', id);
        this.checkOffset(request, asset);
        try {
            for await (const part of request) this.receive(asset, part);
        } catch {
            request.destroy(); // the client left; what arrived stays
            return;
        }
        response.writeHead(204, { 'Tus-Resumable': '1.0.0', 'Upload-Offset': asset.received }).end();
    }

    'DELETE uploads'({ response, id }) {
        this.queue.remove('asset', this.find('asset', id).id);
        response.writeHead(204, { 'Tus-Resumable': '1.0.0' }).end();
    }

    async 'POST assets'({ request, response, id, verb }) {
        if (verb === 'inspect') {
            const bad = this.find('asset', id);
            Object.assign(bad, { state: 'new', error: null });
            setTimeout(() => this.inspect(id), 100);
            return this.json(response, bad);
        }
        if (request.headers['content-type']?.startsWith('multipart/')) return this.takeForm(request, response);
        const { text, voice = 'zh', name = text } = await this.body(request);
        if (!text) throw new Problem(400, 'bad_input', '请给出要说的话', 'give the text to speak');
        const asset = this.newAsset(name, -1, 'making');
        asset.subtitles = `/api/v1/assets/${asset.id}/subtitles`;
        this.spoken.set(asset.id, text);
        this.json(response, asset, 201);
        const made = spawnSync('espeak-ng', ['-v', voice === 'zh' ? 'cmn' : voice, '-w', this.file(asset.id), text]);
        if (made.status !== 0) return undefined;
        asset.size = statSync(this.file(asset.id)).size;
        asset.received = asset.size;
        setTimeout(() => this.inspect(asset.id), 600);
        return undefined;
    }

    async takeForm(request, response) {
        const form = await new Response(await bodyOf(request), { headers: { 'Content-Type': request.headers['content-type'] } }).formData();
        const items = await Promise.all(form.getAll('file').map(async (file) => {
            const asset = this.newAsset(file.name, file.size, 'uploading');
            this.receive(asset, Buffer.from(await file.arrayBuffer()));
            return asset;
        }));
        this.json(response, { total: items.length, items }, 201);
    }

    // Those of an asset: as they are, or of what is said, for the shape.
    cuesIn(id, shape = {}) {
        const said = this.spoken.get(id);
        const asset = this.queue.rows.asset.get(id);
        return typeof said === 'string' ? cuesOf(said, (asset?.duration ?? 4000) / 1000, shape) : said;
    }

    'GET assets'({ request, response, query, id, verb }) {
        if (verb === 'subtitles') {
            const shape = Object.fromEntries(query);
            this.shapes.push(shape);
            const subtitles = this.cuesIn(id, shape);
            if (!subtitles) throw notFound();
            return this.json(response, { subtitles });
        }
        if (verb === 'thumbnail') return this.sendFile(request, response, this.file(`${id}.jpg`), 'image/jpeg');
        if (verb === 'content') {
            const { kind } = this.find('asset', id);
            return this.sendFile(request, response, this.file(id), kind === 'audio' ? 'audio/wav' : 'video/mp4');
        }
        if (id) return this.json(response, this.find('asset', id));
        const rows = [...this.queue.rows.asset.values()].filter((a) => !query.get('kind') || a.kind === query.get('kind'));
        return this.list(response, rows.reverse(), query);
    }

    'DELETE assets'({ response, id }) {
        this.queue.remove('asset', this.find('asset', id).id);
        response.writeHead(204).end();
    }

    'GET voices'({ response, chinese }) {
        const own = [['zh', '普通话', 'Mandarin'], ['yue', '粤语', 'Cantonese'], ['en', '英语', 'English']]
            .map(([name, zh, en]) => ({ name, title: chinese ? zh : en, kind: 'espeak-ng', words: true, languages: [name] }));
        const items = [...this.voices.map((v) => ({ name: v.name, title: v.title ?? v.name, kind: v.kind, words: false, languages: [] })), ...own];
        this.json(response, { total: items.length, items });
    }

    async 'POST voices'({ request, response, chinese }) {
        const { text, voice = 'zh', speed = 1 } = await this.body(request);
        this.samples.push({ text, voice, speed });
        if (text.includes('坏')) return this.json(response, { ok: false, error: chinese ? '音色的服务返回 500' : 'the voice answered 500' });
        const asset = this.newAsset(text, -1, 'making');
        const own = { zh: 'cmn', yue: 'yue', en: 'en' }[voice] ?? 'cmn';
        spawnSync('espeak-ng', ['-v', own, '-s', String(Math.round(175 * speed)), '-w', this.file(asset.id), text]);
        Object.assign(asset, { kind: 'audio', state: 'ready' });
        return this.json(response, { ok: true, content: `/api/v1/assets/${asset.id}/content`, duration: 1000 });
    }

    shownVoices(response) {
        const items = this.voices.map((v) => ({ ...v, ...(v.key && { key: SECRET }), changeable: v.kind !== 'command' }));
        this.json(response, { total: items.length, items });
    }

    // --- people

    filmsOf(videos) {
        return videos?.map((v) => (v.person ? { ...v, id: this.people.get(v.person).video.id, own: this.people.get(v.person).options } : v));
    }

    'GET people'({ response, id, verb }) {
        const person = id && this.people.get(id);
        if (id && !person) throw notFound();
        if (verb === 'export') {
            response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Disposition': 'attachment; filename="person.koubo"' });
            return response.end(JSON.stringify({ ...person, video: person.video.id }));
        }
        return this.json(response, id ? person : { people: [...this.people.values()] });
    }

    async 'POST people'({ request, response, chinese }) {
        let given = await this.body(request);
        const isFile = Boolean(given.file);
        if (isFile) {
            const text = readFileSync(this.file(this.find('asset', given.file).id), 'utf8');
            if (!text.startsWith('{')) return this.json(response, { error: chinese ? '这不是 koubo 的人物文件' : 'this is no person file of koubo' });
            given = JSON.parse(text);
        }
        const isTaken = [...this.people.values()].some((p) => p.name === given.name);
        if (isTaken && !isFile) throw new Problem(400, 'bad_input', `已经有叫“${given.name}”的人物`, `there is a person '${given.name}' already`);
        const person = {
            id: randomBytes(16).toString('hex'), name: isTaken ? `${given.name}-2` : given.name, video: this.find('asset', given.video), options: given.options ?? {},
            face_at: given.face_at ?? null, bytes: 1, created: Date.now(),
        };
        this.people.set(person.id, person);
        return this.json(response, isFile ? { person } : person, isFile ? 200 : 201);
    }

    async 'PATCH people'({ request, response, id }) {
        if (!this.people.has(id)) throw notFound();
        this.json(response, Object.assign(this.people.get(id), await this.body(request)));
    }

    'DELETE people'({ response, id }) {
        if (!this.people.delete(id)) throw notFound();
        response.writeHead(204).end();
    }

    // --- batches and jobs

    'GET batches'({ response, query, id }) {
        if (id) return this.json(response, this.find('batch', id));
        const rows = [...this.queue.rows.batch.values()].filter((b) =>
            (!query.get('state') || b.state === query.get('state')) && b.name.includes(query.get('search') ?? ''));
        const open = rows.filter((b) => b.state !== 'ended').sort((a, b) => b.priority - a.priority || a.turn - b.turn);
        return this.list(response, [...open, ...rows.filter((b) => b.state === 'ended').sort((a, b) => b.id - a.id)], query);
    }

    async 'POST batches'({ request, response, id, verb }) {
        const given = await this.body(request);
        if (!id) {
            given.videos = this.filmsOf(given.videos);
            const videos = (given.videos ?? given.jobs.map((j) => j.video)).map((v) => this.find('asset', v.id ?? v));
            for (const speech of given.jobs?.map((j) => j.audio ?? given.audio) ?? [given.audio]) this.find('asset', speech);
            if (videos.every((v) => v.state === 'bad'))
                throw new Problem(400, 'bad_input', `这些视频都不能用：${videos[0].error}`, `none of these videos can be used: ${videos[0].error}`);
            return this.json(response, this.queue.createBatch(given), 201);
        }
        const batch = this.find('batch', id);
        const jobs = this.queue.jobsOf(batch.id);
        if (verb === 'cancel') jobs.forEach((j) => this.queue.cancel(j));
        if (verb === 'retry') jobs.forEach((j) => this.queue.retry(j));
        if (verb === 'pause' || verb === 'resume') {
            batch.state = verb === 'pause' ? 'paused' : 'active';
            jobs.filter((j) => j.state === 'queued').forEach((j) => {
                j.waiting = verb === 'pause' ? 'paused' : 'worker';
                this.queue.put('job', j);
            });
        }
        if (verb === 'move') {
            const turns = [...this.queue.rows.batch.values()].map((b) => b.turn);
            if (given.before === 0) batch.turn = Math.max(...turns) + 1;
            else if (given.before === -1) batch.turn = Math.min(...turns) - 1;
            else {
                const before = this.find('batch', given.before).turn;
                batch.turn = (before + Math.max(before - 2, ...turns.filter((x) => x < before))) / 2;
            }
        }
        this.queue.count(batch);
        return this.json(response, batch);
    }

    async 'POST estimate'({ request, response }) {
        const given = await this.body(request);
        given.videos = this.filmsOf(given.videos);
        this.json(response, this.queue.estimate(given));
    }

    async 'PATCH batches'({ request, response, id }) {
        const batch = this.find('batch', id);
        const { name, priority } = await this.body(request);
        if (name !== undefined) batch.name = name;
        if (priority !== undefined) batch.priority = priority;
        this.json(response, this.queue.put('batch', batch));
    }

    'DELETE batches'({ response, id }) {
        const batch = this.find('batch', id);
        if (batch.counts.running)
            throw new Problem(409, 'busy', '批次里还有正在处理的任务，请先取消', 'a job of this batch is running; cancel it first');
        this.queue.jobsOf(batch.id).forEach((j) => this.queue.remove('job', j.id));
        this.queue.remove('batch', batch.id);
        response.writeHead(204).end();
    }

    'GET jobs'({ response, query, id }) {
        if (id) return this.json(response, this.queue.shown(this.find('job', id)));
        const state = query.get('state');
        const states = { unfinished: ['queued', ...RUNNING], running: RUNNING }[state] ?? [state];
        const rows = [...this.queue.rows.job.values()].filter((j) =>
            (!query.get('batch') || j.batch === Number(query.get('batch'))) && (!state || states.includes(j.state)));
        return this.list(response, rows.map((j) => this.queue.shown(j)), query);
    }

    async 'POST jobs'({ request, response, id, verb }) {
        const job = this.find('job', id);
        const { before } = await this.body(request);
        if (verb === 'cancel') this.queue.cancel(job);
        if (verb === 'retry') this.queue.retry(job);
        if (verb === 'move') {
            const at = this.queue.jobsOf(job.batch).filter((j) => j !== job);
            const index = before === 0 ? at.length : before === -1 ? 0 : at.findIndex((j) => j.id === before);
            at.splice(index, 0, job);
            at.forEach((j, i) => {
                j.position = i + 1;
                this.queue.put('job', j);
            });
        }
        this.json(response, this.queue.shown(job));
    }

    'DELETE jobs'({ response, id }) {
        const job = this.find('job', id);
        this.queue.remove('job', job.id);
        this.queue.count(this.queue.rows.batch.get(job.batch));
        response.writeHead(204).end();
    }

    // --- previews: the film itself, after as many looks as `looking` says

    shownPreview({ id, looks, given }) {
        const made = looks >= 3;
        return {
            id, state: made ? 'done' : looks ? 'running' : 'waiting', stage: looks && !made ? 'generating' : null, progress: Math.min(1, looks / 3),
            seconds: made ? 3 : null, begins: made ? 0 : null, width: made ? 320 : null, height: made ? 180 : null,
            video: made ? `/api/v1/previews/${id}/video` : null, error: null, given,
        };
    }

    async 'POST previews'({ request, response }) {
        const given = await this.body(request);
        this.find('asset', given.audio);
        this.find('asset', given.video);
        if (given.options?.mouth_amount > 1.9) throw new Problem(400, 'bad_input', '嘴张得太大了', 'that is too wide');
        const preview = { id: randomBytes(16).toString('hex'), looks: 0, given };
        this.previews.set(preview.id, preview);
        const { given: _, ...answer } = this.shownPreview(preview);
        this.json(response, answer, 201);
    }

    'GET previews'({ request, response, id, verb }) {
        const preview = this.previews.get(id);
        if (!preview) throw notFound();
        if (verb === 'video') return this.sendFile(request, response, this.file(preview.given.video), 'video/mp4');
        preview.looks++;
        const { given: _, ...answer } = this.shownPreview(preview);
        return this.json(response, answer);
    }

    'DELETE previews'({ response, id }) {
        this.previews.delete(id);
        response.writeHead(204).end();
    }

    'GET preview.jpg'({ request, response, query }) {
        this.find('asset', query.get('audio'));
        const video = this.find('asset', query.get('video'));
        this.stills.push(JSON.parse(query.get('options') || '{}'));
        this.sendFile(request, response, this.file(`${video.id}.jpg`), 'image/jpeg');
    }

    // --- results

    // The filters and the order of the list, the zip and the numbers.
    results(query) {
        const words = (query.get('search') ?? '').toLowerCase();
        const jobs = query.get('jobs')?.split(',').map(Number);
        const batch = Number(query.get('batch') ?? 0);
        const [since, until] = [Number(query.get('since') ?? 0), Number(query.get('until') ?? Infinity)];
        const by = query.get('sort') ?? 'created';
        const sign = query.get('order') === 'asc' ? 1 : -1;
        const there = (asset) => (this.queue.rows.asset.has(asset) ? asset : null);
        return [...this.queue.rows.job.values()].filter((j) => j.result).map((j) => ({
            ...j.result, ...this.subtitlesOf(j), source: { video: there(j.video), audio: there(this.queue.rows.batch.get(j.batch)?.audio.id) },
        })).filter((r) => (!jobs || jobs.includes(r.job)) && (!batch || r.batch === batch) && r.created >= since && r.created < until
            && `${r.name} ${r.batch_name}`.toLowerCase().includes(words))
            .sort((x, y) => sign * (by === 'name' ? x.name.localeCompare(y.name) : x[by] - y[by]) || y.job - x.job);
    }

    // What the options made of them.
    cuesUsed(job) {
        const { subtitles } = { ...this.queue.rows.batch.get(job.batch)?.options, ...job.options };
        if (Array.isArray(subtitles)) return subtitles;
        return subtitles === 'text' ? this.cuesIn(job.audio) : subtitles && this.spoken.get(subtitles);
    }

    subtitlesOf(job) {
        const { subtitles_as: as = 'burn' } = { ...this.queue.rows.batch.get(job.batch)?.options, ...job.options };
        return this.cuesUsed(job)
            ? { subtitles: `/api/v1/results/${job.id}/subtitles`, subtitles_burned: as.includes('burn') } : { subtitles: null, subtitles_burned: false };
    }

    'GET results'({ request, response, query, id, verb }) {
        if (!id) return this.list(response, this.results(query), query);
        if (id === 'zip') {
            const members = this.results(query).map((r) => ({
                name: `${r.batch_name}/${r.name}`, bytes: readFileSync(this.file(this.find('job', r.job).video)),
            }));
            const stamp = new Date().toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 13);
            response.writeHead(200, { 'Content-Type': 'application/zip', 'Content-Disposition': `attachment; filename="koubo-${stamp}.zip"` });
            return response.end(zip(members));
        }
        if (id === 'ids') return this.json(response, { jobs: this.results(query).map((r) => r.job).slice(0, 10000) });
        const { result, video } = this.find('job', id);
        if (!result) throw notFound();
        if (verb === 'subtitles') {
            const cues = this.cuesUsed(this.find('job', id));
            const format = query.get('format');
            if (!cues) throw notFound();
            if (!format) return this.json(response, { subtitles: cues });
            response.writeHead(200, { 'Content-Type': format === 'vtt' ? 'text/vtt; charset=utf-8' : 'application/x-subrip; charset=utf-8' });
            return response.end(format === 'vtt' ? toVtt(cues) : toSrt(cues));
        }
        if (verb === 'thumbnail') return this.sendFile(request, response, this.file(`${video}.jpg`), 'image/jpeg');
        if (verb === 'video') return this.sendFile(request, response, this.file(video), 'video/mp4');
        if (verb === 'download') {
            return this.sendFile(request, response, this.file(video), 'video/mp4',
                { 'Content-Disposition': `attachment; filename*=UTF-8''${encodeURIComponent(result.name)}` });
        }
        return this.json(response, result);
    }

    async 'PATCH results'({ request, response, id }) {
        const job = this.find('job', id);
        if (!job.result) throw notFound();
        const name = String((await this.body(request)).name ?? '').trim();
        if (!name || /[/\\]/.test(name)) throw new Problem(400, 'bad_input', '名字里不能有斜杠，也不能是空的', 'a name has no slashes and is not empty');
        job.result = { ...job.result, name: name.replace(/\.(mp4|webm|mov)$/, '') + job.result.name.match(/\.\w+$/)[0] };
        this.queue.put('job', job);
        this.json(response, this.results(new URLSearchParams({ jobs: id }))[0]);
    }

    dropResult(id) {
        const job = this.find('job', id);
        job.result = null;
        this.queue.put('job', job);
        this.queue.count(this.queue.rows.batch.get(job.batch));
    }

    'DELETE results'({ response, id }) {
        this.dropResult(id);
        response.writeHead(204).end();
    }

    async 'POST results'({ request, response }) {
        const { jobs } = await this.body(request);
        jobs.forEach((id) => this.dropResult(id));
        this.json(response, { deleted: jobs.length });
    }

    // --- events, log, system

    heartbeat() {
        const jobs = [...this.queue.rows.job.values()];
        return {
            now: Date.now(), cpu: { load: [1.42, 1.1, 0.8] }, memory: { total: 16.6e9, available: 9.8e9 },
            disk: { total: 512e9, free: 187e9, min_free: 10e9 }, workers: this.queue.workers.filter((w) => !w.node), previews: this.looks,
            cluster: this.nodes?.cluster() ?? null, nodes: this.nodes?.list() ?? [],
            counts: { queued: jobs.filter((j) => j.state === 'queued').length, running: jobs.filter((j) => RUNNING.includes(j.state)).length },
        };
    }

    'GET events'({ request, response, query }) {
        let rev = Number(request.headers['last-event-id'] ?? query.get('since') ?? 0);
        let waiting = false;
        response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
        const send = () => {
            waiting = false;
            if (rev === this.queue.rev) return;
            const change = this.queue.changesSince(rev);
            rev = change.rev;
            response.write(`id: ${rev}\nevent: change\ndata: ${JSON.stringify(change)}\n\n`);
        };
        const changed = () => {
            if (!waiting) setTimeout(send, 250);
            waiting = true;
        };
        const beat = () => response.write(`event: heartbeat\ndata: ${JSON.stringify(this.heartbeat())}\n\n`);
        const timer = setInterval(beat, this.beat);
        this.queue.on('change', changed);
        response.on('close', () => {
            clearInterval(timer);
            this.queue.off('change', changed);
        });
        beat();
        send();
    }

    'GET logs'({ response, query }) {
        const levels = ['error', 'warn', 'info', 'verbose'];
        const upTo = levels.indexOf(query.get('level') ?? 'info');
        const all = this.queue.log;
        const items = all.slice(Number(query.get('after') ?? 0)).filter((l) =>
            levels.indexOf(l.level) <= upTo && l.text.includes(query.get('search') ?? ''));
        this.json(response, { items: items.slice(-Number(query.get('lines') ?? 200)), cursor: all.length });
    }

    'GET system'({ response }) {
        const { cpu, now, counts, ...rest } = this.heartbeat();
        const jobs = [...this.queue.rows.job.values()];
        this.json(response, {
            version: '0.3.0', started: this.started, now, cpu: { cores: 8, load: cpu.load, model: 'AMD Ryzen 7 5800X 8-Core Processor' },
            gpu: [], server: { rss: 31e6, connections: this.sockets.size }, ...rest,
            models: [
                { name: 'koubo-lips', kind: 'listener', size: 5.3e6, default: true },
                { name: 'koubo-lips-research', kind: 'listener', size: 5.3e6, default: false },
                { name: 'wav2lip_gan', kind: 'wav2lip', size: 436e6, default: false },
            ],
            defaults: { ai_label: 'corner' },
            results_folder: '/home/koubo/.local/share/koubo/results',
            lost: { results: 282, others: 3, bytes: 1.9e9 },
            stats: { jobs: { done: jobs.filter((j) => j.state === 'done').length, failed: jobs.filter((j) => j.state === 'failed').length } },
        });
    }

    async 'GET doctor'({ response, chinese }) {
        await new Promise((ok) => setTimeout(ok, 300));
        const c = (name, level, zh, en, adviceZh = null, adviceEn = null) => ({
            name, level, title: (chinese ? zh : en)[0], text: (chinese ? zh : en)[1], advice: chinese ? adviceZh : adviceEn,
        });
        this.json(response, {
            verdict: chinese ? { level: 'warning', text: '可以正常使用，有 1 处需要留意。' } : { level: 'warning', text: 'It works; one thing to keep an eye on.' },
            checks: [
                c('server', 'ok', ['服务', '正在运行，回应用时 3 毫秒'], ['Server', 'is running and answers within 3 ms']),
                c('log', 'ok', ['日志', '最后一行在 2 秒前；最近一小时没有错误'], ['Log', 'last line 2 s ago; no errors within the last hour']),
                c('disk', 'ok', ['磁盘', '剩余 187 GB，写入 1.2 GB/s'], ['Disk', '187 GB are free; writes 1.2 GB/s']),
                c('memory', 'ok', ['内存', '16.6 GB，可用 9.8 GB'], ['Memory', '16.6 GB, of which 9.8 GB are free']),
                c('gpu', 'warning', ['显卡', '没有可用的显卡，使用处理器'], ['GPU', 'none can be used; the processor works instead'],
                    '若有显卡，请检查驱动是否安装', 'if there is one, check that its driver is installed'),
                c('models', 'ok', ['模型', 'koubo-lips 可以加载'], ['Models', 'koubo-lips can be loaded']),
                c('ffmpeg', 'ok', ['编解码器', '需要的都有'], ['Codecs', 'all that are needed are there']),
            ],
        });
    }

    // --- other machines

    findNode(name) {
        if (!this.nodes) throw new Problem(409, 'no_cluster', '这个服务没有接上集群', 'this server is not the head of a cluster');
        if (name !== undefined && !this.nodes.rows.has(name)) throw notFound();
        return name;
    }

    'GET nodes'({ response }) {
        this.findNode();
        const items = this.nodes.list();
        this.json(response, { total: items.length, items });
    }

    async 'POST nodes'({ request, response, id, verb }) {
        this.findNode(id);
        if (verb === 'renew') return this.json(response, this.nodes.secret(id));
        const { name, title } = await this.body(request);
        const fault = this.nodes.fault(name);
        if (fault) throw new Problem(this.nodes.rows.has(name) ? 409 : 400, 'bad_input', ...fault);
        return this.json(response, this.nodes.add(name, title), 201);
    }

    async 'PATCH nodes'({ request, response, id }) {
        this.json(response, this.nodes.change(this.findNode(id), await this.body(request)));
    }

    'DELETE nodes'({ response, id }) {
        this.nodes.remove(this.findNode(id));
        response.writeHead(204).end();
    }

    'GET settings'({ response, id }) {
        if (id === 'voices') return this.shownVoices(response);
        return this.json(response, this.settings);
    }

    // A masked secret stands for the stored one only for the target it was given for.
    refuseMoved(given) {
        const binding = { email: ['smtp', 'user', 'tls'] };
        for (const [target, value] of Object.entries(given)) {
            if (![value.secret, value.password].includes(SECRET)) continue;
            const before = this.settings[target] ?? {};
            if ((binding[target] ?? ['url']).some((name) => (value[name] ?? '') !== (before[name] ?? '')))
                throw new Problem(400, 'bad_input', `“${target}”的地址已更改：请重新填写密钥`, `the address of '${target}' has changed: give the secret again`);
        }
    }

    async 'PUT settings'({ request, response }) {
        const given = await this.body(request);
        this.refuseMoved(given);
        this.settings = given;
        for (const target of Object.values(this.settings))
            for (const name of ['secret', 'password']) if (target[name]) target[name] = SECRET;
        this.json(response, this.settings);
    }

    'DELETE settings'({ response, verb }) {
        this.voices = this.voices.filter((v) => v.name !== verb);
        this.shownVoices(response);
    }

    async 'POST settings'({ request, response, id, chinese }) {
        const given = await this.body(request);
        if (id === 'voices') {
            const before = this.voices.find((v) => v.name === given.name);
            if (given.key === SECRET) {
                if (!before) throw new Problem(400, 'bad_input', `音色“${given.name}”该填密钥的地方是星号，而这个名字下没有保存过密钥：请填写密钥本身`, 'none is kept');
                if (before.url !== given.url) throw new Problem(400, 'bad_input', `音色“${given.name}”的地址改了：请重新填写密钥`, 'give its key again');
                given.key = before.key;
            }
            delete given.changeable;
            this.voices = [given, ...this.voices.filter((v) => v !== before)];
            return this.shownVoices(response);
        }
        this.refuseMoved(given);
        const targets = Object.keys(given).filter((t) => t !== 'events');
        const error = chinese ? '服务器没有回应（超时 15 秒）' : 'the server did not answer within 15 s';
        return this.json(response, { items: targets.map((target) => ({ target, ok: target === 'webhook', error: target === 'webhook' ? null : error })) });
    }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const mock = await new Mock({ token: process.env.MOCK_TOKEN }).start(Number(process.argv[2] ?? 7861));
    process.on('exit', () => mock.remove());
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit());
    console.log(mock.url);
}
