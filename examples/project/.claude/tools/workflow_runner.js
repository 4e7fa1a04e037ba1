#!/usr/bin/env node
/**
 * Runs one step of a workflow, then ends. Whoever wants the next step starts the next process.
 *
 *   node .claude/tools/workflow_runner.js --workflow <yaml> --step <n> --run-id <id> [--id <workflow id>] [--dry-run]
 *
 * Exit codes: 0 done (also: condition false, waiting for approval), 1 error, 2 unexpected, 42 memory pressure.
 *
 * Environment, all optional and there for tests and the demo:
 *   WORK_MS=<ms>          how long the step's work takes (0); until it is over, the artifacts are half written
 *   STEP_LOG=<file>       gets one JSON line {step, run_id, pid} whenever a step has written its artifacts
 *   FAIL_AT_STEP=<n>      makes that step throw after its artifacts are written, before they are registered
 *   MEMORY_LIMIT_MB=<mb>  heap above which a step is not begun (0.9 of what V8 may use)
 *
 * It is written the way runners without checkpoints are: it keeps its state in files, replaces each of them
 * atomically, but has no moment at which all of them change together, and no way back.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, extname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { getHeapStatistics } from 'node:v8';

const EXIT = { done: 0, error: 1, unexpected: 2, memoryPressure: 42 };
const LOCK = { retryMs: 100, waitMs: 5_000, staleMs: 30_000 };
const NOT_PUBLISHED = {
  publishable: false,
  published: false,
  published_at: null,
  publish_targets: [],
  publish_attempts: [],
  publish_status: null,
  publish_error: null,
};
const USAGE =
  'usage: workflow_runner.js --workflow <yaml> --step <n> --run-id <id> [--id <workflow id>] [--dry-run]';

/**
 * @typedef {{ condition?: boolean | string, approval?: boolean }} StepOptions
 * @typedef {StepOptions & { step: number, name: string, agent: string, outputs: string[] }} Step
 * @typedef {{ id: string, name: string, steps: Step[] }} Workflow
 * @typedef {{ workflowFile: string, workflow: Workflow, step: Step, runId: string, runDir: string }} Job
 * @typedef {{ name: string, text: string }} Input
 */

// ---- What to run ------------------------------------------------------------------------------------------------

/**
 * Reads `--flag value` and `--flag`. A flag swallows the next word unless that is a flag too; `--k=v` is just a flag
 * with an odd name. Flags nobody asks for are ignored, so that callers may pass more than this runner knows.
 * @param {string[]} words @returns {Map<string, string | true>}
 */
function parseFlags(words) {
  const flags = new Map();
  for (let i = 0; i < words.length; i += 1) {
    if (!words[i].startsWith('--')) continue;
    const name = words[i].slice(2);
    const hasValue = i + 1 < words.length && !words[i + 1].startsWith('--');
    if (hasValue) i += 1;
    flags.set(name, hasValue ? words[i] : true);
  }
  return flags;
}

/**
 * Parses the YAML that workflow files use: `key: value` at the top, and under `steps:` a list of flat maps.
 * A parser of its own, because this folder is copied to places where no package is installed.
 * @param {string} text @returns {Workflow}
 */
function parseWorkflow(text) {
  /** @type {Record<string, any>} */
  const workflow = {};
  /** @type {Record<string, any>[]} */
  const steps = [];
  let map = workflow;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/(^|\s)#.*$/, '').trimEnd();
    if (line === '' || line === '---') continue;
    const parts = /^(\s*)(-\s+)?(\w+):(?:\s+(.*))?$/.exec(line);
    if (!parts) throw new Error(`workflow line ${index + 1} is not "key: value": ${line.trim()}`);
    const [, indent, dash, key, value] = parts;
    if (dash) {
      map = {};
      steps.push(map);
    } else if (indent === '') map = workflow;
    if (value !== undefined) map[key] = parseValue(value);
  }
  for (const step of steps) {
    step.outputs ??= [];
    if (
      typeof step.step !== 'number' ||
      typeof step.name !== 'string' ||
      !Array.isArray(step.outputs)
    ) {
      throw new Error(
        `workflow step needs a number, a name and a list of outputs: ${JSON.stringify(step)}`,
      );
    }
  }
  return /** @type {Workflow} */ ({ ...workflow, steps });
}

