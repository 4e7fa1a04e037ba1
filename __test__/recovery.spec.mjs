// Recovery: what failures are, what is done about them, and that nothing of it is forgotten.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import backoff from '../lib/recovery/backoff.js';
import breaker from '../lib/recovery/breaker.js';
import failure from '../lib/recovery/failure.js';
import history from '../lib/recovery/history.js';
import pursuing from '../lib/recovery/pursue.js';
import rules from '../lib/recovery/rules.js';
import { project, removeAll, repo, writeJson } from './support/project.mjs';

afterAll(removeAll);

const { classOf, likeness, signatureOf, summaryOf } = failure;

describe('classes', () => {
  /** @type {[string, any][]} */
  const cases = [
    ['timeout', { kind: 'time_limit', signal: 'SIGTERM' }],
    ['stalled', { kind: 'stalled', signal: 'SIGKILL' }],
    ['not_started', { kind: 'not_started', error: { code: 'ENOENT', message: 'spawn x ENOENT' } }],
    ['not_started', { kind: 'exit', exitCode: 127 }],
    ['lease', { kind: 'exit', exitCode: 1, output: "can't start: held [ERR_LEASE_HELD]" }],
    ['disk_full', { kind: 'error', error: { code: 'ENOSPC', message: 'no space' } }],
    ['memory', { kind: 'exit', exitCode: 42 }],
    ['memory', { kind: 'signal', signal: 'SIGABRT', output: 'JavaScript heap out of memory' }],
    ['crash', { kind: 'signal', signal: 'SIGSEGV' }],
    ['crash', { kind: 'exit', exitCode: 139 }],
    ['killed', { kind: 'signal', signal: 'SIGKILL' }],
    ['stopped', { kind: 'signal', signal: 'SIGTERM' }],
    ['network', { kind: 'exit', exitCode: 1, output: 'Error: read ECONNRESET\n    at x' }],
    ['overloaded', { kind: 'error', error: { message: 'HTTP 429 Too Many Requests' } }],
    ['permission', { kind: 'error', error: { code: 'EACCES', message: 'no' } }],
    ['missing', { kind: 'exit', exitCode: 1, output: 'ENOENT: no such file' }],
    ['checkpoint', { kind: 'exit', exitCode: 1, output: "can't resume: no [ERR_NO_CHECKPOINT]" }],
    ['status', { kind: 'status', status: 'failed', exitCode: 0 }],
    ['unexpected', { kind: 'exit', exitCode: 2 }],
    ['error', { kind: 'exit', exitCode: 1 }],
    ['error', { kind: 'error', error: { message: 'no' } }],
  ];
  test.each(cases)('%s', (name, end) => {
    expect(classOf(end)).toBe(name);
    expect(rules.CLASS_NAMES).toContain(name);
  });

  test("the configuration's come first", () => {
    const own = [{ class: 'quota', text: 'quota exceeded' }];
    const end = /** @type {const} */ ({ kind: 'exit', exitCode: 42, output: 'Quota exceeded' });
    expect(classOf(end, own)).toBe('quota');
    expect(classOf({ ...end, output: '' }, own)).toBe('memory');
  });
});

describe('what is alike', () => {
  const end = (/** @type {string} */ output) =>
    /** @type {const} */ ({ kind: 'exit', exitCode: 1, output });
  test('numbers, paths, ids and quoted text make no difference; the rest does', () => {
    const one = signatureOf('error', end('Error: can not read "/a/b" after 12 ms (id 0badc0de99)'));
    const same = signatureOf('error', end('Error: can not read "/x" after 7 ms (id deadbeef00)'));
    expect(same).toBe(one);
    expect(signatureOf('error', end('Error: can not write "/x" after 7 ms'))).not.toBe(one);
    expect(signatureOf('network', end('Error: can not read "/a/b" after 12 ms'))).not.toBe(one);
  });

  test('what helped before is known', () => {
    const make = (/** @type {number} */ step, /** @type {any} */ recovery) =>
      /** @type {any} */ ({ signature: 's', step, at: `2026-01-0${step}`, recovery });
    const earlier = [
      make(1, { success: true, strategy: 'retry' }),
      make(2, { success: true, strategy: 'reassign' }),
      make(3, { success: false, strategy: 'manual' }),
      { ...make(1, null), signature: 'other' },
    ];
    expect(likeness({ signature: 's', step: 2 }, earlier)).toEqual({
      count: 3,
      sameStep: 1,
      last: '2026-01-03',
      recoveredBy: { retry: 1, reassign: 1 },
    });
  });

  test('one line says what was wrong', () => {
    const output = 'starting\nTypeError: x is no function\n    at y (z.js:1)\nNode.js v20\n';
    expect(summaryOf({ kind: 'exit', exitCode: 1, output })).toBe(
      'ended with exit code 1: TypeError: x is no function',
    );
    expect(summaryOf({ kind: 'time_limit' })).toBe('took longer than its time limit');
  });
});

