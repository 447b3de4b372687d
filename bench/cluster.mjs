// Figures of many machines: node bench/cluster.mjs [build/koubo] [part ...]
//
// Needs redis-server and ffmpeg; a quarter of an hour for all parts: dispatch (or one of dispatch.1, .4, .16,
// .64), queue, progress, death, nodes, transfer. Prints one "key value" a line. Nodes are played (tests/cluster/fake_node.mjs): a job is a second
// of sleep and a film of 6 KB, so what is measured is the head, Redis and the depot. All of it, the
// players too, shares this machine with the head.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, fsyncSync, openSync, closeSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';

const args = process.argv.slice(2);
const at_path = args.find((word) => word.includes('/') || existsSync(word));
process.env.KOUBO_PROGRAM ??= at_path ?? 'build/koubo';
const parts = args.filter((word) => word !== at_path);
const { make_wav, sleep, until } = await import('../tests/e2e/server.mjs');
const { Studio } = await import('../tests/e2e/studio.mjs');
const { make_film } = await import('../tests/cluster/fake_node.mjs');
const { RedisClient } = await import('../tests/cluster/redis.mjs');

const wanted = (part) => parts.length === 0 || parts.includes(part);
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const say = (key, value, note = '') => console.log(key.padEnd(40), typeof value === 'number' ? value.toFixed(value < 10 ? 2 : 1) : value, note);
const range = (values, digits = 2) => `(${Math.min(...values).toFixed(digits)}-${Math.max(...values).toFixed(digits)}, n=${values.length})`;

// --- what a process took

const ticks = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

function cpu_s(pid) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticks;
}

const memory_mb = (pid, what) => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

const written_bytes = (pid) => Number(/^write_bytes: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))[1]);

const children = (pid) => readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((name) => {
    try {
        return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))[1]) === pid;
    } catch {
        return false;
    }
}).map(Number);

async function with_studio(options, action) {
    const studio = new Studio();
    try {
        await studio.open(options);
        return await action(studio);
    } catch (error) {
        console.error(await studio.tell().catch(String));
        throw error;
    } finally {
        await studio.close();
    }
}

async function commands(studio) {
    const client = new RedisClient(studio.redis.url);
    const stats = await client.ask('INFO', 'stats');
    client.close();
    return Number(/total_commands_processed:(\d+)/.exec(stats)[1]);
}

// Without a connection of its own every 50 ms to the head, which would be measured, too.
async function wait_for_end(studio, n) {
    for (;;) {
        await sleep(1000);
        const open = await studio.head.api('GET', '/jobs?state=unfinished&limit=1');
        if (open.total === 0) break;
    }
    const jobs = await studio.head.list('/jobs');
    if (jobs.length !== n || jobs.some((job) => job.state !== 'done'))
        throw new Error(`not done: ${JSON.stringify(jobs.filter((job) => job.state !== 'done').slice(0, 3))}`);
    return jobs;
}

// --- dispatch of jobs of one second

async function dispatch(n_nodes, waves) {
    return with_studio({ timeout_s: 30 }, async (studio) => {
        for (let n = 1; n <= n_nodes; n++) await studio.fake(`n${n}`, { seconds: 1, fetch_inputs: false });
        await until('all nodes', async () => (await studio.nodes()).filter((node) => node.state === 'active').length === n_nodes, 60000);
        const n_jobs = n_nodes * waves;
        const { pid } = studio.head.process;
        const workers = children(pid);
        const before = { cpu: cpu_s(pid), workers: workers.map(cpu_s), redis: cpu_s(studio.redis.process.pid), commands: await commands(studio), written: written_bytes(pid) };
        for (let left = n_jobs; left > 0; left -= 1000) await studio.batch(Math.min(left, 1000), { hz: 200 + left });
        const jobs = await wait_for_end(studio, n_jobs);
        const seconds = (Math.max(...jobs.map((job) => job.ended)) - Math.min(...jobs.map((job) => job.started))) / 1000;
        return {
            speed: n_jobs / seconds,
            attempts: jobs.reduce((sum, job) => sum + job.attempts, 0) / n_jobs,
            head_ms: (cpu_s(pid) - before.cpu) / n_jobs * 1000,
            inspector_ms: workers.reduce((sum, worker, i) => sum + cpu_s(worker) - before.workers[i], 0) / n_jobs * 1000,
            redis_ms: (cpu_s(studio.redis.process.pid) - before.redis) / n_jobs * 1000,
            commands: (await commands(studio) - before.commands) / n_jobs,
            written_kb: (written_bytes(pid) - before.written) / n_jobs / 1024,
        };
    });
}

for (const n of [1, 4, 16, 64])
    if (wanted('dispatch') || parts.includes(`dispatch.${n}`)) {
        const runs = [];
        for (let i = 0; i < 3; i++) runs.push(await dispatch(n, n < 64 ? 12 : 30));
        const of = (key) => runs.map((run) => run[key]);
        say(`dispatch.${n}.jobs_s`, median(of('speed')), range(of('speed')));
        say(`dispatch.${n}.of_ideal`, median(of('speed')) / n, 'mark 0.9');
        say(`dispatch.${n}.attempts`, Math.max(...of('attempts')));
        for (const key of ['head_ms', 'inspector_ms', 'redis_ms', 'commands', 'written_kb']) say(`dispatch.${n}.${key}_a_job`, median(of(key)), range(of(key)));
    }

