// Restores of files: planned, applied, held to the plan, in parts, undone; by the API, the command, the
// drop-in and the preload; and killed in the middle.

import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { main, waymark } from './support/cli.mjs';
import { cutOffRestore } from './support/killed.mjs';
import { project, readJson, removeAll, repo, temporary, writeJson } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

const CAPTURE = { workspace: ['src'] };

beforeEach(() => {
  at = project({ runId: 'demo' });
  writeJson(at.place('waymark.config.json'), { capture: CAPTURE });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
  put('src/a.txt', 'one\ntwo\nthree\n');
  put('src/deep/b.txt', 'b\n');
  put('.claude/context/runs/demo/artifacts/plan.md', 'plan 1\n');
});
afterEach(removeAll);
afterAll(removeAll);

/** @param {string} name @param {string | Buffer} content */
const put = (name, content) => at.put(name, content);
/** @param {string} name */
const read = (name) => fs.readFileSync(at.place(name), 'utf8');
/** @param {string} name */
const exists = (name) => fs.existsSync(at.place(name));
/** @param {number} step */
const create = (step) => manager.createSync('demo', step, { at: step }).checkpointId;
const PLAN_MD = '.claude/context/runs/demo/artifacts/plan.md';
const record = () => readJson(path.join(at.dir, 'run.json'));

/** A first checkpoint, work, and a second one. */
function twoSteps() {
  at.change({ current_step: 1 });
  const one = create(1);
  put('src/a.txt', 'one\n2\nthree\n');
  put('src/new.txt', 'new\n');
  put('src/more/c.txt', 'c\n');
  fs.rmSync(at.place('src/deep'), { recursive: true });
  put(PLAN_MD, 'plan 2\n');
  at.change({ current_step: 2 });
  return [one, create(2)];
}

/** Everything of the project that is its own. */
function files() {
  /** @type {Record<string, string>} */
  const found = {};
  for (const folder of ['src', '.claude/context/runs/demo/artifacts']) {
    const all = fs.readdirSync(at.place(folder), { recursive: true, withFileTypes: true });
    for (const entry of all) {
      const file = path.join(entry.parentPath, entry.name);
      found[path.relative(at.root, file)] = entry.isFile() ? fs.readFileSync(file, 'utf8') : '/';
    }
  }
  return found;
}

/** @param {() => unknown} work @returns {Promise<api.WaymarkError>} */
async function refusal(work) {
  try {
    await work();
  } catch (error) {
    return /** @type {api.WaymarkError} */ (error);
  }
  throw new Error('it was not refused');
}

/** @param {api.RestorePlan | api.RestoreResult} of */
const rows = ({ paths }) =>
  paths.map(({ root, action, path: name, reason }) =>
    [root, action, name, ...(reason === undefined ? [] : [reason])].join(' '),
  );

