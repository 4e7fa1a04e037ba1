// Tasks: what was done and recorded is not done again, wherever the process is killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import {
  addRun,
  oldCheckpoint,
  project,
  readJson,
  removeAll,
  repo,
  withoutPlaces,
  writeJson,
} from './support/project.mjs';

const { CheckpointManager, WaymarkError } = waymark;
const require = createRequire(import.meta.url);
const { nameProblem, canonical } = require('../lib/task-values.js');
const { Task } = require('../lib/task.js');
const { guard } = require('../lib/guard.js');
const { Auto } = require('../lib/auto.js');
const tree = path.join(repo, '__test__', 'support', 'task_tree.mjs');
const LONG = 5 * 60_000;
const RANDOM_KILLS = Number(process.env.WAYMARK_TASK_KILLS ?? 40);

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
/** What was done, in order. @type {string[]} */
let done;
beforeEach(() => {
  at = project({ artifacts: 0 });
  manager = new CheckpointManager({ runsDir: at.runsDir });
  done = [];
});
afterAll(removeAll);

/** Another process, as far as the manager can tell. */
const other = () => new CheckpointManager({ runsDir: at.runsDir });

/** A step that says that it was done. @param {string} name @param {unknown} [result] */
const doing = (name, result) => () => {
  done.push(name);
  return result;
};

/**
 * The error of a promise.
 * @param {Promise<unknown> | (() => unknown)} work
 * @returns {Promise<any>}
 */
async function failure(work) {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return error;
  }
  throw new Error('nothing was refused');
}

/** The code and reason of an error. @param {Promise<unknown> | (() => unknown)} work */
async function refusal(work) {
  const error = await failure(work);
  expect(error).toBeInstanceOf(WaymarkError);
  expect(withoutPlaces(error.message).length).toBeLessThan(700);
  return [error.code, error.reason].filter(Boolean).join(' ');
}

/** A step of a task as recorded. @param {waymark.TaskNode} node @param {...(string | number)} names @returns {any} */
function nodeOf(node, ...names) {
  /** @type {waymark.TaskNode | undefined} */
  let one = node;
  for (const name of names) one = one?.steps?.find((step) => step.name === name);
  return one;
}

/** Damages the newest checkpoint. @returns {string} its id */
function damageNewest() {
  const [newest] = manager.listSync(at.runId);
  fs.writeFileSync(newest.path, fs.readFileSync(newest.path, 'utf8').slice(0, 200));
  return newest.checkpointId;
}

describe('killed with -9', () => {
  const names = ['fetch', 'left', 'right', 'deep-1', 'deep-2', 'link', 'pack'];

  /**
   * Works on the tree until it is done or killed.
   * @param {{ runId: string, log: string, killAt?: number, afterMs?: number }} how
   * @returns {Promise<{ killed: boolean, points: number }>}
   */
  async function work({ runId, log, killAt = 0, afterMs }) {
    const words = [tree, at.runsDir, runId, log, String(killAt)];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [text, errors] = ['', ''];
    child.stdout.on('data', (data) => {
      text += data;
    });
    child.stderr.on('data', (data) => {
      errors += data;
    });
    const timer =
      afterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), afterMs);
    const [code, signal] = await once(child, 'close');
    clearTimeout(timer);
    expect(errors).toBe('');
    if (signal === null) expect(code).toBe(0);
    return { killed: signal === 'SIGKILL', points: Number(text) };
  }

  /** @param {string} log @param {string} when */
  function check(log, when) {
    const lines = fs.readFileSync(log, 'utf8').trim().split('\n');
    const durable = new Set();
    /** @type {Map<string, string>} */
    const keys = new Map();
    for (const [word, name, key] of lines.map((line) => line.split(' '))) {
      if (word === 'effect') {
        expect([when, name, durable.has(name)]).toEqual([when, name, false]);
        expect([when, name, keys.get(name) ?? key]).toEqual([when, name, key]);
        keys.set(name, key);
      }
      if (word === 'durable' || word === 'recorded') durable.add(name);
    }
    expect([when, [...keys.keys()].sort()]).toEqual([when, names.toSorted()]);
    expect([when, lines.at(-1)]).toEqual([when, `done ${JSON.stringify(names)}`]);
  }

  test(
    'at every point, and resumed: every effect happens, none twice whose result was durable',
    async () => {
      const whole = path.join(at.root, 'whole.log');
      const { points } = await work({ runId: at.runId, log: whole });
      check(whole, 'not killed');
      expect(points).toBeGreaterThan(40);
      let next = 1;
      let kills = 0;
      const lane = async () => {
        while (next <= points) {
          const killAt = next;
          next += 1;
          const { runId } = addRun(at.runsDir, `run-at-${killAt}`, { artifacts: 0 });
          const log = path.join(at.root, `${runId}.log`);
          // What runs beside each other comes in another order each time: there may be fewer points.
          if ((await work({ runId, log, killAt })).killed) kills += 1;
          await work({ runId, log });
          check(log, `killed at point ${killAt}`);
        }
      };
      await Promise.all([lane(), lane()]);
      expect(kills).toBeGreaterThan(points * 0.8);
    },
    LONG,
  );

  test(
    'again and again, each time after as many points',
    async () => {
      const lane = async (/** @type {number} */ killAt) => {
        const { runId } = addRun(at.runsDir, `run-each-${killAt}`, { artifacts: 0 });
        const log = path.join(at.root, `${runId}.log`);
        let kills = 0;
        while ((await work({ runId, log, killAt })).killed) {
          kills += 1;
          expect(kills).toBeLessThan(30);
        }
        expect(kills).toBeGreaterThan(1);
        check(log, `killed at each point ${killAt}, ${kills} times`);
      };
      // Three side by side have six points before the first of them is recorded.
      await Promise.all([lane(9), lane(13)]);
    },
    LONG,
  );

  test(
    `${RANDOM_KILLS} times at random instants`,
    async () => {
      let left = RANDOM_KILLS;
      const lane = async (/** @type {number} */ number) => {
        for (let turn = 0; left > 0; turn += 1) {
          const { runId } = addRun(at.runsDir, `run-${number}-${turn}`, { artifacts: 0 });
          const log = path.join(at.root, `${runId}.log`);
          /** @type {string[]} */
          const delays = [];
          for (let more = true; more; ) {
            // Never so many that it does not come to its end.
            const afterMs = delays.length < 8 && left > 0 ? 60 + Math.random() * 300 : undefined;
            const { killed } = await work({ runId, log, afterMs });
            if (killed) left -= 1;
            delays.push(`${afterMs}`);
            more = killed;
          }
          check(log, `killed after ${delays} ms`);
        }
      };
      await Promise.all([lane(1), lane(2)]);
    },
    LONG,
  );
});

