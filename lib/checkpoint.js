/**
 * A checkpoint as the runner knows it: the manifest's JSON object. It is parsed when a member is
 * first looked at: a large one takes tens of milliseconds, and most callers only want the id.
 * @typedef {import('../index.js').Checkpoint} Checkpoint
 */

const MEMBERS = /** @type {const} */ ([
  'checkpoint_id',
  'run_id',
  'workflow_id',
  'step',
  'timestamp',
  'run_record',
  'artifact_registry',
  'step_state',
  'artifacts_at_checkpoint',
  'validation_summary',
  'recovery_instructions',
  'run_files',
  'state_objects',
  'snapshot',
  'facts',
  'environment',
  'waymark',
  'metadata',
]);

/**
 * @param {() => Buffer} manifest gives the manifest's bytes
 * @param {Partial<Checkpoint>} known members that need no parsing
 * @param {ReadonlySet<string>} absent members that it does not have
 * @returns {Checkpoint} a plain object; its members are own, enumerable and writable
 */
function lazyCheckpoint(manifest, known, absent) {
  /** @type {Record<string, unknown> | undefined} */
  let parsed;
  const object = /** @type {Record<string, unknown>} */ ({});
  const all = () => {
    if (!parsed) parsed = JSON.parse(manifest().toString('utf8'));
    return /** @type {Record<string, unknown>} */ (parsed);
  };
  for (const name of MEMBERS) {
    if (absent.has(name)) continue;
    if (Object.hasOwn(known, name)) {
      object[name] = known[/** @type {keyof Checkpoint} */ (name)];
      continue;
    }
    Object.defineProperty(object, name, {
      enumerable: true,
      configurable: true,
      get: () => all()[name],
      set: (value) => {
        all()[name] = value;
      },
    });
  }
  return /** @type {Checkpoint} */ (/** @type {unknown} */ (object));
}

/**
 * A checkpoint that may have been written by another tool, with members of its own: parsed whole.
 * @param {Buffer} manifest
 * @returns {Checkpoint}
 */
function parseCheckpoint(manifest) {
  return JSON.parse(manifest.toString('utf8'));
}

/**
 * Adds the manifest's object, computed when it is first looked at.
 * @template {object} T
 * @param {T} object
 * @param {() => Checkpoint} compute
 * @returns {T & { readonly checkpoint: Checkpoint }}
 */
function withLazyCheckpoint(object, compute) {
  /** @type {Checkpoint | undefined} */
  let computed;
  Object.defineProperty(object, 'checkpoint', {
    enumerable: true,
    configurable: true,
    // Kept here and not in the object, which its owner may have frozen.
    get: () => {
      computed ??= compute();
      return computed;
    },
  });
  return /** @type {T & { readonly checkpoint: Checkpoint }} */ (object);
}

/**
 * Parses the fingerprint of a checkpoint's environment when it is first looked at: a list has many, and most
 * callers look at none.
 * @template {object} T
 * @param {T} info with `environment` as the addon gives it: JSON text
 * @returns {T}
 */
function withEnvironment(info) {
  const text = /** @type {{ environment?: unknown }} */ (info).environment;
  if (typeof text !== 'string') return info;
  /** @type {unknown} */
  let parsed;
  return Object.defineProperty(info, 'environment', {
    enumerable: true,
    configurable: true,
    get: () => {
      parsed ??= JSON.parse(text);
      return parsed;
    },
  });
}

module.exports = { lazyCheckpoint, parseCheckpoint, withEnvironment, withLazyCheckpoint };
