// For everybody: languages, phones, keyboards, dark screens, and what axe finds. Against the mock.
//   node tests/web/access.mjs [part of a test's name]
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { root, run, temporary_folder, until } from '../e2e/server.mjs';
import { choose, close_browser, holds, open_browser, open_page, open_tab, tabs } from './browser.mjs';
import { make_broken, make_clip, make_speech } from './materials.mjs';
import { Mock, with_mock } from './mock_server.mjs';

const folder = temporary_folder();
const audio = make_speech(folder, '课程.wav', '大家好，我们开始吧。');
const clips = [make_clip(folder, '老师.mp4', 0, 2), make_clip(folder, `很长的名字${'很长'.repeat(20)}-第12讲.mp4`, 1, 3)];
const broken = make_broken(folder, '坏的.mp4');
const axe = readFileSync(path.join(root, 'web/node_modules/axe-core/axe.min.js'), 'utf8');

// A server with something to see on every view: batches that are over, one that runs, one that waits, results.
async function busy_mock() {
    const mock = await new Mock({ pace: 60, workers: 7, cluster: true }).start();
    for (const name of ['n1', 'n2', 'n3']) mock.nodes.add(name);
    mock.nodes.hear('n1', { slots: 1 });
    mock.nodes.hear('n2', { error: 'no such version', facts: { version: '0.1.9', clock: Date.now() - 3700e3 } });
    Object.assign(mock.nodes.depot, { kind: 's3', place: 's3://studio/koubo', error: 'no such bucket' });
    const page = await open_page(mock.url);
    await choose(page, audio, [...clips, broken]);
    const of = (state) => [...mock.queue.rows.asset.values()].filter((a) => a.kind !== 'audio' && a.state === state);
    await until('the files', () => of('ready').length === 2 && of('bad').length === 1);
    const videos = of('ready').map((a) => a.id);
    const sound = [...mock.queue.rows.asset.values()].find((a) => a.kind === 'audio').id;
    mock.queue.createBatch({ name: '第一批', audio: sound, videos: [...videos, of('bad')[0].id] });
    mock.queue.createBatch({ name: '第二批', audio: sound, videos: Array(6).fill(videos).flat() });
    await until('their end', () => [...mock.queue.rows.batch.values()].every((b) => b.state === 'ended'), 60000);
    mock.queue.pace = 0.02;
    mock.queue.createBatch({ name: '第三批', audio: sound, videos: Array(5).fill(videos).flat() });
    mock.queue.createBatch({ name: '第四批', audio: sound, videos });
    await until('work', () => [...mock.queue.rows.job.values()].some((j) => j.progress > 0 && j.state !== 'done'));
    const storage = await page.context().storageState();
    await page.context().close();
    return { mock, storage };
}

const { mock, storage } = await busy_mock();
process.on('exit', () => mock.remove());

// The draft is there, and the language is the browser's.
const open = (options) => open_page(mock.url, { storageState: storage, ...options });