describe('a plan', () => {
  test('tells what a restore would do, and changes nothing', async () => {
    const [one, two] = twoSteps();
    put('src/mine.txt', 'never captured\n');
    const before = files();
    const plan = await manager.planRestore('demo', { checkpointId: one });
    expect(plan).toMatchObject({
      planId: expect.stringMatching(/^plan-[0-9a-f]{16}$/),
      checkpointId: one,
      step: 1,
      roots: [
        { name: 'run', path: '.claude/context/runs/demo', onConflict: 'overwrite' },
        { name: 'workspace', path: 'src', onConflict: 'refuse' },
      ],
      conflicts: 0,
      newer: [two],
      skipped: [],
      totals: { create: 2, replace: 2, keep: 1, conflict: 0, merge: 0, keepBoth: 0 },
    });
    expect(Date.parse(plan.expiresAt)).toBeGreaterThan(Date.now());
    expect(plan.state).toEqual(
      expect.arrayContaining([
        { name: 'artifact-registry.json', action: 'replace' },
        { name: 'run.json', action: 'replace' },
      ]),
    );
    expect(rows(plan)).toEqual([
      'run replace artifacts/plan.md',
      'workspace replace a.txt',
      'workspace create deep',
      'workspace create deep/b.txt',
      'workspace keep mine.txt not_captured',
      'workspace delete more/c.txt',
      'workspace delete more',
      'workspace delete new.txt',
    ]);
    const [, changed] = plan.paths;
    expect(changed).toMatchObject({
      rootPath: 'src',
      before: { kind: 'file', size: 12 },
      after: { kind: 'file', size: 14 },
      differs: { content: true, type: false },
    });
    expect(files()).toEqual(before);
    expect(record().current_step).toBe(2);
    expect(manager.planRestoreSync('demo', { checkpointId: one }).paths).toEqual(plan.paths);
  });

  test('is applied as it was told', async () => {
    const [one] = twoSteps();
    const plan = await manager.planRestore('demo', { step: 1, only: ['workspace'] });
    const restored = await manager.restore('demo', { plan: plan.planId });
    expect(restored).toMatchObject({ checkpointId: one, totals: plan.totals, files: [] });
    expect(restored.paths).toEqual(plan.paths);
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    expect(read(PLAN_MD)).toBe('plan 2\n');
    expect(record().current_step).toBe(2);
    // It was applied.
    expect(await refusal(() => manager.restore('demo', { plan: plan.planId }))).toMatchObject({
      code: 'ERR_PLAN_NOT_FOUND',
      reason: 'unknown',
    });
  });

  test('a plan of the state alone leaves files alone', () => {
    twoSteps();
    const before = files();
    const plan = manager.planRestoreSync('demo', { step: 1, files: false });
    expect(plan).toMatchObject({ roots: [], paths: [] });
    expect(manager.restoreSync('demo', { plan: plan.planId }).paths).toEqual([]);
    expect(files()).toEqual(before);
    expect(record().current_step).toBe(1);
  });

  test('is stale once anything is different', async () => {
    twoSteps();
    const plan = await manager.planRestore('demo', { step: 1 });
    put('src/new.txt', 'newer\n');
    const before = files();
    expect(await refusal(() => manager.restore('demo', { plan: plan.planId }))).toMatchObject({
      code: 'ERR_PLAN_STALE',
      path: path.join('src', 'new.txt'),
      message: expect.stringContaining('plan again'),
    });
    expect(files()).toEqual(before);
    expect(record().current_step).toBe(2);
  });

  test('that is not there, no plan or damaged', async () => {
    create(1);
    const plan = await manager.planRestore('demo');
    const folder = path.join(at.checkpoints, '.waymark', 'plans');
    const [name] = fs.readdirSync(folder);
    fs.appendFileSync(path.join(folder, name), ' x');
    for (const [id, reason] of [
      ['../../run', 'no_plan_id'],
      ['plan-0123456789abcdef', 'unknown'],
      [plan.planId, 'damaged'],
    ]) {
      expect(await refusal(() => manager.restore('demo', { plan: id }))).toMatchObject({
        code: 'ERR_PLAN_NOT_FOUND',
        reason,
        runId: 'demo',
      });
    }
  });
});

