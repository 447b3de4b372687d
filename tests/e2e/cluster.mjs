// Many machines: a head, a redis-server and nodes, as processes of their own on this machine, and what
// can go wrong between them. Every job must end exactly once, and what is made must be whole.
//
//   node tests/e2e/cluster.mjs [part of a test's name]   all but the storm
//   node tests/e2e/cluster.mjs cut --long                the cuts of 10 s and 60 s as they are, four minutes
//   node tests/e2e/cluster.mjs s3 --long                 more faults of the store, and stalls of 30 s
//   node tests/e2e/cluster.mjs storm                     20 jobs in a storm of 4 s, or 10 on S3 where the seed is odd
//   node tests/e2e/cluster.mjs storm --rounds 10 --seed 7   50 jobs in 8 s each, every second one on S3, 20 minutes
//
// Without redis-server they are skipped. KOUBO_WEATHER_LIBRARY is the built weather.c.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { has_redis } from '../cluster/redis.mjs';
import { has_s3 } from '../cluster/s3.mjs';
import { check_results, check_rows } from './calm.mjs';
import { Dice, option } from './chance.mjs';
import { storm } from './cluster_storm.mjs';
import { run, sleep, until } from './server.mjs';
import { ended, Studio, Weather, with_studio } from './studio.mjs';

const equal = (a, b, what) => {
    if (a !== b) throw new Error(`${what}: ${JSON.stringify(a)}, wanted ${JSON.stringify(b)}`);
};
const holds = (value, what) => {
    if (!value) throw new Error(what);
};

const long = process.argv.includes('--long');
const needs_redis = (test) => () => (has_redis() ? test() : 'redis-server is not installed');

// All are done, each has one result, and each result is a whole film as long as its speech.
async function all_whole(studio, jobs, seconds) {
    const bad = jobs.filter((job) => job.state !== 'done');
    equal(bad.length, 0, `jobs that are not done, ${JSON.stringify(bad.slice(0, 3).map((j) => [j.id, j.state, j.error]))}`);
    const results = await studio.head.list('/results');
    equal(results.length, jobs.length, 'results');
    const complaints = [];
    const lengths = new Map(results.map((result) => [result.source.audio, seconds]));
    await check_results(studio.head, results, lengths, (what) => complaints.push(what));
    equal(complaints.join('\n'), '', 'complaints');
}

const attempts = (jobs) => jobs.reduce((sum, job) => sum + job.attempts, 0);

// What the machines that only play one found wrong.
async function nobody_complains(studio) {
    const faults = studio.fakes.flatMap((node) => [...node.faults, ...(node.seen.bad_files ? [`${node.name}: files that are not what they should be`] : [])]);
    equal(faults.join('\n'), '', 'complaints of machines');
}

// Jobs as the event stream tells of them, until stop().
function listen(server) {
    const heard = [];
    const control = new AbortController();
    const done = (async () => {
        for await (const change of server.events(null, control.signal)) heard.push(...(change.jobs ?? []));
    })().catch(() => {});
    return { heard, stop: () => { control.abort(); return done; } };
}

