// Tasks: work in steps whose results are kept in checkpoints, so that what was done is not done again.

const { WaymarkError } = require('./error.js');
const { checkOptions, checkRunId } = require('./options.js');
const { Ledger } = require('./task-ledger.js');
const {
  checkName,
  cut,
  errorRecord,
  inputHash,
  jsonOf,
  keyOf,
  tellOn,
} = require('./task-values.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').TaskNode} TaskNode
 * @typedef {import('../index.js').TaskRoot} TaskRoot
 * @typedef {import('./task-ledger.js').Made} Made
 *
 * What the tasks of one start share.
 * @typedef {object} Ground
 * @property {InstanceType<typeof Ledger>} ledger
 * @property {AbortSignal | undefined} signal
 * @property {() => number} now
 * @property {WeakSet<object>} recorded errors that a checkpoint tells of
 */

const FAILURES_MAX = 10;

const CHECKPOINTS = /** @type {const} */ ({
  keepLast: 'keepLast',
  maxStateBytes: 'number',
  capture: 'capture',
  maxBytes: 'number',
});
const TASK = /** @type {const} */ ({
  ...CHECKPOINTS,
  input: 'any',
  restart: 'boolean',
  signal: 'signal',
  onNotice: 'function',
});
const STEP = /** @type {const} */ ({ input: 'any' });
const PARALLEL = /** @type {const} */ ({ limit: 'positive' });

/** @param {Step[]} path @returns {string} for messages */
function shown(path) {
  return JSON.stringify(path.join('/'));
}

/** @template T @param {T} value a JSON value @returns {T} */
function copy(value) {
  return value === undefined ? value : structuredClone(value);
}

/** @param {unknown} fn @param {string} where */
function checkFunction(fn, where) {
  if (typeof fn === 'function') return;
  throw new WaymarkError('ERR_OPTION_INVALID', `${where}: give a function, not ${typeof fn}`);
}

/** A piece of work in steps. */
class Task {
  /** @type {Ground} */
  #ground;
  /** @type {TaskNode} */
  #node;
  /** @type {Step[]} */
  #path;
  /** Names that were used since this start. @type {Set<Step>} */
  #used = new Set();
  /** What is under way. @type {Set<Promise<unknown>>} */
  #running = new Set();
  /** @type {string | undefined} */
  #ended;
  /** When this start began, by a clock that no one sets. */
  #begun = performance.now();

  /**
   * @param {Ground} ground
   * @param {TaskNode} node
   * @param {Step[]} path
   */
  constructor(ground, node, path) {
    this.#ground = ground;
    this.#node = node;
    this.#path = path;
    if (node.status === 'completed') this.#ended = 'completed';
  }

  get runId() {
    return this.#ground.ledger.runId;
  }

  get name() {
    return this.#node.name;
  }

