// Where a task's results are kept: every checkpoint of a task carries the trees of all tasks of its run, so
// the newest one is enough. Takes them up, adds one checkpoint at a time, and notices when somebody else did.

const { randomBytes } = require('node:crypto');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { FORMAT, HELD, History, sequenceOf, tellCheckpoint } = require('./task-history.js');
const { cut, withFacts } = require('./task-values.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').TaskNode} TaskNode
 * @typedef {import('../index.js').TaskRoot} TaskRoot
 *
 * @typedef {import('./task-history.js').Forest} Forest
 * @typedef {{ id: string, sequence: number }} Head
 *
 * What a checkpoint is taken for.
 * @typedef {object} Entry
 * @property {Step} step
 * @property {Record<string, unknown>} facts
 * @property {() => void} apply puts it into the tree
 * @property {() => void} revert takes it out again: it could not be made durable
 *
 * @typedef {{ checkpointId: string, sequence: number, timestamp: string }} Made
 * @typedef {Map<TaskNode, Pick<TaskNode, 'state' | 'progress'>>} States
 * @typedef {Entry & { resolve: (made: Made) => void, reject: (error: unknown) => void }} Waiting
 */

const NOTICES_MAX = 50;
const SESSIONS_MAX = 100;

/** One start of one task: reads its tree and those of the run's other tasks, and adds to them. */
class Ledger {
  /** @type {Map<Step, TaskRoot>} */
  #others = new Map();
  /** @type {Head | null} the newest checkpoint known */
  #head = null;
  /** The newest that this session has written. */
  #own = 0;
  /** Its id, or that of the one the results were read from. @type {string | undefined} */
  #holder;
  /** Others take checkpoints that carry no results, and may push out the one that does. */
  #beside = false;
  /** The last step of the run that was done besides its tasks. @type {Step | undefined} */
  #base;
  /** @type {InstanceType<typeof WaymarkError> | undefined} once somebody else went on with the task */
  #broken;
  /** @type {Waiting[]} */
  #waiting = [];
  /** What works with the run's history does so one after the other. @type {Promise<unknown>} */
  #turn = Promise.resolve();
  /** At which sequence what is in the tree became durable; what an earlier session left is not in it. */
  #since = /** @type {WeakMap<TaskNode, number>} */ (new WeakMap());
  #history;
  /** How the run's folder was when all that is in it was known. @type {string | undefined} */
  #stamp;

  /**
   * @param {Manager} manager
   * @param {string} runId
   * @param {Record<string, any>} options of the checkpoints
   * @param {TaskRoot} root
   * @param {{ now: () => number, onNotice?: (notice: import('../index.js').TaskNotice) => void, factsKnown: boolean }} how
   */
  constructor(manager, runId, options, root, how) {
    this.manager = manager;
    this.runId = runId;
    this.options = options;
    this.how = how;
    /** @type {TaskRoot} */
    this.root = root;
    this.session = randomBytes(8).toString('hex');
    this.#history = new History(manager, runId);
  }

  /** Takes up the task where it was left. */
  async open() {
    const history = this.#history;
    this.manager.recoverSync(this.runId);
    await history.look();
    const trees = await history.trees();
    const head = history.head();
    this.#head = head ? { id: head.checkpointId, sequence: sequenceOf(history.rows[0]) } : null;
    const { name } = this.root;
    const found = trees.get(name);
    trees.delete(name);
    this.#others = trees;
    this.#base = await history.base(head);
    this.#holder = history.holder?.checkpointId;
    if (this.#holder !== undefined && this.#holder !== head?.checkpointId) await this.#hold();
    if (found) this.root = structuredClone(found);
    this.#tellDamaged();
    const at = new Date(this.how.now()).toISOString();
    const before = this.root.sessions.slice(1 - SESSIONS_MAX);
    this.root.sessions = [...before, { id: this.session, started: at, last: at }];
  }

  /** Says once what was passed over: what only that checkpoint knew runs again. */
  #tellDamaged() {
    const { damaged, lost } = this.#history;
    const ids = [...damaged.map((one) => one.checkpointId), ...lost];
    const told = this.root.passedOver ?? [];
    const fresh = ids.filter((id) => !told.includes(id));
    if (fresh.length === 0) return;
    this.root.passedOver = ids;
    this.notice({
      kind: 'damaged_passed_over',
      message: `damaged and passed over: ${cut(fresh.join(', '), 400)}; steps whose results only they had run again`,
      checkpoints: fresh,
    });
  }