const tests = {
    two_machines_make_a_batch_and_one_of_them_is_killed: needs_redis(() => with_studio({ timeout_s: 3 }, async (studio) => {
        const machines = [await studio.machine('n1'), await studio.machine('n2')], seconds = 8;
        const events = listen(studio.head);
        await studio.batch(3, { seconds });
        // One that has a fifth of it before it, half a second: it is not done while this is read.
        const victim = await until('a machine that is at a job', async () => {
            const job = (await studio.head.list('/jobs')).find((j) => j.state === 'generating' && j.worker && j.progress > 0 && j.progress < 0.8);
            return job && machines.find((m) => m.name === job.worker);
        });
        await victim.kill();
        const jobs = await studio.all_ended(3);
        await events.stop();
        await all_whole(studio, jobs, seconds);
        holds(attempts(jobs) > 3, 'the job of the machine that was killed was tried again');
        const seen = events.heard.filter((job) => job.state === 'generating' && job.progress > 0 && job.progress < 1);
        holds(seen.length > 0 && seen.every((job) => ['n1', 'n2'].includes(job.worker)), `progress reached the page: ${seen.length}`);
        const other = machines.find((m) => m !== victim);
        await until('nothing to be left on the machine', () => other.left().length === 0).catch(() => {
            throw new Error(`left on ${other.name}: ${other.left().join(', ')}`);
        });
    })),

    // Namespaces: the machine has a network of its own, and its cable is pulled, first for much less than the head waits,
    // then until the head has given the job up; --long: for 10 s and 60 s of 30.
    a_machine_is_cut_off_for_a_while_and_for_long: needs_redis(async () => {
        const [short_s, long_s, timeout_s] = long ? [10, 60, 30] : [1.5, 0, 8];
        const ip = (...words) => spawnSync('ip', words, { encoding: 'utf8' });
        const space = `koubo${process.pid}`, veth = `kb${process.pid % 100000}`;
        const net = `10.${200 + (process.pid % 50)}.${(process.pid >> 6) % 250}`;
        const gone = () => {
            ip('link', 'del', veth);
            ip('netns', 'del', space);
        };
        if (ip('netns', 'add', space).status !== 0) return 'no right to make a network namespace (the same with lines: the storm)';
        process.on('exit', gone);
        const made = [['link', 'add', veth, 'type', 'veth', 'peer', 'name', 'up0', 'netns', space], ['addr', 'add', `${net}.1/24`, 'dev', veth],
            ['link', 'set', veth, 'up'], ['-n', space, 'addr', 'add', `${net}.2/24`, 'dev', 'up0'], ['-n', space, 'link', 'set', 'up0', 'up'],
            ['-n', space, 'link', 'set', 'lo', 'up']].every((words) => ip(...words).status === 0);
        if (!made) {
            gone();
            return 'no right to make a pair of network devices';
        }
        const studio = new Studio();
        studio.redis.bind = `${net}.1`;
        try {
            await studio.open({ timeout_s, listen: `${net}.1`, token: 'a-token-of-the-test' });
            const machine = await studio.machine('n1', { wrap: ['ip', 'netns', 'exec', space] });
            for (const [cut_s, counted] of [[short_s, 1], [long_s, 2]]) {
                await studio.batch(1, { seconds: long ? 20 : 10 });
                const job = await until('a job to be generated', async () =>
                    (await studio.head.list('/jobs')).find((j) => j.state === 'generating' && j.worker && j.progress < 0.9));
                ip('link', 'set', veth, 'down');
                if (cut_s > 0) await sleep(cut_s * 1000);
                else await until('the head to give it up', async () => (await studio.head.api('GET', `/jobs/${job.id}`)).state === 'queued', 60000);
                ip('link', 'set', veth, 'up');
                const done = await until('the job to end', async () => {
                    const now = await studio.head.api('GET', `/jobs/${job.id}`);
                    return ended(now) && now;
                }, 120000);
                equal(done.state, 'done', `cut for ${cut_s} s (0: until the head gave it up): ${JSON.stringify(done.error)}`);
                equal(done.attempts, counted, `attempts after a cut ${cut_s > 0 ? `of ${cut_s} s` : 'until the head gave the job up'}`);
            }
            equal((await studio.head.list('/results')).length, 2, 'results');
            await until('nothing to be left on the machine', () => machine.left().length === 0);
        } catch (error) {
            console.error(await studio.tell().catch(String));
            throw error;
        } finally {
            await studio.close();
            gone();
        }
        return undefined;
    }),

    redis_is_killed_and_comes_back_empty: needs_redis(() => with_studio({}, async (studio) => {
        for (const name of ['n1', 'n2', 'n3']) await studio.fake(name, { slots: 2, seconds: 0.4 });
        await studio.batch(24);
        await until('some to be done', async () => (await studio.head.list('/results')).length >= 4);
        await studio.redis.kill();
        await sleep(1500);
        await studio.redis.start();
        const jobs = await studio.all_ended(24);
        await all_whole(studio, jobs, 1);
        equal(attempts(jobs), 24, 'attempts: time without Redis is nobody\'s fault');
        await nobody_complains(studio);
    })),

    the_head_is_killed_and_started_again: needs_redis(() => with_studio({}, async (studio) => {
        for (const name of ['n1', 'n2', 'n3']) await studio.fake(name, { slots: 2, seconds: 0.4 });
        await studio.batch(24);
        for (let kill = 1; kill <= 2; kill++) {
            await until('some more to be done', async () => (await studio.head.list('/results')).length >= 4 * kill);
            await studio.head.kill();
            await sleep(300);
            await studio.head.start();
        }
        const jobs = await studio.all_ended(24);
        await all_whole(studio, jobs, 1);
        equal(attempts(jobs), 24, 'attempts: a head that died is nobody\'s fault');
        await nobody_complains(studio);
        await studio.head.kill('SIGTERM');
        const complaints = [];
        check_rows(studio.head, (what) => complaints.push(what));
        equal(complaints.join('\n'), '', 'complaints about the rows');
        await studio.head.start();
    })),

    a_machine_whose_clock_is_wrong_and_whose_disk_is_full: needs_redis(() => {
        if (!process.env.KOUBO_WEATHER_LIBRARY) return 'no library that makes the weather';
        return with_studio({}, async (studio) => {
            const weather = new Weather(path.join(studio.folder, 'weather'));
            weather.set(-3600, false);
            const machine = await studio.machine('n1', { environment: weather.environment(), options: ['--min-free', '0.1'] });
            const node = await until('the machine to be heard', async () => (await studio.nodes()).find((n) => n.name === 'n1' && n.facts));
            holds(Math.abs(node.facts.clock - Date.now() + 3600e3) < 600e3, `its clock is shown: ${node.facts.clock - Date.now()} ms`);
            await studio.batch(1);
            await studio.all_ended(1);
            weather.set(-3600, true);
            await until('the machine to take no more', async () => (await studio.nodes())[0].slots === 0);
            await studio.batch(1, { hz: 300 });
            await sleep(1000);
            equal((await studio.head.list('/results')).length, 1, 'results while the disk is full');
            weather.set(3600, false);
            const jobs = await studio.all_ended(2);
            await all_whole(studio, jobs, 1);
            equal(attempts(jobs), 2, 'attempts: a full disk elsewhere is nobody\'s fault');
            await until('nothing to be left on the machine', () => machine.left().length === 0);
        });
    }),

    evil_machines_spoil_nothing_but_what_they_were_given: needs_redis(() => with_studio({ timeout_s: 2 }, async (studio) => {
        const honest = [await studio.fake('n1', { slots: 2, seconds: 0.4 }), await studio.fake('n2', { slots: 2, seconds: 0.4 })];
        const thief = await studio.fake('thief', { slots: 0, evil: ['claim', 'ghost', 'replay', 'forge'] });
        const twice = await studio.fake('twice', { slots: 1, seconds: 0.3, evil: ['twice'] });
        await studio.batch(20);
        await until('some to be done', async () => (await studio.head.list('/results')).length >= 8);
        // A machine that sends texts, one that tells lies, and one that says nothing more: each has a job, which others make again.
        const liars = [];
        for (const evil of ['text', 'liar', 'mute']) liars.push(await studio.fake(evil, { slots: 1, seconds: 0.2, evil: [evil] }));
        await until('each of them to have had a job', () => liars.every((node) => node.seen.go > 0));
        await studio.head.api('PATCH', '/nodes/text', { draining: true });
        await studio.head.api('PATCH', '/nodes/liar', { draining: true });
        await studio.head.api('DELETE', '/nodes/mute');
        const jobs = await studio.all_ended(20);
        const spoilt = jobs.filter((job) => job.state !== 'done');
        holds(spoilt.every((job) => job.state === 'failed' && job.attempts === job.max_attempts && job.error),
            `spoilt jobs end with a sentence: ${JSON.stringify(spoilt.map((j) => [j.state, j.attempts, j.error]))}`);
        await all_whole(studio, jobs.filter((job) => job.state === 'done'), 1);
        equal(thief.seen.stolen ?? 0, 0, 'results that were taken from who had not the job');
        equal(jobs.filter((job) => job.worker === 'thief').length, 0, 'jobs that a thief is said to have made');
        holds(twice.seen.over > 0 && !(twice.seen.after_over ?? []).includes(204), `a second result: ${twice.seen.after_over}`);
        equal(honest.map((node) => node.seen.lost).join(), '0,0', 'jobs that honest machines lost');
        await nobody_complains(studio);
    })),

    an_s3_store_that_fails_stalls_and_cuts_short: needs_redis(() => {
        if (!has_s3()) return 's3rver is not installed';
        return with_studio({ s3: true, timeout_s: 6, options: ['--depot-keep', '0'] }, async (studio) => {
            const dice = new Dice(option('seed', 1), 's3');
            const faults = [{ what: 'error', status: 500 }, { what: 'error', status: 503, code: 'SlowDown' }, { what: 'cut' }, { what: 'garble' }];
            if (long) faults.push({ what: 'stall' });
            await studio.machine('n1');
            await studio.batch(long ? 8 : 2);
            let n_faults = 0, over = false;
            const raging = (async () => {
                for (; !over && n_faults < (long ? 12 : 4); n_faults++) {
                    studio.s3.faults.push({ ...dice.pick(faults), method: dice.pick(['GET', 'PUT', undefined]) });
                    await until('the fault to strike', () => over || studio.s3.faults.length === 0, 120000);
                    await sleep(dice.between(0, 300));
                }
                studio.s3.faults.length = 0;
            })();
            const jobs = await studio.all_ended(long ? 8 : 2, 240000);
            over = true;
            await raging;
            await all_whole(studio, jobs, 1);
            holds(n_faults >= 3, `faults that struck: ${n_faults}`);
            await until('nothing to be left in the store', async () => {
                const { objects, uploads } = await studio.s3.left();
                return objects.length + uploads.length === 0;
            }, 60000);
            await until('nothing to be left on the machines', () => studio.machines.every((machine) => machine.left().length === 0));
        });
    }),
};

// Every second one with a store on S3, where real machines make all the films. The long ones cut a line for up to a minute; all rounds are run, whatever they find.
const storms = {
    jobs_in_a_storm: needs_redis(async () => {
        const rounds = option('rounds', 1), first = option('seed', Math.floor(Math.random() * 1e9));
        const found = [];
        for (let round = 0; round < rounds; round++) {
            const s3 = has_s3() && (rounds > 1 ? round % 2 === 1 : first % 2 === 1);
            await storm({ seed: first + round, seconds: option('seconds', rounds > 1 ? 8 : 4), jobs: option('jobs', rounds > 1 ? 50 : s3 ? 10 : 20), long: rounds > 1, s3 })
                .catch((error) => { found.push(error); console.log(`# round ${round + 1}, seed ${first + round}: ${error.message}`); });
        }
        if (found.length > 0) throw found[0];
    }),
};

await run(process.argv[2] === 'storm' ? storms : tests);
