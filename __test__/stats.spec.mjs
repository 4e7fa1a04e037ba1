// Numbers of what all processes did, and whether one could go on.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { segmentName, writeLog } from './support/log.mjs';
import { addRun, oldCheckpoint, project, removeAll, repo, writeJson } from './support/project.mjs';

afterAll(removeAll);

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
});

const folder = () => path.join(at.root, '.waymark', 'events');

/** Puts a log of the test's own in the place of what there is. @param {import('./support/log.mjs').Noted[]} events */
function log(events) {
  manager.createSync('demo', 0);
  fs.rmSync(folder(), { recursive: true });
  return writeLog(folder(), events);
}

/** @param {number} ms @param {number} [ago] @param {object} [more] */
const create = (ms, ago = 0, more = {}) => ({
  event: 'created',
  at: Date.now() - ago,
  run: 'demo',
  runs: at.runsDir,
  checkpoint: 'checkpoint-step-1-1',
  data: {
    operation: 'create',
    bytes: 1000,
    state_bytes: 10,
    added_bytes: 0,
    took_us: ms * 1000,
    ...more,
  },
});
/** @param {string} operation @param {string} code @param {number} [ago] */
const failure = (operation, code, ago = 0) => ({
  event: 'operation_failed',
  at: Date.now() - ago,
  run: 'demo',
  runs: at.runsDir,
  data: { operation, code, message: 'm', took_us: 1000 },
});

/** @param {string} text one that stands for a number */
const number = (text) => (text === '+Inf' ? Number.POSITIVE_INFINITY : Number(text));

/**
 * Reads the text format of Prometheus, and checks it: each line, each name declared before, buckets that grow up to
 * their count.
 * @param {string} text
 */
function parsed(text) {
  expect(text.endsWith('\n')).toBe(true);
  /** @type {Map<string, string>} */
  const types = new Map();
  /** @type {Map<string, number>} */
  const samples = new Map();
  /** @type {Map<string, { le: number, value: number }[]>} */
  const buckets = new Map();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const declared = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line);
    if (declared) {
      if (declared[1] === 'TYPE') {
        expect(types.has(declared[2])).toBe(false);
        expect(declared[3]).toMatch(/^(counter|gauge|histogram)$/);
        types.set(declared[2], declared[3]);
      }
      continue;
    }
    const sample =
      /^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[\d.]+(?:e[+-]?\d+)?)$/.exec(
        line,
      );
    if (!sample) throw new Error(`no line of the text format: ${line}`);
    const [, name, labels = '', value] = sample;
    const base = name.replace(/_(bucket|sum|count)$/, '');
    expect(types.get(name) ?? types.get(base)).toBeDefined();
    expect(samples.has(`${name}{${labels}}`)).toBe(false);
    samples.set(`${name}{${labels}}`, Number(value));
    if (name === `${base}_bucket`) {
      const le = /le="([^"]+)"/.exec(labels)?.[1] ?? '';
      const others = labels
        .split(',')
        .filter((label) => !label.startsWith('le='))
        .join();
      const key = `${base}_count{${others}}`;
      buckets.set(key, [...(buckets.get(key) ?? []), { le: number(le), value: Number(value) }]);
    }
  }
  for (const [key, list] of buckets) {
    expect(list.map(({ le }) => le)).toEqual(list.map(({ le }) => le).toSorted((a, b) => a - b));
    expect(list.map(({ value }) => value)).toEqual(
      list.map(({ value }) => value).toSorted((a, b) => a - b),
    );
    expect(list.at(-1)).toEqual({ le: Number.POSITIVE_INFINITY, value: samples.get(key) });
  }
  expect(buckets.size).toBeGreaterThan(0);
  return { types, samples };
}

