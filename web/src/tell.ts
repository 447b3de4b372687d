// Short messages and questions.
import { ElMessage } from 'element-plus/es/components/message/index.mjs';
import { ElMessageBox } from 'element-plus/es/components/message-box/index.mjs';
import 'element-plus/theme-chalk/el-message.css';
import 'element-plus/theme-chalk/el-message-box.css';
import 'element-plus/theme-chalk/el-overlay.css';
import 'element-plus/theme-chalk/el-button.css';
import 'element-plus/theme-chalk/el-input.css';
import { ApiError } from './api';
import { t } from './i18n';

export const tell = (text: string) => ElMessage({ message: text, type: 'success', showClose: true });
export const warn = (text: string) => ElMessage({ message: text, type: 'warning', showClose: true });

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
    return ElMessageBox.confirm(text, { confirmButtonText: yes, cancelButtonText: t('common.close'), type: 'warning' })
        .then(() => true, () => false);
}
