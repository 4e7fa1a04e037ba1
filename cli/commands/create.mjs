import fs from 'node:fs';
import path from 'node:path';
import { FACTS, factsOf } from '../facts.mjs';
import {
  parseEach,
  parseKeepLast,
  parseSize,
  parseStep,
  RUN_ID_OPTION,
  runOf,
  UsageError,
} from '../input.mjs';
import { waymark } from '../library.mjs';
import { count, size } from '../output.mjs';
import { watched } from '../progress.mjs';

const { WaymarkError } = waymark;

/** What is captured with it: each is a member of `capture` of that name. @type {import('../input.mjs').OptionDefinition[]} */
const CAPTURE = [
  {
    flags: '--workspace <folder>',
    about: "capture this folder's files as well, such as . or src; can be repeated",
    parse: (text, before) => parseEach(path.resolve(text), before || []),
  },
  { flags: '--no-workspace', about: 'capture no folder, whatever is configured' },
  {
    flags: '--include <glob>',
    about: 'capture what ignore files leave out of the workspace; can be repeated',
    parse: parseEach,
  },
  {
    flags: '--exclude <glob>',
    about: 'leave this out of the workspace and of artifacts; can be repeated',
    parse: parseEach,
  },
  { flags: '--no-gitignore', about: '.gitignore and .git/info/exclude do not count' },
  {
    flags: '--secrets <glob>',
    about: 'more files whose contents are withheld; !glob takes some out; can be repeated',
    parse: parseEach,
  },
  {
    flags: '--keep-secrets',
    about: 'store the contents of secrets, too',
    conflicts: ['secrets'],
  },
  { flags: '--no-run', about: "leave the run's own files out" },
  { flags: '--no-artifacts', about: "leave the registry's artifacts out" },
  {
    flags: '--max-file-bytes <size>',
    about: 'leave out larger files, and say so (default: 1GB)',
    parse: (text) => parseSize('--max-file-bytes', text),
  },
  {
    flags: '--on-partial <what>',
    about: 'if something cannot be captured: mark the checkpoint (default), or error',
    parse: (text) => {
      if (text === 'mark' || text === 'error') return text;
      throw new UsageError(`--on-partial must be mark or error, not "${text}"`);
    },
  },
  { flags: '--no-capture', about: 'capture no files at all' },
];

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
    {
      flags: '--max-bytes <size>',
      about: "how large the project's store may become, such as 500MB",
      parse: (text) => parseSize('--max-bytes', text),
    },
    ...CAPTURE,
    ...FACTS,
    RUN_ID_OPTION,
  ],
  examples: [
    ['waymark create demo --step 1.5', 'step 1.5 of the run demo is done'],
    [`waymark create demo --step draft --state '{"tokens":1200}'`, 'a named step, with a state'],
    ['collect | waymark create demo --step 2 --state-file -', 'the state from another command'],
    [
      "waymark create demo --step 3 --workspace src --exclude '*.log' --max-bytes 500MB",
      'with the files in src; the store stays below 500 MB',
    ],
    [
      'waymark create demo --step 4 --class milestone --label beta --phase build',
      'with what is to be known of it',
    ],
    ['waymark create --run-id demo --step 3', 'as the old tool'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run(input) {
  const { manager, options } = input;
  const { runId, oldForm } = runOf(input);
  const state = await readState(options.state, options.stateFile);
  const created = await watched('create', options, (watch) =>
    manager.create(runId, options.step, state, {
      keepLast: options.keepLast,
      maxBytes: options.maxBytes,
      capture: captureOf(options),
      facts: factsOf(options),
      ...watch,
    }),
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
 * What the words say of the capture; the rest is as configured.
 * @param {Record<string, any>} options
 * @returns {import('../../index.js').CaptureOptions | false | undefined}
 */
function captureOf(options) {
  const off = (/** @type {string} */ name) => (options[name] === false ? false : undefined);
  const given = {
    run: off('run'),
    artifacts: off('artifacts'),
    workspace: options.workspace,
    gitignore: off('gitignore'),
    include: options.include,
    exclude: options.exclude,
    secrets: options.keepSecrets === true ? false : options.secrets,
    maxFileBytes: options.maxFileBytes,
    onPartial: options.onPartial,
  };
  const any = Object.values(given).some((value) => value !== undefined);
  if (options.capture !== false) return any ? given : undefined;
  if (any) throw new UsageError('--no-capture captures nothing: give it alone, or leave it out');
  return false;
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
