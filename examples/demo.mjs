/**
 * The demo: a run is killed in the middle of a step, its registry is torn, and it goes on where it was.
 *
 *   npm run demo [-- --keep]      --keep leaves the project in its temporary folder, to look at
 *
 * Everything happens in a copy of `project/`. Its runner knows nothing of Waymark; what it says is shown behind `|`,
 * and what the preload says (stderr) behind `!`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs, styleText } from 'node:util';
import { parse as parseYaml } from 'yaml';

const PRELOAD = new URL('../lib/register.mjs', import.meta.url).href;
const TEMPLATE = fileURLToPath(new URL('project', import.meta.url));
const RUNNER = '.claude/tools/workflow_runner.js';
const WORKFLOW = '.claude/workflows/research.yaml';
const RUN_ID = 'demo';
// Long enough to be killed in; the demo does not wait for it to pass.
const SLOW_STEP_MS = 5_000;
// What the caller's shell sets for tests, or for a project of its own, must not change the demo.
const FOREIGN_ENV = /^(WAYMARK_.*|WORK_MS|STEP_LOG|FAIL_AT_STEP|MEMORY_LIMIT_MB)$/;
// Only a hanging process gets here.
const PROCESS_TIMEOUT_MS = 60_000;

// ---- Showing ----------------------------------------------------------------------------------------------------

const colour = process.stdout.isTTY && !process.env.NO_COLOR;

/** @param {Parameters<typeof styleText>[0]} style @param {string} text */
function styled(style, text) {
  return colour ? styleText(style, text) : text;
}

/** @param {string} text */
function heading(text) {
  console.log(`\n${styled('bold', text)}`);
}

/** @param {string} text */
function say(text) {
  console.log(`  ${text}`);
}

/** @param {string} what @param {boolean} holds */
function check(what, holds) {
  say(`${holds ? styled('green', 'ok  ') : styled('red', 'FAIL')} ${what}`);
  if (!holds) throw new Error(what);
}

// ---- Running ----------------------------------------------------------------------------------------------------

/**
 * Starts the runner as a process of its own, under the preload, and shows what it says.
 * @param {string} project @param {string[]} words @param {Record<string, string>} [env]
 */
