// Pictures of every view in both languages, at 1440 pixels (results-zh.png) and at 390 (phone-results-zh.png), into the
// folder $SCREENSHOTS or the one given. See backend.mjs for the server; the mock (MOCK=1) shows more going on.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { run, temporary_folder, until } from '../e2e/server.mjs';
import { start_backend } from './backend.mjs';
import { choose, close_browser, open_page, open_tab } from './browser.mjs';
import { make_broken, make_clip, make_scenery, make_speech } from './materials.mjs';

const out = process.env.SCREENSHOTS ?? process.argv.splice(2, 1)[0] ?? 'screenshots';
mkdirSync(out, { recursive: true });
const folder = temporary_folder();
const DESK = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };
const names = {
    zh: ['第一课', '第二课-练习', '王老师-开场', '李老师-讲解', '张老师-总结', '慢镜头介绍', '新品发布', '门店欢迎词', '空镜头', '损坏的文件'],
    en: ['Lesson 1', 'Lesson 2 exercises', 'Opening', 'Lecture', 'Summary', 'Slow tour', 'Launch', 'Welcome', 'Scenery', 'Damaged file'],
};
const text = '大家好，欢迎来到今天的课程。我们先来看一个例子，然后一起做练习。有问题请随时提出来，我们慢慢讲清楚。';

async function shoot(language) {
    const [lesson, second, ...clips] = names[language];
    const server = await start_backend();
    const page = await open_page(server.url, { locale: language === 'zh' ? 'zh-CN' : 'en-GB', viewport: DESK });
    // The same moment at both sizes. whole: to the end of the view, where there is room for it; from: what stands first on the phone.
    const shot = async (name, whole = false, from = 'body') => {
        for (const [prefix, size] of [['phone-', PHONE], ['', DESK]]) {
            await page.setViewportSize(size);
            await page.locator(from).evaluate((e) => window.scrollTo(0, Math.max(0, e.getBoundingClientRect().top + window.scrollY - 140)));
            await page.mouse.move(0, 0);
            await page.waitForTimeout(250);
            await page.screenshot({ path: path.join(out, `${prefix}${name}-${language}.png`), fullPage: whole && size === DESK });
        }
    };
    const speech = make_speech(folder, `${lesson}.wav`, text);
    const videos = clips.slice(0, 6).map((name, i) => make_clip(folder, `${name}.mp4`, i, 12 + 3 * i));
    const scenery = make_scenery(folder, `${clips[6]}.mp4`, 8);
    const broken = make_broken(folder, `${clips[7]}.mp4`);
    const ended = () => until('the end', async () => (await server.list('/batches')).every((b) => b.state === 'ended'), 180000);

    // A batch that is over, one that runs, one that waits.
    await choose(page, make_speech(folder, `${second}.wav`, text), [videos[0], videos[1], videos[4], broken]);
    await page.getByTestId('start').click();
    await page.getByTestId('batch').waitFor();
    await ended();
    await page.getByRole('button', { name: /清空列表|Clear list/ }).click();
    await page.getByRole('button', { name: /换一个|Change/ }).click();
    await choose(page, speech, [...videos, scenery, broken]);
    await until('thumbnails', async () => await page.getByTestId('video-row').locator('img').count() === 7);
    await page.getByTestId('video-row').first().getByRole('button').first().click();
    await page.getByTestId('start').click();
    await until('progress', async () => (await server.list('/jobs')).some((j) => j.state === 'generating' && j.progress > 0.5));
    await page.locator('.el-message').first().waitFor({ state: 'detached' });
    await shot('batch', true);
    await page.locator('details.options summary').click();
    await shot('options', true, 'details.options');
    await page.locator('details.options summary').click();
    await fetch(`${server.url}/api/v1/batches`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({
            name: clips[5], priority: 2, audio: (await server.list('/assets?kind=audio'))[0].id,
            videos: (await server.list('/assets?kind=video')).slice(0, 3).map((a) => a.id),
        }),
    });
    await open_tab(page, 'queue');
    await page.getByRole('button', { name: /^(展开|Open)/ }).first().click();
    await page.getByTestId('job').first().waitFor();
    await shot('queue');
    await open_tab(page, 'system');
    await shot('system', true);
    await ended();
    await open_tab(page, 'single');
    await choose(page, speech, [videos[0]]);
    await page.getByTestId('start').click();
    await page.locator('.result video').waitFor({ timeout: 120000 });
    await page.waitForTimeout(800);
    await shot('single', true);
    await open_tab(page, 'log');
    await shot('log');
    await open_tab(page, 'results');
    await shot('results');
    await page.getByTestId('result').first().getByRole('button', { name: /^(播放|Play)/ }).click();
    await until('the picture', () => page.getByTestId('player').evaluate((v) => v.readyState >= 2));
    await shot('player');
    await page.keyboard.press('Escape');
    await page.emulateMedia({ colorScheme: 'dark' });
    for (const tab of ['results', 'batch']) {
        await open_tab(page, tab);
        await shot(`dark-${tab}`);
    }
    page.faults();
    await page.context().close();
    await server.kill?.('SIGTERM');
}

await run({
    pictures_in_chinese: () => shoot('zh'),
    async pictures_in_english() {
        await shoot('en');
        await close_browser();
    },
});
