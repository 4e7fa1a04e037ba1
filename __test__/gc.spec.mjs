// gc: the space of what no checkpoint needs comes back, by the API and by the command.

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { addRun, project, removeAll, writeJson } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
  for (let step = 1; step <= 3; step += 1) {
    fs.writeFileSync(path.join(at.dir, 'artifacts', 'data.bin'), randomBytes(50_000));
    manager.createSync('demo', step, {});
  }
});
afterEach(removeAll);
afterAll(removeAll);

const objects = () => path.join(at.root, '.waymark', 'objects');
const packs = () => fs.readdirSync(objects()).filter((name) => name.endsWith('.pack'));
const bytes = () =>
  packs().reduce((sum, name) => sum + fs.statSync(path.join(objects(), name)).size, 0);
/** @param {string[]} words */
const command = (...words) => waymark(words, { cwd: at.root });
const restorable = async () => (await manager.verify('demo', { data: true })).ok;

test('a prune, then a gc frees space; a dry run changes nothing', async () => {
  const before = bytes();
  expect(before).toBeGreaterThan(150_000);
  expect(manager.gcSync()).toMatchObject({
    dryRun: false,
    freedBytes: 0,
    gone: [],
    stopped: false,
  });
  manager.pruneSync('demo', { keepLast: 1 });
  expect(bytes()).toBe(before);
  const names = packs();
  const plan = await manager.gc({ dryRun: true });
  expect(plan).toMatchObject({
    dryRun: true,
    freedBytes: 0,
    storeDir: path.join(at.root, '.waymark'),
  });
  expect(plan.plan.freedBytes).toBeGreaterThan(99_000);
  expect(packs()).toEqual(names);
  expect(bytes()).toBe(before);
  /** @type {string[]} */
  const phases = [];
  const done = await manager.gc({ onProgress: ({ phase }) => phases.push(phase) });
  expect(phases.at(-1)).toBe('done');
  expect(done.plan).toEqual(plan.plan);
  expect(bytes()).toBe(before - done.freedBytes);
  expect(bytes()).toBeLessThan(60_000);
  expect(await restorable()).toBe(true);
});

test('prune and cleanup collect if they are asked to', async () => {
  const before = bytes();
  const dry = manager.pruneSync('demo', { keepLast: 2, dryRun: true, gc: true });
  expect(dry).not.toHaveProperty('gc');
  expect(manager.pruneSync('demo', { keepLast: 2, gc: true }).gc?.freedBytes).toBeGreaterThan(
    49_000,
  );
  expect((await manager.prune('demo', { keepLast: 1, gc: true })).gc?.freedBytes).toBeGreaterThan(
    49_000,
  );
  expect(bytes()).toBeLessThan(before - 99_000);
  writeJson(path.join(at.dir, 'run.json'), {
    run_id: 'demo',
    status: 'failed',
    updated_at: '2020-01-01T00:00:00.000Z',
  });
  const cleaned = await manager.cleanup({ report: false, gc: true });
  expect(cleaned.cleaned).toHaveLength(1);
  expect(cleaned.gc?.freedBytes).toBeGreaterThan(49_000);
  expect(bytes()).toBe(0);
});

test('a gc that fails after a prune is a warning', async () => {
  fs.writeFileSync(path.join(at.root, '.waymark', 'roots', 'x.json'), 'damaged');
  await expect(manager.gc()).rejects.toMatchObject({ code: 'ERR_STORE_ROOTS_DAMAGED' });
  const pruned = await manager.prune('demo', { keepLast: 2, gc: true });
  expect(pruned).toMatchObject({
    dropped: [expect.any(String)],
    warnings: [expect.stringContaining('[ERR_STORE_ROOTS_DAMAGED]')],
  });
  const { code, stdout, stderr } = await command('prune', 'demo', '--keep-last', '1');
  expect(code).toBe(0);
  expect(stdout).toContain('dropped 1 checkpoint');
  expect(stderr).toContain('ERR_STORE_ROOTS_DAMAGED');
  expect((await manager.verifyStore()).problems).toHaveLength(1);
});

