// Projects with the runner of examples/, driven by `waymark run`.

import fs from 'node:fs';
import path from 'node:path';
import waymark from '../../index.js';
import { start } from './cli.mjs';
import { readJson, repo, temporary } from './project.mjs';

export const WORKFLOW = path.join('.claude', 'workflows', 'research.yaml');
export const RUNNER = path.join('.claude', 'tools', 'workflow_runner.js');
export const STEPS = [0, 1, 1.5, 2, 3];

/** A project with the runner, which logs what each step did. */
export function supervisedProject() {
  const root = temporary();
  fs.cpSync(path.join(repo, 'examples', 'project'), root, { recursive: true });
  const runs = path.join(root, '.claude', 'context', 'runs');
  fs.mkdirSync(runs, { recursive: true });
  const log = path.join(root, 'steps.log');
  const dir = path.join(runs, 'demo');
  /** The steps whose effect there is, in the order in which it came. @returns {number[]} */
  const effects = () =>
    fs.existsSync(log)
      ? fs
          .readFileSync(log, 'utf8')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line).step)
      : [];
  const manager = new waymark.CheckpointManager({ root });
  const checkpointSteps = () =>
    fs.existsSync(dir)
      ? manager
          .listSync('demo')
          .map((one) => one.step)
          .reverse()
      : [];
  const record = () => readJson(path.join(dir, 'run.json'));
  /** What the steps made, byte for byte. */
  const made = () =>
    Object.fromEntries(
      fs
        .readdirSync(path.join(dir, 'artifacts'))
        .sort()
        .map((name) => [name, fs.readFileSync(path.join(dir, 'artifacts', name), 'utf8')]),
    );
  /** @param {object} recovery */
  const configure = (recovery) =>
    fs.writeFileSync(path.join(root, 'waymark.config.json'), JSON.stringify({ recovery }));
  return { root, dir, log, manager, effects, checkpointSteps, record, made, configure };
}

/**
 * Starts `waymark run`.
 * @param {ReturnType<typeof supervisedProject>} project
 * @param {string[]} [options]
 * @param {{ env?: Record<string, string>, command?: string[], workflow?: string }} [how]
 */
export function startRun({ root, log }, options = [], { env, command, workflow = WORKFLOW } = {}) {
  const words = command ?? [process.execPath, RUNNER];
  const own = ['run', '--workflow', workflow, '--run-id', 'demo', ...options, '--', ...words];
  return start(own, { cwd: root, env: { STEP_LOG: log, ...env } });
}
