import { parseCount } from '../input.mjs';
import { count, plain, plainLines, size } from '../output.mjs';
import { watched } from '../progress.mjs';

/**
 * @typedef {import('../../index.js').DiffResult} DiffResult
 * @typedef {import('../../index.js').FileChange} FileChange
 * @typedef {import('../../index.js').JsonDifference} JsonDifference
 * @typedef {import('../../index.js').RunFileChange} RunFileChange
 * @typedef {import('../../index.js').TextDifference} TextDifference
 * @typedef {import('../output.mjs').Style} Style
 */

const DIFFERENT = 3;

const MARKS = /** @type {const} */ ({
  added: ['+', 'green'],
  removed: ['-', 'red'],
  changed: ['~', 'yellow'],
});

/** @type {Record<string, string>} */
const NO_TEXT = {
  binary: 'binary, or not UTF-8',
  too_large: 'too large to be compared line by line',
  secret: 'a secret: its lines are not shown',
  not_files: 'not both are files',
  changing: 'it is being changed',
};

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'diff',
  usage: '<run> <from> [to] [options]',
  summary: 'tell what differs between two checkpoints, or between one and the disk',
  about:
    'Tells what differs between two checkpoints of a run, or between one and the disk as it is now: run.json, the registry, the step state, the other JSON files, and all captured files. Writes nothing.',
  arguments: [
    ['run', "the run's id"],
    ['from', 'the checkpoint before'],
    ['to', 'the checkpoint after (default: the disk as it is now)'],
  ],
  options: [
    { flags: '--text', about: 'show the lines that differ, of files up to 1 MB' },
    {
      flags: '--limit <n>',
      about: 'how many changes are listed, of files and of each part of the state; all are counted',
      parse: parseCount,
    },
    { flags: '--times', about: 'also tell files that differ in nothing but their time' },
    { flags: '--exit-code', about: `end with ${DIFFERENT} if something differs` },
  ],
  examples: [
    ['waymark diff demo checkpoint-step-1-1767323045678', 'what changed since, on the disk'],
    ['waymark diff demo checkpoint-step-1-1767323045678 checkpoint-step-2-1767323099999', ''],
    ['waymark diff demo checkpoint-step-1-1767323045678 --text | less', 'with the lines'],
  ],
  exits: [
    ['0', 'done; with --exit-code: nothing differs'],
    ['1', 'refused or failed; also misuse'],
    [String(DIFFERENT), 'with --exit-code: something differs'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const [runId, from, to] = /** @type {[string, string, string | undefined]} */ (args);
  const { limit, text = false, times = false, exitCode = false } = options;
  const found = await watched('diff', options, (watch) =>
    manager.diff(runId, from, to, { limit, fileLimit: limit, text, times, ...watch }),
  );
  const notices = [];
  if (!found.files.compared) {
    notices.push(
      'files were not compared: one of the checkpoints is of another tool, or files are not captured',
    );
  }
  return {
    data: found,
    notices,
    text: (style) => sections(found, style).join('\n\n'),
    exitCode: exitCode && !found.equal ? DIFFERENT : 0,
  };
}

/** @param {DiffResult} found @param {Style} style @returns {string[]} */
function sections({ from, to, state, files, equal }, style) {
  const { paint } = style;
  const name = (/** @type {typeof from} */ side) => `${side.checkpointId} (step ${side.step})`;
  const head = plain(`${name(from)} → ${to ? name(to) : 'the disk as it is now'}`);
  if (equal) return [head, 'nothing differs'];
  const parts = [head];
  const section = (/** @type {string} */ title, /** @type {string[]} */ lines) => {
    if (lines.length > 0) parts.push([paint('bold', title), ...lines].join('\n'));
  };
  section('run.json', jsonLines(state.run, style));
  section('artifact-registry.json', jsonLines(state.registry, style));
  if (state.stepState) section('step state', jsonLines(state.stepState, style));
  for (const file of state.runFiles) section(plain(file.name), runFileLines(file, style));
  for (const { root, rootPath } of files.roots) {
    const own = files.changes.filter((one) => one.root === root && one.rootPath === rootPath);
    section(
      plain(`files of ${root} (${rootPath})`),
      own.flatMap((one) => fileLines(one, style)),
    );
  }
  const { total, added, removed, changed } = files;
  const left = total - files.changes.length;
  const more = left > 0 ? `, ${left} of them not listed (--limit)` : '';
  parts.push(
    `${count(total, 'file')} ${total === 1 ? 'differs' : 'differ'}: ${added} added, ${removed} removed, ${changed} changed${more}`,
  );
  return parts;
}

/** @param {JsonDifference} diff @param {Style} style @returns {string[]} */
function jsonLines({ changes, total }, style) {
  const lines = changes.map(({ path, change, before, after }) => {
    const values = [before, after].filter((value) => value !== undefined).join(' → ');
    return marked(change, `${path === '' ? '(all of it)' : path}: ${values}`, style);
  });
  if (total > changes.length) lines.push(`  and ${total - changes.length} more (--limit)`);
  return lines;
}

/** @param {RunFileChange} file @param {Style} style @returns {string[]} */
function runFileLines(file, style) {
  if (file.compared === 'json') return jsonLines(file, style);
  const what = {
    bytes: file.change === 'changed' ? 'changed, but not as JSON' : file.change,
    unknown: 'not known: one side could not be captured',
  }[file.compared];
  return [marked(file.change, what, style), ...textLines(file, style)];
}

/** @param {FileChange} change @param {Style} style @returns {string[]} */
function fileLines(change, style) {
  const { path, before, after } = change;
  const node = after ?? before;
  const end = node?.kind === 'directory' ? '/' : '';
  const facts = change.change === 'changed' ? changedFacts(change) : newFacts(change);
  const line = marked(change.change, `${path}${end}${facts}`, style);
  return [line, ...textLines(change, style)];
}

/** @param {FileChange} change */
function newFacts({ before, after }) {
  const node = after ?? before;
  if (node?.kind === 'symlink') return ` → ${node.target}`;
  if (node?.kind === 'skipped') return ` (not captured: ${node.reason})`;
  const bytes = node?.size === undefined ? '' : ` (${size(node.size)})`;
  return node?.kind === 'withheld' ? `${bytes} (secret)` : bytes;
}

/** @param {FileChange} change */
function changedFacts({ differs, before, after }) {
  const octal = (/** @type {number | undefined} */ mode) => mode?.toString(8) ?? '?';
  const facts = [];
  if (differs.type) facts.push(`${before?.kind} → ${after?.kind}`);
  if (differs.content) facts.push(`${size(before?.size ?? 0)} → ${size(after?.size ?? 0)}`);
  if (differs.mode) facts.push(`mode ${octal(before?.mode)} → ${octal(after?.mode)}`);
  if (differs.target) facts.push(`→ ${before?.target} became → ${after?.target}`);
  if (differs.unknown) facts.push('not known: one side could not be captured');
  if (differs.time && facts.length === 0) facts.push('time');
  return ` (${facts.join(', ')})`;
}

/** @param {TextDifference} diff @param {Style} style @returns {string[]} */
function textLines({ text, noText }, { paint }) {
  if (noText !== undefined) return [`    ${NO_TEXT[noText] ?? noText}`];
  if (text === undefined || text === '') return [];
  const colours = /** @type {const} */ ({ '+': 'green', '-': 'red', '@': 'cyan' });
  return plainLines(text.replace(/\n$/, ''))
    .split('\n')
    .map((line) => {
      const colour = colours[/** @type {'+'} */ (line[0])];
      return `    ${colour ? paint(colour, line) : line}`;
    });
}

/**
 * @param {'added' | 'removed' | 'changed'} change
 * @param {string} text
 * @param {Style} style
 */
function marked(change, text, { paint }) {
  const [mark, colour] = MARKS[change];
  return `  ${paint(colour, mark)} ${plain(text)}`;
}
