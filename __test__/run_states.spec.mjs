// The states of a run: the table, what a run's files say together, moves and pauses without a runner.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import states from '../lib/run-states.js';
import { waymark as command } from './support/cli.mjs';
import { addRun, project, readJson, removeAll, repo, writeJson } from './support/project.mjs';

/** @typedef {import('../index.js').RunStateName} Name */

afterAll(removeAll);

const NAMES = /** @type {Name[]} */ (states.NAMES);

describe('the table', () => {
  test("every word of the runner's is a state, and every state that has a word comes back from it", () => {
    for (const [status, state] of Object.entries(states.OF_STATUS)) {
      expect(states.stateOf(status)).toBe(state);
      expect(states.statusFor(state, status)).toBe(status);
    }
    for (const name of NAMES) {
      const word = states.statusFor(name, undefined);
      if (word !== undefined) expect(states.stateOf(word)).toBe(name);
    }
    expect(NAMES.filter((name) => states.statusFor(name, undefined) === undefined)).toEqual([
      'interrupted',
      'stale',
    ]);
    expect(states.stateOf('a_word_of_tomorrow')).toBe('paused');
    expect(states.stateOf(undefined)).toBe('pending');
    // A run that waits for approval is paused, and says why.
    expect(states.statusFor('paused', 'awaiting_approval')).toBe('awaiting_approval');
    expect(states.statusFor('running', 'awaiting_approval')).toBe('in_progress');
  });

  test('every way from one state to another consists of legal moves', () => {
    for (const from of NAMES) {
      for (const to of NAMES) {
        const way = states.wayTo(from, to);
        if (from !== to) expect(way.length === 0).toBe(to === 'pending');
        for (const [at, name] of way.entries()) {
          if (at > 0) expect(states.isLegal(way[at - 1], name, { again: true })).toBe(true);
        }
        if (states.isLegal(from, to)) expect(way.length).toBeLessThanOrEqual(2);
      }
    }
    expect(states.isLegal('completed', 'running')).toBe(false);
    expect(states.isLegal('completed', 'running', { again: true })).toBe(true);
    expect(states.isLegal('completed', 'paused', { again: true })).toBe(false);
  });

  test('docs/run-states.md has it', () => {
    const text = fs.readFileSync(path.join(repo, 'docs', 'run-states.md'), 'utf8');
    for (const name of NAMES) {
      const { to, again = [] } = states.STATES[name];
      const next = [...to, ...again.map((one) => `${one} (a step is named)`)];
      const words = Object.keys(states.OF_STATUS).filter((one) => states.OF_STATUS[one] === name);
      const cells = [
        `\`${name}\``,
        states.STATES[name].about,
        words.map((word) => `\`${word}\``).join(', ') || 'none',
        next.join(', '),
      ];
      expect(text).toContain(`| ${cells.join(' | ')} |`);
    }
  });
});

