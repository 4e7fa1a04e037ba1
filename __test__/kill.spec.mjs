// kill -9 at random instants of create, restore and prune: nothing is lost, nothing is half done.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { createdOf, killed } from './support/killed.mjs';
import {
  addRun,
  files,
  project,
  readJson,
  registered,
  removeAll,
  repo,
} from './support/project.mjs';

const KILLS = Number(process.env.WAYMARK_KILLS ?? 520);
const MODES = ['create', 'restore', 'prune', 'mixed'];
const busy = path.join(repo, '__test__', 'support', 'busy.mjs');

afterAll(removeAll);

/** A seeded generator (mulberry32), so that a failing run's delays can be told. @param {number} a */
function random(a) {
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * @param {waymark.CheckpointManager} manager
 * @param {string} runId @param {string} dir @param {string[]} told @param {string} when
 */
function check(manager, runId, dir, told, when) {
  // Right after the kill, before anything is repaired: whole files only.
  const record = readJson(path.join(dir, 'run.json'));
  expect([when, record.run_id]).toEqual([when, runId]);
  const { damaged, checkpoints } = manager.verifySync(runId);
  expect([when, damaged]).toEqual([when, []]);
  const there = new Set(files(dir));
  expect([when, registered(dir).filter((id) => !there.has(id))]).toEqual([when, []]);
  // What was told to be created last is there: only newer ones can push it out.
  const last = createdOf(told).at(-1);
  if (last !== undefined)
    expect([when, [...there]]).toEqual([when, expect.arrayContaining([last])]);
  expect(checkpoints.length).toBe(there.size);

  // The next operation finishes or undoes, and cleans up.
  const next = manager.createSync(runId, 99);
  expect([when, registered(dir)]).toEqual([when, files(dir)]);
  expect(files(dir)).toContain(next.checkpointId);
  const left = fs.readdirSync(path.join(dir, 'checkpoints', '.waymark'));
  expect([
    when,
    left.filter(
      (name) =>
        !['artifacts', 'files', 'lock', 'rescues', 'restored', 'seen', 'verified'].includes(name),
    ),
  ]).toEqual([when, []]);
  expect(
    fs.existsSync(path.join(dir, 'run.json')) && readJson(path.join(dir, 'run.json')),
  ).toBeTruthy();
}

test(
  `${KILLS} kills`,
  async () => {
    const { runsDir } = project();
    const manager = new waymark.CheckpointManager({ runsDir });
    const seed = Number(process.env.WAYMARK_SEED ?? Date.now() % 2 ** 31);
    const next = random(seed);
    let left = KILLS;
    let interrupted = 0;
    /** @param {string} mode */
    const lane = async (mode) => {
      const { runId, dir } = addRun(runsDir, `run-${mode}`, { artifacts: 30 });
      manager.createSync(runId, 0);
      while (left > 0) {
        left -= 1;
        const delay = next() * 12;
        const when = `seed ${seed}, ${mode}, ${delay.toFixed(2)} ms`;
        const told = await killed(busy, [runsDir, runId, mode], delay);
        const staged = fs
          .readdirSync(path.join(dir, 'checkpoints', '.waymark'))
          .some((name) => name.startsWith('staged-') || name === 'restore.journal');
        if (staged || registered(dir).join() !== files(dir).join()) interrupted += 1;
        check(manager, runId, dir, told, when);
      }
    };
    await Promise.all(MODES.map(lane));
    // The kills must hit operations, not pauses between them.
    expect(interrupted).toBeGreaterThan(KILLS / 50);
  },
  10 * 60_000,
);

test('4 processes × 15 creates on one run: nobody loses a checkpoint, an entry or an id', async () => {
  const { runsDir, runId, dir } = project({ artifacts: 20 });
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, [busy, runsDir, runId, 'create', '15'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  const told = await Promise.all(
    children.map(async (child) => {
      let text = '';
      child.stdout.on('data', (data) => {
        text += data;
      });
      const [code] = await once(child, 'close');
      expect(code).toBe(0);
      return text.split('\n').filter((line) => line.startsWith('created '));
    }),
  );
  const ids = told.flat().map((line) => line.slice(8));
  expect(ids).toHaveLength(60);
  expect(new Set(ids).size).toBe(60);
  const rows = new waymark.CheckpointManager({ runsDir }).listSync(runId);
  expect(rows.map((row) => row.sequence)).toEqual([60, 59, 58, 57, 56]);
  expect(ids).toEqual(expect.arrayContaining(rows.map((row) => row.checkpointId)));
  expect(registered(dir)).toEqual(files(dir));
});

test('creates and restores side by side: every file stays whole', async () => {
  const { runsDir, runId, dir } = project({ artifacts: 20 });
  const manager = new waymark.CheckpointManager({ runsDir });
  manager.createSync(runId, 0);
  const modes = ['create', 'restore', 'mixed'];
  const codes = await Promise.all(
    modes.map(async (mode) => {
      const child = spawn(process.execPath, [busy, runsDir, runId, mode, '20'], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const [code] = await once(child, 'close');
      return code;
    }),
  );
  expect(codes).toEqual([0, 0, 0]);
  expect(manager.verifySync(runId).damaged).toEqual([]);
  manager.createSync(runId, 1);
  expect(registered(dir)).toEqual(files(dir));
});