describe('metrics', () => {
  test('of a project where nothing happened', async () => {
    const metrics = await manager.metrics();
    expect(metrics).toMatchObject({
      log: { position: 0, events: 0, missed: 0, broken: 0 },
      events: {},
      checkpoints: { created: 0, bytes: 0, meanBytes: null },
      dedup: { ratio: null },
      restores: { rate: null },
      store: { bytes: 0 },
    });
    expect(metrics.since).toBeUndefined();
    expect(metrics.operations.create).toMatchObject({ count: 0, latency: { count: 0, p50: null } });
    expect(fs.existsSync(path.join(at.root, '.waymark'))).toBe(false);
    parsed(await manager.prometheus());
  });

  test('what several processes did at the same time', async () => {
    const script = path.join(repo, '__test__', 'support', 'events_busy.mjs');
    for (const run of ['a', 'b', 'c']) addRun(at.runsDir, run);
    const begun = await manager.metrics();
    expect(begun.log.position).toBe(0);
    const ended = ['a', 'b', 'c'].map(
      (run) =>
        new Promise((resolve) =>
          spawn(process.execPath, [script, at.runsDir, run, '5'], { stdio: 'ignore' }).on(
            'close',
            resolve,
          ),
        ),
    );
    expect(await Promise.all(ended)).toEqual([0, 0, 0]);
    const { operations, events, checkpoints, log: read } = await manager.metrics();
    // Each keeps three of its five.
    expect(events).toEqual({ created: 15, pruned: 6 });
    expect(operations.create).toMatchObject({ count: 15, succeeded: 15, failed: 0, noted: 'all' });
    expect(operations.create.latency.count).toBe(15);
    expect(operations.prune.count).toBe(0);
    expect(read).toMatchObject({ first: 1, position: 21, events: 21, missed: 0, broken: 0 });
    const noted = manager.eventsSync({ kinds: ['created'] });
    const sum = (/** @type {string} */ name) =>
      noted.reduce((all, { data }) => all + Number(data[name]), 0);
    expect(checkpoints.bytes).toBe(sum('bytes'));
    expect(checkpoints.sizes.at(-1)).toEqual({ le: null, count: 15 });
    expect(operations.create.latency.sumMs).toBeCloseTo(sum('took_us') / 1000, 6);
  });

  test('each verb; each call goes on where the one before ended', async () => {
    const { checkpointId } = manager.createSync('demo', 1);
    expect((await manager.metrics()).operations.create.count).toBe(1);
    manager.createSync('demo', 2);
    manager.activateSync('demo', checkpointId);
    await manager.restore('demo');
    await manager.undo('demo');
    await manager.prune('demo', { keepLast: 1 });
    await expect(manager.restore('demo', { step: 9 })).rejects.toThrow();
    await expect(manager.restore('demo', { step: 8 })).rejects.toThrow();
    await expect(manager.create('nobody', 1)).rejects.toThrow();
    const [one, other] = await Promise.all([manager.metrics(), manager.metrics()]);
    expect(other.operations).toEqual(one.operations);
    const counts = Object.entries(one.operations).filter(([, { count }]) => count > 0);
    expect(
      counts.map(([name, { succeeded, failed, failures }]) => [name, succeeded, failed, failures]),
    ).toEqual([
      ['create', 2, 1, { ERR_RUN_NOT_FOUND: 1 }],
      ['restore', 1, 2, { ERR_CHECKPOINT_NOT_FOUND: 2 }],
      ['undo', 1, 0, {}],
      ['prune', 1, 0, {}],
      ['activate', 1, 0, {}],
    ]);
    expect(one.restores).toEqual({ succeeded: 1, failed: 2, rate: 1 / 3 });
    const fresh = new api.CheckpointManager({ runsDir: at.runsDir });
    expect((await fresh.metrics()).operations).toEqual(one.operations);
  });

  test('histograms, their sums and what is estimated from them', async () => {
    log([...[1, 2, 3, 4, 60, 90_000].map((ms) => create(ms)), failure('create', 'ERR_IO')]);
    const { latency } = (await manager.metrics()).operations.create;
    expect(latency).toMatchObject({ count: 6, sumMs: 90_070, maxMs: 90_000 });
    const at5 = latency.buckets.find(({ le }) => le === 5);
    expect(at5?.count).toBe(4);
    expect(latency.buckets.at(-1)).toEqual({ le: null, count: 6 });
    // Three of six lie at or below 3.5 ms, if those from 2 to 5 ms are spread evenly.
    expect(latency.p50).toBeCloseTo(3.5, 9);
    expect(latency.p99).toBeGreaterThan(60_000);
    expect(latency.p99).toBeLessThanOrEqual(90_000);
  });

  test('what notes several events is one operation', async () => {
    const now = Date.now();
    /** @param {string} event @param {string} operation @param {string} run @param {number} ms */
    const part = (event, operation, run, ms) => ({
      event,
      at: now + ms,
      run,
      data: { operation, bytes: 7, took_us: ms * 1000 },
    });
    log([
      part('pruned', 'prune', 'a', 4),
      part('pruned', 'prune', 'b', 9),
      part('pruned', 'prune', 'a', 4),
      part('cleaned', 'cleanup', 'x', 3),
      part('cleaned', 'cleanup', 'y', 8),
      part('imported', 'import', 'z', 5),
      part('imported', 'import', 'z', 5),
      {
        ...part('operation_failed', 'import', 'z', 6),
        data: { operation: 'import', code: 'E', took_us: 6000 },
      },
      part('damaged', 'restore', 'a', 2),
      {
        ...part('created', 'fork', 'n', 6),
        data: { operation: 'fork', added_bytes: 40, took_us: 6000 },
      },
      { ...part('updated', 'fork', 'a', 6), data: { operation: 'fork', took_us: 6000 } },
    ]);
    const { operations, events, checkpoints } = await manager.metrics();
    expect(operations.prune).toMatchObject({ count: 2, bytes: 21, latency: { sumMs: 13 } });
    // As long as its last run took.
    expect(operations.cleanup).toMatchObject({ count: 1, bytes: 14, latency: { sumMs: 8 } });
    expect(operations.import).toMatchObject({ succeeded: 0, failed: 1, failures: { E: 1 } });
    expect(operations.import.latency.count).toBe(0);
    expect(operations.restore.count).toBe(0);
    // A fork tells of both runs.
    expect(operations.fork).toMatchObject({ count: 1, bytes: 40, latency: { sumMs: 6 } });
    expect(checkpoints).toMatchObject({ created: 1, bytes: 0, addedBytes: 40 });
    expect(events.damaged).toBe(1);
  });

  test('since a time', async () => {
    log([create(1, 3 * DAY_MS), create(2, 2 * HOUR_MS), create(3, 60_000), create(4)]);
    const counted = async (/** @type {number} */ ago) =>
      (await manager.metrics({ since: Date.now() - ago })).operations.create.count;
    expect(await counted(4 * DAY_MS)).toBe(4);
    expect(await counted(DAY_MS)).toBe(3);
    expect(await counted(HOUR_MS)).toBe(2);
    const { since, log: read } = await manager.metrics({ since: new Date(Date.now() - DAY_MS) });
    expect(Date.now() - Date.parse(since ?? '')).toBeGreaterThanOrEqual(DAY_MS);
    expect(Date.now() - Date.parse(read.since ?? '')).toBeGreaterThanOrEqual(3 * DAY_MS);
  });

  test('many stretches of time are kept by the hour, and lose nothing', async () => {
    const events = Array.from({ length: 4_500 }, (_, n) => create(1, (4_500 - n) * 60_000));
    log(events);
    expect((await manager.metrics()).operations.create).toMatchObject({ count: 4_500 });
    const { operations } = await manager.metrics({ since: Date.now() - HOUR_MS });
    expect(operations.create.count).toBeGreaterThanOrEqual(59);
    expect(operations.create.count).toBeLessThanOrEqual(61);
  });

  test('sizes, dedup and growth', async () => {
    log([
      create(1, 0, { bytes: 1000, state_bytes: 5000, added_bytes: 2000, file_bytes: 10_000 }),
      create(1, 0, { bytes: 1000, state_bytes: 5000, added_bytes: 0, file_bytes: 10_000 }),
    ]);
    const { dedup, growth, checkpoints, operations } = await manager.metrics();
    expect(dedup).toEqual({
      logicalBytes: 30_000,
      storedBytes: 4000,
      ratio: 7.5,
      atLeast: false,
    });
    expect(growth.bytes).toBe(4000);
    expect(growth.perDay).toBeGreaterThan(4000);
    expect(checkpoints).toMatchObject({ meanBytes: 1000, addedBytes: 2000, fileBytes: 20_000 });
    expect(operations.create.bytes).toBe(4000);
  });

  test('what the store takes', async () => {
    await manager.create('demo', 1, { large: 'x'.repeat(300_000) });
    const { store } = await manager.metrics();
    expect(store.path).toBe(path.join(at.root, '.waymark'));
    expect(store.log).toBe(fs.statSync(path.join(folder(), segmentName(1))).size);
    expect(store.objects).toBeGreaterThan(0);
    const parts = store.objects + store.caches + store.log + store.roots + store.archive;
    expect(parts + store.rest).toBe(store.bytes);
  });

  test('a log whose beginning is gone', async () => {
    const end = log([create(1), create(1), create(1)]);
    writeLog(folder(), [create(1), failure('create', 'ERR_IO')], end);
    fs.rmSync(path.join(folder(), segmentName(1)));
    const { log: read, operations } = await manager.metrics();
    expect(read).toMatchObject({ first: 4, position: 5, events: 2, missed: 0, broken: 0 });
    expect(operations.create).toMatchObject({ succeeded: 1, failed: 1 });
  });

  test('events that went between two calls are missed, and that is said', async () => {
    const one = log([create(1)]);
    expect((await manager.metrics()).operations.create.count).toBe(1);
    const two = writeLog(folder(), [create(1), create(1)], one);
    writeLog(folder(), [create(1)], two);
    fs.rmSync(path.join(folder(), segmentName(1)));
    fs.rmSync(path.join(folder(), segmentName(2)));
    const { log: read, operations } = await manager.metrics();
    expect(operations.create.count).toBe(2);
    expect(read).toMatchObject({ first: 1, position: 4, events: 2, missed: 2, broken: 0 });
  });

  test('another log in its place is counted anew', async () => {
    log([create(1), create(1), create(1)]);
    expect((await manager.metrics()).operations.create.count).toBe(3);
    fs.rmSync(folder(), { recursive: true });
    writeLog(folder(), [create(1)]);
    const { log: read, operations } = await manager.metrics();
    expect(operations.create.count).toBe(1);
    expect(read).toMatchObject({ position: 1, events: 1 });
  });

  test('lines that are not what was written', async () => {
    log([create(1), create(2), create(3)]);
    const file = path.join(folder(), segmentName(1));
    const text = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(file, text.replace('"took_us":2000', '"took_us":9000'));
    const { log: read, operations } = await manager.metrics();
    expect(read.broken).toBe(1);
    expect(operations.create.count).toBe(2);
    const lines = text.split('\n');
    fs.writeFileSync(file, [lines[0], lines[2], ''].join('\n'));
    const other = new api.CheckpointManager({ runsDir: at.runsDir });
    expect((await other.metrics()).log.broken).toBe(1);
    expect((await other.health()).level).toBe('alert');
  });

  test.each([
    [{ since: '5' }, 'ERR_OPTION_INVALID'],
    [{ since: Number.NaN }, 'ERR_OPTION_INVALID'],
    [{ after: 1 }, 'ERR_OPTION_UNKNOWN'],
    ['x', 'ERR_OPTION_INVALID'],
  ])('%j is refused', async (options, code) => {
    const wrong = /** @type {any} */ (options);
    await expect(manager.metrics(wrong)).rejects.toMatchObject({ code });
    await expect(manager.prometheus(wrong)).rejects.toMatchObject({ code });
  });

  test('stops when it is asked to', async () => {
    const signal = AbortSignal.abort();
    await expect(manager.metrics({ signal })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await expect(manager.health({ signal })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect((await manager.metrics()).log.position).toBe(0);
  });
});

test('Prometheus text has the numbers', async () => {
  log([create(1), create(3), failure('restore', 'ERR_IO')]);
  const { types, samples } = parsed(await manager.prometheus());
  expect(types.get('waymark_operations_total')).toBe('counter');
  expect(types.get('waymark_operation_duration_seconds')).toBe('histogram');
  const name = 'waymark_operations_total';
  expect(samples.get(`${name}{operation="create",outcome="success"}`)).toBe(2);
  expect(samples.get(`${name}{operation="restore",outcome="failure"}`)).toBe(1);
  const failed = 'waymark_operation_failures_total{operation="restore",code="ERR_IO"}';
  expect(samples.get(failed)).toBe(1);
  const sum = 'waymark_operation_duration_seconds_sum{operation="create"}';
  expect(samples.get(sum)).toBeCloseTo(0.004, 9);
  const bucket = /^waymark_operation_duration_seconds_bucket\{.*le="0\.002".*\}$/;
  const below = [...samples].filter(
    ([key]) => bucket.test(key) && key.includes('operation="create"'),
  );
  expect(below.map(([, value]) => value)).toEqual([1]);
  expect(samples.get('waymark_events_total{event="created"}')).toBe(2);
  expect(samples.get('waymark_log_position{}')).toBe(3);
});

describe('health', () => {
  /** @param {api.Health} health @param {api.HealthCheckName} name */
  const check = (health, name) => {
    const found = health.checks.find((one) => one.name === name);
    if (!found) throw new Error(`no check ${name}`);
    return found;
  };
  /** @param {api.HealthCheckName} name @param {api.AlertSettings} [thresholds] */
  const level = async (name, thresholds) => {
    const health = await manager.health({ thresholds });
    // Nothing else is wrong.
    expect(health.checks.filter((one) => one.name !== name && one.level !== 'ok')).toEqual([]);
    expect(health.level).toBe(check(health, name).level);
    return health.level;
  };

  test('of a project where nothing is', async () => {
    const health = await manager.health();
    expect(health).toMatchObject({ level: 'ok', runs: [], unready: [] });
    expect(health.checkpoints).toEqual({ total: 0, damaged: 0, due: 0, verified: 0 });
  });

  test('where each run could go on', async () => {
    addRun(at.runsDir, 'over', { record: { status: 'completed' } });
    manager.createSync('over', 1);
    manager.createSync('demo', 1);
    const { checkpointId, timestamp } = manager.createSync('demo', 2, { x: 'y'.repeat(100_000) });
    const health = await manager.health();
    expect(health.level).toBe('ok');
    expect(health.checkpoints.total).toBe(3);
    expect(health.restore).toMatchObject({ measured: 0, fixedMs: 50 });
    expect(health.runs).toEqual([
      {
        runId: 'demo',
        checkpointId,
        timestamp,
        ageMs: expect.any(Number),
        bytes: expect.any(Number),
        restoreMs: expect.any(Number),
      },
    ]);
    // The state counts, though it lies in the store.
    expect(health.runs[0].bytes).toBeGreaterThan(100_000);
    expect(health.runs[0].restoreMs).toBeGreaterThanOrEqual(50);
  });

  test('operations that fail, unless what was asked for can not be', async () => {
    const good = Array.from({ length: 95 }, () => create(1));
    const refused = Array.from({ length: 50 }, () =>
      failure('restore', 'ERR_CHECKPOINT_NOT_FOUND'),
    );
    let end = log([
      ...good,
      ...refused,
      failure('gc', 'ERR_IO'),
      failure('create', 'ERR_IO', 2 * DAY_MS),
    ]);
    expect(await level('successRate')).toBe('ok');
    end = writeLog(
      folder(),
      Array.from({ length: 5 }, () => failure('create', 'ERR_IO')),
      end,
    );
    expect(await level('successRate')).toBe('warn');
    expect((await manager.health()).operations).toMatchObject({
      succeeded: 95,
      failed: 5,
      refused: 50,
    });
    expect(await level('successRate', { successRate: { warn: 0.95 } })).toBe('ok');
    expect(await level('successRate', { successRate: false })).toBe('ok');
    expect(await level('successRate', { minOperations: 101 })).toBe('ok');
    expect(await level('successRate', { windowHours: 72 })).toBe('warn');
    writeLog(
      folder(),
      Array.from({ length: 20 }, () => failure('undo', 'ERR_IO')),
      end,
    );
    expect(await level('successRate')).toBe('alert');
  });

  test('checkpoints that are old and were not verified', async () => {
    const month = Date.now() - 30 * DAY_MS;
    const age = { checkpointAgeHours: /** @type {const} */ (false) };
    const [one, two] = [1, 2].map((step) =>
      oldCheckpoint(at.dir, 'demo', step, month + step * HOUR_MS),
    );
    // Young ones need no verification yet.
    manager.createSync('demo', 3);
    expect(await level('verifiedShare', age)).toBe('warn');
    const alert = { verifiedShare: { warn: null, alert: 0.1 } };
    expect(await level('verifiedShare', { ...age, ...alert })).toBe('alert');
    await manager.verify('demo', { checkpointId: one, data: true });
    expect(await level('verifiedShare', age)).toBe('ok');
    expect(check(await manager.health(), 'verifiedShare').value).toBe(0.5);
    expect(await level('verifiedShare', { ...age, verifiedShare: { warn: 0.6 } })).toBe('warn');
    await manager.verify('demo', { checkpointId: two, data: true });
    expect((await manager.health()).checkpoints).toMatchObject({ due: 2, verified: 2 });
    const young = await manager.health({ thresholds: { verifiedWithinDays: 31 } });
    expect(check(young, 'verifiedShare').value).toBeNull();
    const off = await manager.health({ thresholds: { verifiedShare: false } });
    expect(off.checkpoints).toMatchObject({ due: null, verified: null });
  });

  test('runs without a new checkpoint', async () => {
    manager.createSync('demo', 1);
    expect(await level('checkpointAgeHours')).toBe('ok');
    expect(await level('checkpointAgeHours', { checkpointAgeHours: { warn: 0 } })).toBe('warn');
    const limits = { checkpointAgeHours: { warn: 0, alert: 0 } };
    expect(await level('checkpointAgeHours', limits)).toBe('alert');
    at.change({ status: 'completed' });
    expect(await level('checkpointAgeHours', limits)).toBe('ok');
  });

  test('restores that would take long, by those that were done', async () => {
    const restore = { ...create(0), event: 'restored' };
    /** @param {number} ms */
    const took = (ms) => ({
      ...restore,
      data: { operation: 'restore', bytes: 1000, took_us: ms * 1000 },
    });
    log([took(80_000), took(90_000)]);
    expect(await level('restoreSeconds')).toBe('ok');
    fs.rmSync(folder(), { recursive: true });
    writeLog(folder(), [took(80_000), took(90_000), took(100_000)]);
    manager = new api.CheckpointManager({ runsDir: at.runsDir });
    expect(await level('restoreSeconds')).toBe('warn');
    const { restore: model, runs } = await manager.health();
    expect(model.measured).toBe(3);
    // 3,000 bytes in 270 s, and as long as half of them took before.
    expect(model.bytesPerSecond).toBeCloseTo(3000 / 270, 6);
    expect(runs[0].restoreMs).toBe(
      Math.round(model.fixedMs + (runs[0].bytes / model.bytesPerSecond) * 1000),
    );
    expect(await level('restoreSeconds', { restoreSeconds: { warn: 1, alert: 60 } })).toBe('alert');
    expect(await level('restoreSeconds', { restoreSeconds: false })).toBe('ok');
  });

  test('damaged checkpoints, and runs without a good one', async () => {
    const [one, two] = [1, 2].map((step) => manager.createSync('demo', step).path);
    fs.writeFileSync(one, '{');
    expect(await level('damaged')).toBe('alert');
    expect(await level('damaged', { damaged: { alert: 2 } })).toBe('ok');
    expect(await level('damaged', { damaged: { warn: 1, alert: 2 } })).toBe('warn');
    fs.writeFileSync(two, '{');
    // What was whole when it was looked at last is taken to be, until it is verified.
    await manager.verify('demo');
    const off = { damaged: /** @type {const} */ (false) };
    expect(await level('unready', off)).toBe('alert');
    const health = await manager.health();
    expect(health.unready).toEqual(['demo']);
    expect(health.checkpoints).toMatchObject({ total: 2, damaged: 2 });
    expect(await level('unready', { ...off, unready: false })).toBe('ok');
  });

  test('a store that is full', async () => {
    manager.createSync('demo', 1);
    const { counted, bytes } = (await manager.health()).store;
    expect(counted).toBeLessThan(bytes);
    const of = (/** @type {number} */ maxBytes) =>
      new api.CheckpointManager({ runsDir: at.runsDir, maxBytes }).health();
    const roomy = await of(counted * 2);
    expect(check(roomy, 'storeShare')).toMatchObject({ level: 'ok', value: 0.5 });
    expect(check(await of(Math.ceil(counted * 1.02)), 'storeShare').level).toBe('warn');
    expect(check(await of(counted), 'storeShare').level).toBe('alert');
    writeJson(path.join(at.root, 'waymark.config.json'), { maxBytes: counted });
    expect(check(await manager.health(), 'storeShare').level).toBe('alert');
  });

  test('thresholds of the project, the manager and the call', async () => {
    manager.createSync('demo', 1);
    const file = path.join(at.root, 'waymark.config.json');
    writeJson(file, {
      alerts: { damaged: { warn: 3, alert: 4 }, checkpointAgeHours: { warn: 1 } },
    });
    manager = new api.CheckpointManager({
      runsDir: at.runsDir,
      alerts: { damaged: { alert: 5 }, checkpointAgeHours: { alert: null } },
    });
    const health = await manager.health({ thresholds: { damaged: { warn: 2 } } });
    expect(check(health, 'damaged')).toMatchObject({ warn: 2, alert: 5 });
    expect(check(health, 'checkpointAgeHours')).toMatchObject({ warn: 1, alert: null });
    expect(check(health, 'successRate')).toMatchObject({ warn: 0.99, alert: 0.9 });
    writeJson(file, { alerts: { damage: false } });
    const error = { code: 'ERR_CONFIG_INVALID', path: file };
    await expect(manager.health()).rejects.toMatchObject(error);
    await expect(manager.create('demo', 2)).rejects.toMatchObject(error);
  });

  test.each([
    [{ damage: false }, 'alerts.damage is not known'],
    [{ damaged: 1 }, 'alerts.damaged must be false, or an object'],
    [{ damaged: true }, 'alerts.damaged must be false, or an object'],
    [{ damaged: { warning: 1 } }, 'alerts.damaged.warning is not known'],
    [{ damaged: { warn: -1 } }, 'alerts.damaged.warn must be a number from 0 on'],
    [{ damaged: { warn: '1' } }, 'alerts.damaged.warn must be a number from 0 on'],
    [{ damaged: { warn: 3, alert: 2 } }, 'alerts.damaged.warn must not be more than alert'],
    [{ successRate: { alert: 2 } }, 'alerts.successRate.alert must be a share from 0 to 1'],
    [{ successRate: { warn: 0.5, alert: 0.9 } }, 'alerts.successRate.warn must not be less'],
    [{ windowHours: 0 }, 'alerts.windowHours must be a number greater than 0'],
    [{ verifiedWithinDays: Number.NaN }, 'alerts.verifiedWithinDays must be a number'],
    [{ minOperations: -1 }, 'alerts.minOperations must be a number from 0 on'],
    [[], 'alerts must be an object'],
    [null, 'alerts must be an object'],
  ])('%j is refused', async (thresholds, message) => {
    const wrong = /** @type {any} */ (thresholds);
    const error = { code: 'ERR_OPTION_INVALID', message: expect.stringContaining(message) };
    await expect(manager.health({ thresholds: wrong })).rejects.toMatchObject(error);
    expect(() => new api.CheckpointManager({ alerts: wrong })).toThrow(
      expect.objectContaining(error),
    );
  });

  test('an option that is not known is refused', async () => {
    await expect(manager.health(/** @type {any} */ ({ alerts: {} }))).rejects.toMatchObject({
      code: 'ERR_OPTION_UNKNOWN',
    });
  });
});

describe('the command', () => {
  /** @param {string[]} words */
  const run = (...words) => waymark(words, { cwd: at.root });

  test('stats: text, JSON, Prometheus', async () => {
    manager.createSync('demo', 1);
    await expect(manager.restore('demo', { step: 9 })).rejects.toThrow();
    const text = await run('stats');
    expect(text).toMatchObject({ code: 0, stderr: '' });
    expect(text.stdout).toMatch(/^create +1 +0 +\d/m);
    expect(text.stdout).toContain('restore: ERR_CHECKPOINT_NOT_FOUND 1 ×');
    const json = await run('stats', '--json', '--since', '1h');
    const metrics = JSON.parse(json.stdout);
    expect(metrics.operations.create.count).toBe(1);
    expect(metrics.operations).toEqual((await manager.metrics()).operations);
    const prometheus = await run('stats', '--prometheus');
    expect(prometheus).toMatchObject({ code: 0, stderr: '' });
    const { samples } = parsed(prometheus.stdout);
    const created = 'waymark_operations_total{operation="create",outcome="success"}';
    expect(samples.get(created)).toBe(1);
    const later = await run('stats', '--json', '--since', '2999-01-01');
    expect(JSON.parse(later.stdout).operations.create.count).toBe(0);
  });

  test('stats: without anything', async () => {
    const { code, stdout } = await run('stats');
    expect(code).toBe(0);
    expect(stdout).toContain('nothing happened');
  });

  test('stats: lines that are not what was written are told', async () => {
    log([create(1), create(2)]);
    const file = path.join(folder(), segmentName(1));
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"pid":1', '"pid":2'));
    const { stderr } = await run('stats');
    expect(stderr).toContain('1 line of the audit log');
  });

  test.each([
    ['stats', '--since', 'yesterday'],
    ['stats', '--since', '5'],
    ['stats', '--since', '99999999999w'],
    ['stats', '--json', '--prometheus'],
    ['health', '--fail-on', 'ok'],
  ])('%s %s %s is misuse', async (...words) => {
    const { code, stdout, stderr } = await run(...words);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(words.includes('--json') ? 'ERR_USAGE' : 'usage: waymark');
  });

  test('health: exit codes for cron', async () => {
    const { path: file } = manager.createSync('demo', 1);
    const good = await run('health');
    expect(good).toMatchObject({ code: 0, stderr: '' });
    expect(good.stdout).toMatch(/^demo +checkpoint-step-1-\d+/m);
    expect(good.stdout).toContain('ok: 1 checkpoint, 0 damaged');
    const config = path.join(at.root, 'waymark.config.json');
    writeJson(config, { alerts: { checkpointAgeHours: { warn: 0 } } });
    const old = await run('health', '--json');
    expect(old.code).toBe(3);
    expect(JSON.parse(old.stdout).level).toBe('warn');
    expect((await run('health', '--fail-on', 'alert')).code).toBe(0);
    fs.writeFileSync(file, '{');
    expect((await run('verify', 'demo')).code).toBe(3);
    const bad = await run('health', '--fail-on', 'alert');
    expect(bad.code).toBe(3);
    expect(bad.stdout).toMatch(/^alert +damaged checkpoints +1/m);
    expect(bad.stdout).toContain('demo: no good checkpoint');
    writeJson(config, { alerts: 1 });
    const refused = await run('health');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('ERR_CONFIG_INVALID');
  });
});
