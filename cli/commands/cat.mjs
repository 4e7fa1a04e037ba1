import { isUtf8 } from 'node:buffer';
import { UsageError } from '../input.mjs';

/** Whole in memory; Node's buffers could be larger. */
const MAX_BYTES = 2 ** 31;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'cat',
  usage: '<run> <checkpoint> <path> [options]',
  summary: 'print a file as a checkpoint has it',
  about:
    'Prints a captured file as it was, held against its hash. The path is as waymark files prints it: from the folder that was captured. What is no text is not printed on a terminal.',
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', "the checkpoint's id, from waymark list"],
    ['path', 'the file, from waymark files'],
  ],
  options: [
    {
      flags: '--in <root>',
      about: 'run, artifacts or workspace, or the path of a root (default: the first that has it)',
    },
    { flags: '--force', about: 'print on a terminal what is no text' },
  ],
  examples: [
    ['waymark cat demo checkpoint-step-2-1767323045678 artifacts/plan.md', ''],
    ['waymark cat demo checkpoint-step-2-1767323045678 data.bin > data.bin', ''],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options }) {
  const [runId, checkpointId, path] = /** @type {string[]} */ (args);
  const { in: root, force, json } = options;
  const bytes = manager.readFileSync(runId, checkpointId, path, { root, maxBytes: MAX_BYTES });
  if (process.stdout.isTTY && !json && !force && !isText(bytes)) {
    throw new UsageError(`${path} is no text; send it to a file (>), or give --force`);
  }
  return {
    data: json && { checkpointId, path, size: bytes.length, base64: bytes.toString('base64') },
    text: undefined,
    bytes,
  };
}

/** @param {Buffer} bytes */
function isText(bytes) {
  return isUtf8(bytes) && !bytes.subarray(0, 8000).includes(0) && !bytes.includes(0x1b);
}
