// Which steps of a workflow are done, skipped and to do at a checkpoint, and where the work stands when
// steps run side by side. Pure: what happened is an argument.

/**
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('./workflow.js').WorkflowStep} WorkflowStep
 *
 * @typedef {object} Progress
 * @property {Step[]} done in the workflow's order
 * @property {Step[]} skipped passed over without a checkpoint: their condition was false
 * @property {Step[]} todo
 * @property {Step[]} frontier those of them that nothing stands before: more than one if they may run side by side
 */

/**
 * The steps that each step waits for, by their places in the file. A step that names none waits for all before
 * it but those of its own parallel group.
 * @param {WorkflowStep[]} steps
 * @returns {number[][]}
 */
function waitsFor(steps) {
  const places = new Map(steps.map(({ step }, at) => [step, at]));
  return steps.map(({ after, group }, at) => {
    if (after !== undefined) return after.flatMap((step) => places.get(step) ?? []);
    return steps.flatMap((one, before) =>
      before < at && (group === undefined || one.group !== group) ? [before] : [],
    );
  });
}

/**
 * All steps that a step comes after, directly or not.
 * @param {number[][]} waits
 * @param {number} at
 * @returns {Set<number>}
 */
function before(waits, at) {
  const seen = /** @type {Set<number>} */ (new Set());
  const open = [...waits[at]];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    if (seen.has(one)) continue;
    seen.add(one);
    open.push(...waits[one]);
  }
  return seen;
}

/**
 * A step that waits for itself; undefined if there is none.
 * @param {WorkflowStep[]} steps
 * @returns {Step | undefined}
 */
function circleIn(steps) {
  const waits = waitsFor(steps);
  return steps.find((_, at) => before(waits, at).has(at))?.step;
}

/**
 * Where a run stands at a checkpoint.
 * @param {WorkflowStep[]} steps in the file's order
 * @param {Step | undefined} at the checkpoint's step; undefined: nothing is done
 * @param {{ known: ReadonlySet<Step>, whole: boolean }} history the steps that have had a checkpoint up to this one,
 * and whether that is known of all of the run
 * @returns {Progress | undefined} undefined if the workflow does not list the step
 */
function progressAt(steps, at, { known, whole }) {
  const waits = waitsFor(steps);
  const here = at === undefined ? -1 : steps.findIndex(({ step }) => step === at);
  if (at !== undefined && here === -1) return undefined;
  const earlier = here === -1 ? new Set() : before(waits, here);
  const settled = /** @type {Set<number>} */ (new Set());
  /** @type {Progress} */
  const progress = { done: [], skipped: [], todo: [], frontier: [] };
  steps.forEach(({ step }, place) => {
    if (place === here) {
      progress.done.push(step);
    } else if (earlier.has(place)) {
      // Without a trace it was passed over, unless its checkpoint may have been forgotten.
      (known.has(step) || !whole ? progress.done : progress.skipped).push(step);
    } else if (here !== -1 && known.has(step) && !before(waits, place).has(here)) {
      // Side by side with the checkpoint's: only its own checkpoint says that it is done.
      progress.done.push(step);
    } else {
      progress.todo.push(step);
      return;
    }
    settled.add(place);
  });
  progress.frontier = steps.flatMap(({ step }, place) =>
    !settled.has(place) && waits[place].every((one) => settled.has(one)) ? [step] : [],
  );
  return progress;
}

/**
 * Where the tasks of a checkpoint stand: the ends of their trees, named by their paths.
 * @param {import('../index.js').TaskNode[]} roots
 * @returns {Progress}
 */
function progressOfTasks(roots) {
  /** @type {Progress} */
  const progress = { done: [], skipped: [], todo: [], frontier: [] };
  /** @param {import('../index.js').TaskNode} node @param {string} above */
  const look = (node, above) => {
    const name = above === '' ? String(node.name) : `${above}/${node.name}`;
    const inner = node.status === 'completed' ? [] : (node.steps ?? []);
    if (node.status === 'completed' && node.kind === 'step') progress.done.push(name);
    else if (node.status === 'completed' && (node.steps ?? []).length === 0) {
      progress.done.push(name);
    } else if (node.status === 'completed') for (const one of node.steps ?? []) look(one, name);
    else if (inner.some((one) => one.status !== 'completed')) {
      for (const one of inner) look(one, name);
    } else {
      for (const one of inner) look(one, name);
      progress.todo.push(name);
      progress.frontier.push(name);
    }
  };
  for (const root of roots) look(root, '');
  return progress;
}

module.exports = { circleIn, progressAt, progressOfTasks };
