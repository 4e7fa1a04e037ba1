import { HOW } from '../how.mjs';
import { oneOf, parseEach, parseNames, parseStep, UsageError } from '../input.mjs';
import { lib, waymark } from '../library.mjs';
import { plain, quoted } from '../output.mjs';

const { readFlags } = lib.arguments;
const { portVariables } = lib.portVariables;
const { withPreload } = lib.preloadOption;
const resuming = lib.resumeRun;
const { behind, circumstances, passedOver } = lib.resumeWords;
const { commandFor } = lib.supervisorCommand;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'resume',
  usage: '<run> [options] -- <command…>',
  summary: 'restore a run and start the command of its next step',
  about: [
    'Restores a run to its newest good checkpoint, finds the step that follows by the order of the workflow file, and starts the command with it, without a shell. If the last step is done, nothing is changed or started.',
    'In the command, --resume, --resume-step and --step are taken out and "--step <next>" is appended; or, if a word has {step}, that is replaced instead. "--run-id <run>" is appended if it is missing, unless a word has {run}, which is replaced. The preload is put into its environment (NODE_OPTIONS), so that the step ends with a checkpoint.',
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
    {
      flags: '--plan',
      about:
        'tell whether the run can go on, from where, and what is not as it was; change nothing',
    },
    {
      flags: '--accept <reason>',
      about:
        'go on although of this, such as head_moved; can be repeated; recorded in the next checkpoint',
      parse: parseNames,
    },
    {
      flags: '--option <name>',
      about: 'do this about it, such as new_ports, fork=demo-b; can be repeated (docs/resume.md)',
      parse: parseEach,
    },
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
    ['waymark resume demo --plan', 'is the world still as it was?'],
    [
      'waymark resume demo --accept head_moved --option new_ports -- node runner.js --workflow flow.yaml',
      'go on all the same, on other ports',
    ],
  ],
  exits: [
    ['0', 'all steps are done; with --dry-run: done; with --plan: the run can go on'],
    ['1', 'refused, nothing was started; with --plan: it is stale; also misuse'],
    [
      'other',
      "once the command is started: its own, 0 and 1 too; 128 + the signal's number if it was killed",
    ],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options, command = [] }) {
  const runId = /** @type {string} */ (args[0]);
  const dryRun = options.dryRun === true;
  const step = oneOf([
    ['--step', options.step],
    ['--resume-step', options.resumeStep],
  ]);
  const { checkpoint, accept, onConflict } = options;
  oneOf([
    ['a step', step],
    ['--checkpoint', checkpoint],
  ]);
  const ends = options.option?.includes('abandon');
  if (command.length === 0 && !dryRun && options.plan !== true && !ends) {
    throw new UsageError('the command is missing: give it after "--"');
  }
  if (options.option !== undefined && (dryRun || options.plan === true)) {
    throw new UsageError('--option changes what is there: leave it out with --plan and --dry-run');
  }
  const flags = readFlags(command);
  const ownRun = flags.get('run-id');
  if (typeof ownRun === 'string' && ownRun !== runId && !ownRun.includes('{run}')) {
    throw new UsageError(`the command is for another run: --run-id ${ownRun}, not ${runId}`);
  }
  const named = options.workflow ?? flags.get('workflow');
  const workflow = typeof named === 'string' ? named : undefined;
  const files = options.stateOnly === true ? false : undefined;
  const how = { workflow, step, checkpoint, accept, onConflict, files };
  if (options.plan === true) return shown(await manager.planResume(runId, how));

  // Looked at first: a run that is done stays done.
  if (dryRun) {
    const plan = await manager.planResume(runId, { ...how, mark: false });
    resuming.refuseStale(plan);
    return told(plan, plan.next, { dryRun, runId, restored: false });
  }
  // Without a workflow file nothing is to be restored, as nothing could be started.
  if (workflow === undefined && !ends) {
    const { workflow: found } = await manager.planResume(runId, { ...how, mark: false });
    if (found === null) throw noWorkflow();
  }
  const done = await manager.resume(runId, { ...how, options: options.option });
  return told(done.plan, done.next, {
    dryRun,
    runId: done.runId,
    restored: done.restored !== null,
    done,
  });

  /**
   * @param {import('../../index.js').ResumePlan} plan
   * @param {import('../../index.js').Step | null} next
   * @param {{ dryRun: boolean, runId: string, restored: boolean, done?: import('../../index.js').ResumeOutcome }} more
   * @returns {import('../input.mjs').Result}
   */
  function told(plan, next, { done, ...more }) {
    if (plan.workflow === null && done?.ended !== true) {
      throw noWorkflow();
    }
    const { checkpointId: id, from, skipped, verdict, reasons } = plan;
    const words = next === null ? [] : commandFor(command, next, more.runId);
    const notices = [...passedOver(skipped), ...circumstances(reasons, done?.did)];
    const data = {
      runId: more.runId,
      checkpointId: id,
      from,
      next,
      command: words.length === 0 ? null : words,
      dryRun: more.dryRun,
      skipped,
      restored: more.restored,
      verdict,
      reasons,
      ...(done === undefined ? {} : { did: done.did, ports: done.ports }),
    };
    if (done?.ended) return { data, text: () => `run ${more.runId} is abandoned`, notices };
    if (next === null) {
      const changed = (done?.did ?? []).some(({ option }) => option !== 'wait');
      const text = () =>
        `all steps of run ${more.runId} are done: ${id} was taken after step ${from}, the workflow's last${changed ? '' : '; nothing was changed'}`;
      return { data, text, notices };
    }
    if (more.dryRun) {
      const then = words.length === 0 ? '' : `: ${quoted(words)}`;
      const text = () => `would restore ${id} (${behind(from)}) and go on with step ${next}${then}`;
      return { data, text, notices };
    }
    const before = more.restored ? `restored ${id} (${behind(from)}); ` : '';
    return {
      data,
      text: () => `${before}going on with step ${next}: ${quoted(words)}`,
      notices,
      start: {
        words,
        env: { ...environment(words, done?.ports ?? {}), ...done?.lease?.environment },
        ended: () => done?.lease?.release(),
      },
    };
  }

  function noWorkflow() {
    return new waymark.WaymarkError(
      'ERR_WORKFLOW_NOT_FOUND',
      'the next step is taken from the workflow file; give --workflow <path>',
      { runId },
    );
  }

  /**
   * Whoever was told where the runs are here must look there in the command, too. The step is to end with a checkpoint:
   * without one the next resume would do it again.
   * @param {string[]} words
   * @param {Record<string, number>} ports
   */
  function environment(words, ports) {
    const env = {
      ...process.env,
      ...portVariables(ports),
      NODE_OPTIONS: withPreload(process.env, words),
    };
    if (options.runsDir === undefined && options.root === undefined) return env;
    return { ...env, WAYMARK_RUNS_DIR: manager.runsDir(runId) };
  }
}