await run({
    async the_language_is_the_browsers_at_first_and_then_the_chosen_one() {
        const first = { 'zh-CN': '批量处理', 'zh-TW': '批量处理', 'en-GB': 'Batch', 'de-DE': 'Batch' };
        for (const [locale, word] of Object.entries(first)) {
            const page = await open_page(mock.url, { locale });
            holds(await page.getByTestId('tab-batch').textContent() === word, `${locale}: ${await page.getByTestId('tab-batch').textContent()}`);
            holds(await page.evaluate(() => document.documentElement.lang) === (word === 'Batch' ? 'en' : 'zh-CN'), 'the page says which it is');
            await page.getByTestId('language').click();
            const other = word === 'Batch' ? '批量处理' : 'Batch';
            await page.getByTestId('tab-batch').getByText(other).waitFor();
            await page.reload();
            await page.getByTestId('tab-batch').getByText(other).waitFor();
            page.faults();
            await page.context().close();
        }
    },

    // Full-width signs are Chinese; in Chinese there are no spaces around them, and no half-width colon behind a Han sign.
    async signs_are_those_of_the_language() {
        for (const [locale, wrong] of [['zh-CN', /[ \u00a0][，。：；！？、]|[，。：；！？、] |\p{Script=Han}[:;!?]/u], ['en-GB', /[\u3000-\u303f\uff00-\uffef]/]]) {
            const page = await open({ locale });
            for (const tab of tabs) {
                await open_tab(page, tab);
                for (const text of await page.locator('body').evaluate((body) => {
                    const copy = body.cloneNode(true); // names, sentences of the server and the log are not the page's words
                    copy.querySelectorAll('.log, .cut-name, .cut, .bad, .node-name, [data-testid=job-error], .model, .now, script, select').forEach((e) => e.remove());
                    const words = [...copy.querySelectorAll('[aria-label], [title], [placeholder]')].flatMap((e) => ['aria-label', 'title', 'placeholder'].map((a) => e.getAttribute(a) ?? ''));
                    return [...copy.innerText.split('\n'), ...words.filter((w) => !/很长|老师|坏的|批/.test(w))];
                })) holds(!wrong.test(text), `${locale}, ${tab}: “${text}”`);
            }
            page.faults();
            await page.context().close();
        }
    },

    async an_unknown_address_leads_to_the_batch_with_a_word() {
        const page = await open_page(`${mock.url}/#nothing`);
        await page.getByText('没有这个页面，已回到批量处理').waitFor();
        holds(page.url().endsWith('#batch'), page.url());
        page.faults();
        await page.context().close();
    },

    async a_phone_has_all_of_it_within_reach() {
        for (const width of [390, 320]) {
            for (const locale of ['zh-CN', 'en-GB']) {
                const page = await open({ locale, viewport: { width, height: 760 }, hasTouch: true, isMobile: true });
                const current = page.getByTestId('running').locator('.cut-name > span').last();
                const end = await current.boundingBox(); // what is being made, and the end of its name
                holds(end.x + end.width <= width && /\.mp4$/.test(await current.textContent()), `${await current.textContent()} ends at ${end.x + end.width}`);
                for (const tab of tabs) {
                    const box = await page.getByTestId(`tab-${tab}`).boundingBox();
                    holds(box.x >= 0 && box.x + box.width <= width && box.y + box.height <= 760, `the tab ${tab} is off the screen of ${width}`);
                    await open_tab(page, tab);
                    if (tab === 'batch') await page.locator('details.options summary').click();
                    if (tab === 'results') await page.getByText(/全选本页|Select this page/).click();
                    const content = await page.evaluate(() => document.documentElement.scrollWidth);
                    holds(content <= width, `${tab} is ${content} wide on ${width}`);
                    const found = await page.evaluate(() => {
                        const shown = (e) => e.checkVisibility?.({ visibilityProperty: true }) !== false && e.getClientRects().length > 0;
                        // A box or a switch is pressed by its label too.
                        const targets = [...document.querySelectorAll('a[href], button, select, summary, textarea, input:not([type=checkbox]):not([type=radio]):not([type=file]), label:has(input[type=radio]), .el-checkbox, .el-switch')];
                        return targets.filter(shown).map((e) => ({ e, box: e.getBoundingClientRect() }))
                            .filter(({ box }) => box.width < 43.5 || box.height < 43.5)
                            .map(({ e, box }) => `${e.tagName} ${e.className} “${(e.innerText || e.ariaLabel || '').trim().slice(0, 20)}” ${box.width.toFixed(0)}×${box.height.toFixed(0)}`);
                    });
                    holds(!found.length, `too small for a finger on ${tab} at ${width}: ${found.join('; ')}`);
                    // Nothing inside scrolls sideways either, and no time is cut.
                    const sideways = await page.evaluate(() => [...document.querySelectorAll('main *')].filter((e) =>
                        e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).map((e) => e.className));
                    holds(!sideways.length, `${tab} scrolls sideways: ${sideways}`);
                    const cut = await page.evaluate(() => [...document.querySelectorAll('.number')].filter((e) =>
                        e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map((e) => e.innerText));
                    holds(!cut.length, `numbers are cut on ${tab}: ${cut}`);
                }
                page.faults();
                await page.context().close();
            }
        }
    },

    async the_system_names_the_folder_of_the_results_and_who_is_late() {
        await with_mock({}, async (own) => {
            const context = { permissions: ['clipboard-read', 'clipboard-write'] };
            const page = await open_page(own.url, context);
            await open_tab(page, 'system');
            const folder_of = await page.getByTestId('results-folder').textContent();
            await page.getByRole('button', { name: '复制 结果文件夹' }).click();
            await page.getByText('已复制').waitFor();
            holds(await page.evaluate(() => navigator.clipboard.readText()) === folder_of, 'the folder is in the clipboard');
            const worker = page.getByTestId('worker').first();
            holds(!(await worker.textContent()).includes('回应'), 'a worker that is heard says nothing of that');
            own.queue.stop();
            own.queue.workers[0].heartbeat = Date.now() - 60000;
            await worker.getByText(/已有 6\d 秒没有回应/).waitFor();
            own.json = function (response, value, status) { // none that can be named
                return Mock.prototype.json.call(this, response, value.results_folder ? { ...value, results_folder: null } : value, status);
            };
            await page.reload();
            await page.locator('.verdict').waitFor();
            holds(await page.getByTestId('results-folder').count() === 0, 'no line without a folder');
            page.faults();
            await page.context().close();
        });
    },

    async the_slowest_presets_can_be_chosen() {
        const page = await open();
        await page.locator('details.options summary').click();
        const all = await page.getByLabel('编码速度').locator('option').allTextContents();
        for (const preset of ['slower', 'veryslow', 'placebo']) holds(all.includes(preset), `no ${preset} in ${all}`);
        page.faults();
        await page.context().close();
    },

    async a_player_is_used_by_keyboard_alone() {
        const page = await open();
        await page.getByTestId('tab-results').focus();
        await page.keyboard.press('Enter');
        const first = page.getByTestId('result').first().getByRole('button', { name: /^播放/ });
        await first.waitFor();
        await until('the focus on the first result', async () => {
            await page.keyboard.press('Tab');
            return first.evaluate((e) => e === document.activeElement);
        });
        holds(await first.evaluate((e) => getComputedStyle(e).outlineStyle !== 'none'), 'the focus is seen');
        await page.keyboard.press('Enter');
        await page.getByTestId('player').waitFor();
        const inside = () => page.evaluate(() => !!document.activeElement.closest('.el-overlay'));
        await until('the focus in the dialog', inside);
        for (let i = 0; i < 12; i++) {
            await page.keyboard.press(i % 3 ? 'Tab' : 'Shift+Tab');
            holds(await inside(), `the focus left the dialog at step ${i}`);
        }
        await until('the focus outside of the video, whose own buttons keep what is pressed', async () => {
            await page.keyboard.press('Tab');
            return page.evaluate(() => document.activeElement.tagName !== 'VIDEO');
        });
        await page.keyboard.press('Escape');
        await page.getByTestId('player').waitFor({ state: 'detached' });
        await until('the focus where it was', () => first.evaluate((e) => e === document.activeElement));
        page.faults();
        await page.context().close();
    },

    async who_wants_less_motion_gets_less() {
        const page = await open({ reducedMotion: 'reduce' });
        for (const tab of tabs) {
            await open_tab(page, tab);
            const slowest = await page.evaluate(() => Math.max(...[...document.querySelectorAll('*')].map((e) => {
                const { transitionDuration, animationDuration } = getComputedStyle(e);
                return Math.max(...`${transitionDuration}, ${animationDuration}`.split(', ').map(Number.parseFloat));
            })));
            holds(slowest < 0.001, `something moves for ${slowest} s on ${tab}`);
        }
        page.faults();
        await page.context().close();
    },

    async axe_finds_nothing_of_weight() {
        const faults = new Set();
        const look = async (page, where) => {
            const found = await page.evaluate(async () => {
                for (let i = 0; i < 2; i++) await new Promise((ok) => { requestAnimationFrame(ok); });
                // What was just opened is there, and no longer half transparent.
                const passing = document.getAnimations().filter((a) => a.effect.getComputedTiming().endTime < Infinity);
                await Promise.all(passing.map((a) => a.finished.catch(() => {})));
                const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
                return violations.filter((v) => v.impact !== 'minor')
                    .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.any[0]?.message ?? ''}`).join(' | ')}`);
            });
            for (const fault of found) faults.add(`${where}: ${fault}`);
        };
        // Every pair of a language, a scheme and a size; $KOUBO_AXE_ALL for all eight.
        const looks = [];
        for (const locale of ['zh-CN', 'en-GB'])
            for (const colorScheme of ['light', 'dark'])
                for (const width of [1440, 390])
                    if (process.env.KOUBO_AXE_ALL || (locale === 'zh-CN') === ((colorScheme === 'light') === (width === 1440))) looks.push({ locale, colorScheme, width });
        for (const { locale, colorScheme, width } of looks) {
            const page = await open({ locale, colorScheme, reducedMotion: 'reduce', viewport: { width, height: 900 } });
            await page.evaluate(axe);
            const where = `${locale} ${colorScheme} ${width}`;
            for (const tab of tabs) {
                await open_tab(page, tab);
                if (tab === 'batch') await page.locator('details.options summary').click();
                if (tab === 'system') for (const s of await page.locator('.notify summary').all()) await s.click();
                if (tab === 'results') await page.getByText(/全选本页|Select this page/).click();
                await look(page, `${where} ${tab}`);
            }
            await page.getByTestId('tab-system').click();
            await page.getByTestId('node-add').click();
            await page.locator('.node-form').waitFor();
            await look(page, `${where} new machine`);
            await page.keyboard.press('Escape');
            await page.locator('.node-form').waitFor({ state: 'detached' });
            await open_tab(page, 'results');
            await page.getByTestId('result').first().getByRole('button', { name: /^(播放|Play)/ }).click();
            await page.getByTestId('player').waitFor();
            await look(page, `${where} player`);
            await page.locator('.player-end').getByRole('button', { name: /删除|Delete/ }).click();
            await page.locator('.el-message-box').waitFor();
            await look(page, `${where} question`);
            page.faults();
            await page.context().close();
        }
        // A page that asks for a token.
        await with_mock({ token: 'secret' }, async (closed) => {
            const context = await (await open_browser()).newContext({ locale: 'zh-CN', reducedMotion: 'reduce' });
            const page = await context.newPage();
            await page.goto(closed.url);
            await page.locator('.el-dialog input').waitFor();
            await page.evaluate(axe);
            await look(page, 'token');
            await context.close();
        });
        await close_browser();
        holds(!faults.size, [...faults].join('\n'));
    },
});
