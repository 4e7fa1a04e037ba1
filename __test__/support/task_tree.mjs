// A task of three levels with steps side by side, worked on until it is done, or killed at a chosen point.
// node task_tree.mjs <runsDir> <runId> <log> [<kill at point>]
// The log gets a line before and after each effect, and once a step's result is known to be durable; each is synced.

import fs from 'node:fs';
import waymark from '../../index.js';

const [runsDir, runId, log, killAt = '0'] = process.argv.slice(2);
const manager = new waymark.CheckpointManager({ runsDir });
const file = fs.openSync(log, 'a');

let points = 0;
/** A point at which the process may be killed. */
function point() {
  points += 1;
  if (points === Number(killAt)) process.kill(process.pid, 'SIGKILL');
}

/** @param {string} line */
function say(line) {
  fs.writeSync(file, `${line}\n`);
  fs.fsyncSync(file);
}

const create = manager.create.bind(manager);
manager.create = async (...words) => {
  point();
  const made = await create(...words);
  say(`recorded ${words[1]}`);
  point();
  return made;
};

/** @param {waymark.Task} task @param {string} name @param {unknown} [input] */
async function effect(task, name, input) {
  let isStored = true;
  const result = await task.step(
    name,
    async ({ key }) => {
      isStored = false;
      point();
      say(`effect ${name} ${key}`);
      point();
      await new Promise((resolve) => setImmediate(resolve));
      return { name };
    },
    { input },
  );
  // Else a start that is killed early would never come to something new.
  if (isStored) return result.name;
  point();
  say(`durable ${name}`);
  point();
  return result.name;
}

say('start');
const result = await manager.task(runId, 'build', async (build) => {
  const first = await effect(build, 'fetch', { url: 'a' });
  const middle = await build.task('compile', async (compile) => {
    const sides = await Promise.all([
      effect(compile, 'left'),
      effect(compile, 'right'),
      compile.task('deep', async (deep) => {
        const one = await effect(deep, 'deep-1');
        return [one, await effect(deep, 'deep-2')];
      }),
    ]);
    return [...sides.flat(), await effect(compile, 'link')];
  });
  build.progress(2, 3);
  return [first, ...middle, await effect(build, 'pack')];
});
say(`done ${JSON.stringify(result)}`);
fs.writeSync(1, `${points}\n`);
