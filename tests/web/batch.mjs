// A batch from the files that are chosen for it to its end, against the mock, whose workers and files can be told what to do.
//   node tests/web/batch.mjs [part of a test's name]
import { spawnSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { run, temporary_folder, until } from '../e2e/server.mjs';
import { choose, close_browser, holds, open_page, open_tab } from './browser.mjs';
import { make_broken, make_clip, make_scenery, make_speech } from './materials.mjs';
import { Mock, with_mock } from './mock_server.mjs';

const folder = temporary_folder();
const audio = make_speech(folder, '课程.wav', '大家好，我们开始吧。');
const clip = make_clip(folder, '老师.mp4', 0, 3);
const other = make_clip(folder, '同事.mp4', 2, 3);
const two = make_clip(folder, '两人.mp4', 3, 3);
const scenery = make_scenery(folder, '空镜.mp4', 3);
const broken = make_broken(folder, '坏的.mp4');
const copy_of = (file, name) => {
    const to = path.join(folder, name);
    copyFileSync(file, to);
    return to;
};

const asset_of = (mock, name) => [...mock.queue.rows.asset.values()].find((a) => a.name === name);
const looked_at = (mock, ...files) => until('all to be looked at', () =>
    files.every((f) => ['ready', 'bad'].includes(asset_of(mock, path.basename(f))?.state)));

await run({
    async a_batch_tells_the_truth() {
        await with_mock({ workers: 1, pace: 0.01 }, async (mock) => {
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

            // Reading the speech is no loading, and has no frames; the stages of frames have. Each is held until the page was seen.
            const held_in = async (state) => {
                mock.queue.pace = 0.5;
                await until(state, () => [...mock.queue.rows.job.values()].some((j) => j.state === state));
                mock.queue.pace = 0.001;
                return first.locator(`[data-testid=job][data-state=${state}]`);
            };
            const audio_job = await held_in('audio');
            await audio_job.getByText('读取语音').waitFor();
            holds(!(await audio_job.textContent()).includes('帧'), 'no frames of sound');
            await (await held_in('generating')).getByText(/\d+ \/ \d+ 帧/).waitFor();
            mock.queue.pace = 0.5;

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

    async an_upload_that_failed_is_not_damaged() {
        await with_mock({}, async (mock) => {
            const full = (context) => {
                context.request.resume();
                context.response.writeHead(507, { 'Tus-Resumable': '1.0.0' }).end('{"detail":"磁盘满了"}');
            };
            const page = await open_page(mock.url);
            const line = page.getByTestId('before');
            const rows = page.getByTestId('video-row');
            await choose(page, audio, [broken, clip]);
            await line.getByText('1 个已损坏').waitFor();
            page.quiet = true; // the browser reports the 507
            mock['POST uploads'] = full;
            await page.getByTestId('video-input').setInputFiles([other]);
            await line.getByText('1 个上传失败').waitFor();
            await line.getByText('1 个已损坏').waitFor();
            await rows.getByRole('button', { name: '同事.mp4', exact: true }).click();
            await page.getByTestId('preview-fault').getByText('没有传上去').waitFor();
            await line.getByRole('button', { name: '移除有问题的' }).click();
            await until('it to stay', async () => await rows.count() === 2 && await line.getByRole('button').count() === 0);
            await line.getByText('1 个上传失败').waitFor();
            mock['POST uploads'] = Mock.prototype['POST uploads'];
            await rows.getByRole('button', { name: /^重试/ }).click();
            await line.getByText('2 个可以生成').waitFor();
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
            const chosen = [...mock.queue.rows.job.values()].map((j) => j.face_at);
            holds(JSON.stringify(chosen) === '[null,[0.75,0.5,1.25]]', `sent ${JSON.stringify(chosen)}`);
            await row.getByTestId('choose-face').click();
            holds(await faces.nth(1).getAttribute('aria-pressed') === 'true', 'the choice is shown');
            await faces.nth(0).click();
            await page.locator('[data-testid=start]:enabled').click(); // not the same batch
            await until('another batch', () => mock.queue.rows.batch.size === 2);

            // A page that did not start them knows them by what was made.
            await page.reload();
            await row.getByTestId('choose-face').click();
            await page.locator('.el-dialog').getByRole('button', { name: '恢复默认' }).click();
            await page.locator('[data-testid=start]:enabled').click();
            await until('a third, of which nobody asks', () => mock.queue.rows.batch.size === 3);
            await page.reload();
            await row.getByTestId('choose-face').click();
            await faces.nth(1).click();
            await page.locator('[data-testid=start]:enabled').click();
            await page.locator('.el-message-box').getByText(/再做一次？/).waitFor();
            page.faults();
            await page.context().close();
        });
    },

    async small_faces_are_large_enough_for_a_finger() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url, { viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true });
            await choose(page, audio, [two]);
            const found = asset_of(mock, '两人.mp4');
            await until('its faces', () => found.face_boxes.length === 2);
            mock.queue.put('asset', Object.assign(found, { face_boxes: [[0.3, 0.3, 0.02, 0.03], [0.39, 0.3, 0.02, 0.03], [0.7, 0.6, 0.02, 0.03]] }));
            await page.reload();
            await page.getByTestId('choose-face').click();
            const faces = page.getByTestId('faces').getByRole('button');
            await until('three faces', async () => await faces.count() === 3);
            await until('the dialog to rest', () => page.evaluate(() => document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getComputedTiming().endTime === Infinity)));
            const pressed = (x, y) => page.evaluate(([px, py]) => document.elementFromPoint(px, py)?.closest('.face')?.innerText ?? '', [x, y]);
            for (let i = 0; i < 3; i++) {
                const { x, y, width, height } = await faces.nth(i).boundingBox();
                holds(await pressed(x + width / 2, y + height / 2 + 21) === String(i + 1), `below face ${i + 1}`);
                for (const edge of [x + 2, x + width - 2]) holds(await pressed(edge, y + height / 2) === String(i + 1), `inside face ${i + 1}`);
            }
            page.faults();
            await page.context().close();
        });
    },

    async the_text_to_speak_survives_a_refresh() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await page.getByRole('tab', { name: '文字转语音' }).click();
            await page.getByRole('textbox', { name: '输入要说的话' }).fill('写了一半的话');
            await page.getByRole('combobox', { name: '音色' }).selectOption('yue');
            await page.getByTestId('speed').selectOption('1.25');
            await page.getByTestId('pause').selectOption('0.8');
            await page.reload();
            await until('the text', async () =>
                await page.getByRole('textbox', { name: '输入要说的话' }).inputValue() === '写了一半的话');
            holds(await page.getByRole('combobox', { name: '音色' }).inputValue() === 'yue', 'and its voice');
            holds(await page.getByTestId('speed').inputValue() === '1.25' && await page.getByTestId('pause').inputValue() === '0.8', 'speed and pauses');
            page.faults();
            await page.context().close();
        });
    },

    async voices_are_added_and_sentences_heard() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            // No sound card here: what would be played is noted.
            await page.evaluate(() => { HTMLAudioElement.prototype.play = function play() { (window.played ??= []).push(this.src); return fetch(this.src).then((r) => r.ok || Promise.reject(new Error('gone'))); }; });
            await open_tab(page, 'system');
            const card = page.getByRole('region', { name: '音色' });
            await card.getByRole('button', { name: '添加音色' }).click();
            await card.locator('[name="name"]').fill('teacher');
            await card.locator('[name="title"]').fill('王老师');
            await card.locator('[name="url"]').fill('http://127.0.0.1:8880');
            await card.locator('[name="key"]').fill('sk-1');
            await card.getByRole('button', { name: '保存' }).click();
            await card.getByTestId('voice').getByText('王老师').waitFor();
            holds(mock.voices[0].key === 'sk-1' && mock.voices[0].kind === 'openai', 'it went to the server');
            await card.getByRole('button', { name: '试听 王老师' }).click();
            await until('the sentence', async () => (await page.evaluate(() => window.played?.length)) === 1);
            holds(mock.samples[0].voice === 'teacher', 'by this voice');
            // Changed, its key stays unseen; to another address it is asked for again.
            await card.getByRole('button', { name: '修改 王老师' }).click();
            holds(await card.locator('[name="key"]').inputValue() === '********', 'stars');
            await card.locator('[name="model"]').fill('kokoro');
            await card.getByRole('button', { name: '保存' }).click();
            await until('the model', () => mock.voices[0].model === 'kokoro' && mock.voices[0].key === 'sk-1');
            // What was heard already is not made again, but once the voice has changed, or the server has let it go.
            const hear = async (n, samples) => {
                const stop = card.getByRole('button', { name: '停止 王老师' });
                if (await stop.isVisible()) await stop.click();
                await card.getByRole('button', { name: '试听 王老师' }).click();
                await until(`sound ${n}`, async () => (await page.evaluate(() => window.played.length)) === n);
                await stop.waitFor();
                holds(mock.samples.length === samples, `made ${mock.samples.length}, not ${samples}`);
            };
            await hear(2, 2);
            await hear(3, 2);
            page.quiet = true; // the browser reports what is gone
            mock.queue.remove('asset', (await page.evaluate(() => window.played.at(-1))).split('/').at(-2));
            await hear(5, 3); // asked for in vain, and played

            await open_tab(page, 'batch');
            await page.getByRole('tab', { name: '文字转语音' }).click();
            await page.getByRole('textbox', { name: '输入要说的话' }).fill('圆周率是3.14。Dr. Smith 来了！坏的一句\n再见');
            await page.getByRole('combobox', { name: '音色' }).selectOption('teacher');
            await page.getByTestId('speed').selectOption('1.5');
            await page.getByText('逐句试听').click();
            const lines = await page.locator('.sentences li').allTextContents();
            holds(lines.join('|') === '圆周率是3.14。|Dr. Smith 来了！|坏的一句|再见', `sentences: ${lines.join('|')}`);
            await page.getByRole('button', { name: '试听 再见' }).click();
            await until('it', async () => (await page.evaluate(() => window.played.length)) === 6);
            holds(JSON.stringify(mock.samples.at(-1)) === '{"text":"再见","voice":"teacher","speed":1.5}', 'as it is chosen');
            await page.getByRole('button', { name: '停止 再见' }).click();
            await page.getByRole('button', { name: '试听 坏的一句' }).click();
            await page.getByText('音色的服务返回 500').waitFor();
            await open_tab(page, 'system');
            await card.getByRole('button', { name: '删除 王老师' }).click();
            await page.locator('.el-message-box').getByRole('button', { name: '删除' }).click();
            await until('its end', () => mock.voices.length === 0);
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
        await close_browser();
    },
});
