import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { ask, asks } from '../ask.mjs';
import { HOW } from '../how.mjs';
import {
  choiceOf,
  oneOf,
  parseCount,
  parseStep,
  RUN_ID_OPTION,
  runOf,
  UsageError,
} from '../input.mjs';
import { lib, waymark } from '../library.mjs';
import { count, plain, size, styleFor } from '../output.mjs';
import { watched } from '../progress.mjs';

const { restoredCheckpoint } = lib.dropInShapes;
const { changes } = lib.restoreReport;

/**
 * @typedef {import('../../index.js').RestorePlan} RestorePlan
 * @typedef {import('../../index.js').RestoreResult} RestoreResult
 * @typedef {import('../../index.js').RestoreRow} RestoreRow
 * @typedef {import('../output.mjs').Style} Style
 */

const STRATEGIES = ['immediate', 'staged', 'progressive'];
const NAMES = ['state', 'registry', 'run', 'artifacts', 'workspace'];
const RESCUE = 'waymark-rescue-';
/** So many paths of a plan are listed; a report has all of them. */
const LISTED = 100;

/** @type {Record<RestoreRow['action'], readonly [string, 'green' | 'yellow' | 'red' | 'dim']>} */
const MARKS = {
  create: ['+', 'green'],
  replace: ['~', 'yellow'],
  set_mode: ['~', 'yellow'],
  merge: ['~', 'yellow'],
  keep_both: ['~', 'yellow'],
  delete: ['-', 'red'],
  keep: ['=', 'dim'],
  conflict: ['!', 'red'],
};

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'restore',
  usage: '<run> [checkpoint] [options]',
  summary: 'put a run back to a checkpoint',
  about: [
    "Puts a run back to a checkpoint: run.json, the registry and the other JSON files at the top of the run's folder, and the files that were captured with it. All of them or none. Without a checkpoint, a step and a time: the newest good one. Checkpoints newer than the restored one stay. What is there is kept first; waymark undo puts it back.",
    'On a terminal it shows the plan and asks. What no checkpoint of the run has captured is never touched.',
  ].join('\n\n'),
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', 'its id, from waymark list; this one and no other'],
  ],
  options: [
    { flags: '--step <step>', about: 'the newest good checkpoint of this step', parse: parseStep },
    {
      flags: '--at <time>',
      about: 'the newest good checkpoint that is not younger: 2026-01-02T03:04:05Z',
      parse: parseTime,
    },
    { flags: '--checkpoint <id>', about: 'the checkpoint' },
    { flags: '--checkpoint-id <id>', about: 'the checkpoint, as the old tool took it' },
    { flags: '--plan', about: 'tell what would be done, and change nothing' },
    {
      flags: '--apply <plan>',
      about: 'do what a plan said, by its id; refused if anything is different by now',
      conflicts: ['plan', 'step', 'at', 'checkpoint', 'checkpointId', 'only', 'onConflict'],
    },
    {
      flags: '--only <part>',
      about: `only this part: ${NAMES.join(', ')}, glob:<glob>, step:<step>, <folder>:<path>; can be repeated`,
      parse: (text, before = []) => [...before, parsePart(text)],
    },
    {
      flags: '--strategy <name>',
      about: `${STRATEGIES.join(', ')} (default: immediate)`,
      parse: (text) => choiceOf('--strategy', STRATEGIES, text),
    },
    {
      flags: '--batch <n>',
      about: 'paths per batch of a progressive restore (default: 50)',
      parse: parseCount,
    },
    {
      flags: '--report <file>',
      about: 'write what would be, or was, done: to a .md or .json file',
      parse: parseReport,
    },
    ...HOW,
    RUN_ID_OPTION,
  ],
  examples: [
    ['waymark restore demo', 'to the newest good checkpoint'],
    ['waymark restore demo --step 1.5', 'to the newest good checkpoint of step 1.5'],
    ['waymark restore demo checkpoint-step-2-1767323045678 --plan', 'what would it do?'],
    ['waymark restore demo --apply plan-0123456789abcdef', 'this, and nothing else'],
    ['waymark restore demo --only workspace:src --on-conflict keep-both', ''],
    [
      'waymark restore --run-id demo --checkpoint-id checkpoint-step-2-1767323045678',
      'as the old tool',
    ],
  ],
  exits: [
    ['0', 'done'],
    ['1', 'refused or failed, or the answer was no; also misuse'],
    ['130', 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run(input) {
  const { manager, args, options, tell } = input;
  const { runId, oldForm } = runOf(input);
  const checkpointId = oneOf([
    ['[checkpoint]', args[1]],
    ['--checkpoint', options.checkpoint],
    ['--checkpoint-id', options.checkpointId],
  ]);
  const { step, at, apply, only, onConflict, strategy, batch, report } = options;
  oneOf([
    ['a checkpoint', checkpointId],
    ['--step', step],
    ['--at', at],
    ['--apply', apply],
  ]);
  if (batch !== undefined && strategy !== 'progressive') {
    throw new UsageError('--batch is for --strategy progressive');
  }
  if (strategy !== undefined && (options.plan || apply !== undefined)) {
    throw new UsageError('a plan is applied at once: --strategy does not go with it');
  }
  // The old tool refused; a script that lost the id must not go back to another checkpoint.
  if (oldForm && [checkpointId, step, at, apply].every((one) => one === undefined)) {
    throw new UsageError('the checkpoint is missing: give --checkpoint-id <id>');
  }
  const files = options.stateOnly === true ? false : undefined;
  let wanted = { checkpointId, step, at, plan: apply, only, onConflict };
  if (options.plan === true || (!oldForm && apply === undefined && asks(options))) {
    const { plan: _, ...which } = wanted;
    const plan = await watched('restore: plan', options, (watch) =>
      manager.planRestore(runId, { ...which, files, ...watch }),
    );
    const skipped = plan.skipped.map((one) => `passed over ${one.checkpointId}: ${one.message}`);
    if (options.plan === true) {
      writeReport(report, plan);
      const nowhere = await nothingOf(manager, runId, plan, only);
      return {
        data: plan,
        text: (style) => planText(runId, plan, style),
        notices: [...skipped, ...nowhere],
      };
    }
    for (const notice of skipped) tell(notice);
    if (
      plan.conflicts === 0 &&
      !(await ask(planText(runId, plan, styleFor(process.stderr, process.env, 0)), 'restore this?'))
    ) {
      return {
        data: { runId, restored: false },
        text: () => 'nothing was changed',
        exitCode: 1,
      };
    }
    // What was shown is what is done.
    wanted =
      strategy === undefined || strategy === 'immediate'
        ? { ...NOTHING, plan: plan.planId }
        : { ...NOTHING, checkpointId: plan.checkpointId, only, onConflict };
  }
  const restored = await refusable(tell, () =>
    watched('restore', options, (watch) =>
      manager.restore(runId, { ...wanted, files, strategy, batch, ...watch }),
    ),
  );
  writeReport(report, restored);
  const result = resultOf(runId, restored, oldForm);
  const nowhere = await nothingOf(manager, runId, restored, only);
  return { ...result, notices: [...(result.notices ?? []), ...nowhere] };
}

/**
 * What was asked for by its path and is nowhere: a path of another folder looks the same.
 * @param {import('../../index.js').CheckpointManager} manager
 * @param {string} runId
 * @param {RestorePlan | RestoreResult} of
 * @param {import('../../index.js').RestorePart[]} [only]
 */
async function nothingOf(manager, runId, { checkpointId, paths }, only = []) {
  const notices = [];
  for (const part of only) {
    if (typeof part === 'string' || !('path' in part) || typeof part.path !== 'string') continue;
    const { root, path: under } = part;
    const isThere = paths.some(
      (row) => row.root === root && `${row.path}/`.startsWith(`${under.replace(/\/$/, '')}/`),
    );
    if (isThere || (await isIn(manager.files(runId, checkpointId, { root, under })))) continue;
    notices.push(
      `--only ${root}:${under}: no such path; paths are as "waymark files ${runId} ${checkpointId}" shows them`,
    );
  }
  return notices;
}

/** @param {AsyncIterable<unknown>} files those below a path */
async function isIn(files) {
  try {
    for await (const _ of files) return true;
  } catch (error) {
    if (/** @type {{ code?: unknown }} */ (error).code !== 'ERR_FILE_NOT_IN_CHECKPOINT')
      throw error;
  }
  return false;
}

const NOTHING = {
  checkpointId: undefined,
  step: undefined,
  at: undefined,
  plan: undefined,
  only: undefined,
  onConflict: undefined,
};

/**
 * What was restored, as a command's result.
 * @param {string} runId
 * @param {RestoreResult} restored
 * @param {boolean} [oldForm]
 * @param {string} [what]
 * @returns {import('../input.mjs').Result}
 */
export function resultOf(runId, restored, oldForm = false, what = 'restored') {
  const notices = restored.skipped.map((one) => `passed over ${one.checkpointId}: ${one.message}`);
  if (restored.recovered !== 'nothing') {
    notices.unshift(`a restore of run ${runId} had been cut off and was ${restored.recovered}`);
  }
  if (oldForm) return { data: restoredCheckpoint(restored), text: undefined, notices };
  const { checkpoint: _, ...data } = Object.getOwnPropertyDescriptors(restored);
  return {
    // Without the manifest, which may be large; `show --json` prints it.
    data: Object.defineProperties({}, /** @type {any} */ (data)),
    text: ({ paint }) => {
      const { checkpointId: id, step, timestamp, files, artifactsRestored, totals } = restored;
      const lines = [
        `${paint('green', what)} run ${runId} to ${id} (step ${step}, taken ${timestamp})`,
        `${count(artifactsRestored, 'artifact')} in the registry; ${files.length === 0 ? 'the state was left as it is' : `put back: ${plain(files.join(', '))}`}`,
      ];
      const changed = changes(totals);
      if (changed + totals.keep > 0) {
        const verified = size(restored.verifiedBytes);
        lines.push(
          `${count(changed, 'path')} changed, ${totals.keep} left alone, ${verified} read back and verified`,
        );
      }
      lines.push(`to put back what was there: waymark undo ${runId}`);
      // Of what a restore had kept they would be wrong: no list has it, and no run goes on from it.
      if (id.startsWith(RESCUE)) return lines.join('\n');
      return [...lines, '', ...restored.recoveryInstructions.map((line) => plain(line))].join('\n');
    },
    notices,
  };
}

/**
 * Says what goes on where somebody has to decide first.
 * @template T
 * @param {(notice: string) => void} tell
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function refusable(tell, work) {
  try {
    return await work();
  } catch (error) {
    if (/** @type {{ code?: unknown }} */ (error).code === 'ERR_RESTORE_CONFLICT') {
      tell('decide by --on-conflict keep-both, overwrite or merge; or --only, or --state-only');
    }
    throw error;
  }
}