function startRunner(project, words, env = {}) {
  const args = [RUNNER, '--workflow', WORKFLOW, ...words];
  say(styled('cyan', `$ node --import <waymark>/lib/register.mjs ${args.join(' ')}`));
  const outer = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !FOREIGN_ENV.test(name)),
  );
  const child = spawn(process.execPath, ['--import', PRELOAD, ...args], {
    cwd: project,
    env: { ...outer, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: PROCESS_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const output = createInterface({ input: child.stdout });
  /** @type {string[]} */
  const lines = [];
  output.on('line', (line) => {
    lines.push(line);
    say(`  ${styled('gray', '|')} ${line}`);
  });
  createInterface({ input: child.stderr }).on('line', (line) =>
    say(`  ${styled('yellow', '!')} ${line}`),
  );
  // Not 'exit': only 'close' comes after the last line.
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  return { child, output, lines, ended };
}

/** Runs one process to its end, which must be a good one. @param {string} project @param {string[]} words */
async function runToEnd(project, words) {
  const { lines, ended } = startRunner(project, words);
  const { code, signal } = await ended;
  if (code !== 0)
    throw new Error(`the process should end with exit code 0, but ended with ${signal ?? code}`);
  return lines;
}

/** Starts step 2 and kills it as soon as it says that it is under way. @param {string} project */
async function killDuringStep2(project) {
  const slow = startRunner(project, ['--step', '2', '--run-id', RUN_ID], {
    WORK_MS: String(SLOW_STEP_MS),
  });
  await Promise.race([once(slow.output, 'line'), slow.ended]);
  if (!slow.lines[0]?.startsWith('step 2 started')) {
    slow.child.kill('SIGKILL');
    throw new Error('step 2 should say that it has started');
  }
  slow.child.kill('SIGKILL');
  const { signal } = await slow.ended;
  if (signal !== 'SIGKILL') throw new Error('step 2 should die of SIGKILL');
  say('killed with SIGKILL');
}

/** Leaves half of the file, as a crash does to a writer that does not replace files atomically. @param {string} file */
function tear(file) {
  const bytes = statSync(file).size;
  truncateSync(file, Math.floor(bytes / 2));
  try {
    JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    say(`${basename(file)}: ${Math.floor(bytes / 2)} of ${bytes} bytes left`);
    say(`reading it now says: ${/** @type {Error} */ (error).message}`);
    return;
  }
  throw new Error(`${file} should be damaged now`);
}

// ---- Checking ---------------------------------------------------------------------------------------------------

/** @param {string} project @param {string} runDir */
function checkRun(project, runDir) {
  /** @param {string} name */
  const readJson = (name) => JSON.parse(readFileSync(join(runDir, name), 'utf8'));
  const run = readJson('run.json');
  check(
    `run.json says completed, at step ${run.current_step}`,
    run.status === 'completed' && run.current_step === 3,
  );

  const { artifacts } = readJson('artifact-registry.json');
  const checkpointDir = join(runDir, 'checkpoints');
  const inCheckpointDir = existsSync(checkpointDir) ? readdirSync(checkpointDir) : [];
  const checkpointFiles = inCheckpointDir.filter((name) => name.endsWith('.json'));
  const checkpointSteps = checkpointFiles.map((name) => readJson(join('checkpoints', name)).step);
  /** @type {{ steps: { step: number, outputs: string[] }[] }} */
  const { steps } = parseYaml(readFileSync(join(project, WORKFLOW), 'utf8'));
  for (const { step, outputs } of steps) {
    for (const name of outputs) {
      const file = join(runDir, 'artifacts', name);
      const whole = existsSync(file) && statSync(file).size === artifacts[name]?.metadata.size;
      check(
        `step ${step}: ${name} is there, whole and registered`,
        whole && artifacts[name].step === step,
      );
    }
    check(`step ${step}: has a checkpoint`, checkpointSteps.includes(step));
  }
}

/** @param {string} project */
async function demo(project) {
  const runDir = join(project, '.claude', 'context', 'runs', RUN_ID);

  heading('1. Three steps, each in a process of its own');
  for (const step of ['0', '1', '1.5'])
    await runToEnd(project, ['--step', step, '--run-id', RUN_ID]);

  heading('2. Step 2 is killed while it works');
  await killDuringStep2(project);
  const draft = join(runDir, 'artifacts', 'draft.md');
  say(
    `draft.md is half written: ${statSync(draft).size} bytes, ending in "${readFileSync(draft, 'utf8').slice(-16)}"`,
  );

  heading('3. The registry is torn, too');
  tear(join(runDir, 'artifact-registry.json'));

  heading('4. The run is resumed: nobody says at which step');
  const resumed = await runToEnd(project, ['--run-id', RUN_ID, '--resume']);
  check('it went on at step 2', /^step 2 started.*\nstep 2 done.*$/.test(resumed.join('\n')));

  heading('5. The last step');
  await runToEnd(project, ['--step', '3', '--run-id', RUN_ID]);

  heading('6. What is there now');
  checkRun(project, runDir);
}

const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
// The real path: where the system's temporary folder is a link, processes would see another name than we print.
const project = realpathSync(mkdtempSync(join(tmpdir(), 'waymark-demo-')));
try {
  // What somebody's own runs left in the template would be taken for this run's.
  const ownState = ['context', '.waymark'];
  cpSync(TEMPLATE, project, {
    recursive: true,
    filter: (source) => !ownState.includes(basename(source)),
  });
  console.log(`Waymark demo, in ${project}`);
  await demo(project);
} catch (error) {
  console.error(`\ndemo: failed: ${/** @type {Error} */ (error).message}`);
  if (!values.keep)
    console.error('demo: npm run demo -- --keep leaves the project in place, to look at');
  process.exitCode = 1;
} finally {
  if (values.keep) console.log(`\ndemo: the project is kept in ${project}`);
  else rmSync(project, { recursive: true, force: true });
}
if (!process.exitCode) console.log('\ndemo: ok');
