// Fifty jobs on real and played machines, in a storm: machines, head and Redis are killed, lines cut,
// one of them for 10 to 60 s, disks full, clocks wrong, and one machine is evil. With a store on S3 all
// machines that make films are real, and the store answers errors, cuts, spoils and stalls. Then calm, and
// a look at what is left. What is done comes out of the seed, which is printed; when it happens is the machine's.
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { EVIL } from '../cluster/fake_node.mjs';
import { RedisClient } from '../cluster/redis.mjs';
import { check_folder, check_results, check_rows } from './calm.mjs';
import { Dice } from './chance.mjs';
import { sleep, until } from './server.mjs';
import { ended, ENDED, Weather, with_studio } from './studio.mjs';

// What a played machine of HTTP does; one that has no room for jobs can do the first of them only.
const WITHOUT_JOBS = ['claim', 'ghost', 'replay', 'forge'];

const still_ms = 120000; // in the calm something ends at least so often, on a machine that is busy

class Storm {
    constructor(studio, seed, seconds) {
        Object.assign(this, { studio, seed, seconds, raging: true, counts: {}, complaints: [], ends: new Map() });
    }

    count(what) {
        this.counts[what] = (this.counts[what] ?? 0) + 1;
    }

    complain(what) {
        if (this.complaints.push(what) <= 20) console.error(`# ${what}`);
    }

    dice(name) {
        return new Dice(this.seed, name);
    }

    // --- who acts, until the storm is over

    async kill_machines(dice) {
        while (this.raging) {
            await sleep(dice.between(500, 3000));
            const machine = dice.pick(this.studio.machines);
            if (!this.raging) break;
            this.count('machines killed');
            await machine.kill();
            await sleep(dice.between(0, 3000));
            machine.start();
        }
    }

    // Played ones die, too, and come back as another process of the same name.
    async kill_players(dice) {
        while (this.raging) {
            await sleep(dice.between(500, 2500));
            if (!this.raging) break;
            const node = dice.pick(this.players);
            this.count('players killed');
            await node.stop();
            await sleep(dice.between(0, 5000));
            node.reborn();
        }
    }

    async cut_lines(dice) {
        while (this.raging) {
            await sleep(dice.between(300, 2500));
            if (!this.raging) break;
            const { lines } = dice.pick([...this.studio.machines, ...this.players]);
            const cut = dice.roll() < 0.6 ? lines : [dice.pick(lines)];
            this.count('lines cut');
            for (const line of cut) line.cut();
            await sleep(dice.roll() < 0.7 ? dice.between(200, 2000) : dice.between(4000, 7000));
            for (const line of cut) line.mend();
        }
    }

    // Once, and on into the calm: what the machine had has long been made by others when it comes back.
    async cut_for_long(dice) {
        const { lines } = this.studio.machines[0];
        await sleep(dice.between(0, this.seconds * 500));
        this.count('lines cut for long');
        this.long_cut_s = dice.between(10, 60);
        for (let end = Date.now() + this.long_cut_s * 1000; Date.now() < end; await sleep(100)) for (const line of lines) if (!line.is_cut) line.cut();
        for (const line of lines) line.mend();
    }

    async strike_store(dice) {
        const { faults } = this.studio.s3;
        const kinds = [{ what: 'error', status: 500 }, { what: 'error', status: 503, code: 'SlowDown' }, { what: 'cut' }, { what: 'garble' },
            { what: 'lie' }, { what: 'babble' }, { what: 'resize' }];
        while (this.raging) {
            await sleep(dice.between(100, 800));
            if (!this.raging) break;
            this.count('faults of the store');
            // A stall lasts for half a minute, in which little else could happen.
            if (dice.roll() < 0.05) faults.push({ what: 'stall' });
            else faults.push({ ...dice.pick(kinds), method: dice.pick(['GET', 'PUT', undefined]), times: 1 + dice.below(3) });
        }
        faults.length = 0;
    }

    async strike_redis(dice) {
        while (this.raging) {
            await sleep(dice.between(1500, 6000));
            if (!this.raging) break;
            if (dice.roll() < 0.4) {
                this.count('Redis flushed');
                await this.ask_redis('FLUSHALL');
                continue;
            }
            this.count('Redis killed');
            await this.studio.redis.kill();
            await sleep(dice.between(0, 2500));
            await this.studio.redis.start();
        }
    }

