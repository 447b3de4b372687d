// An S3 store of a test's own: s3rver (npm) keeps the objects, and what stands in front of it is as strict as a real store where
// s3rver is not: it checks each signature (SigV4), clock, SHA-256 and MD5 of what comes, knows uploads in parts that are aborted
// and listed, knows two keys and lets each do what docs/cluster.md gives the head and a machine, takes the bucket in the path or in the host's name, and fails as it is told.
//
//     import { S3Server, KEY, SECRET, has_s3 } from '../cluster/s3.mjs';
//     const s3 = await new S3Server(folder, { bucket: 'films' }).start();       // s3.endpoint, s3.depot = "s3://films?endpoint=…"
//     s3.faults.push({ what: 'error', status: 500, times: 2 });                 // see the list at fault_of()
//     await s3.left();                                                          // { objects: [names], uploads: [names] }
//
//     node tests/cluster/s3.mjs FOLDER [--page N]    the same for other programs: says its endpoint, then hears lines, each of which
//                                                    is answered by one: a fault as JSON, "left", "clear" (no faults), "clock MS",
//                                                    "tls" ("https://…" and the file of its certificate)
import { spawnSync } from 'node:child_process';
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

// The head's, and those of machines.
export const KEY = 'KOUBOTESTKEY';
export const SECRET = 'koubo/test+secret';
export const NODE_KEY = 'KOUBOTESTNODE';
export const NODE_SECRET = 'koubo/test+machine';
const SECRETS = { [KEY]: SECRET, [NODE_KEY]: NODE_SECRET };
const REGION = 'us-east-1';
const SKEW_MS = 15 * 60 * 1000;

const require = createRequire(import.meta.url);

export function has_s3() {
    try {
        require.resolve('s3rver');
        return true;
    } catch {
        return false; // test.sh installs it
    }
}

class Refusal extends Error {
    constructor(status, code) {
        super(code);
        Object.assign(this, { status, code });
    }
}

const hash = (name, data, as) => createHash(name).update(data).digest(as);
const hmac = (key, data, as) => createHmac('sha256', key).update(data).digest(as);

// --- signatures: AWS Signature Version 4, in the header Authorization

function canonical_query(query) {
    return query.split('&').filter(Boolean).map((pair) => (pair.includes('=') ? pair : `${pair}=`)).sort().join('&');
}