describe('backoff', () => {
  const how = { delayMs: 100, factor: 3, maxDelayMs: 1_000, jitter: 0.5 };
  test('grows up to its limit, and chance takes a share away', () => {
    const full = [1, 2, 3, 4].map((n) => backoff.delayOf(n, how, () => 0));
    expect(full).toEqual([100, 300, 900, 1_000]);
    expect(backoff.delayOf(2, how, () => 0.999999)).toBe(150);
    expect(backoff.delayOf(2, { ...how, jitter: 0 }, () => 0.7)).toBe(300);
  });
});

describe('breaker', () => {
  const settings = {
    ...breaker.BREAKER,
    failures: 3,
    windowMs: 1_000,
    openMs: 100,
    maxOpenMs: 300,
  };
  const { enter, failed, fresh, succeeded } = breaker;
  const open = () => {
    let kept = fresh(0);
    for (const at of [10, 20, 30]) kept = failed(kept, at, settings, 'crash');
    return kept;
  };

  test('opens after so many failures within so long, not by others', () => {
    expect(open()).toMatchObject({ state: 'open', until: 130, openings: 1 });
    let slow = fresh(0);
    for (const at of [0, 600, 1_200, 1_800]) slow = failed(slow, at, settings, 'crash');
    expect(slow.state).toBe('closed');
    let other = fresh(0);
    for (const at of [1, 2, 3, 4]) other = failed(other, at, settings, 'error');
    expect(other.state).toBe('closed');
  });

  test('half-open lets one try; it closes when that works, and opens for longer when not', () => {
    expect(enter(open(), 129, settings, 'a')).toMatchObject({ allowed: false, until: 130 });
    const { allowed, kept } = enter(open(), 130, settings, 'a');
    expect([allowed, kept.state]).toEqual([true, 'half-open']);
    expect(enter(kept, 131, settings, 'b').allowed).toBe(false);
    expect(enter(kept, 131, settings, 'a').allowed).toBe(true);
    // One that tries for too long does not keep the others out.
    expect(enter(kept, 131 + settings.probeMs, settings, 'b').allowed).toBe(true);
    expect(succeeded(kept, 140)).toEqual(fresh(140));
    expect(failed(kept, 140, settings, 'crash')).toMatchObject({ state: 'open', until: 340 });
    expect(failed(kept, 140, settings, 'error')).toMatchObject({ state: 'half-open', probe: null });
  });

  test('is never open for longer than its limit, also where the clock was set back', () => {
    let kept = open();
    for (let n = 0; n < 5; n += 1)
      kept = failed({ ...kept, state: 'half-open' }, 0, settings, 'crash');
    expect(kept.until).toBe(300);
    const later = { ...kept, until: 10_000_000 };
    expect(enter(later, 1_000, settings, 'a')).toMatchObject({ allowed: false, until: 1_300 });
  });
});

