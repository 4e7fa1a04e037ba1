import { existsSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseCount, parseEach, parseMs, parseNames, parseStep, UsageError } from '../input.mjs';
import { lib, waymark } from '../library.mjs';
import { count, duration, plainLines } from '../output.mjs';

const { readFlags } = lib.arguments;
const { reportText } = lib.supervisorReport;

/** How often a step that is at work is told of, in milliseconds. */
const HEARTBEAT_MS = 30_000;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'run',
  usage: '--run-id <run> [--workflow <path>] [options] -- <command…>',
  summary: 'drive a runner through all steps of its workflow',
  about: [
    'Starts the command once for each step of the workflow, in the order of the file, without a shell; steps that follow each other with the same "parallel" side by side. Each step ends with a checkpoint. What fails is repeated, given to another worker, split, or put before a person, by the rules of recovery.',
    'In the command, --step <step> is appended, and --run-id and --workflow where they are missing; or {step}, {run} and {workflow} are replaced in its words. The preload is put into its environment (NODE_OPTIONS).',
    'Killed itself, it goes on with --resume where it was: at the first step without a durable checkpoint, once a step that is still at work has ended.',
    "Standard output is the command's; everything of Waymark's goes to standard error. SIGINT, SIGTERM and SIGHUP are passed on.",
  ].join('\n\n'),
  arguments: [],
  options: [
    { flags: '--run-id <run>', about: 'the run', required: true },
    {
      flags: '--workflow <path>',
      about: "the workflow file (default: the one after --workflow in the command's words)",
    },
    { flags: '--resume', about: 'go on with a run that was begun before; begin one that was not' },
    {
      flags: '--resume-step <step>',
      about: 'go on after the newest good checkpoint of this step',
      parse: parseStep,
    },
    { flags: '--pause-after <step>', about: 'pause after this step', parse: parseStep },
    {
      flags: '--retries <n>',
      about: 'how often a failing step is repeated, whatever the rules say',
      parse: parseCount,
    },
    {
      flags: '--retry-delay <time>',
      about: 'before the first repetition, such as 2s; twice as long each time',
      parse: parseMs,
    },
    {
      flags: '--step-timeout <time>',
      about: 'how long a step may take, such as 30m',
      parse: parseMs,
    },
    {
      flags: '--stall-timeout <time>',
      about: 'how long a step may give no sign of life',
      parse: parseMs,
    },
    { flags: '--jobs <n>', about: 'how many parallel steps at once', parse: parseCount },
    {
      flags: '--orphans <way>',
      about: 'steps that a dead supervisor left at work: wait for them (default), or end them',
    },
    {
      flags: '--accept <reason>',
      about: 'go on although of this, such as head_moved; can be repeated',
      parse: parseNames,
    },
    {
      flags: '--option <name>',
      about: 'do this about it, such as new_ports; can be repeated (docs/resume.md)',
      parse: parseEach,
    },
    {
      flags: '--on-conflict <policy>',
      about: 'files of the workspace changed since: refuse, keep-both, overwrite or merge',
    },
    {
      flags: '--heartbeat <time>',
      about: 'how often a step at work is told of (30s)',
      parse: parseMs,
    },
    { flags: '--report <file>', about: 'write the report there: .json, or else Markdown' },
  ],
  examples: [
    [
      'waymark run --workflow flow.yaml --run-id r1 -- node .claude/tools/workflow_runner.js',
      'all steps',
    ],
    ['waymark run --workflow flow.yaml --run-id r1 --resume -- node runner.js', 'where it was'],
    [
      'waymark run --workflow flow.yaml --run-id r1 --resume-step 1.5 --retries 3 -- node runner.js',
      'once more what follows step 1.5',
    ],
  ],
  exits: [
    ['0', 'all steps are done'],
    ['1', 'refused, or a step failed for good'],
    ['75', 'paused, or it waits for a decision, an approval, a worker: go on with --resume'],
    ['129, 130, 143', 'stopped by SIGHUP, SIGINT, SIGTERM'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, options, command = [], tell }) {
  const { runId, report: file, heartbeat = HEARTBEAT_MS } = options;
  if (command.length === 0) throw new UsageError('the command is missing: give it after "--"');
  // Said before the first step, and not when all of them are done.
  if (file !== undefined && !existsSync(path.dirname(path.resolve(file)))) {
    throw new UsageError(`--report ${file}: there is no such folder; make it first`);
  }
  const flags = readFlags(command);
  const ownRun = flags.get('run-id');
  if (typeof ownRun === 'string' && ownRun !== runId && !ownRun.includes('{run}')) {
    throw new UsageError(`the command is for another run: --run-id ${ownRun}, not ${runId}`);
  }
  if (options.resume && options.resumeStep !== undefined) {
    throw new UsageError('give only one of --resume and --resume-step');
  }
  const workflow = options.workflow ?? flags.get('workflow');
  if (typeof workflow !== 'string') {
    throw new waymark.WaymarkError(
      'ERR_WORKFLOW_NOT_FOUND',
      'the steps are taken from the workflow file; give --workflow <path>',
      { runId },
    );
  }
  /** @type {Record<string, string>} */
  const env = {};
  // Whoever was told where the runs are here must look there in the command, too.
  if (options.runsDir || options.root) env.WAYMARK_RUNS_DIR = manager.runsDir(runId);
  /** @type {Map<import('../../index.js').Step, number>} */
  const atWork = new Map();
  const beat = setInterval(() => {
    for (const [step, since] of atWork) {
      tell(`step ${step} is at work for ${duration(performance.now() - since)}`);
    }
  }, heartbeat);
  try {
    const report = await manager.supervise(runId, {
      workflow,
      command,
      resume: options.resume,
      resumeStep: options.resumeStep,
      pauseAfter: options.pauseAfter,
      orphans: options.orphans,
      accept: options.accept,
      options: options.option,
      onConflict: options.onConflict,
      jobs: options.jobs === 0 ? undefined : options.jobs,
      recovery: recoveryOf(options),
      env,
      signals: true,
      onEvent: (event) => {
        const { kind, step, message, chunk } = event;
        if (kind === 'output') {
          process.stderr.write(/** @type {Buffer} */ (chunk));
          return;
        }
        if (step !== undefined) {
          if (kind === 'begin') atWork.set(step, performance.now());
          else if (kind === 'done' || kind === 'failed') atWork.delete(step);
        }
        tell(message);
      },
    });
    if (file !== undefined) writeReport(file, report);
    return {
      data: report,
      text: () => textOf(report),
      onStderr: true,
      exitCode: report.exitCode,
    };
  } finally {
    clearInterval(beat);
  }
}

