// What must be true of a data folder when the storm is over, looked at from outside: the rows, the
// files, the films, the processes.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

// Processes that name the data folder, but for this one.
export function processes_of(data) {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid).flatMap((name) => {
        try {
            const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
            const zombie = /^State:\s+Z/m.test(readFileSync(`/proc/${name}/status`, 'utf8'));
            return command.includes(data) && !zombie ? [{ pid: Number(name), command: command.join(' ') }] : [];
        } catch {
            return []; // it has just ended
        }
    });
}

// Every result is there in the size that is told, and a film with picture and sound, as long as its
// speech. How many were looked at.
export async function check_results(server, results, lengths, complain) {
    const look = async (result) => {
        const response = await server.request(result.video);
        const bytes = Buffer.from(await response.arrayBuffer());
        if (response.status !== 200 || bytes.length !== result.size) {
            complain(`result ${result.job}: ${response.status}, ${bytes.length} bytes instead of ${result.size}`);
            return;
        }
        const file = path.join(server.data, '..', `result-${result.job}.mp4`);
        writeFileSync(file, bytes);
        try {
            const { stdout } = await execute('ffprobe', ['-v', 'error', '-count_frames', '-show_entries',
                'format=duration:stream=codec_type,nb_read_frames', '-of', 'json', file]);
            const { format, streams } = JSON.parse(stdout);
            const frames = (type) => Number(streams.find((s) => s.codec_type === type)?.nb_read_frames ?? 0);
            const wanted_s = lengths.get(result.source.audio);
            if (frames('video') === 0 || frames('audio') === 0)
                complain(`result ${result.job} has ${frames('video')} pictures and ${frames('audio')} pieces of sound`);
            if (wanted_s && Math.abs(Number(format.duration) - wanted_s) > 0.2)
                complain(`result ${result.job} is ${format.duration} s long, its speech ${wanted_s} s`);
        } catch (error) {
            complain(`result ${result.job} cannot be played: ${error.stderr ?? error}`);
        }
    };
    const left = [...results];
    await Promise.all([1, 2, 3].map(async () => {
        while (left.length > 0) await look(left.pop());
    }));
    return results.length;
}

const QUESTIONS = `
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
ask = lambda sql: [list(row) for row in db.execute(sql)]
print(json.dumps({
    "integrity": ask("PRAGMA integrity_check"),
    "foreign": ask("PRAGMA foreign_key_check"),
    "held": ask("SELECT id, state FROM job WHERE state IN ('done','failed','cancelled','skipped') AND lease IS NOT NULL"),
    "open": ask("SELECT b.id FROM batch b WHERE (b.ended_ms IS NULL) <> EXISTS (SELECT 1 FROM job j WHERE j.batch = b.id"
                " AND j.state NOT IN ('done','failed','cancelled','skipped')) AND EXISTS (SELECT 1 FROM job j WHERE j.batch = b.id)"),
    "results": [row[0] for row in ask("SELECT result FROM job WHERE result IS NOT NULL")],
    "contents": [row[0] for row in ask("SELECT DISTINCT sha256 FROM asset WHERE sha256 IS NOT NULL")],
}))`;

// The database, as SQLite and not koubo reads it, after 'koubo clean'.
export function check_rows(server, complain) {
    const cleaned = spawnSync(server.binary, ['clean', '--lang', 'en', '--data', server.data],
        { encoding: 'utf8', env: server.environment });
    if (cleaned.status !== 0) complain(`koubo clean: ${cleaned.stderr}`);
    const asked = spawnSync('python3', ['-c', QUESTIONS, path.join(server.data, 'koubo.db')], { encoding: 'utf8' });
    if (asked.status !== 0) throw new Error(asked.stderr);
    const rows = JSON.parse(asked.stdout);
    if (JSON.stringify(rows.integrity) !== '[["ok"]]') complain(`the database: ${JSON.stringify(rows.integrity)}`);
    if (rows.foreign.length > 0) complain(`rows without their row: ${JSON.stringify(rows.foreign)}`);
    if (rows.held.length > 0) complain(`ended jobs that somebody holds: ${JSON.stringify(rows.held)}`);
    if (rows.open.length > 0) complain(`batches that do not know whether they have ended: ${JSON.stringify(rows.open)}`);
    return rows;
}

// Results that the server said it leaves where they are. While its clock is behind the disk's, a file looks
// as if it were written long after its worker was last heard of, as after an older backup was put back.
function left_on_purpose(server) {
    const logs = path.join(server.data, 'logs');
    const lines = readdirSync(logs).flatMap((name) => readFileSync(path.join(logs, name), 'utf8').split('\n'));
    return lines.flatMap((line) => / 'results\/(.*)' was written long after/.exec(line)?.[1] ?? []);
}

// The folder holds what the rows say and nothing else: no halves, no orphans.
export function check_folder(server, rows, complain) {
    const below = (folder) => readdirSync(path.join(server.data, folder), { recursive: true })
        .filter((name) => lstatSync(path.join(server.data, folder, name)).isFile()).sort();
    const compare = (what, have, wanted) => {
        const more = have.filter((name) => !wanted.includes(name)), less = wanted.filter((name) => !have.includes(name));
        if (more.length > 0) complain(`${what} that no row names: ${more.slice(0, 5).join(', ')} (${more.length})`);
        if (less.length > 0) complain(`${what} that are missing: ${less.slice(0, 5).join(', ')} (${less.length})`);
    };
    const halves = below('.').filter((name) => name.endsWith('.part'));
    if (halves.length > 0) complain(`halves: ${halves.join(', ')}`);
    const left_there = left_on_purpose(server);
    compare('results', below('results').filter((name) => name.endsWith('.mp4')
        && (rows.results.includes(name) || !left_there.includes(name))), rows.results);
    compare('contents', below('files'), rows.contents);
    for (const name of below('files'))
        if (createHash('sha256').update(readFileSync(path.join(server.data, 'files', name))).digest('hex') !== name)
            complain(`files/${name} is another content`);
    const left = below('work');
    if (left.length > 0) complain(`workers left ${left.join(', ')}`);
}