describe('rules', () => {
  const settled = rules.settle({ workers: { large: { env: { A: '1' } }, other: {} } });
  const one = (/** @type {any} */ facts) => ({
    class: 'error',
    step: 1,
    worker: 'default',
    ...facts,
  });
  const chosen = (/** @type {string} */ kind, worker = 'default') =>
    /** @type {any} */ ({ chosen: { kind }, worker });
  const choose = (/** @type {any} */ facts, /** @type {any[]} */ series = [], splits = false) => {
    const { kind, worker } = rules.choose(settled, one(facts), series, { splits });
    return worker === undefined ? kind : `${kind} ${worker}`;
  };

  test('each strategy until its limit, then the next', () => {
    expect(choose({})).toBe('retry');
    const twice = [chosen('retry'), chosen('retry')];
    expect(choose({}, twice)).toBe('reassign large');
    const moved = [...twice, chosen('reassign', 'default')];
    expect(choose({ worker: 'large' }, moved)).toBe('reassign other');
    const all = [...moved, chosen('reassign', 'large')];
    expect(choose({ worker: 'other' }, all)).toBe('manual');
  });

  test('a class has rules of its own', () => {
    expect(choose({ class: 'permission' })).toBe('manual');
    expect(choose({ class: 'lease' })).toBe('fail');
    const memory = [chosen('retry'), chosen('reassign', 'default'), chosen('reassign', 'large')];
    expect(choose({ class: 'memory', worker: 'other' }, memory, true)).toBe('decompose');
    expect(choose({ class: 'memory', worker: 'other' }, memory, false)).toBe('manual');
    const split = [...memory, chosen('decompose', 'other')];
    expect(choose({ class: 'memory', worker: 'other' }, split, true)).toBe('manual');
  });

  test("the configuration's come first; its last word counts", () => {
    const own = rules.settle(
      { rules: [{ name: 'a', when: { step: [1] }, do: [{ fail: {} }] }], timeLimitMs: 5 },
      {
        rules: [{ name: 'b', when: { step: [1.5] }, do: [{ retry: { limit: 9 } }] }],
        timeLimitMs: 6,
      },
    );
    expect(rules.choose(own, one({}), [], { splits: false })).toMatchObject({
      kind: 'fail',
      rule: 'a',
    });
    expect(rules.choose(own, one({ step: 1.5 }), [], { splits: false }).how).toEqual({ limit: 9 });
    expect(own.timeLimitMs).toBe(6);
  });

  /** @type {[string, any][]} */
  const wrong = [
    ['recovery must be an object', []],
    ['recovery.retries is not known', { retries: 1 }],
    ['recovery.timeLimitMs must be', { timeLimitMs: 0 }],
    ['recovery.restore must be', { restore: 'none' }],
    ['recovery.splitter must be', { splitter: '' }],
    ['recovery.rules must be an array', { rules: {} }],
    ['recovery.rules[0].name must', { rules: [{ do: [{ fail: {} }] }] }],
    ['recovery.rules[0].do must', { rules: [{ name: 'x', do: [] }] }],
    ['recovery.rules[0].do[0] must', { rules: [{ name: 'x', do: [{ retry: {}, fail: {} }] }] }],
    [
      'recovery.rules[0].do[0].retry.limits is not known',
      { rules: [{ name: 'x', do: [{ retry: { limits: 1 } }] }] },
    ],
    [
      'recovery.rules[0].do[0].retry.jitter must',
      { rules: [{ name: 'x', do: [{ retry: { jitter: 2 } }] }] },
    ],
    [
      'recovery.rules[0].do[0].retry.factor must',
      { rules: [{ name: 'x', do: [{ retry: { factor: 0 } }] }] },
    ],
    [
      'recovery.rules[0].do[0].manual.waitMs must',
      { rules: [{ name: 'x', do: [{ manual: { waitMs: 'long' } }] }] },
    ],
    [
      'recovery.rules[0].when.error is not known',
      { rules: [{ name: 'x', when: { error: [] }, do: [{ fail: {} }] }] },
    ],
    [
      'recovery.rules[0].when.step must',
      { rules: [{ name: 'x', when: { step: [] }, do: [{ fail: {} }] }] },
    ],
    ['names the worker gpu', { rules: [{ name: 'x', do: [{ reassign: { to: ['gpu'] } }] }] }],
    ['recovery.classes[0].text must', { classes: [{ class: 'x', text: '(' }] }],
    ['recovery.classes[0] must say', { classes: [{ class: 'x' }] }],
    ['recovery.workers.A: a worker', { workers: { A: {} } }],
    ['recovery.workers.a.env must', { workers: { a: { env: { X: 1 } } } }],
    ['recovery.workers.a.command must', { workers: { a: { command: [] } } }],
    ['recovery.breaker.open is not known', { breaker: { open: 1 } }],
    ['recovery.breaker.failures must', { breaker: { failures: 0 } }],
  ];
  test.each(wrong)('%s', (text, settings) => {
    expect(rules.recoveryProblem(settings)).toContain(text);
  });

  test('what is wrong in the configuration is told with the file', () => {
    const { root, runId } = project();
    writeJson(path.join(root, 'waymark.config.json'), { recovery: { rules: 1 } });
    expect(() => new waymark.CheckpointManager({ root }).recovery(runId)).toThrow(
      expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }),
    );
    expect(() =>
      new waymark.CheckpointManager({ root }).recovery(runId, /** @type {any} */ ({ x: 1 })),
    ).toThrow();
  });
});

