// Files in the checkpoint: what is captured, what is not and says so, and what it costs.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { project, removeAll } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
});
afterEach(removeAll);
afterAll(removeAll);

/** @param {Parameters<typeof at.place>} words */
const place = (...words) => at.place(...words);
/** @param {Parameters<typeof at.put>} words */
const put = (...words) => at.put(...words);
/** @param {string} id */
const paths = (id) => manager.filesSync('demo', id).map((one) => `${one.root}:${one.path}`);
const RUN = '.claude/context/runs/demo';

describe('what is captured', () => {
  test('the files of the run, but not what the manifest carries', () => {
    put(`${RUN}/run-summary.md`, '# summary');
    put(`${RUN}/artifacts/deep/plan.md`, '# plan');
    put(`${RUN}/state.json`, '{}');
    put(`${RUN}/run.json.lock`, '{}');
    fs.rmSync(place(`${RUN}/run.json.lock`));
    const { checkpointId, snapshot } = manager.createSync('demo', 1);
    expect(snapshot).toMatchObject({ files: 2, bytes: 15, withheld: 0, partial: false });
    expect(paths(checkpointId)).toEqual([
      'run:artifacts',
      'run:artifacts/deep',
      'run:artifacts/deep/plan.md',
      'run:run-summary.md',
    ]);
    expect(manager.readFileSync('demo', checkpointId, 'artifacts/deep/plan.md').toString()).toBe(
      '# plan',
    );
  });

  test('artifacts of the registry elsewhere in the project, also ignored ones', () => {
    put('.gitignore', 'dist/\n');
    put('dist/bundle.js', 'bundled');
    put('other.js', 'not asked for');
    const registry = JSON.parse(fs.readFileSync(place(`${RUN}/artifact-registry.json`), 'utf8'));
    registry.artifacts = {
      bundle: { name: 'bundle', path: place('dist/bundle.js') },
      gone: { name: 'gone', path: place('dist/gone.js') },
      outside: { name: 'outside', path: '/etc/hostname' },
      sneaky: { name: 'sneaky', path: `${at.root}/src/../../../etc/passwd` },
    };
    fs.writeFileSync(place(`${RUN}/artifact-registry.json`), JSON.stringify(registry, null, 2));
    const { checkpointId, snapshot } = manager.createSync('demo', 1);
    expect(paths(checkpointId).filter((one) => !one.startsWith('run:'))).toEqual([
      'artifacts:dist',
      'artifacts:dist/bundle.js',
    ]);
    expect(snapshot?.missing).toEqual(['dist/gone.js']);
  });

  test('the workspace, by rules', () => {
    put('.gitignore', '*.log\nout/\n');
    put('.waymarkignore', '*.tmp\n');
    for (const name of [
      'src/a.js',
      'b.log',
      'c.tmp',
      'out/d',
      'node_modules/e/f.js',
      '.git/HEAD',
    ]) {
      put(name, name);
    }
    const all = manager.createSync('demo', 1, {}, { capture: { workspace: true } });
    const found = paths(all.checkpointId).filter((one) => one.startsWith('workspace:'));
    expect(found).toContain('workspace:src/a.js');
    for (const name of ['b.log', 'c.tmp', 'out/d', 'node_modules', '.git', '.waymark', RUN]) {
      expect(found).not.toContain(`workspace:${name}`);
    }
    const some = manager.createSync(
      'demo',
      2,
      {},
      {
        capture: { workspace: ['src', 'out'], include: ['*.log'], exclude: ['a.js'] },
      },
    );
    expect(paths(some.checkpointId).filter((one) => one.startsWith('workspace:'))).toEqual([
      'workspace:d',
    ]);
  });

  test('nothing, where nothing is asked for', () => {
    put(`${RUN}/run-summary.md`, '# summary');
    const made = manager.createSync('demo', 1, {}, { capture: false });
    expect(made.snapshot).toBeUndefined();
    expect(made.checkpoint.snapshot).toBeNull();
    expect(fs.readdirSync(place('.waymark/objects'))).toEqual([]);
  });

  test('as configured, and what a call says wins member by member', () => {
    put('waymark.config.json', '{"capture":{"workspace":["src"],"exclude":["x.js"]}}');
    put('src/a.js', 'a');
    put('src/x.js', 'x');
    expect(paths(manager.createSync('demo', 1).checkpointId)).toContain('workspace:a.js');
    const second = manager.createSync('demo', 2, {}, { capture: { exclude: [] } });
    expect(paths(second.checkpointId)).toContain('workspace:x.js');
    put('waymark.config.json', '{"capture":{"workspaces":true}}');
    expect(() => manager.createSync('demo', 3)).toThrow(/capture\.workspaces is not known/);
  });

  test("the configuration and the store are the runs' project's, wherever the command starts", async () => {
    const config = '{"store":"elsewhere","keepLast":1,"capture":{"workspace":["src"]}}';
    put('packages/waymark.config.json', config);
    put('src/a.js', 'a');
    put('packages/src/b.js', 'b');
    const create = async () => {
      const made = await waymark(['create', 'demo', '--step', '1', '--json'], {
        cwd: place('packages'),
      });
      expect(made).toMatchObject({ code: 0, stderr: '' });
      return JSON.parse(made.stdout).checkpointId;
    };
    put(`${RUN}/artifacts/plan.md`, '# plan');
    await create();
    expect(paths(await create()).filter((one) => one.startsWith('workspace'))).toEqual([]);
    expect(manager.listSync('demo')).toHaveLength(2);
    expect(fs.existsSync(place('.waymark/objects'))).toBe(true);
    put('waymark.config.json', config);
    expect(paths(await create())).toContain('workspace:a.js');
    expect(manager.listSync('demo')).toHaveLength(1);
    expect(fs.existsSync(place('elsewhere/objects'))).toBe(true);
    expect(manager.doctorSync()).toMatchObject({
      storeDir: place('elsewhere'),
      configFile: place('waymark.config.json'),
    });
  });

  test('ignore files above a chosen folder count', () => {
    put('.gitignore', '*.log\n/src/out/\n');
    for (const name of ['src/a.js', 'src/b.log', 'src/out/c.js', 'src/deep/d.log']) put(name, name);
    const { checkpointId } = manager.createSync('demo', 1, {}, { capture: { workspace: ['src'] } });
    expect(paths(checkpointId).filter((one) => one.startsWith('workspace'))).toEqual([
      'workspace:a.js',
      'workspace:deep',
    ]);
  });

  test('the mode of a captured folder is kept', () => {
    put('src/a.js', 'a');
    fs.chmodSync(place('src'), 0o2750);
    const { checkpoint } = manager.createSync('demo', 1, {}, { capture: { workspace: ['src'] } });
    const root = checkpoint.snapshot?.roots.find((one) => one.name === 'workspace');
    const bits = process.platform === 'win32' ? expect.any(Number) : 0o2750;
    expect(root).toEqual({ name: 'workspace', path: 'src', tree: expect.any(String), mode: bits });
  });

  test('the store ignores itself', () => {
    put(`${RUN}/a.md`, 'a');
    manager.createSync('demo', 1);
    expect(fs.readFileSync(place('.waymark/.gitignore'), 'utf8')).toBe('*\n');
  });
});

