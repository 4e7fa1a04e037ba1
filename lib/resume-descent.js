// What the state of a checkpoint descends from. Pure: checkpoints and events are arguments.

const { stepFromText } = require('./options.js');

/**
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').CheckpointInfo} CheckpointInfo
 *
 * @typedef {object} Node
 * @property {Step} step
 * @property {number | undefined} sequence
 * @property {string | null | undefined} parent null: it is the first; undefined: not known
 */

/**
 * The steps that have had a checkpoint on the way to one of them, and whether that is all of the way.
 * @param {CheckpointInfo} row
 * @param {CheckpointInfo[]} rows of its run, newest first
 * @param {any[]} events of its run, the oldest first
 * @returns {{ known: Set<Step>, whole: boolean, ends: boolean }} `ends`: nothing more is to be known of the way
 */
function descentOf(row, rows, events) {
  const nodes = new Map([...nodesOfEvents(events), ...nodesOfRows(rows)]);
  /** @type {Set<Step>} */
  const known = new Set([row.step]);
  const seen = new Set();
  /** @type {string | null | undefined} */
  let id = row.checkpointId;
  let last = row.sequence ?? Number.POSITIVE_INFINITY;
  while (typeof id === 'string' && !seen.has(id)) {
    const node = nodes.get(id);
    if (node === undefined) break;
    seen.add(id);
    known.add(node.step);
    last = node.sequence ?? last;
    id = node.parent;
  }
  if (id === null) return { known, whole: true, ends: true };
  // Before that it is only known what there was, not whether it is on the way.
  for (const { step, sequence } of nodes.values()) {
    if (sequence === undefined || sequence < last) known.add(step);
  }
  // What a fork began from lies in another run.
  return { known, whole: false, ends: id === undefined && last === 1 };
}

/**
 * @param {CheckpointInfo[]} rows
 * @returns {[string, Node][]}
 */
function nodesOfRows(rows) {
  return rows.map(({ checkpointId, step, sequence, parentCheckpointId, facts }, at) => {
    // Those of other tools know of no parent: the one before is it.
    const before = sequence === undefined ? rows[at + 1]?.checkpointId : undefined;
    // What a fork began from lies in another run: what was done there is not known.
    const first = sequence === 1 && facts?.parent === undefined ? null : undefined;
    return [checkpointId, { step, sequence, parent: parentCheckpointId ?? before ?? first }];
  });
}

/**
 * @param {any[]} events
 * @returns {[string, Node][]}
 */
function nodesOfEvents(events) {
  /** @type {[string, Node][]} */
  const nodes = [];
  /** @type {string | undefined} */
  let head;
  for (const { event, checkpoint, data } of events) {
    if (event !== 'created') {
      // An undo leads back to what was there before, whatever that was.
      head = event === 'restored' ? checkpoint : undefined;
      continue;
    }
    const sequence = typeof data?.sequence === 'number' ? data.sequence : undefined;
    if (typeof checkpoint !== 'string' || sequence === undefined) continue;
    const step = /** @type {Step} */ (stepFromText(data.step));
    const first = data.from === undefined ? null : undefined;
    nodes.push([checkpoint, { step, sequence, parent: sequence === 1 ? first : head }]);
    head = checkpoint;
  }
  return nodes;
}

module.exports = { descentOf };