test('the document has a row for each class and rule, and names all settings', () => {
  const text = fs.readFileSync(path.join(repo, 'docs', 'supervisor.md'), 'utf8');
  for (const name of rules.CLASS_NAMES) expect(text).toContain(`| \`${name}\` |`);
  for (const { name } of rules.RULES) expect(text).toContain(`| ${name} |`);
  for (const name of Object.keys(rules.STRATEGIES)) expect(text).toContain(`| \`${name}\` |`);
  for (const name of Object.keys(breaker.BREAKER)) expect(text).toContain(`\`${name}\``);
});

describe('numbers', () => {
  test('series, not failures, are recovered', () => {
    const make = (/** @type {any} */ recovery, step = 1) =>
      /** @type {any} */ ({ step, class: 'error', recovery });
    const a = { success: true, strategy: 'retry', at: 'a', ms: 100 };
    const b = { success: false, strategy: 'manual', at: 'b', ms: 50 };
    expect(history.summaryOf([make(a), make(a), make(b, 2), make(null, 3)])).toEqual({
      failures: 4,
      open: 1,
      recovered: 1,
      lost: 1,
      ms: 150,
      byStrategy: {
        retry: { recovered: 1, lost: 0, ms: 100 },
        manual: { recovered: 0, lost: 1, ms: 50 },
      },
      byClass: { error: 4 },
    });
  });

  test('what is open is kept longest', () => {
    const open = Array.from(
      { length: 10 },
      (_, n) => /** @type {any} */ ({ id: `o${n}`, recovery: null }),
    );
    const done = Array.from(
      { length: 120 },
      (_, n) => /** @type {any} */ ({ id: `d${n}`, recovery: {} }),
    );
    const kept = history.bounded([...open, ...done]).map((one) => one.id);
    expect(kept).toHaveLength(100);
    expect(kept.slice(0, 10)).toEqual(open.map((one) => one.id));
    expect(kept.at(-1)).toBe('d119');
  });
});

/** Work that fails as often as it is told to. @param {number} times @param {Error} [error] */
function failing(times, error = new Error('no')) {
  let n = 0;
  return () => {
    n += 1;
    if (n <= times) throw error;
    return n;
  };
}

const quick = (/** @type {object[]} */ ...list) => ({
  rules: [{ name: 'quick', do: /** @type {any} */ (list) }],
});
const RETRY = { retry: { limit: 2, delayMs: 1 } };

