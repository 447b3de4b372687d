// The state behind the mock server: rows, their changes, and workers that only pretend.
import { EventEmitter } from 'node:events';

const STAGES = [ // name, seconds, share of the whole bar
    ['loading', 0.3, 0.02], ['audio', 0.4, 0.03], ['preprocessing', 1.5, 0.25], ['generating', 3, 0.65], ['finishing', 0.5, 0.05],
];
const WITH_FRAMES = ['preprocessing', 'generating'];
const JOB_S = STAGES.reduce((sum, [, seconds]) => sum + seconds, 0);
export const RUNNING = STAGES.map(([name]) => name);
export const ENDED = ['done', 'failed', 'cancelled', 'skipped'];
const TICK_MS = 200;

export class Queue extends EventEmitter {
    constructor({ workers = 2, pace = 1 } = {}) {
        super();
        this.setMaxListeners(0);
        this.pace = pace;
        this.rev = 1;
        this.rows = { batch: new Map(), job: new Map(), asset: new Map() };
        this.changed = { batch: new Map(), job: new Map(), asset: new Map() };
        this.gone = [];
        this.log = [];
        this.chinese = true;
        this.lastId = 0;
        this.holding = false; // offers stay untaken
        this.sending = false; // what machines have made stays on its way
        this.workers = Array.from({ length: workers }, (_, i) => ({
            id: `w${i + 1}`, kind: 'generate', state: 'idle', pid: 4200 + i, job: null, heartbeat: Date.now(),
            started: Date.now(), restarts: 0, model: 'koubo-lips', precision: 'bf16', rss: 412e6 + i * 7e6,
        }));
        this.note('info', 'server', null, this.say('koubo 已启动，正在监听', 'koubo is listening'));
    }

    start() {
        this.timer = setInterval(() => this.tick(), TICK_MS);
    }

    stop() {
        clearInterval(this.timer);
    }

    say(zh, en) {
        return this.chinese ? zh : en;
    }

    note(level, source, job, text) {
        this.log.push({ time: Date.now(), level, source, job, text });
        if (this.log.length > 4000) this.log.shift();
    }

    put(kind, row) {
        this.rows[kind].set(row.id, row);
        this.changed[kind].set(row.id, ++this.rev);
        this.emit('change');
        return row;
    }

    remove(kind, id) {
        this.rows[kind].delete(id);
        this.changed[kind].delete(id);
        this.gone.push({ kind, id, rev: ++this.rev });
        this.emit('change');
    }

    changesSince(rev) {
        const after = (kind) => [...this.rows[kind].values()].filter((row) => this.changed[kind].get(row.id) > rev);
        return {
            rev: this.rev,
            now: Date.now(),
            batches: after('batch'),
            jobs: after('job').map((job) => this.shown(job)),
            assets: after('asset'),
            gone: this.gone.filter((g) => g.rev > rev).map(({ kind, id }) => ({ kind, id })),
            ...(rev > this.rev ? { reset: true } : {}),
        };
    }

    shown(job) {
        const { _, ...row } = job;
        return row;
    }

    jobsOf(batch) {
        return [...this.rows.job.values()].filter((j) => j.batch === batch).sort((a, b) => a.position - b.position);
    }

    createBatch({ name, audio, videos, jobs, options = {}, priority = 5 }) {
        const pairs = jobs?.map((j) => ({ audio, face_at: null, ...j }))
            ?? videos.map((v) => ({ audio, video: v.id ?? v, face_at: v.face_at ?? null, options: v.own ?? null }));
        const first = pairs[0].audio;
        const speech = this.rows.asset.get(first);
        const id = ++this.lastId;
        const batch = {
            id, name: name || speech.name.replace(/\.[^.]*$/, ''), state: 'active', priority, turn: id,
            audio: { id: first, name: speech.name, duration: speech.duration }, options, speeches: new Set(pairs.map((p) => p.audio)).size,
            created: Date.now(), ended: null, counts: {}, progress: 0, outcome: null, place: null, eta: null,
        };
        this.rows.batch.set(id, batch);
        pairs.forEach(({ audio: own, video, face_at, name: wanted = null, options: laid = null }, i) => {
            const asset = this.rows.asset.get(video);
            const isBad = asset.state === 'bad';
            this.put('job', {
                id: ++this.lastId, batch: id, batch_name: batch.name, name: asset.name, video, audio: own, audio_name: this.rows.asset.get(own).name, options: laid, state: isBad ? 'skipped' : 'queued',
                position: i + 1, attempts: 0, retried: 0, max_attempts: 3, done: 0, total: 0, progress: 0, fps: null, eta: null,
                worker: null, heartbeat: null, progressed: null, state_since: Date.now(), created: Date.now(),
                started: null, ended: isBad ? Date.now() : null, stage_s: null, error: isBad ? { code: 'bad_input', text: asset.error } : null,
                waiting: isBad ? null : 'worker', cancelling: false, result: null, face_at,
                _: { spent: 0, wanted },
            });
        });
        this.note('info', 'queue', null,
            this.say(`新批次“${batch.name}”，${pairs.length} 个视频`, `new batch "${batch.name}" of ${pairs.length} videos`));
        this.count(batch);
        return batch;
    }