  /** @returns {Step[]} */
  get path() {
    return [...this.#path];
  }

  get status() {
    return this.#node.status;
  }

  get result() {
    return copy(this.#node.result);
  }

  get attempts() {
    return this.#node.attempts;
  }

  get notices() {
    return structuredClone(this.#ground.ledger.root.notices ?? []);
  }

  get state() {
    return this.#node.state;
  }

  set state(value) {
    jsonOf(value, `the state of task ${shown(this.#path)}`, 'state');
    if (value === undefined) delete this.#node.state;
    else this.#node.state = value;
  }

  /** @returns {TaskNode} */
  tree() {
    return structuredClone(this.#node);
  }

  totals() {
    return totalsOf(this.#node);
  }

  /**
   * @param {number} done
   * @param {number} [total]
   * @param {string} [summary]
   */
  progress(done, total, summary) {
    this.#refuseEnded('progress');
    const most = total ?? Number.MAX_VALUE;
    const right = [done, most].every(
      (one) => typeof one === 'number' && one >= 0 && one < Infinity,
    );
    const told = summary === undefined || (typeof summary === 'string' && summary !== '');
    if (!right || done > most || !told) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        'progress: give how much is done and how much there is in all, as numbers from 0 on, and a summary as text',
      );
    }
    this.#node.progress = {
      done,
      ...(total === undefined ? {} : { total }),
      ...(summary === undefined ? {} : { summary }),
    };
  }

  /**
   * @template T
   * @param {Step} name
   * @param {(step: import('../index.js').StepContext) => T | Promise<T>} fn
   * @param {import('../index.js').TaskStepOptions} [options]
   * @returns {Promise<T>}
   */
  step(name, fn, options) {
    return this.#watch(this.#unit('step', name, fn, options));
  }

  /**
   * @template T
   * @param {Step} name
   * @param {(task: Task) => T | Promise<T>} fn
   * @param {import('../index.js').TaskStepOptions} [options]
   * @returns {Promise<T>}
   */
  task(name, fn, options) {
    return this.#watch(this.#unit('task', name, fn, options));
  }

  /**
   * @param {import('../index.js').ParallelStep<unknown>[]} steps
   * @param {{ limit?: number }} [options]
   * @returns {Promise<any[]>}
   */
  async parallel(steps, options) {
    const { limit = Number.POSITIVE_INFINITY } = checkOptions(options, PARALLEL, 'parallel');
    if (!Array.isArray(steps)) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        'parallel: give an array of { name, run, input }',
      );
    }
    const checked = steps.map((one) =>
      checkOptions(one, { name: 'any', run: 'function', input: 'any' }, 'parallel'),
    );
    /** @type {unknown[]} */
    const results = new Array(steps.length);
    /** @type {unknown[]} */
    const errors = [];
    let next = 0;
    const lane = async () => {
      while (next < checked.length) {
        const at = next;
        next += 1;
        const { name, run, input } = checked[at];
        try {
          results[at] = await this.step(name, run, { input });
        } catch (error) {
          errors.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(limit, checked.length) }, lane));
    if (errors.length > 0) throw errors[0];
    return results;
  }

  /** @param {Step} [step] @returns {Promise<Made>} */
  async checkpoint(step = this.#node.name) {
    this.#refuseEnded('checkpoint');
    return this.take(checkName(step), {});
  }

  /**
   * A checkpoint that adds nothing to the tree; also of guards and triggers.
   * @param {Step} step
   * @param {Record<string, unknown>} facts
   * @returns {Promise<Made>}
   */
  take(step, facts) {
    return this.#record(step, { trigger: 'user', ...facts });
  }

  /**
   * @template T
   * @param {Step} name
   * @param {(guard: { checkpointId: string }) => T | Promise<T>} fn
   * @param {import('../index.js').TaskGuardOptions} [options]
   * @returns {Promise<T>}
   */
  async guard(name, fn, options) {
    this.#refuseEnded('guard');
    const { ledger } = this.#ground;
    /** @type {import('./task-ledger.js').States} */
    let states = new Map();
    return require('./guard.js').guarded(name, fn, options, {
      take: async (step, facts) => {
        const made = await this.take(step, facts);
        states = ledger.states();
        return made;
      },
      restore: (made, how) =>
        ledger.rollBack(made, states, () =>
          ledger.manager.restore(ledger.runId, { ...how, checkpointId: made.checkpointId }),
        ),
    });
  }

  /** @param {unknown} [result] */
  async complete(result) {
    const node = this.#node;
    if (this.#ended === 'completed') return;
    this.#refuseEnded('complete');
    const text = jsonOf(result, `the result of task ${shown(this.#path)}`, 'result');
    await this.#settled();
    this.#refuseEnded('complete');
    this.#ended = 'completed';
    try {
      await this.#finish(node, node.name, text, this.#begun);
    } catch (error) {
      this.#ended = undefined;
      throw error;
    }
    await this.#hold();
  }

  /** @param {unknown} error */
  async fail(error) {
    this.#refuseEnded('fail');
    await this.#settled();
    this.#refuseEnded('fail');
    this.#ended = 'failed';
    await this.#failed(this.#node, this.#path, error, this.#begun, true);
    await this.#hold();
  }

  /** What was recorded stays until the next start, whatever else is taken of the run. */
  async #hold() {
    if (this.#path.length === 1) await this.#ground.ledger.hold();
  }

  #steps() {
    this.#node.steps ??= [];
    return this.#node.steps;
  }