describe('resume', () => {
  test('stored results are given back, and are what was given the first time', async () => {
    const work = async (/** @type {waymark.Task} */ task) => [
      await task.step(
        'object',
        doing('object', { a: [1, null, 'ü\u2028', { b: -0 }], x: undefined }),
      ),
      await task.step('nothing', doing('nothing')),
      await task.step(1.5, doing('number', 7)),
      await task.step('null', doing('null', null)),
    ];
    /** @type {unknown[]} */
    let values = [];
    const first = await manager.task(at.runId, 'plan', async (task) => {
      values = await work(task);
      await task.step('stop', doing('stop'));
      return { first: values[0] };
    });
    expect(values).toEqual([{ a: [1, null, 'ü\u2028', { b: 0 }] }, undefined, 7, null]);
    expect(done).toEqual(['object', 'nothing', 'number', 'null', 'stop']);
    const unfinished = await other().task(at.runId, 'plan', { input: 'more' });
    expect(await work(unfinished)).toEqual(values);
    await unfinished.complete({ first: values[0] });
    // The whole task is done: nothing of it runs.
    const again = await other().task(at.runId, 'plan', async () => done.push('never'));
    expect(again).toStrictEqual({ first: { a: [1, null, 'ü\u2028', { b: 0 }] } });
    expect(again).toStrictEqual({ ...first });
    expect(done).toHaveLength(5);
    expect((await manager.list(at.runId))[0].step).toBe('plan');
  });

  test('steps that failed run again, others do not; the failure has its checkpoint', async () => {
    let fails = true;
    const work = (/** @type {waymark.CheckpointManager} */ one) =>
      one.task(at.runId, 'build', async (task) => {
        await task.step('a', doing('a'));
        await task.task('inner', async (inner) => {
          await inner.step('b', doing('b'));
          await inner.step('c', () => {
            done.push('c');
            if (fails) throw Object.assign(new TypeError('no luck'), { code: 'E_LUCK' });
          });
        });
        return 'through';
      });
    const error = await failure(work(manager));
    expect(error.message).toBe('no luck');
    expect(error.waymark.failure).toMatchObject({ runId: at.runId, path: ['build', 'inner', 'c'] });
    const { checkpointId } = error.waymark.failure;
    const { checkpoint, step } = await manager.show(at.runId, checkpointId);
    expect(step).toBe('c');
    const [root] = checkpoint.step_state.tasks.roots;
    const failed = nodeOf(root, 'inner', 'c');
    expect(failed).toMatchObject({
      status: 'failed',
      attempts: 1,
      error: { name: 'TypeError', message: 'no luck', code: 'E_LUCK' },
    });
    expect(failed.error.stack).toContain('task.spec.mjs');

    fails = false;
    const task = await other().task(at.runId, 'build');
    expect(task.status).toBe('running');
    expect(nodeOf(task.tree(), 'inner', 'c').failures).toMatchObject([
      { message: 'no luck', attempt: 1, checkpoint: checkpointId },
    ]);
    expect(await work(other())).toBe('through');
    expect(done).toEqual(['a', 'b', 'c', 'c']);
    const { tasks } = await manager.timeline(at.runId);
    expect(nodeOf(tasks[0], 'inner', 'c')).toMatchObject({ status: 'completed', attempts: 2 });
    expect(nodeOf(tasks[0], 'inner', 'c').error).toBeUndefined();
  });

  test('a step is tried again in the same start by calling it again', async () => {
    let tries = 0;
    const attempts = await manager.task(at.runId, 'build', async (task) => {
      const flaky = () =>
        task.step('flaky', ({ attempt }) => {
          tries += 1;
          if (tries < 3) throw new Error(`try ${tries}`);
          return attempt;
        });
      await failure(flaky());
      await failure(flaky());
      return flaky();
    });
    expect([attempts, tries]).toEqual([3, 3]);
  });

  test('a changed input runs the step again, and only it, and says so', async () => {
    /** @type {waymark.TaskNotice[]} */
    const notices = [];
    const work = (/** @type {unknown} */ input, /** @type {unknown} */ outer) =>
      other().task(
        at.runId,
        'build',
        { input: outer, onNotice: (notice) => notices.push(notice) },
        async (task) => {
          await task.step('a', doing('a'), { input: { x: 1 } });
          const b = await task.step('b', doing('b', input), { input });
          await task.step('c', doing('c'), { input: 3 });
          return b;
        },
      );
    await work({ k: [1, 2], l: 'm' }, 1);
    expect(done.splice(0)).toEqual(['a', 'b', 'c']);
    // Another order of the members is no other input; without a new input the task itself is done.
    expect(await work({ l: 'm', k: [1, 2] }, 2)).toEqual({ k: [1, 2], l: 'm' });
    expect(done.splice(0)).toEqual([]);
    notices.splice(0);
    expect(await work({ k: [2, 1], l: 'm' }, 3)).toEqual({ k: [2, 1], l: 'm' });
    expect(done.splice(0)).toEqual(['b']);
    expect(notices).toMatchObject([
      { kind: 'rerun', path: ['build'], rerun: 'input_changed' },
      { kind: 'rerun', path: ['build', 'b'], rerun: 'input_changed' },
    ]);
    // Without the task's own input nobody looks at those of its steps.
    expect(await work({ k: [3], l: 'm' }, undefined)).toEqual({ k: [2, 1], l: 'm' });
    const { tasks, entries } = await manager.timeline(at.runId);
    expect(nodeOf(tasks[0], 'b').rerun).toBe('input_changed');
    expect(nodeOf(tasks[0], 'c').rerun).toBeUndefined();
    expect(entries.filter((one) => one.kind === 'rerun').map((one) => one.path)).toEqual(
      expect.arrayContaining([['build', 'b']]),
    );
  });

  test('an input that changes and changes back runs again each time', async () => {
    const work = (/** @type {number} */ input, /** @type {boolean} */ fails) =>
      other().task(at.runId, 'build', async (task) => {
        await task.step(
          'a',
          () => {
            done.push(`a${input}`);
            if (fails) throw new Error('stop');
          },
          { input },
        );
        throw new Error('not yet');
      });
    await failure(work(1, false));
    await failure(work(2, true));
    // What was done for 1 may be half overwritten by what was begun for 2.
    await failure(work(1, false));
    await failure(work(1, false));
    expect(done).toEqual(['a1', 'a2', 'a1']);
  });

  test('of steps side by side only the unfinished run again', async () => {
    const work = (/** @type {boolean} */ fails) =>
      other().task(at.runId, 'build', (task) =>
        task.parallel(
          Array.from({ length: 8 }, (_, n) => ({
            name: `part ${n}`,
            run: async () => {
              await new Promise((resolve) => setImmediate(resolve));
              done.push(`part ${n}`);
              if (fails && n % 3 === 0) throw new Error(`part ${n} failed`);
              return n;
            },
          })),
          { limit: 3 },
        ),
      );
    const error = await failure(work(true));
    expect(error.message).toBe('part 0 failed');
    expect(done.splice(0)).toHaveLength(8);
    expect(await work(false)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(done).toEqual(['part 0', 'part 3', 'part 6']);
  });

  test('when one of them fails the others are recorded before the task ends', async () => {
    let release = () => {};
    const released = new Promise((resolve) => {
      release = () => resolve(undefined);
    });
    let ended = false;
    const work = failure(
      manager.task(at.runId, 'build', (task) =>
        Promise.all([
          task.step('fails', () => {
            throw new Error('at once');
          }),
          task.step('slow', () => released.then(doing('slow', 'late'))),
        ]),
      ),
    ).finally(() => {
      ended = true;
    });
    // Far longer than an end without them would take.
    while ((await manager.list(at.runId)).length === 0);
    for (let turn = 0; turn < 300 && !ended; turn += 1) await manager.list(at.runId);
    expect(ended).toBe(false);
    release();
    expect((await work).message).toBe('at once');
    const task = await other().task(at.runId, 'build');
    expect(await task.step('slow', doing('never'))).toBe('late');
    expect(done).toEqual(['slow']);
  });

  test('results that come while a checkpoint is being taken share the next', async () => {
    await manager.task(at.runId, 'build', async (task) => {
      await task.parallel(Array.from({ length: 40 }, (_, n) => ({ name: `n${n}`, run: () => n })));
    });
    const [newest] = await manager.list(at.runId);
    expect(newest.sequence).toBeLessThan(30);
    const again = await other().task(at.runId, 'build');
    expect(again.totals()).toMatchObject({ steps: 40, completed: 40 });
  });

  test('a task without a function goes on until it is completed', async () => {
    const task = await manager.task(at.runId, 'ship');
    await task.step('a', doing('a', 1));
    await task.fail(new Error('weather'));
    expect(task.status).toBe('failed');
    const second = await other().task(at.runId, 'ship');
    expect(await second.step('a', doing('a', 2))).toBe(1);
    await second.step('b', doing('b', 2));
    await second.complete({ shipped: true });
    await second.complete();
    const third = await other().task(at.runId, 'ship');
    expect([third.status, third.result, third.attempts]).toEqual([
      'completed',
      { shipped: true },
      2,
    ]);
    expect(await third.step('b', doing('b', 3))).toBe(2);
    expect(await refusal(third.step('c', doing('c')))).toBe('ERR_TASK_ENDED completed');
    expect(done).toEqual(['a', 'b']);
    // Begun anew, all of it runs.
    const fourth = await other().task(at.runId, 'ship', { restart: true });
    expect(await fourth.step('a', doing('a', 4))).toBe(4);
    expect(fourth.notices).toMatchObject([{ kind: 'restarted' }]);
  });

  test('state, progress and totals are kept', async () => {
    const task = await manager.task(at.runId, 'build');
    task.state = { seen: ['x'] };
    task.state.seen.push('y');
    await task.step('a', () => 1);
    task.progress(1, 4, 'one of four');
    await failure(
      task.step('b', () => {
        throw new Error('no');
      }),
    );
    const { checkpointId } = await task.checkpoint('half way');
    expect((await manager.show(at.runId, checkpointId)).step).toBe('half way');
    const second = await other().task(at.runId, 'build');
    expect(second.state).toEqual({ seen: ['x', 'y'] });
    expect(second.tree().progress).toEqual({ done: 1, total: 4, summary: 'one of four' });
    expect(second.totals()).toMatchObject({ steps: 2, completed: 1, failed: 1, attempts: 2 });
    const node = nodeOf(second.tree(), 'a');
    expect(Date.parse(node.finished)).toBeGreaterThanOrEqual(Date.parse(node.started));
    expect(node.took).toBeGreaterThanOrEqual(0);
  });

  test('keys are those of the run, the path, the step and its input', async () => {
    /** @type {string[]} */
    const keys = [];
    const work = async (/** @type {waymark.Task} */ task, /** @type {number} */ input) => {
      const take = (/** @type {waymark.StepContext} */ { key }) => void keys.push(key);
      await task.step('a', take, { input });
      await task.task('in', (inner) => inner.step('a', take, { input }));
      throw new Error('again');
    };
    await failure(manager.task(at.runId, 'build', (task) => work(task, 1)));
    await failure(other().task(at.runId, 'build', (task) => work(task, 2)));
    await failure(other().task(at.runId, 'build', { restart: true }, (task) => work(task, 1)));
    await failure(other().task(at.runId, 'else', (task) => work(task, 1)));
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys).toHaveLength(7);
    expect(keys.every((key) => /^[0-9a-f]{64}$/.test(key))).toBe(true);
  });
});

