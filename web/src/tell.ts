// Short messages and questions.
import { ElMessage } from 'element-plus/es/components/message/index.mjs';
import { ElMessageBox } from 'element-plus/es/components/message-box/index.mjs';
import 'element-plus/theme-chalk/el-message.css';
import 'element-plus/theme-chalk/el-message-box.css';
import 'element-plus/theme-chalk/el-overlay.css';
import 'element-plus/theme-chalk/el-button.css';
import 'element-plus/theme-chalk/el-input.css';
import { h } from 'vue';
import { ApiError } from './api';
import { t } from './i18n';

const UNDO_MS = 8000;

export const tell = (text: string) => ElMessage({ message: text, type: 'success', showClose: true });
export const warn = (text: string) => ElMessage({ message: text, type: 'warning', showClose: true });

// Something was done that can be undone for a while, then is final.
export function offerUndo(text: string, { undo, forget }: { undo: () => void; forget: () => void }) {
    let isUndone = false;
    const take = () => {
        isUndone = true;
        undo();
        message.close();
    };
    const message = ElMessage({
        message: h('span', [text, ' ', h('button', { type: 'button', class: 'link', onClick: take }, t('common.undo'))]),
        placement: 'bottom',
        duration: UNDO_MS,
        showClose: true,
        onClose: () => { if (!isUndone) forget(); },
    });
}

// Runs an action; its error becomes a message. The answer, or undefined.
export async function attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
    try {
        return await action();
    } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.status !== 401) // the dialog asks for the token
            ElMessage({ message: error.status ? error.message : t('error.connection'), type: 'error', showClose: true, duration: 8000 });
        return undefined;
    }
}

export function ask(text: string, yes: string): Promise<boolean> {
    return ElMessageBox.confirm(text, yes, { confirmButtonText: yes, cancelButtonText: t('common.close'), type: 'warning' })
        .then(() => true, () => false);
}

// A line of text; null: nothing was said.
export function askText(title: string, label: string, value: string): Promise<string | null> {
    return ElMessageBox.prompt(label, title, {
        inputValue: value, confirmButtonText: t('common.save'), cancelButtonText: t('common.close'), inputValidator: (text) => Boolean(text?.trim()) && text.length <= 100,
        inputErrorMessage: label,
    }).then((answer) => ('value' in answer ? answer.value.trim() : null), () => null);
}

export async function copy(text: string) {
    if (navigator.clipboard) {
        await navigator.clipboard.writeText(text).catch(() => {});
    } else { // a page that is not served over https
        const area = Object.assign(document.createElement('textarea'), { value: text });
        document.body.append(area);
        area.select();
        document.execCommand('copy');
        area.remove();
    }
    tell(t('common.copied'));
}
