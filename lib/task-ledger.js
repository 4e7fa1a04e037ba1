// Where a task's results are kept: every checkpoint of a task carries the trees of all tasks of its run, so
// the newest one is enough. Looks for it along what the run's state descends from, adds to it one checkpoint
// at a time, and notices when somebody else did.

const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { cut, withFacts } = require('./task-values.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').CheckpointInfo} Row
 * @typedef {import('../index.js').DamagedCheckpoint} DamagedRow
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').TaskNode} TaskNode
 * @typedef {import('../index.js').TaskRoot} TaskRoot
 *
 * The member `tasks` of a checkpoint's `step_state`; see docs/tasks.md.
 * @typedef {object} Forest
 * @property {number} format
 * @property {Step} by the task that wrote it; of the others it has copies
 * @property {string} session which start of that task
 * @property {{ id: string, sequence: number } | null} after the checkpoint that it was meant to follow
 * @property {TaskRoot[]} roots
 *
 * @typedef {{ id: string, sequence: number }} Head
 * @typedef {{ row: Row, forest: Forest }} Found
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

const FORMAT = 1;
const NOTICES_MAX = 50;
const SESSIONS_MAX = 100;

/** The state of a checkpoint as a task writes it. @param {unknown} state @returns {Forest | undefined} */
function forestIn(state) {
  const forest = /** @type {{ tasks?: Forest } | null} */ (state)?.tasks;
  if (typeof forest !== 'object' || forest === null || typeof forest.format !== 'number') {
    return undefined;
  }
  if (forest.format > FORMAT) {
    throw new WaymarkError(
      'ERR_TASK_FORMAT',
      `tasks were recorded in format ${forest.format} by a newer waymark; this one knows ${FORMAT}; update it`,
    );
  }
  return Array.isArray(forest.roots) ? forest : undefined;
}

/** Checkpoints of a run, newest first, each read once. */
class History {
  /** @type {Map<string, Forest | null>} `null`: it has none, or can't be read any more */
  #read = new Map();
  /** Those that can't be read. @type {Set<string>} */
  lost = new Set();
  /** Newest first. @type {Row[]} */
  rows = [];
  /** Those of other tools, which know of no sequence. @type {Set<string>} */
  #foreign = new Set();
  /** @type {DamagedRow[]} */
  damaged = [];
  /** Where they lie; known once there is one. @type {string | undefined} */
  folder;

  /** @param {Manager} manager @param {string} runId */
  constructor(manager, runId) {
    this.manager = manager;
    this.runId = runId;
  }

  /**
   * What changes when a checkpoint comes or goes, or the run is put back. Only to spare a look: what it misses, the
   * parent of the next checkpoint tells.
   * @returns {string | undefined}
   */
  stamp() {
    const { folder } = this;
    if (folder === undefined) return undefined;
    return [folder, path.join(folder, '.waymark', 'restored')]
      .map((place) => {
        const { mtimeNs, ino } = fs.statSync(place, { bigint: true, throwIfNoEntry: false }) ?? {};
        return `${mtimeNs} ${ino}`;
      })
      .join();
  }

