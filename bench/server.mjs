// The server's figures: node bench/server.mjs [build/koubo]. Needs the sqlite3 program for the list
// of 10,000 results. Prints one "key value" a line, medians of 5 where a figure is quick.
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync, openSync, fsyncSync, closeSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';

process.env.KOUBO_PROGRAM ??= process.argv[2] ?? 'build/koubo';
const { make_video, make_wav, program, Server, sleep, temporary_folder, until } =
    await import('../tests/e2e/server.mjs');

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const say = (key, value, values) => console.log(key, value.toFixed(1),
    values ? `(${Math.min(...values).toFixed(1)}-${Math.max(...values).toFixed(1)})` : '');

async function timed(n, action) {
    const times = [];
    for (let i = 0; i < n; i++) {
        const begin = performance.now();
        await action(i);
        times.push(performance.now() - begin);
    }
    return times;
}

const folder = temporary_folder();
const server = await new Server(path.join(folder, 'data'), ['--workers', '2']).start();
const { port } = new URL(server.url);

// --- the page's first byte
{
    await server.request('/');
    const times = await timed(5, () => new Promise((resolve, reject) => {
        const socket = net.connect(Number(port), '127.0.0.1', () =>
            socket.write(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`));
        socket.once('data', () => { socket.destroy(); resolve(); });
        socket.on('error', reject);
    }));
    say('page.first_byte_ms', median([...times]), times);
}

// --- uploads against a plain copy, both synced
{
    const size = 512 << 20;
    const file = path.join(folder, 'big.bin');
    const bytes = Buffer.alloc(size);
    for (let i = 0; i < size; i += 4096) bytes.writeUInt32LE(Math.random() * 2 ** 32, i);
    writeFileSync(file, bytes);
    const copies = await timed(5, () => {
        cpSync(file, `${file}.copy`);
        const fd = openSync(`${file}.copy`, 'r+');
        fsyncSync(fd);
        closeSync(fd);
        rmSync(`${file}.copy`);
    });
    const uploads = [];
    for (let i = 0; i < 5; i++) {
        writeFileSync(file, Buffer.from([i]), { flag: 'r+' }); // another content each time
        const length = String(size);
        const head = spawnSync('curl', ['-s', '-i', '-X', 'POST', `${server.url}/api/v1/uploads`,
            '-H', 'Tus-Resumable: 1.0.0', '-H', `Upload-Length: ${length}`], { encoding: 'utf8' }).stdout;
        const address = head.match(/^location: (\S+)/im)[1];
        const begin = performance.now();
        const done = spawnSync('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', '-X', 'PATCH',
            '-H', 'Tus-Resumable: 1.0.0', '-H', 'Upload-Offset: 0', '-H', 'Expect:',
            '-H', 'Content-Type: application/offset+octet-stream', '-T', file,
            new URL(address, server.url).href], { encoding: 'utf8' }).stdout;
        if (done !== '204') throw new Error(`upload: ${done}`);
        uploads.push(performance.now() - begin);
        await server.api('DELETE', `/assets/${address.split('/').pop()}`); // as the copy
    }
    const mb = (ms) => size / 1e6 / (ms / 1e3);
    say('copy.mb_s', mb(median([...copies])));
    say('upload.mb_s', mb(median([...uploads])));
    console.log('upload.of_copy', (median(copies) / median(uploads)).toFixed(2));
    rmSync(file);
}

// --- progress, worker to listener
{
    const video = await server.upload('a.mp4', await make_video(folder, 20));
    const audio = await server.upload('a.wav', make_wav(20));
    await server.api('POST', '/batches', { audio: audio.id, videos: [video.id] });
    const response = await server.request('/api/v1/events');
    const delays = [];
    let rest = '';
    let over = false;
    for await (const chunk of response.body) {
        const now = Date.now();
        rest += Buffer.from(chunk).toString();
        const events = rest.split('\n\n');
        rest = events.pop();
        for (const event of events) {
            const data = event.match(/^data: (.*)$/m)?.[1];
            for (const job of (data && JSON.parse(data).jobs) || []) {
                if (job.state === 'generating' && job.progressed) delays.push(now - job.progressed);
                over ||= job.state === 'done' || job.state === 'failed';
            }
        }
        if (over) break;
    }
    say('progress.delay_ms', median([...delays]), delays);
}

// --- memory with 200 listeners
{
    const sockets = [];
    for (let i = 0; i < 200; i++)
        sockets.push(await new Promise((resolve) => {
            const socket = net.connect(Number(port), '127.0.0.1', () => {
                socket.write(`GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
                resolve(socket);
            });
            socket.on('data', () => {});
        }));
    await sleep(4000);
    const status = readFileSync(`/proc/${server.process.pid}/status`, 'utf8');
    say('server.rss_mb_200_clients', Number(status.match(/VmRSS:\s+(\d+)/)[1]) / 1024);
    sockets.forEach((socket) => socket.destroy());
}

