// The workflow file: its hash, and its steps in their order.

const fs = require('node:fs');
const path = require('node:path');
const { readFlags } = require('../arguments.js');
const { hashFiles } = require('./read.js');
const { stepsOf } = require('../workflow-steps.js');

/**
 * @typedef {import('../fingerprint.js').Context} Context
 */

/** A workflow file is some KiB; anything larger is something else. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Where it lies: as declared, as this very step was started with, as the run's record names it.
 * @param {Context} context
 * @returns {string | undefined}
 */
function fileOf({ declared, root, runId, record }) {
  if (declared.workflow !== undefined) return path.resolve(root, declared.workflow);
  const flags = readFlags(process.argv.slice(2));
  const flag = flags.get('run-id') === runId ? flags.get('workflow') : undefined;
  if (typeof flag === 'string') return path.resolve(flag);
  const named = record()?.selected_workflow;
  if (typeof named !== 'string' || !/\.(ya?ml|json)$/.test(named)) return undefined;
  const file = path.resolve(root, named);
  return fs.existsSync(file) ? file : undefined;
}

/**
 * What a fingerprint keeps of the steps: their order, and of those that it does not say all of what does.
 * @typedef {{ step: Step, group?: string, after?: Step[] }} Placed
 * @typedef {import('../../index.js').Step} Step
 */

/**
 * @param {Buffer} content
 * @param {string} file
 * @param {Context} context
 */
function told(content, file, { place, root }) {
  if (content.length > MAX_BYTES) throw new Error(`${file} is larger than 4 MiB`);
  const { hash, steps } = stepsOf(place, content, file);
  const special = steps.filter(({ group, after }) => group !== undefined || after);
  return {
    path: relative(root, file),
    hash,
    steps: steps.map(({ step }) => step),
    ...(special.length === 0
      ? {}
      : { parallel: special.map(({ step, group, after }) => ({ step, group, after })) }),
  };
}

/**
 * The steps as a fingerprint tells them, as far as their order goes: a file that is the same need not be parsed again,
 * and loading what parses it is most of what a resume would wait for.
 * @param {any} fingerprint
 * @returns {import('../workflow.js').WorkflowStep[]}
 */
function stepsTold({ steps, parallel = [] }) {
  const special = new Map(parallel.map((/** @type {Placed} */ one) => [one.step, one]));
  return steps.map((/** @type {Step} */ step) => ({ outputs: [], step, ...special.get(step) }));
}

/** @param {string} root @param {string} file inside of the project: relative to it */
function relative(root, file) {
  const inside = path.relative(root, file);
  return inside.startsWith('..') || path.isAbsolute(inside) ? file : inside;
}

/** @type {import('../fingerprint.js').Collector} */
const workflow = {
  name: 'workflow',
  collect(context) {
    const file = fileOf(context);
    if (file === undefined) return null;
    return fs.promises.readFile(file).then((content) => told(content, file, context));
  },
  collectSync(context) {
    const file = fileOf(context);
    return file === undefined ? null : told(fs.readFileSync(file), file, context);
  },
  async look(context, then) {
    const file = context.declared.workflow ?? then?.path;
    if (typeof file !== 'string') return null;
    const found = path.resolve(context.root, file);
    const [hash] = await hashFiles([found]);
    const isSame = hash !== null && hash === then?.hash;
    if (isSame) return { ...then, path: relative(context.root, found) };
    return told(await fs.promises.readFile(found), found, context);
  },
};

module.exports = { stepsTold, workflow };
