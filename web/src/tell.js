// Short messages and questions.
import { ElMessage } from 'element-plus/es/components/message/index.mjs';
import { ElMessageBox } from 'element-plus/es/components/message-box/index.mjs';
import 'element-plus/theme-chalk/el-message.css';
import 'element-plus/theme-chalk/el-message-box.css';
import 'element-plus/theme-chalk/el-overlay.css';
import 'element-plus/theme-chalk/el-button.css';
import 'element-plus/theme-chalk/el-input.css';
import { t } from './i18n.js';

export const tell = (text) => ElMessage({ message: text, type: 'success', showClose: true });
export const warn = (text) => ElMessage({ message: text, type: 'warning', showClose: true });

export function tellError(error) {
    const text = error.status === 0 ? t('error.connection') : error.message;
    ElMessage({ message: text, type: 'error', showClose: true, duration: 8000 });
}

// Runs an action; its error becomes a message. The answer, or undefined.
export async function attempt(action) {
    try {
        return await action();
    } catch (error) {
        tellError(error);
        return undefined;
    }
}

export function ask(text, yes) {
    return ElMessageBox.confirm(text, { confirmButtonText: yes, cancelButtonText: t('common.close'), type: 'warning' })
        .then(() => true, () => false);
}
