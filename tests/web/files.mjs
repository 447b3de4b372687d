// Uploads, drops and results, against the mock.
//   node tests/web/files.mjs [part of a test's name]
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { run, sleep, temporary_folder, until } from '../e2e/server.mjs';
import { choose, close_browser, holds, open_page, open_tab } from './browser.mjs';
import { make_clip, make_speech } from './materials.mjs';
import { Mock, with_mock } from './mock_server.mjs';

const folder = temporary_folder();
const audio = make_speech(folder, '课程.wav', '大家好，我们开始吧。');
const one = make_clip(folder, '老师.mp4', 0, 2);
const two = make_clip(folder, '同事.mp4', 1, 3);
const DAY_MS = 24 * 3600 * 1000;
const asset_of = (mock, name) => [...mock.queue.rows.asset.values()].find((a) => a.name === name);
const results = (page) => page.getByTestId('result');
const count = (page, n) => until(`${n} results`, async () => await results(page).count() === n);
const yes = (page, name) => page.locator('.el-message-box').getByRole('button', { name }).click();

// A page on the results of batches that are made in no time: [[name, videos, options]], by the names of videos.
async function with_results(batches, test) {
    await with_mock({ pace: 60, workers: 8 }, async (mock) => {
        const page = await open_page(mock.url);
        await choose(page, audio, [one, two]);
        await until('the files', () => ['课程.wav', '老师.mp4', '同事.mp4'].every((n) => asset_of(mock, n)?.state === 'ready'));
        const made = [];
        for (const [name, videos, options] of batches) {
            made.push(mock.queue.createBatch({ name, audio: asset_of(mock, '课程.wav').id, videos: videos.map((v) => asset_of(mock, v).id), options }));
            await until('its end', () => mock.queue.rows.batch.get(made.at(-1).id).state === 'ended');
        }
        await open_tab(page, 'results');
        await results(page).first().waitFor();
        await test(page, mock, made);
        page.faults();
        await page.context().close();
    });
}

async function members_of(page, button) {
    const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
    const zip = path.join(folder, 'results.zip');
    await download.saveAs(zip);
    const listed = spawnSync('python3', ['-c', 'import sys, zipfile; print("\\n".join(sorted(zipfile.ZipFile(sys.argv[1]).namelist())))', zip], { encoding: 'utf8' });
    return listed.stdout.trim().split('\n');
}

// Files as they are dragged in: [[name, type, path or nothing]].
async function drag(page, files) {
    const given = files.map(([name, type, from]) => ({ name, type, bytes: from ? readFileSync(from).toString('base64') : '' }));
    return page.evaluateHandle((all) => {
        const held = new DataTransfer();
        for (const { name, type, bytes } of all)
            held.items.add(new File([Uint8Array.from(atob(bytes || 'eA=='), (c) => c.charCodeAt(0))], name, { type }));
        return held;
    }, given);
}

// Takes bytes slowly, or keeps the upload locked as if an older request were just ending. A later request takes an
// upload over, the older one gets 423 then. As with koubo serve only HEAD knows how much of a running one is there.
class Slow extends Mock {
    pause = 0;
    locked = false;
    refused = 0;
    taken = 0;
    sender = {};
    hung = null; // a request of which nothing is read

    'GET assets'(context) {
        const asset = this.queue.rows.asset.get(context.id);
        if (asset?.state !== 'uploading') return super['GET assets'](context);
        return this.json(context.response, { ...asset, received: 0 });
    }

    'HEAD uploads'(context) {
        if (!this.locked) return super['HEAD uploads'](context);
        this.refused++;
        return context.response.writeHead(423, { 'Tus-Resumable': '1.0.0' }).end();
    }

    async 'PATCH uploads'(context) {
        const { request } = context;
        const asset = this.find('asset', context.id);
        this.sender[asset.id] = request;
        this.checkOffset(request, asset);
        try {
            for await (const part of request) {
                if (this.sender[asset.id] !== request) {
                    this.taken++;
                    context.response.writeHead(423, { 'Tus-Resumable': '1.0.0', Connection: 'close' }).end();
                    return;
                }
                while (this.hung === request) await sleep(50);
                if (this.sender[asset.id] === request) this.receive(asset, part);
                if (this.pause) await sleep(this.pause);
            }
        } catch {
            return;
        }
        context.response.writeHead(204, { 'Tus-Resumable': '1.0.0', 'Upload-Offset': asset.received }).end();
    }
}

