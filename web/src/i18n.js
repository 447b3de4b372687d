// Chinese first, English by switch, remembered.
import { computed } from 'vue';
import { createI18n } from 'vue-i18n';
import en from './text/en.js';
import zh from './text/zh.js';

const saved = localStorage.getItem('koubo.language');

export const i18n = createI18n({
    legacy: false,
    locale: saved === 'en' ? 'en' : 'zh',
    fallbackLocale: 'zh',
    messages: { zh, en },
});

export const t = i18n.global.t;
export const language = () => i18n.global.locale.value;
export const isChinese = computed(() => language() === 'zh');

export function setLanguage(value) {
    i18n.global.locale.value = value;
    localStorage.setItem('koubo.language', value);
    document.documentElement.lang = value === 'zh' ? 'zh-CN' : 'en';
}
setLanguage(language());