  /** @param {Omit<import('../index.js').TaskNotice, 'at'>} notice */
  notice(notice) {
    const told = { ...notice, at: new Date(this.how.now()).toISOString() };
    this.root.notices = [...(this.root.notices ?? []).slice(1 - NOTICES_MAX), told];
    this.how.onNotice?.(structuredClone(told));
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Refuses if somebody else has gone on with the task. @returns {Promise<void>} */
  check() {
    return this.#inTurn(() => this.#look());
  }

  /**
   * Looks whether somebody else has gone on with the task, and takes over what other tasks of the run did.
   * @param {number} [before] only up to this sequence
   */
  async #look(before = Number.POSITIVE_INFINITY) {
    if (this.#broken) throw this.#broken;
    const history = this.#history;
    const stamp = history.stamp();
    const isAll = before === Number.POSITIVE_INFINITY;
    if (isAll && stamp !== undefined && stamp === this.#stamp) return;
    await history.look();
    const head = history.head();
    const newest = history.rows[0];
    if (head === undefined || newest === undefined) return;
    const known = this.#head;
    if (isAll) this.#stamp = stamp;
    if (head.checkpointId === known?.id && sequenceOf(newest) === known.sequence) return;
    const newer = history.rows.filter(
      (row) => sequenceOf(row) > (known?.sequence ?? 0) && sequenceOf(row) < before,
    );
    for (const row of newer.reverse()) {
      const forest = await history.forest(row);
      if (forest === undefined) this.#beside = true;
      if (forest === undefined || forest.session === this.session) continue;
      if (forest.by === this.root.name) {
        // It was written without knowledge of ours, which came first: its writer has to give in.
        const late = this.#own > (forest.after?.sequence ?? 0) && this.#own < sequenceOf(row);
        if (!late) throw this.#conflict('claimed', row.checkpointId);
      } else {
        const root = forest.roots.find(({ name }) => name === forest.by);
        if (root) this.#others.set(forest.by, root);
      }
    }
    if (known) {
      const { ids, open } = history.descent(head);
      if (!ids.includes(known.id) && !(open && history.row(known.id) === undefined)) {
        // A file that was found damaged since is no restore: all it knew is known here, too.
        const isDamaged = history.damaged.some((one) => one.checkpointId === known.id);
        if (!isDamaged) throw this.#conflict('restored', head.checkpointId);
      }
    }
    if (isAll) {
      this.#head = { id: head.checkpointId, sequence: sequenceOf(newest) };
      this.#base = await history.base(head);
    }
  }

  /**
   * Pins the checkpoint that holds the newest results, in the place of the one before: those taken beside tasks carry
   * none, and would push it out.
   */
  hold() {
    return this.#inTurn(() => this.#hold());
  }

  async #hold() {
    const { manager, runId } = this;
    const id = this.#holder;
    if (id === undefined || this.#broken) return;
    this.#beside = false;
    try {
      const rows = await manager.list(runId);
      const row = rows.find((one) => one.checkpointId === id);
      if (row === undefined) return;
      if (row.pin === undefined) await manager.pin(runId, id, { reason: HELD });
      for (const { checkpointId: other, pin } of rows) {
        if (other !== id && pin?.reason === HELD) await manager.unpin(runId, other);
      }
    } catch (error) {
      // What was recorded is recorded; only how long it stays is not sure.
      const { message } = /** @type {Error} */ (error);
      process.emitWarning(`results of tasks of run ${runId} could not be pinned: ${message}`, {
        type: 'WaymarkWarning',
        code: 'WAYMARK_TASKS',
      });
    }
  }

  /** @param {'claimed' | 'restored'} reason @param {string} checkpointId */
  #conflict(reason, checkpointId) {
    const { name } = this.root;
    const shown = JSON.stringify(name);
    const why = {
      claimed: `somebody else has gone on with task ${shown} of run ${JSON.stringify(this.runId)} (${checkpointId}); one process works on a task at a time: end this one, or the other and start this one again`,
      restored: `run ${JSON.stringify(this.runId)} was put back to ${checkpointId} while task ${shown} was at work; start the task again: it goes on from there (a rollback inside a task is task.guard)`,
    }[reason];
    this.#broken = new WaymarkError('ERR_TASK_CONFLICT', why, {
      reason,
      runId: this.runId,
      checkpointId,
    });
    return this.#broken;
  }

  /**
   * Makes an entry durable, with a checkpoint; entries that come while one is being taken share the next.
   * @param {Entry} entry
   * @returns {Promise<Made>}
   */
  record(entry) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...entry, resolve, reject });
      this.#inTurn(() => this.#recordWaiting());
    });
  }

  async #recordWaiting() {
    const batch = this.#waiting.splice(0);
    if (batch.length === 0) return;
    try {
      const made = await this.#take(batch);
      if (this.#beside) await this.#hold();
      for (const one of batch) one.resolve(made);
    } catch (error) {
      for (const one of batch) one.revert();
      // One of them may be at fault, such as a result too large: each for itself.
      const again = batch.length > 1 && !this.#broken;
      for (const one of batch) {
        if (again) await this.#takeAlone(one);
        else one.reject(error);
      }
    }
  }

  /** @param {Waiting} one */
  async #takeAlone(one) {
    try {
      one.resolve(await this.#take([one]));
    } catch (error) {
      one.revert();
      one.reject(error);
    }
  }

  /** @param {Entry[]} batch @returns {Promise<Made>} */
  async #take(batch) {
    await this.#look();
    const after = this.#head;
    for (const one of batch) one.apply();
    const session = this.root.sessions[this.root.sessions.length - 1];
    session.last = new Date(this.how.now()).toISOString();
    /** @type {Forest} */
    const tasks = {
      format: FORMAT,
      by: this.root.name,
      session: this.session,
      after,
      ...(this.#base === undefined ? {} : { base: this.#base }),
      roots: [...this.#others.values(), this.root],
    };
    const { step, facts } = batch[batch.length - 1];
    const options = withFacts(this.how.factsKnown, this.options, facts);
    const made = await this.manager.create(this.runId, step, { tasks }, options);
    const { checkpointId, sequence, timestamp, parentCheckpointId: parent } = made;
    if (parent !== after?.id) await this.#look(sequence);
    this.#head = { id: checkpointId, sequence };
    this.#own = sequence;
    this.#holder = checkpointId;
    this.#history.folder = path.dirname(made.path);
    this.#stamp = this.#history.stamp();
    tellCheckpoint(this.root, checkpointId);
    return { checkpointId, sequence, timestamp };
  }

  /**
   * Puts the run back to a checkpoint of this session, and forgets what was recorded since: its effects are gone.
   * @template T
   * @param {Made} to
   * @param {States} states as they were then
   * @param {() => Promise<T>} restore
   * @returns {Promise<T>}
   */
  rollBack(to, states, restore) {
    return this.#inTurn(async () => {
      await this.#look();
      const restored = await restore();
      this.#stamp = undefined;
      await this.#history.look();
      const newest = this.#history.rows[0];
      this.#head = { id: to.checkpointId, sequence: newest ? sequenceOf(newest) : to.sequence };
      this.#forget(this.root, to.sequence);
      const row = this.#history.row(to.checkpointId);
      const forest = row && (await this.#history.forest(row));
      const others = (forest?.roots ?? []).filter(({ name }) => name !== this.root.name);
      if (forest) this.#others = new Map(others.map((root) => [root.name, root]));
      this.#base = forest?.base;
      this.#holder = to.checkpointId;
      for (const [node, was] of states) {
        delete node.state;
        delete node.progress;
        Object.assign(node, structuredClone(was));
      }
      return restored;
    });
  }

  /** What callers said of their tasks, as it is now. @returns {States} */
  states() {
    /** @type {States} */
    const states = new Map();
    /** @param {TaskNode} node */
    const keep = (node) => {
      const { state, progress } = node;
      const was = { ...(state === undefined ? {} : { state }), ...(progress && { progress }) };
      states.set(node, JSON.parse(JSON.stringify(was)));
      for (const step of node.steps ?? []) keep(step);
    };
    keep(this.root);
    return states;
  }

  /** @param {TaskNode} node @param {number} after */
  #forget(node, after) {
    for (const step of node.steps ?? []) this.#forget(step, after);
    if (node.status !== 'completed' || (this.#since.get(node) ?? 0) <= after) return;
    node.status = 'undone';
    delete node.result;
    delete node.checkpoint;
  }

  /** @param {TaskNode} node @param {Made} made */
  durable(node, made) {
    this.#since.set(node, made.sequence);
  }
}

module.exports = { Ledger };
