// Restores: planned, done at once or in parts, undone. What goes wrong in a part puts everything back.

const { parseCheckpoint, withLazyCheckpoint } = require('./checkpoint.js');
const { WaymarkError } = require('./error.js');
const { bytesOf, withBytes } = require('./files.js');
const { native } = require('./native.js');
const { checkOptions, checkRunId } = require('./options.js');

/**
 * @typedef {import('./manager.js').Calls} Calls
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').RestoreRequest} Request
 * @typedef {import('../native.js').RestorePart} Part
 * @typedef {import('../index.js').RestoreResult} RestoreResult
 * @typedef {import('../index.js').RestorePlan} RestorePlan
 * @typedef {import('../index.js').RestoreStage} RestoreStage
 *
 * What a restore needs of its manager.
 * @typedef {object} Ground
 * @property {Place} place
 * @property {string} key the run whose turn to wait for
 * @property {(options: Record<string, any>) => Pick<Request, 'capture' | 'onConflict' | 'maxStoreBytes' | 'lease'>} settle
 */

/** Paths per batch of a progressive restore. */
const BATCH = 50;
/** The parts of a staged restore, in their order: whoever sees the state sees all that it tells of. */
const COMPONENTS = /** @type {const} */ (['run', 'artifacts', 'workspace', 'registry', 'state']);

const HOW = /** @type {const} */ ({
  files: 'boolean',
  onConflict: 'policy',
  only: 'parts',
  capture: 'capture',
  maxBytes: 'number',
  signal: 'signal',
});
const WHICH = /** @type {const} */ ({ checkpointId: 'id', step: 'step', at: 'time' });
const PLAN = /** @type {const} */ ({ ...WHICH, ...HOW, onProgress: 'function' });
const RESTORE_SYNC = /** @type {const} */ ({ ...WHICH, plan: 'id', ...HOW });
const RESTORE = /** @type {const} */ ({
  ...RESTORE_SYNC,
  strategy: 'strategy',
  batch: 'positive',
  check: 'function',
  onProgress: 'function',
});
const UNDO_SYNC = HOW;
const UNDO = /** @type {const} */ ({ ...HOW, onProgress: 'function' });

/** @param {any} one @returns {Part} */
function partOf(one) {
  if (one === 'state' || one === 'registry') return { kind: one };
  if (typeof one === 'string') return { kind: 'root', name: one };
  if (one.glob !== undefined) return { kind: 'glob', name: one.glob };
  if (one.step !== undefined) return { kind: 'step', step: one.step };
  return { kind: 'path', name: one.root, path: bytesOf(one.path) };
}

/** @param {Date | string | number} at @returns {number} milliseconds since 1970 */
function timeOf(at) {
  return typeof at === 'number' ? at : new Date(at).getTime();
}

/**
 * @param {Record<string, any>} options checked
 * @param {Ground} ground
 * @param {string} where
 * @returns {Request}
 */
function requestOf(options, ground, where) {
  const { checkpointId, step, at, plan, only } = options;
  const settled = ['checkpointId', 'step', 'at', 'only', 'onConflict'];
  const twice =
    plan === undefined ? undefined : settled.find((name) => options[name] !== undefined);
  if (twice !== undefined) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `${where}: option ${JSON.stringify(twice)} is settled by the plan; give only one of them`,
    );
  }
  return {
    checkpointId,
    step,
    at: at === undefined ? undefined : timeOf(at),
    plan,
    only: only?.map(partOf),
    ...ground.settle(options),
  };
}

/** @param {Record<string, any>} row */
function rowWithBytes(row) {
  withBytes(row);
  if (row.before) withBytes(row.before);
  if (row.after) withBytes(row.after);
}

/** @param {string} text @returns {any[]} */
function rowsOf(text) {
  const rows = JSON.parse(text);
  rows.forEach(rowWithBytes);
  return rows;
}

/**
 * The result; its paths and its checkpoint are parsed when they are first looked at.
 * @param {import('../native.js').RestoreOutcome} outcome
 * @returns {RestoreResult}
 */
function resultOf({ manifest, summary, paths, ...known }) {
  const result = { ...known, ...JSON.parse(summary) };
  /** @type {any[] | undefined} */
  let rows;
  Object.defineProperty(result, 'paths', {
    enumerable: true,
    configurable: true,
    get: () => {
      rows ??= rowsOf(paths);
      return rows;
    },
  });
  return withLazyCheckpoint(result, () => parseCheckpoint(manifest));
}