describe('a restore', () => {
  test('puts state and files back, and keeps what was there', async () => {
    const [one, two] = twoSteps();
    put('src/mine.txt', 'never captured\n');
    const after = files();
    const restored = await manager.restore('demo', { checkpointId: one });
    expect(restored).toMatchObject({
      checkpointId: one,
      step: 1,
      rescueId: expect.stringMatching(/^waymark-rescue-/),
      newer: [two],
      recovered: 'nothing',
      checkpoint: { checkpoint_id: one },
      verifiedBytes: restored.totals.bytesToWrite,
    });
    expect(restored.verifiedBytes).toBe(14 + 2 + 7);
    expect(files()).toEqual({
      'src/a.txt': 'one\ntwo\nthree\n',
      'src/deep': '/',
      'src/deep/b.txt': 'b\n',
      'src/mine.txt': 'never captured\n',
      [PLAN_MD]: 'plan 1\n',
    });
    expect(record()).toMatchObject({ current_step: 1, status: 'in_progress' });

    const undone = await manager.undo('demo');
    expect(undone.checkpointId).toBe(restored.rescueId);
    expect(files()).toEqual(after);
    expect(record().current_step).toBe(2);
    // Once more, and the undo is undone.
    expect(manager.undoSync('demo').rescueId).not.toBe(restored.rescueId);
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    expect(record().current_step).toBe(1);
  });

  test('what it took the place of is let go, however it was called and whatever the timers are', async () => {
    const [one] = twoSteps();
    /** @param {string} fd */
    const nameOf = (fd) => {
      try {
        return fs.readlinkSync(path.join('/proc/self/fd', fd));
      } catch {
        // It was closed meanwhile.
        return '';
      }
    };
    /** Files of this project that have no name any more, and that this process has open. */
    const held = () => {
      const names = process.platform === 'linux' ? fs.readdirSync('/proc/self/fd').map(nameOf) : [];
      return names.filter((name) => name.startsWith(at.root) && name.endsWith('(deleted)'));
    };
    const { setTimeout: real } = globalThis;
    // As pages in Node have it.
    globalThis.setTimeout = /** @type {any} */ (() => 1);
    try {
      manager.restoreSync('demo', { checkpointId: one });
      await manager.undo('demo');
      manager.restoreSync('demo', { checkpointId: one });
    } finally {
      globalThis.setTimeout = real;
    }
    const lease = await manager.lease('demo');
    await lease.release();
    while (held().length > 0) await new Promise((done) => setTimeout(done, 20));
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
  });

  test('nothing to undo', async () => {
    create(1);
    expect(await refusal(() => manager.undo('demo'))).toMatchObject({
      code: 'ERR_NOTHING_TO_UNDO',
      runId: 'demo',
    });
    expect(() => manager.undoSync('demo')).toThrow(/no restore that can be undone/);
  });

  test('by time: a Date, ISO text or milliseconds', async () => {
    const one = create(1);
    const then = Date.parse(manager.listSync('demo')[0].timestamp);
    while (Date.now() <= then + 2);
    const two = create(2);
    for (const when of [then, new Date(then), new Date(then).toISOString()]) {
      expect(manager.planRestoreSync('demo', { at: when }).checkpointId).toBe(one);
    }
    expect((await manager.planRestore('demo', { at: Date.now() + 1000 })).checkpointId).toBe(two);
    const [early, stamp] = [then - 1, then].map((ms) => new Date(ms).toISOString());
    expect(await refusal(() => manager.restore('demo', { at: early }))).toMatchObject({
      code: 'ERR_CHECKPOINT_NOT_FOUND',
      message: `Checkpoint not found: at ${early}; the oldest is ${one}, of ${stamp}`,
    });
    const all = new api.CheckpointManager({ runsDir: at.runsDir, keepLast: 'all' });
    for (const step of [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2]) all.createSync('demo', step);
    expect(await refusal(() => manager.restore('demo', { step: 99 }))).toMatchObject({
      message:
        'Checkpoint not found: step 99; there are of steps 2, 11, 10, 9, 8, 7, 6, 5, 4, 3, …',
    });
  });

  test('files: false, by the call, the manager and the configuration', () => {
    twoSteps();
    const before = files();
    manager.restoreSync('demo', { step: 1, files: false });
    const own = new api.CheckpointManager({ runsDir: at.runsDir, restore: { files: false } });
    own.restoreSync('demo', { step: 1 });
    const config = { capture: CAPTURE, restore: { files: false } };
    writeJson(at.place('waymark.config.json'), config);
    manager.restoreSync('demo', { step: 1 });
    expect(files()).toEqual(before);
    manager.restoreSync('demo', { step: 1, files: true });
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    writeJson(at.place('waymark.config.json'), { ...config, restore: { onConflict: 'no' } });
    expect(() => manager.restoreSync('demo')).toThrow(/restore\.onConflict must be 'refuse'/);
  });

  test('only some parts', () => {
    const entry = { step: 7, path: at.place(PLAN_MD), agent: 'writer', name: 'plan.md' };
    const registry = path.join(at.dir, 'artifact-registry.json');
    const now = readJson(registry);
    writeJson(registry, { ...now, artifacts: { ...now.artifacts, 'plan.md': entry } });
    twoSteps();
    /** @param {api.RestorePart[]} only */
    const changed = (...only) => {
      const plan = manager.planRestoreSync('demo', { step: 1, only });
      return [...plan.state.map(({ name }) => name), ...plan.paths.map((row) => row.path)];
    };
    expect(changed('state')).toEqual(['run.json']);
    expect(changed('registry')).toEqual(['artifact-registry.json']);
    expect(changed('run')).toEqual(['artifacts/plan.md']);
    expect(changed({ glob: '*.md' })).toEqual(['artifacts/plan.md']);
    expect(changed({ step: 7 })).toEqual(['artifacts/plan.md']);
    expect(changed({ root: 'workspace', path: 'more' })).toEqual(['more/c.txt', 'more']);
    expect(changed({ root: 'src', path: Buffer.from('a.txt') })).toEqual(['a.txt']);
    expect(changed('state', { glob: 'new.*' })).toEqual(['run.json', 'new.txt']);
    expect(() => changed({ step: 99 })).toThrow(/no artifact of step 99/);
  });

  test('part by part, one call after the other', () => {
    twoSteps();
    manager.restoreSync('demo', { step: 1, only: ['state'] });
    for (const path_ of ['a.txt', 'new.txt', 'deep', 'more']) {
      manager.restoreSync('demo', { step: 1, only: [{ root: 'workspace', path: path_ }] });
    }
    manager.restoreSync('demo', { step: 2, only: [{ glob: 'a.txt' }] });
    expect(manager.planRestoreSync('demo', { step: 1 })).toMatchObject({
      conflicts: 0,
      totals: { replace: 2, create: 0, delete: 0 },
    });
  });

  test('options that make no sense are refused', async () => {
    create(1);
    for (const options of [
      { checkpointId: 'x', step: 1 },
      { step: 1, at: 5 },
      { at: '5' },
      { at: new Date(Number.NaN) },
      { plan: 'plan-0123456789abcdef', step: 1 },
      { plan: 'plan-0123456789abcdef', only: ['state'] },
      { plan: 'plan-0123456789abcdef', strategy: 'staged' },
      { batch: 5 },
      { batch: 0, strategy: 'progressive' },
      { only: ['everything'] },
      { only: [{ path: 'x' }] },
      { onConflict: 'ask' },
      { strategy: 'slow' },
      { files: 1 },
    ]) {
      const error = await refusal(() => manager.restore('demo', /** @type {any} */ (options)));
      expect([options, error.code]).toEqual([options, 'ERR_OPTION_INVALID']);
    }
    expect(() => manager.restoreSync('demo', /** @type {any} */ ({ strategy: 'staged' }))).toThrow(
      /unknown option "strategy"/,
    );
  });

  test('an aborted one changes nothing', async () => {
    twoSteps();
    const before = files();
    const signal = AbortSignal.abort();
    for (const work of [
      () => manager.restore('demo', { step: 1, signal }),
      () => manager.planRestore('demo', { signal }),
      () => manager.undo('demo', { signal }),
      () => manager.restoreSync('demo', { step: 1, signal }),
    ]) {
      expect(await refusal(work)).toMatchObject({ code: 'ERR_ABORTED', name: 'AbortError' });
    }
    expect(files()).toEqual(before);
  });
});