// --- memory with a long queue

if (wanted('queue'))
    await with_studio({ timeout_s: 30 }, async (studio) => {
        const { pid } = studio.head.process;
        say('queue.0.rss_mb', memory_mb(pid, 'VmRSS'));
        for (let b = 0; b < 10; b++) await studio.batch(1000, { hz: 200 + b });
        await sleep(3000);
        say('queue.10000.rss_mb', memory_mb(pid, 'VmRSS'), 'mark 120');
        for (let n = 1; n <= 4; n++) await studio.fake(`n${n}`, { seconds: 1, fetch_inputs: false });
        const events = await studio.head.request('/api/v1/events');
        const reader = (async () => { for await (const piece of events.body) if (!piece) break; })().catch(() => {});
        await sleep(15000);
        say('queue.10000.working_rss_mb', memory_mb(pid, 'VmRSS'));
        say('queue.10000.peak_mb', memory_mb(pid, 'VmHWM'));
        const done = (await studio.head.api('GET', '/results?limit=1')).total;
        say('queue.10000.four_nodes_did', done, 'in 15 s');
        void reader;
    });

// --- from a node's progress to the page

if (wanted('progress'))
    await with_studio({ timeout_s: 30 }, async (studio) => {
        const node = await studio.fake('n1', { seconds: 10, fetch_inputs: false });
        const old = [], way = [];
        // When each number of frames was told first.
        const told = new Map();
        const tell = node.tell.bind(node);
        node.tell = (body, as) => {
            for (const job of body.jobs ?? []) if (!told.has(`${job.job} ${job.done}`)) told.set(`${job.job} ${job.done}`, Date.now());
            return tell(body, as);
        };
        const response = await studio.head.request('/api/v1/events');
        await studio.batch(3);
        let text = '', over = 0;
        for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
            const now = Date.now();
            text += piece;
            for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
                const [, data] = /^data: (.*)$/m.exec(text.slice(0, end)) ?? [];
                for (const job of (data && JSON.parse(data).jobs) || []) {
                    const mine = node.jobs.get(job.id), since = told.get(`${job.id} ${job.done}`);
                    if (job.state === 'done') over++;
                    if (job.state !== 'generating' || !mine?.begin || job.done === 0 || !since) continue;
                    way.push(now - since);
                    told.delete(`${job.id} ${job.done}`);
                    old.push(now - mine.begin - job.done / node.film.facts.frames * node.seconds * 1000);
                }
            }
            if (over >= 3) break;
        }
        say('progress.told_to_page_ms', median(way), range(way, 0));
        say('progress.age_at_page_ms', median(old), `${range(old, 0)} mark 1000`);
    });

// --- from a node's death to its job running elsewhere

if (wanted('death'))
    await with_studio({ timeout_s: 30 }, async (studio) => {
        const dying = [];
        for (let n = 1; n <= 5; n++) dying.push(await studio.fake(`n${n}`, { seconds: 600, fetch_inputs: false }));
        await studio.batch(5);
        const jobs = await until('all to be running', async () => {
            const now = await studio.head.list('/jobs');
            return now.length === 5 && now.every((job) => job.state === 'generating') && now;
        });
        for (let n = 6; n <= 10; n++) await studio.fake(`n${n}`, { seconds: 600, fetch_inputs: false });
        const begin = new Map();
        for (const node of dying) {
            await sleep(700);
            begin.set(node.name, Date.now());
            await node.stop();
        }
        const took = new Map();
        await until('all to run elsewhere', async () => {
            for (const job of await studio.head.list('/jobs')) {
                const before = jobs.find((one) => one.id === job.id);
                if (!took.has(job.id) && job.worker && job.worker !== before.worker && job.state === 'generating')
                    took.set(job.id, (Date.now() - begin.get(before.worker)) / 1000);
            }
            return took.size === 5;
        }, 120000);
        say('death.running_elsewhere_s', median([...took.values()]), `${range([...took.values()], 1)} mark 40`);
    });

// --- what nodes cost that wait, and that work

