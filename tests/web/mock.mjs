// What the page does when the server is told to misbehave, which only the mock can be: uploads that
// are cut, a job that hangs, a token, hundreds of jobs.
//   node tests/web/mock.mjs [part of a test's name]
import { spawnSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { run, temporary_folder, until } from '../e2e/server.mjs';
import { choose, close_browser, holds, open_browser, open_page, open_tab } from './browser.mjs';
import { make_broken, make_clip, make_scenery, make_speech } from './materials.mjs';
import { Mock, with_mock } from './mock_server.mjs';

const folder = temporary_folder();
const audio = make_speech(folder, '课程.wav', '大家好，我们开始吧。');
const clip = make_clip(folder, '老师.mp4', 0, 3);
const SIZE = 32 << 20;
// Random bytes would now and then pass for an MP3.
const no_film = (size) => Buffer.alloc(size, 'no film ');
const slow = make_clip(folder, '慢.mp4', 1, 3);
const other = make_clip(folder, '同事.mp4', 2, 3);
const scenery = make_scenery(folder, '空镜.mp4', 3);
const broken = make_broken(folder, '坏的.mp4');
const two = make_clip(folder, '两人.mp4', 3, 3);
const copy_of = (file, name) => {
    const to = path.join(folder, name);
    copyFileSync(file, to);
    return to;
};

const asset_of = (mock, name) => [...mock.queue.rows.asset.values()].find((a) => a.name === name);
const looked_at = (mock, ...files) => until('all to be looked at', () =>
    files.every((f) => ['ready', 'bad'].includes(asset_of(mock, path.basename(f))?.state)));

// A server whose uploads stop after so many bytes: the connection breaks, and then nobody answers.
class Cutting extends Mock {
    left = Infinity;

    receive(asset, bytes) {
        if (this.left < bytes.length) {
            this.left = 0;
            throw new Error('cut');
        }
        this.left -= bytes.length;
        super.receive(asset, bytes);
    }

    'PATCH uploads'(context) {
        if (this.left) return super['PATCH uploads'](context);
        context.request.pause();
        return new Promise(() => {});
    }
}

await run({
    async the_system_view_tells_of_files_of_an_earlier_database() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await open_tab(page, 'system');
            const card = page.getByRole('region', { name: '以前的数据库留下的文件' });
            await card.getByText('结果 282 个，其他文件 3 个').waitFor();
            await card.getByText('koubo restore').waitFor();
            await page.getByTestId('language').click();
            await page.getByRole('region', { name: 'Files of an earlier database' }).getByText('282 results, 3 others').waitFor();
            page.faults();
        });
    },

    async options_are_kept_and_those_of_wav2lip_stand_with_its_models() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip]);
            await until('the film', () => [...mock.queue.rows.asset.values()].some((a) => a.kind === 'video' && a.state === 'ready'));
            const form = page.locator('details.options');
            const group = form.getByRole('heading', { name: '嘴部（只用于 Wav2Lip 模型）' });
            const model = form.getByLabel(/^\s*模型/);
            const shape = form.locator('.switch', { hasText: '只借用它的嘴形' }).locator('.el-switch');
            let answer;
            const typed = new Promise((resolve) => { answer = resolve; });
            mock['GET system'] = async (context) => {
                await typed;
                Mock.prototype['GET system'].call(mock, context);
            };
            await form.locator('summary').click();
            await form.getByLabel('嘴张多大').fill('1.4');
            answer(); // the list of models arrives while somebody types
            await model.waitFor();
            await form.getByLabel('图片里头动多少').fill('0');
            await form.getByLabel('图片里头动多少').press('Tab');
            await form.getByLabel('牙齿取自').selectOption({ label: '老师.mp4' });
            await model.selectOption('wav2lip_gan');
            await group.waitFor();
            await shape.click();
            await form.getByText('已修改 5 项').waitFor();
            await page.reload(); // and what was chosen stays
            await form.getByText('已修改 5 项').waitFor();
            const start = async () => {
                const before = mock.queue.rows.batch.size;
                await page.locator('[data-testid=start]:enabled').click();
                await until('the batch', () => mock.queue.rows.batch.size === before + 1);
                return [...mock.queue.rows.batch.values()].at(-1).options;
            };
            const led = await start();
            const film = [...mock.queue.rows.asset.values()].find((a) => a.name === '老师.mp4').id;
            holds(led.mouth_from === film, `teeth from ${led.mouth_from}, not ${film}`);
            holds(led.mouth_amount === 1.4 && led.still_motion === 0 && led.paint === false && led.model === 'wav2lip_gan',
                `sent ${JSON.stringify(led)}`);
            await form.locator('summary').click();
            await model.selectOption('koubo-lips-research'); // it paints nothing either
            await group.waitFor({ state: 'hidden' });
            const plain = await start();
            holds(plain.model === 'koubo-lips-research', `model ${plain.model}`);
            delete plain.model;
            delete plain.mouth_from;
            holds(JSON.stringify(plain) === '{"mouth_amount":1.4,"still_motion":0}', `sent ${JSON.stringify(plain)}`);
            page.faults();
            await page.context().close();
        });
    },

    async a_batch_tells_the_truth() {
        await with_mock({ workers: 1, pace: 0.5 }, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip, other, broken, scenery]);
            await looked_at(mock, audio, clip, other, broken, scenery);
            const id = (file) => asset_of(mock, path.basename(file)).id;
            const make = (name, ...videos) => mock.queue.createBatch({ name, audio: id(audio), videos: videos.map(id) });
            make('甲', clip, broken, scenery);
            make('乙', clip, other);
            make('丙', clip);
            const batch = (name) => page.getByTestId('batch').filter({ has: page.getByRole('heading', { name, exact: true }) });
            const first = batch('甲');
            const says = (which, word) => which.getByText(word).first().waitFor();

            // One is left out, and moves no bar.
            await says(first, '跳过 1');
            await says(first, '成功 0 / 3');
            await first.locator('[data-testid=job][data-state=skipped]').getByText('已跳过').waitFor();
            holds(Number.parseFloat(await first.getByTestId('batch-bar').textContent()) < 20, 'a file left out moves no bar');
            await says(first, /整批剩余 \d+:\d\d/);
            await says(batch('乙'), '排队中 · 第 1 位');
            await says(batch('丙'), '排队中 · 第 2 位');

            // Reading the speech is no loading, and has no frames; the stages of frames have.
            const of_state = (state) => first.locator(`[data-testid=job][data-state=${state}]`);
            await of_state('audio').getByText('读取语音').waitFor();
            holds(!(await of_state('audio').textContent().catch(() => '')).includes('帧'), 'no frames of sound');
            await of_state('generating').getByText(/\d+ \/ \d+ 帧/).waitFor();

            // What is cancelled as a whole was not done.
            await batch('丙').getByRole('button', { name: '取消整批' }).click();
            await page.locator('.el-message-box').getByRole('button', { name: '取消整批' }).click();
            const cancelled = page.locator('[data-testid=batch][data-outcome=cancelled]');
            await says(cancelled, '已取消');
            await says(cancelled, '取消 1');
            holds(!(await cancelled.textContent()).includes('100'), 'nothing of it is 100 %');

            // Over: one line, from which the results are reached.
            mock.queue.pace = 5;
            const over = page.locator('[data-testid=batch][data-outcome=partly]');
            await says(over, '失败 1');
            await says(over, '成功 1 / 3');
            holds(await over.getByTestId('job').count() === 0, 'it is folded');
            const [download] = await Promise.all([page.waitForEvent('download'), over.getByTestId('batch-zip').click()]);
            holds(download.suggestedFilename().endsWith('.zip'), download.suggestedFilename());
            await over.getByTestId('batch-play').click();
            await until('the video', () => page.getByTestId('player').evaluate((v) => v.videoWidth > 0));
            await page.keyboard.press('Escape');
            await page.getByTestId('player').waitFor({ state: 'detached' });
            await over.getByTestId('unfold').click();
            const failed = over.locator('[data-testid=job][data-state=failed]');
            await failed.getByRole('button', { name: /^重试/ }).click();
            await page.locator('[data-testid=batch][data-state=active]').filter({ hasText: '甲' }).waitFor();
            await over.waitFor(); // and it stays open
            await failed.getByText('第 2 次仍失败').waitFor();
            await open_tab(page, 'queue');
            const row = page.getByTestId('queued').filter({ hasText: '甲' });
            for (const word of ['部分成功', '成功 1 / 3', '失败 1', '跳过 1']) await says(row, word);
            await page.getByTestId('queued').filter({ hasText: '丙' }).getByText('已取消').waitFor();
            await row.getByTestId('batch-results').click();
            await page.getByTestId('result').first().waitFor();
            holds(/#results\?batch=\d+$/.test(page.url()), page.url());
            page.faults();
            await page.context().close();
        });
    },

    async what_will_be_made_is_said_before_the_start() {
        await with_mock({ looking: 5 }, async (mock) => {
            const page = await open_page(mock.url);
            const rows = page.getByTestId('video-row');
            const line = page.getByTestId('before');
            const names = () => rows.locator('.quiet').allTextContents();
            await choose(page, audio, [clip, broken, scenery, other]);
            await rows.getByText(/检查中 \d+%/).first().waitFor();
            await line.getByText(/\d 个检查中/).waitFor();
            for (const text of ['2 个可以生成', '1 个没有人脸', '1 个已损坏']) await line.getByText(text).waitFor();
            await line.getByText(/^共约 .*分钟/).waitFor();
            await line.getByText(/^约 .*[kMG]B/).waitFor();

            const listed = await names();
            await line.getByRole('button', { name: '移除有问题的' }).click();
            await until('two to be left', async () => (await names()).join() === '老师.mp4,同事.mp4');
            await page.getByRole('button', { name: '撤销' }).last().click();
            await until('all to be back in their places', async () => (await names()).join() === listed.join());
            await page.getByRole('button', { name: '清空列表' }).click();
            await until('an empty list', async () => await rows.count() === 0);
            await page.getByRole('button', { name: '撤销' }).last().click();
            await until('the list again', async () => (await names()).join() === listed.join());

            await page.getByTestId('video-input').setInputFiles([clip]);
            await line.getByText('1 个重复').waitFor();
            await rows.last().getByText('和上面的重复').waitFor();
            await line.getByRole('button', { name: '移除重复的' }).click();
            await until('one of each', async () => (await names()).join() === listed.join());

            await page.locator('[data-testid=start]:enabled').click();
            await until('the batch', () => mock.queue.rows.batch.size === 1);
            const made = [...mock.queue.rows.batch.values()][0];
            holds(mock.queue.jobsOf(made.id).map((j) => j.name).join() === '老师.mp4,同事.mp4', 'only what is of use is sent');
            await rows.filter({ hasText: '空镜' }).getByRole('button', { name: /^仍要生成/ }).click();
            await line.getByText('3 个可以生成').waitFor();
            page.faults();
            await page.context().close();
        });
    },

    async a_sound_among_the_videos_is_the_speech() {
        await with_mock({ looking: 2 }, async (mock) => {
            const page = await open_page(mock.url);
            const speech = page.getByRole('region', { name: '音频' });
            const rows = page.getByTestId('video-row');
            const second = copy_of(audio, '另一段.mp3');
            const disguised = copy_of(audio, '没有画面.mp4');
            await page.getByTestId('video-input').setInputFiles([audio, clip, second]);
            await speech.getByText('课程.wav').waitFor();
            await rows.filter({ hasText: '另一段.mp3' }).getByText('这是音频').waitFor();
            await page.getByTestId('before').getByText('1 个是音频').waitFor();
            await rows.getByRole('button', { name: '用作语音 另一段.mp3' }).click();
            await speech.getByText('另一段.mp3').waitFor();
            holds(await rows.count() === 1, 'it is no video any more');
            await speech.getByRole('button', { name: '换一个' }).click();
            await page.getByTestId('video-input').setInputFiles([disguised]); // what only the server can tell
            await speech.getByText('没有画面.mp4').waitFor();
            await until('it to leave the videos', async () => await rows.count() === 1);
            page.faults();
            await page.context().close();
        });
    },

    async a_face_is_chosen_on_the_picture() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip, two]);
            const row = page.getByTestId('video-row').filter({ hasText: '两人.mp4' });
            await row.getByTestId('choose-face').click();
            const faces = page.getByTestId('faces').getByRole('button');
            await until('two faces', async () => await faces.count() === 2);
            await faces.nth(0).focus(); // by keyboard: the second
            await page.keyboard.press('Tab');
            await page.keyboard.press('Enter');
            await row.getByTestId('face-mark').waitFor();
            await row.getByText('已选人脸').waitFor();
            await page.reload();
            await row.getByTestId('face-mark').waitFor();
            await page.locator('[data-testid=start]:enabled').click();
            await until('the batch', () => mock.queue.rows.batch.size === 1);
            const chosen = [...mock.queue.rows.job.values()].map((j) => j._.face_at);
            holds(JSON.stringify(chosen) === '[null,[0.75,0.5]]', `sent ${JSON.stringify(chosen)}`);
            await row.getByTestId('choose-face').click();
            holds(await faces.nth(1).getAttribute('aria-pressed') === 'true', 'the choice is shown');
            await faces.nth(0).click();
            await page.locator('[data-testid=start]:enabled').click(); // not the same batch
            await until('another batch', () => mock.queue.rows.batch.size === 2);
            page.faults();
            await page.context().close();
        });
    },

    async the_text_to_speak_survives_a_refresh() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await page.getByRole('tab', { name: '文字转语音' }).click();
            await page.getByRole('textbox', { name: '输入要说的话' }).fill('写了一半的话');
            await page.getByRole('combobox', { name: '声音' }).selectOption('yue');
            await page.reload();
            await until('the text', async () =>
                await page.getByRole('textbox', { name: '输入要说的话' }).inputValue() === '写了一半的话');
            holds(await page.getByRole('combobox', { name: '声音' }).inputValue() === 'yue', 'and its voice');
            page.faults();
            await page.context().close();
        });
    },

    async after_the_start_the_progress_is_in_sight() {
        await with_mock({ pace: 0.3 }, async (mock) => {
            const page = await open_page(mock.url, { viewport: { width: 1280, height: 500 } });
            await choose(page, audio, [clip, other]);
            await page.getByTestId('start').click();
            await page.getByTestId('start').getByText('已加入队列 ✓').waitFor();
            await until('the progress to be in sight', async () => {
                const box = await page.getByTestId('batch').first().boundingBox();
                return box && box.y > 90 && box.y < 400;
            });
            const bar = page.getByTestId('running');
            for (const tab of ['single', 'queue', 'results', 'log', 'system']) {
                await open_tab(page, tab);
                await bar.getByText(/\d+\.\d%/).waitFor();
                await bar.getByText(/整批剩余/).waitFor();
                await bar.getByText(/正在处理：/).waitFor();
            }
            await bar.getByRole('button', { name: /^暂停/ }).click();
            await bar.getByText('已暂停').waitFor();
            await bar.getByRole('button', { name: /^继续/ }).click();
            await bar.getByRole('button', { name: /^暂停/ }).waitFor();
            await bar.getByRole('link').click();
            await until('the way back', async () => {
                const box = await page.getByTestId('batch').first().boundingBox();
                return box && box.y > 90 && box.y < 400;
            });

            // The same again is asked about, also after a refresh, and when it is paused.
            const box = page.locator('.el-message-box');
            for (const refreshed of [false, true]) {
                if (refreshed) await page.reload();
                await page.locator('[data-testid=start]:enabled').click();
                await box.getByText('这批已在队列里，再做一次？').waitFor();
                await box.getByRole('button', { name: '关闭' }).last().click();
                await box.waitFor({ state: 'hidden' });
            }
            holds(mock.queue.rows.batch.size === 1, 'no second batch');
            await page.getByTestId('start').click();
            await box.getByRole('button', { name: '再做一次' }).click();
            await until('a second batch', () => mock.queue.rows.batch.size === 2);
            await bar.getByText('还有 1 批').waitFor();
            mock.queue.pace = 10;
            await bar.waitFor({ state: 'detached' });
            page.faults();
            await page.context().close();
        });
    },

    async from_an_empty_page_to_a_zip_of_thirty_with_five_bad_ones() {
        await with_mock({ pace: 15, workers: 4 }, async (mock) => {
            const page = await open_page(mock.url);
            const empty = path.join(folder, '空的.mp4');
            writeFileSync(empty, '');
            const good = Array.from({ length: 25 }, (_, i) => copy_of(i % 2 ? clip : other, `门店-${i + 1}.mp4`));
            const bad = [broken, empty, scenery, copy_of(audio, '背景音乐.mp3'), make_broken(folder, '坏的-2.mov')];
            await page.getByTestId('audio-input').setInputFiles(audio);
            await page.getByTestId('video-input').setInputFiles([...good.slice(0, 12), ...bad, ...good.slice(12)]);
            const line = page.getByTestId('before');
            for (const text of ['25 个可以生成', '1 个没有人脸', '3 个已损坏', '1 个是音频']) await line.getByText(text).waitFor();
            await page.locator('[data-testid=start]:enabled').click();
            const batch = page.getByTestId('batch');
            await batch.getByText('/ 25').first().waitFor();
            await page.getByTestId('running').getByText(/整批剩余/).waitFor();
            await page.locator('[data-testid=batch][data-outcome=done]').waitFor({ timeout: 60000 });
            await batch.getByText('成功 25 / 25').waitFor();
            const [download] = await Promise.all([page.waitForEvent('download'), batch.getByTestId('batch-zip').click()]);
            const zip = path.join(folder, 'thirty.zip');
            await download.saveAs(zip);
            const listed = spawnSync('python3', ['-c', 'import sys, zipfile; print(len(zipfile.ZipFile(sys.argv[1]).namelist()))', zip], { encoding: 'utf8' });
            holds(listed.stdout.trim() === '25', `members: ${listed.stdout}${listed.stderr}`);
            page.faults();
            await page.context().close();
        });
    },

    async the_end_is_told() {
        await with_mock({ pace: 5 }, async (mock) => {
            for (const allowed of [true, false]) {
                const page = await open_page(mock.url);
                await page.addInitScript((may) => {
                    window.told = [];
                    window.Notification = class {
                        static permission = 'default';
                        static requestPermission = async () => { window.Notification.permission = may ? 'granted' : 'denied'; };
                        constructor(title, { body }) { window.told.push(`${title}: ${body}`); }
                    };
                    const { createOscillator } = AudioContext.prototype;
                    AudioContext.prototype.createOscillator = function sound() {
                        window.told.push('sound');
                        return createOscillator.call(this);
                    };
                    Object.defineProperty(document, 'hidden', { get: () => window.away });
                }, allowed);
                await page.reload();
                await choose(page, audio, [clip]);
                await page.getByText('完成时提醒我').click();
                await page.reload(); // remembered
                await page.getByRole('checkbox', { name: '完成时提醒我' }).and(page.locator(':checked')).waitFor({ state: 'attached' });
                await page.evaluate((may) => {
                    window.away = true;
                    window.Notification.permission = may ? 'granted' : 'denied';
                }, allowed);
                await page.locator('[data-testid=start]:enabled').click();
                const told = await until('the end to be told', async () => {
                    const list = await page.evaluate(() => window.told);
                    return list.length ? list.join() : null;
                });
                holds(allowed ? told === '课程 · 全部成功: 成功 1 / 1' : told === 'sound,sound', `told ${told}`);
                await until('the title to say so', async () => await page.title() === '全部成功 · 课程');
                await page.evaluate(() => {
                    window.away = false;
                    document.dispatchEvent(new Event('visibilitychange'));
                });
                await until('its own title', async () => await page.title() === '口播 koubo');
                page.faults();
                await page.context().close();
            }
        });
    },

    async an_upload_goes_on_after_a_refresh_with_the_same_file() {
        const big = path.join(folder, '大文件.mp4');
        writeFileSync(big, no_film(SIZE));
        const mock = new Cutting();
        await mock.start();
        const page = await open_page(mock.url);
        mock.left = 5 << 20; // more is left than fits into the buffers between
        page.quiet = true; // the browser reports what is cut
        await page.getByTestId('video-input').setInputFiles([big, clip]);
        await until('a part of the file', () => [...mock.queue.rows.asset.values()].some((a) => a.name === '大文件.mp4' && a.received > 1 << 20));
        await page.getByText('网络断开').first().waitFor({ timeout: 20000 });
        await page.reload();
        const row = page.getByTestId('video-row').filter({ hasText: '大文件.mp4' });
        await row.getByText('重新选择这个文件就会接着传').waitFor();
        holds(await page.getByTestId('start').isDisabled(), 'nothing starts with half a file');
        const before = [...mock.queue.rows.asset.values()].find((a) => a.name === '大文件.mp4');
        const had = before.received;
        mock.left = Infinity;
        let sent = 0;
        mock.receive = (asset, bytes) => {
            if (asset.name === '大文件.mp4') sent += bytes.length;
            Mock.prototype.receive.call(mock, asset, bytes);
        };
        await row.getByTestId('missing-input').setInputFiles(big);
        await until('the rest', () => before.received === SIZE);
        holds(sent === SIZE - had, `only the rest is sent: ${sent} of ${SIZE - had}`);
        await row.getByText('打不开').waitFor(); // and it was looked at
        page.faults();
        await page.context().close();
        await mock.stop();
        mock.remove();
    },

    async the_same_file_twice_is_two_videos() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            const big = path.join(folder, '两次.mp4');
            writeFileSync(big, no_film(12 << 20));
            await page.getByTestId('video-input').setInputFiles([big]);
            await page.getByTestId('video-input').setInputFiles([big]);
            await until('both', () => [...mock.queue.rows.asset.values()].filter((a) => a.received === 12 << 20).length === 2);
            await until('both in the list', async () => await page.getByTestId('video-row').getByText('打不开').count() === 2);
            page.faults();
            await page.context().close();
        });
    },

    async an_upload_waits_for_a_lost_server() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            page.quiet = true;
            await mock.stop();
            await page.getByTestId('audio-input').setInputFiles(audio);
            await page.getByText('网络断开').first().waitFor({ timeout: 15000 });
            await mock.start(mock.port);
            await page.locator('canvas.wave').waitFor({ timeout: 30000 });
            page.faults();
            await page.context().close();
        });
    },

    async a_job_that_stands_still_says_what_it_does() {
        await with_mock({ workers: 1 }, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [slow, clip]);
            await page.getByTestId('start').click();
            const jobs = page.getByTestId('job');
            await jobs.filter({ hasText: '老师.mp4' }).getByText('前面的做完就轮到它').waitFor();
            await jobs.filter({ hasText: '慢.mp4' }).getByText(/正在找人脸，1\d 秒没有新进展/).waitFor({ timeout: 20000 });
            holds(!(await jobs.filter({ hasText: '慢.mp4' }).textContent()).includes('回应'), 'who is heard says nothing of that');
            mock.queue.stop(); // and nobody is heard any more
            await jobs.filter({ hasText: '慢.mp4' }).getByText(/已有 \d+ 秒没有回应/).waitFor({ timeout: 12000 });
            page.faults();
            await page.context().close();
        });
    },

    async the_token_is_asked_for_once() {
        await with_mock({ token: 'secret' }, async (mock) => {
            const context = await (await open_browser()).newContext({ locale: 'zh-CN' });
            const page = await context.newPage();
            await page.goto(mock.url);
            const field = page.locator('.el-dialog input');
            await field.fill('wrong');
            await field.press('Enter');
            await page.getByText('口令不对').waitFor();
            await field.fill('secret');
            await field.press('Enter');
            await page.getByText('已连接').waitFor();
            await page.reload();
            await page.getByText('已连接').waitFor();
            holds(await page.locator('.el-dialog').count() === 0, 'the session is remembered');
            await context.close();
        });
    },

    async five_hundred_jobs_stay_quick() {
        await with_mock({ pace: 20 }, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip]);
            const of = (kind) => [...mock.queue.rows.asset.values()].find((a) => a.kind === kind && a.state === 'ready')?.id;
            await until('both files', () => of('audio') && of('video'));
            mock.queue.createBatch({ audio: of('audio'), videos: Array(500).fill(of('video')) });
            await page.getByText('0 / 500').or(page.getByText(/\d+ \/ 500/)).first().waitFor();
            await page.getByRole('button', { name: /更多/ }).click();
            // How long the page does not answer while jobs run: the longest gap between timers.
            const longest = await page.evaluate(() => new Promise((done) => {
                let last = performance.now();
                let gap = 0;
                const timer = setInterval(() => {
                    const now = performance.now();
                    gap = Math.max(gap, now - last);
                    last = now;
                }, 10);
                setTimeout(() => {
                    clearInterval(timer);
                    done(gap);
                }, 5000);
            }));
            console.error(`longest pause: ${longest.toFixed(0)} ms`);
            holds(longest < 1000, `the page stood still for ${longest} ms`);
            page.faults();
            await page.context().close();
        });
    },

    async notifications_are_saved_and_tested() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await open_tab(page, 'system');
            const form = page.locator('form.notify');
            await form.locator('summary').filter({ hasText: '已填写' }).waitFor();
            await form.getByText('飞书').click();
            await form.locator('details[open] input').first().fill('https://example.com/robot');
            await form.getByRole('button', { name: '保存' }).click();
            await until('the settings', () => mock.settings.feishu?.url === 'https://example.com/robot');
            holds(mock.settings.webhook.secret === '********', 'a secret that was not touched goes back as it came');
            await form.getByRole('button', { name: '发送测试' }).click();
            await page.getByText('Webhook：发送成功').waitFor();
            await page.getByText(/飞书：服务器没有回应/).waitFor();
            page.faults();
            await page.context().close();
        });
    },

    async a_password_is_asked_for_again_when_its_server_changes() {
        await with_mock({}, async (mock) => {
            mock.settings.email = { smtp: 'smtp://own.example.com:587', user: 'u', password: '********', from: 'a@example.com', to: ['b@example.com'], tls: false };
            const page = await open_page(mock.url);
            await open_tab(page, 'system');
            const form = page.locator('form.notify');
            const of = (name) => form.locator(`input[name="${name}"]`);
            const notice = form.getByRole('alert');
            await form.locator('summary').filter({ hasText: '邮件' }).click();
            const changes = [
                () => of('email.smtp').fill('smtp://other.example.com:587'),
                () => of('email.user').fill('v'),
                () => form.getByText('加密（TLS）').click(),
            ];
            const undo = [
                () => of('email.smtp').fill('smtp://own.example.com:587'),
                () => of('email.user').fill('u'),
                changes[2],
            ];
            for (const [i, change] of changes.entries()) {
                await change();
                await notice.getByText('请重新填写密码').waitFor();
                holds(await of('email.password').inputValue() === '', `change ${i} takes the mask out`);
                await undo[i]();
                await notice.waitFor({ state: 'detached' });
                holds(await of('email.password').inputValue() === '********', `undoing change ${i} brings it back`);
            }
            // Neither is anything sent without it, nor is it sent as "********".
            await changes[0]();
            await notice.waitFor();
            await form.getByRole('button', { name: '保存' }).click();
            await until('the focus', () => of('email.password').evaluate((e) => e === document.activeElement));
            holds(mock.settings.email.smtp === 'smtp://own.example.com:587', 'nothing was saved without the password');
            await of('email.password').fill('new');
            await notice.waitFor({ state: 'detached' });
            await form.getByRole('button', { name: '保存' }).click();
            await until('the settings', () => mock.settings.email.smtp === 'smtp://other.example.com:587');
            holds(mock.settings.email.tls === false, 'what the form was not asked to change stays');
            await until('the mask', async () => await of('email.password').inputValue() === '********');

            // Somebody else has changed it meanwhile: the server's words, and the field asks.
            mock.settings.email.smtp = 'smtp://third.example.com:587';
            page.quiet = true; // the browser reports the 400
            await form.getByRole('button', { name: '发送测试' }).click();
            await page.locator('.el-message').getByText('“email”的地址已更改').waitFor();
            await notice.getByText('请重新填写密码').waitFor();
            page.faults();
            await page.context().close();
        });
    },

    async an_error_is_told_in_the_words_of_the_server() {
        await with_mock({ workers: 1 }, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip]);
            for (const asset of mock.queue.rows.asset.values()) mock.queue.remove('asset', asset.id);
            page.quiet = true; // the browser reports the 404
            await page.getByTestId('start').click();
            await page.locator('.el-message').getByText('没有这个东西，可能已经删除').waitFor();
            page.faults();
            await page.context().close();
            await close_browser();
        });
    },
});
