// CheckpointManager: the whole API, its options, its signals, and bad input of every kind.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import waymark from '../index.js';
import {
  addRun,
  checksum,
  files,
  oldCheckpoint,
  project,
  readJson,
  registered,
  removeAll,
  repo,
  temporary,
  withoutPlaces,
  writeJson,
} from './support/project.mjs';

const { CheckpointManager, WaymarkError } = waymark;
const isRoot = process.getuid?.() === 0;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
beforeEach(() => {
  at = project();
  manager = new CheckpointManager({ runsDir: at.runsDir });
});
afterAll(removeAll);

const runFile = (name = 'run.json') => path.join(at.dir, name);

/**
 * The code and reason of an error.
 * @param {() => unknown} work
 */
async function failure(work) {
  try {
    await work();
  } catch (error) {
    expect(error).toBeInstanceOf(WaymarkError);
    const { code, reason, message } = /** @type {waymark.WaymarkError} */ (error);
    // Each tells what to do next, and none leaks a novel.
    expect(withoutPlaces(message).length).toBeLessThan(700);
    return [code, reason].filter(Boolean).join(' ');
  }
  return 'nothing';
}

describe('verbs, asynchronous and blocking alike', () => {
  test('create, list, show, verify, restore, prune', async () => {
    const one = await manager.create(at.runId, 1, { a: 1 });
    const two = manager.createSync(at.runId, 2, { a: 2 });
    expect(one).toMatchObject({ step: 1, sequence: 1, runId: at.runId, dropped: [], warnings: [] });
    expect(one.parentCheckpointId).toBeUndefined();
    expect(two).toMatchObject({ sequence: 2, parentCheckpointId: one.checkpointId });
    expect(two.size).toBe(fs.statSync(two.path).size);
    expect(two.checksum).toBe(checksum(readJson(two.path)));
    expect(two.checkpoint.step_state).toEqual({ a: 2 });

    const rows = await manager.list(at.runId);
    expect(rows).toEqual(manager.listSync(at.runId));
    expect(rows.map((row) => row.checkpointId)).toEqual([two.checkpointId, one.checkpointId]);
    expect(rows[0]).toMatchObject({ workflowId: 'flow', checksum: two.checksum, size: two.size });

    const shown = await manager.show(at.runId, one.checkpointId);
    expect(shown).toEqual(manager.showSync(at.runId, one.checkpointId));
    expect(shown.checkpoint).toEqual(readJson(one.path));

    expect(await manager.verify(at.runId)).toMatchObject({ ok: true, damaged: [] });
    expect(
      manager.verifySync(at.runId, { checkpointId: one.checkpointId }).checkpoints,
    ).toHaveLength(1);

    const restored = await manager.restore(at.runId, { step: 1 });
    expect(restored).toMatchObject({
      checkpointId: one.checkpointId,
      step: 1,
      artifactsRestored: 3,
      recovered: 'nothing',
      files: ['run.json', 'artifact-registry.json'],
    });
    // What comes next descends from what was restored, not from what is newest.
    const three = manager.createSync(at.runId, 3);
    expect(three.parentCheckpointId).toBe(one.checkpointId);
    expect(manager.createSync(at.runId, 4).parentCheckpointId).toBe(three.checkpointId);
    expect(manager.restoreSync(at.runId).step).toBe(4);

    const planned = await manager.prune(at.runId, { keepLast: 2, dryRun: true });
    expect(planned.decisions.map((one_) => [one_.keep, one_.reason])).toEqual([
      [true, 'keep_last'],
      [true, 'keep_last'],
      [false, 'superseded'],
      [false, 'superseded'],
    ]);
    expect(files(at.dir)).toHaveLength(4);
    const pruned = manager.pruneSync(at.runId, { keepLast: 2 });
    expect(pruned).toEqual(planned);
    expect(pruned.dropped.sort()).toEqual([one.checkpointId, two.checkpointId].sort());
    expect(files(at.dir)).toHaveLength(2);
    expect(registered(at.dir)).toEqual(files(at.dir));
  });

  test('large checkpoints: what is noted of them is not believed against the disk', () => {
    const state = { text: 'x'.repeat(600_000) };
    const ids = Array.from({ length: 3 }, (_, n) => manager.createSync(at.runId, n, state));
    expect(fs.existsSync(path.join(at.checkpoints, '.waymark', 'seen'))).toBe(true);
    expect(ids[2].checkpoint.step_state).toEqual(state);
    const bytes = fs.readFileSync(ids[1].path);
    bytes[bytes.length - 600] ^= 1;
    fs.writeFileSync(ids[1].path, bytes);
    // Of two that shall stay the damaged one is none.
    const next = manager.createSync(at.runId, 3, state, { keepLast: 3 });
    expect(next.dropped).toEqual([]);
    expect(manager.listSync(at.runId).map((row) => row.step)).toEqual([3, 2, 0]);
    fs.writeFileSync(path.join(at.checkpoints, '.waymark', 'seen'), '{"sum": "x", "entries": []}');
    expect(manager.createSync(at.runId, 4, state, { keepLast: 3 }).dropped).toEqual([
      ids[0].checkpointId,
    ]);
    fs.unlinkSync(ids[2].path);
    expect(() => ids[2].checkpoint.run_record).not.toThrow();
    const gone = manager.createSync(at.runId, 5, state);
    fs.unlinkSync(gone.path);
    expect(() => gone.checkpoint.run_record).toThrow(
      expect.objectContaining({ code: 'ERR_CHECKPOINT_NOT_FOUND' }),
    );
    expect(gone.checkpoint.checkpoint_id).toBe(gone.checkpointId);
  });

  test('keepLast can be configured for a project', () => {
    writeJson(path.join(at.root, 'waymark.config.json'), { keepLast: 2 });
    const script = `
      const { CheckpointManager } = require(${JSON.stringify(repo)});
      const manager = new CheckpointManager();
      for (let n = 0; n < 4; n += 1) manager.createSync('run-1', n);
      process.stdout.write(String(manager.listSync('run-1').length));`;
    const run = () =>
      execFileSync(process.execPath, ['-e', script], { cwd: at.root, encoding: 'utf8' });
    expect(run()).toBe('2');
    writeJson(path.join(at.root, 'waymark.config.json'), { keepLast: 0 });
    expect(run).toThrow(/ERR_CONFIG_INVALID/);
  });

  test('the configuration is read once for each request', () => {
    const file = path.join(at.root, 'waymark.config.json');
    writeJson(file, { keepLast: 2, maxBytes: 1e9, capture: { run: false } });
    const read = jest.spyOn(fs, 'readFileSync');
    const times = (/** @type {() => unknown} */ work) => {
      read.mockClear();
      work();
      return read.mock.calls.filter(([name]) => name === file).length;
    };
    try {
      expect(times(() => manager.createSync(at.runId, 1))).toBe(1);
      expect(times(() => manager.createSync(at.runId, 2))).toBe(1);
      const [{ checkpointId }] = manager.listSync(at.runId);
      expect(times(() => manager.diffSync(at.runId, checkpointId))).toBe(1);
      expect(times(() => manager.pruneSync(at.runId))).toBe(1);
      expect(times(() => manager.pruneSync(at.runId, { keepLast: 1 }))).toBe(1);
    } finally {
      read.mockRestore();
    }
  });

  test('a run renamed by hand: nothing of the other run is believed', () => {
    const state = { text: 'x'.repeat(600_000) };
    for (let n = 0; n < 3; n += 1) manager.createSync(at.runId, n, state);
    fs.renameSync(at.dir, path.join(at.runsDir, 'run-9'));
    const dir = path.join(at.runsDir, 'run-9');
    writeJson(path.join(dir, 'run.json'), { run_id: 'run-9', status: 'in_progress' });
    const made = manager.createSync('run-9', 1, {}, { keepLast: 1 });
    expect(made).toMatchObject({ sequence: 1, dropped: [] });
    expect(made.parentCheckpointId).toBeUndefined();
    expect(files(dir)).toHaveLength(4);
  });

  test('checkpoints of other tools from the future do not stay the newest', () => {
    const old = oldCheckpoint(at.dir, at.runId, 7, Date.now() + 86_400_000);
    const first = manager.createSync(at.runId, 1);
    const second = manager.createSync(at.runId, 2);
    expect(manager.listSync(at.runId).map((row) => row.checkpointId)).toEqual([
      second.checkpointId,
      first.checkpointId,
      old,
    ]);
    expect(manager.restoreSync(at.runId).step).toBe(2);
  });

  test('results may be frozen', async () => {
    const made = Object.freeze(await manager.create(at.runId, 1, { a: 1 }));
    expect(Object.freeze(made.checkpoint).step_state).toEqual({ a: 1 });
    expect(made.checkpoint).toBe(made.checkpoint);
    expect(Object.freeze(await manager.restore(at.runId)).checkpoint.step).toBe(1);
    const own = manager.createSync(at.runId, 2, { b: 1 }).checkpoint;
    own.step_state = 'changed';
    expect(own.step_state).toBe('changed');
  });

  test('a call means the place where it was made', async () => {
    const elsewhere = project();
    const before = process.cwd();
    try {
      process.chdir(path.dirname(at.runsDir));
      const relative = new CheckpointManager({ runsDir: 'runs' });
      const first = relative.create(at.runId, 1);
      const second = relative.create(at.runId, 2);
      process.chdir(path.dirname(elsewhere.runsDir));
      await Promise.all([first, second]);
    } finally {
      process.chdir(before);
    }
    expect(files(at.dir)).toHaveLength(2);
    expect(files(elsewhere.dir)).toEqual([]);
  });

  test('any policy number, or all', async () => {
    for (let n = 0; n < 8; n += 1) await manager.create(at.runId, n, {}, { keepLast: 'all' });
    expect(files(at.dir)).toHaveLength(8);
    await manager.create(at.runId, 8, {}, { keepLast: 3 });
    expect(files(at.dir)).toHaveLength(3);
    const other = new CheckpointManager({ root: at.root, keepLast: 1 });
    await other.create(at.runId, 9);
    expect(other.listSync(at.runId).map((row) => row.step)).toEqual([9]);
  });

  test('checkpoints of one millisecond are ordered by their sequence', async () => {
    const made = await Promise.all(
      Array.from({ length: 20 }, (_, n) => manager.create(at.runId, n, {}, { keepLast: 'all' })),
    );
    const inOrder = [...made]
      .sort((a, b) => b.sequence - a.sequence)
      .map((one) => one.checkpointId);
    expect(manager.listSync(at.runId).map((row) => row.checkpointId)).toEqual(inOrder);
    expect(made.map((one) => one.sequence).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 20 }, (_, n) => n + 1),
    );
  });

  test('prune neither counts nor drops what is damaged', () => {
    const ids = Array.from({ length: 4 }, (_, n) => manager.createSync(at.runId, n).checkpointId);
    fs.truncateSync(path.join(at.checkpoints, `${ids[3]}.json`), 30);
    const pruned = manager.pruneSync(at.runId, { keepLast: 2 });
    expect(pruned.dropped).toEqual([ids[0]]);
    expect(pruned.decisions.at(-1)).toEqual({
      checkpointId: ids[3],
      keep: true,
      reason: 'damaged',
      reasons: ['damaged'],
      size: 0,
    });
  });

  test("the blocking twins work in process.on('exit')", () => {
    const script = `
      const { CheckpointManager } = require(${JSON.stringify(repo)});
      const manager = new CheckpointManager({ runsDir: ${JSON.stringify(at.runsDir)} });
      process.on('exit', () => {
        manager.createSync('run-1', 1);
        manager.restoreSync('run-1');
        process.stdout.write(String(manager.listSync('run-1').length));
      });`;
    expect(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })).toBe('1');
  });

  test('worker threads of one process', async () => {
    const script = `
      const { workerData } = require('node:worker_threads');
      const { CheckpointManager } = require(workerData.repo);
      const manager = new CheckpointManager({ runsDir: workerData.runsDir });
      (async () => { for (let n = 0; n < 10; n += 1) await manager.create('run-1', n); })();`;
    const workerData = { repo, runsDir: at.runsDir };
    const codes = await Promise.all(
      Array.from(
        { length: 3 },
        () =>
          new Promise((resolve, reject) => {
            const worker = new Worker(script, { eval: true, workerData });
            worker.on('exit', resolve);
            worker.on('error', reject);
          }),
      ),
    );
    expect(codes).toEqual([0, 0, 0]);
    expect(manager.listSync(at.runId)[0].sequence).toBe(30);
    expect(registered(at.dir)).toEqual(files(at.dir));
  });

  test('asynchronous calls leave libuv its threads', async () => {
    // More creates of one run than the pool has threads, while another run is listed.
    addRun(at.runsDir, 'run-2');
    const creates = Array.from({ length: 12 }, (_, n) => manager.create(at.runId, n));
    const first = await Promise.race([
      Promise.all(creates).then(() => 'creates'),
      manager.list('run-2').then(() => 'list'),
    ]);
    expect(first).toBe('list');
    await Promise.all(creates);
  });
});

