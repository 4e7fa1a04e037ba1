// The timeline of a run: what happened, in its order, as JSON and as text.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { oldCheckpoint, project, removeAll } from './support/project.mjs';

const { fromEvents, merge } = createRequire(import.meta.url)('../lib/timeline.js');

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;
beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir, keepLast: 'all' });
});
afterAll(removeAll);

/** Works on a task of two levels, whose step `b` fails at first. @param {boolean} fails */
const work = (fails) =>
  manager.task('demo', 'build', async (task) => {
    await task.step('a', () => 1);
    await task.task('inner', async (inner) => {
      inner.progress(1, 2, 'half');
      await inner.step('b', () => {
        if (fails) throw new Error('no luck');
      });
    });
  });

/** @param {api.Timeline} timeline @param {string} kind */
const of = ({ entries }, kind) => entries.filter((one) => one.kind === kind);

test('steps, checkpoints, failures, pauses, restores and durations', async () => {
  await expect(work(true)).rejects.toThrow('no luck');
  await work(false);
  const before = await manager.timeline('demo');
  expect(before).toMatchObject({ runId: 'demo', status: 'in_progress' });
  expect(before.totals).toMatchObject({
    steps: 2,
    completed: 2,
    failures: 3,
    pauses: 1,
    restores: 0,
  });
  const times = before.entries.map((one) => Date.parse(one.time));
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  expect(of(before, 'run')).toMatchObject([{ what: 'the run was begun' }]);
  expect(of(before, 'step')).toMatchObject([
    { path: ['build', 'a'], status: 'completed', attempts: 1, took: expect.any(Number) },
    { path: ['build', 'inner', 'b'], status: 'completed', attempts: 2 },
  ]);
  expect(of(before, 'task')).toMatchObject([
    { path: ['build'] },
    { path: ['build', 'inner'], progress: { done: 1, total: 2, summary: 'half' } },
  ]);
  const rows = await manager.list('demo');
  expect(of(before, 'checkpoint').map((one) => one.checkpointId)).toEqual(
    rows.map((row) => row.checkpointId).reverse(),
  );
  // The step's own checkpoint tells of its failure.
  const failed = of(before, 'failure').find((one) => one.step === 'b');
  expect(failed).toMatchObject({ path: ['build', 'inner', 'b'], attempts: 1 });
  expect(failed?.error).toMatchObject({ name: 'Error', message: 'no luck' });
  expect(rows.find((row) => row.checkpointId === failed?.checkpointId)?.step).toBe('b');
  const [pause] = of(before, 'pause');
  expect(pause).toMatchObject({ path: ['build'], took: before.totals.paused });
  // Each step that is done names the checkpoint that made it durable.
  for (const one of of(before, 'step')) {
    expect(rows.some((row) => row.checkpointId === one.checkpointId)).toBe(true);
  }

  // Put back: known at once, and by what descends from it later.
  const to = rows.find((row) => row.step === 'a')?.checkpointId;
  await manager.restore('demo', { checkpointId: to });
  const restored = await manager.timeline('demo');
  // The audit log tells of it: nothing has to be inferred.
  expect(of(restored, 'restore')).toMatchObject([{ checkpointId: to }]);
  expect(of(restored, 'restore')[0]).not.toHaveProperty('inferred');
  expect(restored.totals).toMatchObject({ steps: 1, completed: 1, restores: 1 });
  await work(false);
  const after = await manager.timeline('demo');
  expect(of(after, 'restore')).toMatchObject([{ checkpointId: to }]);
  expect(after.totals).toMatchObject({ steps: 2, completed: 2 });
});

test('a run without tasks, with checkpoints of other tools and damaged ones', async () => {
  oldCheckpoint(at.dir, 'demo', 1, Date.parse('2026-01-02T03:04:06Z'));
  const { checkpointId } = await manager.create('demo', 2);
  fs.writeFileSync(path.join(at.checkpoints, 'checkpoint-step-9-1.json'), '{');
  at.change({ status: 'failed', updated_at: '2099-01-01T00:00:00Z' });
  const timeline = await manager.timeline('demo');
  expect(timeline).toMatchObject({ status: 'failed', tasks: [] });
  const listed = of(timeline, 'checkpoint').map((one) => one.checkpointId);
  expect(listed).toEqual([expect.stringContaining('-step-1-'), checkpointId]);
  expect(of(timeline, 'damaged')).toMatchObject([{ checkpointId: 'checkpoint-step-9-1' }]);
  expect(timeline.entries.at(-1)).toMatchObject({ kind: 'run', what: 'the run is failed' });
  expect(timeline.totals).toMatchObject({ damaged: 1, steps: 0, restores: 0 });
});