async function with_slow(test) {
    const mock = await new Slow().start();
    try {
        const page = await open_page(mock.url);
        await test(mock, page);
        page.faults();
        await page.context().close();
    } finally {
        await mock.stop();
        mock.remove();
    }
}

const big = path.join(folder, '大文件.mp4');
writeFileSync(big, Buffer.alloc(24 << 20, 'no film '));

await run({
    async results_are_found_as_one_types_and_the_zip_holds_what_is_shown() {
        await with_results([['甲', ['老师.mp4', '同事.mp4']], ['乙', ['老师.mp4']]], async (page) => {
            await count(page, 3);
            const zip = page.getByTestId('zip');
            holds((await zip.textContent()).includes('3'), 'all three');
            await page.getByRole('searchbox').pressSequentially('同事'); // and no Enter
            await count(page, 1);
            await until('the number on the button', async () => (await zip.textContent()).includes('1'));
            const members = await members_of(page, zip);
            holds(/^甲\/同事_课程_\d{4}-\d\d-\d\d\.mp4$/.test(members.join()), `members: ${members}`);
            await page.getByRole('searchbox').fill('没有这个');
            await page.getByText('没有找到符合的结果').waitFor();
            await page.getByRole('button', { name: '清除筛选' }).click();
            await count(page, 3);
        });
    },

    async a_batch_offers_its_results_until_they_are_deleted() {
        await with_results([['甲', ['老师.mp4', '同事.mp4']]], async (page, mock, [{ id }]) => {
            mock['PATCH uploads'] = ({ request }) => { // it never ends
                request.resume();
                return new Promise(() => {});
            };
            await open_tab(page, 'batch');
            await page.getByTestId('video-input').setInputFiles([big]);
            await page.getByTestId('upload-line').waitFor();
            const asked = [];
            page.on('dialog', (dialog) => {
                asked.push(dialog.type());
                dialog.dismiss();
            });
            const batch = page.getByTestId('batch');
            const [download] = await Promise.all([page.waitForEvent('download', { timeout: 10000 }), batch.getByTestId('batch-zip').click()]);
            holds(download.suggestedFilename().endsWith('.zip') && !asked.length, `asked: ${asked}`);
            const [first, second] = mock.queue.jobsOf(id);
            await batch.getByTestId('unfold').click();
            mock.dropResult(first.id);
            await until('the page to know', async () => await batch.getByRole('link', { name: /^下载/ }).count() === 1);
            await batch.getByTestId('batch-play').click(); // the other one
            await until('its video', async () => await page.getByTestId('player').getAttribute('src') === `/api/v1/results/${second.id}/video`);
            await page.keyboard.press('Escape');
            await page.getByTestId('player').waitFor({ state: 'detached' });
            mock.dropResult(second.id);
            await batch.getByText('结果已删除').waitFor();
            for (const gone of ['batch-zip', 'batch-play', 'batch-results']) holds(await batch.getByTestId(gone).count() === 0, `${gone} is still there`);
            await open_tab(page, 'queue');
            await page.getByTestId('queued').getByText('结果已删除').waitFor();
        });
    },

    async results_stand_in_groups_each_with_its_own_zip() {
        await with_results([['甲', ['老师.mp4', '同事.mp4']], ['乙', ['老师.mp4']]], async (page, _, [first]) => {
            const groups = page.getByTestId('group');
            await until('two groups', async () => await groups.count() === 2);
            const group = groups.filter({ hasText: '甲' });
            await group.getByText('共 2 个').waitFor();
            const members = await members_of(page, group.getByRole('link', { name: '打包本批 2 个' }));
            holds(members.length === 2 && members.every((m) => m.startsWith('甲/')), `members: ${members}`);
            await group.getByRole('button', { name: '只看这批' }).click();
            await count(page, 2);
            holds(page.url().endsWith(`#results?batch=${first.id}`), page.url());
            await page.getByText('只看批次：甲').waitFor();
            await page.reload(); // as a link from elsewhere
            await count(page, 2);
            await page.getByRole('button', { name: '看全部批次' }).click();
            await count(page, 3);
        });
    },

    async results_are_ordered_and_filtered_by_date() {
        await with_results([['甲', ['老师.mp4', '同事.mp4', '老师.mp4']]], async (page, mock) => {
            const jobs = [...mock.queue.rows.job.values()];
            jobs.forEach((job, i) => { // today, five days ago, 20 days ago
                job.result = { ...job.result, name: `${'丙甲乙'[i]}.mp4`, size: [200, 300, 100][i], created: Date.now() - [0, 5, 20][i] * DAY_MS };
            });
            await page.reload();
            const shown = async () => (await results(page).locator('strong').allTextContents()).map((n) => n[0]).join('');
            const ordered = (sort, wanted) => page.getByTestId('sort').selectOption(sort)
                .then(() => until(`${wanted} for ${sort}`, async () => await shown() === wanted));
            await ordered('newest', '丙甲乙');
            await ordered('oldest', '乙甲丙');
            await ordered('size', '甲丙乙');
            await ordered('duration', '甲乙丙');
            holds(await page.getByTestId('group').count() === 0, 'no groups in another order than that of time');
            const since = (days, n) => page.getByTestId('days').selectOption(days).then(() => count(page, n));
            await since('1', 1);
            await since('7', 2);
            await since('30', 3);
            await since('own', 3);
            const day = (ago) => {
                const d = new Date(Date.now() - ago * DAY_MS);
                return [d.getFullYear(), d.getMonth() + 1, d.getDate()].map((x) => String(x).padStart(2, '0')).join('-');
            };
            await page.locator('input[type=date]').first().fill(day(6));
            await count(page, 2);
            await page.locator('input[type=date]').last().fill(day(5)); // the whole day
            await count(page, 1);
            holds(await shown() === '甲', await shown());
        });
    },

    async a_result_is_renamed_in_its_place() {
        await with_results([['甲', ['老师.mp4']]], async (page, mock) => {
            const pen = () => results(page).getByRole('button', { name: /^重命名/ });
            await pen().click();
            const field = results(page).getByRole('textbox');
            const before = await field.inputValue();
            holds(/^老师_课程_[\d-]+$/.test(before), `the extension is not to be changed: ${before}`);
            await field.fill('不要');
            await field.press('Escape');
            await results(page).getByText(`${before}.mp4`).waitFor();
            await pen().click();
            page.quiet = true; // the browser reports the 400
            await field.fill('a/b');
            await field.press('Enter');
            await page.locator('.el-message').getByText('名字里不能有斜杠').waitFor();
            holds(await field.inputValue() === 'a/b', 'what was typed stays');
            await field.fill('第 1 讲');
            await field.press('Enter');
            await results(page).getByText('第 1 讲.mp4').waitFor();
            await until('the focus on the pen again', () => pen().evaluate((e) => e === document.activeElement));
            const job = [...mock.queue.rows.job.values()][0]; // somebody renames it elsewhere
            mock.queue.put('job', Object.assign(job, { result: { ...job.result, name: '别处.mp4' } }));
            await results(page).getByText('别处.mp4').waitFor();
        });
    },

    async all_pages_are_marked_and_the_player_goes_through_them() {
        await with_results([['甲', Array(13).fill(['老师.mp4', '同事.mp4']).flat()], ['乙', ['老师.mp4']]], async (page, mock) => {
            await count(page, 24);
            const group = page.getByTestId('group').filter({ hasText: '甲' });
            await group.getByText('共 26 个').waitFor(); // and not the 23 of this page
            await page.getByText('全选本页').click();
            await page.getByTestId('zip').getByText('24').waitFor();
            await page.getByTestId('mark-all').click();
            await page.getByText('已选 27 个').waitFor();
            holds(!(await page.getByTestId('zip').getAttribute('href')).includes('jobs='), 'all of them need no list');
            // More than an address has room for, and not all of them.
            mock['GET results'] = function (context) {
                if (context.id !== 'ids') return Mock.prototype['GET results'].call(this, context);
                return this.json(context.response, { jobs: [...this.queue.rows.job.keys(), ...Array.from({ length: 2000 }, (_, i) => 1e6 + i)] });
            };
            await page.getByRole('button', { name: '取消选择' }).click();
            await page.getByText('全选本页').click();
            await page.getByTestId('mark-all').click();
            await page.getByText('已选 2027 个').waitFor();
            await page.getByTestId('zip').click();
            await page.getByText('一次最多打包选中的 2000 个').waitFor();
            await page.getByRole('button', { name: '取消选择' }).click();

            await results(page).nth(22).getByRole('button', { name: /^播放/ }).click();
            const place = page.getByTestId('player-place');
            const at = (n) => until(`place ${n}`, async () => await place.textContent() === `${n} / 27`);
            await at(23);
            const src = () => page.getByTestId('player').getAttribute('src');
            const before = await src();
            await page.keyboard.press('ArrowRight');
            await at(24);
            holds(await src() !== before, 'another video');
            await page.keyboard.press('ArrowRight');
            await at(25); // on the next page
            await page.getByTestId('player').focus(); // whose own keys seek
            await page.keyboard.press('ArrowLeft');
            await at(24);
            for (let i = 0; i < 20; i++) {
                await page.keyboard.press('Tab');
                holds(await page.evaluate(() => !!document.activeElement.closest('.el-dialog, .el-overlay')), 'the focus stays in the dialog');
            }
            await until('the player to be closed', async () => { // what else is open, such as a tip, takes the first one
                await page.keyboard.press('Escape');
                return await page.getByTestId('player').count() === 0;
            });
        });
    },

    async a_result_is_done_again_with_another_speech() {
        await with_results([['甲', ['老师.mp4', '同事.mp4'], { crf: 20 }]], async (page, mock) => {
            mock.queue.remove('asset', asset_of(mock, '同事.mp4').id);
            const film = asset_of(mock, '老师.mp4'); // somebody wanted it though no face was seen, and said who speaks
            mock.queue.put('asset', Object.assign(film, { warnings: ['no_face'] }));
            const job = [...mock.queue.rows.job.values()].find((j) => j.video === film.id);
            mock.queue.put('job', Object.assign(job, { face_at: [0.25, 0.5, 1.5], options: { mouth_amount: 1.5, crf: null } }));
            page.quiet = true; // the browser reports that the list of the batch asks for it
            await page.reload();
            const button = (name) => results(page).filter({ hasText: name }).getByRole('button', { name: /再用新音频|已经删除/ });
            holds(await button('同事').isDisabled(), 'its video is gone');
            holds(await button('同事').getAttribute('title') === '原来的视频已经删除，不能再做一次', 'and that is said');
            await page.getByRole('button', { name: /^播放 老师/ }).click(); // what holds for it: its own options over its batch's
            await page.getByTestId('made').getByText('嘴张多大 1.5').waitFor();
            holds(!(await page.getByTestId('made').innerText()).includes('画质'), await page.getByTestId('made').innerText());
            await page.keyboard.press('Escape');
            await page.getByText('全选本页').click();
            await page.getByRole('button', { name: '再用新音频做一次', exact: true }).click();
            await page.getByText('1 个视频和原来的参数已放好，请上传新的音频').waitFor();
            await page.getByTestId('tab-batch').and(page.locator('[aria-current]')).waitFor();
            holds(await page.getByTestId('video-row').count() === 1 && await page.getByTestId('video-row').getByText('老师.mp4').isVisible(), 'the video is in the list');
            await page.getByText('已修改 1 项').waitFor();
            holds(await page.getByTestId('start').isDisabled(), 'without a speech nothing starts');
            await page.getByTestId('audio-input').setInputFiles(audio);
            await page.locator('[data-testid=start]:enabled').click();
            const made = await until('the batch', () => [...mock.queue.rows.job.values()].at(-1).id > job.id + 1 && [...mock.queue.rows.job.values()].at(-1));
            const { options } = mock.queue.rows.batch.get(made.batch);
            holds(JSON.stringify(options) === '{"mouth_amount":1.5}', `made with ${JSON.stringify(options)}`);
            holds(made.video === film.id && made.face_at.join() === '0.25,0.5,1.5', `made of ${JSON.stringify(made)}`);
        });
    },

    async a_drop_anywhere_is_sorted_by_kind() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await open_tab(page, 'queue');
            const dataTransfer = await drag(page, [['课程.wav', 'audio/wav', audio], ['老师.mp4', 'video/mp4', one], ['合同.docx', 'application/msword']]);
            await page.dispatchEvent('main', 'dragenter', { dataTransfer });
            await page.getByTestId('page-drop').getByText('音频放到“音频”，视频和照片加进视频列表').waitFor();
            await page.dispatchEvent('main', 'drop', { dataTransfer });
            await page.getByTestId('page-drop').waitFor({ state: 'detached' });
            await page.getByText('“合同.docx”用不了').waitFor();
            await page.getByTestId('video-row').filter({ hasText: '老师.mp4' }).waitFor(); // the view of the batch is open
            await page.locator('canvas.wave').waitFor();
            holds(await page.getByTestId('video-row').count() === 1, 'one video');

            // What is dragged inside the page is nobody's file.
            const text = await page.evaluateHandle(() => {
                const held = new DataTransfer();
                held.setData('text/plain', 'x');
                return held;
            });
            await page.dispatchEvent('main', 'dragenter', { dataTransfer: text });
            holds(await page.getByTestId('page-drop').count() === 0, 'no frame for text');

            // In the view of one video a film takes the place of the one that is there; on the speech's own place it is speech.
            await open_tab(page, 'single');
            await page.dispatchEvent('.audio-card .drop', 'drop', { dataTransfer: await drag(page, [['老师.mp4', 'video/mp4', one]]) });
            await page.locator('canvas.wave, .audio-card audio').first().waitFor();
            holds(await page.getByTestId('video-row').count() === 0, 'a film for its sound');
            for (const film of [one, two])
                await page.dispatchEvent('main', 'drop', { dataTransfer: await drag(page, [[path.basename(film), 'video/mp4', film]]) });
            await page.getByTestId('video-row').filter({ hasText: '同事.mp4' }).waitFor();
            holds(await page.getByTestId('video-row').count() === 1, 'one video');
            page.faults();
            await page.context().close();
        });
    },

    async an_upload_under_way_is_told_and_not_left_by_mistake() {
        await with_slow(async (mock, page) => {
            mock.pause = 30;
            await page.locator('h2').first().click(); // browsers ask only people who did something on the page
            await page.getByTestId('video-input').setInputFiles([big]);
            const line = page.getByTestId('upload-line');
            await line.getByText(/正在上传 1 个文件 · 还有 [\d.]+ MB · [\d.]+ [KM]B\/s · 剩余 \d+:\d\d/).waitFor({ timeout: 15000 });
            await open_tab(page, 'log'); // on every view
            holds(await line.isVisible(), 'the line on another view');
            const asked = page.waitForEvent('dialog');
            const leaving = page.reload({ timeout: 1000 }).catch(() => {});
            const dialog = await asked;
            holds(dialog.type() === 'beforeunload', dialog.type());
            await dialog.dismiss();
            await leaving;
            mock.pause = 0;
            await line.waitFor({ state: 'detached', timeout: 20000 });
            await page.reload(); // nobody asks
        });
    },

    async going_on_after_a_reload_shows_the_old_percent() {
        await with_slow(async (mock, page) => {
            mock.pause = 60;
            await page.getByTestId('video-input').setInputFiles([big]);
            await until('a third', () => asset_of(mock, '大文件.mp4')?.received > (24 << 20) / 3);
            const other = await page.context().newPage(); // the first one still sends
            await other.goto(mock.url);
            await other.getByText(/上次传到 \d\d%/).waitFor();
            await other.close();
            await page.reload();
            const row = page.getByTestId('video-row');
            await row.getByText(/上次传到 \d\d%，重新选择这个文件就会接着传/).waitFor();
            page.quiet = true; // the browser reports the 423
            mock.locked = true;
            mock.pause = 0;
            await row.getByTestId('missing-input').setInputFiles(big);
            await row.getByText('正在接上次的进度').waitFor();
            const said = new Set();
            const percents = [];
            await until('some refusals', async () => {
                said.add(await row.textContent());
                percents.push(Number(/(\d+)%/.exec(await row.locator('.el-progress').textContent())?.[1] ?? 0));
                return mock.refused >= 4;
            });
            holds(![...said].some((text) => text.includes('网络断开')), 'nothing is cut');
            holds(Math.min(...percents) >= 30, `the old percent: ${percents}`);
            mock.locked = false;
            await until('the rest', () => asset_of(mock, '大文件.mp4').received === 24 << 20);
        });
    },

    async two_pages_do_not_take_an_upload_from_each_other_without_end() {
        for (const hangs of [false, true]) {
            await with_slow(async (mock, page) => {
                page.quiet = true; // the browser reports the 423
                mock.pause = 40;
                await page.getByTestId('video-input').setInputFiles([big]);
                const upload = await until('a start', () => asset_of(mock, '大文件.mp4')?.received > 1 << 20 && asset_of(mock, '大文件.mp4'));
                if (hangs) mock.hung = mock.sender[upload.id];
                const other = await page.context().newPage();
                await other.goto(mock.url);
                await other.getByTestId('missing-input').setInputFiles(big);
                const stood = upload.received;
                if (hangs) await until('the other to take over', () => upload.received > stood);
                mock.hung = null;
                const [waits, sends] = hangs ? [page, other] : [other, page];
                const row = waits.getByTestId('video-row');
                await row.getByText('另一个页面正在上传这个文件').waitFor();
                const percent = async () => Number(/(\d+)%/.exec(await row.locator('.el-progress').textContent())[1]);
                const before = await percent();
                await until('what the other page gets done', async () => await percent() > before + 5);
                mock.pause = 0;
                for (const p of [sends, waits]) await p.getByText('打不开').waitFor();
                holds(mock.taken === Number(hangs) && mock.queue.rows.asset.size === 1, `taken over ${mock.taken} times, ${mock.queue.rows.asset.size} files`);
                await other.close();
            });
        }
    },

    async a_bad_file_is_looked_at_again() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [one]);
            await until('the look at it', () => asset_of(mock, '老师.mp4')?.state === 'ready');
            mock.queue.put('asset', Object.assign(asset_of(mock, '老师.mp4'), { state: 'bad', error: '检查它的程序崩溃了 3 次' }));
            const row = page.getByTestId('video-row');
            await row.getByText('崩溃了 3 次').waitFor();
            await row.getByTestId('inspect-again').click();
            await until('the second look', () => asset_of(mock, '老师.mp4').state === 'ready');
            await row.getByTestId('inspect-again').waitFor({ state: 'detached' });
            page.faults();
            await page.context().close();
        });
    },

    async a_long_name_keeps_its_end() {
        const name = `${'一个很长的名字'.repeat(9)}-第12讲-终稿.mp4`;
        const long = make_clip(folder, name, 0, 1);
        await with_mock({ pace: 60 }, async (mock) => {
            const page = await open_page(mock.url, { viewport: { width: 390, height: 800 } });
            await choose(page, audio, [long]);
            await page.getByTestId('start').click();
            await until('the end', () => [...mock.queue.rows.batch.values()].every((b) => b.state === 'ended'));
            await open_tab(page, 'results');
            for (const [tab, row] of [['batch', 'video-row'], ['results', 'result']]) {
                await open_tab(page, tab);
                const end = page.getByTestId(row).locator('.cut-name > span').last();
                holds(/(-终稿|课程)\.mp4$/.test(await end.textContent()), `${tab}: ${await end.textContent()}`);
                const box = await end.boundingBox();
                holds(box.x + box.width <= 390, `${tab}: the end of the name is at ${box.x + box.width}`);
            }
            await open_tab(page, 'queue'); // a batch of a long name does not push its state off the screen
            mock.queue.put('batch', Object.assign([...mock.queue.rows.batch.values()][0], { name }));
            await page.getByTestId('queued').getByText(name).waitFor();
            holds(await page.evaluate(() => document.documentElement.scrollWidth <= 390), 'the queue is wider than the phone');
            page.faults();
            await page.context().close();
            await close_browser();
        });
    },
});
