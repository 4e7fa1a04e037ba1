// Questions about the checkpoints of all runs: each answer is what a plain filter over the manifests gives, also
// when the index is gone, of another version, half written, or behind.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import { run as treeCommand } from '../cli/commands/tree.mjs';
import { styleFor } from '../cli/output.mjs';
import waymark from '../index.js';
import { waymark as command } from './support/cli.mjs';
import { addRun, project, readJson, removeAll, writeJson } from './support/project.mjs';

const { CheckpointManager, WaymarkError } = waymark;
const { tree: treeOf } = createRequire(import.meta.url)('../lib/query.js');

/** @typedef {waymark.QueryRow} Row */

/** Numbers that come again with the same seed (mulberry32). @param {number} seed */
function random(seed) {
  let at = seed;
  return () => {
    at = (at + 0x6d2b79f5) | 0;
    let mixed = Math.imul(at ^ (at >>> 15), 1 | at);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
beforeEach(() => {
  at = project({ runId: 'run-0' });
  manager = new CheckpointManager({ runsDir: at.runsDir, keepLast: 4 });
});
afterAll(removeAll);

const WORDS = /** @type {const} */ ({
  worker: ['coder', 'writer'],
  phase: ['plan', 'build'],
  task: ['a', 'b'],
  type: ['manual', 'automatic'],
  trigger: ['risk', 'milestone'],
  scope: ['agent', 'project'],
  priority: ['low', 'high'],
  class: ['frequent', 'milestone'],
});
const LABELS = ['x', 'y', 'z'];

/** Runs of which many things are said, some of them damaged. @param {() => number} next @param {number} runs */
async function history(next, runs) {
  const pick = (/** @type {readonly any[]} */ list) => list[Math.floor(next() * list.length)];
  for (let n = 0; n < runs; n += 1) {
    const runId = `run-${n}`;
    const status = pick(['in_progress', 'failed', 'completed', 'cancelled']);
    if (n > 0)
      addRun(at.runsDir, runId, { record: { status, workflow_id: pick(['flow', 'other']) } });
    for (let step = 0; step < 1 + next() * 5; step += 1) {
      /** @type {any} */
      const facts = {};
      for (const [name, values] of Object.entries(WORDS)) {
        if (next() < 0.5) facts[name] = pick(values);
      }
      const labels = LABELS.filter(() => next() < 0.3);
      if (labels.length > 0) facts.labels = labels;
      const { checkpointId: id } = await manager.create(runId, step, { step }, { facts });
      if (next() < 0.4) await manager.activate(runId, id);
      else if (next() > 0.5) await manager.fail(runId, id, 'x');
      if (next() < 0.2) await manager.pin(runId, id, { reason: 'p' });
      if (next() < 0.1) await manager.pin(runId, id, { reason: 'p', until: 1 });
      if (next() < 0.2) await manager.update(runId, id, { worker: 'late' });
    }
    if (next() < 0.3) {
      fs.writeFileSync(path.join(at.runsDir, runId, 'checkpoints', `junk-${n}.json`), '{"a"');
    }
  }
}

/** What the runs themselves show. @returns {any[]} */
function plainly() {
  return fs.readdirSync(at.runsDir).flatMap((runId) => {
    const { status } = readJson(path.join(at.runsDir, runId, 'run.json'));
    const over = ['completed', 'cancelled'].includes(status);
    const rows = manager.listSync(runId, { includeDamaged: true });
    return rows.map((row, n) => ({ runId, over, first: n === 0, ...row }));
  });
}

/** @param {any} row @param {any} filter */
function isWanted(row, filter) {
  const facts = row.facts ?? {};
  const has = (/** @type {any} */ asked, /** @type {any} */ value) =>
    asked === undefined || [asked].flat().includes(value);
  const damaged = row.damage !== undefined;
  const pinned = row.pin !== undefined && !(Date.parse(row.pin.until) <= Date.now());
  const is = (/** @type {boolean | undefined} */ asked, /** @type {boolean} */ value) =>
    asked === undefined || asked === value;
  const taken = Date.parse(row.timestamp);
  return (
    Object.keys(WORDS).every((name) => has(filter[name], facts[name])) &&
    has(filter.run, row.runId) &&
    has(filter.workflow, row.workflowId) &&
    has(filter.state, row.state) &&
    (filter.label === undefined ||
      [filter.label].flat().some((label) => facts.labels?.includes(label))) &&
    is(filter.damaged, damaged) &&
    is(filter.pinned, pinned) &&
    is(filter.resumable, row.first && !row.over && !damaged) &&
    (filter.from === undefined || damaged || taken >= Date.parse(filter.from)) &&
    (filter.until === undefined || damaged || taken < Date.parse(filter.until))
  );
}

/** @param {any} filter */
async function check(filter) {
  const rows = [];
  for await (const row of manager.query(filter)) rows.push(row);
  const name = (/** @type {any} */ row) => `${row.runId}/${row.checkpointId}`;
  const expected = plainly().filter((row) => isWanted(row, filter));
  expect(rows.map(name).sort()).toEqual(expected.map(name).sort());
  const times = rows.map((row) => Date.parse(row.timestamp));
  const sorted = [...times].sort((one, other) => one - other);
  expect(times).toEqual(filter.order === 'oldest' ? sorted : sorted.reverse());
  // Page by page it is the same.
  const paged = [];
  let after;
  do {
    /** @type {waymark.QueryPage} */
    const page = await manager.find({ ...filter, limit: 3, after });
    paged.push(...page.rows);
    after = page.next;
  } while (after !== undefined);
  expect(paged).toEqual(rows);
}

describe('answers are those of a plain filter', () => {
  test('at random', async () => {
    const next = random(7);
    await history(next, 12);
    const pick = (/** @type {readonly any[]} */ list) => list[Math.floor(next() * list.length)];
    await check({});
    for (let n = 0; n < 60; n += 1) {
      /** @type {any} */
      const filter = {};
      for (const [name, values] of Object.entries(WORDS)) {
        if (next() < 0.12)
          filter[name] = next() < 0.3 ? [...values, 'late'].slice(0, 2) : pick(values);
      }
      if (next() < 0.2) filter.label = next() < 0.5 ? pick(LABELS) : ['x', 'z'];
      if (next() < 0.2) filter.state = next() < 0.5 ? 'failed' : ['active', 'created'];
      if (next() < 0.15) filter.run = next() < 0.5 ? 'run-3' : ['run-1', 'run-3', 'nobody'];
      if (next() < 0.15) filter.workflow = 'flow';
      for (const name of ['damaged', 'pinned', 'resumable']) {
        if (next() < 0.15) filter[name] = next() < 0.5;
      }
      if (next() < 0.3) filter.order = 'oldest';
      await check(filter);
      // The world moves on between two questions.
      if (n % 10 === 0) await manager.create(`run-${n / 10}`, 50 + n);
      if (n % 15 === 0) await manager.prune(`run-${n / 15}`, { keepLast: 1 });
    }
  });

  test('by time', async () => {
    await history(random(3), 4);
    const rows = manager.findSync({ damaged: false }).rows;
    const middle = rows[Math.floor(rows.length / 2)].timestamp;
    const ids = async (/** @type {any} */ filter) =>
      (await manager.find({ damaged: false, limit: 1000, ...filter })).rows.map(
        (row) => row.checkpointId,
      );
    const all = rows.map((row) => row.checkpointId);
    const from = await ids({ from: middle });
    const until = await ids({ until: middle });
    expect([...from, ...until]).toEqual(all);
    expect(from.length * until.length).toBeGreaterThan(0);
    expect(await ids({ from: new Date(middle), until: Date.parse(middle) + 1 })).toContain(
      rows.find((row) => row.timestamp === middle)?.checkpointId,
    );
  });
});

describe('what others do to the runs', () => {
  test('a checkpoint unlinked, a run removed, a status changed', async () => {
    await history(random(5), 3);
    await check({});
    const [row] = (await manager.find({ run: 'run-1', damaged: false })).rows;
    fs.rmSync(path.join(at.runsDir, 'run-1', 'checkpoints', `${row.checkpointId}.json`));
    await check({});
    const record = path.join(at.runsDir, 'run-2', 'run.json');
    writeJson(record, { ...readJson(record), status: 'completed' });
    await check({ resumable: true });
    fs.rmSync(path.join(at.runsDir, 'run-1'), { recursive: true });
    await check({});
    await check({ run: 'run-1' });
  });

  test('many runs removed at once: none of them is told', async () => {
    for (let n = 1; n <= 20; n += 1) {
      addRun(at.runsDir, `run-${n}`);
      await manager.create(`run-${n}`, 1);
    }
    await manager.create('run-0', 1);
    expect((await manager.find({ limit: 100 })).rows).toHaveLength(21);
    for (let n = 3; n <= 20; n += 1) {
      fs.rmSync(path.join(at.runsDir, `run-${n}`), { recursive: true });
    }
    const told = (await manager.find({ limit: 2 })).rows.map((row) => row.runId);
    expect(told).toHaveLength(2);
    for (const runId of told) expect(fs.existsSync(path.join(at.runsDir, runId))).toBe(true);
    await check({});
  });

  test('a change whose event was not written, because its process was killed', async () => {
    const { checkpointId: id } = await manager.create(at.runId, 1);
    await check({});
    const events = path.join(at.root, '.waymark', 'events');
    const [log] = fs.readdirSync(events).filter((name) => name.endsWith('.ndjson'));
    const before = fs.readFileSync(path.join(events, log));
    await manager.pin(at.runId, id, { reason: 'evidence' });
    await manager.activate(at.runId, id);
    fs.writeFileSync(path.join(events, log), before);
    // What the process leaves.
    fs.mkdirSync(path.join(events, 'open'), { recursive: true });
    const marker = { runs: at.runsDir, run: at.runId };
    fs.writeFileSync(path.join(events, 'open', '0123456789abcdef'), JSON.stringify(marker));
    await check({ pinned: true });
    await check({ state: 'active' });
  });

  test('a damaged log of changes is told', async () => {
    const { checkpointId: id } = await manager.create(at.runId, 1);
    await manager.pin(at.runId, id, { reason: 'evidence' });
    expect(await manager.find()).not.toHaveProperty('problems');
    const log = path.join(at.runsDir, at.runId, 'checkpoints', '.waymark', 'changes');
    fs.writeFileSync(log, fs.readFileSync(log, 'utf8').replace('evidence', 'nothing'));
    const { rows, problems } = await manager.find();
    expect(rows).toHaveLength(1);
    expect(problems).toEqual([
      { runId: at.runId, message: expect.stringContaining('log of changes') },
    ]);
    const asked = await command(['--runs-dir', at.runsDir, 'query'], { cwd: at.root });
    expect(asked.stderr).toContain('WAYMARK_QUERY');
    await manager.verify(at.runId, { heal: true });
    expect(await manager.find()).not.toHaveProperty('problems');
  });

  test('the index is made anew while others ask: each answer is whole', async () => {
    for (let n = 1; n <= 30; n += 1) {
      addRun(at.runsDir, `run-${n}`);
      for (const step of [1, 2, 3]) await manager.create(`run-${n}`, step);
    }
    const asking = async () => {
      const counts = new Set();
      for (let n = 0; n < 60; n += 1) {
        counts.add((await manager.find({ limit: 1_000 })).rows.length);
      }
      return [...counts];
    };
    const renewing = async () => {
      for (let n = 0; n < 12; n += 1) await manager.rebuildIndex();
    };
    const [counts] = await Promise.all([asking(), renewing(), renewing()]);
    expect(counts).toEqual([90]);
  });

  test('another process takes one', async () => {
    await history(random(5), 2);
    await check({});
    const done = await command(['--runs-dir', at.runsDir, 'create', 'run-1', '--step', '77'], {
      cwd: at.root,
    });
    expect(done.code).toBe(0);
    expect((await manager.find({ limit: 1 })).rows[0]).toMatchObject({ runId: 'run-1', step: 77 });
  });
});

describe('an index that is not as it was', () => {
  const file = () => path.join(at.root, '.waymark', 'checkpoints.db');
  /** In a process of its own: nobody here has the file open. @param {string[]} words */
  const ask = async (...words) => {
    const done = await command(
      ['--runs-dir', at.runsDir, 'query', '--limit', '0', '--json', ...words],
      {
        cwd: at.root,
      },
    );
    expect(done.stderr).toBe('');
    return JSON.parse(done.stdout).map((/** @type {Row} */ row) => row.checkpointId);
  };
  const close = () => {
    for (const end of ['-wal', '-shm']) fs.rmSync(`${file()}${end}`, { force: true });
  };

  for (const [what, harm] of /** @type {[string, () => void][]} */ ([
    ['deleted', () => fs.rmSync(file())],
    ['empty', () => fs.writeFileSync(file(), '')],
    ['half written', () => fs.truncateSync(file(), Math.floor(fs.statSync(file()).size / 2))],
    ['no database', () => fs.writeFileSync(file(), 'x'.repeat(9000))],
    [
      'of another version',
      () => {
        // The user version of SQLite lies at byte 60.
        const bytes = fs.readFileSync(file());
        bytes.writeUInt32BE(99, 60);
        fs.writeFileSync(file(), bytes);
      },
    ],
  ])) {
    test(`${what}: the answer is the same`, async () => {
      for (const step of [1, 2, 3]) await manager.create(at.runId, step);
      const before = await ask();
      expect(before).toHaveLength(3);
      const rebuilt = await command(['--runs-dir', at.runsDir, 'index', 'rebuild', '--json'], {
        cwd: at.root,
      });
      expect(JSON.parse(rebuilt.stdout)).toEqual({ runs: 1, checkpoints: 3 });
      close();
      harm();
      expect(await ask()).toEqual(before);
      await manager.create(at.runId, 4);
      expect(await ask()).toHaveLength(4);
    });
  }

  test('the events are gone: it is made anew', async () => {
    await manager.create(at.runId, 1);
    expect(await ask()).toHaveLength(1);
    fs.rmSync(path.join(at.root, '.waymark', 'events'), { recursive: true });
    await manager.create(at.runId, 2);
    await manager.create(at.runId, 3);
    expect(await ask()).toHaveLength(3);
  });

  test('without a store every question reads the runs', async () => {
    await manager.create(at.runId, 1);
    fs.rmSync(path.join(at.root, '.waymark'), { recursive: true });
    expect(await ask()).toHaveLength(1);
    expect(fs.existsSync(path.join(at.root, '.waymark'))).toBe(false);
  });
});

describe('the tree and misuse', () => {
  test('a line of descent that is longer than a stack is deep', async () => {
    const rows = Array.from({ length: 20_000 }, (_, n) => ({
      runId: 'r',
      checkpointId: `c${n}`,
      ...(n > 0 ? { parentCheckpointId: `c${n - 1}` } : {}),
      state: 'created',
    }));
    const calls = { run: async () => ({ rows: JSON.stringify(rows), problems: [] }) };
    const made = await treeOf(/** @type {any} */ (calls), () => /** @type {any} */ ({}), 'r', {});
    const { data, text } = await treeCommand(
      /** @type {any} */ ({ manager: { tree: async () => made }, args: ['r'] }),
    );
    const { checkpoints } = JSON.parse(JSON.stringify(data));
    expect(checkpoints.map((/** @type {any} */ one) => one.children)).toEqual([
      ...rows.slice(1).map(({ checkpointId }) => [checkpointId]),
      [],
    ]);
    expect(text?.(styleFor(/** @type {any} */ ({}), {}, 0)).split('\n')).toHaveLength(20_001);
  });

  test('a restore makes a branch', async () => {
    const first = await manager.create(at.runId, 1);
    const second = await manager.create(at.runId, 2);
    await manager.restore(at.runId, { checkpointId: first.checkpointId });
    const third = await manager.create(at.runId, 3, {}, { facts: { subtasks: [{ run: 'part' }] } });
    addRun(at.runsDir, 'part');
    const part = await manager.create('part', 1, {}, { facts: { subtasks: [{ run: at.runId }] } });
    const { roots } = await manager.tree(at.runId);
    expect(roots.map(({ checkpoint }) => checkpoint.checkpointId)).toEqual([first.checkpointId]);
    const children = roots[0].children;
    expect(children.map(({ checkpoint }) => checkpoint.checkpointId)).toEqual([
      second.checkpointId,
      third.checkpointId,
    ]);
    expect(children[1].runs).toMatchObject([
      {
        kind: 'subtask',
        runId: 'part',
        roots: [{ checkpoint: { checkpointId: part.checkpointId } }],
      },
    ]);
    const shown = await command(['--runs-dir', at.runsDir, 'tree', at.runId], { cwd: at.root });
    expect(shown.stdout).toContain(`└─ ${third.checkpointId}`);
    expect(shown.stdout).toContain('⤷ subtask part');
  });

  for (const [what, options, code] of /** @type {[string, any, string][]} */ ([
    ['an unknown filter', { colour: 'red' }, 'ERR_OPTION_UNKNOWN'],
    ['an unknown state', { state: 'done' }, 'ERR_OPTION_INVALID'],
    ['an empty name', { worker: '' }, 'ERR_OPTION_INVALID'],
    ['a strange time', { from: 'yesterday' }, 'ERR_OPTION_INVALID'],
    ['a page too large', { limit: 10_001 }, 'ERR_OPTION_INVALID'],
    ['no page', { limit: 0 }, 'ERR_OPTION_INVALID'],
    ['a cursor that is none', { after: 'x' }, 'ERR_OPTION_INVALID'],
  ])) {
    test(`${what} is refused`, async () => {
      const error = await manager.find(options).then(
        () => undefined,
        (reason) => reason,
      );
      expect(error).toBeInstanceOf(WaymarkError);
      expect(error.code).toBe(code);
    });
  }
});