  /** Waits for the steps under way: none works on behind the back of whoever got the task's end. */
  async #settled() {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  /** @template T @param {Promise<T>} work @returns {Promise<T>} */
  #watch(work) {
    this.#running.add(work);
    const done = () => this.#running.delete(work);
    work.then(done, done);
    return work;
  }

  /** @param {string} what */
  #refuseEnded(what) {
    if (this.#ended === undefined) return;
    throw new WaymarkError(
      'ERR_TASK_ENDED',
      `${what}: task ${shown(this.#path)} of run ${JSON.stringify(this.runId)} has ${this.#ended}; await all of its work before it ends, or begin it anew (restart)`,
      { reason: this.#ended, runId: this.runId },
    );
  }

  /**
   * @param {'step' | 'task'} kind
   * @param {unknown} nameGiven
   * @param {Function} fn
   * @param {unknown} options
   * @returns {Promise<any>}
   */
  async #unit(kind, nameGiven, fn, options) {
    const name = checkName(nameGiven);
    checkFunction(fn, kind);
    const { input } = checkOptions(options, STEP, kind);
    const path = [...this.#path, name];
    const hash = inputHash(input, `the input of ${kind} ${shown(path)}`);
    const steps = this.#steps();
    const found = steps.find((one) => one.name === name);
    const stored = found?.status === 'completed' && found.kind === kind;
    const isSame = stored && (hash === undefined || hash === found.input);
    if (this.#used.has(name) && (found?.status === 'completed' || found?.status === 'running')) {
      throw new WaymarkError(
        'ERR_TASK_STEP_TWICE',
        `task ${shown(this.#path)} of run ${JSON.stringify(this.runId)} has two steps ${JSON.stringify(name)}; give each a name of its own, such as ${JSON.stringify(`${name}-2`)}`,
        { runId: this.runId },
      );
    }
    if (!(isSame && this.#ended === 'completed')) this.#refuseEnded(`${kind} ${shown(path)}`);
    this.#used.add(name);
    if (isSame) return copy(found.result);
    const { ledger, signal, now } = this.#ground;
    const started = new Date(now()).toISOString();
    /** @type {TaskNode} */
    const node = found ?? { name, kind, status: 'running', attempts: 0, started };
    if (!found) steps.push(node);
    const before = node.status;
    node.status = 'running';
    try {
      refuseAborted(signal);
      if (before === 'completed') await this.#begunAnew(node, path, stored);
      else await ledger.check();
    } catch (error) {
      // Refused before it began: as it was.
      this.#used.delete(name);
      node.status = before;
      if (!found) steps.splice(steps.indexOf(node), 1);
      throw error;
    }
    return this.#work(node, path, kind, fn, hash);
  }

  /**
   * @param {TaskNode} node
   * @param {Step[]} path
   * @param {'step' | 'task'} kind
   * @param {Function} fn
   * @param {string | undefined} hash
   */
  async #work(node, path, kind, fn, hash) {
    const { ledger, signal, now, recorded } = this.#ground;
    node.kind = kind;
    if (kind === 'task') node.steps ??= [];
    else delete node.steps;
    const begun = begin(node, now);
    const { name, attempts: attempt } = node;
    const key = keyOf(this.runId, ledger.root.round, path, hash);
    const inner = kind === 'task' ? new Task(this.#ground, node, path) : undefined;
    let text;
    try {
      const value = await fn(inner ?? { name, path: [...path], key, attempt, signal });
      text = jsonOf(value, `the result of ${kind} ${shown(path)}`, 'result');
      if (inner) await inner.#end('completed');
    } catch (error) {
      if (inner) await inner.#end('failed');
      const isNews = typeof error !== 'object' || error === null || !recorded.has(error);
      await this.#failed(node, path, error, begun, isNews);
      throw error;
    }
    try {
      await this.#finish(node, name, text, begun, hash);
    } catch (error) {
      node.status = 'failed';
      node.error = errorRecord(error);
      throw error;
    }
    return copy(node.result);
  }

  /** @param {string} how */
  async #end(how) {
    await this.#settled();
    this.#ended = how;
  }

  /**
   * What was done for another input does not hold any more: durably, before anything is done for this one.
   * @param {TaskNode} node
   * @param {Step[]} path
   * @param {boolean} isSameKind
   */
  async #begunAnew(node, path, isSameKind) {
    const { ledger } = this.#ground;
    const before = { ...node };
    const rerun = isSameKind ? 'input_changed' : 'kind_changed';
    const why = isSameKind ? 'its input has changed' : 'it was of another kind';
    ledger.notice({ kind: 'rerun', message: `${shown(path)} runs again: ${why}`, path, rerun });
    await this.#record(
      node.name,
      { trigger: 'progress', description: `${cut(path.join('/'), 100)} runs again: ${rerun}` },
      () => {
        node.rerun = rerun;
        delete node.result;
        delete node.checkpoint;
      },
      () => Object.assign(node, before, { status: 'completed' }),
    );
  }

  /**
   * @param {TaskNode} node
   * @param {Step} name
   * @param {string | undefined} text the result
   * @param {number} begun
   * @param {string} [hash]
   */
  async #finish(node, name, text, begun, hash) {
    const { ledger, now } = this.#ground;
    const input = hash ?? node.input;
    const before = { ...node };
    const made = await this.#record(
      name,
      { trigger: 'progress', description: `${node.kind} ${cut(name, 100)} is done` },
      () => {
        node.status = 'completed';
        node.finished = new Date(now()).toISOString();
        node.took = Math.round(performance.now() - begun);
        node.checkpoint = null;
        if (input !== undefined) node.input = input;
        if (text === undefined) delete node.result;
        else node.result = JSON.parse(text);
        delete node.error;
      },
      () => {
        node.status = before.status;
        for (const member of /** @type {const} */ (['finished', 'took', 'checkpoint', 'result'])) {
          delete node[member];
        }
      },
    );
    ledger.durable(node, made);
  }

  /**
   * @param {TaskNode} node
   * @param {Step[]} path
   * @param {unknown} error
   * @param {number} begun
   * @param {boolean} isNews no checkpoint tells of it yet
   */
  async #failed(node, path, error, begun, isNews) {
    const { ledger, now, recorded } = this.#ground;
    const record = errorRecord(error);
    let applied = false;
    const apply = () => {
      if (applied) return;
      applied = true;
      const at = new Date(now()).toISOString();
      node.status = 'failed';
      node.finished = at;
      node.took = Math.round(performance.now() - begun);
      node.error = record;
      const failure = { at, attempt: node.attempts, checkpoint: null, ...record };
      node.failures = [...(node.failures ?? []).slice(1 - FAILURES_MAX), failure];
    };
    if (!isNews) {
      // The checkpoint of the step tells of it; the next one tells that this went down with it.
      apply();
      return;
    }
    const facts = {
      trigger: 'progress',
      priority: 'high',
      description: `${node.kind} ${cut(node.name, 100)} failed: ${cut(record.message, 200)}`,
    };
    if (typeof error === 'object' && error !== null) recorded.add(error);
    try {
      const { checkpointId } = await this.#record(node.name, facts, apply);
      const known = /** @type {{ waymark?: { failure?: object } } | null} */ (error)?.waymark
        ?.failure;
      if (!known) tellOn(error, { failure: { runId: ledger.runId, path, checkpointId } });
    } catch (notRecorded) {
      // The step's own error is the one to know of.
      apply();
      tellOn(error, { failure: { runId: ledger.runId, path, notRecorded } });
    }
  }

  /**
   * @param {Step} step
   * @param {Record<string, unknown>} facts
   * @param {() => void} [apply]
   * @param {() => void} [revert]
   * @returns {Promise<Made>}
   */
  #record(step, facts, apply = () => {}, revert = () => {}) {
    const { progress } = this.#node;
    return this.#ground.ledger.record({
      step,
      facts: {
        type: 'automatic',
        scope: 'workflow',
        task: this.#path.join('/'),
        ...(progress ? { progress } : {}),
        ...facts,
      },
      apply,
      revert,
    });
  }

  /**
   * Takes up a task of a run, or begins it.
   * @param {Manager} manager
   * @param {boolean} factsKnown
   * @param {unknown} runId
   * @param {unknown} name
   * @param {unknown} options
   * @returns {Promise<Task>}
   */
  static async open(manager, factsKnown, runId, name, options) {
    const { input, restart, signal, onNotice, ...checkpoints } = checkOptions(
      options,
      TASK,
      'task',
    );
    const run = checkRunId(runId);
    const checked = checkName(name);
    const hash = inputHash(input, `the input of task ${shown([checked])}`);
    refuseAborted(signal);
    const now = Date.now;
    /** @type {TaskRoot} */
    const fresh = {
      name: checked,
      kind: 'task',
      status: 'running',
      attempts: 0,
      started: '',
      round: 0,
      sessions: [],
      steps: [],
    };
    const ledger = new Ledger(manager, run, checkpoints, fresh, { now, onNotice, factsKnown });
    await ledger.open();
    const ground = { ledger, signal, now, recorded: new WeakSet() };
    const { root } = ledger;
    const isDone = root.status === 'completed';
    const isChanged = hash !== undefined && root.input !== undefined && hash !== root.input;
    if (isDone && restart !== true && (hash === undefined || hash === root.input)) {
      return new Task(ground, root, [checked]);
    }
    if (restart === true && (root.attempts > 0 || root.steps.length > 0)) {
      root.round += 1;
      root.steps = [];
      for (const member of /** @type {const} */ (['progress', 'state', 'failures', 'error'])) {
        delete root[member];
      }
      ledger.notice({ kind: 'restarted', message: `task ${shown([checked])} was begun anew` });
    }
    if (isChanged) {
      root.rerun = 'input_changed';
      const message = `${shown([checked])} runs again: its input has changed`;
      ledger.notice({ kind: 'rerun', message, path: [checked], rerun: 'input_changed' });
    }
    begin(root, now);
    delete root.result;
    delete root.checkpoint;
    if (hash !== undefined) root.input = hash;
    const task = new Task(ground, root, [checked]);
    // What was done before does not hold any more: durably, before anything is done.
    if (isDone || restart === true || isChanged) {
      await task.#record(checked, { trigger: 'progress', description: 'begun again' });
    }
    return task;
  }

  /**
   * @param {Manager} manager
   * @param {boolean} factsKnown
   * @param {unknown[]} words run, name, options, function
   */
  static async run(manager, factsKnown, [runId, name, ...rest]) {
    const [options, fn] = typeof rest[0] === 'function' ? [undefined, rest[0]] : rest;
    if (fn !== undefined) checkFunction(fn, 'task');
    const task = await Task.open(manager, factsKnown, runId, name, options);
    if (typeof fn !== 'function') return task;
    if (task.status === 'completed') return task.result;
    try {
      await task.complete(await fn(task));
    } catch (error) {
      // The task's own end may have failed it; or the function itself has.
      if (task.#ended === undefined) await task.fail(error);
      throw error;
    }
    return task.result;
  }
}

/** @param {TaskNode} node @param {() => number} now @returns {number} */
function begin(node, now) {
  node.status = 'running';
  node.attempts += 1;
  node.started = new Date(now()).toISOString();
  delete node.finished;
  delete node.took;
  delete node.error;
  return performance.now();
}

/** @param {AbortSignal | undefined} signal */
function refuseAborted(signal) {
  if (!signal?.aborted) return;
  throw new WaymarkError('ERR_ABORTED', 'the task was aborted; what was done stays recorded', {
    cause: signal.reason,
  });
}

/**
 * Counts the steps at the ends of a tree.
 * @param {TaskNode} node
 * @returns {import('../index.js').TaskTotals}
 */
function totalsOf(node) {
  const totals = { steps: 0, completed: 0, failed: 0, running: 0, attempts: 0, took: 0 };
  /** @param {TaskNode} one */
  const count = (one) => {
    for (const step of one.steps ?? []) count(step);
    if (one.kind === 'task') return;
    totals.steps += 1;
    totals.attempts += one.attempts;
    totals.took += one.took ?? 0;
    if (one.status !== 'undone') totals[one.status] += 1;
  };
  count(node);
  return totals;
}

module.exports = { CHECKPOINTS, Task, totalsOf };