describe('what is not captured says so', () => {
  test('secrets are known by hash and size, their content is nowhere', () => {
    put(`${RUN}/.env`, 'TOKEN=very-secret-indeed');
    const { checkpointId, snapshot } = manager.createSync('demo', 1);
    expect(snapshot).toMatchObject({ files: 0, withheld: 1, partial: false });
    expect(() => manager.readFileSync('demo', checkpointId, '.env')).toThrow(
      expect.objectContaining({ code: 'ERR_FILE_WITHHELD' }),
    );
    for (const name of fs.readdirSync(place('.waymark/objects'))) {
      expect(fs.readFileSync(place(`.waymark/objects/${name}`)).includes('very-secret')).toBe(
        false,
      );
    }
    const plain = manager.createSync('demo', 2, {}, { capture: { secrets: false } });
    expect(plain.snapshot).toMatchObject({ files: 1, withheld: 0 });
  });

  test('a checkpoint that lacks something is partial, or refused', async () => {
    put(`${RUN}/large.bin`, Buffer.alloc(2000));
    put(`${RUN}/small.bin`, Buffer.alloc(10));
    const capture = /** @type {const} */ ({ maxFileBytes: 1000 });
    const { snapshot } = manager.createSync('demo', 1, {}, { capture });
    expect(snapshot).toMatchObject({
      partial: true,
      problems: [{ root: 'run', path: 'large.bin', reason: 'too_large', size: 2000 }],
      problemsTotal: 1,
    });
    const before = manager.listSync('demo').length;
    await expect(
      manager.create('demo', 2, {}, { capture: { ...capture, onPartial: 'error' } }),
    ).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_PARTIAL', runId: 'demo' });
    expect(manager.listSync('demo').length).toBe(before);
  });
});