/** @param {string} runId @param {RestorePlan} plan @param {Style} style */
function planText(runId, plan, { paint }) {
  const { checkpointId, step, timestamp, state, paths, totals, newer, planId, expiresAt } = plan;
  const lines = [
    plain(`would restore run ${runId} to ${checkpointId} (step ${step}, taken ${timestamp})`),
    ...state.map(({ name }) => `  ${paint('yellow', '~')} ${plain(name)}`),
  ];
  for (const row of paths.slice(0, LISTED)) {
    const [mark, colour] = MARKS[row.action];
    const place = row.rootPath === '.' ? row.path : `${row.rootPath}/${row.path}`;
    const beside = row.beside === undefined ? '' : `, what is there goes to ${row.beside}`;
    const mode = row.action === 'set_mode' ? ' (mode)' : '';
    const why = row.reason === undefined ? mode : ` (${row.reason.replaceAll('_', ' ')})`;
    const merge = row.action === 'merge' ? ' (merge)' : '';
    lines.push(`  ${paint(colour, mark)} ${plain(`${place}${why}${merge}${beside}`)}`);
  }
  if (paths.length > LISTED) lines.push(`  and ${paths.length - LISTED} more (--report)`);
  lines.push(
    `${count(changes(totals), 'path')} to change, ${totals.keep} left alone, ${totals.conflict} undecided; ${size(totals.bytesToWrite)} to write, ${size(totals.bytesReplaced)} replaced`,
  );
  if (newer.length > 0) lines.push(`${count(newer.length, 'newer checkpoint')} left behind`);
  lines.push(`plan ${planId}, until ${expiresAt}`);
  return lines.join('\n');
}

