import { existingRun } from '../input.mjs';
import { plain, table } from '../output.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'failures',
  usage: '<run> [options]',
  summary: 'show what failed in a run, what was done about it, and what it waits for',
  about:
    'Lists the failures of steps that are kept, with their class, what was done and whether it helped; how long recovering took by strategy; the question that waits for a decision; and the circuit breakers of the workers.',
  arguments: [['run', "the run's id"]],
  options: [
    { flags: '--rules', about: 'the rules that hold, as JSON' },
    { flags: '--reset <worker>', about: "close a worker's breaker" },
  ],
  examples: [
    ['waymark failures r1', ''],
    ['waymark failures r1 --rules', 'which rules hold'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options: { rules, reset } }) {
  const runId = /** @type {string} */ (args[0]);
  const recovery = manager.recovery(runId);
  if (rules) return { data: recovery.settings, text: undefined };
  if (reset !== undefined) {
    const breaker = await recovery.resetBreaker(reset);
    return { data: breaker, text: () => `the breaker of worker ${reset} is closed` };
  }
  await existingRun(manager, runId);
  /** @type {string[]} */
  const notices = [];
  const [failures, summary, question, breakers] = [
    await recovery.failures(),
    await recovery.summary(),
    await recovery.question().catch((error) => {
      // An answer that can't be used hides nothing.
      if (error.code !== 'ERR_DECISION_INVALID') throw error;
      notices.push(error.message);
      return /** @type {any} */ (recovery).unanswered();
    }),
    await recovery.breakers(),
  ];
  const data = { runId, failures, summary, question, breakers };
  return {
    data,
    notices,
    text: (style) => {
      if (failures.length === 0) return `run ${runId}: nothing failed`;
      const rows = failures.map((one) => [
        one.at,
        one.subtask === undefined ? String(one.step) : `${one.step}/${one.subtask}`,
        one.class,
        one.worker,
        String(one.attempt),
        one.chosen?.kind ?? '',
        one.recovery === null ? 'open' : one.recovery.success ? 'yes' : 'no',
        one.message,
      ]);
      const titles = ['when', 'step', 'class', 'worker', 'attempt', 'then', 'helped', 'what'];
      const columns = titles.map((title) => ({ title, right: title === 'attempt' }));
      const lines = [table(columns, rows, style), ''];
      for (const [strategy, of] of Object.entries(summary.byStrategy)) {
        lines.push(
          `${strategy}: helped ${of.recovered} of ${of.recovered + of.lost} times, ${(of.ms / 1000).toFixed(1)} s`,
        );
      }
      for (const one of breakers.filter((other) => other.state !== 'closed')) {
        const until = one.until === null ? '' : ` until ${new Date(one.until).toISOString()}`;
        lines.push(`worker ${one.worker} is ${one.state}${until}`);
      }
      if (question) {
        lines.push(
          `step ${question.step} waits for a decision since ${question.asked}: read ${plain(question.report)}, then`,
          `  waymark decide ${runId} ${question.options.join('|')}`,
        );
      }
      return lines.join('\n').trimEnd();
    },
  };
}