/** @param {string} text @returns {any} */
function parseValue(text) {
  if (text.startsWith('[') && text.endsWith(']')) {
    const items = text
      .slice(1, -1)
      .split(',')
      .map((item) => item.trim());
    return items.filter((item) => item !== '').map((item) => String(parseValue(item)));
  }
  if (/^(['"]).*\1$/.test(text)) return text.slice(1, -1);
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (text === 'true' || text === 'false') return text === 'true';
  return text;
}

/** Refuses ids that could leave the runs folder. @param {string} what @param {unknown} id @returns {string} */
function checkedId(what, id) {
  if (typeof id === 'string' && /^[\w.:-]{1,255}$/.test(id) && !id.includes('..') && id !== '.')
    return id;
  const rule = 'must be 1 to 255 letters, digits, ".", "_", ":" or "-", without ".."';
  throw new Error(`${what} ${rule}: ${JSON.stringify(id)}`);
}

/** A condition is true, false or `env.NAME`. @param {Step} step */
function conditionHolds({ condition }) {
  if (condition === undefined || typeof condition === 'boolean') return condition ?? true;
  const name = /^env\.(\w+)$/.exec(condition)?.[1];
  if (!name) throw new Error(`condition is neither true, false nor env.NAME: ${condition}`);
  return !['', '0', 'false'].includes(process.env[name] ?? '');
}

/** Newer trees keep runs one level deeper. Found from this script's place: the working directory may be anywhere. */
function runsRoot() {
  const context = join(dirname(fileURLToPath(import.meta.url)), '..', 'context');
  const newer = join(context, 'runtime', 'runs');
  return existsSync(newer) ? newer : join(context, 'runs');
}

// ---- State on disk ----------------------------------------------------------------------------------------------

/** @param {string} file @returns {any} */
function readJson(file) {
  const text = readFileSync(file, 'utf8');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${file} is damaged: ${/** @type {Error} */ (error).message}`, {
      cause: error,
    });
  }
}

/**
 * Replaces a file so that readers see the old text or the new one, never a part.
 * @param {string} file @param {string} text
 */
function replaceFile(file, text) {
  const temp = `${file}.tmp.${Date.now()}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temp, text);
  renameSync(temp, file);
}

/** @param {string} file @param {unknown} value */
function writeJson(file, value) {
  replaceFile(file, JSON.stringify(value, null, 2));
}

/** Takes the lock, or clears away a stale one for the next try. @param {string} lock */
function tryLock(lock) {
  try {
    writeFileSync(lock, JSON.stringify({ pid: process.pid, timestamp: new Date().toISOString() }), {
      flag: 'wx',
    });
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
  }
  const since = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
  if (Date.now() - since > LOCK.staleMs) rmSync(lock, { force: true });
  return false;
}

/**
 * Holds run.json.lock during `action`, since other tools write run.json too.
 * @param {string} runDir @param {() => void} action
 */
async function withRunLock(runDir, action) {
  const lock = join(runDir, 'run.json.lock');
  const deadline = Date.now() + LOCK.waitMs;
  while (!tryLock(lock)) {
    if (Date.now() >= deadline)
      throw new Error(`${lock} is held by another process; waited ${LOCK.waitMs} ms`);
    await sleep(LOCK.retryMs);
  }
  try {
    action();
  } finally {
    rmSync(lock, { force: true });
  }
}

/**
 * Changes run.json: keys that others have merged in stay, in their order.
 * @param {string} runDir @param {(run: any, now: string) => void} change
 */
async function updateRun(runDir, change) {
  await withRunLock(runDir, () => {
    const file = join(runDir, 'run.json');
    const run = readJson(file);
    const now = new Date().toISOString();
    change(run, now);
    run.updated_at = now;
    writeJson(file, run);
  });
}

/** @param {Job} job */
async function createRunIfMissing({ workflowFile, workflow, runId, runDir }) {
  mkdirSync(join(runDir, 'artifacts'), { recursive: true });
  const now = new Date().toISOString();
  const ids = { run_id: runId, workflow_id: workflow.id };
  await withRunLock(runDir, () => {
    const registryFile = join(runDir, 'artifact-registry.json');
    if (!existsSync(registryFile))
      writeJson(registryFile, { ...ids, artifacts: {}, created_at: now, updated_at: now });
    const runFile = join(runDir, 'run.json');
    if (existsSync(runFile)) return;
    writeJson(runFile, {
      ...ids,
      selected_workflow: workflowFile,
      current_step: workflow.steps[0].step,
      status: 'in_progress',
      created_at: now,
      updated_at: now,
      task_queue: [],
      owners: {},
      timestamps: { started_at: now, last_step_completed_at: null, completed_at: null },
      metadata: { workflow_name: workflow.name },
    });
  });
}

// ---- The step itself --------------------------------------------------------------------------------------------

/** Reads what the earlier steps made. Steps that may be left out owe nothing. @param {Job} job @returns {Input[]} */
function readInputs({ workflow, step, runDir }) {
  const inputs = [];
  for (const earlier of workflow.steps.slice(0, workflow.steps.indexOf(step))) {
    const optional = earlier.condition !== undefined || earlier.approval === true;
    for (const name of earlier.outputs) {
      const file = join(runDir, 'artifacts', name);
      const why = `step ${step.step} needs ${name}, made by step ${earlier.step}, but it is missing`;
      if (existsSync(file)) inputs.push({ name, text: readFileSync(file, 'utf8') });
      else if (!optional) throw new Error(`${why}: ${file}`);
    }
  }
  return inputs;
}

/**
 * Makes the artifact's text from the step, the step finished before it and the earlier artifacts, and from nothing
 * else: an interrupted run that goes on correctly ends with the same bytes as one that was never interrupted, and a
 * step that ran in the wrong order, or on a half-written input, shows.
 * @param {Step} step @param {string} output @param {number | null} afterStep @param {Input[]} inputs
 */
function compose(step, output, afterStep, inputs) {
  const builtOn = inputs.map(({ name, text }) => ({
    name,
    sha256: createHash('sha256').update(text).digest('hex'),
  }));
  const head = {
    artifact: output,
    step: step.step,
    title: step.name,
    agent: step.agent,
    after_step: afterStep,
  };
  if (extname(output) === '.json') return JSON.stringify({ ...head, built_on: builtOn }, null, 2);
  const facts = Object.entries(head).map(([key, value]) => `- ${key}: ${value}`);
  const sources = builtOn.map(({ name, sha256 }) => `- ${name} ${sha256}`);
  return [
    `# ${step.name}`,
    '',
    ...facts,
    '',
    '## Built on',
    '',
    ...sources,
    '',
    `End of ${output}.`,
    '',
  ].join('\n');
}

/**
 * Does the step's work as agents do it: slowly, and straight into the final files.
 * @param {Job} job @param {number | null} afterStep @param {Input[]} inputs
 */
async function writeArtifacts({ step, runId, runDir }, afterStep, inputs) {
  const files = step.outputs.map((output) => ({
    path: join(runDir, 'artifacts', output),
    text: compose(step, output, afterStep, inputs),
  }));
  for (const { path, text } of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text.slice(0, text.length / 2));
  }
  // Said only now, so that whoever kills the step on this line finds its artifacts half written, every time.
  console.log(`step ${step.step} started: ${step.name}`);
  await sleep(Number(process.env.WORK_MS) || 0);
  for (const { path, text } of files) writeFileSync(path, text);
  if (process.env.STEP_LOG) {
    appendFileSync(
      process.env.STEP_LOG,
      `${JSON.stringify({ step: step.step, run_id: runId, pid: process.pid })}\n`,
    );
  }
}

/**
 * Reads, changes and writes the registry without a lock, as existing runners do.
 * @param {Job} job @param {Input[]} inputs
 */
function registerArtifacts({ step, runDir }, inputs) {
  const file = join(runDir, 'artifact-registry.json');
  const registry = readJson(file);
  const now = new Date().toISOString();
  for (const name of step.outputs) {
    const path = resolve(runDir, 'artifacts', name);
    const before = registry.artifacts[name];
    registry.artifacts[name] = {
      name,
      step: step.step,
      agent: step.agent,
      created_at: before?.created_at ?? now,
      updated_at: now,
      path,
      dependencies: inputs.map((input) => input.name),
      version: (before?.version ?? 0) + 1,
      validationStatus: 'pass',
      schema: null,
      gate_path: null,
      reasoning_path: null,
      ...NOT_PUBLISHED,
      metadata: {
        size: statSync(path).size,
        type: extname(name).slice(1) || 'file',
        validation_status: 'pass',
        ...NOT_PUBLISHED,
      },
    };
  }
  registry.updated_at = now;
  writeJson(file, registry);
}

/** @param {Job} job */
function addNote({ step, runDir }) {
  const file = join(runDir, 'state.json');
  const state = existsSync(file) ? readJson(file) : { notes: [] };
  state.notes.push(`step ${step.step} finished: ${step.name}`);
  writeJson(file, state);
}

/** @param {Job} job */
function writeSummary({ workflow, runDir }) {
  const run = readJson(join(runDir, 'run.json'));
  const { artifacts } = readJson(join(runDir, 'artifact-registry.json'));
  const head = [
    `# ${workflow.name}: run ${run.run_id}`,
    '',
    `Status ${run.status}, current step ${run.current_step}.`,
  ];
  const table = ['', '| artifact | step | agent |', '|---|---|---|'];
  const rows = Object.values(artifacts).map(
    ({ name, step, agent }) => `| ${name} | ${step} | ${agent} |`,
  );
  replaceFile(join(runDir, 'run-summary.md'), [...head, ...table, ...rows, ''].join('\n'));
}

/** @param {Job} job */
async function runStep(job) {
  const { workflow, step, runDir } = job;
  // Read before the work begins: a file found damaged only afterwards would cost the work.
  const before = readJson(join(runDir, 'run.json'));
  const afterStep = before.timestamps?.last_step_completed_at ? before.current_step : null;
  readJson(join(runDir, 'artifact-registry.json'));
  const inputs = readInputs(job);
  await writeArtifacts(job, afterStep, inputs);
  if (Number(process.env.FAIL_AT_STEP || NaN) === step.step) {
    throw new Error(`step ${step.step} fails because FAIL_AT_STEP says so`);
  }
  registerArtifacts(job, inputs);
  addNote(job);
  await updateRun(runDir, (run, now) => {
    const last = step === workflow.steps.at(-1);
    run.current_step = step.step;
    run.status = last ? 'completed' : 'in_progress';
    run.timestamps = {
      ...run.timestamps,
      last_step_completed_at: now,
      completed_at: last ? now : null,
    };
  });
  writeSummary(job);
  console.log(`step ${step.step} done: ${step.name}`);
}

/** Says which step is meant, or throws. @param {Map<string, string | true>} flags @returns {Job} */
function planJob(flags) {
  const [workflowFile, stepText] = [flags.get('workflow'), flags.get('step')];
  if (typeof workflowFile !== 'string' || typeof stepText !== 'string' || !flags.has('run-id'))
    throw new Error(USAGE);
  const runId = checkedId('--run-id', flags.get('run-id'));
  const workflow = parseWorkflow(readFileSync(workflowFile, 'utf8'));
  workflow.id = checkedId('the workflow id', flags.get('id') ?? workflow.id);
  // Number, not parseInt: 1.5 is a step of its own.
  const step = workflow.steps.find(
    (candidate) => stepText.trim() !== '' && candidate.step === Number(stepText),
  );
  const known = workflow.steps.map((each) => each.step).join(', ');
  if (!step) throw new Error(`no step ${stepText} in ${workflowFile}; it has ${known}`);
  return { workflowFile, workflow, step, runId, runDir: join(runsRoot(), runId) };
}

/** @returns {Promise<number>} the exit code */
async function main() {
  const flags = parseFlags(process.argv.slice(2));
  const job = planJob(flags);
  const { step, runDir } = job;
  if (!conditionHolds(step)) {
    console.log(`step ${step.step} skipped: its condition is false (${step.condition})`);
    return EXIT.done;
  }
  if (flags.has('dry-run')) {
    console.log(
      `step ${step.step} would run: ${step.name}, by ${step.agent}, making ${step.outputs.join(', ')}`,
    );
    return EXIT.done;
  }
  const heapLimit =
    Number(process.env.MEMORY_LIMIT_MB) * 1024 * 1024 || getHeapStatistics().heap_size_limit * 0.9;
  if (process.memoryUsage().heapUsed > heapLimit) {
    console.error(`error: memory is short; start step ${step.step} again in a new process`);
    return EXIT.memoryPressure;
  }
  await createRunIfMissing(job);
  if (step.approval === true) {
    await updateRun(runDir, (run) => (run.status = 'awaiting_approval'));
    console.log(`step ${step.step} waits for approval: ${step.name}`);
    return EXIT.done;
  }
  try {
    await runStep(job);
  } catch (error) {
    // The step's own error is the one to report, also when run.json can't take the new status.
    await updateRun(runDir, (run) => (run.status = 'failed')).catch((second) => {
      console.error(`warning: the run is not marked as failed: ${second.message}`);
    });
    throw error;
  }
  return EXIT.done;
}

process.on('uncaughtException', (error) => {
  console.error('unexpected:', error);
  process.exit(EXIT.unexpected);
});
// Ends at once, as step runners do: timers or sockets that a step forgot must not keep the process alive.
main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(`error: ${error.message}`);
    process.exit(EXIT.error);
  },
);
