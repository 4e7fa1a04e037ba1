// Which files are captured: from the configuration, the manager's options and the call's, the later
// ones winning member by member.

/**
 * @typedef {import('../index.js').CaptureOptions} CaptureOptions
 * @typedef {import('../native.js').CaptureRequest} CaptureRequest
 */

/** The largest file, in bytes: 1 GiB. */
const MAX_FILE_BYTES = 1024 ** 3;

/** @type {Record<keyof CaptureOptions, { expected: string, test: (value: any) => boolean }>} */
const MEMBERS = {
  run: flag(),
  artifacts: flag(),
  workspace: {
    expected: 'true, false, or an array of folders',
    test: (value) => typeof value === 'boolean' || isStrings(value),
  },
  gitignore: flag(),
  include: globs(),
  exclude: globs(),
  secrets: {
    expected: 'true, false, or an array of globs',
    test: (value) => typeof value === 'boolean' || isStrings(value),
  },
  maxFileBytes: {
    expected: 'a whole number from 0 on',
    test: (value) => Number.isSafeInteger(value) && value >= 0,
  },
  onPartial: {
    expected: "'mark' or 'error'",
    test: (value) => value === 'mark' || value === 'error',
  },
};

function flag() {
  return {
    expected: 'true or false',
    test: (/** @type {any} */ value) => typeof value === 'boolean',
  };
}

function globs() {
  return { expected: 'an array of globs', test: isStrings };
}

/** @param {any} value */
function isStrings(value) {
  return Array.isArray(value) && value.every((one) => typeof one === 'string' && one !== '');
}

/**
 * What is wrong with capture options; undefined if nothing is.
 * @param {any} options
 * @returns {string | undefined}
 */
function captureProblem(options) {
  if (options === false) return undefined;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    return 'capture must be false or an object';
  }
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(MEMBERS, name)) {
      return `capture.${name} is not known; known are ${Object.keys(MEMBERS).join(', ')}`;
    }
    const member = MEMBERS[/** @type {keyof CaptureOptions} */ (name)];
    if (value !== undefined && !member.test(value)) {
      return `capture.${name} must be ${member.expected}`;
    }
  }
  return undefined;
}

/**
 * @param {(CaptureOptions | false | undefined)[]} layers the later ones win
 * @returns {CaptureRequest | undefined} undefined captures nothing
 */
function captureRequest(...layers) {
  const given = layers.filter((layer) => layer !== undefined);
  if (given.at(-1) === false) return undefined;
  /** @type {CaptureOptions} */
  const all = {};
  for (const layer of given) {
    for (const [name, value] of Object.entries(layer || {})) {
      if (value !== undefined) /** @type {Record<string, unknown>} */ (all)[name] = value;
    }
  }
  const { workspace = false, secrets = true } = all;
  return {
    run: all.run ?? true,
    artifacts: all.artifacts ?? true,
    workspace: workspace === true ? ['.'] : workspace || [],
    respectGitignore: all.gitignore ?? true,
    include: all.include ?? [],
    exclude: all.exclude ?? [],
    secrets: Array.isArray(secrets) ? secrets : [],
    withholdSecrets: secrets !== false,
    maxFileBytes: all.maxFileBytes ?? MAX_FILE_BYTES,
    refusePartial: all.onPartial === 'error',
  };
}

module.exports = { captureProblem, captureRequest };
