// Chinese first, English by switch, remembered.
import { computed } from 'vue';
import { createI18n } from 'vue-i18n';
import en from './text/en';
import zh from './text/zh';

export type Language = 'zh' | 'en';
const KEY = 'koubo.language';

export const i18n = createI18n({
    legacy: false,
    locale: localStorage.getItem(KEY) === 'en' ? 'en' : 'zh',
    fallbackLocale: 'zh',
    messages: { zh, en },
});

export const t = (key: string, values: Record<string, unknown> = {}): string => i18n.global.t(key, values);
export const language = () => i18n.global.locale.value as Language;
export const isChinese = computed(() => language() === 'zh');

export function setLanguage(value: Language) {
    i18n.global.locale.value = value;
    localStorage.setItem(KEY, value);
    document.documentElement.lang = value === 'zh' ? 'zh-CN' : 'en';
}
setLanguage(language());