/** @param {string} text @returns {RestorePlan} */
function planOf(text) {
  const plan = JSON.parse(text);
  plan.paths.forEach(rowWithBytes);
  return plan;
}

/**
 * @param {Calls} calls
 * @param {(runId: string) => Ground} groundOf
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {Promise<RestorePlan>}
 */
async function planRestore(calls, groundOf, runId, options) {
  const checked = checkOptions(options, PLAN, 'planRestore');
  const id = checkRunId(runId);
  const ground = groundOf(id);
  const request = requestOf(checked, ground, 'planRestore');
  const call = (/** @type {any} */ token) => native().planRestore(ground.place, id, request, token);
  return planOf(await calls.run(checked.signal, call, ground.key, checked.onProgress));
}

/**
 * @param {Calls} calls
 * @param {(runId: string) => Ground} groundOf
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {RestorePlan}
 */
function planRestoreSync(calls, groundOf, runId, options) {
  const { onProgress: _, ...known } = PLAN;
  const checked = checkOptions(options, known, 'planRestoreSync');
  const id = checkRunId(runId);
  calls.refuseAborted(checked.signal);
  const ground = groundOf(id);
  const request = requestOf(checked, ground, 'planRestoreSync');
  return planOf(calls.unwrap(native().planRestoreSync(ground.place, id, request), planRestoreSync));
}

/**
 * @param {Calls} calls
 * @param {(runId: string) => Ground} groundOf
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {RestoreResult}
 */
function restoreSync(calls, groundOf, runId, options) {
  const checked = checkOptions(options, RESTORE_SYNC, 'restoreSync');
  const id = checkRunId(runId);
  calls.refuseAborted(checked.signal);
  const ground = groundOf(id);
  const request = requestOf(checked, ground, 'restoreSync');
  return resultOf(
    calls.now((token) => native().restoreSync(ground.place, id, request, token), restoreSync),
  );
}

/**
 * @param {Calls} calls
 * @param {(runId: string) => Ground} groundOf
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {Promise<RestoreResult>}
 */
async function undo(calls, groundOf, runId, options) {
  const checked = checkOptions(options, UNDO, 'undo');
  const id = checkRunId(runId);
  const ground = groundOf(id);
  const request = requestOf(checked, ground, 'undo');
  const call = (/** @type {any} */ token) => native().undo(ground.place, id, request, token);
  return resultOf(await calls.run(checked.signal, call, ground.key, checked.onProgress));
}

/**
 * @param {Calls} calls
 * @param {(runId: string) => Ground} groundOf
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {RestoreResult}
 */
function undoSync(calls, groundOf, runId, options) {
  const checked = checkOptions(options, UNDO_SYNC, 'undoSync');
  const id = checkRunId(runId);
  calls.refuseAborted(checked.signal);
  const ground = groundOf(id);
  const request = requestOf(checked, ground, 'undoSync');
  return resultOf(
    calls.now((token) => native().undoSync(ground.place, id, request, token), undoSync),
  );
}

/**
 * @param {Calls} calls
 * @param {(runId: string) => Ground} groundOf
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {Promise<RestoreResult>}
 */
async function restore(calls, groundOf, runId, options) {
  const checked = checkOptions(options, RESTORE, 'restore');
  const id = checkRunId(runId);
  const ground = groundOf(id);
  const request = requestOf(checked, ground, 'restore');
  const { strategy = 'immediate', batch, check, signal, onProgress, plan } = checked;
  if (batch !== undefined && strategy !== 'progressive') {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      'restore: option "batch" is for the strategy "progressive"',
    );
  }
  /** @param {Request} part */
  const one = async (part) => {
    const call = (/** @type {any} */ token) => native().restore(ground.place, id, part, token);
    return resultOf(await calls.run(signal, call, ground.key, onProgress));
  };
  if (strategy === 'immediate' && check === undefined) return one(request);
  /** @param {string} rescueId */
  const goBack = (rescueId) => {
    const { capture, maxStoreBytes, lease } = request;
    // Whatever the parts left behind, and the check: it is kept by a rescue of its own.
    const back = { checkpointId: rescueId, capture, maxStoreBytes, lease, onConflict: 'overwrite' };
    const call = (/** @type {any} */ token) => native().restore(ground.place, id, back, token);
    return calls.run(undefined, call, ground.key);
  };
  if (strategy === 'immediate') {
    return inParts([{ name: 'restore', request }], one, goBack, check, id);
  }
  if (plan !== undefined) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      'restore: a plan is applied at once; option "plan" does not go with a strategy',
    );
  }
  const call = (/** @type {any} */ token) => native().planRestore(ground.place, id, request, token);
  const planned = planOf(await calls.run(signal, call, ground.key, onProgress));
  if (planned.conflicts > 0) throw conflict(planned, id);
  const parts = strategy === 'staged' ? staged(request, planned) : batched(planned, batch ?? BATCH);
  const { capture, onConflict, maxStoreBytes } = request;
  const common = { checkpointId: planned.checkpointId, capture, onConflict, maxStoreBytes };
  const ownRescue = strategy === 'progressive';
  const requests = parts.map(({ name, only }) => ({
    name,
    request: { ...common, only, ownRescue },
  }));
  const done = await inParts(requests, one, goBack, check, id);
  return Object.assign(done, { skipped: planned.skipped, newer: planned.newer });
}