test('a run whose record is missing; a run that is not there', async () => {
  await manager.create('demo', 1);
  fs.rmSync(path.join(at.dir, 'run.json'));
  expect(await manager.timeline('demo')).toMatchObject({
    status: null,
    totals: { checkpoints: 1 },
  });
  await expect(manager.timeline('nobody')).rejects.toMatchObject({ code: 'ERR_RUN_NOT_FOUND' });
  await expect(manager.timeline('a/b')).rejects.toMatchObject({ code: 'ERR_RUN_ID_INVALID' });
});

describe('events of the audit log', () => {
  const time = '2026-05-05T05:05:05.000Z';
  const events = [
    { seq: 1, time, event: 'created', run: 'demo', checkpoint: 'one' },
    { seq: 2, time: Date.parse(time) + 1, event: 'pruned', run: 'demo', checkpoint: 'gone' },
    { seq: 3, time, event: 'restored', run: 'demo', checkpoint: 'one', data: { files: 3 } },
    { seq: 4, time: 'never', event: 'created', run: 'demo' },
  ];

  test('become entries', () => {
    expect(fromEvents(events)).toEqual([
      { time, kind: 'checkpoint', what: 'created one', checkpointId: 'one', seq: 1 },
      {
        time: '2026-05-05T05:05:05.001Z',
        kind: 'pruned',
        what: 'pruned gone',
        checkpointId: 'gone',
        seq: 2,
      },
      {
        time,
        kind: 'restore',
        what: 'restored one',
        checkpointId: 'one',
        seq: 3,
        data: { files: 3 },
      },
    ]);
  });

  test('are told once, and better than what was inferred', () => {
    const known = [
      { time, kind: 'checkpoint', what: 'step 1', checkpointId: 'one', size: 5 },
      { time, kind: 'restore', what: 'put back', checkpointId: 'one', inferred: true },
    ];
    const merged = merge(known, fromEvents(events));
    expect(merged.map((/** @type {api.TimelineEntry} */ one) => [one.kind, one.seq])).toEqual([
      ['checkpoint', undefined],
      ['restore', 3],
      ['pruned', 2],
    ]);
  });

  test('come from the manager, if it has them', async () => {
    await manager.create('demo', 1);
    const listed = Object.assign(manager, {
      /** @param {{ runId: string, limit: number }} options */
      events: async function* ({ runId, limit }) {
        expect(runId).toBe('demo');
        // All of them, and not as many as are shown unless more are asked for.
        expect(limit).toBeGreaterThan(1e9);
        yield* events;
        // A run of this id in another folder of the project; and in this one, before it was moved.
        yield { seq: 5, time, event: 'pruned', run: 'demo', runs: at.root, checkpoint: 'other' };
        yield { seq: 6, time, event: 'undone', run: 'demo', runs: '/gone', checkpoint: 'moved' };
      },
    });
    const timeline = await listed.timeline('demo');
    expect(of(timeline, 'pruned')).toMatchObject([{ checkpointId: 'gone', seq: 2 }]);
    expect(of(timeline, 'undone')).toMatchObject([{ checkpointId: 'moved', seq: 6 }]);
    expect(timeline.totals).toMatchObject({ checkpoints: 2, restores: 1 });
    const asList = Object.assign(manager, { events: async () => events });
    expect((await asList.timeline('demo')).totals.restores).toBe(1);
  });
});

describe('waymark timeline', () => {
  const run = (/** @type {string[]} */ ...words) => waymark(words, { cwd: at.root });

  test('as text: aligned, tasks in the order and depth of their steps', async () => {
    await expect(work(true)).rejects.toThrow('no luck');
    await work(false);
    const { code, stdout, stderr } = await run('timeline', 'demo');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^TIME +KIND +WHAT +TOOK +CHECKPOINT$/);
    const what = lines[0].indexOf('WHAT');
    expect(lines.map((line) => line.slice(what).split('  ').find(Boolean))).toEqual(
      expect.arrayContaining(['build: completed, attempt 2', 'a: completed']),
    );
    expect(lines.find((line) => line.includes('b: completed'))?.slice(what)).toMatch(/^ {4}b: /);
    expect(lines.find((line) => line.includes('Error: no luck'))).toMatch(/failure {2,}/);
    expect(lines.at(-1)).toMatch(
      /^in_progress: \d+ checkpoints, 2 of 2 steps done in \d+ ms, 3 failures, 0 restores, 1 pause \(/,
    );
  });

  test('as JSON; a run that is not there', async () => {
    await work(false);
    const { stdout } = await run('timeline', 'demo', '--json');
    expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(await manager.timeline('demo'))));
    const { code, stderr } = await run('timeline', 'nobody');
    expect(code).toBe(1);
    expect(stderr).toContain('[ERR_RUN_NOT_FOUND]');
  });
});