  async look() {
    const all = await this.manager.list(this.runId, { includeDamaged: true });
    this.damaged = [];
    this.rows = [];
    /** @type {Row | undefined} */
    let before;
    for (const one of all.reverse()) {
      if ('damage' in one) {
        this.damaged.push(one);
        continue;
      }
      if (one.sequence === undefined) {
        // It stands behind the one before it in the list, and is taken to descend from it.
        this.#foreign.add(one.checkpointId);
        before = {
          ...one,
          sequence: before?.sequence ?? 0,
          parentCheckpointId: before?.checkpointId,
        };
      } else before = one;
      this.rows.push(before);
    }
    this.rows.reverse();
    if (all.length > 0) this.folder = path.dirname(all[0].path);
    for (const id of this.#read.keys()) if (this.row(id) === undefined) this.#read.delete(id);
  }

  /**
   * The checkpoint that the state on the disk descends from: the newest, or what was restored since.
   * docs/format.md tells of the note that is read here.
   * @returns {Row | undefined}
   */
  head() {
    const [newest] = this.rows;
    if (newest === undefined) return undefined;
    const file = path.join(path.dirname(newest.path), '.waymark', 'restored');
    let note;
    try {
      note = JSON.parse(fs.readFileSync(file, 'utf8'));
    } catch {
      return newest;
    }
    const restored = this.row(note?.checkpoint_id);
    const sequence = this.#foreign.has(newest.checkpointId) ? 0 : sequenceOf(newest);
    return restored && sequence <= note.after_sequence ? restored : newest;
  }

  /** @param {string | undefined} id @returns {Row | undefined} */
  row(id) {
    return this.rows.find((one) => one.checkpointId === id);
  }

  /** What a checkpoint says of tasks. @param {Row} row @returns {Promise<Forest | undefined>} */
  async forest({ checkpointId: id }) {
    const known = this.#read.get(id);
    if (known !== undefined) return known ?? undefined;
    /** @type {Forest | undefined} */
    let found;
    try {
      const { checkpoint } = await this.manager.show(this.runId, id);
      found = forestIn(checkpoint.step_state);
    } catch (error) {
      const { code } = /** @type {{ code?: unknown }} */ (error);
      if (code !== 'ERR_CHECKPOINT_DAMAGED' && code !== 'ERR_CHECKPOINT_NOT_FOUND') throw error;
      this.lost.add(id);
    }
    for (const root of found?.roots ?? []) tellCheckpoint(root, id);
    this.#read.set(id, found ?? null);
    return found;
  }

  /**
   * From a checkpoint on down what it descends from. Where one is damaged its own parent is not known: the next
   * older one has to do. Where one was dropped it ends.
   * @param {Row | undefined} row
   * @returns {{ rows: Row[], ids: string[], open: boolean }} `ids` also of those that are no rows, in order;
   * `open`: what lies below is not known
   */
  descent(row) {
    /** @type {Row[]} */
    const rows = [];
    /** @type {string[]} */
    const ids = [];
    const broken = new Set([...this.lost, ...this.damaged.map((one) => one.checkpointId)]);
    for (let at = row; at !== undefined; ) {
      rows.push(at);
      ids.push(at.checkpointId);
      const { parentCheckpointId: parent } = at;
      if (parent === undefined) return { rows, ids, open: false };
      const below = this.row(parent);
      if (below && !this.lost.has(parent)) {
        at = below;
        continue;
      }
      ids.push(parent);
      if (!broken.has(parent)) return { rows, ids, open: true };
      const sequence = sequenceOf(at);
      at = this.rows.find((one) => sequenceOf(one) < sequence && !this.lost.has(one.checkpointId));
    }
    return { rows, ids, open: true };
  }

  /**
   * The trees that hold for the state on the disk.
   * @returns {Promise<Map<Step, TaskRoot>>}
   */
  async trees() {
    for (;;) {
      const lost = this.lost.size;
      const trees = await this.#trees();
      // One that could not be read ends the way down too early.
      if (this.lost.size === lost) return trees;
    }
  }

  /** @returns {Promise<Map<Step, TaskRoot>>} */
  async #trees() {
    const head = this.head();
    const { rows, ids, open } = this.descent(
      head && this.lost.has(head.checkpointId)
        ? this.rows.find((one) => !this.lost.has(one.checkpointId))
        : head,
    );
    for (const [at, row] of rows.entries()) {
      const forest = await this.forest(row);
      if (forest === undefined) continue;
      // Written for a state that the run was put back from in that very moment.
      const { after } = forest;
      const below = ids.slice(ids.indexOf(row.checkpointId) + 1);
      const fits =
        after === null || below.includes(after.id) || (open && this.row(after.id) === undefined);
      if (!fits) continue;
      const trees = new Map(forest.roots.map((root) => [root.name, root]));
      // What was recorded beside it, and not known to it; of the same task, the first to come counts.
      const beside = rows
        .slice(at + 1)
        .filter((one) => sequenceOf(one) > (after?.sequence ?? 0))
        .reverse();
      let winner;
      for (const one of beside) {
        const other = await this.forest(one);
        if (other === undefined) continue;
        if (other.by === forest.by) {
          winner ??= other.session;
          if (winner !== other.session) continue;
        }
        const root = other.roots.find(({ name }) => name === other.by);
        if (root) trees.set(other.by, root);
      }
      return trees;
    }
    return new Map();
  }
}

/** @param {Row} row */
function sequenceOf(row) {
  return row.sequence ?? 0;
}

/**
 * What ended with a checkpoint could not name it when it was written.
 * @param {TaskNode} node
 * @param {string} id
 */
function tellCheckpoint(node, id) {
  if (node.checkpoint === null) node.checkpoint = id;
  for (const failure of node.failures ?? []) failure.checkpoint ??= id;
  for (const step of node.steps ?? []) tellCheckpoint(step, id);
}

/** One start of one task: reads its tree and those of the run's other tasks, and adds to them. */
class Ledger {
  /** @type {Map<Step, TaskRoot>} */
  #others = new Map();
  /** @type {Head | null} the newest checkpoint known */
  #head = null;
  /** The newest that this session has written. */
  #own = 0;
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
      roots: [...this.#others.values(), this.root],
    };
    const { step, facts } = batch[batch.length - 1];
    const options = withFacts(this.how.factsKnown, this.options, facts);
    const made = await this.manager.create(this.runId, step, { tasks }, options);
    const { checkpointId, sequence, timestamp, parentCheckpointId: parent } = made;
    if (parent !== after?.id) await this.#look(sequence);
    this.#head = { id: checkpointId, sequence };
    this.#own = sequence;
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

module.exports = { History, Ledger, forestIn };