/**
 * The components of a checkpoint that a plan touches, one after the other.
 * @param {Request} request
 * @param {RestorePlan} plan
 * @returns {{ name: string, only: Part[] }[]}
 */
function staged(request, plan) {
  const { only } = request;
  const takes = (/** @type {string} */ name) =>
    only === undefined ||
    only.length === 0 ||
    only.some((part) => (part.name ?? part.kind) === name);
  const named = !only?.some((part) => !['state', 'registry', 'root'].includes(part.kind));
  const parts = [];
  for (const name of COMPONENTS) {
    if (name === 'registry' || name === 'state') {
      if (takes(name)) parts.push({ name, only: [{ kind: name }] });
      continue;
    }
    const rows = plan.paths.filter((row) => row.root === name && row.action !== 'keep');
    if (rows.length === 0) continue;
    const all = { kind: /** @type {const} */ ('root'), name };
    parts.push({ name, only: named ? [all] : rows.map(pathOf) });
  }
  return parts;
}

/** @param {import('../index.js').RestoreRow} row @returns {Part} */
function pathOf({ rootPath, path, pathBytes }) {
  return { kind: 'path', name: rootPath, path: bytesOf(pathBytes ?? path) };
}

/**
 * Batches of paths, then the registry and the state. A path stands for all below it, so folders that stay
 * folders come last: nothing is left to do in them by then.
 * @param {RestorePlan} plan
 * @param {number} size
 * @returns {{ name: string, only: Part[] }[]}
 */
function batched(plan, size) {
  const isFolder = (/** @type {import('../index.js').CapturedNode | undefined} */ node) =>
    node === undefined || node.kind === 'directory';
  const rows = plan.paths.filter((row) => row.action !== 'keep');
  const stays = (/** @type {import('../index.js').RestoreRow} */ row) =>
    isFolder(row.before) && isFolder(row.after);
  const ordered = [...rows.filter((row) => !stays(row)), ...rows.filter(stays)];
  const parts = [];
  for (let at = 0; at < ordered.length; at += size) {
    const some = ordered.slice(at, at + size);
    parts.push({ name: `batch ${parts.length + 1}`, only: some.map(pathOf) });
  }
  const state = plan.state.map(({ name }) => name);
  if (state.includes('artifact-registry.json')) {
    parts.push({ name: 'registry', only: [{ kind: /** @type {const} */ ('registry') }] });
  }
  parts.push({ name: 'state', only: [{ kind: /** @type {const} */ ('state') }] });
  return parts;
}

/**
 * Does parts one after the other, each of them whole or not at all; the first failure, and the first check
 * that is not content, puts everything back.
 * @param {{ name: string, request: Request }[]} parts
 * @param {(request: Request) => Promise<RestoreResult>} one
 * @param {(rescueId: string) => Promise<unknown>} goBack
 * @param {((stage: RestoreStage) => unknown) | undefined} check
 * @param {string} runId
 * @returns {Promise<RestoreResult>}
 */