describe('files changed since the newest checkpoint', () => {
  beforeEach(() => {
    twoSteps();
    put('src/a.txt', 'one\n2\nthree\nmine\n');
  });

  test('are refused in the workspace by default, and nothing is changed', async () => {
    const before = files();
    for (const options of [{}, { onConflict: /** @type {const} */ ('refuse') }]) {
      const error = await refusal(() => manager.restore('demo', { step: 1, ...options }));
      expect(error).toMatchObject({
        code: 'ERR_RESTORE_CONFLICT',
        message: expect.stringContaining('src/a.txt (changed)'),
        runId: 'demo',
      });
    }
    expect(manager.planRestoreSync('demo', { step: 1 })).toMatchObject({ conflicts: 1 });
    expect(files()).toEqual(before);
    expect(record().current_step).toBe(2);
    // The other parts are nobody's conflict.
    manager.restoreSync('demo', { step: 1, only: ['run'] });
    expect(read(PLAN_MD)).toBe('plan 1\n');
  });

  test('keep-both', () => {
    const { paths } = manager.restoreSync('demo', { step: 1, onConflict: 'keep-both' });
    const row = paths.find((one) => one.action === 'keep_both');
    expect(row).toMatchObject({
      path: 'a.txt',
      beside: expect.stringMatching(/^a\.conflict-\w+\.txt$/),
    });
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    expect(read(`src/${row?.beside}`)).toBe('one\n2\nthree\nmine\n');
    manager.undoSync('demo');
    expect(read('src/a.txt')).toBe('one\n2\nthree\nmine\n');
    expect(exists(`src/${row?.beside}`)).toBe(true);
  });

  test('overwrite, and undo brings them back', () => {
    const before = files();
    manager.restoreSync('demo', { step: 1, onConflict: 'overwrite' });
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    manager.undoSync('demo');
    expect(files()).toEqual(before);
  });

  test('merge, line by line', async () => {
    const own = new api.CheckpointManager({
      runsDir: at.runsDir,
      restore: { onConflict: 'merge' },
    });
    const restored = await own.restore('demo', { step: 1 });
    expect(rows(restored)).toContain('workspace merge a.txt');
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\nmine\n');
    // It is no state that Waymark has seen.
    expect(() => manager.undoSync('demo')).toThrow(/src\/a\.txt \(changed\)/);
    await manager.undo('demo', { onConflict: 'overwrite' });
    expect(read('src/a.txt')).toBe('one\n2\nthree\nmine\n');
  });

  test('what does not merge is refused', async () => {
    put('src/a.txt', 'one\nzwei\nthree\n');
    const error = await refusal(() => manager.restore('demo', { step: 1, onConflict: 'merge' }));
    expect(error.message).toContain('src/a.txt (not_mergeable)');
  });
});