/** @type {Record<import('../../index.js').ResumeVerdict, [text: string, format: import('../output.mjs').Format]>} */
const VERDICTS = {
  ready: ['ready', 'green'],
  'ready-with-changes': ['ready, with changes', 'yellow'],
  stale: ['stale', 'red'],
};

/**
 * A plan for people.
 * @param {import('../../index.js').ResumePlan} plan
 * @returns {import('../input.mjs').Result}
 */
function shown(plan) {
  const { runId, verdict, checkpointId, from, next, steps, reasons, options, skipped } = plan;
  /** @param {string} title @param {import('../../index.js').Step[]} list */
  const line = (title, list) =>
    list.length === 0 ? [] : [plain(`  ${title}: ${list.join(', ')}`)];
  return {
    data: plan,
    exitCode: verdict === 'stale' ? 1 : 0,
    notices: passedOver(skipped),
    text: ({ paint }) => {
      const [word, format] = VERDICTS[verdict];
      const at = checkpointId === null ? '' : ` at ${checkpointId} (${behind(from)})`;
      const lines = [
        `${plain(`run ${runId}${at}`)}: ${paint(format, word)}`,
        ...line('done', steps.done),
        ...line('skipped', steps.skipped),
        ...line('to do', steps.todo),
        ...(steps.frontier.length > 1 ? line('side by side now', steps.frontier) : []),
        ...(next === null ? [] : [plain(`  next: ${next}`)]),
        ...(next === null && steps.done.length > 0 && steps.todo.length === 0
          ? ['  nothing is left to do']
          : []),
      ];
      for (const { type, kind, severity, message, accepted } of reasons) {
        const name = kind === undefined ? type : `${type}.${kind}`;
        lines.push(plain(`${accepted ? 'accepted' : severity}  ${name}: ${message}`));
      }
      if (options.length > 0) lines.push('What can be done:');
      for (const { option, value, about, resolves } of options) {
        const how =
          option === 'accept'
            ? `--accept ${resolves.join(',')}`
            : `--option ${option}${value === undefined ? '' : `=<${value}>`}`;
        lines.push(`  ${how}: ${about}`);
      }
      return lines.join('\n');
    },
  };
}