describe('what the files of a run say together', () => {
  const now = Date.parse('2026-03-04T05:06:07.000Z');
  const ago = (/** @type {number} */ minutes) => now - minutes * 60_000;
  const iso = (/** @type {number} */ ms) => new Date(ms).toISOString();
  /** @param {object} members */
  const record = (members) => ({ ...states.fresh('running', iso(ago(9))), ...members });
  /** @param {string} why @param {number} minutes */
  const lease = (why, minutes) => ({
    live: why === 'live',
    why: /** @type {any} */ (why),
    renewed: iso(ago(minutes)),
  });
  const running = record({ status: 'in_progress', changedMs: ago(9) });

  test.each(
    /** @type {[string, any, Name][]} */ ([
      ['nothing at all', {}, 'pending'],
      ['only the runner', { status: 'in_progress', changedMs: ago(1) }, 'running'],
      ['only the runner, long ago', { status: 'in_progress', changedMs: ago(16) }, 'interrupted'],
      ['a clock set back', { status: 'in_progress', changedMs: ago(-600) }, 'running'],
      ['a holder', { record: running, lease: lease('live', 0) }, 'running'],
      ['a holder of hours', { record: running, lease: lease('live', 300) }, 'running'],
      ['between two steps', { record: running, lease: lease('released', 9) }, 'running'],
      ['between two steps for long', { record: running, lease: lease('released', 20) }, 'running'],
      ['a dead holder', { record: running, lease: lease('dead', 0) }, 'interrupted'],
      ['an expired one', { record: running, lease: lease('expired', 2) }, 'interrupted'],
      ['another boot', { record: running, lease: lease('rebooted', 2) }, 'interrupted'],
      ['a damaged lease', { record: running, lease: { live: false, why: 'damaged' } }, 'running'],
      [
        'cut off after the runner completed it',
        { record: running, status: 'completed', lease: lease('dead', 0) },
        'completed',
      ],
      [
        'paused by us',
        { record: record({ state: 'paused', status: 'paused' }), status: 'paused' },
        'paused',
      ],
      [
        'paused by us, then somebody said it runs',
        { record: record({ state: 'paused', status: 'paused' }), changedMs: ago(1) },
        'running',
      ],
      [
        'interrupted, as is known',
        { record: { ...running, state: 'interrupted' }, lease: lease('dead', 9) },
        'interrupted',
      ],
      [
        'interrupted, and somebody holds it again',
        { record: { ...running, state: 'interrupted' }, lease: lease('live', 0) },
        'running',
      ],
      [
        'interrupted, and a runner without a lease went on',
        {
          record: { ...running, state: 'interrupted' },
          changedMs: ago(1),
          lease: lease('dead', 9),
        },
        'running',
      ],
      ['stale', { record: { ...running, state: 'stale' } }, 'stale'],
      [
        'stale, and somebody went on',
        { record: { ...running, state: 'stale' }, changedMs: ago(2) },
        'running',
      ],
      [
        'paused by us, then run.json was damaged',
        {
          record: record({ state: 'paused', status: 'paused' }),
          status: undefined,
          changedMs: ago(1),
          damage: 'cut off',
        },
        'paused',
      ],
      [
        'cut off, and run.json was damaged',
        { record: running, status: undefined, damage: 'cut off', lease: lease('dead', 0) },
        'interrupted',
      ],
      ['waiting for approval', { status: 'awaiting_approval', lease: lease('dead', 9) }, 'paused'],
    ]),
  )('%s', (_, seen, state) => {
    const known = { status: 'in_progress', changedMs: ago(9), ...seen };
    if (Object.keys(seen).length === 0) known.status = known.changedMs = undefined;
    expect(states.settle(known, now).state).toBe(state);
  });

  test('a pause is due at its step, or at the first behind it in the order of the file', () => {
    const order = [0, 1, 1.5, 'review', 2];
    /** @param {unknown} afterStep @param {unknown} step @param {unknown} [known] */
    const due = (afterStep, step, known = order) =>
      states.isDue(
        /** @type {any} */ ({ afterStep }),
        /** @type {any} */ (step),
        /** @type {any} */ (known),
      );
    expect(states.isDue(undefined, 1, order)).toBe(false);
    expect([0, 1, 1.5, 'review', 2].map((step) => due(1.5, step))).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
    expect(due(undefined, 0)).toBe(true);
    expect(due('review', 1.5)).toBe(false);
    expect(due('review', 2)).toBe(true);
    expect([due(1.5, 2, null), due(2, 1.5, null), due('review', 2, null)]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe('a run', () => {
  /** @type {ReturnType<typeof project>} */
  let at;
  /** @type {import('../index.js').CheckpointManager} */
  let manager;
  const runJson = () => readJson(path.join(at.dir, 'run.json'));
  /** @param {() => unknown} act @param {string} code */
  const refused = (act, code) => {
    try {
      act();
    } catch (error) {
      expect(error).toMatchObject({ code });
      return /** @type {Error} */ (error).message;
    }
    throw new Error(`not refused: ${code}`);
  };

  beforeEach(() => {
    at = project();
    manager = new waymark.CheckpointManager({ root: at.root });
  });

  test("moves, and the runner's record says so, with all else as it was", () => {
    const before = runJson();
    const paused = manager.moveRunState('run-1', 'paused', { by: 'me', reason: 'lunch' });
    expect(paused).toMatchObject({ state: 'paused', by: 'me', reason: 'lunch', pauses: 1 });
    expect(Object.keys(runJson())).toEqual(Object.keys(before));
    expect(runJson()).toEqual({ ...before, status: 'paused', updated_at: expect.any(String) });
    expect(runJson().updated_at).not.toBe(before.updated_at);
    expect(manager.moveRunState('run-1', 'running')).toMatchObject({
      state: 'running',
      resumes: 1,
    });
    expect(runJson().status).toBe('in_progress');
    // No word of the runner's: its own stays.
    const reasons = [{ reason: 'head_moved' }];
    expect(manager.moveRunState('run-1', 'stale', { stale: reasons })).toMatchObject({
      state: 'stale',
      stale: reasons,
      status: 'in_progress',
    });
    expect(manager.runState('run-1')).toMatchObject({ state: 'stale', stale: reasons });
    manager.moveRunState('run-1', 'cancelled');
    const over = manager.runState('run-1');
    expect(over).toMatchObject({ state: 'cancelled', pauses: 1, resumes: 1 });
    expect(over.stale).toBeUndefined();
    expect(runJson().status).toBe('cancelled');
  });

  test('is not moved where that is not legal; the way there is named, and nothing changed', () => {
    manager.moveRunState('run-1', 'completed', { by: 'me', reason: 'done elsewhere' });
    const before = fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8');
    const told = refused(() => manager.moveRunState('run-1', 'paused'), 'ERR_RUN_STATE');
    expect(told).toMatch(
      /is completed \(since .*, by me, done elsewhere\) and can't become paused/,
    );
    expect(told).toContain('completed → running → paused, where a step is named (--resume-step)');
    refused(() => manager.moveRunState('run-1', 'running'), 'ERR_RUN_STATE');
    refused(() => manager.pause('run-1'), 'ERR_RUN_STATE');
    expect(fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8')).toBe(before);
    expect(manager.moveRunState('run-1', 'running', { again: true }).state).toBe('running');
    expect(
      refused(
        () => manager.moveRunState('run-1', /** @type {any} */ ('asleep')),
        'ERR_OPTION_INVALID',
      ),
    ).toContain('pending, running');
    refused(() => manager.runState('nobody'), 'ERR_RUN_NOT_FOUND');
  });

  test.each(Object.entries(states.OF_STATUS))('that its runner calls %s is %s', (status, state) => {
    at.change({ status });
    expect(manager.runState('run-1')).toMatchObject({ state, status });
    if (states.isLegal(state, 'paused') && state !== 'running') {
      manager.moveRunState('run-1', 'paused');
      expect(runJson().status).toBe(state === 'paused' ? status : 'paused');
    }
  });

  test('that is paused without anybody at work is paused at once, and once', () => {
    expect(manager.pause('run-1', { reason: 'wait' })).toEqual({
      runId: 'run-1',
      state: 'paused',
      pending: false,
    });
    expect(manager.pause('run-1').state).toBe('paused');
    expect(manager.runState('run-1')).toMatchObject({
      pauses: 1,
      status: 'paused',
      pausedFor: { reason: 'wait' },
    });
    // The runner's tools say that it goes on: they are believed.
    at.change({ status: 'in_progress' });
    expect(manager.runState('run-1').state).toBe('running');
  });

  test('that waits for approval is paused beyond the approval, when asked to', () => {
    at.change({ status: 'awaiting_approval' });
    expect(manager.runState('run-1').pausedFor).toBeUndefined();
    expect(manager.pause('run-1', { reason: 'wait' })).toMatchObject({ pending: false });
    expect(manager.runState('run-1')).toMatchObject({
      state: 'paused',
      status: 'awaiting_approval',
      pausedFor: { reason: 'wait' },
    });
  });

  test('is paused behind a step that is to come; that can be taken back', () => {
    at.put('flow.yaml', 'steps:\n  - step: 1\n  - step: 1.5\n  - step: 2\n');
    const workflow = at.place('flow.yaml');
    expect(manager.pause('run-1', { afterStep: 1.5, workflow })).toEqual({
      runId: 'run-1',
      state: 'running',
      pending: true,
      afterStep: 1.5,
    });
    expect(manager.runState('run-1').pauseRequest).toMatchObject({ afterStep: 1.5 });
    expect(manager.withdrawPause('run-1')).toEqual({ runId: 'run-1', withdrawn: true });
    expect(manager.withdrawPause('run-1').withdrawn).toBe(false);
    const told = refused(
      () => manager.pause('run-1', { afterStep: 7, workflow }),
      'ERR_WORKFLOW_STEP_MISSING',
    );
    expect(told).toContain('it lists 1, 1.5, 2');
    // Also by the file that the run itself names, and not at all where that is not there.
    at.change({ selected_workflow: 'flow.yaml' });
    refused(() => manager.pause('run-1', { afterStep: 7 }), 'ERR_WORKFLOW_STEP_MISSING');
    at.change({ selected_workflow: 'gone.yaml' });
    expect(manager.pause('run-1', { afterStep: 7 }).pending).toBe(true);
    refused(
      () => manager.pause('run-1', { afterStep: 7, workflow: at.place('gone.yaml') }),
      'ERR_WORKFLOW_NOT_FOUND',
    );
  });

  test('with a runner of one’s own: a boundary checks, takes the checkpoint and pauses', async () => {
    at.put('flow.yaml', 'steps:\n  - step: 0\n  - step: 1\n  - step: 2\n');
    const workflow = at.place('flow.yaml');
    expect(await manager.boundary('run-1', 0, { n: 0 })).toEqual({ paused: false });
    manager.pause('run-1', { afterStep: 0, workflow, reason: 'look' });
    // Step 0 was passed meanwhile.
    const told = await manager.boundary('run-1', 1, { n: 1 }, { workflow, keepLast: 3 });
    expect(told).toMatchObject({ paused: true, reason: 'look', checkpoint: { step: 1 } });
    expect(manager.listSync('run-1').map((one) => one.step)).toEqual([1]);
    expect(manager.runState('run-1')).toMatchObject({ state: 'paused', lastStep: 1 });
    expect(manager.runState('run-1').pauseRequest).toBeUndefined();
  });

  test('whose lock was left behind by a process that is gone is moved all the same', () => {
    writeJson(path.join(at.dir, 'run.json.lock'), { pid: 2 ** 22 + 1, timestamp: '' });
    manager.moveRunState('run-1', 'paused');
    expect(runJson().status).toBe('paused');
    expect(fs.existsSync(path.join(at.dir, 'run.json.lock'))).toBe(false);
  });

  test('and others are seen at one glance, the one that changed last first', async () => {
    for (const [runId, status] of [
      ['done', 'completed'],
      ['old', 'in_progress'],
      ['bare', 'pending'],
    ]) {
      addRun(at.runsDir, runId, { record: { status } });
    }
    fs.mkdirSync(path.join(at.runsDir, 'no-run'));
    manager.createSync('run-1', 1.5, {});
    const past = new Date(Date.now() - 3_600_000);
    fs.utimesSync(path.join(at.runsDir, 'old', 'run.json'), past, past);
    const rows = await manager.runs();
    expect(rows.map((row) => row.runId).at(-1)).toBe('old');
    const by = Object.fromEntries(rows.map((row) => [row.runId, row]));
    expect(Object.keys(by).sort()).toEqual(['bare', 'done', 'old', 'run-1']);
    expect(by['run-1']).toMatchObject({
      state: 'running',
      resumable: true,
      checkpoint: { step: 1.5 },
      bytes: expect.any(Number),
      way: expect.stringContaining('waymark resume run-1 -- node'),
    });
    expect(by.done).toMatchObject({ state: 'completed', resumable: false, why: 'it is completed' });
    expect(by.bare).toMatchObject({ resumable: false, why: expect.stringContaining('first step') });
    // Nobody holds it, and nothing was heard for an hour.
    expect(by.old).toMatchObject({
      state: 'interrupted',
      interruptions: 1,
      interruption: { why: 'quiet', at: past.toISOString() },
    });
    expect(manager.runState('old')).toMatchObject({ state: 'interrupted', interruptions: 1 });
    const some = await manager.runs({ states: ['interrupted', 'completed'] });
    expect(some.map((row) => row.runId).sort()).toEqual(['done', 'old']);
    expect(await manager.runs({ quietMs: 7_200_000, note: false })).toHaveLength(4);
    await expect(manager.runs({ states: /** @type {any} */ (['asleep']) })).rejects.toMatchObject({
      code: 'ERR_OPTION_INVALID',
    });
    await expect(manager.status('nobody')).rejects.toMatchObject({ code: 'ERR_RUN_NOT_FOUND' });
  });

  test('what was seen at the last look is believed only while nothing of it has changed', async () => {
    manager.createSync('run-1', 1, {});
    addRun(at.runsDir, 'other');
    const past = new Date(Date.now() - 60_000);
    const age = () => {
      for (const runId of ['run-1', 'other']) {
        for (const name of [
          'run.json',
          path.join('checkpoints', '.waymark', 'records', 'run-state.json'),
        ]) {
          const file = path.join(at.runsDir, runId, name);
          if (fs.existsSync(file)) fs.utimesSync(file, past, past);
        }
      }
    };
    const seen = async () =>
      Object.fromEntries((await manager.runs()).map(({ runId, state }) => [runId, state]));
    age();
    expect(await seen()).toEqual({ 'run-1': 'running', other: 'running' });
    const kept = path.join(at.root, '.waymark', 'records', 'glance-0.json');
    expect(fs.existsSync(kept)).toBe(true);
    expect(await seen()).toEqual({ 'run-1': 'running', other: 'running' });
    manager.moveRunState('run-1', 'paused');
    writeJson(path.join(at.runsDir, 'other', 'run.json'), { run_id: 'other', status: 'failed' });
    expect(await seen()).toEqual({ 'run-1': 'paused', other: 'failed' });
    age();
    expect(await seen()).toEqual({ 'run-1': 'paused', other: 'failed' });
    fs.rmSync(path.join(at.runsDir, 'other'), { recursive: true });
    expect(await seen()).toEqual({ 'run-1': 'paused' });
    // Damaged, it is none.
    fs.writeFileSync(kept, 'x');
    expect(await seen()).toEqual({ 'run-1': 'paused' });
  });

  test('whose record is damaged is told of, and hides no other', async () => {
    addRun(at.runsDir, 'other');
    manager.moveRunState('run-1', 'paused');
    const file = path.join(at.checkpoints, '.waymark', 'records', 'run-state.json');
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').slice(0, -20));
    const rows = await manager.runs();
    const damaged = rows.find((row) => row.runId === 'run-1');
    expect(damaged).toMatchObject({ state: 'paused', resumable: false });
    expect(damaged?.problem).toContain('ERR_RECORD_DAMAGED');
    expect(rows.find((row) => row.runId === 'other')?.problem).toBeUndefined();
    refused(() => manager.runState('run-1'), 'ERR_RECORD_DAMAGED');
  });

  test('whose run.json is damaged is what it was, and that is told', async () => {
    manager.createSync('run-1', 1, {});
    manager.moveRunState('run-1', 'paused', { reason: 'lunch' });
    const file = path.join(at.dir, 'run.json');
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').slice(0, 40));
    const problem = expect.stringMatching(/^run\.json is damaged \(.+\); a restore puts it back$/);
    const told = { state: 'paused', reason: 'lunch', resumable: true, problem };
    expect(await manager.status('run-1')).toMatchObject(told);
    expect(await manager.runs()).toMatchObject([told]);
    const { stdout } = await command(['status', 'run-1'], { cwd: at.root });
    expect(stdout).toContain('  problem     run.json is damaged (');
    await manager.restore('run-1');
    expect((await manager.status('run-1')).problem).toBeUndefined();
  });

  test('whose lease is damaged: nothing is said of who has it', async () => {
    manager.leaseSync('run-1', { keep: false });
    fs.writeFileSync(path.join(at.checkpoints, '.waymark', 'lease'), '{"hol');
    const { holder, why } = await manager.status('run-1');
    expect(why).toMatch(/^held by unknown \(the file of its lease is damaged\) since /);
    const { stdout } = await command(['status', 'run-1'], { cwd: at.root });
    expect(stdout).toContain(
      `  held       unknown (the file of its lease is damaged) until ${holder?.until}\n`,
    );
    const asked = await command(['pause', 'run-1'], { cwd: at.root });
    expect(asked.stdout).toBe(
      'run run-1 is paused when its step is done; unknown (the file of its lease is damaged) is at work\n',
    );
  });

  test('is held by one at a time', () => {
    const first = manager.leaseSync('run-1', { holder: 'first', keep: false });
    const told = refused(() => manager.leaseSync('run-1', { holder: 'second' }), 'ERR_LEASE_HELD');
    expect(told).toContain('first');
    expect(first.lost).toBe(false);
    expect(manager.runState('run-1').holder).toMatchObject({ holder: 'first', pid: process.pid });
    // Whoever holds it changes it.
    manager.createSync('run-1', 1, {});
    expect(manager.pause('run-1')).toMatchObject({ pending: true, holder: { holder: 'first' } });
    expect(Date.parse(first.renewSync().expires)).toBeGreaterThan(Date.now());
    expect(first.releaseSync()).toBe(true);
    expect(first.lost).toBe(true);
    expect(first.releaseSync()).toBe(false);
    const second = manager.leaseSync('run-1', { holder: 'second' });
    expect(second.token).toBeGreaterThan(first.token);
    expect(second.environment).toEqual({ WAYMARK_LEASE: `run-1=${second.token}` });
    refused(() => first.renewSync(), 'ERR_LEASE_LOST');
    second.releaseSync();
  });
});
