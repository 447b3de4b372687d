// A batch of twenty on the real page of a head with two machines, of which one is killed in the middle: all
// twenty are played. Needs redis-server.
//   node tests/web/cluster.mjs
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { has_redis } from '../cluster/redis.mjs';
import { person, run, sleep, until } from '../e2e/server.mjs';
import { ended, with_studio } from '../e2e/studio.mjs';
import { choose, close_browser, holds, open_page, open_tab } from './browser.mjs';
import { make_speech } from './materials.mjs';

const TWENTY = 20;

// Small pictures of a person, each another file: behind a JPEG anything may stand.
function make_pictures(folder) {
    const large = path.join(folder, 'large.jpg'), small = path.join(folder, 'small.jpg');
    writeFileSync(large, person());
    const made = spawnSync('ffmpeg', ['-v', 'error', '-y', '-i', large, '-vf', 'scale=-2:480', small], { encoding: 'utf8' });
    holds(made.status === 0, made.stderr);
    const bytes = readFileSync(small);
    return Array.from({ length: TWENTY }, (_, i) => {
        const file = path.join(folder, `门店-${String(i + 1).padStart(2, '0')}.jpg`);
        writeFileSync(file, Buffer.concat([bytes, Buffer.from(`${i}`)]));
        return file;
    });
}

// A job that the machine has, and cannot end any more: it stands still, and what it sent before has been
// taken in. Null: it goes on, and had none.
async function catch_at_work(studio, machine) {
    machine.process.kill('SIGSTOP');
    await sleep(500);
    const jobs = await studio.head.list('/jobs');
    const job = jobs.find((one) => one.worker === machine.name && one.state !== 'queued' && !ended(one));
    if (!job) machine.process.kill('SIGCONT');
    return job;
}

async function all_twenty() {
    await with_studio({ timeout_s: 3 }, async (studio) => {
        const audio = make_speech(studio.folder, '课程.wav', '好。');
        const pictures = make_pictures(studio.folder);
        const machines = [await studio.machine('n1'), await studio.machine('n2')];
        const page = await open_page(studio.head.url);
        await choose(page, audio, pictures);
        await page.getByTestId('before').getByText(`${TWENTY} 个可以生成`).waitFor({ timeout: 60000 });
        await page.locator('[data-testid=start]:enabled').click();
        const batch = page.getByTestId('batch').first();
        await batch.waitFor();
        await Promise.all(['n1', 'n2'].map((name) => batch.getByTestId('job').getByText(`在“${name}”上`).first().waitFor({ timeout: 60000 })));

        const done = async () => (await studio.head.api('GET', '/results?limit=1')).total;
        await until('some to be done', async () => await done() >= 6, 120000);
        const lost = await until('a job that is being made on n1', () => catch_at_work(studio, machines[0]), 60000);
        await machines[0].kill();
        await page.locator('[data-testid=batch][data-outcome=done]').waitFor({ timeout: 180000 });
        await batch.getByText(`成功 ${TWENTY} / ${TWENTY}`).waitFor();
        const jobs = await studio.head.list('/jobs'), again = jobs.find((job) => job.id === lost.id);
        holds(jobs.reduce((sum, job) => sum + job.attempts, 0) > TWENTY, 'no job was begun again');
        holds(again.worker === 'n2', `the job of n1 was made by ${again.worker}, attempt ${again.attempts}`);

        await open_tab(page, 'results');
        const results = page.getByTestId('result');
        await until('twenty results', async () => await results.count() === TWENTY);
        await results.first().getByRole('button', { name: /播放/ }).click();
        const played = new Set();
        for (let i = 0; i < TWENTY; i++) {
            const player = page.getByTestId('player');
            const source = await until(`video ${i + 1} to play`, () => player.evaluate((v) => v.currentTime > 0.1 && v.videoWidth > 0 && v.src));
            played.add(source);
            if (i === TWENTY - 1) break;
            await page.keyboard.press('ArrowRight');
            await until('the next one', async () => await player.getAttribute('src') !== new URL(source).pathname);
        }
        holds(played.size === TWENTY, `played ${played.size}`);
        page.faults();
        await page.context().close();
    });
    await close_browser();
}

await run({
    async a_batch_of_twenty_on_two_machines_of_which_one_is_killed() {
        return has_redis() ? all_twenty() : 'redis-server is not installed';
    },
});
