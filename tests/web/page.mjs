// The page against the real server: what a user does, in a real browser.
//   node tests/web/page.mjs [part of a test's name]
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { make_video, make_wav, run, Server, temporary_folder, until } from '../e2e/server.mjs';
import { close_browser, holds, open_page } from './browser.mjs';

const folder = temporary_folder();
let server = null;

async function start_server() {
    if (server) return server;
    server = await new Server(path.join(folder, 'data'), ['--workers', '2']).start();
    // The same address after a restart, as it is for users.
    server.options.push('--port', new URL(server.url).port);
    return server;
}

function write(name, bytes) {
    const file = path.join(folder, name);
    writeFileSync(file, bytes);
    return file;
}

let materials = null;
async function make_materials() {
    if (materials) return materials;
    const video = await make_video(folder, 6);
    materials = {
        audio: write('课程.wav', make_wav(6)),
        good: [write('老师-1.mp4', video), write('老师-2.mp4', Buffer.concat([video, Buffer.from('2')]))],
        broken: write('坏的.mp4', Buffer.from('not a video '.repeat(200))),
    };
    return materials;
}

const tabs = ['batch', 'single', 'queue', 'results', 'log', 'system'];

async function choose(page, audio, videos) {
    await page.getByTestId('audio-input').setInputFiles(audio);
    await page.getByTestId('video-input').setInputFiles(videos);
    await until('the start button', () => page.getByTestId('start').isEnabled());
}

const newest = (page) => page.getByTestId('batch').first();
const state = (batch) => batch.getAttribute('data-state');

