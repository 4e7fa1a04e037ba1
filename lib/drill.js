// Drills: rehearses on copies of a run what may happen to it, and tells what would have been lost. The run itself
// is only read.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { checkOptions, checkRunId } = require('./options.js');
const { SCENARIOS } = require('./drill-scenarios.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').DrillOptions} DrillOptions
 * @typedef {import('../index.js').DrillResult} DrillResult
 * @typedef {import('../index.js').DrillOutcome} DrillOutcome
 * @typedef {import('../index.js').RestorePart} RestorePart
 * @typedef {import('../index.js').RestoreRow} RestoreRow
 */

const DRILL = /** @type {const} */ ({
  scenarios: 'strings',
  rounds: 'positive',
  folder: 'string',
  keep: 'boolean',
  signal: 'signal',
  onProgress: 'function',
});
const ROUNDS = 3;
/** Of what an archive takes, unpacked: the archive, the original and one copy of it, with room to restore. */
const TIMES = 6;

/** A copy of the run in a project of its own. */
class Copy {
  /**
   * @param {string} root
   * @param {{ runs: string, runId: string, config: Record<string, unknown> }} shape `runs`: relative to the project
   */
  constructor(root, shape) {
    const { CheckpointManager } = require('./manager.js');
    this.root = root;
    this.shape = shape;
    this.runId = shape.runId;
    this.runsDir = path.join(root, shape.runs);
    this.runDir = path.join(this.runsDir, shape.runId);
    this.store = path.join(root, '.waymark');
    /** @type {Manager} */
    this.manager = new CheckpointManager({ runsDir: this.runsDir, store: this.store });
  }

  /** What a worker process needs to know of it. */
  place() {
    return { runsDir: this.runsDir, store: this.store, runId: this.runId };
  }
}

/**
 * @param {Manager} manager
 * @param {string} runId
 * @param {DrillOptions} [options]
 * @returns {Promise<DrillResult>}
 */
async function drill(manager, runId, options) {
  const id = checkRunId(runId);
  const {
    scenarios,
    rounds = ROUNDS,
    folder,
    keep,
    signal,
    onProgress,
  } = checkOptions(options, DRILL, 'drill');
  const wanted = chosen(scenarios);
  const place = placeFor(folder ?? os.tmpdir());
  try {
    const original = await copyOf(manager, id, place, signal);
    /** @type {DrillOutcome[]} */
    const outcomes = [];
    for (const [at, scenario] of wanted.entries()) {
      signal?.throwIfAborted();
      onProgress?.({ scenario: scenario.name, number: at + 1, of: wanted.length });
      outcomes.push(await rehearse(scenario, original, { place, rounds, keep, signal }));
    }
    const told = outcomes.filter((one) => one.skipped === undefined);
    return {
      runId: id,
      checkpointId: original.newest.checkpointId,
      step: original.newest.step,
      checkpoints: original.checkpoints.length,
      notRehearsed: original.outside,
      folder: keep ? place : undefined,
      scenarios: outcomes,
      rehearsed: told.length,
      survived: told.filter((one) => one.survived).length,
    };
  } finally {
    if (!keep) fs.rmSync(place, { recursive: true, force: true });
  }
}

/** @param {readonly string[] | undefined} names */
function chosen(names) {
  /** @type {string[]} */
  const known = SCENARIOS.map((one) => one.name);
  const unknown = names?.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `option "scenarios": ${JSON.stringify(unknown)} is not known; there are ${known.join(', ')}`,
    );
  }
  return names === undefined ? SCENARIOS : SCENARIOS.filter((one) => names.includes(one.name));
}

/** @param {string} parent */
function placeFor(parent) {
  try {
    return fs.mkdtempSync(path.join(parent, 'waymark-drill-'));
  } catch (cause) {
    throw new WaymarkError(
      'ERR_DRILL_FOLDER',
      `no copies can be made in ${parent}: ${/** @type {Error} */ (cause).message}; give another folder`,
      { path: parent, cause },
    );
  }
}

/**
 * Copies a run with all its checkpoints and objects into a project of its own, and puts it back to its newest.
 * @param {Manager} manager
 * @param {string} runId
 * @param {string} place
 * @param {AbortSignal} [signal]
 */