/** @param {string | undefined} file @param {RestorePlan | RestoreResult} of */
function writeReport(file, of) {
  if (file === undefined) return;
  const text = waymark.restoreReport(of, file.endsWith('.json') ? 'json' : 'markdown');
  try {
    writeFileSync(path.resolve(file), text);
  } catch (error) {
    const done = 'planId' in of ? '' : 'the run is restored, but ';
    throw new waymark.WaymarkError(
      'ERR_IO',
      `${done}the report can't be written: ${/** @type {Error} */ (error).message}`,
      { path: path.resolve(file), cause: error },
    );
  }
}

/** @param {string} text */
function parseReport(text) {
  if (/\.(md|json)$/.test(text)) return text;
  throw new UsageError(`--report must name a .md or .json file, not "${text}"`);
}

/** @param {string} text */
function parseTime(text) {
  if (/^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(Date.parse(text))) return text;
  throw new UsageError(`--at must be a time such as 2026-01-02T03:04:05Z, not "${text}"`);
}

/** @param {string} text @returns {import('../../index.js').RestorePart} */
function parsePart(text) {
  if (NAMES.includes(text)) return /** @type {'state'} */ (text);
  const at = text.indexOf(':');
  const [kind, rest] = [text.slice(0, at), text.slice(at + 1)];
  if (at > 0 && rest !== '') {
    if (kind === 'glob') return { glob: rest };
    if (kind === 'step') return { step: parseStep(rest) };
    return { root: kind, path: rest };
  }
  throw new UsageError(
    `--only must be ${NAMES.join(', ')}, glob:<glob>, step:<step> or <folder>:<path>, not "${text}"`,
  );
}
