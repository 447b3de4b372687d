// Pictures of every view in both languages: node tests/web/screenshots.mjs [folder]
// Real jobs on the demo's photographs; for docs/pictures and for one's own eyes.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { program, root, Server, sleep, temporary_folder, until } from '../e2e/server.mjs';
import { close_browser, open_page } from './browser.mjs';

const out = process.argv[2] ?? 'screenshots';
mkdirSync(out, { recursive: true });
const folder = temporary_folder();
const tabs = ['batch', 'single', 'queue', 'results', 'log', 'system'];

function koubo(...words) {
    const done = spawnSync(program, words, { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(done.stderr);
}

const speech = path.join(folder, '第一课.wav');
spawnSync('espeak-ng', ['-v', 'cmn', '-s', '150', '-w', speech,
    '大家好，欢迎来到今天的课程。我们先来看一个例子，然后一起做练习。有问题请随时提出来，我们慢慢讲清楚。']);
const videos = ['王老师-开场', '李老师-讲解', '张老师-总结', '产品介绍'].map((name, i) => {
    const file = path.join(folder, `${name}.mp4`);
    const photo = path.join(root, `node_modules/@vladmandic/face-api/demo/sample${[1, 2, 5, 6][i]}.jpg`);
    koubo('generate', '-q', '-a', speech, '-i', photo, '-o', file, '--no-cache', '--height', '720');
    return file;
});
const landscape = path.join(folder, '空镜头.mp4');
spawnSync('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', 'gradients=s=1280x720:d=8:speed=0.02', '-pix_fmt', 'yuv420p', landscape]);
const broken = path.join(folder, '损坏的.mp4');
writeFileSync(broken, 'not a video '.repeat(300));

for (const language of ['zh', 'en']) {
    const data = path.join(folder, `data-${language}`);
    const server = await new Server(data, ['--workers', '2']).start();
    const page = await open_page(server, { locale: language === 'zh' ? 'zh-CN' : 'en-GB' });
    if (language === 'en') await page.getByTestId('language').click();
    await page.getByTestId('audio-input').setInputFiles(speech);
    await page.getByTestId('video-input').setInputFiles([...videos, landscape, broken]);
    await until('the start button', () => page.getByTestId('start').isEnabled());
    await until('thumbnails', async () => await page.getByTestId('video-row').locator('img').count() === 5);
    await page.getByTestId('start').click();
    await page.getByTestId('batch').waitFor();
    await page.getByTestId('video-row').first().getByRole('button').first().click();
    await until('progress', async () => (await server.list('/jobs')).some((j) => j.state === 'generating' && j.progress > 0.6));
    await sleep(400);
    await page.screenshot({ path: path.join(out, `batch-${language}.png`), fullPage: true });
    await until('the end', async () => (await server.list('/batches')).every((b) => b.state === 'ended'), 120000);
    await server.api('POST', '/batches', {
        audio: (await server.list('/assets?kind=audio'))[0].id,
        videos: (await server.list('/assets?kind=video')).slice(0, 3).map((a) => a.id), name: '第二课',
    });
    await page.getByTestId('tab-single').click();
    await page.getByTestId('audio-input').setInputFiles(speech);
    await page.getByTestId('video-input').setInputFiles(videos[3]);
    await until('the start button', () => page.getByTestId('start').isEnabled());
    await page.getByTestId('start').click();
    await page.locator('.result video').waitFor({ timeout: 120000 });
    for (const tab of tabs.slice(1)) {
        await page.getByTestId(`tab-${tab}`).click();
        await page.waitForTimeout(tab === 'system' ? 4000 : 1200);
        if (tab === 'queue') {
            await page.locator('.queued .job-name').last().click();
            await page.waitForTimeout(500);
        }
        await page.screenshot({ path: path.join(out, `${tab}-${language}.png`), fullPage: tab !== 'log' });
    }
    await page.setViewportSize({ width: 390, height: 844 });
    for (const tab of ['batch', 'results']) {
        await page.getByTestId(`tab-${tab}`).click();
        await page.waitForTimeout(800);
        await page.screenshot({ path: path.join(out, `${tab}-phone-${language}.png`) });
    }
    await page.context().close();
    await server.kill('SIGTERM');
}
await close_browser();
process.exit();