// On Linux a process can see what it holds.
(process.platform === 'linux' ? test : test.skip)(
  'the space of what checkpoints replaced is given back beside them',
  async () => {
    const held = () =>
      fs.readdirSync('/proc/self/fd').filter((fd) => {
        try {
          const file = fs.readlinkSync(`/proc/self/fd/${fd}`);
          return file.startsWith(fs.realpathSync(at.dir)) && file.endsWith(' (deleted)');
        } catch {
          return false;
        }
      }).length;
    /** Nothing is held a moment later. */
    const settles = async () => {
      while (held() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    for (let step = 0; step < 8; step += 1) manager.createSync(at.runId, step);
    // At most what one of them replaced: the registry, and the checkpoint that was dropped.
    expect(held()).toBeLessThanOrEqual(2);
    await settles();
    await manager.create(at.runId, 8);
    await settles();
    expect(await manager.list(at.runId)).toHaveLength(5);
  },
);

describe('the checksum is the one five lines of Node compute', () => {
  const states = {
    numbers: [
      1e21,
      -0,
      2 ** 53,
      2 ** 53 + 2,
      0.1 + 0.2,
      5e-324,
      1.7976931348623157e308,
      1e-7,
      -1.5,
    ],
    keys: { b: 1, 10: 2, 9: 3, '01': 4, 4294967294: 5, 4294967295: 6, '-1': 7, a: 8 },
    lone: ['\ud800', 'x\udfff', '\ud800\ud800\udc00', '\udc00\ud800'],
    separators: '\u2028\u2029\u007f\u0000\u001f\b\f\n\r\t"\\/',
    proto: JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}'),
    empty: [{}, [], '', null, false],
    wide: Object.fromEntries(Array.from({ length: 9000 }, (_, n) => [`${(n * 7919) % 9000}`, n])),
    deep: Array.from({ length: 900 }).reduce((inner) => [inner], 1),
  };
  test.each(Object.entries(states))('%s', async (_, state) => {
    const made = await manager.create(at.runId, 1, state);
    const onDisk = readJson(made.path);
    // A large one lies in the store.
    const inStore = 'step_state' in onDisk.state_objects;
    expect(inStore).toBe(JSON.stringify(state).length > 64 * 1024);
    const whole = inStore ? manager.showSync(at.runId, made.checkpointId).checkpoint : onDisk;
    expect(JSON.stringify(whole.step_state)).toBe(JSON.stringify(state));
    expect(JSON.stringify(made.checkpoint.step_state)).toBe(JSON.stringify(state));
    expect(made.checksum).toBe(checksum(onDisk));
    expect(fs.readFileSync(made.path, 'utf8')).toBe(JSON.stringify(onDisk, null, 2));
    // Also when somebody laid the file out anew.
    fs.writeFileSync(made.path, JSON.stringify(onDisk));
    expect(manager.verifySync(at.runId).ok).toBe(true);
    expect(manager.restoreSync(at.runId).checkpointId).toBe(made.checkpointId);
  });

  test('run.json and registry written by hand, in any layout', () => {
    fs.writeFileSync(
      runFile(),
      '{"run_id":"run-1", "n":[1.0,1E2,-0,1e400,\t12345678901234567890], "s":"\\u0041\\/\\ud83d\\ude00", "a":1, "a":2, "7":0}',
    );
    const made = manager.createSync(at.runId, 1);
    const onDisk = readJson(made.path);
    // As the runner itself would write it again: -0 becomes 0, what is no number becomes null.
    expect(JSON.stringify(onDisk.run_record)).toBe(JSON.stringify(readJson(runFile())));
    expect(made.checksum).toBe(checksum(onDisk));
  });
});

describe('damage', () => {
  test('every kind is named, never listed, never restored, and breaks nothing', async () => {
    const good = manager.createSync(at.runId, 1);
    const bytes = fs.readFileSync(good.path);
    const text = bytes.toString();
    const put = (/** @type {string} */ name, /** @type {string | Buffer} */ content) =>
      fs.writeFileSync(path.join(at.checkpoints, `${name}.json`), content);
    const flipped = Buffer.from(bytes);
    flipped[400] ^= 4;
    const other = addRun(at.runsDir, 'run-2');
    const foreign = new CheckpointManager({ runsDir: at.runsDir }).createSync('run-2', 1);
    const renamed = (/** @type {string} */ id) => text.replaceAll(good.checkpointId, id);
    const reseal = (/** @type {string} */ source) => {
      const object = JSON.parse(source);
      object.metadata.checksum = checksum(object);
      return JSON.stringify(object);
    };
    put('d-empty', '');
    put('d-truncated', bytes.subarray(0, 700));
    put('d-half-character', Buffer.from('{"a": "\xc3', 'latin1'));
    put('d-flipped', flipped);
    put('d-altered', renamed('d-altered').replace('"status": "in_progress"', '"status": "done"'));
    put('d-foreign', '{"name": "package", "version": "1.0.0"}');
    put('d-array', '[]');
    put('d-binary', Buffer.from([0, 1, 2, 0xff]));
    put('d-other-name', text);
    put('d-no-sum', renamed('d-no-sum').replace('"checksum"', '"chksum"'));
    // The fingerprint has a format of its own, before it.
    put('d-newer', reseal(renamed('d-newer').replace(/("waymark": \{\s*"format": )1/, '$12')));
    put('d-no-record', reseal(renamed('d-no-record').replace('"run_record"', '"record"')));
    fs.copyFileSync(foreign.path, path.join(at.checkpoints, path.basename(foreign.path)));
    fs.mkdirSync(path.join(at.checkpoints, 'd-folder.json'));
    fs.symlinkSync(foreign.path, path.join(at.checkpoints, 'd-link.json'));
    execFileSync('mkfifo', [path.join(at.checkpoints, 'd-pipe.json')]);
    fs.writeFileSync(
      Buffer.concat([
        Buffer.from(`${at.checkpoints}/d-`),
        Buffer.from([0xff]),
        Buffer.from('.json'),
      ]),
      text,
    );

    expect(manager.listSync(at.runId).map((row) => row.checkpointId)).toEqual([good.checkpointId]);
    const found = await manager.verify(at.runId);
    expect(found.ok).toBe(false);
    const kinds = Object.fromEntries(found.damaged.map((one) => [one.checkpointId, one.damage]));
    const nameOfOther = path.basename(foreign.path, '.json');
    expect(kinds).toEqual({
      'd-empty': 'empty',
      'd-truncated': 'truncated',
      'd-half-character': 'truncated',
      'd-flipped': expect.stringMatching(/^(not_json|checksum_mismatch|truncated)$/),
      'd-altered': 'checksum_mismatch',
      'd-foreign': 'not_checkpoint',
      'd-array': 'not_checkpoint',
      'd-binary': 'not_json',
      'd-other-name': 'id_mismatch',
      'd-no-sum': 'checksum_missing',
      'd-newer': 'newer_format',
      'd-no-record': 'not_checkpoint',
      [nameOfOther]: 'other_run',
      'd-folder': 'not_regular',
      'd-link': 'not_regular',
      'd-pipe': 'not_regular',
      'd-\ufffd': 'not_checkpoint',
    });
    for (const one of found.damaged) {
      expect(one.message).not.toBe('');
      if (!one.checkpointId.includes('\ufffd')) {
        expect(
          await failure(() => manager.restoreSync(at.runId, { checkpointId: one.checkpointId })),
        ).toBe(`ERR_CHECKPOINT_DAMAGED ${one.damage}`);
      }
    }
    expect(manager.restoreSync(at.runId).skipped).toHaveLength(found.damaged.length);
    const next = manager.createSync(at.runId, 2);
    expect(registered(at.dir)).toEqual([good.checkpointId, next.checkpointId].sort());
    // Nothing deletes evidence.
    expect((await manager.verify(at.runId)).damaged).toHaveLength(found.damaged.length);
    expect(other.dir).not.toBe(at.dir);
  });

  test('every single flipped bit of a checkpoint is found, or harmless', () => {
    const made = manager.createSync(at.runId, 1, { a: 'b' });
    const bytes = fs.readFileSync(made.path);
    const good = manager.showSync(at.runId, made.checkpointId);
    const { metadata: _, ...content } = good.checkpoint;
    for (let n = 0; n < bytes.length; n += 3) {
      const flipped = Buffer.from(bytes);
      flipped[n] ^= 1 << (n % 8);
      fs.writeFileSync(made.path, flipped);
      const rows = manager.listSync(at.runId);
      if (rows.length === 0) continue;
      const { metadata: __, ...seen } = manager.showSync(at.runId, made.checkpointId).checkpoint;
      expect([n, seen]).toEqual([n, content]);
    }
  });

  test('a damaged journal stops a create, and a restore starts over', async () => {
    manager.createSync(at.runId, 1);
    const journal = path.join(at.checkpoints, '.waymark', 'restore.journal');
    fs.writeFileSync(journal, '{"format": 1, "entries": [');
    expect(await failure(() => manager.createSync(at.runId, 2))).toBe('ERR_JOURNAL_DAMAGED');
    expect(manager.listSync(at.runId)).toHaveLength(1);
    expect(manager.restoreSync(at.runId).step).toBe(1);
    expect(fs.existsSync(journal)).toBe(false);
    expect(manager.createSync(at.runId, 2).sequence).toBe(2);
  });
});

describe('bad input', () => {
  test.each([
    ['', 'ERR_RUN_ID_INVALID empty'],
    ['..', 'ERR_RUN_ID_INVALID traversal'],
    ['../run-1', 'ERR_RUN_ID_INVALID separator'],
    ['a/../../run-1', 'ERR_RUN_ID_INVALID separator'],
    ['a\\b', 'ERR_RUN_ID_INVALID separator'],
    ['/etc', 'ERR_RUN_ID_INVALID separator'],
    ['a\0b', 'ERR_RUN_ID_INVALID nul'],
    ['C:run', 'ERR_RUN_ID_INVALID drive'],
    ['CON', 'ERR_RUN_ID_INVALID device'],
    ['lpt1.txt', 'ERR_RUN_ID_INVALID device'],
    ['x'.repeat(256), 'ERR_RUN_ID_INVALID length'],
    ['x'.repeat(1_000_000), 'ERR_RUN_ID_INVALID length'],
    ['\ud800', 'ERR_RUN_ID_INVALID charset'],
    ['run 1', 'ERR_RUN_ID_INVALID charset'],
    [7, 'ERR_RUN_ID_INVALID type'],
    [null, 'ERR_RUN_ID_INVALID type'],
    ['unknown', 'ERR_RUN_NOT_FOUND'],
  ])('run id %j', async (/** @type {any} */ id, expected) => {
    expect(await failure(() => manager.create(id, 1))).toBe(expected);
    expect(await failure(() => manager.createSync(id, 1))).toBe(expected);
    expect(await failure(() => manager.restore(id))).toBe(expected);
    expect(await failure(() => manager.prune(id))).toBe(expected);
    expect(await failure(() => manager.verify(id))).toBe(expected);
    const listed = expected === 'ERR_RUN_NOT_FOUND' ? 'nothing' : expected;
    expect(await failure(() => manager.list(id))).toBe(listed);
    expect(fs.readdirSync(at.root)).toEqual(['.claude']);
    expect(fs.readdirSync(at.runsDir)).toEqual(['run-1']);
  });

  test.each([
    ['', 'ERR_CHECKPOINT_ID_INVALID empty'],
    ['../../run-2/checkpoints/x', 'ERR_CHECKPOINT_ID_INVALID separator'],
    ['..', 'ERR_CHECKPOINT_ID_INVALID traversal'],
    ['x\0', 'ERR_CHECKPOINT_ID_INVALID nul'],
    ['D:', 'ERR_CHECKPOINT_ID_INVALID drive'],
    ['NUL', 'ERR_CHECKPOINT_ID_INVALID device'],
    ['y'.repeat(251), 'ERR_CHECKPOINT_ID_INVALID length'],
    [7, 'ERR_CHECKPOINT_ID_INVALID type'],
    ['checkpoint-step-1-1', 'ERR_CHECKPOINT_NOT_FOUND'],
  ])('checkpoint id %j', async (/** @type {any} */ id, expected) => {
    expect(await failure(() => manager.show(at.runId, id))).toBe(expected);
    expect(await failure(() => waymark.restoreFromCheckpoint.call(null, 'run-1', id))).not.toBe(
      'nothing',
    );
    if (typeof id === 'string') {
      expect(await failure(() => manager.restore(at.runId, { checkpointId: id }))).toBe(expected);
      expect(await failure(() => manager.verify(at.runId, { checkpointId: id }))).toBe(expected);
    }
  });

  test.each([
    [Number.NaN, 'not_a_number'],
    [Number.POSITIVE_INFINITY, 'infinite'],
    [Number.NEGATIVE_INFINITY, 'infinite'],
    [-1, 'negative'],
    [2 ** 53, 'unsafe_integer'],
    ['', 'empty'],
    ['../x', 'separator'],
    ['a\0', 'nul'],
    ['C:x', 'drive'],
    ['aux', 'device'],
    ['x'.repeat(201), 'length'],
    ['3', 'number_as_text'],
    ['a\tb', 'control'],
    [undefined, 'type'],
    [null, 'type'],
    [[1], 'type'],
    [10n, 'type'],
    [true, 'type'],
  ])('step %p', async (/** @type {any} */ step, reason) => {
    expect(await failure(() => manager.create(at.runId, step))).toBe(`ERR_STEP_INVALID ${reason}`);
    expect(files(at.dir)).toEqual([]);
  });

  test('state', async () => {
    /** @type {any} */
    const circular = {};
    circular.self = circular;
    let deep = 1;
    for (let n = 0; n < 10_000; n += 1) deep = /** @type {any} */ ([deep]);
    let between = 1;
    for (let n = 0; n < 2_100; n += 1) between = /** @type {any} */ ([between]);
    /** @type {[unknown, string][]} */
    const cases = [
      [() => 1, 'ERR_STATE_NOT_JSON'],
      [Symbol('x'), 'ERR_STATE_NOT_JSON'],
      [10n, 'ERR_STATE_NOT_JSON'],
      [circular, 'ERR_STATE_NOT_JSON'],
      [
        {
          toJSON() {
            throw new Error('no');
          },
        },
        'ERR_STATE_NOT_JSON',
      ],
      [deep, 'ERR_STATE_TOO_DEEP'],
      [between, 'ERR_STATE_TOO_DEEP'],
      ['x'.repeat(100 * 1024 * 1024), 'ERR_STATE_TOO_LARGE'],
    ];
    for (const [state, code] of cases) {
      expect(await failure(() => manager.create(at.runId, 1, state))).toBe(code);
      expect(await failure(() => manager.createSync(at.runId, 1, state))).toBe(code);
    }
    expect(files(at.dir)).toEqual([]);
    expect(await failure(() => manager.create(at.runId, 1, 'xx', { maxStateBytes: 3 }))).toBe(
      'ERR_STATE_TOO_LARGE',
    );
    const big = await manager.create(at.runId, 1, 'x'.repeat(5_000_000));
    expect(big.checkpoint.step_state).toHaveLength(5_000_000);
  });

  test('options', async () => {
    /** @type {[() => unknown, string][]} */
    const cases = [
      [() => new CheckpointManager(/** @type {any} */ ({ keepLats: 3 })), 'ERR_OPTION_UNKNOWN'],
      [() => new CheckpointManager({ keepLast: 0 }), 'ERR_OPTION_INVALID'],
      [() => new CheckpointManager({ keepLast: 1.9 }), 'ERR_OPTION_INVALID'],
      [() => new CheckpointManager({ keepLast: Number.NaN }), 'ERR_OPTION_INVALID'],
      [() => new CheckpointManager({ keepLast: 2 ** 53 }), 'ERR_OPTION_INVALID'],
      [() => new CheckpointManager(/** @type {any} */ (null)), 'ERR_OPTION_INVALID'],
      [() => new CheckpointManager({ runsDir: '' }), 'ERR_OPTION_INVALID'],
      [
        () => manager.create(at.runId, 1, {}, /** @type {any} */ ({ keep: 1 })),
        'ERR_OPTION_UNKNOWN',
      ],
      [() => manager.list(at.runId, /** @type {any} */ ({ damaged: true })), 'ERR_OPTION_UNKNOWN'],
      [() => manager.prune(at.runId, /** @type {any} */ ({ dryRun: 'yes' })), 'ERR_OPTION_INVALID'],
      [() => manager.restore(at.runId, { checkpointId: 'x', step: 1 }), 'ERR_OPTION_INVALID'],
      [() => manager.create(at.runId, 1, {}, { maxStateBytes: 1.5 }), 'ERR_OPTION_INVALID'],
      [() => manager.create(at.runId, 1, {}, { maxStateBytes: -1 }), 'ERR_OPTION_INVALID'],
      [() => manager.cleanup({ maxAgeDays: -1 }), 'ERR_OPTION_INVALID'],
      [() => manager.cleanup({ statuses: ['in_progress'] }), 'ERR_OPTION_INVALID'],
      [() => manager.cleanup(/** @type {any} */ ({ statuses: 'failed' })), 'ERR_OPTION_INVALID'],
      [() => manager.list(at.runId, /** @type {any} */ ({ signal: {} })), 'ERR_OPTION_INVALID'],
    ];
    for (const [work, code] of cases) expect(await failure(work)).toBe(code);
  });

  test('places', async () => {
    const place = (/** @type {object} */ options) =>
      failure(() => new CheckpointManager(options).create('run-1', 1));
    expect(await place({ runsDir: 'a\0b' })).toBe('ERR_PATH_INVALID nul');
    expect(await place({ runsDir: 'x'.repeat(5000) })).toBe('ERR_PATH_INVALID length');
    expect(await place({ runsDir: path.join(at.root, 'none') })).toBe('ERR_RUNS_DIR_NOT_FOUND');
    expect(await place({ root: temporary() })).toBe('ERR_RUNS_DIR_NOT_FOUND');
    const bad = temporary();
    fs.writeFileSync(path.join(bad, 'waymark.config.json'), '{"runsDir": 3}');
    expect(await place({ root: bad })).toBe('ERR_CONFIG_INVALID');
    try {
      new CheckpointManager({ root: bad }).listSync('run-1');
    } catch (error) {
      expect(/** @type {waymark.WaymarkError} */ (error).path).toBe(
        path.join(bad, 'waymark.config.json'),
      );
    }
  });

  test('folders that are links or files, and files that are links', async () => {
    const outside = temporary();
    fs.writeFileSync(path.join(outside, 'secret.json'), '{"run_id": "run-1", "secret": 1}');
    const create = () => failure(() => manager.create(at.runId, 1));
    fs.symlinkSync(outside, at.checkpoints);
    expect(await create()).toBe('ERR_PATH_SYMLINK');
    expect(await failure(() => manager.list(at.runId))).toBe('ERR_PATH_SYMLINK');
    expect(await failure(() => manager.restore(at.runId))).toBe('ERR_PATH_SYMLINK');
    fs.unlinkSync(at.checkpoints);
    fs.writeFileSync(at.checkpoints, 'a file');
    expect(await create()).toBe('ERR_PATH_NOT_DIRECTORY');
    fs.unlinkSync(at.checkpoints);
    fs.mkdirSync(at.checkpoints);
    fs.symlinkSync(outside, path.join(at.checkpoints, '.waymark'));
    expect(await create()).toBe('ERR_PATH_SYMLINK');
    fs.unlinkSync(path.join(at.checkpoints, '.waymark'));
    fs.renameSync(at.dir, path.join(outside, 'run-1'));
    fs.symlinkSync(path.join(outside, 'run-1'), at.dir);
    expect(await create()).toBe('ERR_PATH_SYMLINK');
    fs.unlinkSync(at.dir);
    fs.renameSync(path.join(outside, 'run-1'), at.dir);
    // Another JSON file that leads out: listed as not captured, never read.
    fs.symlinkSync(path.join(outside, 'secret.json'), runFile('state.json'));
    const made = await manager.create(at.runId, 1);
    expect(made.checkpoint.run_files).toEqual({
      'state.json': { skipped: 'not_regular', size: expect.any(Number) },
    });
    fs.unlinkSync(runFile());
    fs.symlinkSync(path.join(outside, 'secret.json'), runFile());
    expect(await create()).toBe('ERR_RUN_RECORD_DAMAGED');
    expect(fs.readdirSync(outside)).toEqual(['secret.json']);
  });

  test('files that are too large to capture', async () => {
    fs.writeFileSync(runFile('state.json'), '');
    fs.truncateSync(runFile('state.json'), 65 * 1024 * 1024);
    const made = await manager.create(at.runId, 1);
    expect(made.checkpoint.run_files).toEqual({
      'state.json': { skipped: 'too_large', size: 65 * 1024 * 1024 },
    });
    fs.truncateSync(runFile(), 65 * 1024 * 1024);
    expect(await failure(() => manager.create(at.runId, 1))).toBe('ERR_FILE_TOO_LARGE');
  });

  test('a run of another id in run.json', async () => {
    writeJson(runFile(), { ...readJson(runFile()), run_id: 'run-9' });
    expect(await failure(() => manager.create(at.runId, 1))).toBe('ERR_RUN_RECORD_DAMAGED');
  });

  test('a folder that can not be written', async () => {
    manager.createSync(at.runId, 1);
    const script = `
      const { CheckpointManager } = require(${JSON.stringify(repo)});
      const manager = new CheckpointManager({ runsDir: ${JSON.stringify(at.runsDir)} });
      const codes = [];
      for (const work of [() => manager.createSync('run-1', 2), () => manager.restoreSync('run-1')]) {
        try { work(); codes.push('none'); } catch (error) { codes.push(error.code); }
      }
      codes.push(manager.listSync('run-1').length);
      process.stdout.write(codes.join());`;
    for (const folder of [at.dir, at.checkpoints, path.join(at.checkpoints, '.waymark')]) {
      fs.chmodSync(folder, 0o555);
    }
    fs.chmodSync(at.root, 0o755);
    const options = isRoot ? { uid: 65534, gid: 65534 } : {};
    const out = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8', ...options });
    for (const folder of [at.dir, at.checkpoints, path.join(at.checkpoints, '.waymark')]) {
      fs.chmodSync(folder, 0o755);
    }
    expect(out).toBe('ERR_RUN_READ_ONLY,ERR_RUN_READ_ONLY,1');
  });

  test('a disk that is full', async () => {
    manager.createSync(at.runId, 1, { text: 'x'.repeat(1000) });
    const before = [fs.readFileSync(runFile(), 'utf8'), files(at.dir), registered(at.dir)];
    const script = `
      const { CheckpointManager } = require(${JSON.stringify(repo)});
      const manager = new CheckpointManager({ runsDir: ${JSON.stringify(at.runsDir)} });
      process.on('SIGXFSZ', () => {});
      const codes = [];
      for (const work of [() => manager.createSync('run-1', 2, 'y'.repeat(30000))]) {
        try { work(); codes.push('none'); } catch (error) { codes.push(error.code); }
      }
      process.stdout.write(codes.join());`;
    // A limit on the size of files stands in for the full disk: the write fails half-way.
    const out = execFileSync('prlimit', ['--fsize=8192', process.execPath, '-e', script], {
      encoding: 'utf8',
    });
    expect(out).toBe('ERR_DISK_FULL');
    expect([fs.readFileSync(runFile(), 'utf8'), files(at.dir), registered(at.dir)]).toEqual(before);
    expect(manager.createSync(at.runId, 2).sequence).toBe(2);
  });
});

describe('AbortSignal', () => {
  test('aborted before', async () => {
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    for (const work of [
      () => manager.create(at.runId, 1, {}, { signal }),
      () => manager.restore(at.runId, { signal }),
      () => manager.list(at.runId, { signal }),
      () => manager.verify(at.runId, { signal }),
      () => manager.prune(at.runId, { signal }),
      () => manager.cleanup({ signal }),
      async () => manager.createSync(at.runId, 1, {}, { signal }),
    ]) {
      await expect(work()).rejects.toMatchObject({
        code: 'ERR_ABORTED',
        name: 'AbortError',
        cause: reason,
      });
    }
    expect(files(at.dir)).toEqual([]);
  });

  test('aborted while it waits: nothing is changed', async () => {
    const controller = new AbortController();
    const first = manager.create(at.runId, 1);
    const second = manager.create(at.runId, 2, {}, { signal: controller.signal });
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    const { checkpointId } = await first;
    expect(files(at.dir)).toEqual([checkpointId]);
  });

  test('a signal that is aborted afterwards changes nothing, and is not listened to', async () => {
    const controller = new AbortController();
    await manager.create(at.runId, 1, {}, { signal: controller.signal });
    controller.abort();
    expect(files(at.dir)).toHaveLength(1);
  });
});

describe('cleanup', () => {
  const days = (/** @type {number} */ n) => new Date(Date.now() - n * 86_400_000).toISOString();
  const report = () =>
    path.join(at.root, '.claude', 'context', 'reports', 'checkpoint-cleanup-report.md');

  beforeEach(() => {
    addRun(at.runsDir, 'old-failed', { record: { status: 'failed', updated_at: days(8) } });
    addRun(at.runsDir, 'young-failed', { record: { status: 'failed', updated_at: days(6) } });
    addRun(at.runsDir, 'old-running', { record: { status: 'in_progress', updated_at: days(90) } });
    addRun(at.runsDir, 'old-done', { record: { status: 'completed', updated_at: days(90) } });
    addRun(at.runsDir, 'old-locked', { record: { status: 'failed', updated_at: days(30) } });
    writeJson(path.join(at.runsDir, 'old-locked', 'run.json.lock'), { pid: process.pid });
    addRun(at.runsDir, 'old-damaged', { record: { status: 'failed', updated_at: days(30) } });
    fs.truncateSync(path.join(at.runsDir, 'old-damaged', 'run.json'), 40);
    manager.createSync('old-failed', 1);
  });

  test('a dry run decides and reports, and removes nothing', async () => {
    const before = fs.readdirSync(at.runsDir);
    const outcome = await manager.cleanup({ dryRun: true });
    expect(outcome).toMatchObject({
      scanned: 7,
      cleaned: [{ runId: 'old-failed', status: 'failed', ageDays: expect.closeTo(8, 1) }],
      reportPath: report(),
    });
    expect(outcome.freedBytes).toBeGreaterThan(1000);
    expect(outcome.left.map((one) => one.runId)).toEqual(['old-damaged', 'old-locked']);
    expect(fs.readdirSync(at.runsDir)).toEqual(before);
    expect(fs.readFileSync(report(), 'utf8')).toMatch(/\*\*Mode\*\*: Dry Run/);
  });

  test('a real one removes what the dry run said, with its report', async () => {
    const outcome = manager.cleanupSync();
    expect(outcome.cleaned.map((run) => run.runId)).toEqual(['old-failed']);
    expect(fs.readdirSync(at.runsDir).sort()).toEqual(
      ['old-damaged', 'old-done', 'old-locked', 'old-running', 'run-1', 'young-failed'].sort(),
    );
    const text = fs.readFileSync(report(), 'utf8');
    expect(text).toMatch(
      /^# Checkpoint Cleanup Report\n\n\*\*Date\*\*: \d{4}-.*Z\n\*\*Mode\*\*: Live\n/,
    );
    expect(text).toContain('**Max Age**: 7 days');
    expect(text).toContain('- Runs scanned: 7\n- Runs cleaned: 1\n- Disk space freed: ');
    expect(text).toMatch(/^1\. old-failed \(failed, age: 8 days, size: \d+\.\d KB\)$/m);
    expect(text).toContain('- old-locked: its run.json.lock is held by a live process');
    expect(manager.cleanupSync().cleaned).toEqual([]);
  });

  test('by age, status and run', async () => {
    const dry = (/** @type {object} */ options) =>
      manager
        .cleanupSync({ dryRun: true, report: false, ...options })
        .cleaned.map((run) => run.runId);
    expect(dry({ maxAgeDays: 5 })).toEqual(['old-failed', 'young-failed']);
    expect(dry({ maxAgeDays: 20 })).toEqual([]);
    expect(dry({ statuses: ['completed', 'failed'] })).toEqual(['old-done', 'old-failed']);
    expect(dry({ runId: 'old-failed' })).toEqual(['old-failed']);
    expect(dry({ runId: 'young-failed' })).toEqual([]);
    expect(fs.existsSync(report())).toBe(false);
    const elsewhere = path.join(temporary(), 'a', 'report.md');
    expect(manager.cleanupSync({ dryRun: true, reportPath: elsewhere }).reportPath).toBe(elsewhere);
    expect(fs.existsSync(elsewhere)).toBe(true);
  });

  test('a run that is resumed while others are cleaned up stays', async () => {
    // Many files, so that judging and dropping are some time apart.
    const dir = path.join(at.runsDir, 'old-failed', 'artifacts');
    for (let n = 0; n < 3000; n += 1) fs.writeFileSync(path.join(dir, `${n}.md`), 'x');
    const cleaning = manager.cleanup();
    const outcomes = await Promise.allSettled([cleaning, manager.restore('old-failed')]);
    const dropped = outcomes[0].status === 'fulfilled' && outcomes[0].value.cleaned.length === 1;
    // One of the two came first; never both.
    expect(outcomes[1].status).toBe(dropped ? 'rejected' : 'fulfilled');
    expect(fs.existsSync(path.join(at.runsDir, 'old-failed'))).toBe(!dropped);
  });

  test('what a killed cleanup left behind goes with the next one', () => {
    fs.mkdirSync(path.join(at.runsDir, '~waymark-trash-1-1', 'artifacts'), { recursive: true });
    manager.cleanupSync({ dryRun: true });
    expect(fs.existsSync(path.join(at.runsDir, '~waymark-trash-1-1'))).toBe(true);
    manager.cleanupSync();
    expect(fs.existsSync(path.join(at.runsDir, '~waymark-trash-1-1'))).toBe(false);
  });
});
