// The machines of the mock: rows, and pretended places on them, which are workers of its queue.
import { randomBytes } from 'node:crypto';

const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;

export class Nodes {
    constructor(queue) {
        this.queue = queue;
        this.rows = new Map();
        this.redis = { place: 'redis://127.0.0.1:6379/0', connected: true, since: Date.now(), version: '7.0.15', error: null };
        this.warnings = [];
        this.depot = { place: null, kind: 'http', error: null };
    }

    cluster() {
        const offers = [...this.queue.rows.job.values()].filter((j) => j.worker === '').length;
        return { redis: this.redis, depot: this.depot, offers, arriving: 0 };
    }

    places(name) {
        return this.queue.workers.filter((w) => w.node?.name === name);
    }

    shown(node) {
        const jobs = [...this.queue.rows.job.values()].filter((j) => j.worker === node.name).map((j) => j.id);
        return { ...node, jobs };
    }

    list() {
        return [...this.rows.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).map((n) => this.shown(n));
    }

    // Two sentences why not, or null.
    fault(name) {
        if (!NAME.test(name)) return ['机器的名称只能有小写字母、数字和连字符，最多 32 个', 'the name of a machine has small letters, digits and hyphens, at most 32'];
        if (this.rows.has(name)) return [`已有名为“${name}”的机器`, `there is a machine called '${name}' already`];
        return null;
    }

    add(name, title = name) {
        this.rows.set(name, { name, title, state: 'new', draining: false, slots: 0, heard: null, created: Date.now(), error: null, facts: null });
        return this.secret(name);
    }

    secret(name) {
        const secret = randomBytes(32).toString('hex');
        return {
            node: this.shown(this.rows.get(name)), secret,
            warnings: this.warnings,
            commands: [
                `printf '%s\\n' '${secret}' | install -D -m 600 /dev/stdin ~/.config/koubo/${name}.token`,
                `printf '%s\\n' 'redis://192.168.1.5:6379/0' | install -D -m 600 /dev/stdin ~/.config/koubo/${name}.cluster`,
                `koubo node --name ${name} --cluster-file ~/.config/koubo/${name}.cluster --token-file ~/.config/koubo/${name}.token --depot 'http://192.168.1.5:7860'`,
            ],
        };
    }

    // It has told of itself, as it does every second.
    hear(name, { slots = 2, error = null, facts = {} } = {}) {
        const node = this.rows.get(name);
        Object.assign(node, {
            slots: error ? 0 : slots, heard: Date.now(), error,
            facts: {
                version: '0.3.0', workers: slots, cores: 16, cpu: 'AMD EPYC 7543P', load: 3.2, memory: { total: 67.2e9, available: 41e9 },
                disk: { total: 1.02e12, free: 640e9 }, cache: 3e9, gpus: [], clock: Date.now(), draining: false, ...facts,
            },
        });
        this.settle(node);
        for (let i = this.places(name).length; i < node.slots; i++) {
            this.queue.workers.push({ id: name, node, kind: 'generate', state: 'idle', job: null, heartbeat: Date.now() });
        }
        return node;
    }

    settle(node) {
        node.state = !node.heard ? 'new' : node.error ? 'refused' : node.draining ? 'draining' : 'active';
    }

    silence(name) {
        const heard = Date.now() - 95000;
        Object.assign(this.rows.get(name), { state: 'silent', heard });
        this.rows.get(name).facts.clock = heard;
    }

    change(name, { title, draining }) {
        const node = this.rows.get(name);
        if (title !== undefined) node.title = title || name;
        if (draining !== undefined) node.draining = draining;
        this.settle(node);
        return this.shown(node);
    }

    // Its jobs go to others.
    remove(name) {
        for (const { job } of this.places(name)) if (job) this.queue.giveBack(this.queue.rows.job.get(job));
        this.queue.workers = this.queue.workers.filter((w) => w.node?.name !== name);
        this.rows.delete(name);
    }
}