describe('work by the rules', () => {
  test('is repeated until it is done; time, strategy and success are kept', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    const recovery = manager.recovery(runId, quick(RETRY, { fail: {} }));
    /** @type {string[]} */
    const told = [];
    const onEvent = (/** @type {any} */ { kind }) => told.push(kind);
    const outcome = await recovery.attempt(1.5, failing(2), { onEvent });
    expect(outcome).toMatchObject({ how: 'done', result: 3, attempts: 3, strategy: 'retry' });
    expect(told).toEqual(['failed', 'failed', 'recovered']);
    const failures = await manager.recovery(runId).failures();
    expect(
      failures.map((one) => [one.step, one.attempt, one.chosen?.kind, one.recovery?.success]),
    ).toEqual([
      [1.5, 1, 'retry', true],
      [1.5, 2, 'retry', true],
    ]);
    expect(failures[1].like).toMatchObject({ count: 1, inProject: { count: 1, runs: 1 } });
    expect(await recovery.summary()).toMatchObject({
      recovered: 1,
      open: 0,
      byStrategy: { retry: { recovered: 1 } },
    });
  });

  test('is not done again because it can not be noted that it is done', async () => {
    /** @type {any[]} */
    const told = [];
    let times = 0;
    const ground = /** @type {any} */ ({
      settled: { workers: { default: {} } },
      history: { all: async () => [], add: async () => expect(true).toBe(false) },
      breakers: {
        enter: async () => ({ allowed: true, until: null }),
        succeeded: async () => {
          throw new Error('the disk is full');
        },
      },
      tell: (/** @type {any} */ event) => told.push(event),
    });
    const work = async () => {
      times += 1;
      return 'made';
    };
    expect(await pursuing.pursue(ground, { step: 1, work })).toMatchObject({
      how: 'done',
      result: 'made',
    });
    expect(times).toBe(1);
    expect(told).toEqual([
      {
        kind: 'complains',
        message: expect.stringMatching(/^step 1 is done, .*the disk is full$/),
      },
    ]);
  });

  test('fails when nothing helps, and a new start is a new series', async () => {
    const { root, runId } = project();
    const recovery = new waymark.CheckpointManager({ root }).recovery(
      runId,
      quick(RETRY, { fail: {} }),
    );
    const work = failing(4);
    expect(await recovery.attempt(1, work)).toMatchObject({ how: 'failed', attempts: 3 });
    expect(await recovery.attempt(1, work)).toMatchObject({
      how: 'done',
      attempts: 2,
      strategy: 'retry',
    });
    expect(await recovery.summary()).toMatchObject({ lost: 1, recovered: 1 });
  });

  test('goes on counting where another process was killed', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    const aborter = new AbortController();
    const slow = manager.recovery(
      runId,
      quick({ retry: { limit: 1, delayMs: 60_000 } }, { fail: {} }),
    );
    const onEvent = () => aborter.abort();
    const work = failing(9);
    await expect(
      slow.attempt('a', work, { signal: aborter.signal, onEvent }),
    ).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    // The retry that was chosen is made, and it was the only one.
    expect(await slow.attempt('a', work)).toMatchObject({ how: 'failed', attempts: 1 });
  });

  test('goes to another worker', async () => {
    const { root, runId } = project();
    const settings = { ...quick({ reassign: {} }, { fail: {} }), workers: { large: {}, huge: {} } };
    const recovery = new waymark.CheckpointManager({ root }).recovery(runId, settings);
    /** @type {string[]} */
    const seen = [];
    const outcome = await recovery.attempt(1, ({ worker }) => {
      seen.push(worker);
      if (worker !== 'huge') throw new Error('too small');
    });
    expect(seen).toEqual(['default', 'large', 'huge']);
    expect(outcome).toMatchObject({ how: 'done', worker: 'huge', strategy: 'reassign' });
  });

  test('has a time limit', async () => {
    const { root, runId } = project();
    const recovery = new waymark.CheckpointManager({ root }).recovery(runId, quick({ fail: {} }));
    /** @type {AbortSignal | undefined} */
    let given;
    const outcome = await recovery.attempt(
      1,
      ({ signal }) => {
        given = signal;
        return new Promise(() => {});
      },
      { timeLimitMs: 5 },
    );
    expect(outcome).toMatchObject({ how: 'failed', failure: { class: 'timeout' } });
    expect(given?.aborted).toBe(true);
  });

  test('misuse is told', async () => {
    const { root, runId } = project();
    const recovery = new waymark.CheckpointManager({ root }).recovery(runId);
    const code = 'ERR_OPTION_INVALID';
    await expect(recovery.attempt(1, /** @type {any} */ (1))).rejects.toMatchObject({ code });
    await expect(recovery.attempt(1, () => {}, { split: () => [] })).rejects.toMatchObject({
      code,
    });
    await expect(recovery.resetBreaker('A B')).rejects.toMatchObject({ code });
  });
});

