import waymark from '../../index.js';
import { readFlags } from '../../lib/arguments.js';
import { resumeSync } from '../../lib/resume.js';
import { commandFor } from '../../lib/supervisor/command.js';
import { oneOf, parseStep, UsageError } from '../input.mjs';
import { quoted } from '../output.mjs';
import { HOW } from './restore.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'resume',
  usage: '<run> [options] -- <command…>',
  summary: 'restore a run and start the command of its next step',
  about: [
    'Restores a run to its newest good checkpoint, finds the step that follows by the order of the workflow file, and starts the command with it, without a shell. If the last step is done, nothing is changed or started.',
    'In the command, --resume, --resume-step and --step are taken out and "--step <next>" is appended; or, if a word has {step}, that is replaced instead. "--run-id <run>" is appended if it is missing, unless a word has {run}, which is replaced.',
    "SIGINT, SIGTERM and SIGHUP are passed on to the command. Standard output is the command's; what was restored is told on standard error.",
  ].join('\n\n'),
  arguments: [['run', "the run's id"]],
  options: [
    {
      flags: '--workflow <path>',
      about: "the workflow file (default: the one after --workflow in the command's words)",
    },
    {
      flags: '--step <step>',
      about: 'go on after the newest good checkpoint of this step',
      parse: parseStep,
    },
    { flags: '--resume-step <step>', about: 'the same', parse: parseStep },
    { flags: '--checkpoint <id>', about: 'go on after this checkpoint' },
    ...HOW.filter(({ flags }) => flags !== '--yes'),
    { flags: '--dry-run', about: 'tell what would be done, change and start nothing' },
  ],
  examples: [
    [
      'waymark resume demo -- node .claude/tools/workflow_runner.js --workflow flow.yaml',
      'the next step, by the runner',
    ],
    [
      'waymark resume demo --step 1.5 -- node runner.js --workflow flow.yaml',
      'once more what follows step 1.5',
    ],
    [
      'waymark resume demo --workflow flow.yaml -- make run-{step} RUN={run}',
      'a command of another kind',
    ],
    ['waymark resume demo --workflow flow.yaml --dry-run', 'where would it go on?'],
  ],
  exits: [
    ['0', 'all steps are done; with --dry-run: done'],
    ['1', 'refused, nothing was started; also misuse'],
    [
      'other',
      "once the command is started: its own, 0 and 1 too; 128 + the signal's number if it was killed",
    ],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options, command = [] }) {
  const runId = /** @type {string} */ (args[0]);
  const dryRun = options.dryRun === true;
  const step = oneOf([
    ['--step', options.step],
    ['--resume-step', options.resumeStep],
  ]);
  const checkpointId = options.checkpoint;
  oneOf([
    ['a step', step],
    ['--checkpoint', checkpointId],
  ]);
  if (command.length === 0 && !dryRun) {
    throw new UsageError('the command is missing: give it after "--"');
  }
  const flags = readFlags(command);
  const ownRun = flags.get('run-id');
  if (typeof ownRun === 'string' && ownRun !== runId && !ownRun.includes('{run}')) {
    throw new UsageError(`the command is for another run: --run-id ${ownRun}, not ${runId}`);
  }
  const workflow = options.workflow ?? flags.get('workflow');
  if (typeof workflow !== 'string') {
    throw new waymark.WaymarkError(
      'ERR_WORKFLOW_NOT_FOUND',
      'the next step is taken from the workflow file; give --workflow <path>',
      { runId },
    );
  }

  // Looked at first: a run that is done stays done.
  const plan = resumeSync(manager, runId, { workflow, step, checkpointId, dryRun: true });
  const { checkpointId: id, from, next } = plan;
  const taken = from === null ? 'no step was done' : `step ${from}`;
  const notices = plan.skipped.map((one) => `passed over ${one.checkpointId}: ${one.message}`);
  const words = next === undefined ? [] : commandFor(command, next, runId);
  const found = {
    runId,
    checkpointId: id,
    from,
    next: next ?? null,
    command: words.length === 0 ? null : words,
    dryRun,
    skipped: plan.skipped,
  };
  if (next === undefined) {
    return {
      data: { ...found, restored: false },
      text: () =>
        `all steps of run ${runId} are done: ${id} was taken after step ${from}, the workflow's last; nothing was changed`,
      notices,
    };
  }
  if (dryRun) {
    const then = words.length === 0 ? '' : `: ${quoted(words)}`;
    return {
      data: { ...found, restored: false },
      text: () => `would restore ${id} (${taken}) and go on with step ${next}${then}`,
      notices,
    };
  }
  // By its id: another process may have taken one meanwhile, and the plan is this one's.
  const { onConflict } = options;
  const files = options.stateOnly === true ? false : undefined;
  resumeSync(manager, runId, { workflow, checkpointId: id, onConflict, files });
  return {
    data: { ...found, restored: true },
    text: () => `restored ${id} (${taken}); going on with step ${next}: ${quoted(words)}`,
    notices,
    start: { words, env: environment() },
  };

  /** Whoever was told where the runs are here must look there in the command, too. */
  function environment() {
    if (options.runsDir === undefined && options.root === undefined) return process.env;
    return { ...process.env, WAYMARK_RUNS_DIR: manager.runsDir(runId) };
  }
}
