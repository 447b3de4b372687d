// What the page does when the server is told to misbehave, which only the mock can be: uploads that
// are cut, a job that hangs, a token, hundreds of jobs.
//   node tests/web/mock.mjs [part of a test's name]
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { run, temporary_folder, until } from '../e2e/server.mjs';
import { choose, close_browser, holds, open_browser, open_page, open_tab } from './browser.mjs';
import { make_clip, make_speech } from './materials.mjs';
import { Mock, with_mock } from './mock_server.mjs';

const folder = temporary_folder();
const audio = make_speech(folder, '课程.wav', '大家好，我们开始吧。');
const clip = make_clip(folder, '老师.mp4', 0, 3);
const SIZE = 32 << 20;
// Random bytes would now and then pass for an MP3.
const no_film = (size) => Buffer.alloc(size, 'no film ');
const slow = make_clip(folder, '慢.mp4', 1, 3);

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
            // Who makes previews, and for whom.
            await page.getByTestId('previews').getByText('用到时启动').waitFor();
            mock.looks = { worker: { state: 'busy', rss: 142e6 }, waiting: 2, making: { video: '市场部-新品发布会-主讲人-王老师-第 12 讲-终稿.mp4', audio: '课程.wav', client: '192.168.1.23', picture: false, progress: 0.421 } };
            await page.getByTestId('previews').getByText('课程.wav · 42% · 来自 192.168.1.23 · 还有 2 个在等').waitFor();
            if (process.env.KOUBO_LOOKS)
                for (const width of [390, 1440]) {
                    await page.setViewportSize({ width, height: 900 });
                    await page.screenshot({ path: path.join(process.env.KOUBO_LOOKS, `system-${width}.png`), fullPage: true });
                }
            await page.getByTestId('language').click();
            await page.getByRole('region', { name: 'Files of an earlier database' }).getByText('282 results, 3 others').waitFor();
            page.faults();
        });
    },

    async the_ai_label_is_the_servers_until_somebody_chooses() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip]);
            const form = page.locator('details.options');
            const label = page.getByTestId('label-options');
            const start = async () => {
                const before = mock.queue.rows.batch.size;
                await page.locator('[data-testid=start]:enabled').click();
                await until('the batch', () => mock.queue.rows.batch.size === before + 1);
                return [...mock.queue.rows.batch.values()].at(-1).options;
            };
            await form.locator('summary').click();
            await label.getByLabel('角落，全程显示').waitFor(); // what the server does
            await until('the default', () => label.getByLabel('角落，全程显示').isChecked());
            holds(await label.getByRole('note').count() === 0, 'liable with a label');
            await label.getByText('不加', { exact: true }).click();
            await label.getByText('发布者须自行声明').waitFor();
            const off = await start();
            holds(JSON.stringify(off) === '{"ai_label":"off"}', `sent ${JSON.stringify(off)}`);
            await label.getByText('角落和开头').click();
            await label.getByLabel('标识文字').fill('数字人');
            await label.getByLabel('标识文字').press('Tab'); // says neither AI nor generated
            await label.getByLabel('在哪个角').selectOption('bottom-right');
            await label.getByLabel('制作者').fill('X1');
            await label.getByLabel('制作者').press('Tab');
            await form.getByText('已修改 3 项').waitFor();
            await label.getByLabel('标识文字').fill('本视频由 AI 合成');
            await label.getByLabel('标识文字').press('Tab');
            await form.getByText('已修改 4 项').waitFor();
            await page.reload();
            await form.getByText('已修改 4 项').waitFor();
            const all = await start();
            holds(all.ai_label === 'both' && all.ai_label_place === 'bottom-right' && all.ai_producer === 'X1'
                && all.ai_label_text === '本视频由 AI 合成', `sent ${JSON.stringify(all)}`);
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

    async subtitles_are_looked_at_changed_sent_and_played() {
        await with_mock({ pace: 50 }, async (mock) => {
            const page = await open_page(mock.url);
            const form = page.locator('details.options');
            const part = page.getByTestId('captions-options');
            const rows = page.getByTestId('cues').locator('li');
            const asset = (name) => [...mock.queue.rows.asset.values()].find((a) => a.name.includes(name) && a.state === 'ready');
            const sent = async () => {
                const before = mock.queue.rows.batch.size;
                await page.locator('[data-testid=start]:enabled').click();
                await until('the batch', () => mock.queue.rows.batch.size === before + 1);
                return [...mock.queue.rows.batch.values()].at(-1);
            };
            // A speech that is spoken here: what it says is known.
            await page.getByRole('tab', { name: '文字转语音' }).click();
            await page.getByLabel('输入要说的话').fill('大家好，欢迎来到今天的课程。我们先看一个比较长的例子再一起做练习。');
            await page.getByRole('button', { name: '生成语音' }).click();
            await until('the speech', () => asset('大家好'));
            await page.getByTestId('video-input').setInputFiles([clip]);
            await page.locator('[data-testid=start]:enabled').waitFor();
            await page.getByTestId('video-row').locator('img').waitFor(); // it was looked at
            await form.locator('summary').click();
            await part.getByTestId('captions-source').selectOption('text');
            await part.getByLabel('字号').fill('9.5');
            await part.getByLabel('字号').press('Tab');
            await part.getByLabel('位置').selectOption('top');
            await part.getByTestId('captions-as').selectOption('burn,stream');
            await part.getByLabel('颜色').fill('#ffcc00');
            await page.getByTestId('frame-options').getByText('9:16').click();

            await part.getByTestId('captions-edit').click();
            await rows.first().waitFor();
            const { width, height, crop, size } = mock.shapes.at(-1);
            holds(`${width} ${height} ${crop} ${size}` === '960 720 9:16 9.5', `asked for ${JSON.stringify(mock.shapes.at(-1))}`);
            const longest = (await rows.locator('textarea').evaluateAll((all) => all.flatMap((a) => a.value.split('\n')))).sort((a, b) => b.length - a.length)[0];
            holds(longest.length === 9, `a line for another shape: ${longest}`);
            await rows.first().locator('textarea').fill('各位好');
            await rows.first().getByLabel('结束 1').fill('0:00.8');
            await rows.first().getByLabel('结束 1').press('Tab');
            await rows.nth(1).getByLabel('结束 2').fill('0');
            await rows.nth(1).getByLabel('结束 2').press('Tab');
            holds(await page.getByTestId('cues-use').isDisabled(), 'an end before its beginning is taken');
            await rows.nth(1).getByRole('button', { name: '删除 2' }).click();
            await page.getByTestId('cues-use').click();
            await part.getByText('改过的 2 条').waitFor();
            await form.getByText('已修改 6 项').waitFor();
            await page.reload(); // and what was changed stays
            await form.locator('summary').click();
            await part.getByText('改过的 2 条').waitFor();
            const batch = await sent();
            const { subtitles, ...look } = batch.options;
            holds(JSON.stringify(subtitles[0]) === '{"begin":0,"end":0.8,"text":"各位好"}' && subtitles.length === 2, `sent ${JSON.stringify(subtitles)}`);
            holds(JSON.stringify(Object.entries(look).sort()) === '[["crop","9:16"],["subtitle_colour","#ffcc00"],["subtitle_place","top"],["subtitle_size",9.5],["subtitles_as","burn,stream"]]', `sent ${JSON.stringify(look)}`);

            // Another speech beside this one, and nobody looks at the options: they were this one's text.
            await page.reload();
            await page.getByTestId('tab-batch').click();
            await page.locator('.chosen-audio').waitFor();
            holds(await part.count() === 0, 'the options are open');
            await page.getByTestId('more-input').setInputFiles(make_speech(folder, '第二课.wav', '再见'));
            await page.locator('.el-message').getByText('改过的字幕不再适用').waitFor();
            await form.locator('summary').click();
            holds(await part.getByTestId('captions-source').inputValue() === 'text', 'the text of each');
            const { subtitles: each } = await page.evaluate(() => JSON.parse(localStorage.getItem('koubo.batch')).options);
            holds(each === 'text', `kept ${JSON.stringify(each)}`);

            // The same beside the picture: the player shows them by itself.
            const beside = mock.queue.createBatch({ audio: batch.audio.id, videos: [asset('老师').id], options: { subtitles, subtitles_as: 'srt' } });
            await until('both to be done', () => [batch, beside].every((b) => b.state === 'ended'));
            await open_tab(page, 'results');
            await page.setViewportSize({ width: 390, height: 844 });
            const player = page.getByTestId('player');
            const below = page.getByTestId('below-video');
            const cues = () => player.evaluate((v) => [v.textTracks[0].mode, v.textTracks[0].cues?.length ?? 0]);
            const open = async (i) => {
                await page.getByTestId('result').nth(i).getByRole('button', { name: /^播放/ }).click();
                await until('the player', () => player.evaluate((v) => v.readyState >= 2));
                await player.evaluate((v) => { v.pause(); v.currentTime = 0.4; });
            };
            await open(0);
            await until('the text', async () => await below.textContent() === '各位好');
            holds((await cues()).join() === 'hidden,2', `${await cues()}: drawn twice`);
            const [film, line] = await Promise.all([player.boundingBox(), below.boundingBox()]);
            holds(line.y >= film.y + film.height && line.x >= 0 && line.x + line.width <= 390, `the text at ${JSON.stringify(line)} of ${JSON.stringify(film)}`);
            await player.evaluate((v) => { v.textTracks[0].mode = 'showing'; }); // the player's own button
            await below.waitFor({ state: 'detached' });
            const srt = await (await fetch(new URL(await page.getByTestId('player-srt').getAttribute('href'), mock.url))).text();
            holds(srt.startsWith('1\n00:00:00,000 --> 00:00:00,800\n各位好\n'), srt);
            await page.keyboard.press('Escape');
            await player.waitFor({ state: 'detached' });
            await open(1); // in the picture: not again
            holds((await cues())[0] === 'disabled' && await below.count() === 0, `${await cues()}: in the picture, and once more`);
            page.faults();
            await page.context().close();
        });
    },

    async subtitles_of_a_file_keep_their_changes_until_they_are_dropped() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            const part = page.getByTestId('captions-options');
            const srt = path.join(folder, '字幕.srt');
            writeFileSync(srt, '1\n00:00:00,500 --> 00:00:01,500\n你好\n\n2\n00:00:02,000 --> 00:00:03,000\n再见\n');
            await choose(page, audio, [clip]);
            await page.locator('details.options summary').click();
            await part.getByTestId('captions-source').selectOption('file');
            await part.getByTestId('captions-file').setInputFiles(srt);
            await part.getByText('SRT, UTF-8').waitFor();
            const file = [...mock.queue.rows.asset.values()].find((a) => a.kind === 'text').id;
            const options = () => page.evaluate(() => JSON.parse(localStorage.getItem('koubo.batch')).options);
            holds((await options()).subtitles === file, 'the file is chosen');
            const change = async () => {
                await part.getByTestId('captions-edit').click();
                await page.getByTestId('cues').locator('textarea').first().fill('您好');
                await page.getByTestId('cues-use').click();
                await part.getByText('改过的 2 条').waitFor();
                holds((await options()).subtitles[0].text === '您好', 'changed');
            };
            const come_back = async () => {
                await page.reload();
                await page.locator('details.options summary').click();
                await part.getByText('改过的 2 条').waitFor();
            };
            await change();
            await come_back();
            await part.getByTestId('captions-edit').click();
            await page.getByRole('button', { name: '还原成自动的' }).click();
            await part.getByText('SRT, UTF-8').waitFor();
            holds((await options()).subtitles === file, 'the file again');
            // A second speech: both have the file, as it was changed.
            await change();
            await page.getByTestId('more-input').setInputFiles(make_speech(folder, '第二课.wav', '再见'));
            await part.getByText('都用同样的字幕').waitFor();
            await come_back();
            await part.getByText('都用同样的字幕').waitFor();
            holds(await part.getByTestId('captions-edit').isDisabled(), 'changed for one of two');
            holds((await options()).subtitles[0].text === '您好', 'as it was changed, for both');
            holds(await page.locator('.el-message').count() === 0, 'nothing was dropped');
            page.faults();
            await page.context().close();
        });
    },

    async a_background_is_chosen_by_its_tile() {
        await with_mock({ pace: 60, workers: 8 }, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [make_clip(folder, '绿幕课.mp4', 2, 3)]);
            await until('the film', () => [...mock.queue.rows.asset.values()].some((a) => a.kind === 'video' && a.state === 'ready'));
            const form = page.locator('details.options');
            await form.locator('summary').click();
            const part = page.getByTestId('background-options');
            await part.getByText('“绿幕课.mp4”这段是绿幕').waitFor();
            const sent = async () => {
                const before = mock.queue.rows.batch.size;
                await page.locator('[data-testid=start]:enabled').click();
                await until('the batch', () => mock.queue.rows.batch.size === before + 1);
                return JSON.stringify([...mock.queue.rows.batch.values()].at(-1).options);
            };
            await part.getByText('虚化', { exact: true }).click();
            await part.getByLabel('怎样抠像').selectOption('person');
            const blurred = await sent();
            holds(blurred === '{"background":"blur","background_key":"person"}', blurred);
            await part.getByText('纯色', { exact: true }).click();
            await part.getByRole('button', { name: '#00b140' }).click();
            await form.getByText('已修改 2 项').waitFor();
            await part.getByText('图片/视频', { exact: true }).click();
            await part.getByTestId('background-input').setInputFiles(make_clip(folder, '海边.mp4', 3, 3));
            await until('the background', () => [...mock.queue.rows.asset.values()].some((a) => a.name === '海边.mp4' && a.state === 'ready'));
            const shore = [...mock.queue.rows.asset.values()].find((a) => a.name === '海边.mp4').id;
            await part.locator('.background-look img').waitFor();
            holds(await page.getByTestId('video-row').count() === 1, 'the background is no video of the batch');
            await page.reload(); // and what was chosen stays
            await form.locator('summary').click();
            await part.locator('.background-look img').waitFor();
            const film = JSON.parse(await sent());
            holds(film.background === shore, `sent ${JSON.stringify(film)}`);
            await part.getByText('不变', { exact: true }).click();
            const none = await sent();
            holds(none === '{}', none);
            await part.getByText('虚化', { exact: true }).click();
            await part.getByText('透明', { exact: true }).click();
            const clear = await sent();
            holds(clear === '{"alpha":"webm"}', clear);
            await part.getByText('MOV（ProRes 4444）').click();
            const edited = await sent();
            holds(edited === '{"alpha":"mov"}', edited);
            await until('the results', () => [...mock.queue.rows.job.values()].filter((j) => /\.(webm|mov)$/.test(j.result?.name)).length === 2);
            await page.getByTestId('tab-results').click();
            const play = (ending) => page.getByTestId('result').filter({ hasText: ending }).first().getByRole('button', { name: /^播放/ }).click();
            await play('.webm');
            const ground = await page.getByTestId('player').evaluate((v) => getComputedStyle(v).backgroundImage);
            holds(ground.includes('conic-gradient'), `transparent over ${ground}`);
            await page.keyboard.press('Escape');
            await page.getByTestId('player').waitFor({ state: 'detached' });
            await play('.mov');
            await page.getByTestId('video-unseen').getByText('浏览器播放不了').waitFor();
            holds(await page.getByTestId('player').count() === 0, 'no player of what does not play');
            holds((await page.locator('.player-end a').last().getAttribute('href')).endsWith('/download'), 'it can be downloaded');
            page.faults();
            await page.context().close();
        });
    },

    async five_seconds_are_tried_and_their_settings_kept() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url, { viewport: { width: 390, height: 844 }, hasTouch: true });
            await page.getByTestId('audio-input').setInputFiles(audio);
            await page.getByTestId('video-input').setInputFiles([clip]);
            await page.getByTestId('preview-open').click();
            const dialog = page.locator('.preview-dialog');
            const film = dialog.getByTestId('preview-film');
            await until('the film to play', () => film.evaluate((v) => v.currentTime > 0.2).catch(() => false));
            await until('the original beside it', async () => Math.abs(await film.evaluate((v) => v.currentTime)
                - await dialog.getByTestId('preview-original').evaluate((v) => v.currentTime)) < 0.5);
            holds(await dialog.getByTestId('preview-original').evaluate((v) => v.muted), 'the original is muted');
            holds(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'wider than the phone');
            holds(await dialog.getByTestId('preview-take').isDisabled(), 'nothing was changed yet');

            const amount = dialog.getByTestId('preview-mouth_amount').getByRole('slider');
            await amount.focus();
            for (let i = 0; i < 4; i++) await page.keyboard.press('ArrowRight');
            await dialog.getByTestId('preview-still').waitFor();
            await until('the film with it', () => mock.previews.size > 0 && [...mock.previews.values()].at(-1).given.options.mouth_amount === 1.2);
            await dialog.getByTestId('preview-still').waitFor({ state: 'hidden' }); // the film has taken its place
            holds(mock.stills.at(-1).mouth_amount === 1.2, `pictures of ${JSON.stringify(mock.stills)}`);
            const films = [...mock.previews.values()].map((p) => p.given.options.mouth_amount);
            holds(films.length <= 3, `films of ${films}: only when it pauses`);

            await dialog.locator('.options summary').click(); // the whole form is there
            await dialog.getByLabel('画质').fill('30');
            await dialog.getByLabel('画质').press('Tab');
            await until('the film with that', () => [...mock.previews.values()].at(-1).given.options.crf === 30);
            await dialog.getByTestId('preview-take').click();
            await dialog.waitFor({ state: 'hidden' });
            await page.getByTestId('start').click();
            await until('the batch', () => mock.queue.rows.batch.size === 1);
            const { options } = [...mock.queue.rows.batch.values()][0];
            holds(options.mouth_amount === 1.2 && options.crf === 30, `sent ${JSON.stringify(options)}`);
            await until('nothing is left', () => mock.previews.size < films.length + 2);
            page.faults();
            await page.context().close();
        });
    },

    async what_cannot_be_tried_is_said() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip]);
            page.quiet = true;
            mock['POST previews'] = async ({ response }) => mock.json(response, { type: 'about:blank', title: '', status: 503, code: 'unavailable', detail: '这台服务器不做试做' }, 503);
            await page.getByTestId('preview-first').click();
            const dialog = page.locator('.preview-dialog');
            await dialog.getByText('这台服务器不做试做').waitFor();
            delete mock['POST previews'];
            await dialog.getByRole('button', { name: '再试一次' }).click();
            await until('the film', () => dialog.getByTestId('preview-film').evaluate((v) => v.videoWidth > 0).catch(() => false));
            await page.keyboard.press('Escape');
            await dialog.waitFor({ state: 'hidden' });
            await until('nothing is left', () => mock.previews.size === 0);
            page.faults();
            await page.context().close();
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

    async what_is_refused_for_a_moment_is_asked_again_quietly() {
        await with_mock({ workers: 1 }, async (mock) => {
            const page = await open_page(mock.url);
            mock.busy = 2;
            await page.reload();
            await page.getByTestId('start').waitFor();
            mock.busy += 2;
            await choose(page, audio, [clip]);
            await until('the uploads', () => mock.busy === 0 && [...mock.queue.rows.asset.values()].filter((a) => a.state === 'ready').length === 2);
            mock.busy = 3;
            await page.getByTestId('start').click();
            await until('the batch', () => mock.queue.rows.batch.size === 1);
            holds(mock.busy === 0, 'some were refused');
            holds(await page.locator('.el-message--error').count() === 0, 'and nobody was told');
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

    async shape_and_packaging_are_chosen_and_sent() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip]);
            const form = page.locator('details.options');
            const section = form.getByTestId('frame-options');
            await form.locator('summary').click();
            await section.locator('.frame-shape', { hasText: '9:16' }).click();
            await section.getByRole('slider', { name: /拉近/ }).fill('1.5');
            for (const [name, file] of [['logo', clip], ['intro', clip], ['music', audio]])
                await section.getByTestId(`material-${name}`).locator('input[type=file]').setInputFiles(file);
            await section.getByTestId('material-music').getByRole('button', { name: /播放/ }).click();
            await section.locator('audio').waitFor();
            await section.getByLabel('左下角').check({ force: true });
            await section.getByRole('slider', { name: /音乐音量/ }).fill('0.25');
            await section.getByText('比人声低 24 分贝').waitFor();
            await section.locator('.frame-duck .el-switch').click();
            await section.getByTestId('material-intro').getByRole('button', { name: /移除/ }).click();
            await page.reload(); // and what was chosen stays
            await form.locator('summary').click();
            await section.getByTestId('material-logo').getByText('老师').first().waitFor();
            const before = mock.queue.rows.batch.size;
            await page.locator('[data-testid=start]:enabled').click();
            await until('the batch', () => mock.queue.rows.batch.size === before + 1);
            const { logo, music, ...sent } = [...mock.queue.rows.batch.values()].at(-1).options;
            holds(mock.queue.rows.asset.get(logo)?.kind === 'video' && mock.queue.rows.asset.get(music)?.kind === 'audio', `${logo}, ${music}`);
            const wanted = { crop: '9:16', crop_zoom: 1.5, logo_place: 'bottom-left', music_volume: 0.25, music_duck: false };
            for (const [name, value] of Object.entries(wanted)) holds(sent[name] === value, `sent ${JSON.stringify(sent)}`);
            holds(!('intro' in sent), 'the intro was taken away');
            page.faults();
        });
    },

    async several_speeches_are_paired_as_somebody_says() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            const looks = process.env.KOUBO_LOOKS;
            const look = async (name) => looks && page.screenshot({ path: path.join(looks, `${name}.png`), fullPage: true });
            const second = make_speech(folder, '第2课.wav', '这是第二课。');
            const list = path.join(folder, '清单.csv');
            const start = async () => {
                const before = mock.queue.rows.batch.size;
                await page.locator('[data-testid=start]:enabled').click();
                await until('the batch', () => mock.queue.rows.batch.size === before + 1);
                return mock.queue.jobsOf([...mock.queue.rows.batch.values()].at(-1).id)
                    .map((j) => [j.audio_name, j.name, j._.wanted, JSON.stringify(j.options)].join(' '));
            };
            const same = (found, wanted) => holds(JSON.stringify(found) === JSON.stringify(wanted), `made ${JSON.stringify(found)}`);
            const lesson = make_clip(folder, '老师_第2课.mp4', 0, 3);
            await page.getByTestId('audio-input').setInputFiles([audio, second]);
            await page.getByTestId('video-input').setInputFiles([clip, lesson]);
            await page.getByTestId('speech-row').getByText('第2课').waitFor();
            await page.getByTestId('pair-row').nth(3).waitFor(); // each with each
            await look('pairs-each');
            same(await start(), ['课程.wav 老师.mp4  null', '课程.wav 老师_第2课.mp4  null', '第2课.wav 老师.mp4  null', '第2课.wav 老师_第2课.mp4  null']);
            const rows = page.getByTestId('batch').first().getByTestId('job');
            await until('each row to say its speech', async () => (await rows.getByTestId('job-speech').allInnerTexts()).map((text) => text.replace(/\s/g, '')).sort().join()
                === '语音第2课.wav,语音第2课.wav,语音课程.wav,语音课程.wav');
            await rows.first().getByRole('button', { name: /老师.*\.mp4 \+ .*\.wav$/ }).first().waitFor(); // said of its buttons too
            await page.getByTestId('pair-name').click();
            await page.getByTestId('pairs-left').getByText('课程.wav、老师.mp4').waitFor();
            await look('pairs-name');
            same(await start(), ['第2课.wav 老师_第2课.mp4  null']);
            writeFileSync(list, '语音;视频;输出;文字;mouth_amount;keep_video\r\n第2课;老师.mp4;"一;二.mp4";;1.2;是\r\n没有.wav;老师.mp4;;;;\r\n;老师_第2课.mp4;三;大家早上好;;\r\n');
            await page.getByTestId('list-input').setInputFiles(list);
            await page.getByTestId('pairs-missing').getByText('第 3 行：没有.wav').waitFor();
            await look('pairs-list');
            await page.setViewportSize({ width: 390, height: 844 });
            await look('pairs-list-phone');
            holds(await page.evaluate(() => document.documentElement.scrollWidth <= 390), 'wider than a phone');
            await page.reload(); // and what was chosen stays
            await page.getByTestId('pair-row').nth(1).waitFor();
            same(await start(), ['第2课.wav 老师.mp4 一;二.mp4 {"mouth_amount":1.2,"keep_video":true}', '大家早上好 老师_第2课.mp4 三 null']);
            await page.getByTestId('made-own').getByText('嘴张多大').waitFor(); // what its line says is beside the job
            holds(/单独设置\s*嘴张多大 1\.2\s*音频较短时保留余下视频 是/.test(await page.getByTestId('made-own').innerText()), await page.getByTestId('made-own').innerText());
            await look('pairs-made-phone');
            await page.setViewportSize({ width: 1440, height: 900 });
            await look('pairs-made');
            // A logo by its name: one that nobody has is told with its line, which is left out; one that is chosen here fits something.
            const signs = make_clip(folder, '标志.mp4', 1, 1);
            writeFileSync(list, '语音,视频,logo\r\n第2课,老师.mp4,角标/标志.mp4\r\n第2课,老师_第2课.mp4,没有.png\r\n');
            await page.getByTestId('list-input').setInputFiles(list);
            await page.getByTestId('pairs-missing').getByText('第 2 行：角标/标志.mp4').waitFor();
            await page.getByTestId('video-input').setInputFiles([signs]);
            await page.getByTestId('pairs-missing').getByText('第 3 行：没有.png').waitFor();
            await page.getByTestId('pairs-missing').getByText('第 2 行').waitFor({ state: 'detached' });
            await page.getByTestId('pair-row').waitFor();
            holds(!(await page.getByTestId('pairs-left').innerText()).includes('标志'), 'the logo fits nothing');
            await look('pairs-files');
            const logo = () => [...mock.queue.rows.asset.values()].find((a) => a.name === '标志.mp4');
            await until('the logo', () => logo()?.state === 'ready');
            same(await start(), [`第2课.wav 老师.mp4  {"logo":"${logo().id}"}`]);
            await page.getByTestId('video-input').setInputFiles([{ name: '标志.mp4', mimeType: 'video/mp4', buffer: readFileSync(slow) }]);
            await page.getByTestId('pairs-missing').getByText('第 2 行：角标/标志.mp4（选了几个同名的文件').waitFor();
            writeFileSync(list, 'a,b\r\n1,2\r\n');
            await page.getByTestId('list-input').setInputFiles(list);
            await page.getByText('的第一行要写列名').waitFor();
            await page.getByRole('button', { name: '不用清单' }).click();
            await page.getByRole('button', { name: /移除语音/ }).click();
            await page.getByTestId('pairs').waitFor({ state: 'detached' }); // one speech, as before
            page.faults();
        });
    },

    // The table that the command line is held to as well (tests/cli/test_jobs.c).
    async cells_of_a_list_are_the_options_that_the_command_line_takes() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            const table = readFileSync('tests/golden/list_cells.tsv', 'utf8').split('\n').filter((line) => line && line[0] !== '#').map((line) => line.split('\t'));
            const options = readFileSync('docs/openapi.yaml', 'utf8').match(/^ {4}Options:\n([^]*?)^ {4}Subtitle:/m)[1];
            for (const [, name] of options.matchAll(/^ {8}([a-z_]+):/gm)) holds(table.some(([known]) => known === name), `no cell of the option ${name}`);
            const names = [...new Set(table.map(([name]) => name))];
            const quoted = (cell) => `"${cell.replaceAll('"', '""')}"`;
            writeFileSync(path.join(folder, '选项.csv'), `audio,video,${names.join()}\n`
                + table.map(([name, cell]) => `课程.wav,老师.mp4,${names.map((n) => (n === name ? quoted(cell) : '')).join()}\n`).join(''));
            const kind = (name) => ({ music: 'audio', subtitles: 'text' })[name] ?? 'video';
            // The newest of that name counts that is of use.
            const upload = (name, is) => Object.assign(mock.newAsset(name, 1, 'ready'), { kind: is }).id;
            const files = table.map(([name, cell, , file]) => {
                if (!file) return null;
                const bare = cell.replace(/.*\//, '');
                upload(bare, kind(name));
                const id = upload(bare, kind(name));
                upload(bare, kind(name) === 'audio' ? 'text' : 'audio');
                upload(`1${bare}`, kind(name));
                mock.newAsset(bare, 1, 'uploading');
                return id;
            });
            await choose(page, audio, [clip]);
            await page.getByTestId('more-input').setInputFiles(path.join(folder, '选项.csv'));
            await page.getByTestId('pair-row').nth(table.length - 1).waitFor();
            await page.locator('[data-testid=start]:enabled').click();
            await until('the batch', () => mock.queue.rows.batch.size === 1);
            mock.queue.jobsOf([...mock.queue.rows.batch.keys()][0]).forEach((job, i) => {
                const [name, cell] = table[i];
                const wanted = files[i] ? JSON.stringify(files[i]) : table[i][2];
                const got = JSON.stringify(job.options?.[name]);
                // What the option does not take is refused by the server.
                holds(wanted === '-' ? got !== undefined : got === wanted, `${name}: '${cell}' is ${got}, not ${wanted}`);
            });
            await page.getByRole('button', { name: /^更多/ }).click();
            await until('all that they were made with', async () => await page.getByTestId('made-own').count() === table.length);
            for (const made of await page.getByTestId('made-own').allInnerTexts()) holds(!/[a-z][_.][a-z]/.test(made), `no words for ${made}`);
            page.faults();
        });
    },

    async people_are_kept_chosen_and_carried_about() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await choose(page, audio, [clip]);
            const strip = page.getByTestId('people');
            await page.getByTestId('keep-person').click();
            const box = page.locator('.el-message-box');
            await box.getByRole('textbox').fill('王老师');
            await box.getByRole('button', { name: '保存' }).click();
            await strip.getByTestId('person').getByText('王老师').waitFor();
            await page.getByTestId('of-person').getByText('王老师').waitFor();

            // Chosen without an upload, remembered, sent as a person.
            await page.getByRole('button', { name: '清空列表' }).click();
            const [film] = [...mock.people.values()].map((p) => p.video.id);
            mock.people.values().next().value.options = { crf: 30, background: 'blur' };
            await strip.getByRole('button', { name: '使用 王老师' }).click();
            await page.reload();
            await page.getByTestId('of-person').waitFor();
            holds(mock.queue.rows.asset.size === 2, 'nothing was uploaded again');
            await page.locator('[data-testid=start]:enabled').click();
            await until('the batch', () => mock.queue.rows.batch.size === 1);
            const job = [...mock.queue.rows.job.values()].at(-1);
            holds(job.video === film && job.options.crf === 30, `${JSON.stringify(job.options)}`);

            // Of two that exclude each other what the batch says holds.
            await page.locator('details.options summary').click();
            await page.getByTestId('background-options').getByText('透明', { exact: true }).click();
            await page.getByTestId('more-input').setInputFiles(make_speech(folder, '第二课.wav', '再见'));
            await page.locator('[data-testid=start]:enabled').click();
            await until('both', () => mock.queue.rows.batch.size === 2);
            const both = [...mock.queue.rows.job.values()].slice(-2).map((j) => JSON.stringify(j.options));
            holds(both.every((o) => o === '{"crf":30}'), `sent ${both}`);
            await page.getByRole('button', { name: /不用它的设置/ }).click();
            await page.getByTestId('of-person').waitFor({ state: 'detached' });

            // As a file, and back.
            await page.getByTestId('people-manage').click();
            const [file] = await Promise.all([page.waitForEvent('download'), strip.getByRole('link', { name: '导出 王老师' }).click()]);
            const sent = { name: 'wang.koubo', mimeType: 'application/octet-stream', buffer: readFileSync(await file.path()) };
            await page.getByTestId('people-file').setInputFiles(sent);
            await strip.getByText('王老师-2').waitFor();
            await page.getByTestId('people-file').setInputFiles({ ...sent, buffer: Buffer.from('nothing') });
            await page.locator('.el-message--warning').getByText('不是 koubo 的人物文件').waitFor();
            await strip.getByRole('button', { name: '改名 王老师-2' }).click();
            await box.getByRole('textbox').fill('李老师');
            await box.getByRole('button', { name: '保存' }).click();
            await strip.getByText('李老师').waitFor();
            await strip.getByRole('button', { name: '删除人物 李老师' }).click();
            await box.getByRole('button', { name: '删除人物' }).click();
            await until('one', () => mock.people.size === 1);
            page.faults();
        });
    },
});