describe('in parts', () => {
  const settings = quick({ decompose: {} }, { fail: {} });
  const split = () => [{ name: 'a' }, { name: 'b' }, { name: 'c' }];
  const merge = (/** @type {any} */ { parts }) =>
    parts.map((/** @type {any} */ one) => one.result).join('+');

  test('the parts are done in runs of their own, linked, and their results are one', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    manager.createSync(runId, 1);
    const recovery = manager.recovery(runId, settings);
    const outcome = await recovery.attempt(
      2,
      ({ part, runId: run }) => {
        if (part === undefined) throw new Error('too large');
        expect(run).not.toBe(runId);
        return part.name.toUpperCase();
      },
      { split, merge },
    );
    expect(outcome).toMatchObject({
      how: 'done',
      strategy: 'decompose',
      result: { result: 'A+B+C' },
    });
    const { subtasks } = /** @type {any} */ (outcome.result);
    expect(subtasks).toHaveLength(3);
    for (const { run, checkpoint } of subtasks) {
      const shown = manager.showSync(run, checkpoint);
      expect(/** @type {any} */ (shown.checkpoint).facts.parent.run).toBe(runId);
      expect(shown.checkpoint.step_state).toMatchObject({ result: expect.any(String) });
    }
    const made = await manager.create(runId, 2, {}, { facts: { subtasks } });
    const tree = await manager.tree(runId);
    expect(JSON.stringify(tree)).toContain(subtasks[0].run);
    expect(made.step).toBe(2);
  });

  test('a part that is done is not done again, and nothing is split twice', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    manager.createSync(runId, 1);
    /** @type {string[]} */
    const done = [];
    let splits = 0;
    const aborter = new AbortController();
    const work = (/** @type {any} */ { part }) => {
      if (part === undefined) throw new Error('too large');
      done.push(part.name);
      if (part.name === 'b' && !aborter.signal.aborted) aborter.abort();
      return part.name;
    };
    const options = {
      split: () => {
        splits += 1;
        return split();
      },
      merge,
    };
    const first = manager
      .recovery(runId, settings)
      .attempt(2, work, { ...options, signal: aborter.signal });
    await expect(first).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    const outcome = await manager.recovery(runId, settings).attempt(2, work, options);
    expect(outcome.result).toMatchObject({ result: 'a+b+c' });
    expect(splits).toBe(1);
    expect(done.filter((name) => name === 'a')).toHaveLength(1);
    expect(done.at(-1)).toBe('c');
  });

  test('a splitter that gives nonsense, and a part that fails', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    manager.createSync(runId, 1);
    const recovery = manager.recovery(runId, settings);
    const work = (/** @type {any} */ { part }) => {
      throw new Error(part === undefined ? 'too large' : 'no');
    };
    for (const parts of [[], [{ name: '../x' }], [{ name: 'a' }, { name: 'a' }]]) {
      const outcome = await recovery.attempt(3, work, { split: () => parts, merge });
      expect(outcome.failure?.error?.code).toBe('ERR_RECOVERY_SPLIT_INVALID');
    }
    const outcome = await recovery.attempt(4, work, { split, merge });
    expect(outcome).toMatchObject({
      how: 'failed',
      failure: { error: { code: 'ERR_RECOVERY_PART_FAILED' } },
    });
  });
});

