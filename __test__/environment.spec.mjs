// The fingerprint of a checkpoint's environment: given, kept in the manifest, given back.

import { afterAll, beforeEach, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { project, readJson, removeAll } from './support/project.mjs';

const { CheckpointManager } = waymark;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
beforeEach(() => {
  at = project();
  manager = new CheckpointManager({ runsDir: at.runsDir });
});
afterAll(removeAll);

test('it is in the manifest, and list and show give it back', async () => {
  const own = { note: 'ünï', list: [1, { deep: true }] };
  const environment = { worktree: /** @type {const} */ (false), collectors: { own: () => own } };
  const facts = { phase: 'build' };
  const made = await manager.create(at.runId, 1, {}, { environment, facts });
  const bare = manager.createSync(at.runId, 2, {}, { environment: false });
  expect('environment' in bare.checkpoint).toBe(false);
  const onDisk = readJson(made.path);
  expect(JSON.stringify(made.checkpoint)).toBe(JSON.stringify(onDisk));
  const kept = onDisk.environment;
  expect(kept).toMatchObject({ format: 1, custom: { own } });
  const [second, first] = await manager.list(at.runId);
  expect(first.environment).toEqual(kept);
  expect(first.environment).toBe(first.environment);
  expect(second.environment).toBeUndefined();
  expect('environment' in second).toBe(false);
  expect(manager.listSync(at.runId)[1].environment).toEqual(kept);
  expect((await manager.show(at.runId, made.checkpointId)).environment).toEqual(kept);
  const shown = manager.showSync(at.runId, made.checkpointId);
  expect(shown.environment).toEqual(kept);
  expect(shown.checkpoint).toMatchObject({ environment: kept });
  const verified = await manager.verify(at.runId);
  expect(verified.damaged).toEqual([]);
});

test('what can be none is refused', async () => {
  for (const environment of ['x', 1, null, [], { ports: { a: -1 } }, { unknown: true }]) {
    await expect(
      manager.create(at.runId, 1, {}, /** @type {any} */ ({ environment })),
    ).rejects.toMatchObject({ code: 'ERR_OPTION_INVALID' });
  }
  expect(await manager.list(at.runId)).toEqual([]);
});