async function inParts(parts, one, goBack, check, runId) {
  /** @type {RestoreResult[]} */
  const done = [];
  /** @type {RestoreStage[]} */
  const stages = [];
  for (const [at, { name, request }] of parts.entries()) {
    const rescue = done[0]?.rescueId;
    let result;
    try {
      result = await one({ ...request, rescue });
    } catch (error) {
      if (rescue === undefined) throw error;
      throw await back(error, `${name} was not restored`);
    }
    done.push(result);
    const { files, totals, paths, verifiedBytes, rescueId } = result;
    const stage = {
      name,
      number: at + 1,
      of: parts.length,
      files,
      totals,
      paths,
      verifiedBytes,
      rescueId,
    };
    stages.push(stage);
    if (check === undefined) continue;
    let verdict;
    let cause;
    try {
      verdict = await check(stage);
    } catch (error) {
      verdict = false;
      cause = error;
    }
    if (verdict === false) {
      const why = cause === undefined ? 'it gave false' : `it threw: ${messageOf(cause)}`;
      const failed = new WaymarkError(
        'ERR_RESTORE_CHECK_FAILED',
        `the check after ${name} (${at + 1} of ${parts.length}) was not content: ${why}`,
        cause === undefined ? { runId } : { runId, cause },
      );
      throw await back(failed, failed.message);
    }
  }
  return merged(done, stages);

  /** @param {unknown} error @param {string} what @returns {Promise<unknown>} */
  async function back(error, what) {
    const code = /** @type {{ code?: string }} */ (error).code ?? 'ERR_INTERNAL';
    const why = messageOf(error) === what ? what : `${what}: ${messageOf(error)}`;
    const known = { .../** @type {object} */ (error), cause: causeOf(error) };
    try {
      await goBack(done[0].rescueId);
    } catch (failed) {
      return new WaymarkError(
        code,
        `${why}; and what was there before could not be put back: ${messageOf(failed)}; it is kept as ${done[0].rescueId}: "waymark undo ${runId}" puts it back`,
        known,
      );
    }
    return new WaymarkError(code, `${why}; everything was put back`, known);
  }
}

/** @param {unknown} error */
function messageOf(error) {
  const text = error instanceof Error ? error.message : String(error);
  // Said of the part that was stopped; of the whole restore it is not so.
  return text.replace(/; nothing was changed$/, '');
}

/** @param {unknown} error */
function causeOf(error) {
  return /** @type {{ cause?: unknown } | null} */ (error)?.cause ?? error;
}

/**
 * The parts as one result.
 * @param {RestoreResult[]} done
 * @param {RestoreStage[]} stages
 * @returns {RestoreResult}
 */
function merged(done, stages) {
  const last = done[done.length - 1];
  const totals = /** @type {Record<string, number>} */ ({});
  for (const part of done) {
    for (const [name, value] of Object.entries(part.totals)) {
      totals[name] = (totals[name] ?? 0) + value;
    }
  }
  const paths = done.flatMap((part) => part.paths);
  const files = done.flatMap((part) => part.files);
  const verifiedBytes = done.reduce((sum, part) => sum + part.verifiedBytes, 0);
  const [{ rescueId, recovered }] = done;
  const descriptors = Object.getOwnPropertyDescriptors(last);
  const own = { rescueId, recovered, files, totals, paths, verifiedBytes, stages };
  return Object.defineProperties(/** @type {any} */ ({}), {
    ...descriptors,
    ...Object.getOwnPropertyDescriptors(own),
  });
}

/** @param {RestorePlan} plan @param {string} runId */
function conflict(plan, runId) {
  const open = plan.paths.filter((row) => row.action === 'conflict');
  const shown = open.slice(0, 10).map((row) => `${row.rootPath}/${row.path} (${row.reason})`);
  const more = open.length > shown.length ? `, and ${open.length - shown.length} more` : '';
  return new WaymarkError(
    'ERR_RESTORE_CONFLICT',
    `checkpoint ${JSON.stringify(plan.checkpointId)} of run ${JSON.stringify(runId)} can't be restored without a decision on ${open.length} paths: ${shown.join(', ')}${more}; nothing was changed; choose what becomes of them (onConflict, --on-conflict), or leave them out (only, --only)`,
    { runId, checkpointId: plan.checkpointId },
  );
}

/**
 * Finishes a restore that was killed, before another one follows.
 * @param {import('../index.js').CheckpointManager} manager
 * @param {string} runId
 */
function finishRestore(manager, runId) {
  try {
    manager.recoverSync(runId);
  } catch (error) {
    // The restore that follows writes anew whatever the journal meant to write.
    const { code } = /** @type {{ code?: unknown }} */ (error);
    if (code !== 'ERR_JOURNAL_DAMAGED') throw error;
  }
}

module.exports = {
  finishRestore,
  planRestore,
  planRestoreSync,
  restore,
  restoreSync,
  undo,
  undoSync,
};