describe('strategies', () => {
  test('staged: component by component, each checked', async () => {
    const [one] = twoSteps();
    const after = files();
    /** @type {api.RestoreStage[]} */
    const seen = [];
    const restored = await manager.restore('demo', {
      step: 1,
      strategy: 'staged',
      check: async (stage) => {
        seen.push(stage);
        if (stage.name === 'run') {
          expect(read(PLAN_MD)).toBe('plan 1\n');
          expect(read('src/a.txt')).toBe('one\n2\nthree\n');
          expect(record().current_step).toBe(2);
        }
      },
    });
    expect(seen.map(({ name }) => name)).toEqual(['run', 'workspace', 'registry', 'state']);
    expect(seen.map(({ number, of }) => [number, of])).toEqual([1, 2, 3, 4].map((n) => [n, 4]));
    expect(restored.stages).toEqual(seen);
    expect(restored).toMatchObject({
      checkpointId: one,
      files: ['artifact-registry.json', 'run.json'],
      verifiedBytes: 14 + 2 + 7,
      totals: { replace: 2, create: 2 },
    });
    expect(new Set(seen.map((stage) => stage.rescueId))).toEqual(new Set([restored.rescueId]));
    expect(record().current_step).toBe(1);
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    // One undo takes all of it back.
    await manager.undo('demo');
    expect(files()).toEqual(after);
    expect(record().current_step).toBe(2);
  });

  test('staged, of some parts', async () => {
    twoSteps();
    const restored = await manager.restore('demo', {
      step: 1,
      strategy: 'staged',
      only: ['state', { glob: 'a.txt' }],
    });
    expect(restored.stages?.map(({ name }) => name)).toEqual(['workspace', 'state']);
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    expect(exists('src/new.txt')).toBe(true);
  });

  test('progressive: batches of paths, then registry and state', async () => {
    twoSteps();
    const after = files();
    const restored = await manager.restore('demo', { step: 1, strategy: 'progressive', batch: 2 });
    expect(restored.stages?.map(({ name }) => name)).toEqual([
      'batch 1',
      'batch 2',
      'batch 3',
      'batch 4',
      'registry',
      'state',
    ]);
    const rescues = restored.stages?.map((stage) => stage.rescueId);
    expect(new Set(rescues).size).toBe(6);
    expect(restored.rescueId).toBe(rescues?.[0]);
    expect(files()).toEqual({
      'src/a.txt': 'one\ntwo\nthree\n',
      'src/deep': '/',
      'src/deep/b.txt': 'b\n',
      [PLAN_MD]: 'plan 1\n',
    });
    expect(record().current_step).toBe(1);
    await manager.undo('demo');
    expect(files()).toEqual(after);
  });

  test.each(/** @type {const} */ (['immediate', 'staged', 'progressive']))(
    'a check that is not content puts everything back: %s',
    async (strategy) => {
      twoSteps();
      const [before, registry] = [files(), readJson(path.join(at.dir, 'artifact-registry.json'))];
      const how = { step: 1, strategy, ...(strategy === 'progressive' && { batch: 3 }) };
      let calls = 0;
      const error = await refusal(() =>
        manager.restore('demo', {
          ...how,
          check: ({ number, of }) => {
            calls += 1;
            if (number < of) return true;
            // As tests do that leave something behind.
            put('src/deep/b.txt', 'tried\n');
            return false;
          },
        }),
      );
      expect(error).toMatchObject({
        code: 'ERR_RESTORE_CHECK_FAILED',
        runId: 'demo',
        message: expect.stringMatching(/was not content: it gave false; everything was put back$/),
      });
      expect(calls).toBeGreaterThan(strategy === 'immediate' ? 0 : 2);
      expect(files()).toEqual(before);
      expect(record().current_step).toBe(2);
      expect(readJson(path.join(at.dir, 'artifact-registry.json')).artifacts).toEqual(
        registry.artifacts,
      );

      const cause = new Error('a test failed');
      const thrown = await refusal(() =>
        manager.restore('demo', {
          ...how,
          check: async () => {
            throw cause;
          },
        }),
      );
      expect(thrown).toMatchObject({ code: 'ERR_RESTORE_CHECK_FAILED', cause });
      expect(thrown.message).toContain('it threw: a test failed; everything was put back');
      expect(files()).toEqual(before);
    },
  );

  test('a part that fails puts the ones before it back, and says which', async () => {
    twoSteps();
    const before = files();
    const error = await refusal(() =>
      manager.restore('demo', {
        step: 1,
        strategy: 'staged',
        // Somebody works meanwhile.
        check: ({ name }) => {
          if (name === 'run') put('src/a.txt', 'mine\n');
        },
      }),
    );
    expect(error.code).toBe('ERR_RESTORE_CONFLICT');
    expect(error.message).toMatch(/^workspace was not restored: .*; everything was put back$/);
    expect(files()).toEqual({ ...before, 'src/a.txt': read('src/a.txt') });
    expect(read(PLAN_MD)).toBe('plan 2\n');
  });

  test('aborted between parts, everything is put back', async () => {
    twoSteps();
    const before = files();
    const aborter = new AbortController();
    const error = await refusal(() =>
      manager.restore('demo', {
        step: 1,
        strategy: 'progressive',
        batch: 2,
        signal: aborter.signal,
        check: ({ number }) => {
          if (number === 2) aborter.abort();
        },
      }),
    );
    expect(error).toMatchObject({ code: 'ERR_ABORTED', name: 'AbortError' });
    expect(error.message).toMatch(/everything was put back$/);
    expect(files()).toEqual(before);
  });

  test('conflicts are refused before anything is changed', async () => {
    twoSteps();
    put('src/a.txt', 'mine\n');
    const before = files();
    for (const strategy of /** @type {const} */ (['staged', 'progressive'])) {
      expect(await refusal(() => manager.restore('demo', { step: 1, strategy }))).toMatchObject({
        code: 'ERR_RESTORE_CONFLICT',
        message: expect.stringContaining('src/a.txt (changed)'),
      });
    }
    expect(files()).toEqual(before);
    expect(await refusal(() => manager.undo('demo'))).toMatchObject({
      code: 'ERR_NOTHING_TO_UNDO',
    });
  });

  test('a folder that became a file, and back', async () => {
    const one = create(1);
    fs.rmSync(at.place('src/deep'), { recursive: true });
    put('src/deep', 'a file\n');
    fs.rmSync(at.place('src/a.txt'));
    put('src/a.txt/x', 'x\n');
    const two = create(2);
    const after = files();
    await manager.restore('demo', { checkpointId: one, strategy: 'progressive', batch: 1 });
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    expect(read('src/deep/b.txt')).toBe('b\n');
    await manager.restore('demo', { checkpointId: two, strategy: 'progressive', batch: 1 });
    expect(files()).toEqual(after);
  });
});

