// Retention: which checkpoints stay and why, by options, configuration and command; and the archive.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { project, removeAll, writeJson } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;
/** The ids, newest first. @type {string[]} */
let ids;

const large = 'x'.repeat(10).repeat(10_000);

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
  ids = [1, 2, 3, 4].map((step) => {
    // The state of two lies in the store.
    const state = step % 2 === 0 ? { step, large: `${large}${step}` } : { step };
    return manager.createSync('demo', step, state, { keepLast: 'all' }).checkpointId;
  });
  ids.reverse();
});
afterEach(removeAll);
afterAll(removeAll);

const left = () => manager.listSync('demo').map((row) => row.checkpointId);
const config = (/** @type {unknown} */ value) =>
  writeJson(path.join(at.root, 'waymark.config.json'), value);
/** @param {import('../index.js').PruneOptions} options */
const dry = (options) => manager.pruneSync('demo', { ...options, dryRun: true }).decisions;
/** @param {string[]} words */
const command = (...words) => waymark(words, { cwd: at.root });
/** @param {unknown} retention @returns {any} */
const policy = (retention) => ({ retention });

describe('rules', () => {
  test('each decision has all its reasons', () => {
    const rows = dry({ retention: { keepLast: 1, keepDaily: 3, keepWithin: '1h' } });
    expect(rows.map((row) => [row.checkpointId, row.step, row.keep])).toEqual(
      ids.map((id, at_) => [id, 4 - at_, true]),
    );
    expect(rows[0].reasons).toEqual(['keep_last', 'daily', 'within', 'newest']);
    expect(rows[1].reasons).toEqual(['within']);
    expect(rows[0].timestamp).toBe(manager.listSync('demo')[0].timestamp);
    expect(rows[0]).not.toHaveProperty('explanation');
    const explained = dry({ retention: { keepLast: 1 }, explain: true });
    expect(explained.map((row) => row.explanation)).toEqual([
      'among the newest, the newest that is whole',
      'enough others are kept',
      'enough others are kept',
      'enough others are kept',
    ]);
    expect(explained[1]).toMatchObject({
      keep: false,
      reason: 'superseded',
      reasons: ['superseded'],
    });
    expect(left()).toEqual(ids);
  });

  test.each(['keepHourly', 'keepWeekly', 'keepMonthly', 'keepYearly'])('%s', (rule) => {
    const rows = dry(policy({ keepLast: 1, [rule]: 9 }));
    // An hour may end while this runs.
    expect(rows[0].reasons).toContain(rule.slice(4).toLowerCase());
  });

  test('lengths of time as text, as milliseconds, and for ever', () => {
    const kept = (/** @type {string | number} */ keepWithin) =>
      dry({ retention: { keepLast: 1, keepWithin } }).filter((row) => row.keep).length;
    expect([kept('0s'), kept(0), kept('1d12h'), kept(3_600_000), kept('forever')]).toEqual([
      1, 1, 4, 4, 4,
    ]);
  });

  test('create goes by them, and the later layer wins member by member', () => {
    config({ keepLast: 1, retention: { keepWithin: '1h', keepDaily: 0 } });
    manager.createSync('demo', 5);
    expect(left()).toHaveLength(5);
    const own = new api.CheckpointManager({
      runsDir: at.runsDir,
      retention: { keepWithin: 0, keepLast: 3, classes: { critical: '1d' } },
    });
    const shown = own.pruneSync('demo', { dryRun: true });
    expect(shown.dropped).toHaveLength(2);
    expect(own.pruneSync('demo', { keepLast: 4, dryRun: true }).dropped).toHaveLength(1);
    expect(own.createSync('demo', 6, {}, { retention: { keepLast: 2 } }).dropped).toHaveLength(4);
    expect(left()).toHaveLength(2);
  });

  test('a paused run says so', () => {
    const file = path.join(at.dir, 'run.json');
    const record = JSON.parse(fs.readFileSync(file, 'utf8'));
    for (const status of ['paused', 'awaiting_approval', 'handoff_pending']) {
      writeJson(file, { ...record, status });
      expect(dry({ keepLast: 1 })[0].reasons).toEqual(['keep_last', 'newest', 'paused']);
    }
    writeJson(file, { ...record, status: 'in_progress' });
    expect(dry({ keepLast: 1 })[0].reasons).toEqual(['keep_last', 'newest']);
  });

  test.each([
    [[], 'retention must be an object'],
    [{ keepLast: 0 }, "retention.keepLast must be a whole number from 1 on, or 'all'"],
    [{ keepDaily: -1 }, 'retention.keepDaily must be a whole number from 0 on'],
    [{ keepDaily: 1.5 }, 'retention.keepDaily must be'],
    [{ keepdaily: 1 }, 'retention.keepdaily is not known; known are keepLast, keepHourly'],
    [
      { keepWithin: '2m' },
      'retention.keepWithin is not usable: "2m" is no length of time: m could',
    ],
    [{ keepWithin: '' }, 'give whole numbers with w, d, h, min or s'],
    [{ keepWithin: -1 }, 'retention.keepWithin must be a length of time'],
    [{ keepWithin: Number.NaN }, 'retention.keepWithin must be a length of time'],
    [{ keepLabels: 'x' }, 'retention.keepLabels must be an array of labels'],
    [{ keepLabels: [''] }, 'retention.keepLabels must be an array of labels'],
    [{ classes: { rare: '1d' } }, 'retention.classes.rare is not known; known are frequent'],
    [{ classes: { frequent: 'soon' } }, 'retention.classes.frequent is not usable'],
    [{ classes: [] }, 'retention.classes must be an object'],
    [{ utcOffsetMinutes: 1440 }, 'retention.utcOffsetMinutes must be'],
    [{ archive: 'yes' }, 'retention.archive must be true or false'],
  ])('nonsense is refused everywhere: %j', (retention, message) => {
    const invalid = expect.objectContaining({
      code: 'ERR_OPTION_INVALID',
      message: expect.stringContaining(message),
    });
    expect(() => new api.CheckpointManager(policy(retention))).toThrow(invalid);
    expect(() => manager.createSync('demo', 9, {}, policy(retention))).toThrow(invalid);
    expect(() => manager.pruneSync('demo', policy(retention))).toThrow(invalid);
    config({ retention });
    const inFile = Number.isNaN(/** @type {any} */ (retention).keepWithin)
      ? 'retention.keepWithin'
      : message;
    expect(() => manager.pruneSync('demo')).toThrow(
      expect.objectContaining({
        code: 'ERR_CONFIG_INVALID',
        message: expect.stringContaining(inFile),
        path: path.join(at.root, 'waymark.config.json'),
      }),
    );
    expect(left()).toEqual(ids);
  });

  test('a number is given once', async () => {
    const both = { keepLast: 2, retention: { keepLast: 3 } };
    const twice = { code: 'ERR_OPTION_INVALID', message: expect.stringContaining('given twice') };
    await expect(manager.prune('demo', both)).rejects.toMatchObject(twice);
    await expect(manager.create('demo', 9, {}, both)).rejects.toMatchObject(twice);
    expect(() => new api.CheckpointManager(both)).toThrow(expect.objectContaining(twice));
    await expect(
      manager.prune('demo', { archive: true, retention: { archive: true } }),
    ).rejects.toMatchObject(twice);
    config(both);
    await expect(manager.prune('demo')).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
  });
});

