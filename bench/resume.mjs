// What it costs to ask whether runs can go on, to go on, and to be driven by the supervisor.

import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { CheckpointManager } from '../index.mjs';
import { settle } from './files.mjs';
import { installed, makeRun, root, smallState } from './lib/fixtures.mjs';
import { interleave } from './lib/sampling.mjs';
import { median, row } from './lib/statistics.mjs';
import { PLANS, Tree } from './lib/trees.mjs';

/** @typedef {import('./lib/statistics.mjs').Row} Row */

const BOUNDS_MS = { plan: 150, status: 100, supervisor: 15, firstLine: 100 };
const STEPS = 10;
const RUNS = 1000;

/**
 * @param {string} folder
 * @param {{ scale: number }} options
 * @returns {Promise<Row[]>}
 */
export async function benchResume(folder, { scale }) {
  const place = (/** @type {string} */ name) => {
    const own = path.join(folder, name);
    fs.mkdirSync(own, { recursive: true });
    return own;
  };
  return [
    ...(await fingerprint(place('fingerprint'))),
    ...(await plan(place('plan'), scale)),
    ...(await status(place('status'), scale)),
    ...(await supervisor(place('supervisor'))),
    ...(await firstLine(place('first-line'))),
  ];
}

/** @param {string} cwd @param {string[]} words */
function git(cwd, ...words) {
  const own = ['-c', 'user.name=b', '-c', 'user.email=b@example.org', '-c', 'core.compression=0'];
  execFileSync('git', [...own, '-c', 'gc.auto=0', ...words], { cwd, stdio: 'ignore' });
}

/**
 * @param {string} name
 * @param {number[]} samples
 * @param {number} bound
 * @param {number} [control]
 * @returns {Row}
 */
function judged(name, samples, bound, control) {
  return {
    ...row('resume', name, samples),
    figure: median(samples),
    figureUnit: 'ms',
    bound,
    ...(control === undefined ? {} : { control }),
  };
}

/** What a checkpoint pays for its fingerprint. @param {string} folder */
async function fingerprint(folder) {
  const runsDir = path.join(folder, 'runs');
  const manager = new CheckpointManager({ runsDir });
  makeRun(runsDir, 'with', 20);
  makeRun(runsDir, 'without', 20);
  const samples = await interleave(
    {
      with: { run: (step) => manager.createSync('with', step, smallState) },
      without: {
        run: (step) => manager.createSync('without', step, smallState, { environment: false }),
      },
    },
    { rounds: 200, warmUp: 20 },
  );
  return [
    row('resume', 'a small createSync without a fingerprint', samples.without),
    row('resume', 'the same with one', samples.with, { base: samples.without, baseName: 'none' }),
  ];
}

/** A workspace in a git repository, nothing changed. @param {string} folder @param {number} scale */
async function plan(folder, scale) {
  const tree = new Tree(path.join(folder, 'src'), PLANS.mixed, scale);
  fs.writeFileSync(path.join(folder, '.gitignore'), '.claude/\n.waymark/\n');
  const flow = path.join(folder, 'flow.yaml');
  fs.writeFileSync(flow, 'steps:\n  - step: 1\n  - step: 2\n');
  git(folder, 'init', '-q');
  git(folder, 'add', '.');
  git(folder, 'commit', '-qm', 'all');
  const runsDir = path.join(folder, '.claude', 'context', 'runs');
  // Its registry names what is there: nothing.
  makeRun(runsDir, 'run', 0);
  const capture = { workspace: ['src'] };
  const manager = new CheckpointManager({ root: folder, capture });
  await manager.create('run', 1, smallState, { environment: { workflow: 'flow.yaml' } });
  settle(folder);
  const samples = await interleave(
    {
      plan: {
        run: () => manager.planResume('run'),
        after: ({ verdict, next, reasons }) => {
          if (verdict !== 'ready' || next !== 2)
            throw new Error(`it is ${verdict}, next ${next}: ${JSON.stringify(reasons)}`);
        },
      },
      status: { run: () => execFileSync('git', ['status', '--porcelain'], { cwd: folder }) },
    },
    { rounds: 20, warmUp: 3 },
  );
  const files = tree.files.toLocaleString('en');
  return [
    row('resume', `${files} files, nothing changed: git status`, samples.status),
    judged(`${files} files, nothing changed: planResume`, samples.plan, BOUNDS_MS.plan),
  ];
}

/** @param {string} folder @param {number} scale */
async function status(folder, scale) {
  const runsDir = path.join(folder, 'runs');
  const manager = new CheckpointManager({ runsDir });
  const count = Math.max(10, Math.round(RUNS * scale));
  for (let at = 0; at < count; at += 1) {
    const run = `run-${String(at).padStart(4, '0')}`;
    makeRun(runsDir, run, 3);
    manager.createSync(run, 1, smallState, { environment: false });
    manager.createSync(run, 2, smallState, { environment: false });
  }
  await manager.runs();
  const samples = await interleave(
    { status: { run: () => manager.runs() } },
    { rounds: 20, warmUp: 3 },
  );
  return [judged(`${count} runs: status`, samples.status, BOUNDS_MS.status)];
}

