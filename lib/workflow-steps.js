// The steps of a workflow file, known by the file's hash: to load what parses YAML, and to parse, takes some 50 ms at the
// end of a step's process, and every step of a run has the same file. What was parsed is kept as a record of the store;
// without it the file is parsed again.

const { version } = require('../package.json');
const { hashOf } = require('./collectors/read.js');
const { Records } = require('./records.js');

/**
 * @typedef {import('./workflow.js').WorkflowStep} WorkflowStep
 * @typedef {import('../native.js').Place} Place
 * @typedef {{ waymark: string, files: [hash: string, steps: WorkflowStep[]][] }} Kept of this version alone: another may
 * parse differently
 */

const RECORD = 'workflow-steps';
/** So many files are known. */
const FILES = 16;

/** The file that was looked at last: most checkpoints of a process name the same. */
let last = { hash: '', steps: /** @type {WorkflowStep[]} */ ([]), isNew: false };

/** @param {Place} place @returns {Kept['files']} */
function filesKept(place) {
  try {
    const value = /** @type {any} */ (new Records(place, null).readSync(RECORD)?.value);
    const files = value?.waymark === version && Array.isArray(value.files) ? value.files : [];
    return files.filter((/** @type {any} */ one) => Array.isArray(one?.[1]));
  } catch {
    // Damaged, or of a store that is not there: then none is known.
    return [];
  }
}

/**
 * The steps in the text of a workflow file, in their order.
 * @param {Place} place
 * @param {Buffer} content
 * @param {string} file for errors
 * @returns {{ hash: string, steps: WorkflowStep[] }}
 */
function stepsOf(place, content, file) {
  const hash = hashOf(content);
  if (last.hash !== hash) {
    const [, before] = filesKept(place).find(([one]) => one === hash) ?? [];
    const steps = before ?? require('./workflow.js').stepsIn(content.toString('utf8'), file);
    last = { hash, steps, isNew: before === undefined };
  }
  return last;
}

/**
 * Keeps what was parsed, for the processes that follow. Called where something was recorded: only then there is a store.
 * @param {Place} place
 */
function keepParsed(place) {
  if (!last.isNew) return;
  const { hash, steps } = last;
  last.isNew = false;
  const others = filesKept(place).filter(([one]) => one !== hash);
  try {
    // Whatever is there: of two who write at once, what one of them parsed is parsed once more.
    const files = [[hash, steps], ...others].slice(0, FILES);
    new Records(place, null).writeSync(RECORD, { waymark: version, files });
  } catch {
    // The next process parses it again.
  }
}

module.exports = { keepParsed, stepsOf };