    count(batch) {
        const jobs = this.jobsOf(batch.id);
        const of = (...states) => jobs.filter((j) => states.includes(j.state)).length;
        batch.counts = {
            queued: of('queued'), running: of(...RUNNING), done: of('done'), failed: of('failed'),
            cancelled: of('cancelled'), skipped: of('skipped'), total: jobs.length,
            results: jobs.filter((j) => j.result).length,
        };
        const hopeful = jobs.filter((j) => j.state === 'done' || !ENDED.includes(j.state));
        batch.progress = hopeful.reduce((sum, j) => sum + j.progress, 0) / (hopeful.length || 1);
        const over = jobs.every((j) => ENDED.includes(j.state));
        if (over && batch.state !== 'ended') {
            batch.state = 'ended';
            batch.ended = Date.now();
            this.note('info', 'queue', null,
                this.say(`批次“${batch.name}”结束：成功 ${batch.counts.done}，失败 ${batch.counts.failed}`,
                    `batch "${batch.name}" ended: ${batch.counts.done} done, ${batch.counts.failed} failed`));
        } else if (!over && batch.state === 'ended') {
            batch.state = 'active';
            batch.ended = null;
        }
        const { done, cancelled, total } = batch.counts;
        batch.outcome = !over ? null : done === total ? 'done' : done ? 'partly' : cancelled === total ? 'cancelled' : 'failed';
        this.put('batch', batch);
        this.line();
    }

    // Places in line, and how long each batch takes with what stands before it.
    line() {
        let before = 0;
        let place = 0;
        for (const batch of [...this.rows.batch.values()].sort((a, b) => b.priority - a.priority || a.turn - b.turn)) {
            const isWaiting = batch.state === 'active' && !batch.counts.running;
            const left = this.jobsOf(batch.id).reduce((sum, j) => sum + (ENDED.includes(j.state) ? 0 : 1 - j.progress), 0);
            const seconds = Math.round(before + (left * JOB_S) / this.pace / Math.max(1, this.workers.length));
            const now = { place: isWaiting ? ++place : null, eta: batch.state === 'active' ? seconds : null };
            if (batch.state === 'active') before = seconds;
            if (now.place === batch.place && now.eta === batch.eta) continue;
            this.put('batch', Object.assign(batch, now));
        }
    }

    estimate({ audio, videos, jobs }) {
        const known = (videos ?? jobs.map((j) => j.video)).map((v) => this.rows.asset.get(v.id ?? v)).filter((a) => a?.state === 'ready');
        const speech = (this.rows.asset.get(audio ?? jobs?.[0].audio)?.duration ?? 0) / 1000;
        return known.length && speech ? { seconds: Math.round(known.length * speech * 6), bytes: Math.round(known.length * speech * 300e3) } : { seconds: null, bytes: null };
    }

    step(job, state) {
        job.state = state;
        job.state_since = Date.now();
        job.progressed = Date.now();
        job.done = 0;
        job.total = 0;
    }

    end(job, state, error = null) {
        this.step(job, state);
        Object.assign(job, { ended: Date.now(), error, cancelling: false, waiting: null, fps: null, eta: null });
        if (state === 'done') job.progress = 1;
        const worker = this.workers.find((w) => w.job === job.id);
        if (worker) Object.assign(worker, { job: null, state: 'idle' });
        job.worker = null;
        this.note(state === 'failed' ? 'error' : 'info', 'queue', job.id,
            state === 'failed' ? error.text : `${job.name}: ${state === 'done' ? this.say('完成', 'done') : this.say('已取消', 'cancelled')}`);
    }

    retry(job) {
        if (!['failed', 'cancelled'].includes(job.state)) return;
        job.retried++;
        this.step(job, 'queued');
        Object.assign(job, { attempts: 0, progress: 0, error: null, ended: null, started: null, waiting: 'worker', _: { ...job._, spent: 0 } });
        this.put('job', job);
        this.count(this.rows.batch.get(job.batch));
    }

    cancel(job) {
        if (ENDED.includes(job.state)) return;
        if (job.state === 'queued') this.end(job, 'cancelled');
        else job.cancelling = true;
        this.put('job', job);
        this.count(this.rows.batch.get(job.batch));
    }

    // A machine that lives, and whose clock goes on as ours does.
    hear(node) {
        const now = Date.now();
        node.facts.clock += now - node.heard;
        node.heard = now;
    }