await run({
    async a_batch_of_three_from_upload_to_zip() {
        await start_server();
        const { audio, good, broken } = await make_materials();
        const page = await open_page(server);
        holds(await page.getByTestId('start').isDisabled(), 'nothing to start yet');
        await choose(page, audio, [good[0], broken, good[1]]);
        holds(await page.getByTestId('video-row').count() === 3, 'three videos in the list');
        await until('the thumbnails', async () => await page.getByTestId('video-row').locator('img').count() === 2);
        await until('the sentence about the broken one', async () =>
            (await page.getByTestId('video-row').nth(1).textContent()).includes('坏的.mp4'));

        await page.getByTestId('start').click();
        await newest(page).waitFor();
        const seen = new Set();
        const bars = new Set();
        let refreshed = false;
        await until('the batch to end', async () => {
            const batch = newest(page);
            if (await batch.count() === 0) return false;
            for (const job of await batch.getByTestId('job').all())
                seen.add(await job.getAttribute('data-state').catch(() => null));
            const bar = await batch.getByTestId('batch-bar').textContent().catch(() => null);
            if (bar) bars.add(bar.trim());
            if (!refreshed && bars.size > 2) {
                refreshed = true;
                await page.reload();
                await newest(page).waitFor();
                holds(await page.getByTestId('video-row').count() === 3, 'the list is there after a refresh');
            }
            return await state(batch) === 'ended';
        }, 120000);
        holds(refreshed, `the bar moved: ${[...bars]}`);
        holds(seen.has('generating') || seen.has('preprocessing'), `stages were seen: ${[...seen]}`);

        const states = [];
        for (const job of await newest(page).getByTestId('job').all()) states.push(await job.getAttribute('data-state'));
        holds(states.sort().join() === 'done,done,failed', `ended as ${states}`);
        const sentence = await newest(page).getByTestId('job-error').textContent();
        holds(sentence.includes('坏的.mp4') && /[\u4e00-\u9fff]{4}/.test(sentence), `a sentence in Chinese: ${sentence}`);

        await page.getByTestId('tab-results').click();
        const results = page.getByTestId('result');
        await until('two results', async () => await results.count() === 2);
        await results.first().getByRole('button', { name: /播放/ }).click();
        const player = page.getByTestId('player');
        await until('the video to play', () => player.evaluate((v) => v.currentTime > 0.3 && v.videoWidth > 0));
        await page.keyboard.press('Escape');

        const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('zip').click()]);
        const zip = path.join(folder, 'results.zip');
        await download.saveAs(zip);
        holds(/^koubo-.*\.zip$/.test(download.suggestedFilename()), download.suggestedFilename());
        const names = spawnSync('python3', ['-c',
            'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print("\\n".join(sorted(z.namelist())))',
            zip], { encoding: 'utf8' });
        holds(names.status === 0, names.stderr);
        holds(names.stdout.trim().split('\n').map((n) => path.basename(n)).join() === '老师-1.mp4,老师-2.mp4',
            `members: ${names.stdout}`);
        page.faults();
        await page.context().close();
    },

    async one_video_with_a_spoken_text() {
        await start_server();
        const { good } = await make_materials();
        const page = await open_page(server);
        await page.getByTestId('tab-single').click();
        await page.getByRole('tab', { name: '文字转语音' }).click();
        await page.getByRole('textbox', { name: '输入要说的话' }).fill('大家好，欢迎来到今天的课程。');
        await page.getByRole('button', { name: '生成语音' }).click();
        await page.locator('canvas.wave').waitFor({ timeout: 20000 });
        await page.getByTestId('video-input').setInputFiles(good[0]);
        await until('the start button', () => page.getByTestId('start').isEnabled());
        await page.getByTestId('start').click();
        const player = page.locator('.result video');
        await player.waitFor({ timeout: 60000 });
        await until('the result to load', () => player.evaluate((v) => v.readyState >= 1 && v.duration > 1));
        page.faults();
        await page.context().close();
    },

    async the_language_is_switched_and_remembered() {
        await start_server();
        const page = await open_page(server);
        holds(await page.getByTestId('tab-batch').textContent() === '批量处理', 'Chinese first');
        await page.getByTestId('language').click();
        holds(await page.getByTestId('tab-batch').textContent() === 'Batch', 'English after the switch');
        await page.reload();
        await page.getByTestId('start').waitFor();
        holds(await page.getByTestId('tab-batch').textContent() === 'Batch', 'English after a refresh');
        for (const tab of tabs) {
            await page.getByTestId(`tab-${tab}`).click();
            await page.waitForTimeout(tab === 'system' ? 2500 : 400);
            // File names, texts and sentences about them stay in the language they were given in.
            const text = await page.locator('main').evaluate((main) => {
                const copy = main.cloneNode(true);
                copy.querySelectorAll('.bad, .log, .model').forEach((e) => e.remove());
                return copy.innerText;
            });
            const left = text.replace(/老师|课程|坏的|大家好[^\n]*/g, '').match(/[\u4e00-\u9fff]+/)?.[0] ?? '';
            holds(!left, `Chinese left in ${tab}: ${left}`);
        }
        page.faults();
        await page.context().close();
    },

    async a_lost_connection_is_told_and_heals() {
        await start_server();
        const page = await open_page(server);
        await page.waitForTimeout(1500);
        page.quiet = true; // the browser itself reports requests that fail
        await server.kill('SIGKILL');
        await page.getByTestId('lost').waitFor({ timeout: 15000 });
        await server.start();
        await page.getByTestId('lost').waitFor({ state: 'detached', timeout: 20000 });
        page.quiet = false;
        const { audio, good } = await make_materials();
        await choose(page, audio, [good[0]]);
        await page.getByTestId('start').click();
        await until('progress after healing', async () => await state(newest(page)) === 'ended', 60000);
        page.faults();
        await page.context().close();
    },

    async two_tabs_show_the_same() {
        await start_server();
        const { audio, good } = await make_materials();
        const one = await open_page(server);
        const two = await open_page(server);
        await choose(one, audio, good);
        await one.getByTestId('start').click();
        await until('the batch in the other tab', async () => await state(newest(two)) === 'active', 5000);
        await newest(two).getByRole('button', { name: '暂停' }).click();
        await until('the pause in the first tab', async () => await state(newest(one)) === 'paused', 5000);
        await newest(one).getByRole('button', { name: '继续' }).click();
        await newest(one).getByRole('button', { name: '取消整批' }).click();
        await one.locator('.el-message-box').getByRole('button', { name: '取消整批' }).click();
        await until('the end in both tabs', async () =>
            await state(newest(one)) === 'ended' && await state(newest(two)) === 'ended', 20000);
        one.faults();
        two.faults();
        await one.context().close();
        await two.context().close();
    },

    async everything_fits_a_phone() {
        await start_server();
        const page = await open_page(server, { viewport: { width: 390, height: 800 } });
        for (const tab of tabs) {
            await page.getByTestId(`tab-${tab}`).click();
            await page.waitForTimeout(tab === 'system' ? 2500 : 500);
            const [content, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
            holds(content <= window_, `${tab} is ${content} wide on ${window_}`);
        }
        page.faults();
        await page.context().close();
    },

    async a_batch_is_started_by_keyboard_alone() {
        await start_server();
        const { audio, good } = await make_materials();
        const page = await open_page(server);
        // Tab until the wanted element has the focus.
        const tab_to = (name) => until(`focus on ${name}`, async () => {
            await page.keyboard.press('Tab');
            return page.evaluate((wanted) => document.activeElement !== document.body
                && (document.activeElement.innerText ?? '').includes(wanted), name);
        }, 20000);
        const press_to_choose = async (name, files) => {
            await tab_to(name);
            const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.keyboard.press('Enter')]);
            await chooser.setFiles(files);
        };
        await press_to_choose('上传音频文件', audio);
        await page.locator('audio').waitFor();
        await press_to_choose('拖放或点击选择视频文件', [good[1]]);
        await until('the start button', () => page.getByTestId('start').isEnabled());
        const before = (await server.list('/batches')).length;
        await tab_to('开始批量生成');
        await page.keyboard.press('Enter');
        await until('the batch', async () => (await server.list('/batches')).length === before + 1);
        page.faults();
        await page.context().close();
    },

    async the_first_load_weighs_less_than_300_kb() {
        await start_server();
        const page = await open_page(server);
        const session = await page.context().newCDPSession(page);
        let bytes = 0;
        await session.send('Network.enable');
        await session.send('Network.setCacheDisabled', { cacheDisabled: true });
        session.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
        await page.reload();
        await page.getByTestId('start').waitFor();
        await page.waitForTimeout(1000);
        console.error(`first load: ${(bytes / 1000).toFixed(0)} kB`);
        holds(bytes > 50000 && bytes < 300000, `the first load is ${bytes} bytes`);
        page.faults();
        await page.context().close();
        await close_browser();
        await server.kill('SIGTERM');
    },
});