describe('the report', () => {
  test('of a plan and of a result, for people and programs', async () => {
    const [one, two] = twoSteps();
    put('src/mine`.txt', 'never captured\n');
    const plan = await manager.planRestore('demo', { step: 1 });
    const planned = api.restoreReport(plan);
    expect(planned).toMatch(/^# Restore Plan\n/);
    expect(planned).toContain(`Checkpoint: \`${one}\` (step 1, taken `);
    expect(planned).toContain('Work left behind: 1 newer checkpoint');
    expect(planned).toContain('| created | 2 |');
    expect(planned).toContain('- deleted: `src/new.txt`');
    expect(planned).toContain('- `` src/mine`.txt ``: not_captured');
    expect(planned).toContain(`- \`${two}\``);
    const restored = await manager.restore('demo', { plan: plan.planId });
    const text = api.restoreReport(restored, 'markdown');
    expect(text).toMatch(/^# Restore Report\n/);
    expect(text).toContain(restored.rescueId);
    expect(text).toContain('Verified: 23 bytes of restored files were read back');
    expect(JSON.parse(api.restoreReport(restored, 'json'))).toMatchObject({
      kind: 'result',
      checkpointId: one,
      verifiedBytes: 23,
      kept: [{ path: 'mine`.txt', reason: 'not_captured' }],
      conflicts: [],
      lost: { checkpoints: [{ checkpointId: two, step: '2' }], ms: expect.any(Number) },
    });
    expect(JSON.parse(api.restoreReport(plan, 'json'))).toMatchObject({
      kind: 'plan',
      planId: plan.planId,
    });
    expect(() => api.restoreReport(plan, /** @type {any} */ ('html'))).toThrow(
      /must be 'markdown'/,
    );
  });
});

describe('the command', () => {
  /** @param {string[]} words */
  const run = (...words) => waymark(words, { cwd: at.root });
  /** @param {string[]} words */
  const out = async (...words) => {
    const { code, stdout, stderr } = await run(...words);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };

  test('plans, applies, reports and undoes', async () => {
    const [one] = twoSteps();
    put('src/mine.txt', 'never captured\n');
    const before = files();
    const report = at.place('plan.json');
    const text = await out('restore', 'demo', '--checkpoint', one, '--plan', '--report', report);
    expect(text).toContain(`would restore run demo to ${one} (step 1, taken `);
    expect(text).toContain('  ~ src/a.txt\n');
    expect(text).toContain('  - src/new.txt\n');
    expect(text).toContain('  = src/mine.txt (not captured)\n');
    expect(text).toContain('1 newer checkpoint left behind');
    expect(files()).toEqual(before);
    const { planId } = readJson(report);
    expect(text).toContain(planId);
    const told = await out('restore', 'demo', '--apply', planId, '--report', at.place('done.md'));
    expect(told).toContain(`restored run demo to ${one} (step 1`);
    expect(told).toMatch(/7 paths changed, 1 left alone, 23 B read back and verified/);
    expect(read('done.md')).toContain('# Restore Report');
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    const undone = await out('undo', 'demo');
    expect(undone).toContain('put back run demo to waymark-rescue-');
    // Of a rescue checkpoint no command is told that knows none.
    expect(undone).toMatch(/\nto put back what was there: waymark undo demo\n$/);
    expect(files()).toEqual(before);
    const { rescueId } = JSON.parse(await out('undo', 'demo', '--json'));
    expect(rescueId).toMatch(/^waymark-rescue-/);
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
  });

  test('parts, strategies, time and state only', async () => {
    const [one] = twoSteps();
    const stamp = manager.listSync('demo')[1].timestamp;
    const plan = async (/** @type {string[]} */ ...words) => {
      const found = JSON.parse(await out('restore', 'demo', ...words, '--plan', '--json'));
      return found.paths.map((/** @type {api.RestoreRow} */ row) => row.path);
    };
    expect(await plan('--at', stamp, '--only', 'run')).toEqual(['artifacts/plan.md']);
    const some = ['--only', 'glob:new.*', '--only', 'workspace:a.txt'];
    expect(await plan('--step', '1', ...some)).toEqual(['a.txt', 'new.txt']);
    expect(await plan(one, '--state-only')).toEqual([]);
    // What is nowhere is told, and only that.
    const wrong = await run(
      'restore',
      'demo',
      '--step',
      '1',
      '--only',
      'workspace:src/a.txt',
      '--plan',
    );
    expect(wrong.code).toBe(0);
    expect(wrong.stderr).toContain('--only workspace:src/a.txt: no such path; paths are as');
    const right = ['--only', 'workspace:a.txt', '--only', 'workspace:new.txt'];
    expect((await run('restore', 'demo', '--step', '1', ...right, '--plan')).stderr).toBe('');
    const words = ['--step', '1', '--strategy', 'progressive', '--batch', '3', '--json'];
    const { stages } = JSON.parse(await out('restore', 'demo', ...words));
    expect(stages).toHaveLength(5);
    for (const misuse of [
      ['--only', 'all'],
      ['--at', 'yesterday'],
      ['--on-conflict', 'ask'],
      ['--strategy', 'slow'],
      ['--batch', '3'],
      ['--report', 'x.txt'],
      ['--apply', 'plan-0123456789abcdef', '--step', '1'],
      ['--plan', '--strategy', 'staged'],
    ]) {
      const { code, stderr } = await run('restore', 'demo', ...misuse);
      expect([misuse, code, stderr]).toEqual([misuse, 1, expect.stringContaining('usage: ')]);
    }
  });

  test('a conflict says how to go on', async () => {
    twoSteps();
    put('src/a.txt', 'mine\n');
    const { code, stderr } = await run('restore', 'demo', '--step', '1');
    expect(code).toBe(1);
    expect(stderr).toContain('--on-conflict keep-both, overwrite or merge');
    expect(stderr).toContain('[ERR_RESTORE_CONFLICT]');
    await out('restore', 'demo', '--step', '1', '--on-conflict', 'overwrite');
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    const unwritable = await run('restore', 'demo', '--report', at.place('no/such/folder/x.md'));
    expect(unwritable.stderr).toContain('the run is restored, but the report');
  });

  test('recover', async () => {
    create(1);
    expect(await out('recover', 'demo')).toBe('no restore of run demo was cut off\n');
    expect(JSON.parse(await out('recover', 'demo', '--unfinished', 'undo', '--json'))).toEqual({
      runId: 'demo',
      recovered: 'nothing',
    });
    expect((await run('recover', 'demo', '--unfinished', 'no')).code).toBe(1);
  });

  const hasScript = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0;
  (hasScript ? test : test.skip)('asks on a terminal, and does what it showed', async () => {
    const [one] = twoSteps();
    const before = files();
    /** @param {string} answer @param {string[]} words */
    const typed = async (answer, ...words) => {
      const line = [process.execPath, main, ...words].map((word) => `'${word}'`).join(' ');
      const child = spawn('script', ['-qfec', line, '/dev/null'], { cwd: at.root });
      let shown = '';
      child.stdout.on('data', (text) => {
        const asked = shown.includes('[y/N]');
        shown += text;
        if (!asked && shown.includes('[y/N]')) child.stdin.write(`${answer}\r`);
      });
      const [code] = await once(child, 'close');
      return { code, shown };
    };
    const no = await typed('n', 'restore', 'demo', '--step', '1');
    expect(no).toMatchObject({ code: 1, shown: expect.stringContaining('nothing was changed') });
    expect(no.shown).toContain('src/new.txt');
    expect(files()).toEqual(before);
    const yes = await typed('y', 'restore', 'demo', '--step', '1');
    expect(yes).toMatchObject({ code: 0, shown: expect.stringContaining(`to ${one} (step 1`) });
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    expect((await typed('', 'undo', 'demo')).code).toBe(1);
    expect((await typed('yes', 'undo', 'demo')).code).toBe(0);
    expect(files()).toEqual(before);
    const silent = await typed('', 'restore', 'demo', '--step', '1', '--yes');
    expect(silent.code).toBe(0);
    expect(silent.shown).not.toContain('[y/N]');
  });
});

describe('the other doors', () => {
  test('the drop-in restores files', () => {
    const [one] = twoSteps();
    const script = at.place('.claude/tools/restore.cjs');
    put(
      '.claude/tools/restore.cjs',
      `require(${JSON.stringify(repo)}).restoreFromCheckpoint('demo', ${JSON.stringify(one)})
        .then((done) => console.log(done.restored_step), (error) => { console.log(error.code); process.exitCode = 1; });`,
    );
    put('src/a.txt', 'mine\n');
    const refused = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    expect([refused.status, refused.stdout]).toEqual([1, 'ERR_RESTORE_CONFLICT\n']);
    put('src/a.txt', 'one\n2\nthree\n');
    const { status, stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    expect([status, stdout]).toEqual([0, '1\n']);
    expect(read('src/a.txt')).toBe('one\ntwo\nthree\n');
    expect(exists('src/new.txt')).toBe(false);
  });

  describe('the preload', () => {
    const preload = pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href;
    const workflow = path.join('.claude', 'workflows', 'research.yaml');
    const runner = path.join('.claude', 'tools', 'workflow_runner.js');
    /** @type {string} */
    let root;
    /** @param {string[]} words @param {Record<string, string>} [env] */
    const step = (words, env = {}) =>
      new Promise((resolve) => {
        const args = ['--import', preload, runner, '--workflow', workflow, '--run-id', 'demo'];
        const options = { cwd: root, env: { ...process.env, ...env } };
        execFile(process.execPath, [...args, ...words], options, (error, stdout, stderr) =>
          resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
        );
      });
    const notes = () => path.join(root, 'notes.txt');

    beforeEach(async () => {
      root = temporary();
      fs.cpSync(path.join(repo, 'examples', 'project'), root, { recursive: true });
      writeJson(path.join(root, 'waymark.config.json'), {
        capture: { workspace: ['.'], exclude: ['.claude/'] },
      });
      fs.writeFileSync(notes(), 'after 0\n');
      expect(await step(['--step', '0'])).toMatchObject({ code: 0 });
      fs.writeFileSync(notes(), 'after 1\n');
      expect(await step(['--step', '1'])).toMatchObject({ code: 0 });
    });

    test('goes on with the files of the checkpoint', async () => {
      const resumed = await step(['--resume-step', '0']);
      expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1 started') });
      expect(fs.readFileSync(notes(), 'utf8')).toBe('after 0\n');
    });

    test('refuses to take away what was changed since, and says how to go on', async () => {
      fs.writeFileSync(notes(), 'mine\n');
      const refused = await step(['--resume-step', '0']);
      expect(refused).toMatchObject({ code: 1, stdout: '' });
      expect(refused.stderr).toContain("can't resume run demo");
      expect(refused.stderr).toContain('notes.txt (changed)');
      expect(refused.stderr).toContain('set WAYMARK_ON_CONFLICT to keep-both');
      expect(fs.readFileSync(notes(), 'utf8')).toBe('mine\n');
      const wrong = await step(['--resume-step', '0'], { WAYMARK_ON_CONFLICT: 'ask' });
      expect(wrong).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('WAYMARK_ON_CONFLICT must be'),
      });
      const resumed = await step(['--resume-step', '0'], { WAYMARK_ON_CONFLICT: 'overwrite' });
      expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining('step 1 started') });
      expect(fs.readFileSync(notes(), 'utf8')).toBe('after 0\n');
    });

    test('restore.files: false leaves them alone', async () => {
      writeJson(path.join(root, 'waymark.config.json'), {
        capture: { workspace: ['.'], exclude: ['.claude/'] },
        restore: { files: false },
      });
      fs.writeFileSync(notes(), 'mine\n');
      expect(await step(['--resume-step', '0'])).toMatchObject({ code: 0 });
      expect(fs.readFileSync(notes(), 'utf8')).toBe('mine\n');
    });
  });
});