    // Uncounted, to whoever is free.
    giveBack(job) {
        this.step(job, 'queued');
        Object.assign(job, { attempts: job.attempts - 1, progress: 0, worker: null, waiting: 'worker', fps: null, eta: null });
        job._.spent = 0;
        this.put('job', job);
        this.count(this.rows.batch.get(job.batch));
    }

    next() {
        const open = [...this.rows.batch.values()].filter((b) => b.state === 'active' && b.counts.queued);
        open.sort((a, b) => b.priority - a.priority || a.counts.running - b.counts.running || a.turn - b.turn);
        return open[0] && this.jobsOf(open[0].id).find((j) => j.state === 'queued');
    }

    work(job) {
        const asset = this.rows.asset.get(job.video);
        if (job.cancelling) return this.end(job, 'cancelled');
        if (job.state === 'preprocessing' && (asset.state === 'bad' || asset.warnings.includes('no_face'))) {
            return this.end(job, 'failed', { code: 'bad_input', text: asset.error ?? this.say(
                `“${asset.name}”里没有找到人脸`, `no face was found in '${asset.name}'`) });
        }
        const index = RUNNING.indexOf(job.state);
        const [, seconds, share] = STAGES[index];
        job._.spent += (TICK_MS / 1000) * this.pace;
        const part = Math.min(1, job._.spent / (seconds * (job._.slow ?? 1)));
        job.heartbeat = Date.now();
        if (/慢|slow/i.test(asset.name) && job.state === 'preprocessing' && job._.spent < 14) {
            this.put('job', job); // alive, and does not get on
            return undefined;
        }
        const frames = Math.max(1, Math.round((asset.duration ?? 1000) / 40));
        job.total = WITH_FRAMES.includes(job.state) ? frames : 0;
        job.done = Math.floor(job.total * part);
        job.progressed = Date.now();
        job.progress = STAGES.slice(0, index).reduce((sum, s) => sum + s[2], 0) + share * part;
        job.fps = job.state === 'generating' ? frames / (seconds / this.pace) : null;
        job.eta = STAGES.slice(index).reduce((sum, s) => sum + s[1], -job._.spent) / this.pace;
        job.eta = Math.max(0, Math.round(job.eta));
        if (part < 1) return this.put('job', job);
        if (this.sending && job.state === 'finishing') return this.put('job', Object.assign(job, { progress: 1 }));
        job._.spent = 0;
        job.stage_s = { ...job.stage_s, [job.state]: seconds };
        if (index + 1 < STAGES.length) {
            this.step(job, RUNNING[index + 1]);
        } else {
            job.result = {
                job: job.id, batch: job.batch, batch_name: job.batch_name, name: this.resultName(job), size: asset.size,
                duration: asset.duration, width: asset.width, height: asset.height, frames,
                frames_animated: frames, created: Date.now(), video: `/api/v1/results/${job.id}/video`,
                download: `/api/v1/results/${job.id}/download`, thumbnail: asset.thumbnail && `/api/v1/results/${job.id}/thumbnail`,
            };
            this.end(job, 'done');
        }
        return undefined;
    }

    // Film, speech and date; a batch has no name twice.
    resultName(job) {
        const { alpha } = { ...this.rows.batch.get(job.batch).options, ...job.options };
        const ending = alpha === 'webm' || alpha === 'mov' ? `.${alpha}` : '.mp4';
        const stem = (name) => name.replace(/\.[^.]*$/, '');
        const taken = new Set(this.jobsOf(job.batch).map((j) => j.result?.name));
        const name = job._.wanted?.replace(/\.(mp4|webm|mov)$/, '') ?? `${stem(job.name)}_${stem(job.audio_name)}_${new Date().toLocaleDateString('sv-SE')}`;
        for (let n = 1; ; n++) {
            const free = `${name}${n > 1 ? `-${n}` : ''}${ending}`;
            if (!taken.has(free)) return free;
        }
    }

    tick() {
        for (const worker of this.workers) {
            if (worker.node?.state === 'silent') continue;
            worker.heartbeat = Date.now();
            if (worker.node) this.hear(worker.node);
            let job = this.rows.job.get(worker.job);
            if (!job) {
                Object.assign(worker, { job: null, state: 'idle' });
                job = worker.node?.draining ? null : this.next();
                if (!job) continue;
                Object.assign(worker, { job: job.id, state: 'busy' });
                Object.assign(job, { worker: worker.node ? '' : worker.id, attempts: job.attempts + 1, started: Date.now(), waiting: null });
                this.step(job, 'loading');
                this.note('info', worker.id, job.id, this.say(`开始处理 ${job.name}`, `working on ${job.name}`));
            } else if (job.worker === '') { // offered, and now this machine's
                if (!this.holding) job.worker = worker.id;
            } else {
                this.work(job);
            }
            this.put('job', job);
            this.count(this.rows.batch.get(job.batch));
        }
    }
}
