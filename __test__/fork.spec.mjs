// Forks from JavaScript and the command line: another run begins where a run was.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeEach, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { project, removeAll } from './support/project.mjs';

afterAll(removeAll);

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;
/** @param {string} run @param {string} name */
const inRun = (run, name) => path.join(at.runsDir, run, name);
/** @param {string} run */
const record = (run) => JSON.parse(fs.readFileSync(inRun(run, 'run.json'), 'utf8'));

beforeEach(async () => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
  fs.writeFileSync(inRun('demo', 'artifacts/plan.md'), 'the plan\n');
  await manager.create('demo', 1, { done: 1 }, { facts: { labels: ['first'] } });
  fs.writeFileSync(inRun('demo', 'artifacts/plan.md'), 'another plan\n');
  await manager.create('demo', 2, { done: 2 });
});

test('the newest one, a step, a checkpoint', async () => {
  const base = manager.listSync('demo')[0];
  const forked = await manager.fork('demo', 'way-a');
  expect(forked).toMatchObject({
    runId: 'way-a',
    path: inRun('way-a', '').replace(/[\\/]$/, ''),
    step: 2,
    baseCheckpointId: base.checkpointId,
    withheld: 0,
    skipped: [],
    warnings: [],
  });
  expect(forked.files).toBeGreaterThan(0);
  expect(record('way-a')).toMatchObject({
    run_id: 'way-a',
    current_step: 2,
    status: 'in_progress',
  });
  expect(fs.readFileSync(inRun('way-a', 'artifacts/plan.md'), 'utf8')).toBe('another plan\n');
  expect(manager.listSync('demo')[0].forks).toEqual([
    { run: 'way-a', checkpoint: forked.checkpointId },
  ]);

  const older = manager.forkSync('demo', 'way-b', { step: 1 });
  expect(older.step).toBe(1);
  expect(fs.readFileSync(inRun('way-b', 'artifacts/plan.md'), 'utf8')).toBe('the plan\n');
  expect(manager.listSync('way-b')[0].facts).toEqual({
    labels: ['first'],
    parent: { run: 'demo', checkpoint: older.baseCheckpointId },
  });
  const third = await manager.fork('way-b', 'way-c', { checkpointId: older.checkpointId });
  expect(third.baseCheckpointId).toBe(older.checkpointId);

  await manager.create('way-a', 3, {});
  const tree = await manager.tree('demo');
  const runs = JSON.stringify(tree);
  for (const id of ['way-a', 'way-b', 'way-c']) expect(runs).toContain(`"runId":"${id}"`);
});

test('misuse is refused and nothing is made', async () => {
  const code = (/** @type {string} */ one) => expect.objectContaining({ code: one });
  await expect(manager.fork('demo', 'demo')).rejects.toEqual(code('ERR_RUN_EXISTS'));
  await expect(manager.fork('demo', '../x')).rejects.toEqual(code('ERR_RUN_ID_INVALID'));
  await expect(manager.fork('nobody', 'x')).rejects.toEqual(code('ERR_RUN_NOT_FOUND'));
  for (const [options, wanted] of /** @type {[any, string][]} */ ([
    [{ checkpointId: 'none' }, 'ERR_CHECKPOINT_NOT_FOUND'],
    [{ step: 9 }, 'ERR_CHECKPOINT_NOT_FOUND'],
    [{ step: 1, checkpointId: 'both' }, 'ERR_OPTION_INVALID'],
    [{ what: 1 }, 'ERR_OPTION_UNKNOWN'],
    [{ signal: AbortSignal.abort() }, 'ERR_ABORTED'],
  ])) {
    await expect(manager.fork('demo', 'x', options)).rejects.toEqual(code(wanted));
    expect(() => manager.forkSync('demo', 'x', options)).toThrow(code(wanted));
  }
  expect(fs.readdirSync(at.runsDir)).toEqual(['demo']);
});

test('on the command line', async () => {
  const done = await waymark(['fork', 'demo', 'way-a', '--step', '1', '--json'], { cwd: at.root });
  expect(done.code).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({ runId: 'way-a', step: 1 });
  const shown = await waymark(['fork', 'demo', 'way-b'], { cwd: at.root });
  expect(shown.stdout).toContain('run way-b begins where demo was after step 2');
  const again = await waymark(['fork', 'demo', 'way-b'], { cwd: at.root });
  expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('ERR_RUN_EXISTS')]);
});