describe('killed with -9 in the middle', () => {
  const COUNT = 300;
  /** @param {string} text */
  const fill = (text) => {
    for (let n = 0; n < COUNT; n += 1) put(`src/many/${n}.txt`, `${text} ${n}\n`);
  };
  const many = () =>
    Array.from({ length: COUNT }, (_, n) => read(`src/many/${n}.txt`).split(' ')[0]);

  test.each(/** @type {const} */ (['finish', 'undo']))('recover: %s', async (unfinished) => {
    fill('first');
    const one = create(1);
    fill('second');
    at.change({ current_step: 2 });
    const two = create(2);
    await cutOffRestore(at.runsDir, 'demo', one, two);
    const done = unfinished === 'finish' ? 'finished' : 'undone';
    expect(manager.recoverSync('demo', { unfinished })).toBe(done);
    expect(new Set(many())).toEqual(new Set([unfinished === 'finish' ? 'first' : 'second']));
    expect(record().current_step).toBe(unfinished === 'finish' ? 1 : 2);
    expect(manager.recoverSync('demo')).toBe('nothing');
    expect(manager.verifySync('demo', { data: true }).ok).toBe(true);
    if (unfinished === 'undo') return;
    manager.undoSync('demo');
    expect(new Set(many())).toEqual(new Set(['second']));
  });

  test('an option that recover does not know', () => {
    expect(() => manager.recoverSync('demo', /** @type {any} */ ({ unfinished: 'wait' }))).toThrow(
      /must be 'finish' or 'undo'/,
    );
  });
});
