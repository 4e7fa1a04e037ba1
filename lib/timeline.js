// The timeline of a run: what is known of it, in the order in which it happened.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { checkRunId } = require('./options.js');
const { History } = require('./task-history.js');
const { totalsOf } = require('./task.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').TimelineEntry} Entry
 * @typedef {import('../index.js').TimelineEvent} AuditEvent
 * @typedef {import('../index.js').TaskNode} TaskNode
 * @typedef {import('../index.js').TaskRoot} TaskRoot
 * @typedef {import('../index.js').Step} Step
 */

/** What of one instant is told first. */
const ORDER = ['run', 'task', 'pause', 'step', 'failure', 'checkpoint'];

/** The kinds of entries that events of the audit log become; others keep their name. */
const KINDS = /** @type {Record<string, string>} */ ({
  created: 'checkpoint',
  restored: 'restore',
});

/**
 * @param {Manager} manager
 * @param {unknown} runId
 * @returns {Promise<import('../index.js').Timeline>}
 */
async function timeline(manager, runId) {
  const run = checkRunId(runId);
  const history = new History(manager, run);
  const record = runRecord(manager, run);
  await history.look();
  const { rows, damaged } = history;
  if (record === undefined && rows.length + damaged.length === 0) {
    throw new WaymarkError(
      'ERR_RUN_NOT_FOUND',
      `there is no run ${JSON.stringify(run)} in ${manager.runsDir(run)}; check the id, or start the run`,
      { runId: run },
    );
  }
  const trees = [...(await history.trees()).values()];
  const known = [
    ...ofRun(record),
    ...rows.map(ofCheckpoint),
    ...damaged.map(ofDamaged),
    ...ofRestores(history),
    ...trees.flatMap(ofRoot),
  ];
  const entries = merge(known, fromEvents(await eventsOf(manager, run)));
  const steps = trees.map(totalsOf);
  /** @param {string} kind */
  const count = (kind) => entries.filter((one) => one.kind === kind).length;
  /** @param {'steps' | 'completed' | 'took'} member */
  const sum = (member) => steps.reduce((all, one) => all + one[member], 0);
  return {
    runId: run,
    status: typeof record?.status === 'string' ? record.status : null,
    entries,
    tasks: trees.map((tree) => structuredClone(tree)),
    totals: {
      checkpoints: count('checkpoint'),
      damaged: count('damaged'),
      restores: count('restore'),
      failures: count('failure'),
      pauses: count('pause'),
      paused: entries.reduce((all, one) => all + (one.kind === 'pause' ? (one.took ?? 0) : 0), 0),
      steps: sum('steps'),
      completed: sum('completed'),
      took: sum('took'),
    },
  };
}

/** @param {Manager} manager @param {string} runId @returns {Record<string, any> | undefined} */
function runRecord(manager, runId) {
  try {
    const file = path.join(manager.runsDir(runId), runId, 'run.json');
    const record = JSON.parse(fs.readFileSync(file, 'utf8'));
    return typeof record === 'object' && record !== null ? record : undefined;
  } catch (error) {
    // The timeline is also for a run whose record is missing or damaged.
    if (error instanceof WaymarkError) throw error;
    return undefined;
  }
}

/** @param {Record<string, any> | undefined} record @returns {Entry[]} */
function ofRun(record) {
  if (record === undefined) return [];
  /** @type {Entry[]} */
  const entries = [];
  const begun = timeOf(record.created_at);
  if (begun) entries.push({ time: begun, kind: 'run', what: 'the run was begun' });
  const ended = ['completed', 'failed', 'cancelled', 'error', 'handed_off'].includes(record.status);
  const last = timeOf(record.completed_at) ?? timeOf(record.updated_at);
  if (ended && last) entries.push({ time: last, kind: 'run', what: `the run is ${record.status}` });
  return entries;
}