describe('a decision', () => {
  /** @param {any} [manual] */
  const settings = (manual = {}) => ({
    ...quick({ manual: { suggest: 'look at the sky', ...manual } }),
    workers: { large: {} },
  });

  test('is asked for with a report, and waits until it comes', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    const { checkpointId } = manager.createSync(runId, 1);
    const work = failing(1, Object.assign(new Error('broken'), { code: 'EBROKEN' }));
    const recovery = manager.recovery(runId, settings());
    const paused = await recovery.attempt(2, work);
    expect(paused).toMatchObject({ how: 'paused', reason: 'decision' });
    const question = /** @type {import('../index.js').RecoveryQuestion} */ (
      await recovery.question()
    );
    expect(question).toMatchObject({
      step: 2,
      options: ['retry', 'skip', 'reassign', 'abort'],
      workers: ['large'],
    });
    const report = fs.readFileSync(question.report, 'utf8');
    for (const text of ['EBROKEN', 'look at the sky', checkpointId, 'waymark decide', 'broken']) {
      expect(report).toContain(text);
    }
    // Nobody has decided: it is not tried again.
    await manager.pause(runId, { reason: 'it failed' });
    expect(await manager.status(runId)).toMatchObject({
      state: 'paused',
      way: `waymark decide ${runId} retry|skip|reassign|abort`,
    });
    expect(await recovery.attempt(2, work)).toMatchObject({ how: 'paused', attempts: 0 });
    const answer = await manager
      .recovery(runId)
      .decide({ decision: 'retry', note: 'mended', by: 'me' });
    expect(answer).toMatchObject({ decision: 'retry', via: 'api', by: 'me', note: 'mended' });
    expect(await recovery.attempt(2, work)).toMatchObject({ how: 'done', strategy: 'manual' });
    expect(await recovery.question()).toBeNull();
    expect(await recovery.summary()).toMatchObject({
      recovered: 1,
      byStrategy: { manual: { recovered: 1 } },
    });
  });

  test.each(['skip', 'abort', 'reassign'])('%s', async (decision) => {
    const { root, runId } = project();
    const recovery = new waymark.CheckpointManager({ root }).recovery(runId, settings());
    /** @type {string[]} */
    const workers = [];
    const work = (/** @type {any} */ { worker }) => {
      workers.push(worker);
      if (worker === 'default') throw new Error('no');
    };
    await recovery.attempt(2, work);
    const worker = decision === 'reassign' ? 'large' : undefined;
    await recovery.decide({ decision: /** @type {any} */ (decision), worker });
    const how = { skip: 'skipped', abort: 'failed', reassign: 'done' }[decision];
    expect(await recovery.attempt(2, work)).toMatchObject({ how });
    expect(workers).toEqual(decision === 'reassign' ? ['default', 'large'] : ['default']);
  });

  test('can come from a file while the process waits, and a broken file is told', async () => {
    const { root, runId, checkpoints } = project();
    const recovery = new waymark.CheckpointManager({ root }).recovery(
      runId,
      settings({ waitMs: 'forever' }),
    );
    const file = path.join(checkpoints, 'recovery', 'decision.json');
    /** @type {string[]} */
    const told = [];
    const onEvent = (/** @type {any} */ { kind }) => {
      told.push(kind);
      if (kind === 'asks') setImmediate(() => fs.writeFileSync(file, '{ "decision"'));
      if (kind === 'complains') writeJson(file, { decision: 'retry', by: 'ops' });
    };
    expect(await recovery.attempt(2, failing(1), { onEvent })).toMatchObject({
      how: 'done',
      strategy: 'manual',
    });
    expect(told).toEqual(['failed', 'asks', 'complains', 'recovered']);
    expect(fs.existsSync(file)).toBe(false);
    expect((await recovery.failures())[0].decided).toMatchObject({ via: 'file', by: 'ops' });
  });

  test('several can wait; each answer is for one of them', async () => {
    const { root, runId } = project();
    const recovery = new waymark.CheckpointManager({ root }).recovery(runId, settings());
    const [one, two] = [failing(1), failing(1)];
    await recovery.attempt(1, one);
    await recovery.attempt(1.5, two);
    const ids = (await recovery.questions()).map((each) => each.question.failureId);
    expect(ids).toHaveLength(2);
    await expect(recovery.decide({ decision: 'retry' })).rejects.toMatchObject({
      code: 'ERR_DECISION_INVALID',
      message: expect.stringContaining(ids[1]),
    });
    await recovery.decide({ decision: 'skip', failureId: ids[1] });
    // Now there is but one that has no answer.
    await recovery.decide({ decision: 'retry' });
    expect(await recovery.question()).toBeNull();
    expect(await recovery.attempt(1, one)).toMatchObject({ how: 'done' });
    expect(await recovery.attempt(1.5, two)).toMatchObject({ how: 'skipped' });
    expect(await recovery.questions()).toEqual([]);
  });

  test('about a part makes the whole wait; the parts that are done stay done', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    manager.createSync(runId, 1);
    const recovery = manager.recovery(runId, {
      rules: [
        { name: 'parts', when: { class: ['memory'] }, do: [{ decompose: {} }] },
        { name: 'ask', do: [{ manual: {} }] },
      ],
    });
    /** @type {string[]} */
    const done = [];
    let isBroken = true;
    const work = (/** @type {any} */ { part }) => {
      if (part === undefined) throw new Error('heap out of memory');
      if (part.name === 'b' && isBroken) throw new Error('no');
      done.push(part.name);
      return part.name;
    };
    const options = {
      split: () => [{ name: 'a' }, { name: 'b' }],
      merge: (/** @type {any} */ { parts }) => parts.length,
    };
    const paused = await recovery.attempt(2, work, options);
    expect(paused).toMatchObject({ how: 'paused', reason: 'decision', failure: { subtask: 'b' } });
    expect(await recovery.question()).toMatchObject({ step: 2, subtask: 'b' });
    isBroken = false;
    await recovery.decide({ decision: 'retry' });
    expect(await recovery.attempt(2, work, options)).toMatchObject({
      how: 'done',
      result: { result: 2 },
    });
    expect(done).toEqual(['a', 'b']);
  });

  test('that is none is refused', async () => {
    const { root, runId } = project();
    const recovery = new waymark.CheckpointManager({ root }).recovery(runId, settings());
    await expect(recovery.decide({ decision: 'retry' })).rejects.toMatchObject({
      code: 'ERR_NO_QUESTION',
    });
    await recovery.attempt(2, failing(1));
    const code = 'ERR_DECISION_INVALID';
    for (const wrong of [
      { decision: 'wait' },
      { decision: 'decompose' },
      { decision: 'reassign' },
      { decision: 'reassign', worker: 'gpu' },
      { decision: 'retry', worker: 'large' },
      { decision: 'retry', failureId: 'f-other' },
    ]) {
      await expect(recovery.decide(/** @type {any} */ (wrong))).rejects.toMatchObject({ code });
    }
  });
});

