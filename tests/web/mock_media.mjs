// What the mock server needs to know about uploaded files, asked of ffmpeg and ffprobe; and zips.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

// {kind, duration, width, height, fps, codec, silent}, or null for what is neither sound nor film.
export async function probe(file) {
    let found;
    try {
        const { stdout } = await execute('ffprobe',
            ['-v', 'error', '-show_entries', 'format=duration:stream=codec_type,codec_name,width,height,r_frame_rate', '-of', 'json', file]);
        found = JSON.parse(stdout);
    } catch {
        return null;
    }
    const video = found.streams?.find((s) => s.codec_type === 'video');
    const audio = found.streams?.find((s) => s.codec_type === 'audio');
    if (!video && !audio) return null;
    const [count, per] = (video?.r_frame_rate ?? '0/1').split('/').map(Number);
    return {
        kind: video ? 'video' : 'audio',
        duration: Math.round(Number(found.format?.duration ?? 0.04) * 1000),
        width: video?.width ?? null,
        height: video?.height ?? null,
        fps: video && per ? Math.round((count / per) * 100) / 100 : null,
        codec: (video ?? audio).codec_name,
        silent: !audio,
    };
}

export function thumbnail(file, to) {
    return execute('ffmpeg', ['-v', 'error', '-y', '-i', file, '-frames:v', '1', '-vf', 'scale=480:-2', to]);
}

// The loudest of each of n pieces, 0..255.
export async function peaks(file, n) {
    const { stdout } = await execute('ffmpeg', ['-v', 'error', '-i', file, '-ac', '1', '-ar', '8000', '-f', 's16le', '-'],
        { encoding: 'buffer', maxBuffer: 1 << 28 });
    const samples = Math.floor(stdout.length / 2);
    const found = new Array(n).fill(0);
    for (let i = 0; i < samples; i++) {
        const at = Math.floor((i * n) / samples);
        found[at] = Math.max(found[at], Math.min(255, Math.abs(stdout.readInt16LE(2 * i)) >> 7));
    }
    return found;
}

const crcTable = Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
    return n >>> 0;
});

function crc32(bytes) {
    let crc = ~0;
    for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255] ^ (crc >>> 8);
    return ~crc >>> 0;
}

// A stored zip of [{name, bytes}], in memory.
export function zip(members) {
    const parts = [];
    const directory = [];
    let offset = 0;
    for (const { name, bytes } of members) {
        const utf8 = Buffer.from(name);
        const common = Buffer.alloc(26);
        common.writeUInt16LE(20, 0);
        common.writeUInt16LE(0x800, 2); // the name is UTF-8
        common.writeUInt16LE(0x5a21, 8); // a date; no method, no time
        common.writeUInt32LE(crc32(bytes), 10);
        common.writeUInt32LE(bytes.length, 14);
        common.writeUInt32LE(bytes.length, 18);
        common.writeUInt16LE(utf8.length, 22);
        parts.push(Buffer.from('PK\x03\x04'), common, utf8, bytes);
        const rest = Buffer.alloc(14);
        rest.writeUInt32LE(offset, 10);
        directory.push(Buffer.from('PK\x01\x02'), Buffer.from([20, 0]), common, rest, utf8);
        offset += 30 + utf8.length + bytes.length;
    }
    const index = Buffer.concat(directory);
    const end = Buffer.alloc(22);
    end.write('PK\x05\x06', 'latin1');
    end.writeUInt16LE(members.length, 8);
    end.writeUInt16LE(members.length, 10);
    end.writeUInt32LE(index.length, 12);
    end.writeUInt32LE(offset, 16);
    return Buffer.concat([...parts, index, end]);
}
