// Automatic checkpoints: which is due when, and that they are taken.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { artifact, project, readJson, removeAll, writeJson } from './support/project.mjs';

const { CheckpointManager } = waymark;
const { decide, sizeOf } = createRequire(import.meta.url)('../lib/auto.js');

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
/** The time, in milliseconds. */
let clock = 0;
const now = () => clock;
beforeEach(() => {
  at = project();
  manager = new CheckpointManager({ runsDir: at.runsDir });
  clock = Date.parse('2026-01-02T03:04:05Z');
});
afterAll(removeAll);

/** @param {() => unknown} work */
async function refusal(work) {
  try {
    await work();
  } catch (error) {
    return /** @type {waymark.WaymarkError} */ (error).code;
  }
  return 'nothing';
}

/** Enters artifacts in the run's registry. @param {number[]} numbers */
function register(...numbers) {
  const file = path.join(at.dir, 'artifact-registry.json');
  const registry = readJson(file);
  for (const number of numbers) {
    registry.artifacts[`artifact-${number}.md`] = artifact(at.dir, number);
  }
  writeJson(file, registry);
}

describe('what is due', () => {
  const MINUTE = 60_000;
  /**
   * Ticks at fixed times, and what is due at each.
   * @type {[name: string, limits: object, ticks: [at: number, sample: object, due: string[]][]][]}
   */
  const TABLE = [
    [
      'time, counted while at work only',
      { everyActiveMs: 10 * MINUTE },
      [
        [0, {}, []],
        [4 * MINUTE, {}, []],
        [9 * MINUTE, {}, []],
        // A pause of an hour is none of it.
        [69 * MINUTE, {}, []],
        [70 * MINUTE, {}, ['time']],
        // Counted anew.
        [71 * MINUTE, {}, []],
        [76 * MINUTE, {}, []],
        [80 * MINUTE, {}, ['time']],
      ],
    ],
    [
      'a gap that is just short enough counts, a clock that is set back does not',
      { everyActiveMs: 5 * MINUTE },
      [
        [0, {}, []],
        [5 * MINUTE, {}, ['time']],
        [3 * MINUTE, {}, []],
        [8 * MINUTE, {}, ['time']],
        [13 * MINUTE + 1, {}, []],
      ],
    ],
    [
      'the number of artifacts, up and down',
      { artifacts: { count: 3 } },
      [
        [0, { count: 10 }, []],
        [1, { count: 12 }, []],
        [2, { count: 13 }, ['artifacts']],
        [3, { count: 11 }, []],
        [4, { count: 10 }, ['artifacts']],
        [5, { count: 10 }, []],
        [6, {}, []],
      ],
    ],
    [
      'the size of artifacts',
      { artifacts: { bytes: 1000 } },
      [
        [0, { count: 1, bytes: 500 }, []],
        [1, { count: 100, bytes: 1499 }, []],
        [2, { count: 100, bytes: 1500 }, ['artifacts']],
        [3, { count: 100, bytes: 400 }, ['artifacts']],
      ],
    ],
    [
      'progress, in steps of a tenth',
      { progress: 0.1 },
      [
        [0, { progress: 0 }, []],
        [1, { progress: 0.05 }, []],
        [2, { progress: 0.1 }, ['progress']],
        [3, { progress: 0.1 + 0.1 }, ['progress']],
        // 0.30000000000000004 - 0.2 and 0.3 - 0.2 are not 0.1.
        [4, { progress: 0.3 }, ['progress']],
        [5, { progress: 0.39 }, []],
        [6, {}, []],
        [7, { progress: 1 }, ['progress']],
      ],
    ],
    [
      'a progress that is first told later counts from there',
      { progress: 0.5 },
      [
        [0, {}, []],
        [1, { progress: 0.4 }, []],
        [2, { progress: 0.89 }, []],
        [3, { progress: 0.9 }, ['progress']],
      ],
    ],
    [
      'a change of phase, also back',
      { phases: true },
      [
        [0, { phase: 'plan' }, []],
        [1, { phase: 'plan' }, []],
        [2, {}, []],
        [3, { phase: 'build' }, ['phase']],
        [4, { phase: 'build' }, []],
        [5, { phase: 'plan' }, ['phase']],
      ],
    ],
    [
      'nothing is asked for',
      {},
      [
        [0, { phase: 'a', progress: 0, count: 0 }, []],
        [100 * MINUTE, { phase: 'b', progress: 1, count: 99, bytes: 9999 }, []],
      ],
    ],
    [
      'several at once: the one that tells most comes first, and one checkpoint does for all',
      { everyActiveMs: MINUTE, artifacts: { count: 1 }, progress: 0.1, phases: true },
      [
        [0, { phase: 'a', progress: 0, count: 0 }, []],
        [MINUTE, { phase: 'b', progress: 1, count: 1 }, ['phase', 'progress', 'artifacts', 'time']],
        [MINUTE + 1, { phase: 'b', progress: 1, count: 1 }, []],
      ],
    ],
  ];

  test.each(TABLE)('%s', (_name, limits, ticks) => {
    const all = { idleGapMs: 5 * MINUTE, phases: false, ...limits };
    /** @type {any} */
    let since;
    for (const [time, sample, due] of ticks) {
      const found = decide(all, since, { at: time, ...sample });
      expect([time, found.triggers]).toEqual([time, due]);
      since = found.since;
      if (due.length > 0) since = { activeMs: 0, base: since.last, last: since.last };
    }
  });

  test('the size of a registry', () => {
    expect(sizeOf({ count: 3, bytes: 9 })).toEqual({ count: 3, bytes: 9 });
    expect(sizeOf({ count: 3 })).toEqual({ count: 3, bytes: 0 });
    const own = { agent: 'checkpoint-manager', metadata: { size: 99 } };
    const artifacts = { a: { metadata: { size: 5 } }, b: { size: 2 }, c: {}, d: null, own };
    expect(sizeOf({ artifacts })).toEqual({ count: 4, bytes: 7 });
    expect(sizeOf([])).toEqual({ count: 0, bytes: 0 });
    expect(sizeOf(null)).toEqual({ count: 0, bytes: 0 });
  });
});