test('the command', async () => {
  const before = bytes();
  const kept = await command('prune', 'demo', '--keep-last', '2', '--no-gc');
  expect(kept).toMatchObject({ code: 0, stderr: '' });
  expect(kept.stdout).toMatch(/dropped 1 checkpoint, [\d.]+ KB\n$/);
  expect(bytes()).toBe(before);
  const dry = await command('gc', '--dry-run');
  expect(dry).toMatchObject({ code: 0, stderr: '' });
  expect(dry.stdout).toMatch(/^would do in .*: drop 0 packs, write 1 anew, about 4\d\.\d KB freed/);
  expect(bytes()).toBe(before);
  // More may be unused than is.
  const patient = await command('gc', '--max-unused', '0.9', '--json');
  expect(JSON.parse(patient.stdout)).toMatchObject({ freedBytes: 0 });
  const done = await command('gc');
  expect(done.code).toBe(0);
  expect(done.stderr).toMatch(/^waymark: plan: drop 0 packs, write 1 anew/);
  expect(done.stdout).toMatch(/^freed 4\d\.\d KB in .* \(1 pack gone, /);
  const pruned = await command('prune', 'demo', '--keep-last', '1');
  expect(pruned.stdout).toMatch(/; gc freed 4\d\.\d KB\n$/);
  expect(await restorable()).toBe(true);
  for (const words of [
    ['--max-unused', 'x'],
    ['--max-unused', '1.5'],
    ['demo'],
    ['--forget-root', ''],
  ]) {
    expect((await command('gc', ...words)).code).toBe(1);
  }
});

test('a folder of runs that is gone stops a gc until it is forgotten', async () => {
  const other = path.join(at.root, 'other');
  fs.mkdirSync(other);
  const store = path.join(at.root, '.waymark');
  addRun(other, 'away');
  new api.CheckpointManager({ runsDir: other, store }).createSync('away', 1, {});
  fs.rmSync(other, { recursive: true });
  const refused = await command('gc', '--json');
  expect(refused.code).toBe(1);
  expect(JSON.parse(refused.stderr).error.code).toBe('ERR_STORE_ROOT_MISSING');
  expect((await manager.verifyStore()).problems).toMatchObject([{ path: other }]);
  expect((await command('verify', '--store')).code).toBe(3);
  expect((await command('gc', '--dry-run', '--forget-root', other)).code).toBe(0);
  expect((await command('gc')).code).toBe(1);
  expect((await command('gc', '--forget-root', 'other')).code).toBe(0);
  expect((await manager.gc()).problems).toEqual([]);
  expect((await manager.verifyStore({ data: true })).ok).toBe(true);
});

test('misuse, and a project without a store', async () => {
  const aborted = manager.gc({ signal: AbortSignal.abort() });
  await expect(aborted).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  const wrong = { code: 'ERR_OPTION_INVALID' };
  await expect(manager.gc({ maxUnused: -1 })).rejects.toMatchObject(wrong);
  await expect(manager.gc({ forgetRoots: [''] })).rejects.toMatchObject(wrong);
  await expect(manager.gc(/** @type {any} */ ({ keepLast: 1 }))).rejects.toMatchObject({
    code: 'ERR_OPTION_UNKNOWN',
  });
  const empty = project({ runId: 'none' });
  const none = new api.CheckpointManager({ runsDir: empty.runsDir });
  expect(none.gcSync()).toMatchObject({ freedBytes: 0, gone: [] });
  expect(none.verifyStoreSync()).toMatchObject({ ok: true, runs: [] });
  // The store is enough, or the project, when there are no runs any more.
  fs.rmSync(path.join(at.root, '.claude'), { recursive: true });
  const left = new api.CheckpointManager({ root: at.root });
  expect(left.gcSync({ forgetRoots: [at.runsDir] }).freedBytes).toBeGreaterThan(150_000);
  expect(bytes()).toBe(0);
});
