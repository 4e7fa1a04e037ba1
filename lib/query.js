// Questions about the checkpoints of all runs: pages, a stream of them, the tree of a run and what came of it.

const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');
const { checkOptions, checkRunId } = require('./options.js');

/**
 * @typedef {import('./manager.js').Calls} Calls
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').QueryRequest} QueryRequest
 * @typedef {import('../native.js').QueryPage} NativePage
 * @typedef {import('../index.js').QueryRow} QueryRow
 */

/** How many rows a page has unless the caller says otherwise, and the most. */
const LIMIT = 50;
const LIMIT_MAX = 10_000;
/** So many rows are read at once for a stream. */
const STREAM = 1_000;

const LISTS = /** @type {const} */ ({
  run: 'runs',
  workflow: 'workflows',
  task: 'tasks',
  worker: 'workers',
  phase: 'phases',
  label: 'labels',
  state: 'states',
  type: 'types',
  trigger: 'triggers',
  scope: 'scopes',
  priority: 'priorities',
  class: 'classes',
});
const FILTER = /** @type {const} */ ({
  run: 'textOrTexts',
  workflow: 'textOrTexts',
  task: 'textOrTexts',
  worker: 'textOrTexts',
  phase: 'textOrTexts',
  label: 'textOrTexts',
  state: 'textOrTexts',
  type: 'textOrTexts',
  trigger: 'textOrTexts',
  scope: 'textOrTexts',
  priority: 'textOrTexts',
  class: 'textOrTexts',
  from: 'time',
  until: 'time',
  damaged: 'boolean',
  pinned: 'boolean',
  resumable: 'boolean',
  order: 'order',
});
const FIND = /** @type {const} */ ({
  ...FILTER,
  after: 'string',
  limit: 'positive',
  signal: 'signal',
});
const QUERY = /** @type {const} */ ({ ...FILTER, signal: 'signal' });
const SIGNAL = /** @type {const} */ ({ signal: 'signal', onProgress: 'function' });

/** @param {unknown} value */
function list(value) {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

/** @param {any} time */
function toMs(time) {
  return time === undefined ? undefined : new Date(time).getTime();
}

/**
 * @param {Record<string, any>} checked
 * @param {number} limit
 * @returns {QueryRequest}
 */
function asked(checked, limit) {
  const lists = Object.entries(LISTS).map(([name, plural]) => [plural, list(checked[name])]);
  return {
    .../** @type {any} */ (Object.fromEntries(lists)),
    fromMs: toMs(checked.from),
    untilMs: toMs(checked.until),
    damaged: checked.damaged,
    pinned: checked.pinned,
    resumable: checked.resumable,
    oldestFirst: checked.order === 'oldest',
    after: checked.after,
    limit,
  };
}

/**
 * @param {Record<string, any>} checked
 * @returns {number}
 */
function limitOf(checked) {
  const limit = checked.limit ?? LIMIT;
  if (limit <= LIMIT_MAX) return limit;
  throw new WaymarkError(
    'ERR_OPTION_INVALID',
    `find: option "limit" must be at most ${LIMIT_MAX}; go on with "after", or use query()`,
  );
}

/** @param {NativePage} page @returns {import('../index.js').QueryPage} */
function toPage({ rows, next, problems }) {
  return {
    rows: JSON.parse(rows),
    ...(next == null ? {} : { next }),
    ...(problems.length === 0 ? {} : { problems }),
  };
}

/** @param {import('../index.js').QueryPage} page */
function warnOf({ problems = [] }) {
  if (problems.length === 0) return;
  const list = problems.map(({ runId, message }) => `${runId}: ${message}`).join('; ');
  process.emitWarning(`not all of what is asked for could be read: ${list}`, {
    type: 'WaymarkWarning',
    code: 'WAYMARK_QUERY',
  });
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} options
 */
async function find(calls, place, options) {
  const checked = checkOptions(options, FIND, 'find');
  const request = asked(checked, limitOf(checked));
  const where = place();
  const call = (/** @type {any} */ token) => native().query(where, request, token);
  return toPage(await calls.run(checked.signal, call, undefined));
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} options
 * @param {Function} above
 */
function findSync(calls, place, options, above) {
  const checked = checkOptions(options, FIND, 'findSync');
  const request = asked(checked, limitOf(checked));
  calls.refuseAborted(checked.signal);
  return toPage(calls.now((token) => native().querySync(place(), request, token), above));
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} options
 * @returns {AsyncGenerator<QueryRow, void, undefined>}
 */
function query(calls, place, options) {
  // What is wrong with the options is told at once, not when the first row is asked for.
  const checked = checkOptions(options, QUERY, 'query');
  return stream(calls, place(), checked);
}

/**
 * @param {Calls} calls
 * @param {Place} place
 * @param {Record<string, any>} checked
 */
async function* stream(calls, place, checked) {
  /** @type {string | undefined} */
  let after;
  do {
    const request = asked({ ...checked, after }, STREAM);
    const call = (/** @type {any} */ token) => native().query(place, request, token);
    const page = toPage(await calls.run(checked.signal, call, undefined));
    if (after === undefined) warnOf(page);
    yield* page.rows;
    after = page.next;
  } while (after !== undefined);
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} options
 */
async function rebuildIndex(calls, place, options) {
  const { signal, onProgress } = checkOptions(options, SIGNAL, 'rebuildIndex');
  const where = place();
  const call = (/** @type {any} */ token) => native().rebuildIndex(where, token);
  return calls.run(signal, call, undefined, onProgress);
}

/**
 * A run's checkpoints as a tree: what descends from what, the runs that were forked from them and those
 * that do a part of the work.
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {string} runId
 * @param {unknown} options
 * @returns {Promise<import('../index.js').RunTree>}
 */
async function tree(calls, place, runId, options) {
  const { signal } = checkOptions(options, /** @type {const} */ ({ signal: 'signal' }), 'tree');
  const id = checkRunId(runId);
  /** @param {string} run @param {Set<string>} above @returns {Promise<import('../index.js').RunTree>} */
  const of = async (run, above) => {
    /** @type {Map<string, import('../index.js').TreeNode>} */
    const nodes = new Map();
    for await (const row of query(calls, place, { run, order: 'oldest', signal })) {
      nodes.set(row.checkpointId, { checkpoint: row, children: [], runs: [] });
    }
    const inside = new Set([...above, run]);
    /** @type {import('../index.js').TreeNode[]} */
    const roots = [];
    // Without going down them: a line of descent may be longer than a stack is deep.
    for (const node of nodes.values()) {
      const { parentCheckpointId: parent, forks, facts } = node.checkpoint;
      // What it descends from may have been dropped.
      const above_ = parent === undefined ? undefined : nodes.get(parent);
      const siblings = above_ === undefined || above_ === node ? roots : above_.children;
      siblings.push(node);
      const links = [
        ...(forks ?? []).map((link) => /** @type {const} */ (['fork', link])),
        ...(facts?.subtasks ?? []).map((link) => /** @type {const} */ (['subtask', link])),
      ];
      for (const [kind, link] of links) {
        // A run that is its own descendant would never end.
        const shown = inside.has(link.run)
          ? { runId: link.run, roots: [] }
          : await of(link.run, inside);
        node.runs.push({ kind, ...shown });
      }
    }
    return { runId: run, roots };
  };
  return of(id, new Set());
}

module.exports = { find, findSync, query, rebuildIndex, tree };