describe('what it costs', () => {
  test('nothing unchanged is stored again, also for another run', () => {
    put('src/data.bin', Buffer.from(Array.from({ length: 300_000 }, (_, n) => (n * n) % 251)));
    const capture = { workspace: ['src'] };
    const first = manager.createSync('demo', 1, {}, { capture });
    expect(first.snapshot?.addedBytes).toBeGreaterThan(100);
    expect(manager.createSync('demo', 2, {}, { capture }).snapshot?.addedBytes).toBe(0);
    fs.cpSync(place(RUN), path.join(at.runsDir, 'other'), { recursive: true });
    fs.rmSync(path.join(at.runsDir, 'other', 'checkpoints'), { recursive: true });
    for (const name of ['run.json', 'artifact-registry.json']) {
      const file = path.join(at.runsDir, 'other', name);
      fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replaceAll('demo', 'other'));
    }
    expect(manager.createSync('other', 1, {}, { capture }).snapshot).toMatchObject({
      files: 1,
      addedBytes: 0,
    });
  });

  test('progress is told while it runs', async () => {
    for (let n = 0; n < 200; n += 1) put(`src/${n}.txt`, `${n}`.repeat(500));
    /** @type {api.Progress[]} */
    const seen = [];
    await manager.create(
      'demo',
      1,
      {},
      {
        capture: { workspace: ['src'] },
        onProgress: (progress) => seen.push(progress),
      },
    );
    expect(seen.at(-1)).toMatchObject({ phase: 'done', files: 200 });
  });

  test('the store stays within its budget and says what went', () => {
    const maxBytes = 3_000_000;
    /** @type {string[]} */
    const dropped = [];
    for (let step = 0; step < 12; step += 1) {
      // Digits of a generator: they hardly compress.
      let seed = step + 1;
      const bytes = Buffer.from(
        Array.from({ length: 300_000 }, () => {
          seed = (seed * 48271) % 2147483647;
          return seed & 255;
        }),
      );
      put(`${RUN}/artifacts/data.bin`, bytes);
      const made = manager.createSync('demo', step, {}, { maxBytes, keepLast: 'all' });
      dropped.push(...made.dropped);
      // The audit log has a bound of its own.
      const log = bytesBelow(place('.waymark/events'));
      expect(bytesBelow(place('.waymark')) - log).toBeLessThanOrEqual(maxBytes);
    }
    expect(dropped.length).toBeGreaterThan(2);
    expect(manager.listSync('demo').length).toBe(12 - dropped.length);
    // Nothing new needs no room.
    manager.createSync('demo', 98, {}, { maxBytes: 1000 });
    put(`${RUN}/artifacts/more.bin`, 'more');
    expect(() => manager.createSync('demo', 99, {}, { maxBytes: 1000 })).toThrow(
      expect.objectContaining({ code: 'ERR_STORE_BUDGET' }),
    );
  });
});

/** @param {string} folder @returns {number} */
function bytesBelow(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const inner = path.join(folder, entry.name);
    return sum + (entry.isDirectory() ? bytesBelow(inner) : fs.statSync(inner).size);
  }, 0);
}

describe('a store that is not ours', () => {
  test('of a newer format is refused, and checkpoints that need it are not offered', async () => {
    put(`${RUN}/a.md`, 'a');
    const { checkpointId } = manager.createSync('demo', 1);
    fs.writeFileSync(place('.waymark/format'), 'waymark store 2\n');
    expect(() => manager.createSync('demo', 2)).toThrow(
      expect.objectContaining({ code: 'ERR_STORE_FORMAT', path: place('.waymark/format') }),
    );
    expect(manager.listSync('demo')).toEqual([]);
    const words = ['list', 'demo', '--include-damaged', '--json'];
    const { stdout } = await waymark(words, { cwd: at.root });
    expect(stdout).toContain(checkpointId);
    expect(stdout).toContain('newer_format');
  });

  test('that is gone makes its checkpoints damaged, and nothing else', () => {
    put(`${RUN}/a.md`, 'a');
    manager.createSync('demo', 1);
    fs.rmSync(place(`${RUN}/a.md`));
    const plain = manager.createSync('demo', 2, {}, { capture: false });
    fs.rmSync(place('.waymark'), { recursive: true });
    expect(manager.listSync('demo').map((one) => one.checkpointId)).toEqual([plain.checkpointId]);
    expect(manager.listSync('demo', { includeDamaged: true }).at(-1)).toMatchObject({
      damage: 'object_missing',
    });
    put(`${RUN}/a.md`, 'a');
    const again = manager.createSync('demo', 3);
    expect(manager.readFileSync('demo', again.checkpointId, 'a.md').toString()).toBe('a');
  });
});
