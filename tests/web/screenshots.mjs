// Pictures of every view in both languages, into the folder $SCREENSHOTS or the one given. See backend.mjs for the
// server; the mock (MOCK=1) shows more going on.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { run, temporary_folder, until } from '../e2e/server.mjs';
import { start_backend } from './backend.mjs';
import { choose, close_browser, open_page, open_tab, tabs } from './browser.mjs';
import { make_broken, make_clip, make_scenery, make_speech } from './materials.mjs';

const out = process.env.SCREENSHOTS ?? process.argv.splice(2, 1)[0] ?? 'screenshots';
mkdirSync(out, { recursive: true });
const folder = temporary_folder();
const names = {
    zh: ['第一课', '第二课-练习', '王老师-开场', '李老师-讲解', '张老师-总结', '慢镜头介绍', '新品发布', '门店欢迎词', '空镜头', '损坏的文件'],
    en: ['Lesson 1', 'Lesson 2 exercises', 'Opening', 'Lecture', 'Summary', 'Slow tour', 'Launch', 'Welcome', 'Scenery', 'Damaged file'],
};
const text = '大家好，欢迎来到今天的课程。我们先来看一个例子，然后一起做练习。有问题请随时提出来，我们慢慢讲清楚。';

async function shoot(language) {
    const [lesson, second, ...clips] = names[language];
    const server = await start_backend();
    const shot = (page, name, options) => page.screenshot({ path: path.join(out, `${name}-${language}.png`), ...options });
    const page = await open_page(server.url, { locale: language === 'zh' ? 'zh-CN' : 'en-GB' });
    if (language === 'en') await page.getByTestId('language').click();
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
    await page.locator('.el-message').waitFor({ state: 'detached' });
    await page.mouse.move(0, 0);
    await shot(page, 'batch', { fullPage: true });
    await page.locator('details.options summary').click();
    await page.waitForTimeout(300);
    await shot(page, 'options', { fullPage: true });
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
    await page.waitForTimeout(600);
    await shot(page, 'queue');
    await open_tab(page, 'system');
    await shot(page, 'system', { fullPage: true });
    await ended();
    await open_tab(page, 'single');
    await choose(page, speech, [videos[0]]);
    await page.getByTestId('start').click();
    await page.locator('.result video').waitFor({ timeout: 120000 });
    await page.waitForTimeout(800);
    await shot(page, 'single', { fullPage: true });
    for (const tab of ['results', 'log']) {
        await open_tab(page, tab);
        await shot(page, tab);
    }
    await page.setViewportSize({ width: 390, height: 844 });
    for (const tab of tabs) {
        await open_tab(page, tab);
        await page.evaluate(() => window.scrollTo(0, 0));
        await shot(page, `phone-${tab}`);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.emulateMedia({ colorScheme: 'dark' });
    await open_tab(page, 'batch');
    await shot(page, 'dark');
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