describe('the breaker of a worker', () => {
  const crash = () => Object.assign(new Error('heap out of memory'));
  const settings = {
    ...quick({ retry: { limit: 0 } }, { fail: {} }),
    breaker: { failures: 2, openMs: 60_000, maxOpenMs: 100_000 },
  };

  test('is kept for all runs of the project; another worker takes over; it can be closed', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    manager.createSync(runId, 0);
    const recovery = manager.recovery(runId, { ...settings, workers: { large: {} } });
    await recovery.attempt(1, failing(1, crash()));
    await recovery.attempt(1, failing(1, crash()));
    // Another manager, as another process would be.
    const other = new waymark.CheckpointManager({ root }).recovery(runId, {
      ...settings,
      workers: { large: {} },
    });
    const [first] = await other.breakers();
    expect(first).toMatchObject({ worker: 'default', state: 'open', openings: 1 });
    /** @type {string[]} */
    const seen = [];
    await other.attempt(1, ({ worker }) => seen.push(worker));
    expect(seen).toEqual(['large']);
    expect(await other.resetBreaker('default')).toMatchObject({ state: 'closed' });
    await other.attempt(1, ({ worker }) => seen.push(worker));
    expect(seen).toEqual(['large', 'default']);
  });

  test('without another worker, one that opens soon is waited for, and one that does not pauses the run', async () => {
    const { root, runId } = project();
    const manager = new waymark.CheckpointManager({ root });
    manager.createSync(runId, 0);
    const soon = manager.recovery(runId, { ...settings, breaker: { failures: 1, openMs: 30 } });
    await soon.attempt(1, failing(1, crash()));
    expect(await soon.attempt(1, () => 'done')).toMatchObject({ how: 'done' });
    expect((await soon.breakers())[0].state).toBe('closed');
    const long = manager.recovery(runId, { ...settings, breaker: { failures: 1, waitMs: 1_000 } });
    await long.attempt(1, failing(1, crash()));
    const paused = await long.attempt(1, () => 'done');
    expect(paused).toMatchObject({ how: 'paused', reason: 'breaker_open', attempts: 0 });
  });
});