function check_signature(req, now) {
    const shown = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/
        .exec(req.headers.authorization ?? '');
    if (!shown) throw new Refusal(403, 'AccessDenied');
    const [, key, day, region, names, signature] = shown;
    if (!Object.hasOwn(SECRETS, key)) throw new Refusal(403, 'InvalidAccessKeyId');
    if (region !== REGION) throw new Refusal(400, 'AuthorizationHeaderMalformed');
    const stamp = req.headers['x-amz-date'] ?? '';
    const at = Date.parse(stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    if (!stamp.startsWith(day) || Number.isNaN(at)) throw new Refusal(403, 'AccessDenied');
    if (Math.abs(at - now) > SKEW_MS) throw new Refusal(403, 'RequestTimeTooSkewed');
    const signed = names.split(';');
    const wanted = ['host', ...Object.keys(req.headers).filter((name) => name.startsWith('x-amz-') || name === 'content-md5')];
    if (wanted.some((name) => !signed.includes(name))) throw new Refusal(403, 'AccessDenied');
    const [where, query = ''] = req.url.split('?');
    const request = [req.method, where, canonical_query(query), ...signed.map((name) => `${name}:${(req.headers[name] ?? '').trim()}`),
        '', names, req.headers['x-amz-content-sha256']].join('\n');
    const scope = `${day}/${region}/s3/aws4_request`;
    const key_now = ['s3', 'aws4_request'].reduce((k, part) => hmac(k, part), hmac(hmac(`AWS4${SECRETS[key]}`, day), region));
    const right = hmac(key_now, ['AWS4-HMAC-SHA256', stamp, scope, hash('sha256', request, 'hex')].join('\n'), 'hex');
    if (!timingSafeEqual(Buffer.from(right), Buffer.from(signature))) throw new Refusal(403, 'SignatureDoesNotMatch');
    return key;
}

// --- rights: the policies of docs/cluster.md. The prefix is whatever stands before in/ and out/.

const RIGHTS = {
    [KEY]: { 'in/': ['get', 'put', 'delete', 'abort'], 'out/': ['get', 'delete', 'abort'], lists: true },
    [NODE_KEY]: { 'in/': ['get'], 'out/': ['put', 'abort'], lists: false },
};

function check_rights(key, method, path_of_object, query) {
    const is_list = method === 'GET' && (query.has('list-type') || query.has('uploads'));
    const [, folder] = /(?:^|\/)(in\/|out\/)/.exec(is_list ? query.get('prefix') ?? '' : path_of_object) ?? [];
    const act = { GET: 'get', HEAD: 'get', PUT: 'put', POST: 'put', DELETE: query.has('uploadId') ? 'abort' : 'delete' }[method];
    if (!folder || !(is_list ? RIGHTS[key].lists : RIGHTS[key][folder].includes(act))) throw new Refusal(403, 'AccessDenied');
}

function check_body(req, body) {
    if (hash('sha256', body, 'hex') !== req.headers['x-amz-content-sha256']) throw new Refusal(400, 'XAmzContentSHA256Mismatch');
    const md5 = req.headers['content-md5'];
    if (md5 !== undefined && hash('md5', body, 'base64') !== md5) throw new Refusal(400, 'BadDigest');
}

async function read_body(req, until = Infinity) {
    const chunks = [];
    let size = 0;
    for await (const chunk of req) {
        chunks.push(chunk);
        size += chunk.length;
        if (size >= until) break;
    }
    return Buffer.concat(chunks);
}

// --- the store

export class S3Server {
    // bind: the address that it listens on; page: entries in a page of a list; clock_ms: how far its clock is ahead.
    constructor(folder, { bucket = 'films', bind = '127.0.0.1', page = 1000, clock_ms = 0 } = {}) {
        Object.assign(this, { folder, bucket, bind, page, clock_ms, faults: [], requests: 0, sockets: new Set(), parts: new Map() });
        mkdirSync(folder, { recursive: true });
    }

    async start() {
        const S3rver = require('s3rver');
        this.inner = new S3rver({ directory: this.folder, port: 0, address: '127.0.0.1', silent: true, vhostBuckets: false,
            configureBuckets: [{ name: this.bucket }] });
        this.inner_port = (await this.inner.run()).port;
        this.agent = new http.Agent({ keepAlive: true });
        this.server = http.createServer((req, res) => this.serve(req, res));
        this.server.on('connection', (socket) => this.sockets.add(socket.on('close', () => this.sockets.delete(socket))));
        await new Promise((resolve) => this.server.listen(this.port ?? 0, this.bind, resolve));
        this.port = this.server.address().port;
        this.endpoint = `http://${this.bind}:${this.port}`;
        this.depot = `s3://${this.bucket}?endpoint=${this.endpoint}`;
        return this;
    }

    // The same with TLS and a certificate that nobody knows. Null: there is no program to make one.
    async start_tls() {
        const [key, certificate] = ['key', 'certificate'].map((name) => path.join(this.folder, `${name}.pem`));
        if (spawnSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', certificate,
            '-subj', '/CN=koubo', '-addext', 'subjectAltName=IP:127.0.0.1'], { stdio: 'ignore' }).status !== 0) return null;
        this.tls = https.createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (req, res) => this.serve(req, res));
        this.tls.on('secureConnection', (socket) => this.sockets.add(socket.on('close', () => this.sockets.delete(socket))));
        await new Promise((resolve) => this.tls.listen(0, this.bind, resolve));
        return { endpoint: `https://${this.bind}:${this.tls.address().port}`, certificate };
    }

    async stop() {
        for (const socket of this.sockets) socket.destroy();
        await new Promise((resolve) => this.server.close(resolve));
        if (this.tls) await new Promise((resolve) => this.tls.close(resolve));
        this.agent.destroy();
        await this.inner.close();
    }

    // What is in the store: names of objects, and of what was begun in parts.
    async left() {
        const { objects } = await this.inner.store.listObjects(this.bucket, { maxKeys: 100000 });
        return { objects: objects.map(({ key }) => key), uploads: this.uploads().map(({ key }) => key) };
    }

    // --- faults, each for `times` requests (1) of `method` and `path` (part of it; of any, if they are not told):
    //   error    answers `status` with the XML of `code`
    //   stall    answers nothing
    //   cut      ends the connection in the middle of what comes or goes
    //   garble   another byte in the middle of what comes or goes
    //   lie      "200" with an error in it
    //   babble   "200" with something that is no XML
    //   resize   an object's length is told and sent 1 byte shorter
    fault_of(req) {
        const i = this.faults.findIndex(({ method, path: part }) => (!method || method === req.method) && (!part || req.url.includes(part)));
        if (i < 0) return {};
        const fault = this.faults[i];
        fault.times = (fault.times ?? 1) - 1;
        if (fault.times <= 0) this.faults.splice(i, 1);
        return fault;
    }

    now() {
        return Date.now() + this.clock_ms;
    }

    say(res, status, text, type = 'application/xml') {
        res.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text), date: new Date(this.now()).toUTCString() });
        res.end(text);
    }

    error(res, status, code) {
        this.say(res, status, `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${code}</Message></Error>`);
    }

    async serve(req, res) {
        this.requests++;
        const fault = this.fault_of(req);
        try {
            if (fault.what === 'stall') return;
            if (fault.what === 'error') return this.error(res, fault.status, fault.code ?? 'InternalError');
            const key = check_signature(req, this.now());
            const sends = req.method === 'PUT' || req.method === 'POST';
            const body = await read_body(req, fault.what === 'cut' && sends ? 1000 : Infinity);
            if (fault.what === 'cut' && sends) return res.destroy();
            if (fault.what === 'garble' && body.length > 0) body[body.length >> 1] ^= 1;
            check_body(req, body);
            if (fault.what === 'lie') return this.error(res, 200, 'InternalError');
            if (fault.what === 'babble') return this.say(res, 200, '<!DOCTYPE html><title>welcome', 'text/html');
            await this.answer(req, res, body, fault, key);
        } catch (error) {
            if (res.headersSent) res.destroy();
            else this.error(res, error.status ?? 500, error.code ?? 'InternalError');
        }
    }

    // --- uploads in parts, of which s3rver knows the way to the end only

    uploads() {
        const folder = this.inner.store.getResourcePath(this.bucket, undefined, 'uploads');
        if (!existsSync(folder)) return [];
        return readdirSync(folder).filter((id) => existsSync(path.join(folder, id, 'key'))).map((id) => ({ id, folder: path.join(folder, id),
            key: readFileSync(path.join(folder, id, 'key'), 'utf8'), initiated: statSync(path.join(folder, id, 'key')).mtime }))
            .sort((a, b) => (a.key + a.id < b.key + b.id ? -1 : 1));
    }

    list_uploads(res, query) {
        const prefix = query.get('prefix') ?? '', after = (query.get('key-marker') ?? '') + (query.get('upload-id-marker') ?? '');
        const all = this.uploads().filter(({ key, id }) => key.startsWith(prefix) && key + id > after);
        const some = all.slice(0, this.page), last = some.at(-1);
        this.say(res, 200, `<ListMultipartUploadsResult><IsTruncated>${all.length > some.length}</IsTruncated>`
            + (last ? `<NextKeyMarker>${last.key}</NextKeyMarker><NextUploadIdMarker>${last.id}</NextUploadIdMarker>` : '')
            + some.map(({ key, id, initiated }) => `<Upload><Key>${key}</Key><UploadId>${id}</UploadId>`
                + `<Initiated>${initiated.toISOString()}</Initiated></Upload>`).join('') + '</ListMultipartUploadsResult>');
    }

    // s3rver enciphers where the next page begins with DES, which OpenSSL 3 no longer knows.
    async list_objects(res, query) {
        const token = query.get('continuation-token');
        const { objects, isTruncated } = await this.inner.store.listObjects(this.bucket, { maxKeys: this.page, prefix: query.get('prefix') ?? '',
            delimiter: query.get('delimiter') ?? '', startAfter: token ? Buffer.from(token, 'base64').toString().replace(/^\?+/, '') : '' });
        this.say(res, 200, `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`
            + `<IsTruncated>${isTruncated}</IsTruncated>`
            // Full of "+", "/" and "=", so that it is seen whether they are encoded.
            + (isTruncated ? `<NextContinuationToken>${Buffer.from(`???${objects.at(-1).key}`).toString('base64')}</NextContinuationToken>` : '')
            + objects.map(({ key, size, lastModifiedDate }) => `<Contents><Key>${key}</Key><LastModified>${lastModifiedDate.toISOString()}`
                + `</LastModified><Size>${size}</Size></Contents>`).join('') + '</ListBucketResult>');
    }

    async answer(req, res, body, fault, key) {
        const of_host = req.headers.host.startsWith(`${this.bucket}.`);
        const url = new URL(of_host ? `/${this.bucket}${req.url}` : req.url, this.endpoint);
        const bucket = decodeURIComponent(url.pathname.split('/')[1]);
        if (bucket !== this.bucket) throw new Refusal(404, 'NoSuchBucket');
        check_rights(key, req.method, url.pathname, url.searchParams);
        if (req.method === 'GET' && url.searchParams.has('uploads')) return this.list_uploads(res, url.searchParams);
        if (url.searchParams.has('uploadId')) {
            const upload = this.uploads().find(({ id }) => id === url.searchParams.get('uploadId'));
            if (!upload) throw new Refusal(404, 'NoSuchUpload');
            if (req.method === 'DELETE') {
                await Promise.allSettled(this.parts.get(upload.id) ?? []); // s3rver ends if the folder goes under its feet
                rmSync(upload.folder, { recursive: true });
                return this.say(res, 204, '');
            }
        }
        if (req.method === 'GET' && url.searchParams.has('list-type')) return this.list_objects(res, url.searchParams);
        const passed = this.pass_on(req, res, url, body, fault), id = url.searchParams.get('uploadId');
        if (id) this.parts.set(id, [...this.parts.get(id) ?? [], passed]);
        await passed;
    }

    // s3rver answers; it looks at the credentials' name alone.
    pass_on(req, res, url, body, fault) {
        const headers = { ...req.headers, host: `127.0.0.1:${this.inner_port}`, 'content-length': body.length };
        delete headers.expect;
        delete headers.authorization;
        delete headers['transfer-encoding'];
        return new Promise((resolve, reject) => {
            const inner = http.request({ port: this.inner_port, agent: this.agent, method: req.method, path: url.pathname + url.search, headers },
                (answer) => {
                    const length = Number(answer.headers['content-length'] ?? 0);
                    const told = { ...answer.headers, date: new Date(this.now()).toUTCString() };
                    if (fault.what === 'resize') told['content-length'] = length - 1;
                    res.writeHead(answer.statusCode, told);
                    let sent = 0;
                    answer.on('data', (chunk) => {
                        const middle = length >> 1;
                        if (fault.what === 'cut' && sent + chunk.length > middle) {
                            res.write(chunk.subarray(0, Math.max(0, middle - sent)), () => res.destroy());
                            answer.destroy();
                            return;
                        }
                        if (fault.what === 'garble' && sent <= middle && middle < sent + chunk.length) chunk[middle - sent] ^= 1;
                        if (fault.what === 'resize' && sent + chunk.length === length) chunk = chunk.subarray(0, -1);
                        sent += chunk.length;
                        if (!res.write(chunk)) {
                            answer.pause();
                            res.once('drain', () => answer.resume());
                        }
                    });
                    answer.on('end', () => resolve(res.end())).on('close', resolve).on('error', reject);
                    res.on('close', () => answer.destroy());
                });
            inner.on('error', reject).end(body);
        });
    }
}

// --- for other programs

if (process.argv[1] === import.meta.filename || process.argv[1]?.endsWith('cluster/s3.mjs')) {
    if (!has_s3()) {
        console.log('no s3rver');
        process.exit(0);
    }
    const option = (name) => (process.argv.includes(name) ? Number(process.argv[process.argv.indexOf(name) + 1]) : undefined);
    const s3 = await new S3Server(process.argv[2], { page: option('--page') }).start();
    console.log(s3.endpoint);
    for await (const line of readline.createInterface({ input: process.stdin })) {
        if (line === 'tls') {
            const tls = await s3.start_tls();
            console.log(tls ? `${tls.endpoint} ${tls.certificate}` : 'no openssl');
            continue;
        }
        if (line === 'clear') s3.faults = [];
        else if (line.startsWith('clock ')) s3.clock_ms = Number(line.slice(6));
        else if (line !== 'left') s3.faults.push(JSON.parse(line));
        console.log(line === 'left' ? JSON.stringify(await s3.left()) : 'ok');
    }
    await s3.stop();
}
