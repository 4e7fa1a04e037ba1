// Processes that create, prune and collect in one store at once, each killed with -9 at any instant.

import path from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { createdOf, killed } from './support/killed.mjs';
import { addRun, project, removeAll, repo } from './support/project.mjs';

const ROUNDS = Number(process.env.WAYMARK_STORE_KILLS ?? 12);
const busy = path.join(repo, '__test__', 'support', 'store_busy.mjs');

afterAll(removeAll);

/** @param {string} runsDir @param {string} runId @param {string} mode @param {number} delayMs */
const worked = async (runsDir, runId, mode, delayMs) =>
  createdOf(await killed(busy, [runsDir, runId, mode], delayMs));

test(
  `${ROUNDS} rounds of five processes`,
  async () => {
    const { runsDir } = project();
    const manager = new waymark.CheckpointManager({ runsDir, keepLast: 6 });
    for (const run of ['run-a', 'run-b']) {
      addRun(runsDir, run, { artifacts: 3 });
      manager.createSync(run, 0, { text: 'x'.repeat(100_000) });
    }
    for (let round = 0; round < ROUNDS; round += 1) {
      const delay = () => Math.random() * 150;
      const [a, b] = await Promise.all([
        worked(runsDir, 'run-a', 'create', delay()),
        worked(runsDir, 'run-b', 'create', delay()),
        worked(runsDir, 'run-a', 'prune', delay()),
        worked(runsDir, 'run-b', 'gc', delay()),
        worked(runsDir, 'run-a', 'gc', delay()),
      ]);
      for (const [run, told] of /** @type {[string, string[]][]} */ ([
        ['run-a', a],
        ['run-b', b],
      ])) {
        const found = manager.verifySync(run, { data: true });
        expect([round, found.damaged]).toEqual([round, []]);
        const newest = told.at(-1);
        const kept = manager.listSync(run).map((one) => one.checkpointId);
        if (newest !== undefined) expect(kept).toContain(newest);
        for (const id of kept) {
          for (const file of manager.filesSync(run, id)) {
            if (file.kind === 'file') manager.readFileSync(run, id, file.path, { root: file.root });
          }
        }
        manager.restoreSync(run);
      }
    }
    // Nothing is left that a gc does not take back, but for the packs' own heads.
    manager.gcSync({ maxUnused: 0 });
    expect(manager.gcSync({ maxUnused: 0, dryRun: true }).plan.deadBytes).toBeLessThan(1000);
    expect(manager.verifyStoreSync({ data: true })).toMatchObject({ ok: true });
  },
  5 * 60_000,
);