/** @param {unknown} value @returns {string | undefined} ISO 8601 */
function timeOf(value) {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

/** @param {import('../index.js').CheckpointInfo} row @returns {Entry} */
function ofCheckpoint({ checkpointId, step, timestamp, size }) {
  return { time: timestamp, kind: 'checkpoint', what: `step ${step}`, step, checkpointId, size };
}

/** @param {import('../index.js').DamagedCheckpoint} row @returns {Entry} */
function ofDamaged({ checkpointId, damage, message, path: file }) {
  let time;
  try {
    time = fs.statSync(file).mtime.toISOString();
  } catch {
    time = new Date(0).toISOString();
  }
  return { time, kind: 'damaged', what: `${damage}: ${message}`, checkpointId };
}

/**
 * Restores, as far as checkpoints tell of them: one that does not descend from the one before it.
 * @param {InstanceType<typeof History>} history
 * @returns {Entry[]}
 */
function ofRestores(history) {
  const { rows, damaged } = history;
  const broken = new Set(damaged.map((one) => one.checkpointId));
  /** @type {Entry[]} */
  const entries = [];
  /** @param {string} id @param {string} time @param {string} when */
  const add = (id, time, when) => {
    const what = `put back to ${id}, ${when}`;
    entries.push({ time, kind: 'restore', what, checkpointId: id, inferred: true });
  };
  for (const [at, { parentCheckpointId: parent, timestamp }] of rows.entries()) {
    const before = rows[at + 1];
    if (before === undefined || parent === undefined || parent === before.checkpointId) continue;
    // Its parent is damaged, and so no row: nothing is known.
    if (!broken.has(parent)) add(parent, timestamp, 'some time before this');
  }
  const head = history.head();
  if (head && head !== rows[0]) add(head.checkpointId, rows[0].timestamp, 'some time after this');
  return entries;
}

/** @param {TaskRoot} root @returns {Entry[]} */
function ofRoot(root) {
  /** @type {Entry[]} */
  const entries = [];
  const [first, ...later] = root.sessions;
  let before = first;
  for (const session of later) {
    const took = Date.parse(session.started) - Date.parse(before.last);
    const what = `task ${root.name} was taken up again`;
    if (took >= 0)
      entries.push({ time: before.last, kind: 'pause', what, took, path: [root.name] });
    before = session;
  }
  for (const { at, kind, message, path: place, checkpoints } of root.notices ?? []) {
    entries.push({ time: at, kind, what: message, path: place ?? [root.name], checkpoints });
  }
  addNode(entries, root, []);
  return entries;
}

/** @param {Entry[]} entries @param {TaskNode} node @param {Step[]} above */
function addNode(entries, node, above) {
  const path_ = [...above, node.name];
  const { kind, name, status, started, finished, took, attempts, progress, rerun, failures } = node;
  entries.push({
    time: started,
    kind,
    what: whatOf(node),
    path: path_,
    step: name,
    status,
    attempts,
    ...(finished === undefined ? {} : { finished }),
    ...(took === undefined ? {} : { took }),
    ...(progress === undefined ? {} : { progress }),
    ...(rerun === undefined ? {} : { rerun }),
    ...(node.checkpoint ? { checkpointId: node.checkpoint } : {}),
  });
  for (const failure of failures ?? []) {
    entries.push({
      time: failure.at,
      kind: 'failure',
      what: `${failure.name}: ${failure.message}`,
      path: path_,
      step: name,
      attempts: failure.attempt,
      error: failure,
      ...(failure.checkpoint ? { checkpointId: failure.checkpoint } : {}),
    });
  }
  for (const step of node.steps ?? []) addNode(entries, step, path_);
}

/** @param {TaskNode} node */
function whatOf({ status, attempts, progress, rerun }) {
  const parts = [/** @type {string} */ (status)];
  if (progress) {
    const { done, total, summary } = progress;
    parts.push(total === undefined ? `${done} done` : `${done} of ${total}`);
    if (summary) parts.push(summary);
  }
  if (attempts > 1) parts.push(`attempt ${attempts}`);
  if (rerun) parts.push(rerun);
  return parts.join(', ');
}

/**
 * The events of a run, if there is an audit log.
 * @param {Manager} manager
 * @param {string} runId
 * @returns {Promise<AuditEvent[]>}
 */
async function eventsOf(manager, runId) {
  const { events } = /** @type {{ events?: Function }} */ (/** @type {unknown} */ (manager));
  if (typeof events !== 'function') return [];
  const here = realPath(manager.runsDir(runId));
  /** @type {Map<string, boolean>} */
  const known = new Map();
  /** @type {AuditEvent[]} */
  const found = [];
  const all = { runId, limit: Number.MAX_SAFE_INTEGER };
  for await (const event of await events.call(manager, all)) {
    const { runs } = event;
    // The log is the project's; another folder of runs in it may have a run of this id.
    // One that is gone is this one, as it was called before it was moved.
    if (runs !== undefined && !known.has(runs)) known.set(runs, (realPath(runs) ?? here) === here);
    if (runs === undefined || known.get(runs)) found.push(event);
  }
  return found;
}

/** @param {string} folder @returns {string | undefined} undefined if it is not there */
function realPath(folder) {
  try {
    return fs.realpathSync(folder);
  } catch {
    return undefined;
  }
}

/**
 * Events of the audit log as entries.
 * @param {AuditEvent[]} events
 * @returns {Entry[]}
 */
function fromEvents(events) {
  return events.flatMap(({ seq, time, event, checkpoint, data }) => {
    const at = timeOf(time);
    if (at === undefined) return [];
    return [
      {
        time: at,
        kind: KINDS[event] ?? event,
        what: saying(event, checkpoint, data),
        ...(checkpoint ? { checkpointId: checkpoint } : {}),
        seq,
        ...(data === undefined ? {} : { data }),
      },
    ];
  });
}

/**
 * @param {string} event
 * @param {string | undefined} checkpoint
 * @param {any} data
 * @returns {string} in words
 */
function saying(event, checkpoint, data) {
  if (event === 'created' && data?.step !== undefined) return `step ${data.step}`;
  if (event === 'updated' && data?.operation === 'pin') return `pinned: ${data.reason}`;
  if (event === 'updated' && data?.operation === 'unpin') return 'unpinned';
  if (event === 'updated' && data?.operation === 'fork') return `forked into run ${data.to?.run}`;
  if (event === 'operation_failed' && data?.operation !== undefined) {
    return `${data.operation} failed: ${data.code}`;
  }
  return checkpoint ? `${event} ${checkpoint}` : event;
}

/**
 * What is known of the run and what events tell, each once, in the order in which it happened.
 * @param {Entry[]} known
 * @param {Entry[]} told
 * @returns {Entry[]}
 */
function merge(known, told) {
  /** @param {Entry} one */
  const mark = ({ kind, checkpointId }) => `${kind} ${checkpointId}`;
  const listed = new Set(
    known.filter(({ kind }) => kind === 'checkpoint' || kind === 'damaged').map(mark),
  );
  // Who was there tells better than what is left behind.
  const restores = told.some(({ kind }) => kind === 'restore');
  return [
    ...known.filter((one) => !(restores && one.inferred)),
    ...told.filter((one) => !listed.has(mark(one))),
  ]
    .map((one, at) => ({ one, at, rank: ORDER.indexOf(one.kind) }))
    .sort(
      (a, b) =>
        Date.parse(a.one.time) - Date.parse(b.one.time) ||
        (a.rank < 0 ? ORDER.length : a.rank) - (b.rank < 0 ? ORDER.length : b.rank) ||
        a.at - b.at,
    )
    .map(({ one }) => one);
}

module.exports = { fromEvents, merge, timeline };