describe('archive', () => {
  test('instead of drop, listed, and brought back', async () => {
    const before = ids.map((id) => fs.readFileSync(path.join(at.checkpoints, `${id}.json`)));
    const done = await manager.prune('demo', { keepLast: 1, archive: true, gc: true });
    expect(done.warnings).toEqual([]);
    expect(done.dropped).toEqual(ids.slice(1));
    const folder = path.join(at.root, '.waymark', 'archive', 'demo');
    expect(done.archived).toEqual(
      ids.slice(1).map((id) => {
        const file = path.join(folder, `${id}.wmk`);
        const { size } = fs.statSync(file);
        return { checkpointId: id, path: file, fileBytes: size, wasThere: false };
      }),
    );
    const rows = await manager.archived('demo');
    expect(rows).toEqual(manager.archivedSync());
    expect(rows.map(({ runId, checkpointId, step }) => [runId, checkpointId, step])).toEqual([
      ['demo', ids[1], 3],
      ['demo', ids[2], 2],
      ['demo', ids[3], 1],
    ]);
    expect(await manager.archived('other')).toEqual([]);

    const back = await manager.unarchive('demo', ids[2]);
    expect(back.checkpoints).toMatchObject([{ checkpointId: ids[2], wasHere: false }]);
    manager.unarchiveSync('demo', ids[1], { remove: true });
    manager.unarchiveSync('demo', ids[3]);
    expect(left()).toEqual(ids);
    const after = ids.map((id) => fs.readFileSync(path.join(at.checkpoints, `${id}.json`)));
    expect(after).toEqual(before);
    expect(manager.showSync('demo', ids[2]).checkpoint.step_state).toEqual({
      step: 2,
      large: `${large}2`,
    });
    expect(await manager.verify('demo', { data: true })).toMatchObject({ ok: true });
    expect((await manager.archived()).map((row) => row.checkpointId)).toEqual([ids[2], ids[3]]);
    // Archived already, they go at once.
    const again = manager.pruneSync('demo', { keepLast: 1, archive: true });
    expect(again.archived.map((one) => one.wasThere)).toEqual([false, true, true]);
  });

  test('by policy, create archives as well', () => {
    config({ retention: { keepLast: 2, archive: true } });
    expect(manager.createSync('demo', 5)).toMatchObject({
      dropped: ids.slice(1),
      warnings: [],
    });
    expect(manager.archivedSync().map((row) => row.checkpointId)).toEqual(ids.slice(1));
    // A call may say otherwise.
    manager.createSync('demo', 6, {}, { retention: { archive: false } });
    expect(manager.archivedSync()).toHaveLength(3);
  });

  test('what is damaged is told, and never brought back', async () => {
    manager.pruneSync('demo', { keepLast: 1, archive: true });
    const [row] = manager.archivedSync('demo');
    const bytes = fs.readFileSync(row.path);
    fs.writeFileSync(row.path, bytes.subarray(0, bytes.length - 40));
    await expect(manager.unarchive('demo', row.checkpointId)).rejects.toMatchObject({
      code: 'ERR_ARCHIVE_DAMAGED',
      reason: 'truncated',
    });
    fs.writeFileSync(row.path, 'none');
    const damaged = /** @type {any} */ (
      manager.archivedSync('demo').find((one) => one.checkpointId === row.checkpointId)
    );
    expect(damaged).toMatchObject({
      checkpointId: row.checkpointId,
      problem: expect.stringContaining(row.path),
    });
    expect(damaged.step).toBeUndefined();
    expect(left()).toEqual([ids[0]]);
  });

  test('what is not archived, and misuse', async () => {
    expect(manager.archivedSync()).toEqual([]);
    const missing = { code: 'ERR_CHECKPOINT_NOT_FOUND' };
    await expect(manager.unarchive('demo', ids[0])).rejects.toMatchObject(missing);
    await expect(manager.unarchive('demo', '../x')).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_ID_INVALID',
    });
    await expect(manager.archived('../x')).rejects.toMatchObject({ code: 'ERR_RUN_ID_INVALID' });
    await expect(
      manager.unarchive('demo', ids[0], /** @type {any} */ ({ keep: true })),
    ).rejects.toMatchObject({ code: 'ERR_OPTION_UNKNOWN' });
    const signal = AbortSignal.abort();
    await expect(manager.archived('demo', { signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
    expect(() => manager.unarchiveSync('demo', ids[0], { signal })).toThrow(/aborted/);
  });
});

describe('the command', () => {
  /** @param {string[]} words */
  const out = async (...words) => {
    const { code, stdout, stderr } = await command(...words);
    expect([code, stderr]).toEqual([0, '']);
    return stdout;
  };

  test('prune --explain --dry-run prints every reason', async () => {
    const rules = ['--keep-last', '1', '--keep-daily', '2', '--keep-within', '1h'];
    const text = await out('prune', 'demo', ...rules, '--explain', '--dry-run');
    const [head, first, second] = text.split('\n').map((line) => line.split(/ {2,}/));
    expect(head).toEqual(['CHECKPOINT', 'STEP', 'TAKEN', 'VERDICT', 'REASONS']);
    const rows = manager.listSync('demo');
    expect(first).toEqual([
      ids[0],
      '4',
      rows[0].timestamp,
      'keep',
      `among the newest, the newest of ${rows[0].timestamp.slice(0, 10)}, young enough, the newest that is whole`,
    ]);
    expect(second.slice(3)).toEqual(['keep', 'young enough']);
    expect(text).toMatch(/\nwould drop 0 checkpoints, 0 B\n$/);

    const all = ['hourly', 'weekly', 'monthly', 'yearly'].flatMap((rule) => [
      `--keep-${rule}`,
      '1',
    ]);
    const json = JSON.parse(
      await out(
        'prune',
        'demo',
        '--keep-last',
        '1',
        ...all,
        '--keep-label',
        'a',
        '--keep-label',
        'b',
        '--utc-offset',
        '-60',
        '--json',
      ),
    );
    expect(json.decisions[0].reasons).toEqual([
      'keep_last',
      'hourly',
      'weekly',
      'monthly',
      'yearly',
      'newest',
    ]);
    expect(json.dropped).toEqual(ids.slice(1));
    expect(left()).toEqual([ids[0]]);
  });

  test('archived and unarchive', async () => {
    expect(await out('archived')).toBe('nothing is archived\n');
    expect(await out('archived', 'demo')).toBe('nothing is archived\n');
    const nowhere = await command('archived', 'nope', '--json');
    expect(nowhere.code).toBe(1);
    expect(nowhere.stderr).toContain('ERR_RUN_NOT_FOUND');
    const done = await out('prune', 'demo', '--keep-last', '2', '--archive');
    expect(done).toMatch(/\narchived 2 checkpoints, /);
    const text = await out('archived', 'demo');
    expect(text).toContain(ids[2]);
    expect(text).toMatch(/\n2 checkpoints, [\d.]+ KB\n$/);
    const back = await out('unarchive', 'demo', ids[3], '--remove');
    expect(back).toContain(`brought ${ids[3]} back into ${at.dir}`);
    expect(await out('unarchive', 'demo', ids[2])).toContain('brought');
    expect(await out('unarchive', 'demo', ids[2])).toBe(`${ids[2]} is in the run already\n`);
    expect(JSON.parse(await out('archived', '--json'))).toMatchObject({
      checkpoints: [{ runId: 'demo', checkpointId: ids[2], step: 2 }],
    });
    expect(left()).toEqual(ids);
    fs.writeFileSync(manager.archivedSync()[0].path, '');
    const damaged = await command('archived');
    expect(damaged.stdout).toContain('damaged');
    expect(damaged.stderr).toContain('does not begin like one');
  });

  test.each([
    [['--keep-daily', 'x'], 'whole number from 0 on'],
    [['--keep-within', '2m'], 'm could be minutes'],
    [['--utc-offset', '9999'], '--utc-offset must be minutes'],
    [['--keep-label', ''], 'is empty'],
  ])('misuse: %j', async (words, message) => {
    const { code, stderr } = await command('prune', 'demo', ...words);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect(left()).toEqual(ids);
  });
});
