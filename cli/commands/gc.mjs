import path from 'node:path';
import { parseShare } from '../input.mjs';
import { count, plain, size } from '../output.mjs';
import { watched } from '../progress.mjs';

const STOPPED = 130;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'gc',
  usage: '[options]',
  summary: 'take back the space of objects that no checkpoint needs',
  about:
    'Takes back the space of objects that no checkpoint needs. First the plan, then packs of which nothing is needed go, then those with too much that nobody needs are written anew. Checkpoints may be taken all the while.',
  arguments: [],
  options: [
    { flags: '--dry-run', about: 'tell what would be done, change nothing' },
    {
      flags: '--max-unused <share>',
      about: 'write packs anew that hold more of what nobody needs: 0 to 1 (default: 0.05)',
      parse: (text) => parseShare('--max-unused', text),
    },
    {
      flags: '--forget-root <folder>',
      about: 'a folder of runs whose checkpoints need nothing any more; can be repeated',
      parse: (text, before = []) => [...before, text],
    },
  ],
  examples: [
    ['waymark gc --dry-run', 'what could be freed'],
    ['waymark gc', ''],
    ['waymark gc --forget-root /old/place/runs', 'its checkpoints are given up'],
  ],
  exits: [
    ['0', 'done'],
    ['1', 'refused or failed; also misuse'],
    [String(STOPPED), 'stopped by Ctrl-C'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, options, tell }) {
  const dryRun = options.dryRun === true;
  const request = {
    maxUnused: options.maxUnused,
    forgetRoots: options.forgetRoot?.map((/** @type {string} */ root) =>
      root === '' ? root : path.resolve(root),
    ),
  };
  if (!dryRun && options.json !== true) {
    const { plan } = await watched('gc: plan', options, (watch) =>
      manager.gc({ ...request, dryRun: true, ...watch }),
    );
    tell(`plan: ${planned(plan)}`);
  }
  const done = await watched('gc', options, (watch) =>
    manager.gc({ ...request, dryRun, ...watch }),
  );
  return {
    data: done,
    text: () => {
      if (dryRun) return `would do in ${plain(done.storeDir)}: ${planned(done.plan)}`;
      const freed = `freed ${size(done.freedBytes)} in ${plain(done.storeDir)}`;
      const packs = `${count(done.gone.length, 'pack')} gone, ${size(done.copiedBytes)} copied`;
      return done.stopped ? `stopped; ${freed} (${packs})` : `${freed} (${packs})`;
    },
    notices: gcNotices(done),
    exitCode: done.stopped ? STOPPED : 0,
  };
}

/** What is worth knowing beside. @param {import('../../index.js').GcOutcome} done @returns {string[]} */
export function gcNotices({ left, problems }) {
  const notices = problems.map(
    ({ object, path: file, reason }) =>
      `left as it is: ${object === undefined ? '' : `object ${object} in `}${file}: ${reason}`,
  );
  if (left.length > 0) {
    notices.push(`${count(left.length, 'pack')} left alone: a checkpoint is being taken`);
  }
  return notices;
}

/** @param {import('../../index.js').GcPlan} plan @returns {string} */
function planned({ drop, rewrite, freedBytes, liveBytes, deadBytes, workingBytes }) {
  const what = `${size(liveBytes)} needed, ${size(deadBytes)} not`;
  if (drop.length + rewrite.length === 0) return `nothing to do (${what})`;
  return `drop ${count(drop.length, 'pack')}, write ${rewrite.length} anew, about ${size(freedBytes)} freed, ${size(workingBytes)} of working space (${what})`;
}