describe('what is taken', () => {
  test('a checkpoint of the step and state told, and it says which trigger', async () => {
    const auto = manager.auto(at.runId, { everyActiveMs: 60_000, phases: true, now });
    expect(await auto.tick({ step: 1, phase: 'plan' })).toEqual({
      taken: false,
      triggers: [],
      activeMs: 0,
    });
    clock += 30_000;
    expect(await auto.tick({ step: 1, phase: 'plan' })).toMatchObject({ activeMs: 30_000 });
    clock += 10_000;
    const result = await auto.tick({ step: 2, phase: 'build', state: { n: 1 } });
    expect(result).toMatchObject({ taken: true, trigger: 'phase', activeMs: 40_000 });
    const [row] = await manager.list(at.runId);
    expect(row).toMatchObject({ step: 2, ...result.checkpoint });
    const shown = await manager.show(at.runId, row.checkpointId);
    expect(shown.checkpoint.step_state).toEqual({ n: 1 });
    expect(auto.activeMs).toBe(0);
    clock += 60_000;
    expect(await auto.tick({ step: 3 })).toMatchObject({ taken: true, trigger: 'time' });
  });

  test('the registry is read where it has changed, and its own entries do not count', async () => {
    const auto = manager.auto(at.runId, { artifacts: { count: 2, bytes: 150 }, now });
    const tick = async () => (await auto.tick({ step: 1 })).triggers.join();
    expect(await tick()).toBe('');
    register(3);
    expect(await tick()).toBe('');
    register(4);
    expect(await tick()).toBe('artifacts');
    // The checkpoint has entered itself.
    expect(await tick()).toBe('');
    // One, of 200 bytes.
    register(20);
    expect(await tick()).toBe('artifacts');
    // Half written by the runner.
    fs.writeFileSync(path.join(at.dir, 'artifact-registry.json'), '{"artifacts":{');
    expect(await tick()).toBe('');
    expect(await manager.list(at.runId)).toHaveLength(2);
  });

  test('the registry may be told', async () => {
    const auto = manager.auto(at.runId, { artifacts: { count: 2 } });
    await auto.tick({ step: 1, registry: { count: 5 } });
    expect((await auto.tick({ step: 1, registry: { count: 6 } })).taken).toBe(false);
    const artifacts = Object.fromEntries([1, 2, 3, 4, 5, 6, 7].map((n) => [`a${n}`, {}]));
    expect((await auto.tick({ step: 1, registry: { artifacts } })).taken).toBe(true);
  });

  test('ticks at once take one checkpoint', async () => {
    const auto = manager.auto(at.runId, { phases: true });
    await auto.tick({ step: 1, phase: 'a' });
    const ticks = await Promise.all([2, 3, 4].map((step) => auto.tick({ step, phase: 'b' })));
    expect(ticks.map(({ taken }) => taken)).toEqual([true, false, false]);
  });

  test('one that fails stays due, and fails no step unless asked to', async () => {
    const auto = manager.auto(at.runId, { phases: true });
    const strict = manager.auto(at.runId, { phases: true, strict: true });
    for (const one of [auto, strict]) await one.tick({ step: 1, phase: 'a' });
    const file = path.join(at.dir, 'run.json');
    const record = fs.readFileSync(file);
    fs.rmSync(file);
    const result = await auto.tick({ step: 2, phase: 'b' });
    expect(result).toMatchObject({ taken: false, trigger: 'phase' });
    expect(result.error).toMatchObject({ code: 'ERR_RUN_RECORD_MISSING' });
    expect(await refusal(() => strict.tick({ step: 2, phase: 'b' }))).toBe(
      'ERR_RUN_RECORD_MISSING',
    );
    fs.writeFileSync(file, record);
    for (const one of [auto, strict]) {
      expect(await one.tick({ step: 2, phase: 'b' })).toMatchObject({ taken: true });
    }
  });

  test('of a task that is at work: it carries its results', async () => {
    const task = await manager.task(at.runId, 'build');
    await task.step('a', () => 'done');
    const auto = manager.auto(at.runId, { progress: 0.5, task });
    await auto.tick({ progress: 0 });
    const { checkpoint } = await auto.tick({ progress: 0.5, state: { mine: 1 } });
    const [row] = await manager.list(at.runId);
    expect(row).toMatchObject({ step: 'build', checkpointId: checkpoint?.checkpointId });
    const again = await new CheckpointManager({ runsDir: at.runsDir }).task(at.runId, 'build');
    expect(again.state).toEqual({ mine: 1 });
    expect(await again.step('a', () => 'again')).toBe('done');
  });

  test('misuse', async () => {
    const any = /** @type {any} */ (manager);
    for (const [options, code] of [
      [{ every: 1 }, 'ERR_OPTION_UNKNOWN'],
      [{ everyActiveMs: 0 }, 'ERR_OPTION_INVALID'],
      [{ idleGapMs: -1 }, 'ERR_OPTION_INVALID'],
      [{ progress: 0 }, 'ERR_OPTION_INVALID'],
      [{ progress: 1.5 }, 'ERR_OPTION_INVALID'],
      [{ artifacts: { files: 3 } }, 'ERR_OPTION_UNKNOWN'],
      [{ artifacts: { count: 0 } }, 'ERR_OPTION_INVALID'],
      [{ task: {} }, 'ERR_OPTION_INVALID'],
      [{ task: { take: () => {}, runId: 'another' } }, 'ERR_OPTION_INVALID'],
    ]) {
      expect([options, await refusal(() => any.auto(at.runId, options))]).toEqual([options, code]);
    }
    expect(await refusal(() => any.auto(5, {}))).toBe('ERR_RUN_ID_INVALID');
    const auto = any.auto(at.runId, { phases: true });
    expect(await refusal(() => auto.tick({ phase: 'a' }))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(() => auto.tick({ step: 1, phase: 1 }))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(() => auto.tick({ step: 1, progress: 1.1 }))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(() => auto.tick({ step: 1, stage: 1 }))).toBe('ERR_OPTION_UNKNOWN');
  });
});