// --- eight jobs: two workers against one program
{
    const names = Array.from({ length: 8 }, (_, i) => `v${i}.mp4`);
    const video = await make_video(folder, 10);
    const speech = make_wav(10);
    writeFileSync(path.join(folder, 's.wav'), speech);
    for (const name of names)
        writeFileSync(path.join(folder, name), Buffer.concat([video, Buffer.from(name)])); // 8 contents
    const cli = [];
    const queue = [];
    for (let round = 0; round < 3; round++) {
        const out = path.join(folder, 'out');
        rmSync(out, { recursive: true, force: true });
        cli.push(...await timed(1, () => {
            const done = spawnSync(program, ['batch', '-q', '--no-cache', '-a', path.join(folder, 's.wav'),
                ...names.map((n) => path.join(folder, n)), '-o', out]);
            if (done.status !== 0) throw new Error(`batch: ${done.stderr}`);
        }));
        rmSync(path.join(server.data, 'tracks'), { recursive: true, force: true });
        spawnSync('mkdir', [path.join(server.data, 'tracks')]);
        const audio = await server.upload('s.wav', speech);
        const videos = [];
        for (const name of names)
            videos.push((await server.upload(name, readFileSync(path.join(folder, name)))).id);
        queue.push(...await timed(1, async () => {
            const batch = await server.api('POST', '/batches', { audio: audio.id, videos });
            await until('the batch', async () => {
                const now = await server.api('GET', `/batches/${batch.id}`);
                if (now.counts.failed) throw new Error('a job failed');
                return now.state === 'ended';
            }, 300000);
        }));
    }
    say('eight_jobs.cli_s', median([...cli]) / 1e3);
    say('eight_jobs.two_workers_s', median([...queue]) / 1e3);
    console.log('eight_jobs.cli_over_workers', (median(cli) / median(queue)).toFixed(2));
}

// --- a list out of 10,000 results
{
    const sql = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
        INSERT INTO job(batch, video, name, result_name, position, state, attempts, state_since_ms, created_ms,
            ended_ms, result, result_size, result_ms, result_width, result_height, result_frames, result_animated)
        SELECT (SELECT max(id) FROM batch), '', 'v' || i, 'v' || i || '.mp4', i, 'done', 1, i, i, i, i || '-1.mp4',
            1000, 1000, 640, 480, 25, 25 FROM n;`;
    const done = spawnSync('sqlite3', [path.join(server.data, 'koubo.db'), sql], { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`sqlite3: ${done.stderr}`);
    for (const [key, address] of [['page', '/results?limit=24'], ['deep', '/results?limit=24&offset=9000'],
        ['search', '/results?limit=24&search=v77'], ['thousand', '/results?limit=1000']]) {
        const times = await timed(5, () => server.api('GET', address));
        say(`results.10000.${key}_ms`, median([...times]), times);
    }
}
await server.kill('SIGTERM');
process.exit();