    async ask_redis(...words) {
        const client = new RedisClient(this.studio.redis.url);
        await client.ask(...words).catch(() => {});
        client.close();
    }

    async strike_head(dice) {
        while (this.raging) {
            await sleep(dice.between(1500, 6000));
            if (!this.raging) break;
            this.count('the head killed');
            await this.studio.head.kill();
            await sleep(dice.between(0, 2500));
            await this.studio.head.start();
        }
    }

    async rain(dice) {
        while (this.raging && process.env.KOUBO_WEATHER_LIBRARY) {
            await sleep(dice.between(500, 3000));
            const weather = dice.pick(this.weathers);
            if (dice.roll() < 0.5) {
                this.count('clocks set');
                weather.set(dice.pick([-3600, 3600, 0]), false);
            } else {
                this.count('disks full');
                weather.set(0, true);
                await sleep(dice.between(300, 2500));
                weather.set(0, false);
            }
        }
    }

    async cancel_some(dice) {
        while (this.raging) {
            await sleep(dice.between(2000, 5000));
            const jobs = await this.studio.head.list('/jobs').catch(() => []);
            const job = dice.pick(jobs.filter((j) => !ended(j)));
            if (job && this.raging) {
                this.count('cancelled');
                await this.studio.head.api('POST', `/jobs/${job.id}/cancel`).catch(() => {});
            }
        }
    }

    // Every change of every job as the page hears it: it ends once, in one way.
    note_job(job) {
        const before = this.ends.get(job.id);
        if (before && before !== job.state) this.complain(`job ${job.id} was ${before} and is ${job.state} now`);
        if (ENDED.includes(job.state)) this.ends.set(job.id, job.state);
        if (job.attempts > job.max_attempts) this.complain(`job ${job.id}: attempt ${job.attempts} of ${job.max_attempts}`);
    }

    async listen() {
        let rev = 0;
        while (!this.control.signal.aborted) {
            try {
                for await (const change of this.studio.head.events(rev, this.control.signal)) {
                    rev = change.rev;
                    change.jobs?.forEach((job) => this.note_job(job));
                }
            } catch {
                await sleep(50); // the head is down
            }
        }
    }

    // --- from the beginning to the end

    async begin(n_jobs) {
        const { studio } = this;
        this.weathers = [];
        for (const name of studio.s3 ? ['real1', 'real2', 'real3'] : ['real1', 'real2']) {
            const weather = new Weather(path.join(studio.folder, `weather-${name}`));
            this.weathers.push(weather);
            await studio.machine(name, { own_lines: true, environment: weather.environment() });
        }
        this.players = [];
        for (const name of studio.s3 ? [] : ['play1', 'play2', 'play3']) this.players.push(await studio.fake(name, { own_lines: true, seconds: 0.5, slots: 1 }));
        const dice = this.dice('evil');
        const kinds = (studio.s3 ? WITHOUT_JOBS : EVIL).filter(() => dice.roll() < 0.5);
        this.evil = await studio.fake('evil', {
            own_lines: !studio.s3, seconds: 0.5, slots: studio.s3 ? 0 : 1, evil: kinds.length ? kinds : ['claim'],
            ...(studio.s3 ? { depot: studio.head.url } : {}),
        });
        for (let b = 0; b < n_jobs / 10; b++) await studio.batch(10, { seconds: 1, hz: 200 + 10 * b });
        // Before anything is at work there is nothing to lose.
        await until('a job to be generated', async () => (await studio.head.list('/jobs')).some((job) => job.state === 'generating'), 120000);
    }

    async rage() {
        this.control = new AbortController();
        this.listening = this.listen();
        const acts = ['kill_machines', 'cut_lines', 'strike_redis', 'strike_head', 'rain', 'cancel_some', this.studio.s3 ? 'strike_store' : 'kill_players']
            .map((act) => this[act](this.dice(act)));
        const long = this.cuts_for_long ? this.cut_for_long(this.dice('cut_for_long')) : null;
        await sleep(this.seconds * 1000);
        this.raging = false;
        await Promise.all(acts);
        for (const weather of this.weathers) weather.set(0, false);
        await this.evil.stop(); // else it spoils jobs as long as there are any
        this.mended = long;
    }

