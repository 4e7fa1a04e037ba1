// A store that can't be written: on a read-only mount, since permission bits do not bind root.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { project, removeAll, temporary } from './support/project.mjs';

/** @type {string[]} */
const mounted = [];

/** @param {string} folder */
function mountReadOnly(folder) {
  execFileSync('mount', ['--bind', folder, folder], { stdio: 'pipe' });
  mounted.push(folder);
  execFileSync('mount', ['-o', 'remount,ro,bind', folder], { stdio: 'pipe' });
}

function unmountAll() {
  for (const folder of mounted.splice(0)) execFileSync('umount', [folder]);
}

/** @returns {string | undefined} why nothing can be mounted here */
function whyNot() {
  try {
    mountReadOnly(temporary());
    return undefined;
  } catch (error) {
    return String(/** @type {Error} */ (error).message)
      .split('\n')
      .slice(0, 2)
      .join(' ');
  } finally {
    unmountAll();
  }
}

const reason = whyNot();
const onMount = reason === undefined ? test : test.skip;
const why = reason === undefined ? '' : ` (skipped: ${reason})`;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;
/** @type {[string, string]} */
let ids;
const STATE = { text: 'x'.repeat(200_000) };

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
  const create = (/** @type {number} */ step) => {
    at.put(`.claude/context/runs/demo/artifacts/plan.md`, `plan ${step}`);
    return manager.createSync('demo', step, { ...STATE, step }).checkpointId;
  };
  ids = [create(1), create(2)];
});
afterEach(() => {
  unmountAll();
  removeAll();
});
afterAll(removeAll);

/** @param {string[]} words */
const run = (...words) => waymark(words, { cwd: at.root });

for (const [what, folder, code] of [
  ['the store', '.waymark', 'ERR_STORE_READ_ONLY'],
  ['the whole project', '.', 'ERR_RUN_READ_ONLY'],
]) {
  onMount(`${what} on a read-only mount is read all the same${why}`, async () => {
    mountReadOnly(at.place(folder));
    const [one, two] = ids;
    expect(manager.listSync('demo').map((row) => row.checkpointId)).toEqual([two, one]);
    for (const words of [
      ['list', 'demo'],
      ['show', 'demo', one],
      ['files', 'demo', one],
      ['verify', 'demo'],
    ]) {
      expect(await run(...words)).toMatchObject({ code: 0, stderr: '' });
    }
    expect((await run('cat', 'demo', one, 'artifacts/plan.md')).stdout).toBe('plan 1');
    expect(manager.showSync('demo', two).checkpoint.step_state).toEqual({ ...STATE, step: 2 });
    expect((await run('diff', 'demo', one, two)).stdout).toContain('artifacts/plan.md');
    expect((await run('diff', 'demo', one)).stdout).toContain('artifacts/plan.md');
    expect(await run('verify', 'demo', '--data')).toMatchObject({ code: 0 });
    expect(await run('verify', '--store', '--data')).toMatchObject({ code: 0 });

    const refused = await run('create', 'demo', '--step', '3');
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain(`[${code}]`);
    expect((await run('gc')).stderr).toContain('[ERR_STORE_READ_ONLY]');
    unmountAll();
    expect(manager.listSync('demo')).toHaveLength(2);
    expect(manager.createSync('demo', 3).sequence).toBe(3);
  });
}

onMount(`nor does it need its index${why}`, () => {
  for (const name of fs.readdirSync(at.place('.waymark'))) {
    if (name.startsWith('index.db'))
      fs.writeFileSync(path.join(at.place('.waymark'), name), 'torn');
  }
  mountReadOnly(at.place('.waymark'));
  expect(manager.readFileSync('demo', ids[0], 'artifacts/plan.md').toString()).toBe('plan 1');
});

onMount(
  `the audit log there can be read, and is missing what a small checkpoint does${why}`,
  async () => {
    mountReadOnly(at.place('.waymark'));
    const before = manager.eventsSync();
    expect(before.map(({ checkpoint }) => checkpoint)).toEqual(ids);
    const made = await manager.create('demo', 3, {}, { capture: false });
    expect(made.warnings).toEqual([expect.stringContaining('the audit log was not written')]);
    expect(manager.eventsSync()).toEqual(before);
    expect((await run('events', '--limit', '1')).stdout).toContain(ids[1]);
  },
);
