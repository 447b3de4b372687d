// The options of a batch as the form shows them. A value equal to the standard is not sent.
import { t } from './i18n';
import type { Selection } from './selection';
import type { OptionValue } from './types';

interface Common {
    name: string;
    standard: OptionValue;
}
export type Field = Common & (
    | { kind: 'choice'; choices: (string | number)[]; label: (value: string | number) => string }
    | { kind: 'number'; min: number; max?: number; step: number }
    | { kind: 'switch'; on: OptionValue }
    | { kind: 'pads' }
    // One of the uploaded videos. own: the text of each video itself; words: what may be said instead of a video.
    | { kind: 'film'; own: string; words: string[] });

const choice = (name: string, choices: (string | number)[], label: (v: string | number) => string): Field =>
    ({ name, kind: 'choice', choices, standard: choices[0], label });
const number = (name: string, standard: OptionValue, min: number, max: number | undefined, step: number): Field =>
    ({ name, kind: 'number', standard, min, max, step });
const onOff = (name: string, on: OptionValue = true): Field => ({ name, kind: 'switch', standard: on === false, on });
const orAuto = (v: string | number) => (v === 'auto' ? t('options.auto') : String(v));

// The group that only counts for Wav2Lip models.
export const WAV2LIP = 'wav2lip';

export const groups: { name: string; fields: Field[] }[] = [
    {
        name: 'who',
        fields: [
            choice('face', ['largest', 'left', 'center', 'right', '1', '2', '3', '4'],
                (v) => (/^\d$/.test(String(v)) ? t('options.faceNumber', { n: v }) : t(`options.faces.${v}`))),
        ],
    },
    {
        name: 'time',
        fields: [
            choice('loop', ['pingpong', 'restart', 'freeze', 'none'], (v) => t(`options.loops.${v}`)),
            number('start', '', 0, undefined, 0.1),
            number('duration', '', 0.1, undefined, 0.1),
            onOff('keep_video'),
        ],
    },
    {
        name: 'picture',
        fields: [
            choice('height', [0, 1080, 720, 480, 360], (v) => (v ? `${v}p` : t('options.original'))),
            number('crf', 18, 0, 51, 1),
            choice('preset', ['auto', 'ultrafast', 'superfast', 'veryfast', 'faster', 'fast', 'medium', 'slow', 'slower', 'veryslow', 'placebo'], orAuto),
            choice('hdr', ['sdr', 'keep'], (v) => t(`options.hdrs.${v}`)),
            onOff('bitrate', 'source'),
            onOff('copy', false),
            onOff('denoise'),
            onOff('loudnorm'),
        ],
    },
    {
        name: 'mouth',
        fields: [
            number('mouth_amount', 1, 0, 3, 0.1),
            { name: 'mouth_from', kind: 'film', standard: '', own: 'ownMouth', words: [] },
            { name: 'style_from', kind: 'film', standard: '', own: 'ownStyle', words: ['no'] },
            number('still_motion', 0.5, 0, 1, 0.1),
        ],
    },
    {
        name: WAV2LIP,
        fields: [
            onOff('paint', false),
            onOff('nosmooth'),
            number('sharpen', 0, 0, 5, 0.1),
            number('mask_feather', 0.1, 0, 1, 0.01),
            number('mask_dilate', 0.04, 0, 1, 0.01),
            { name: 'pads', kind: 'pads', standard: [0, 10, 0, 0] },
        ],
    },
    { name: 'compute', fields: [choice('precision', ['auto', 'int8', 'bf16', 'f32'], orAuto)] },
];

const texts = new Set(['model', 'precision', 'face', 'loop', 'bitrate', 'preset', 'hdr', 'alpha', 'mouth_from', 'style_from', 'crop', 'logo', 'logo_place', 'intro',
    'outro', 'music', 'background', 'background_key', 'ai_label', 'ai_label_text', 'ai_label_place', 'ai_producer', 'subtitles', 'subtitles_text',
    'subtitles_as', 'subtitle_colour', 'subtitle_place', 'subtitle_font']);
// Does the option take a text? Others take a number, true or false, or a list.
export const isText = (name: string) => texts.has(name);

// What is undefined or empty is as if nobody had chosen it.
export function changeOptions({ state, save }: Selection, changes: Record<string, OptionValue | undefined>) {
    const next = { ...state.options };
    for (const [name, value] of Object.entries(changes)) {
        if (value === undefined || value === '') delete next[name];
        else next[name] = value;
    }
    state.options = next;
    save();
}
