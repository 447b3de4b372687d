// What a user does with the page, in a real browser. See backend.mjs for the server.
//   node tests/web/page.mjs [part of a test's name]
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { run, temporary_folder, until } from '../e2e/server.mjs';
import { start_backend } from './backend.mjs';
import { choose, close_browser, holds, open_page, open_tab, tabs } from './browser.mjs';
import { make_broken, make_clip, make_pair, make_speech } from './materials.mjs';

const folder = temporary_folder();
const server = await start_backend();
const open = (options) => open_page(server.url, options);

const audio = make_speech(folder, '课程.wav', '大家好，欢迎来到今天的课程，我们开始吧。');
const good = [make_clip(folder, '老师-1.mp4', 0, 4), make_clip(folder, '老师-2.mp4', 1, 5)];
const broken = make_broken(folder, '坏的.mp4');

const newest = (page) => page.getByTestId('batch').first();
const state = (batch) => batch.getAttribute('data-state');

// The batch of this page, whatever else runs on the server. again: the same as before, which is asked about.
async function start(page, again = false) {
    const [answer] = await Promise.all([
        page.waitForResponse((r) => r.url().endsWith('/api/v1/batches') && r.request().method() === 'POST'),
        page.getByTestId('start').click()
            .then(() => again && page.locator('.el-message-box').getByRole('button', { name: '再做一次' }).click()),
    ]);
    holds(answer.status() === 201, `the batch was refused: ${await answer.text()}`);
    await newest(page).waitFor();
    return answer.json();
}

