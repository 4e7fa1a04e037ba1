import fs from 'node:fs';
import waymark from '../../index.js';
import { parseKeepLast, parseStep, RUN_ID_OPTION, runOf, UsageError } from '../input.mjs';
import { count, size } from '../output.mjs';
import { watched } from '../progress.mjs';

const { WaymarkError } = waymark;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'create',
  usage: '<run> --step <step> [options]',
  summary: 'take a checkpoint of a run after a step was done',
  about:
    'Takes a checkpoint of a run after a step was done, and keeps the newest five of the run. When the command ends with 0, the checkpoint survives power loss.',
  arguments: [['run', "the run's id"]],
  options: [
    {
      flags: '--step <step>',
      about: 'the step that was done: its number (3, 1.5) or its name',
      parse: parseStep,
      required: true,
    },
    { flags: '--state <json>', about: 'the state to keep with it, as JSON (default: {})' },
    {
      flags: '--state-file <path>',
      about: 'a file that holds the state as JSON; - for standard input',
      conflicts: ['state'],
    },
    {
      flags: '--keep-last <n>',
      about: 'how many checkpoints of the run stay: a number, or all (default: 5)',
      parse: parseKeepLast,
    },
    RUN_ID_OPTION,
  ],
  examples: [
    ['waymark create demo --step 1.5', 'step 1.5 of the run demo is done'],
    [`waymark create demo --step draft --state '{"tokens":1200}'`, 'a named step, with a state'],
    ['collect | waymark create demo --step 2 --state-file -', 'the state from another command'],
    ['waymark create --run-id demo --step 3', 'as the old tool'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run(input) {
  const { manager, options } = input;
  const { runId, oldForm } = runOf(input);
  const state = await readState(options.state, options.stateFile);
  const created = await watched('create', options, (watch) =>
    manager.create(runId, options.step, state, { keepLast: options.keepLast, ...watch }),
  );
  const notices = created.warnings;
  if (oldForm) return { data: created.checkpoint, text: undefined, notices };
  const { checkpoint: _, ...data } = Object.getOwnPropertyDescriptors(created);
  return {
    // Without the manifest, which may be large; `show --json` prints it.
    data: Object.defineProperties({}, /** @type {any} */ (data)),
    text: ({ paint }) => {
      const { checkpointId, step, dropped } = created;
      const line = `${paint('green', 'created')} ${checkpointId} (step ${step}, ${size(created.size)})`;
      return dropped.length === 0
        ? line
        : `${line}\ndropped ${count(dropped.length, 'older checkpoint')}: ${dropped.join(', ')}`;
    },
    notices,
  };
}

/**
 * @param {string | undefined} text
 * @param {string | undefined} file
 * @returns {Promise<unknown>}
 */
async function readState(text, file) {
  if (file === '') throw new UsageError('--state-file needs a path, or - for standard input');
  if (file !== undefined) return parseState(await readText(file), `the file ${file}`);
  return text === undefined ? {} : parseState(text, '--state');
}

/**
 * @param {string} file
 * @returns {Promise<string>}
 */
async function readText(file) {
  const name = file === '-' ? 'standard input' : file;
  let bytes;
  try {
    bytes = file === '-' ? await readStandardInput() : fs.readFileSync(file);
  } catch (cause) {
    const message = /** @type {Error} */ (cause).message;
    throw new WaymarkError('ERR_IO', `can't read the state from ${name}: ${message}`, {
      path: file,
      cause,
    });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new WaymarkError(
      'ERR_STATE_NOT_JSON',
      `the step state is not JSON: ${name} is not UTF-8 text`,
      { path: file, cause },
    );
  }
}

/** @returns {Promise<Buffer>} */
async function readStandardInput() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * @param {string} text
 * @param {string} where
 * @returns {unknown}
 */
function parseState(text, where) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WaymarkError(
      'ERR_STATE_NOT_JSON',
      `the step state is not JSON: ${where}: ${/** @type {Error} */ (cause).message}`,
      { cause },
    );
  }
}
