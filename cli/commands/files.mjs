import { waymark } from '../library.mjs';
import { count, size, table } from '../output.mjs';

/** @typedef {import('../../index.js').CapturedFile} CapturedFile */

const LETTERS = { file: '-', withheld: '-', directory: 'd', symlink: 'l', skipped: '?' };

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'files',
  usage: '<run> [checkpoint] [options]',
  summary: 'list the files that a checkpoint has captured',
  about:
    'Lists the files that a checkpoint has captured: those of the run, of the registry, and of the workspace. Without a checkpoint: of the newest good one.',
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', 'the checkpoint (default: the newest good one)'],
  ],
  options: [
    {
      flags: '--in <root>',
      about: 'only of run, artifacts or workspace, or of the root with this path',
    },
    { flags: '--under <path>', about: 'only what lies below this path' },
  ],
  examples: [
    ['waymark files demo', 'of the newest checkpoint'],
    ['waymark files demo checkpoint-step-2-1767323045678 --under artifacts', ''],
    ['waymark files demo --json | jq -r .files[].path', 'for a script'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options }) {
  const [runId, given] = /** @type {[string, string | undefined]} */ (args);
  const checkpointId = given ?? newest(manager, runId);
  const { in: root, under } = options;
  const files = manager.filesSync(runId, checkpointId, { root, under });
  return {
    data: { checkpointId, files },
    text: (style) => {
      if (files.length === 0) return `${checkpointId} has no captured files`;
      const columns = [
        { title: 'ROOT' },
        { title: 'MODE' },
        { title: 'SIZE', right: true },
        { title: 'MODIFIED' },
        { title: 'PATH' },
      ];
      const rows = files.map((one) => [
        one.root,
        mode(one),
        one.size === undefined ? '' : size(one.size),
        one.modified === undefined ? '' : time(one.modified),
        `${one.path}${note(one)}`,
      ]);
      const total = files.filter((one) => one.kind === 'file');
      const bytes = total.reduce((sum, one) => sum + (one.size ?? 0), 0);
      return `${checkpointId}\n\n${table(columns, rows, style)}\n\n${count(total.length, 'file')}, ${size(bytes)}`;
    },
  };
}

/** @param {import('../input.mjs').Manager} manager @param {string} runId */
function newest(manager, runId) {
  const [first] = manager.listSync(runId);
  if (first) return first.checkpointId;
  throw new waymark.WaymarkError(
    'ERR_NO_CHECKPOINT',
    `run "${runId}" has no checkpoint that can be read; waymark list --include-damaged tells more`,
    { runId },
  );
}

/** @param {CapturedFile} one */
function mode({ kind, mode }) {
  return mode === undefined
    ? LETTERS[kind]
    : `${LETTERS[kind]}${mode.toString(8).padStart(4, '0')}`;
}

/** @param {number} ms */
function time(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? '?' : date.toISOString().slice(0, 19).replace('T', ' ');
}

/** @param {CapturedFile} one */
function note({ kind, target, reason }) {
  if (kind === 'directory') return '/';
  if (kind === 'symlink') return ` → ${target}`;
  if (kind === 'withheld') return '  (secret: only hash and size)';
  return kind === 'skipped' ? `  (not captured: ${reason})` : '';
}