await run({
    async a_batch_of_three_from_upload_to_zip() {
        const page = await open();
        holds(await page.getByTestId('start').isDisabled(), 'nothing to start yet');
        await choose(page, audio, [good[0], broken, good[1]]);
        holds(await page.getByTestId('video-row').count() === 3, 'three videos in the list');
        await until('the thumbnails', async () => await page.getByTestId('video-row').locator('img').count() === 2);
        await until('the sentence about the broken one', async () =>
            /坏的.mp4.*[\u4e00-\u9fff]{4}/.test(await page.getByTestId('video-row').nth(1).getByRole('alert').textContent().catch(() => '')));
        await page.getByTestId('video-row').nth(1).getByRole('button', { name: '坏的.mp4' }).first().click();
        await page.getByTestId('preview-fault').getByText(/坏的.mp4/).waitFor();
        await page.getByTestId('before').getByText('2 个可以生成').waitFor();
        await page.getByTestId('before').getByText('1 个已损坏').waitFor();
        await page.locator('canvas.wave').waitFor();

        const made = await start(page);
        const seen = new Set();
        const bars = new Set();
        let refreshed = false;
        await until('the batch to end', async () => {
            const batch = newest(page);
            if (await batch.count() === 0) return false;
            for (const s of await batch.getByTestId('job').evaluateAll((jobs) => jobs.map((j) => j.dataset.state))) seen.add(s);
            const bar = await batch.getByTestId('batch-bar').textContent().catch(() => null);
            if (bar) bars.add(bar.trim());
            if (!refreshed && bars.size > 2) {
                refreshed = true;
                await page.reload();
                await newest(page).waitFor();
                await until('the list after a refresh', async () => await page.getByTestId('video-row').count() === 3);
            }
            return await state(batch) === 'ended';
        }, 120000);
        holds(refreshed, `the bar moved: ${[...bars]}`);
        holds(seen.has('generating') || seen.has('preprocessing'), `stages were seen: ${[...seen]}`);

        holds(await newest(page).getByTestId('job').count() === 0, 'what is over is folded');
        await newest(page).getByTestId('unfold').click();
        const states = await newest(page).getByTestId('job').evaluateAll((jobs) => jobs.map((j) => j.dataset.state));
        holds(states.join() === 'done,done', `ended as ${states}; the broken one was not sent`);
        await newest(page).getByText('成功 2 / 2').waitFor();

        await open_tab(page, 'results');
        const results = page.getByTestId('result');
        await until('two results', async () => await results.count() >= 2);
        await results.first().getByRole('button', { name: /播放/ }).click();
        await until('the video to play', () => page.getByTestId('player').evaluate((v) => v.currentTime > 0.3 && v.videoWidth > 0));
        await page.keyboard.press('Escape');
        await page.getByTestId('player').waitFor({ state: 'detached' });

        // The two of this batch, by selection: others may be there when the server is not ours.
        for (const i of [0, 1]) await results.nth(i).locator('.pick').click();
        const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('zip').click()]);
        const zip = path.join(folder, 'results.zip');
        await download.saveAs(zip);
        holds(/^koubo-.*\.zip$/.test(download.suggestedFilename()), download.suggestedFilename());
        const names = spawnSync('python3', ['-c',
            'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print("\\n".join(sorted(z.namelist())))',
            zip], { encoding: 'utf8' });
        holds(names.status === 0, names.stderr);
        holds(names.stdout.trim().split('\n').map((n) => path.basename(n).replace(/_\d{4}-\d\d-\d\d/, '')).join() === '老师-1_课程.mp4,老师-2_课程.mp4', `members: ${names.stdout}`);
        holds(made.counts.total === 2, 'two jobs');
        page.faults();
        await page.context().close();
    },

    async one_video_with_a_spoken_text() {
        const page = await open();
        await open_tab(page, 'single');
        await page.getByRole('tab', { name: '文字转语音' }).click();
        await page.getByRole('textbox', { name: '输入要说的话' }).fill('大家好，欢迎来到今天的课程。');
        await page.getByRole('button', { name: '生成语音' }).click();
        await page.locator('canvas.wave').waitFor({ timeout: 20000 });
        await page.getByTestId('video-input').setInputFiles(good[0]);
        await page.locator('[data-testid=start]:enabled').waitFor();
        await page.getByTestId('start').click();
        const player = page.locator('.result video');
        await player.waitFor({ timeout: 60000 });
        await until('the result to load', () => player.evaluate((v) => v.readyState >= 1 && v.duration > 1));
        page.faults();
        await page.context().close();
    },

    async a_result_is_renamed_and_done_again() {
        const page = await open();
        await open_tab(page, 'results');
        const result = page.getByTestId('result').filter({ hasText: '老师-1' }).first();
        await result.getByRole('button', { name: /^重命名/ }).click();
        await page.getByTestId('result').getByRole('textbox').fill('第 1 讲');
        await page.keyboard.press('Enter');
        const renamed = page.getByTestId('result').filter({ hasText: '第 1 讲.mp4' });
        await renamed.waitFor();
        await page.getByRole('region', { name: '课程', exact: true }).getByRole('button', { name: '只看这批' }).click();
        await until('the two of its batch', async () => await page.getByTestId('result').count() === 2);
        await page.getByText('全选本页').click();
        await page.getByTestId('zip').getByText('打包下载选中的 2 个').waitFor();
        if (server.kill) { // the file lies on this machine, where the system view says
            await open_tab(page, 'system');
            const where = await page.getByTestId('results-folder').textContent();
            if (!server.mock) holds(readdirSync(where, { recursive: true }).some((f) => path.basename(f) === '第 1 讲.mp4'), `the file is in ${where}`);
            await open_tab(page, 'results');
        }
        await renamed.getByRole('button', { name: /^再用新音频做一次/ }).click();
        await page.getByText('1 个视频和原来的参数已放好').waitFor();
        holds(await page.getByTestId('video-row').count() === 1, 'its video is in the list');
        await page.getByTestId('video-row').getByText('老师-1.mp4').waitFor();
        page.faults();
        await page.context().close();
    },

    async results_are_found_and_deleted() {
        const page = await open();
        page.on('dialog', (dialog) => dialog.accept());
        await open_tab(page, 'results');
        const results = page.getByTestId('result');
        const search = page.getByRole('searchbox');
        await until('results', async () => await results.count() >= 3);
        const before = await results.count();
        await search.fill('老师-2');
        await search.press('Enter');
        await until('the one that was searched for', async () => await results.count() === 1);
        await results.getByRole('button', { name: /^删除 老师-2_/ }).click();
        await page.locator('.el-message-box').getByRole('button', { name: '删除' }).click();
        await until('it to be gone', async () => await results.count() === 0);
        await search.fill('');
        await search.press('Enter');
        await until('the others', async () => await results.count() === before - 1);
        await results.first().locator('.pick').click();
        await page.getByRole('button', { name: '批量删除' }).click();
        await page.locator('.el-message-box').getByRole('button', { name: '删除' }).click();
        await until('another one to be gone', async () => await results.count() === before - 2);
        page.faults();
        await page.context().close();
    },

    // As notifications link to it. It is neither running nor among the latest.
    async a_link_leads_to_its_batch() {
        const page = await open();
        await choose(page, audio, [good[0]]);
        await page.getByTestId('before').getByText('1 个可以生成').waitFor();
        const [sound] = (await server.list('/assets?kind=audio'));
        const [film] = (await server.list('/assets?kind=video')).filter((a) => a.state === 'ready');
        const ids = [];
        for (let i = 0; i < 5; i++) {
            const answer = await fetch(`${server.url}/api/v1/batches`, {
                method: 'POST',
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({ name: `link-${i}`, audio: sound.id, videos: [film.id] }),
            });
            holds(answer.status === 201, `a batch by the API: ${await answer.clone().text()}`);
            ids.push((await answer.json()).id);
            await fetch(`${server.url}/api/v1/batches/${ids[i]}/cancel`, { method: 'POST' });
        }
        await until('their end', async () => (await server.list('/batches')).every((b) => b.state === 'ended'));
        await page.goto(`${server.url}/?batch=${ids[0]}`);
        await until('the batch of the link', async () =>
            (await newest(page).textContent().catch(() => '')).includes('link-0'));
        holds(await newest(page).getByTestId('job').count() === 1, 'with its job');
        page.faults();
        await page.context().close();
    },

    async who_speaks_is_chosen_on_the_picture() {
        const page = await open();
        await choose(page, audio, [make_pair(folder, '两人.mp4', 0, 1, 2)]);
        const row = page.getByTestId('video-row');
        await row.getByTestId('choose-face').click();
        const faces = page.getByTestId('faces').getByRole('button');
        await until('both faces', async () => await faces.count() === 2);
        const right = await faces.nth(1).boundingBox();
        const picture = await page.getByTestId('faces').boundingBox();
        holds(right.x > picture.x + picture.width / 2, 'the second is the one on the right');
        await faces.nth(1).click();
        await row.getByTestId('face-mark').waitFor();
        const [request] = await Promise.all([
            page.waitForRequest((r) => r.url().endsWith('/api/v1/batches') && r.method() === 'POST'),
            start(page),
        ]);
        const [{ face_at: [x, y] }] = request.postDataJSON().videos;
        holds(x > 0.5 && x < 1 && y > 0 && y < 1, `face_at ${x}, ${y}`);
        await newest(page).getByRole('button', { name: '取消整批' }).click();
        await page.locator('.el-message-box').getByRole('button', { name: '取消整批' }).click();
        await page.locator('[data-testid=batch][data-outcome=cancelled]').getByText('已取消').first().waitFor();
        page.faults();
        await page.context().close();
    },

    async the_language_is_switched_and_remembered() {
        const page = await open();
        holds(await page.getByTestId('tab-batch').textContent() === '批量处理', 'Chinese first');
        await page.getByTestId('language').click();
        holds(await page.getByTestId('tab-batch').textContent() === 'Batch', 'English after the switch');
        await page.reload();
        await page.getByTestId('start').waitFor();
        holds(await page.getByTestId('tab-batch').textContent() === 'Batch', 'English after a refresh');
        for (const tab of tabs) {
            await open_tab(page, tab);
            // File names, texts and what the log says stay in the language they were given in.
            const text = await page.locator('main').evaluate((main) => {
                const copy = main.cloneNode(true);
                copy.querySelectorAll('.log, .model').forEach((e) => e.remove());
                return copy.innerText;
            });
            const left = text.replace(/老师|两人|课程|坏的|大家好[^\n]*/g, '').match(/[\u4e00-\u9fff]+/)?.[0] ?? '';
            holds(!left, `Chinese left in ${tab}: ${left}`);
        }
        page.faults();
        await page.context().close();
    },

    async a_lost_connection_is_told_and_heals() {
        if (!server.kill) return 'the server is not ours to kill';
        const page = await open();
        await choose(page, audio, [good[0]]);
        page.quiet = true; // the browser itself reports requests that fail
        await server.kill();
        await page.getByTestId('lost').waitFor({ timeout: 15000 });
        await server.start();
        await page.getByTestId('lost').waitFor({ state: 'detached', timeout: 20000 });
        page.quiet = false;
        await start(page);
        await until('progress after healing', async () => await state(newest(page)) === 'ended', 60000);
        page.faults();
        await page.context().close();
        return undefined;
    },

    async two_tabs_show_the_same() {
        const one = await open();
        const two = await open();
        await choose(one, audio, good);
        await start(one);
        await until('the batch in the other tab', async () => await newest(two).count() === 1 && await state(newest(two)) === 'active', 5000);
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

    async the_queue_is_ordered() {
        const page = await open();
        // Long enough that none has ended before it is paused, on any machine.
        const long = make_speech(folder, '长课.wav', '大家好，欢迎来到今天的课程，我们开始吧。'.repeat(40));
        await choose(page, long, good);
        const ids = [];
        for (let i = 0; i < 3; i++) {
            ids.push((await start(page, i > 0)).id);
            const pause = await fetch(`${server.url}/api/v1/batches/${ids[i]}/pause`, { method: 'POST' });
            holds(pause.ok, 'paused');
        }
        await open_tab(page, 'queue');
        const ours = async () => (await server.list('/batches?state=paused')).filter((b) => ids.includes(b.id))
            .sort((a, b) => b.priority - a.priority || a.turn - b.turn).map((b) => b.id);
        const rows = page.locator('[data-testid=queued][data-state=paused]');
        await until('three paused batches', async () => await rows.count() === 3);
        const [first, second] = await ours();
        await rows.nth(1).getByRole('button', { name: /^上移/ }).click();
        await until('the second to be first', async () => (await ours()).slice(0, 2).join() === `${second},${first}`);
        const last = (await ours())[2];
        await rows.nth(2).getByRole('combobox').selectOption({ label: '高' });
        await until('the urgent one to be first', async () => (await ours())[0] === last);
        for (const id of ids) await fetch(`${server.url}/api/v1/batches/${id}/cancel`, { method: 'POST' });
        await until('the end', async () => await rows.count() === 0);
        const ended = page.locator('[data-testid=queued][data-state=ended]').first();
        await ended.getByRole('button', { name: /^展开/ }).click();
        await ended.getByTestId('job').first().waitFor();
        const before = (await server.list('/batches')).length;
        await ended.getByRole('button', { name: /^删除/ }).first().click();
        await page.locator('.el-message-box').getByRole('button', { name: '删除' }).click();
        await until('one batch less', async () => (await server.list('/batches')).length === before - 1);
        page.faults();
        await page.context().close();
    },

    async everything_fits_a_phone() {
        for (const width of [360, 390]) {
            const page = await open({ viewport: { width, height: 800 } });
            for (const tab of tabs) {
                await open_tab(page, tab);
                if (tab === 'batch') await page.locator('details.options summary').click();
                const content = await page.evaluate(() => document.documentElement.scrollWidth);
                holds(content <= width, `${tab} is ${content} wide on ${width}`);
            }
            page.faults();
            await page.context().close();
        }
    },

    async a_batch_is_started_by_keyboard_alone() {
        const page = await open();
        page.on('filechooser', () => {}); // choosers are caught from now on, not from the first wait
        await page.evaluate(() => 0);
        // Tab until the wanted element has the focus, and see that the focus is shown.
        const tab_to = (name) => until(`focus on ${name}`, async () => {
            await page.keyboard.press('Tab');
            return page.evaluate((wanted) => {
                const e = document.activeElement;
                if (e === document.body || !(e.innerText ?? '').includes(wanted)) return false;
                if (getComputedStyle(e).outlineStyle === 'none') throw new Error(`no focus ring on ${wanted}`);
                return true;
            }, name);
        }, 20000);
        const press_to_choose = async (name, files) => {
            await tab_to(name);
            const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.keyboard.press('Enter')]);
            await chooser.setFiles(files);
        };
        await press_to_choose('上传音频文件', audio);
        await page.locator('audio').waitFor();
        await press_to_choose('拖放或点击选择视频文件', [good[1]]);
        await page.locator('[data-testid=start]:enabled').waitFor();
        const before = (await server.list('/batches')).length;
        await tab_to('开始批量生成');
        await page.keyboard.press('Enter');
        await until('the batch', async () => (await server.list('/batches')).length === before + 1);
        page.faults();
        await page.context().close();
    },

    async five_seconds_before_the_long_run() {
        const page = await open();
        await choose(page, audio, [good[0]]);
        await page.getByTestId('preview-open').click();
        const dialog = page.locator('.preview-dialog');
        const film = dialog.getByTestId('preview-film');
        await until('the film to play', () => film.evaluate((v) => v.currentTime > 0.2 && v.videoWidth > 0).catch(() => false), 60000);
        const first = await film.getAttribute('src');
        await dialog.getByTestId('preview-mouth_amount').getByRole('slider').focus();
        await page.keyboard.press('End');
        await until('the picture at once', () => dialog.getByTestId('preview-still').evaluate((i) => i.naturalWidth > 0).catch(() => false));
        await until('the film again', async () => await film.getAttribute('src') !== first, 60000);
        await dialog.getByTestId('preview-take').click();
        await page.locator('.options summary', { hasText: '已修改 1 项' }).waitFor();
        page.faults();
        await page.context().close();
    },

    async the_first_load_weighs_less_than_300_kb() {
        const page = await open();
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
        await server.kill?.('SIGTERM');
    },
});
