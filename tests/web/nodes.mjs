// Machines of a cluster on the system view, and their jobs in the rows. Against the mock.
//   node tests/web/nodes.mjs [part of a test's name]
import { run, temporary_folder, until } from '../e2e/server.mjs';
import { choose, close_browser, holds, open_page, open_tab } from './browser.mjs';
import { make_clip, make_speech } from './materials.mjs';
import { with_mock } from './mock_server.mjs';

const row_of = (page, name) => page.getByTestId('node').filter({ hasText: name });
const state_of = (page, name) => row_of(page, name).getByTestId('node-state');
const answer = (page, word) => page.locator('.el-message-box').getByRole('button', { name: word, exact: true }).click();

await run({
    async alone_there_is_one_quiet_line() {
        await with_mock({}, async (mock) => {
            const page = await open_page(mock.url);
            await open_tab(page, 'system');
            await page.getByTestId('alone').getByText('docs/cluster.md').waitFor();
            holds(await page.getByRole('region', { name: '机器', exact: true }).count() === 1, 'only this machine');
            holds(await page.getByTestId('node-add').count() === 0, 'nothing to add');
            page.faults();
            await page.context().close();
        });
    },

    async a_machine_is_added_and_its_secret_shown_once() {
        await with_mock({ cluster: true, beat: 300 }, async (mock) => {
            const page = await open_page(mock.url, { permissions: ['clipboard-read', 'clipboard-write'] });
            await open_tab(page, 'system');
            holds(await page.getByTestId('alone').count() === 0, 'no word of how to begin');
            await page.getByText('还没有机器').waitFor();
            mock.nodes.warnings = ['Redis 只在这台主机上能连接'];
            await page.getByTestId('node-add').click();
            const dialog = page.getByRole('dialog', { name: '添加机器' });
            const add = dialog.getByRole('button', { name: '添加机器' });
            await dialog.getByLabel('名称', { exact: false }).first().fill('-N 1');
            holds(await add.isDisabled(), 'that is no name');
            await dialog.getByLabel('名称', { exact: false }).first().fill('N1');
            await dialog.getByLabel('显示的名称').fill('机房一号');
            await add.click();
            const made = page.getByTestId('node-made');
            await made.waitFor();
            await made.getByText('Redis 只在这台主机上能连接').waitFor();
            const lines = await made.locator('code').allTextContents();
            holds(lines.length === 3 && lines[2].includes('--name n1'), lines.join('\n'));
            await made.getByRole('button', { name: '复制全部' }).click();
            await page.getByText('已复制').waitFor();
            holds(await page.evaluate(() => navigator.clipboard.readText()) === `${lines.join('\n')}\n`, 'all of it is in the clipboard');
            await made.getByRole('button', { name: '关闭' }).click();
            await made.waitFor({ state: 'detached' });
            const secret = /[0-9a-f]{64}/.exec(lines[0])[0];
            holds(!(await page.content()).includes(secret), 'the secret is gone');
            await state_of(page, '机房一号').getByText('还没有连接').waitFor();
            mock.nodes.hear('n1');
            await state_of(page, '机房一号').getByText('在线').waitFor();
            const text = await row_of(page, '机房一号').innerText();
            for (const word of ['n1', '最多 2 个', '16 核', '负载 3.2', '剩余 41.0 GB', '640 GB', '0.3.0', '刚刚']) holds(text.includes(word), `${word} is not in ${text}`);
            // The name is taken: the server's sentence, and what was typed stays.
            await page.getByTestId('node-add').click();
            page.quiet = true; // the browser tells of a 409
            await page.getByRole('dialog').locator('input[name=name]').fill('n1');
            await page.getByRole('dialog').getByRole('button', { name: '添加机器' }).click();
            await page.getByText('已有名为“n1”的机器').waitFor();
            holds(await page.getByRole('dialog').locator('input[name=name]').inputValue() === 'n1', 'it stays');
            page.faults();
            await page.context().close();
        });
    },

    async a_machine_says_why_it_does_nothing() {
        await with_mock({ cluster: true, beat: 300 }, async (mock) => {
            for (const name of ['a-old', 'b-bad', 'c-off', 'd-late', 'e-clock']) mock.nodes.add(name);
            mock.nodes.hear('a-old', { error: '版本 0.2.0 和主机的 0.3.0 不同，请装同一个版本', facts: { version: '0.2.0' } });
            mock.nodes.hear('b-bad', { error: '那里没有这个模型' });
            mock.nodes.hear('d-late');
            mock.nodes.silence('d-late');
            mock.nodes.hear('e-clock', { facts: { clock: Date.now() + 3600e3 + 125e3 } });
            const page = await open_page(mock.url);
            await open_tab(page, 'system');
            const words = { 'a-old': '版本不同', 'b-bad': '被拒', 'c-off': '还没有连接', 'd-late': '离线', 'e-clock': '在线' };
            for (const [name, word] of Object.entries(words)) holds(await state_of(page, name).innerText() === word, `${name}: ${await state_of(page, name).innerText()}`);
            await row_of(page, 'a-old').getByText('请装同一个版本').waitFor();
            await row_of(page, 'd-late').getByText(/\d:\d\d 前/).waitFor();
            await row_of(page, 'e-clock').getByText(/它的时钟快 1:02:0\d/).waitFor();
            holds(!(await row_of(page, 'b-bad').innerText()).includes('时钟'), 'a clock that is right is not spoken of');
            await page.getByTestId('redis').getByText('已连接').waitFor();
            Object.assign(mock.nodes.redis, { connected: false, error: '连不上 redis://127.0.0.1:6379/0：连接被拒绝' });
            mock.nodes.depot.error = '文件仓库拒绝了密钥';
            await page.getByTestId('redis').getByText('连接被拒绝').waitFor();
            await page.getByTestId('depot').getByText('文件仓库拒绝了密钥').waitFor();
            page.faults();
            await page.context().close();
        });
    },

    async a_machine_is_renamed_drained_renewed_and_removed() {
        await with_mock({ cluster: true, beat: 300 }, async (mock) => {
            const { secret } = mock.nodes.add('n1');
            mock.nodes.hear('n1');
            const page = await open_page(mock.url);
            await open_tab(page, 'system');
            await page.getByRole('button', { name: '重命名 n1' }).click();
            await page.keyboard.type('楼上');
            await page.keyboard.press('Enter');
            await row_of(page, '楼上').getByText('n1').waitFor();
            await page.getByRole('button', { name: '停止接活 楼上' }).click();
            await state_of(page, '楼上').getByText('停止接活').waitFor();
            holds(mock.nodes.rows.get('n1').draining, 'it is drained');
            await page.getByRole('button', { name: '恢复接活 楼上' }).click();
            await state_of(page, '楼上').getByText('在线').waitFor();
            await page.getByRole('button', { name: '换新密钥 楼上' }).click();
            await page.getByText('旧密钥立刻失效').waitFor();
            await answer(page, '换新密钥');
            const lines = await page.getByTestId('node-made').locator('code').allTextContents();
            holds(/[0-9a-f]{64}/.test(lines[0]) && !lines[0].includes(secret), 'another secret');
            await page.keyboard.press('Escape');
            await page.getByTestId('node-made').waitFor({ state: 'detached' });
            await page.getByRole('button', { name: '移除 楼上' }).click();
            await page.getByText('以后不能再连接').waitFor();
            await answer(page, '关闭');
            holds(mock.nodes.rows.size === 1, 'nothing is removed that was not said yes to');
            await page.getByRole('button', { name: '移除 楼上' }).click();
            await answer(page, '移除');
            await page.getByText('已移除“楼上”').waitFor();
            await until('its row to go', async () => await page.getByTestId('node').count() === 0);
            page.faults();
            await page.context().close();
        });
    },

    async a_job_says_that_it_waits_and_then_where_it_is_made() {
        const folder = temporary_folder();
        await with_mock({ cluster: true, beat: 300, workers: 0, pace: 0.2 }, async (mock) => {
            mock.nodes.add('n1', '机房一号');
            mock.nodes.hear('n1', { slots: 1 });
            mock.queue.holding = true;
            const page = await open_page(mock.url);
            await choose(page, make_speech(folder, '课程.wav', '大家好。'), [make_clip(folder, '老师.mp4', 0, 2)]);
            await page.getByTestId('start').click();
            const job = page.getByTestId('job').first();
            await job.getByText('等待机器').waitFor();
            holds(await job.getByTestId('job-bar').count() === 0, 'nothing moves yet');
            mock.queue.holding = false;
            await job.getByText('在“机房一号”上').waitFor();
            await job.getByTestId('job-bar').waitFor();
            mock.queue.sending = true;
            mock.queue.pace = 20;
            await job.getByText('传回结果').waitFor();
            holds(!/剩余/.test(await job.innerText()), 'nothing is said to be left');
            await open_tab(page, 'system');
            await row_of(page, '机房一号').getByText('在做 1 个，最多 1 个').waitFor();
            await page.getByRole('button', { name: '移除 机房一号' }).click();
            await page.getByText('它手上的 1 个任务会交给别的机器重做').waitFor();
            await answer(page, '移除');
            await until('the job to wait again', () => [...mock.queue.rows.job.values()][0].state === 'queued');
            page.faults();
        });
        await close_browser();
    },
});