describe('the history that a task stands on', () => {
  test('several tasks of a run carry each other: many steps of one do not push out the other', async () => {
    await manager.task(at.runId, 'plan', (task) => task.step('p', doing('p', 'planned')));
    await other().task(at.runId, 'build', async (task) => {
      for (let n = 0; n < 12; n += 1) await task.step(n, () => n);
    });
    // The newest five, and what the first task had ended with until the other one did.
    expect(await manager.list(at.runId)).toHaveLength(6);
    expect(await other().task(at.runId, 'plan', () => 'never')).toBe('planned');
  });

  test('two tasks of one run side by side, in two processes', async () => {
    const [one, two] = [await manager.task(at.runId, 'one'), await other().task(at.runId, 'two')];
    for (let n = 0; n < 8; n += 1) {
      await Promise.all([one.step(n, () => n), two.step(n, () => -n)]);
    }
    await Promise.all([one.complete('first'), two.complete('second')]);
    const results = [await other().task(at.runId, 'one'), await other().task(at.runId, 'two')];
    expect(results.map(({ result }) => result)).toEqual(['first', 'second']);
    expect(results.map((task) => task.totals().completed)).toEqual([8, 8]);
  });

  test('checkpoints that are taken beside a task do no harm', async () => {
    await failure(
      manager.task(at.runId, 'build', async (task) => {
        await task.step('a', doing('a'));
        await other().create(at.runId, 7, { mine: true });
        await task.step('b', doing('b'));
        await other().create(at.runId, 8);
        throw new Error('stop');
      }),
    );
    await other().create(at.runId, 9);
    await other().task(at.runId, 'build', async (task) => {
      await task.step('a', doing('a'));
      await task.step('b', doing('b'));
    });
    expect(done).toEqual(['a', 'b']);
  });

  test('checkpoints taken beside a task do not push out its results', async () => {
    const six = async () => {
      for (let n = 0; n < 6; n += 1) await other().create(at.runId, n);
    };
    const work = (/** @type {waymark.Task} */ task, names = ['a', 'b', 'c']) =>
      task.parallel(
        names.map((name) => ({ name, run: doing(name) })),
        { limit: 1 },
      );
    // Ended, well or not.
    await manager.task(at.runId, 'whole', (task) => work(task));
    await six();
    await failure(
      other().task(at.runId, 'half', async (task) => {
        await work(task);
        throw new Error('stop');
      }),
    );
    await six();
    await other().task(at.runId, 'whole', (task) => work(task));
    await other().task(at.runId, 'half', (task) => work(task));
    expect(done.splice(0)).toEqual(['a', 'b', 'c', 'a', 'b', 'c']);
    // Killed after others had taken some: the next result is kept, and so is what a later start has read.
    const killed = await other().task(at.runId, 'killed');
    await killed.step('a', doing('a'));
    await other().create(at.runId, 7);
    await killed.step('b', doing('b'));
    await six();
    const again = await other().task(at.runId, 'killed');
    await six();
    await work(await other().task(at.runId, 'killed'));
    expect(done).toEqual(['a', 'b', 'c']);
    expect(again.tree().steps?.map(({ name }) => name)).toEqual(['a', 'b']);
    // One is kept, not all.
    const pins = (await manager.list(at.runId)).filter(({ pin }) => pin);
    expect(pins.map(({ pin }) => pin?.reason)).toEqual(['results of tasks']);
  });

  test('results that were taken back are not given, though they are pinned and what was put back is gone', async () => {
    const work = async (/** @type {waymark.Task} */ task) => {
      for (const name of ['a', 'b', 'c']) await task.step(name, doing(name));
    };
    await manager.task(at.runId, 'build', work);
    await manager.restore(at.runId, { step: 'a' });
    for (let n = 0; n < 6; n += 1) await other().create(at.runId, n);
    const rows = await manager.list(at.runId);
    expect(rows.map(({ step, pin }) => [step, pin?.reason])).toEqual([
      ...[5, 4, 3, 2, 1].map((n) => [n, undefined]),
      ['build', 'results of tasks'],
    ]);
    done.splice(0);
    await other().task(at.runId, 'build', work);
    expect(done).toEqual(['a', 'b', 'c']);
  });

  test('a fork goes on with the results that were there where it began', async () => {
    const names = ['a', 'b', 'c'];
    const work = async (/** @type {waymark.Task} */ task) => {
      for (const name of names) await task.step(name, doing(name));
    };
    await work(await manager.task(at.runId, 'build'));
    await manager.fork(at.runId, 'forked', { step: 'b' });
    done.splice(0);
    await other().task('forked', 'build', work);
    expect(done.splice(0)).toEqual(['c']);
    // Each by itself.
    names.push('d');
    await other().task('forked', 'build', { input: 2 }, work);
    await other().task(at.runId, 'build', work);
    expect(done).toEqual(['d', 'd']);
  });

  test('a pin of the caller stays what it is', async () => {
    const task = await manager.task(at.runId, 'build');
    await task.step('a', doing('a'));
    const [{ checkpointId }] = await manager.list(at.runId);
    await manager.pin(at.runId, checkpointId, { reason: 'mine' });
    await other().create(at.runId, 1);
    await other().task(at.runId, 'build');
    await task.complete();
    const pins = (await manager.list(at.runId)).flatMap(
      ({ step, pin }) => pin && [[step, pin.reason]],
    );
    expect(pins.filter(Boolean)).toEqual([
      ['build', 'results of tasks'],
      ['a', 'mine'],
    ]);
  });

  test('the run was put back to a checkpoint that is gone: what was taken back is not given', async () => {
    const work = async (/** @type {waymark.Task} */ task) => {
      for (const name of ['a', 'b', 'c']) await task.step(name, doing(name));
    };
    await manager.task(at.runId, 'build', work);
    const to = (await manager.list(at.runId)).find(({ step }) => step === 'a');
    await manager.restore(at.runId, { checkpointId: to?.checkpointId });
    await manager.prune(at.runId, { keepLast: 1 });
    // Prune keeps it; another tool takes it away.
    fs.rmSync(/** @type {{ path: string }} */ (to).path);
    done.splice(0);
    await other().task(at.runId, 'build', work);
    expect(done.splice(0)).toEqual(['a', 'b', 'c']);
    await other().task(at.runId, 'build', work);
    expect(done).toEqual([]);
  });

  test('checkpoints of the older JavaScript manager do no harm', async () => {
    oldCheckpoint(at.dir, at.runId, 1, Date.now() - 1000);
    const task = await manager.task(at.runId, 'build');
    await task.step('a', doing('a'));
    await task.step('b', doing('b'));
    oldCheckpoint(at.dir, at.runId, 2, Date.now() + 1000);
    await task.step('c', doing('c'));
    oldCheckpoint(at.dir, at.runId, 3, Date.now() + 2000);
    const again = await other().task(at.runId, 'build');
    expect(again.tree().steps?.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    await again.step('d', doing('d'));
    await manager.restore(at.runId, { step: 'b' });
    oldCheckpoint(at.dir, at.runId, 4, Date.now() + 3000);
    const third = await other().task(at.runId, 'build');
    expect(third.tree().steps?.map(({ name }) => name)).toEqual(['a', 'b']);
    await third.step('e', doing('e'));
    expect(done).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  test('a run that was put back goes on from there', async () => {
    const keeping = () => new CheckpointManager({ runsDir: at.runsDir, keepLast: 'all' });
    await keeping().task(at.runId, 'build', async (task) => {
      await task.step('a', doing('a'));
      await task.step('b', doing('b'));
      await task.step('c', doing('c'));
    });
    const to = (await manager.list(at.runId)).find(({ step }) => step === 'a');
    await manager.restore(at.runId, { checkpointId: to?.checkpointId });
    done.splice(0);
    const work = (/** @type {waymark.Task} */ task) =>
      task.parallel(
        ['a', 'b', 'c'].map((name) => ({ name, run: doing(name) })),
        { limit: 1 },
      );
    await keeping().task(at.runId, 'build', work);
    expect(done.splice(0)).toEqual(['b', 'c']);
    // And the other way round: taken back, it is done.
    await manager.restore(at.runId, { checkpointId: to?.checkpointId });
    await manager.undo(at.runId);
    await keeping().task(at.runId, 'build', work);
    expect(done).toEqual([]);
  });

  test('a run that is put back while a task is at work: the task gives in', async () => {
    const task = await manager.task(at.runId, 'build');
    await task.step('a', doing('a'));
    await task.step('b', doing('b'));
    await other().restore(at.runId, { step: 'a' });
    expect(await refusal(task.step('c', doing('c')))).toBe('ERR_TASK_CONFLICT restored');
    expect(done).toEqual(['a', 'b']);
    const again = await other().task(at.runId, 'build');
    await again.step('b', doing('b again'));
    expect(done).toEqual(['a', 'b', 'b again']);
  });

  test('a restore in the very moment of a checkpoint: what was written then is passed over', async () => {
    const one = other();
    const task = await one.task(at.runId, 'build');
    await task.step('a', doing('a'));
    await task.step('b', doing('b'));
    const create = one.create.bind(one);
    one.create = async (...words) => {
      manager.restoreSync(at.runId, { step: 'a' });
      return create(...words);
    };
    expect(await refusal(task.step('c', doing('c')))).toBe('ERR_TASK_CONFLICT restored');
    // The newest checkpoint has b and c, which the run's state has not.
    const again = await other().task(at.runId, 'build');
    expect(again.tree().steps?.map(({ name }) => name)).toEqual(['a']);
  });

  test('the newest checkpoint is damaged: the one before counts, and it says so', async () => {
    const work = async (/** @type {waymark.Task} */ task) => {
      await task.step('a', doing('a'));
      await task.step('b', doing('b'));
    };
    const first = await manager.task(at.runId, 'build');
    await work(first);
    const damaged = damageNewest();
    /** @type {waymark.TaskNotice[]} */
    const notices = [];
    const onNotice = (/** @type {waymark.TaskNotice} */ notice) => notices.push(notice);
    await other().task(at.runId, 'build', { onNotice }, work);
    expect(done).toEqual(['a', 'b', 'b']);
    expect(notices).toMatchObject([{ kind: 'damaged_passed_over', checkpoints: [damaged] }]);
    expect(notices[0].message).toContain(damaged);
    // Once is enough.
    await other().task(at.runId, 'build', { onNotice, restart: true }, work);
    expect(notices.map(({ kind }) => kind)).toEqual(['damaged_passed_over', 'restarted']);
  });

  test('a checkpoint in the middle is damaged', async () => {
    const task = await manager.task(at.runId, 'build');
    await task.step('a', doing('a'));
    await task.step('b', doing('b'));
    damageNewest();
    // Somebody else's, which has no tree.
    await other().create(at.runId, 5);
    const again = await other().task(at.runId, 'build');
    expect(again.tree().steps?.map(({ name }) => name)).toEqual(['a']);
    // The task that was at work knows all the same.
    await task.step('c', doing('c'));
    const third = await other().task(at.runId, 'build');
    expect(third.tree().steps?.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
  });

  test('a look is spared only where nothing has changed', async () => {
    const one = other();
    const list = one.list.bind(one);
    let looks = 0;
    one.list = /** @type {any} */ (
      (/** @type {Parameters<typeof list>} */ ...words) => {
        looks += 1;
        return list(...words);
      }
    );
    const task = await one.task(at.runId, 'build');
    await task.step('first', () => 1);
    looks = 0;
    for (let n = 0; n < 5; n += 1) await task.step(n, () => n);
    expect(looks).toBe(0);
    await manager.create(at.runId, 7);
    await task.step('last', () => 1);
    expect(looks).toBeGreaterThan(0);
  });

  test('two processes at the same task: the first to record goes on', async () => {
    const [one, two] = [
      await manager.task(at.runId, 'build'),
      await other().task(at.runId, 'build'),
    ];
    await one.step('a', doing('one a'));
    expect(await refusal(two.step('a', doing('two a')))).toBe('ERR_TASK_CONFLICT claimed');
    expect(await refusal(two.step('b', doing('two b')))).toBe('ERR_TASK_CONFLICT claimed');
    await one.step('b', doing('one b'));
    await one.complete();
    expect(done).toEqual(['one a', 'one b']);
    expect((await other().task(at.runId, 'build')).status).toBe('completed');
  });

  test('both record at once: one of them gives in, and nothing that was told is lost', async () => {
    for (let turn = 0; turn < 10; turn += 1) {
      const name = `task ${turn}`;
      const both = [await manager.task(at.runId, name), await other().task(at.runId, name)];
      const ends = await Promise.allSettled(both.map((task, n) => task.step('a', () => n)));
      const told = ends.filter((one) => one.status === 'fulfilled');
      expect(told).toHaveLength(1);
      const [refused] = ends.filter((one) => one.status === 'rejected');
      expect(refused.reason.code).toBe('ERR_TASK_CONFLICT');
      const winner = both[ends.findIndex((one) => one.status === 'fulfilled')];
      // It goes on, also where the other's checkpoint came last.
      await winner.step('b', () => 'b');
      const again = await other().task(at.runId, name);
      expect(nodeOf(again.tree(), 'a').result).toBe(told[0].value);
      expect(nodeOf(again.tree(), 'b').result).toBe('b');
    }
  });

  test('the loser of a race is passed over when it came last', async () => {
    const [slow, quick] = [other(), other()];
    const create = slow.create.bind(slow);
    const [one, two] = [await slow.task(at.runId, 'build'), await quick.task(at.runId, 'build')];
    slow.create = async (...words) => {
      await two.step('a', () => 'quick');
      return create(...words);
    };
    expect(await refusal(one.step('a', () => 'slow'))).toBe('ERR_TASK_CONFLICT claimed');
    const [newest] = await manager.list(at.runId);
    const [root] = (await manager.show(at.runId, newest.checkpointId)).checkpoint.step_state.tasks
      .roots;
    expect(nodeOf(root, 'a').result).toBe('slow');
    const again = await other().task(at.runId, 'build');
    expect(nodeOf(again.tree(), 'a').result).toBe('quick');
    await two.step('b', () => 'b');
  });

  test('a tree of a newer format is not touched', async () => {
    await manager.create(at.runId, 1, { tasks: { format: 2, by: 'x', roots: {} } });
    expect(await refusal(manager.task(at.runId, 'build'))).toBe('ERR_TASK_FORMAT');
    expect(await refusal(manager.timeline(at.runId))).toBe('ERR_TASK_FORMAT');
  });

  test("other people's states are no trees", async () => {
    for (const state of [{ tasks: ['a'] }, { tasks: 'x' }, { tasks: { format: 1 } }, [], null, 5]) {
      await manager.create(at.runId, 1, state);
    }
    const task = await manager.task(at.runId, 'build');
    expect(task.tree().steps).toEqual([]);
  });
});

describe('checkpoints that fail', () => {
  test('a result that is too large fails its step, and no other', async () => {
    const task = await manager.task(at.runId, 'build', { maxStateBytes: 20_000 });
    const ends = await Promise.allSettled([
      task.step('small', () => 's'),
      task.step('large', () => 'x'.repeat(30_000)),
      task.step('also small', () => 's'),
    ]);
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    const [, refused] = /** @type {PromiseRejectedResult[]} */ (ends);
    expect(refused.reason.code).toBe('ERR_STATE_TOO_LARGE');
    // It is as if it had failed: called again, it runs again.
    expect(await task.step('large', () => 'fits')).toBe('fits');
    await task.complete();
    expect((await other().task(at.runId, 'build')).totals()).toMatchObject({ completed: 3 });
  });

  test('a failure that can not be recorded is thrown all the same', async () => {
    const one = other();
    const task = await one.task(at.runId, 'build');
    one.create = async () => {
      throw new Error('no disk');
    };
    const error = await failure(
      task.step('a', () => {
        throw new Error('mine');
      }),
    );
    expect(error.message).toBe('mine');
    expect(error.waymark.failure.notRecorded.message).toBe('no disk');
    expect((await failure(task.step('b', () => 1))).message).toBe('no disk');
  });
});

test('errors that can not be read are thrown on as they are, and recorded as far as they can', async () => {
  const thrown = [
    Object.assign(new Error('m'), { name: Object.create(null) }),
    {
      get message() {
        throw new Error('inner');
      },
    },
    Symbol('s'),
    undefined,
  ];
  const task = await manager.task(at.runId, 'build');
  for (const [n, one] of thrown.entries()) {
    const work = task.step(n, () => {
      throw one;
    });
    const [end] = await Promise.allSettled([work]);
    expect(end.status === 'rejected' && end.reason === one).toBe(true);
  }
  expect((await other().task(at.runId, 'build')).totals()).toMatchObject({ failed: thrown.length });
});

describe('misuse', () => {
  test('names are those of steps', async () => {
    const task = await manager.task(at.runId, 'build');
    const names = [
      '',
      '..',
      '.',
      'a/b',
      'a\\b',
      'a\0',
      '3',
      '1e5',
      '.5',
      '+1',
      'NaN',
      'infinity',
      '0x10',
      ' 1.5',
      'x ',
      'x.',
      'CON',
      'con.txt',
      'com1',
      'COM10',
      'lpt¹',
      'C:x',
      'a\nb',
      'a..b',
      'x'.repeat(200),
      'x'.repeat(201),
      'ü'.repeat(100),
      'ü'.repeat(101),
      'code review',
      '-',
    ];
    for (const name of names) {
      // The core's own rule, word for word.
      let reason;
      try {
        manager.createSync(at.runId, name);
      } catch (error) {
        ({ reason } = /** @type {waymark.WaymarkError} */ (error));
      }
      expect([name, nameProblem(name)]).toEqual([name, reason]);
    }
    for (const [name, reason] of [
      [-1, 'negative'],
      [Number.NaN, 'not_a_number'],
      [Number.POSITIVE_INFINITY, 'infinite'],
      [2 ** 53, 'unsafe_integer'],
      [undefined, 'type'],
      [{}, 'type'],
      ['\ud800', 'charset'],
    ]) {
      const given = /** @type {any} */ (name);
      expect(await refusal(task.step(given, doing('x')))).toBe(`ERR_STEP_INVALID ${reason}`);
      expect(await refusal(manager.task(at.runId, given))).toBe(`ERR_STEP_INVALID ${reason}`);
    }
    for (const name of [Symbol('x'), Object.create(null)]) {
      const given = /** @type {any} */ (name);
      expect(await refusal(task.step(given, doing('x')))).toBe('ERR_STEP_INVALID type');
      expect(await refusal(manager.guard(at.runId, given, doing('x')))).toBe(
        'ERR_STEP_INVALID type',
      );
    }
    expect(done).toEqual([]);
  });

  test('results and inputs that are no JSON', async () => {
    const task = await manager.task(at.runId, 'build');
    /** @type {any} */
    const circle = { deep: [] };
    circle.deep.push(circle);
    let deep = /** @type {any} */ ({});
    for (let level = 0; level < 600; level += 1) deep = { deep };
    const values = [
      Number.NaN,
      [Number.POSITIVE_INFINITY],
      1n,
      Symbol('x'),
      () => 1,
      new Date(),
      new Map(),
      { a: { 'b/c': new Set() } },
      Buffer.from('x'),
      new (class Thing {})(),
      new Error('x'),
      { toJSON: () => 1 },
      circle,
      deep,
    ];
    for (const [n, value] of values.entries()) {
      const step = () => task.step(`n${n}`, () => value);
      expect([n, await refusal(step)]).toEqual([n, 'ERR_TASK_NOT_JSON result']);
      const input = () => task.step(`i${n}`, doing('input'), { input: value });
      expect([n, await refusal(input)]).toEqual([n, 'ERR_TASK_NOT_JSON input']);
    }
    expect((await failure(task.step('where', () => ({ a: { 'b/c': 1n } })))).message).toContain(
      '/a/b~1c in it is a BigInt',
    );
    expect(done).toEqual([]);
    expect(await refusal(() => (task.state = new Date()))).toBe('ERR_TASK_NOT_JSON state');
    expect(await task.step('holes', () => [undefined, 1])).toEqual([null, 1]);
    // What is shared is no circle.
    const shared = { x: 1 };
    expect(await task.step('shared', () => [shared, shared])).toEqual([shared, shared]);
    await failure(manager.task(at.runId, 'other', () => 1n));
    expect((await manager.task(at.runId, 'other')).tree().failures).toHaveLength(1);
  });

  test('the same name twice', async () => {
    const task = await manager.task(at.runId, 'build');
    const first = task.step('a', doing('a'));
    expect(await refusal(task.step('a', doing('again')))).toBe('ERR_TASK_STEP_TWICE');
    await first;
    expect(await refusal(task.step('a', doing('again')))).toBe('ERR_TASK_STEP_TWICE');
    expect(await refusal(task.task('a', doing('again')))).toBe('ERR_TASK_STEP_TWICE');
    // In another task it is another step.
    await task.task('inner', (inner) => inner.step('a', doing('inner a')));
    expect(done).toEqual(['a', 'inner a']);
  });

  test('work after the end', async () => {
    /** @type {waymark.Task[]} */
    const tasks = [];
    await manager.task(at.runId, 'build', async (task) => {
      tasks.push(task);
      await task.task('inner', (inner) => void tasks.push(inner));
      expect(await refusal(tasks[1].step('late', doing('late')))).toBe('ERR_TASK_ENDED completed');
    });
    const [task] = tasks;
    for (const late of [
      () => task.step('late', doing('late')),
      () => task.task('late', doing('late')),
      () => task.guard('late', doing('late')),
      () => task.checkpoint(),
      () => task.progress(1),
      () => task.fail(new Error('late')),
    ]) {
      expect(await refusal(late)).toBe('ERR_TASK_ENDED completed');
    }
    const failed = await manager.task(at.runId, 'second');
    await failed.fail('words');
    expect(await refusal(failed.complete())).toBe('ERR_TASK_ENDED failed');
    expect(failed.tree().error).toEqual({ name: 'string', message: 'words' });
    expect(done).toEqual([]);
  });

  test('options', async () => {
    const any = /** @type {any} */ (manager);
    expect(await refusal(any.task(at.runId, 'build', { retries: 3 }))).toBe('ERR_OPTION_UNKNOWN');
    expect(await refusal(any.task(at.runId, 'build', { restart: 1 }))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(any.task(at.runId, 'build', {}, 5))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(any.task('no/run', 'build'))).toMatch('ERR_RUN_ID_INVALID');
    expect(await refusal(any.task('no-run', 'build'))).toBe('ERR_RUN_NOT_FOUND');
    const task = await manager.task(at.runId, 'build');
    const wrong = /** @type {any} */ (task);
    expect(await refusal(wrong.step('a'))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(wrong.step('a', doing('a'), { retries: 1 }))).toBe('ERR_OPTION_UNKNOWN');
    expect(await refusal(wrong.parallel('a'))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(wrong.parallel([{ name: 'a', fn: 1 }]))).toBe('ERR_OPTION_UNKNOWN');
    expect(await refusal(() => wrong.progress(-1))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(() => wrong.progress(1, 'x'))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(() => wrong.progress(2, 1))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(() => wrong.progress(1, 1, ''))).toBe('ERR_OPTION_INVALID');
    expect(done).toEqual([]);
  });

  test('a signal is looked at before each step', async () => {
    const controller = new AbortController();
    const task = await manager.task(at.runId, 'build', { signal: controller.signal });
    await task.step('a', () => {
      done.push('a');
      controller.abort(new Error('enough'));
    });
    const error = await failure(task.step('b', doing('b')));
    expect([error.code, error.cause.message, done]).toEqual(['ERR_ABORTED', 'enough', ['a']]);
    expect((await other().task(at.runId, 'build')).totals()).toMatchObject({
      steps: 1,
      completed: 1,
    });
  });

  test('canonical JSON does not know the order of members', () => {
    expect(canonical({ b: [{ d: 1, c: null }], a: 'ü' })).toBe('{"a":"ü","b":[{"c":null,"d":1}]}');
  });
});

test('facts say what a checkpoint is of, and are never too long', async () => {
  /** @type {any[]} */
  const told = [];
  const create = manager.create.bind(manager);
  manager.create = (runId, step, state, given) => {
    const { facts, ...options } = /** @type {any} */ (given);
    told.push(facts);
    return create(runId, step, state, options);
  };
  const long = 'n'.repeat(180);
  const words = [at.runId, long, (/** @type {waymark.Task} */ task) => deep(task)];
  const deep = async (/** @type {waymark.Task} */ task) => {
    task.progress(1, 2, 's'.repeat(9000));
    await task.task(long, (inner) => inner.step('a', () => 1));
    throw new Error('\ud800 no');
  };
  await failure(Task.run(manager, true, words));
  expect(told.map(({ type, trigger, scope }) => [type, trigger, scope].join())).toEqual([
    'automatic,progress,workflow',
    'automatic,progress,workflow',
    'automatic,progress,workflow',
  ]);
  expect(told[0].task).toHaveLength(256);
  expect(told[1].progress.summary.length).toBeLessThan(4096);
  expect(told[2]).toMatchObject({ priority: 'high', task: long });
  expect(told[2].description).toContain('\ufffd no');
  await guard(manager, true, [at.runId, 'deploy', () => 1]);
  expect(told[3]).toEqual({ type: 'automatic', trigger: 'risk', description: 'before deploy' });
  const auto = new Auto(manager, true, at.runId, { phases: true });
  for (const phase of ['a', 'b']) await auto.tick({ step: 1, phase });
  expect(told[4]).toEqual({ type: 'automatic', trigger: 'phase_transition', phase: 'b' });
  // As long as checkpoints take none, none are given.
  await guard(manager, false, [at.runId, 'deploy', () => 1]);
  expect(told[5]).toBeUndefined();
});

describe('guards', () => {
  const file = () => path.join(at.dir, 'artifacts', 'plan.md');
  const breaks = () => {
    fs.writeFileSync(file(), 'broken');
    writeJson(path.join(at.dir, 'run.json'), {
      ...readJson(path.join(at.dir, 'run.json')),
      status: 'broken',
    });
    throw new Error('mine');
  };
  beforeEach(() => fs.writeFileSync(file(), 'whole'));

  test('what is risky has a checkpoint before it', async () => {
    const result = await manager.guard(at.runId, 'deploy', ({ checkpointId }) => checkpointId, {
      state: { mine: 1 },
    });
    const [newest] = await manager.list(at.runId);
    expect(newest).toMatchObject({ step: 'deploy', checkpointId: result });
    expect((await manager.show(at.runId, result)).checkpoint.step_state).toEqual({ mine: 1 });
  });

  test('without rollback all stays as it is', async () => {
    const error = await failure(manager.guard(at.runId, 'deploy', breaks));
    expect(error.message).toBe('mine');
    const [newest] = await manager.list(at.runId);
    expect(error.waymark).toEqual({ checkpointId: newest.checkpointId, rolledBack: false });
    expect(fs.readFileSync(file(), 'utf8')).toBe('broken');
  });

  test('with rollback the run is put back: state and files', async () => {
    const error = await failure(manager.guard(at.runId, 'deploy', breaks, { rollback: true }));
    expect(error.message).toBe('mine');
    expect(error.waymark).toMatchObject({ rolledBack: true, restored: { step: 'deploy' } });
    expect(fs.readFileSync(file(), 'utf8')).toBe('whole');
    expect(readJson(path.join(at.dir, 'run.json')).status).toBe('in_progress');
    // What was there is in the rescue checkpoint.
    await manager.undo(at.runId);
    expect(fs.readFileSync(file(), 'utf8')).toBe('broken');
  });

  test('a rollback that is refused: the error is still the first one', async () => {
    at.put('src/a.txt', 'before');
    const capture = { workspace: ['src'] };
    const work = () => {
      at.put('src/a.txt', 'after');
      throw new Error('mine');
    };
    const error = await failure(
      manager.guard(at.runId, 'deploy', work, { rollback: true, capture, restore: { capture } }),
    );
    expect(error.message).toBe('mine');
    expect(error.waymark).toMatchObject({ rolledBack: false });
    expect(error.waymark.refused.code).toBe('ERR_RESTORE_CONFLICT');
    expect(fs.readFileSync(at.place('src/a.txt'), 'utf8')).toBe('after');
    at.put('src/a.txt', 'before');
    const restore = /** @type {const} */ ({ capture, onConflict: 'overwrite' });
    const second = await failure(
      manager.guard(at.runId, 'deploy', work, { rollback: true, capture, restore }),
    );
    expect(second.waymark.rolledBack).toBe(true);
    expect(fs.readFileSync(at.place('src/a.txt'), 'utf8')).toBe('before');
  });

  test('errors that take nothing go through as they are', async () => {
    const frozen = Object.freeze(new Error('frozen'));
    for (const thrown of [frozen, 'text', undefined, null]) {
      const work = manager.guard(at.runId, 'deploy', () => {
        throw thrown;
      });
      expect(await failure(work)).toBe(thrown);
    }
  });

  test('in a task: what was done since the guard runs again', async () => {
    let fails = true;
    const work = (/** @type {waymark.CheckpointManager} */ one) =>
      one.task(at.runId, 'build', async (task) => {
        await task.step('a', doing('a', 1));
        await task.guard(
          'risk',
          async () => {
            await task.step('b', () => {
              done.push('b');
              fs.writeFileSync(file(), 'by b');
            });
            await task.task('inner', (inner) => inner.step('c', doing('c')));
            if (fails) throw new Error('mine');
          },
          { rollback: true },
        );
        return fs.readFileSync(file(), 'utf8');
      });
    const error = await failure(work(manager));
    expect(error.message).toBe('mine');
    expect(error.waymark).toMatchObject({ rolledBack: true, failure: { path: ['build'] } });
    expect(fs.readFileSync(file(), 'utf8')).toBe('whole');
    expect(done.splice(0)).toEqual(['a', 'b', 'c']);
    fails = false;
    expect(await work(other())).toBe('by b');
    expect(done).toEqual(['b', 'c']);
  });

  test('in a task beside another one: what that did since is forgotten, too', async () => {
    const [one, two] = [await manager.task(at.runId, 'one'), await other().task(at.runId, 'two')];
    await two.step('a', doing('a'));
    const risky = one.guard(
      'risk',
      async () => {
        await two.step('b', doing('b'));
        await one.step('c', doing('c'));
        throw new Error('mine');
      },
      { rollback: true },
    );
    expect((await failure(risky)).message).toBe('mine');
    await one.step('d', doing('d'));
    // The other one learns of it.
    expect(await refusal(two.step('e', doing('e')))).toBe('ERR_TASK_CONFLICT restored');
    const again = await other().task(at.runId, 'two');
    expect(again.tree().steps?.map(({ name }) => name)).toEqual(['a']);
    await again.step('b', doing('b'));
    expect(done).toEqual(['a', 'b', 'c', 'd', 'b']);
  });

  test('in a task, killed right after the rollback: likewise', async () => {
    const task = await manager.task(at.runId, 'build');
    await task.step('a', doing('a'));
    task.state = { seen: ['a'] };
    await failure(
      task.guard(
        'risk',
        async () => {
          await task.step('b', doing('b'));
          task.state.seen.push('b');
          task.progress(1);
          throw new Error('mine');
        },
        { rollback: true },
      ),
    );
    // Nothing was recorded since.
    const again = await other().task(at.runId, 'build');
    expect(again.tree().steps?.map(({ name, status }) => [name, status])).toEqual([
      ['a', 'completed'],
    ]);
    expect(again.state).toEqual({ seen: ['a'] });
    // And in the same process, which may try again.
    expect([task.state, task.tree().progress]).toEqual([{ seen: ['a'] }, undefined]);
    await task.step('b', doing('b'));
    expect(done).toEqual(['a', 'b', 'b']);
  });

  test('misuse', async () => {
    const any = /** @type {any} */ (manager);
    expect(await refusal(any.guard(at.runId, 'x'))).toBe('ERR_OPTION_INVALID');
    expect(await refusal(any.guard(at.runId, 'a/b', breaks))).toBe('ERR_STEP_INVALID separator');
    expect(await refusal(any.guard(at.runId, 'x', breaks, { undo: true }))).toBe(
      'ERR_OPTION_UNKNOWN',
    );
    const wrong = { restore: { step: 1 } };
    expect(await refusal(any.guard(at.runId, 'x', breaks, wrong))).toBe('ERR_OPTION_UNKNOWN');
    expect(fs.readFileSync(file(), 'utf8')).toBe('whole');
    expect(await manager.list(at.runId)).toEqual([]);
  });
});