/**
 * What the command line says of recovery. `--retries` comes before all rules.
 * @param {Record<string, any>} options
 * @returns {import('../../index.js').RecoverySettings | undefined}
 */
function recoveryOf({ retries, retryDelay, stepTimeout, stallTimeout }) {
  /** @type {import('../../index.js').RecoverySettings} */
  const settings = {};
  if (retries !== undefined || retryDelay !== undefined) {
    const how = {
      limit: retries ?? 2,
      ...(retryDelay === undefined ? {} : { delayMs: retryDelay }),
    };
    const name = 'as the command line says';
    const kinds = ['lease', 'cancelled'];
    settings.rules = [
      { name: 'the run is no longer ours', when: { class: kinds }, do: [{ fail: {} }] },
      { name, do: [{ retry: how }, { reassign: {} }, { decompose: {} }, { manual: {} }] },
    ];
  }
  if (stepTimeout !== undefined) settings.timeLimitMs = stepTimeout;
  if (stallTimeout !== undefined) settings.stallMs = stallTimeout;
  return settings;
}

/** @param {import('../../index.js').SuperviseReport} report */
function textOf(report) {
  const { runId, outcome, reason, steps, recovery, question, tookMs } = report;
  const done = steps.filter((one) => !['open', 'stopped'].includes(one.status)).length;
  const lines = [
    `run ${runId}: ${outcome}${reason ? ` (${reason})` : ''}; ${done} of ${count(steps.length, 'step')} done, ${(tookMs / 1000).toFixed(1)} s`,
  ];
  if (recovery.failures > 0) {
    lines.push(
      `${count(recovery.failures, 'failure')}, recovered ${count(recovery.recovered, 'time')} in ${(recovery.ms / 1000).toFixed(1)} s`,
    );
  }
  if (question) {
    lines.push(
      `read ${question.report}, then: waymark decide ${runId} ${question.options.join('|')}`,
    );
  }
  return plainLines(lines.join('\n'));
}

/**
 * @param {string} file
 * @param {import('../../index.js').SuperviseReport} report
 */
function writeReport(file, report) {
  const text = file.endsWith('.json') ? `${JSON.stringify(report, null, 2)}\n` : reportText(report);
  try {
    writeFileSync(`${file}.tmp`, text);
    renameSync(`${file}.tmp`, file);
  } catch (cause) {
    throw new waymark.WaymarkError(
      'ERR_IO',
      `the report can't be written to ${file}: ${/** @type {Error} */ (cause).message}; the run itself ended as ${report.outcome}`,
      { path: file, cause },
    );
  }
}
