// `meson install` into an empty folder: what is installed there must run from there, wherever that
// is, and find its models, page, API and Chinese by itself.
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { root, run, Server, temporary_folder } from './server.mjs';

const holds = (value, what) => {
    if (!value) throw new Error(what);
};

const build = process.env.KOUBO_BUILD;
const folder = temporary_folder();
const installed = spawnSync(process.env.KOUBO_MESON,
    ['install', '-C', build, '--no-rebuild', '--quiet', '--destdir', path.join(folder, 'root')], { encoding: 'utf8' });
if (installed.status !== 0) throw new Error(`meson install: ${installed.stdout}${installed.stderr}`);
const prefix = path.join(folder, 'root', process.env.KOUBO_PREFIX);
const program = path.join(prefix, 'bin/koubo');

// Nothing of the source's folder: neither by a variable nor by where the test runs.
const environment = { PATH: process.env.PATH, HOME: folder, KOUBO_CACHE: path.join(folder, 'cache') };

function koubo(args, more = {}) {
    const child = spawnSync(program, args, { encoding: 'utf8', cwd: folder, env: { ...environment, ...more } });
    return { status: child.status, text: child.stdout + child.stderr };
}

function says(args, parts, more) {
    const { status, text } = koubo(args, more);
    for (const part of parts)
        holds(text.includes(part), `koubo ${args.join(' ')} (${status}) does not say '${part}':\n${text}`);
    return text;
}

const has_faces = existsSync(path.join(root, 'models/face/face_landmark_attention.tflite'));
const has_page = existsSync(path.join(root, 'web/dist/index.html'));

await run({
    async the_program_and_its_documents_are_there() {
        says(['--version', '-v'], ['koubo ', 'oneDNN']);
        for (const name of ['README.md', 'README.en.md', 'CHANGELOG.md', 'LICENSE'])
            holds(existsSync(path.join(prefix, 'share/doc/koubo', name)), `${name} is not installed`);
    },

    async models_are_found() {
        const text = says(['model', 'list'], ['koubo-lips.safetensors', 'koubo-lips-research.safetensors']);
        holds(text.startsWith(path.join(prefix, 'share/koubo/models')), `models of elsewhere:\n${text}`);
        holds(readdirSync(path.join(prefix, 'share/koubo/models')).includes('README.md'), 'the terms of the models');
    },

    async it_speaks_chinese() {
        says(['--help'], ['让视频里的人说出音频里的话'], { LANG: 'zh_CN.UTF-8' });
        const { text } = koubo(['generate', '-a', 'none.wav', '-i', 'none.mp4', '-o', 'x.mp4'], { LANG: 'zh_CN.UTF-8' });
        holds(text.includes('none.wav') && !text.includes('No such file'), `glibc's sentences are not Chinese:\n${text}`);
    },

    async a_picture_talks() {
        if (!has_faces) return 'the face models are not fetched';
        const clip = path.join(root, 'tests/clips/grid_lbax4n.mpg');
        const { status, text } = koubo(['generate', '-q', '-a', clip, '-i', clip, '--duration', '0.6', '-o', 'out.mp4']);
        holds(status === 0 && existsSync(path.join(folder, 'out.mp4')), `koubo generate (${status}):\n${text}`);
    },

    async the_server_serves_page_and_api() {
        const data = path.join(folder, 'data');
        mkdirSync(data);
        const server = await new Server(data, ['--workers', '1'], program, environment).start();
        try {
            const api = await server.request('/api/v1/openapi.yaml');
            holds(api.ok && (await api.text()).startsWith('openapi: 3.1'), `openapi.yaml: ${api.status}`);
            const page = await server.request('/');
            const text = await page.text();
            holds(has_page ? page.ok && text.includes('<script') : page.status === 503, `page: ${page.status} ${text}`);
        } finally {
            await server.kill('SIGTERM');
        }
    },
});