/** A runner that does nothing but leave a trace. @param {string} folder */
function makeProject(folder) {
  const runs = path.join(folder, '.claude', 'context', 'runs');
  fs.mkdirSync(runs, { recursive: true });
  const flow = path.join(folder, 'flow.yaml');
  const steps = Array.from({ length: STEPS }, (_, at) => `  - step: ${at}\n`).join('');
  fs.writeFileSync(flow, `steps:\n${steps}`);
  const runner = path.join(folder, 'runner.cjs');
  fs.writeFileSync(
    runner,
    `const now = Date.now();
const fs = require('node:fs');
const path = require('node:path');
const word = (name) => process.argv[process.argv.indexOf(name) + 1];
if (process.env.FIRST_LINE) fs.writeFileSync(process.env.FIRST_LINE, String(now));
else {
  const folder = path.join(${JSON.stringify(runs)}, word('--run-id'));
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'run.json'), JSON.stringify({ run_id: word('--run-id'), status: 'in_progress', current_step: Number(word('--step')), timestamps: { last_step_completed_at: new Date().toISOString() } }, null, 2));
}
`,
  );
  return { flow, runner };
}

/** What the supervisor adds to each step, above starting its process with the preload by hand. @param {string} folder */
async function supervisor(folder) {
  const { flow, runner } = makeProject(folder);
  const register = pathToFileURL(path.join(root, 'lib', 'register.mjs')).href;
  const manager = new CheckpointManager({ root: folder });
  const samples = await interleave(
    {
      byHand: {
        run: (round) => {
          for (let step = 0; step < STEPS; step += 1) {
            const words = ['--workflow', flow, '--step', String(step), '--run-id', `hand-${round}`];
            const { status: code, stderr } = spawnSync(
              process.execPath,
              ['--import', register, runner, ...words],
              { cwd: folder, encoding: 'utf8' },
            );
            if (code !== 0) throw new Error(stderr);
          }
        },
      },
      supervised: {
        run: (round) =>
          manager.supervise(`own-${round}`, {
            workflow: flow,
            command: [process.execPath, runner],
            cwd: folder,
          }),
        after: ({ outcome, reason }) => {
          if (outcome !== 'completed') throw new Error(`it is ${outcome}: ${reason}`);
        },
      },
    },
    { rounds: 15, warmUp: 1 },
  );
  const perStep = (/** @type {number[]} */ times) => times.map((time) => time / STEPS);
  const [hand, own] = [perStep(samples.byHand), perStep(samples.supervised)];
  return [
    row('resume', 'a step by hand, with the preload', hand),
    judged(
      'a step under the supervisor, above that',
      own.map((time, at) => time - hand[at]),
      BOUNDS_MS.supervisor,
    ),
  ];
}

/** From a resume to the first line of the step, with the package as it is published. @param {string} folder */
async function firstLine(folder) {
  const { flow, runner } = makeProject(folder);
  const published = installed(folder);
  const register = pathToFileURL(path.join(published, 'lib', 'register.mjs')).href;
  const told = path.join(folder, 'first-line');
  const manager = new CheckpointManager({ root: folder });
  const words = ['--workflow', flow, '--run-id', 'run'];
  spawnSync(process.execPath, [runner, ...words, '--step', '1'], { cwd: folder });
  manager.createSync('run', 1, smallState, { environment: { workflow: flow } });
  const env = { ...process.env, FIRST_LINE: told };
  /** @param {string[]} line */
  const until = (line) => {
    const from = Date.now();
    const { status: code, stderr } = spawnSync(process.execPath, line, {
      cwd: folder,
      env,
      encoding: 'utf8',
    });
    if (code !== 0) throw new Error(stderr);
    return Number(fs.readFileSync(told, 'utf8')) - from;
  };
  /** @type {Record<'plain' | 'preload' | 'command', number[]>} */
  const samples = { plain: [], preload: [], command: [] };
  const cli = path.join(published, 'cli', 'waymark.js');
  const lines = {
    plain: [runner, ...words],
    preload: ['--import', register, runner, ...words, '--resume'],
    command: [cli, 'resume', 'run', '--', process.execPath, runner, ...words],
  };
  for (let round = -2; round < 20; round += 1) {
    for (const name of /** @type {const} */ (['plain', 'preload', 'command'])) {
      const took = until(lines[name]);
      if (round >= 0) samples[name].push(took);
    }
  }
  const plain = median(samples.plain);
  return [
    row('resume', "a step's process by itself: to its first line", samples.plain),
    judged(
      'by the preload with --resume: to the first line',
      samples.preload,
      BOUNDS_MS.firstLine,
      plain,
    ),
    judged(
      'by waymark resume, above two processes of their own: to the first line',
      samples.command.map((time) => time - 2 * plain),
      BOUNDS_MS.firstLine,
    ),
  ];
}