    async calm(n_jobs) {
        // A machine that was started while its disk was full has said so and ended; systemd would start it again.
        for (const machine of this.studio.machines) if (machine.gone) machine.start();
        let least = Infinity, since = Date.now();
        for (;;) {
            const jobs = await this.studio.head.list('/jobs');
            const open = jobs.filter((job) => !ended(job)).length;
            if (open === 0 && jobs.length === n_jobs) return jobs;
            if (open < least) [least, since] = [open, Date.now()];
            if (Date.now() - since > still_ms) throw new Error(`${open} jobs have not ended for ${still_ms / 1000} s`);
            await sleep(200);
        }
    }

    // Nothing of a job is left anywhere.
    async check(jobs) {
        const { studio } = this;
        const complain = (what) => this.complain(what);
        for (const job of jobs) {
            this.note_job(job);
            // A job that its machine calls impossible is over, by whoever.
            const called = job.worker === 'evil' && this.evil.evil.has('fail');
            if (job.state === 'failed' && ((job.attempts < job.max_attempts && !called) || !job.error))
                complain(`job ${job.id} failed after ${job.attempts} attempts: ${JSON.stringify(job.error)}`);
        }
        const done = jobs.filter((job) => job.state === 'done');
        const results = await studio.head.list('/results');
        if (results.length !== done.length) complain(`${results.length} results of ${done.length} jobs that are done`);
        await check_results(studio.head, results, new Map(results.map((result) => [result.source.audio, 1])), complain);
        for (const machine of studio.machines)
            await until('nothing to be left', () => machine.left().length === 0, 30000)
                .catch(() => complain(`left on ${machine.name}: ${machine.left().join(', ')}`));
        for (const player of this.players)
            await until('players to be done', () => player.jobs.size === 0, 30000)
                .catch(() => complain(`${player.name} still has ${JSON.stringify([...player.jobs.values()])}`));
        for (const node of studio.fakes) node.faults.forEach(complain);
        if (studio.s3)
            await until('nothing to be left in the store', async () => {
                this.stored = await studio.s3.left();
                return this.stored.objects.length + this.stored.uploads.length === 0;
            }, 60000).catch(() => complain(`left in the store: ${JSON.stringify(this.stored)}`));
        await studio.head.kill('SIGTERM');
        const rows = check_rows(studio.head, complain);
        check_folder(studio.head, rows, complain);
        const uploads = path.join(studio.head.data, 'uploads');
        const parts = existsSync(uploads) ? readdirSync(uploads).filter((name) => lstatSync(path.join(uploads, name)).isFile()) : [];
        if (parts.length > 0) complain(`uploads that nobody ends: ${parts.join(', ')}`);
        await studio.head.start();
    }
}

// long: a line is cut for 10 to 60 s, too. s3: the depot is a store on S3, from which what no job needs goes at once.
export async function storm({ seed, seconds, jobs: n_jobs, long, s3 }) {
    await with_studio({ timeout_s: 4, s3, options: s3 ? ['--depot-keep', '0'] : [] }, async (studio) => {
        const all = new Storm(studio, seed, seconds);
        all.cuts_for_long = long;
        await all.begin(n_jobs);
        await all.rage();
        const begin = Date.now();
        const jobs = await all.calm(n_jobs);
        const calm_s = (Date.now() - begin) / 1000;
        await all.mended;
        all.control.abort();
        await all.listening;
        await all.check(jobs);
        const states = jobs.reduce((sum, job) => ({ ...sum, [job.state]: (sum[job.state] ?? 0) + 1 }), {});
        const attempts = jobs.reduce((sum, job) => sum + job.attempts, 0);
        console.log(`# seed ${seed}, ${seconds} s, ${s3 ? 'S3' : 'HTTP'}, evil: ${[...all.evil.evil].join(' ')}; ${JSON.stringify(all.counts)}`);
        console.log(`# jobs ${JSON.stringify(states)}, attempts ${attempts}, the calm took ${calm_s.toFixed(1)} s`
            + (all.long_cut_s ? `, a line was cut for ${all.long_cut_s.toFixed(1)} s` : ''));
        if (all.complaints.length > 0) throw new Error(`seed ${seed}: ${all.complaints.length} complaints, the first: ${all.complaints[0]}`);
    });
}
