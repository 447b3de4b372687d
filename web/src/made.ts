// What a batch or one of its jobs was made with, in words.
import { i18n, t } from './i18n';
import { assets } from './live';
import { groups } from './options';
import type { OptionValue, Options, OwnOptions } from './types';

const fields = new Map(groups.flatMap((g) => g.fields).map((f) => [f.name, f]));
const sets: Record<string, string> = { // where the words of a choice stand
    ai_label: 'label.shows', alpha: 'background.alphas', ai_label_place: 'label.places', background: 'background.kinds', background_key: 'background.keys', logo_place: 'frame.places',
    subtitles: 'captions.sources', subtitles_as: 'captions.ways', subtitle_place: 'captions.places',
};
const LONGEST = 40;

// Options that name a file say its id.
export const isFile = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);

const known = (key: string) => i18n.global.te(key) || i18n.global.te(key, 'zh');

function valueOf(name: string, value: OptionValue | null): string {
    const field = fields.get(name);
    if (value === null) return t('options.default');
    if (typeof value === 'boolean') return t(value ? 'made.yes' : 'made.no');
    if (isFile(value)) return assets.get(value)?.name ?? '…';
    if (Array.isArray(value)) return name === 'subtitles' ? t('captions.edited', { n: value.length }) : value.join(' ');
    if (field?.kind === 'choice' && field.choices.some((c) => String(c) === String(value))) return field.label(value);
    if (field?.kind === 'film') return field.words.includes(String(value)) ? t(`options.words.${value}`) : t(`options.${field.own}`);
    if (field?.kind === 'switch') return t(value === field.on ? 'made.yes' : 'made.no');
    const words = sets[name] && `${sets[name]}.${String(value).replaceAll(',', '_')}`;
    if (words && known(words)) return t(words);
    const text = [...String(value)];
    return text.length > LONGEST ? `${text.slice(0, LONGEST).join('')}…` : text.join('');
}

const labelOf = (name: string) => [`made.names.${name}`, `options.${name}`].filter(known).map((key) => t(key))[0] ?? name;

// What holds for a job: its own options over those of its batch; null is the default again.
export const laidOver = (batch: Options, own: OwnOptions | null): Options =>
    Object.fromEntries(Object.entries({ ...batch, ...own }).filter((e): e is [string, OptionValue] => e[1] !== null));

export const wordsOf = (options: OwnOptions) =>
    Object.entries(options).map(([name, value]) => ({ name, label: labelOf(name), value: valueOf(name, value) }));