if (wanted('nodes'))
    await with_studio({ timeout_s: 30 }, async (studio) => {
        const { pid } = studio.head.process;
        const measure = async () => {
            const before = { commands: await commands(studio), head: cpu_s(pid), redis: cpu_s(studio.redis.process.pid), written: written_bytes(pid) };
            await sleep(20000);
            return {
                commands_s: (await commands(studio) - before.commands) / 20,
                head_cpu_ms_s: (cpu_s(pid) - before.head) / 20 * 1000,
                redis_cpu_ms_s: (cpu_s(studio.redis.process.pid) - before.redis) / 20 * 1000,
                written_kb_s: (written_bytes(pid) - before.written) / 20 / 1024,
            };
        };
        const tell = (name, figures) => Object.entries(figures).forEach(([key, value]) => say(`${name}.${key}`, value));
        const active = (n) => until('all nodes', async () => (await studio.nodes()).filter((node) => node.state === 'active').length >= n, 60000);
        const alone = await measure();
        tell('nodes.0', alone);
        const machine = await studio.machine('real');
        await active(1);
        const one = await measure();
        say('nodes.1_real.commands_s', one.commands_s - alone.commands_s, 'without the head\'s own');
        await machine.kill('SIGTERM');
        for (let n = 1; n <= 64; n++) await studio.fake(`n${n}`, { seconds: 3600, fetch_inputs: false });
        await active(64);
        tell('nodes.64_waiting', await measure());
        await studio.batch(64);
        await until('all to work', async () => (await studio.head.list('/jobs')).every((job) => job.state === 'generating'), 60000);
        tell('nodes.64_working', await measure());
    });

// --- a film of 1 GB to a real node, against a plain copy; both are on the disk afterwards

function synced_copy(from, to) {
    const begin = performance.now();
    cpSync(from, to);
    const fd = openSync(to, 'r+');
    fsyncSync(fd);
    closeSync(fd);
    const took = performance.now() - begin;
    rmSync(to);
    return took;
}

// A film with a gigabyte of something that players skip, another one each time.
function large_film(studio, number) {
    const file = path.join(studio.folder, 'large.mp4');
    const box = Buffer.alloc(1e9);
    for (let i = 0; i < box.length - 8; i += 4096) box.writeUInt32LE(Math.random() * 2 ** 32, i);
    box.writeUInt32BE(box.length, 0);
    box.write(`free${number}`, 4);
    writeFileSync(file, Buffer.concat([make_film(studio.folder, 1).bytes, box]));
    return file;
}

function send(studio, file) {
    const curl = (...words) => spawnSync('curl', ['-s', '-H', 'Tus-Resumable: 1.0.0', ...words], { encoding: 'utf8' }).stdout;
    const name = Buffer.from('large.mp4').toString('base64');
    const head = curl('-i', '-X', 'POST', `${studio.head.url}/api/v1/uploads`, '-H', `Upload-Length: ${statSync(file).size}`, '-H', `Upload-Metadata: filename ${name}`);
    const address = new URL(head.match(/^location: (\S+)/im)[1], studio.head.url);
    const code = curl('-o', '/dev/null', '-w', '%{http_code}', '-X', 'PATCH', '-H', 'Upload-Offset: 0', '-H', 'Expect:',
        '-H', 'Content-Type: application/offset+octet-stream', '-T', file, address.href);
    if (code !== '204') throw new Error(`upload: ${code}`);
    return address.pathname.split('/').pop();
}

// From when more than 1 MB lies in the node's folder (a thousandth: what comes before is the offer, not the way) to the
// whole file, hashed, synced and named.
async function transfer(studio, machine, film) {
    const { size } = statSync(film);
    const id = send(studio, film);
    await until('the film to be looked at', async () => (await studio.head.api('GET', `/assets/${id}`)).state === 'ready');
    const audio = await studio.head.upload('speech.wav', make_wav(1));
    const sizes = (folder) => {
        const at = path.join(machine.data, folder);
        return existsSync(at) ? readdirSync(at).map((name) => statSync(path.join(at, name), { throwIfNoEntry: false })?.size ?? 0) : [];
    };
    const batch = await studio.head.api('POST', '/batches', { audio: audio.id, videos: [id] });
    let begin = 0;
    for (;;) {
        if (!begin && sizes('uploads').some((bytes) => bytes > 1e6)) begin = performance.now();
        if (sizes('files').includes(size)) break;
        await sleep(5);
    }
    const took = performance.now() - begin;
    await studio.head.api('POST', `/batches/${batch.id}/cancel`);
    await until('the job to end', async () => (await studio.head.api('GET', '/jobs?state=unfinished&limit=1')).total === 0, 60000);
    await studio.head.api('DELETE', `/batches/${batch.id}`);
    await studio.head.api('DELETE', `/assets/${id}`);
    await until('the node to be empty again', () => machine.left().length === 0);
    return took;
}

if (wanted('transfer'))
    await with_studio({ timeout_s: 30 }, async (studio) => {
        const machine = await studio.machine('n1');
        const copies = [], transfers = [], ratios = [];
        for (let i = 0; i < 5; i++) {
            const film = large_film(studio, i);
            copies.push(synced_copy(film, `${film}.copy`));
            transfers.push(await transfer(studio, machine, film));
            ratios.push(copies[i] / transfers[i]);
        }
        say('transfer.copy_mb_s', 1e6 / median(copies));
        say('transfer.http_mb_s', 1e6 / median(transfers));
        say('transfer.http_of_copy', median(ratios), `${range(ratios)} mark 0.6; timed from its second MB on, the copy from its first byte`);
    });

console.log(`# ${cpus().length} processors: ${cpus()[0].model}`);
process.exit();
