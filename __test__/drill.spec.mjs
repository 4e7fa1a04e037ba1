// Drills: what may happen to a run, rehearsed on copies of it.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeEach, expect, test } from '@jest/globals';
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
afterAll(removeAll);

/** Takes checkpoints with a file of the workspace. @param {number[]} steps */
async function taken(steps) {
  fs.mkdirSync(path.join(at.root, 'src'), { recursive: true });
  for (const step of steps) {
    fs.writeFileSync(path.join(at.root, 'src', 'work.txt'), `after step ${step}\n`);
    await manager.create('demo', step, { step }, { capture: { workspace: ['src'] } });
  }
}

/** Everything below a folder, the store's own books apart. @param {string} folder */
function print(folder) {
  const hash = createHash('sha256');
  const names = fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  for (const name of names.filter((one) => !one.startsWith('.waymark'))) {
    const file = path.join(folder, name);
    hash.update(name);
    if (fs.statSync(file).isFile()) hash.update(fs.readFileSync(file));
  }
  return hash.digest('hex');
}

const left = () => fs.readdirSync(os.tmpdir()).filter((name) => name.startsWith('waymark-drill-'));

test('all of it is survived, tells what is lost, and the run stays as it is', async () => {
  await taken([1, 1.5, 2]);
  const [before, folders] = [print(at.root), left()];
  /** @type {string[]} */
  const seen = [];
  const result = await manager.drill('demo', {
    rounds: 2,
    onProgress: ({ scenario, number, of }) => seen.push(`${number}/${of} ${scenario}`),
  });
  expect(result.scenarios.filter((one) => !one.survived)).toEqual([]);
  expect([result.survived, result.rehearsed, seen.length]).toEqual([8, 8, 8]);
  expect(seen[0]).toBe('1/8 agent-crash');
  const by = Object.fromEntries(result.scenarios.map((one) => [one.name, one]));
  expect(by['damaged-checkpoint']).toMatchObject({
    step: 1.5,
    lost: [expect.stringContaining('step 2 ')],
  });
  expect(by['damaged-checkpoint'].told[0]).toContain('passed over');
  expect(by['damaged-state']).toMatchObject({ step: 2, lost: [] });
  expect(by['missing-store'].lost).toEqual(['1 captured files']);
  expect(by['missing-store'].told[0]).toContain('[ERR_NO_GOOD_CHECKPOINT]');
  expect(by['full-disk'].told[0]).toContain('[ERR_DISK_FULL]');
  expect(by['human-edit'].told.join()).toContain('1 edited files lie beside');
  for (const one of result.scenarios) expect(one.took).toBeGreaterThanOrEqual(0);
  expect(print(at.root)).toBe(before);
  expect(left()).toEqual(folders);
});

test('what is not survived is said: the only checkpoint is damaged', async () => {
  await taken([1]);
  const { scenarios, survived } = await manager.drill('demo', {
    scenarios: ['damaged-checkpoint'],
  });
  expect(survived).toBe(0);
  expect(scenarios[0]).toMatchObject({
    survived: false,
    problem: expect.stringContaining('[ERR_NO_GOOD_CHECKPOINT]'),
  });
  const words = ['drill', 'demo', '--only', 'damaged-checkpoint,damaged-state'];
  const told = await waymark(words, { cwd: at.root });
  expect(told.code).toBe(3);
  expect(told.stdout).toContain('not survived');
  expect(told.stdout).toContain('1 of 2 rehearsals survived; run demo was only read');
});

test('what lies out of the project is left alone', async () => {
  await taken([1]);
  const outside = fs.mkdtempSync(path.join(os.tmpdir(), 'waymark-test-outside-'));
  fs.writeFileSync(path.join(outside, 'mine.txt'), 'mine');
  await manager.create('demo', 2, {}, { capture: { workspace: [outside] } });
  fs.writeFileSync(path.join(outside, 'mine.txt'), 'changed');
  const result = await manager.drill('demo', { scenarios: ['lost-worktree', 'human-edit'] });
  expect(result.notRehearsed).toEqual([fs.realpathSync(outside)]);
  expect(result.scenarios[0].skipped).toContain('no files of a workspace');
  expect(result.scenarios[1].survived).toBe(true);
  expect(fs.readFileSync(path.join(outside, 'mine.txt'), 'utf8')).toBe('changed');
  fs.rmSync(outside, { recursive: true });
});

test('copies can be kept, and refusals have their codes', async () => {
  await expect(manager.drill('demo')).rejects.toMatchObject({ code: 'ERR_NO_CHECKPOINT' });
  await taken([1]);
  const { folder, scenarios } = await manager.drill('demo', {
    scenarios: ['damaged-state'],
    keep: true,
  });
  expect(scenarios[0].survived).toBe(true);
  const copy = path.join(/** @type {string} */ (folder), 'damaged-state');
  expect(fs.readFileSync(path.join(copy, 'src', 'work.txt'), 'utf8')).toBe('after step 1\n');
  fs.rmSync(/** @type {string} */ (folder), { recursive: true });
  /** @type {any} */
  const unknown = { scenarios: ['flood'] };
  await expect(manager.drill('demo', unknown)).rejects.toMatchObject({
    code: 'ERR_OPTION_INVALID',
  });
  await expect(manager.drill('demo', { folder: '/nowhere' })).rejects.toMatchObject({
    code: 'ERR_DRILL_FOLDER',
    path: '/nowhere',
  });
  await expect(manager.drill('other')).rejects.toMatchObject({ code: 'ERR_RUN_NOT_FOUND' });
  await expect(manager.drill('demo', { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
});
