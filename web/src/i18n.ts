// The browser's own language at first: Chinese where it is asked for before English, else English.
// What somebody chooses by the switch is remembered.
import { computed, watchEffect } from 'vue';
import { createI18n } from 'vue-i18n';
import en from './text/en';
import zh from './text/zh';

export type Language = 'zh' | 'en';
const KEY = 'koubo.language';

function first(): Language {
    const chosen = localStorage.getItem(KEY);
    if (chosen === 'zh' || chosen === 'en') return chosen;
    const wanted = navigator.languages.map((l) => l.slice(0, 2)).find((l) => l === 'zh' || l === 'en');
    return wanted === 'zh' ? 'zh' : 'en';
}

export const i18n = createI18n({
    legacy: false,
    locale: first(),
    fallbackLocale: 'zh',
    messages: { zh, en },
});

export const t = (key: string, values: Record<string, unknown> = {}): string => i18n.global.t(key, values);
export const language = () => i18n.global.locale.value as Language;
export const isChinese = computed(() => language() === 'zh');

watchEffect(() => { document.documentElement.lang = isChinese.value ? 'zh-CN' : 'en'; });

export function setLanguage(value: Language) {
    i18n.global.locale.value = value;
    localStorage.setItem(KEY, value);
}
