// What the checkpoints of a run tell of its tasks: looked for along what the run's state descends from.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');

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
 * @property {Step} [base] the last step of the run that was done besides: that of the newest checkpoint no task took
 */

const FORMAT = 1;
/** Why the newest results of tasks are pinned. */
const HELD = 'results of tasks';

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
  /** @type {Map<string, Row>} */
  #byId = new Map();
  /** Those of other tools, which know of no sequence. @type {Set<string>} */
  #foreign = new Set();
  /** @type {DamagedRow[]} */
  damaged = [];
  /** Of the last restore. @type {{ checkpoint_id: string, after_sequence: number } | undefined} */
  #note;
  /** Where they lie; known once there is one. @type {string | undefined} */
  folder;
  /** The checkpoint that the trees were read from. @type {Row | undefined} */
  holder;

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
    this.#byId = new Map(this.rows.map((one) => [one.checkpointId, one]));
    if (all.length > 0) this.folder = path.dirname(all[0].path);
    for (const id of this.#read.keys()) if (this.row(id) === undefined) this.#read.delete(id);
    this.#note = this.#readNote();
  }

  /**
   * The checkpoint that the state on the disk descends from: the newest, or what was restored since.
   * @returns {Row | undefined}
   */
  head() {
    const [newest] = this.rows;
    const restored = this.#restored();
    return (restored === undefined ? undefined : this.row(restored)) ?? newest;
  }

  /** What was restored since the newest checkpoint. @returns {string | undefined} */
  #restored() {
    const [newest] = this.rows;
    if (newest === undefined || this.#note === undefined) return undefined;
    const sequence = this.#foreign.has(newest.checkpointId) ? 0 : sequenceOf(newest);
    return sequence <= this.#note.after_sequence ? this.#note.checkpoint_id : undefined;
  }

  /** The note of the last restore; docs/format.md tells of it. */
  #readNote() {
    if (this.folder === undefined) return undefined;
    try {
      const text = fs.readFileSync(path.join(this.folder, '.waymark', 'restored'), 'utf8');
      const note = JSON.parse(text);
      return typeof note?.after_sequence === 'number' ? note : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * The last step of the run that was done besides its tasks, as far as a checkpoint tells.
   * @param {Row | undefined} head
   * @returns {Promise<Step | undefined>}
   */
  async base(head) {
    for (const row of this.descent(head).rows) {
      const forest = await this.forest(row);
      if (forest) return forest.base;
      if (!isGuards(row)) return row.step;
    }
    return undefined;
  }

  /** @param {string | undefined} id @returns {Row | undefined} */
  row(id) {
    return id === undefined ? undefined : this.#byId.get(id);
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
   * older one has to do. Where one was dropped it goes on with the newest results that are pinned, if nothing was
   * restored since they were recorded, so that all later ones descend from them; else it ends.
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
      // What a fork began from lies in another run.
      if (parent === undefined) return { rows, ids, open: at.facts?.parent !== undefined };
      const below = this.row(parent);
      if (below && !this.lost.has(parent)) {
        at = below;
        continue;
      }
      ids.push(parent);
      const sequence = sequenceOf(at);
      const since = broken.has(parent) ? -1 : (this.#note?.after_sequence ?? 0);
      at = this.rows.find(
        (one) =>
          sequenceOf(one) < sequence &&
          !this.lost.has(one.checkpointId) &&
          (since < 0 || (one.pin?.reason === HELD && sequenceOf(one) > since)),
      );
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
    this.holder = undefined;
    const restored = this.#restored();
    // What the run was put back to is gone: nobody knows what was done by then, and what the newest one tells of
    // was taken back.
    if (restored !== undefined && this.row(restored) === undefined) return new Map();
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
      this.holder = row;
      return trees;
    }
    return new Map();
  }
}

/**
 * Whether a guard took it: of what was about to be done, and not after it.
 * @param {Pick<Row, 'facts' | 'step'>} row
 */
function isGuards({ facts, step }) {
  const { type, trigger, description } = facts ?? {};
  return type === 'automatic' && trigger === 'risk' && description === `before ${step}`;
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

module.exports = { FORMAT, forestIn, HELD, History, isGuards, sequenceOf, tellCheckpoint };