async function copyOf(manager, runId, place, signal) {
  const archive = path.join(place, 'run.waymark');
  const exported = await manager.exportRun(runId, archive, { signal });
  const room = fs.statfsSync(place);
  const needed = TIMES * Math.max(exported.bytes, exported.fileBytes);
  if (room.bavail * room.bsize < needed) {
    throw new WaymarkError(
      'ERR_DRILL_FOLDER',
      `the copies need up to ${needed} bytes, and ${place} has ${room.bavail * room.bsize} free; give another folder`,
      { path: place, runId },
    );
  }
  const shape = { runId, ...shapeOf(manager.runsDir(runId)) };
  const root = path.join(place, 'original');
  fs.mkdirSync(path.join(root, shape.runs), { recursive: true });
  fs.writeFileSync(path.join(root, 'waymark.config.json'), JSON.stringify(shape.config));
  const copy = new Copy(root, shape);
  await copy.manager.importArchive(archive, { signal });
  fs.rmSync(archive);
  const checkpoints = await copy.manager.list(runId, { signal });
  const newest = checkpoints[0];
  if (newest === undefined) {
    throw new WaymarkError(
      'ERR_NO_CHECKPOINT',
      `run ${runId} has no checkpoint to rehearse with; take one first`,
      { runId },
    );
  }
  const plan = await copy.manager.planRestore(runId, { checkpointId: newest.checkpointId, signal });
  // What lies out of the project would be put back there, and that is the user's own.
  const out = plan.roots.filter((one) => path.isAbsolute(one.path) || one.path.startsWith('..'));
  const names = new Set(out.map((one) => one.name));
  /** @type {RestorePart[]} */
  const all = ['state', 'registry', 'run', 'artifacts', 'workspace'];
  const only = all.filter((part) => typeof part !== 'string' || !names.has(part));
  const files = plan.paths.filter((one) => !names.has(one.root) && one.after?.kind === 'file');
  await copy.manager.restore(runId, { checkpointId: newest.checkpointId, only, signal });
  return {
    copy,
    checkpoints,
    newest,
    only,
    files,
    roots: plan.roots.filter((one) => !names.has(one.name)),
    outside: out.map((one) => one.path),
  };
}

/**
 * Where the runs lie in their project, and the project's settings without what says where things lie.
 * @param {string} runsDir
 */
function shapeOf(runsDir) {
  /** @param {string} from @returns {string[]} */
  const upwards = (from) =>
    path.dirname(from) === from ? [from] : [from, ...upwards(path.dirname(from))];
  const above = upwards(runsDir);
  const claude = above.find((one) => path.basename(one) === '.claude');
  const configured = above
    .slice(1)
    .find((one) => fs.existsSync(path.join(one, 'waymark.config.json')));
  const root = claude ? path.dirname(claude) : (configured ?? path.dirname(runsDir));
  /** @type {Record<string, unknown>} */
  let config = {};
  try {
    config = JSON.parse(fs.readFileSync(path.join(root, 'waymark.config.json'), 'utf8'));
  } catch (error) {
    // Without one the defaults count, here as there.
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
  }
  const { runsDir: _, store: __, ...kept } = config;
  return { runs: path.relative(root, runsDir), config: kept };
}

/**
 * @param {import('./drill-scenarios.js').Scenario} scenario
 * @param {Awaited<ReturnType<typeof copyOf>>} original
 * @param {{ place: string, rounds: number, keep?: boolean, signal?: AbortSignal }} how
 * @returns {Promise<DrillOutcome>}
 */
async function rehearse(scenario, original, { place, rounds, keep, signal }) {
  const { name, title } = scenario;
  const skipped = scenario.skip?.(original);
  if (skipped !== undefined) return { name, title, survived: false, skipped, lost: [], told: [] };
  const root = path.join(place, name);
  fs.cpSync(original.copy.root, root, {
    recursive: true,
    verbatimSymlinks: true,
    preserveTimestamps: true,
  });
  const copy = new Copy(root, original.copy.shape);
  /** @type {import('./drill-scenarios.js').Rehearsal} */
  const rehearsal = { ...original, copy, rounds, signal, told: [], lost: [], took: undefined };
  /** @type {DrillOutcome} */
  const outcome = { name, title, survived: true, lost: rehearsal.lost, told: rehearsal.told };
  try {
    const restored = await scenario.run(rehearsal);
    outcome.checkpointId = restored.checkpointId;
    outcome.step = restored.step;
  } catch (error) {
    signal?.throwIfAborted();
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    outcome.survived = false;
    outcome.problem = code === undefined ? message : `${message} [${code}]`;
  }
  outcome.took = rehearsal.took;
  if (!keep) fs.rmSync(root, { recursive: true, force: true });
  return outcome;
}

module.exports = { drill };
