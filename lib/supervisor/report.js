// What a supervised run came to, for programs and for people. Pure.

const { summaryOf } = require('../recovery/history.js');

/**
 * @typedef {import('../../index.js').SuperviseReport} SuperviseReport
 * @typedef {import('../../index.js').Step} Step
 */

/** @type {Record<SuperviseReport['outcome'], number>} */
const EXIT = { completed: 0, failed: 1, cancelled: 1, paused: 75, waiting: 75, interrupted: 130 };
const SIGNAL_EXIT = /** @type {Record<string, number>} */ ({
  SIGHUP: 129,
  SIGINT: 130,
  SIGTERM: 143,
});

/**
 * @param {object} about
 * @param {string} about.runId
 * @param {string} about.workflow
 * @param {import('../workflow.js').WorkflowStep[]} about.steps
 * @param {Map<Step, import('./plan.js').Done>} about.done
 * @param {{ how: SuperviseReport['outcome'], reason?: string, step?: Step }} about.ended
 * @param {number} about.tookMs
 * @param {import('./supervisor.js').Kept} about.kept
 * @param {import('../../index.js').FailureRecord[]} about.failures
 * @param {import('../../index.js').RecoveryQuestion | null} about.question
 * @returns {SuperviseReport}
 */
function reportOf({ runId, workflow, steps, done, ended, tookMs, kept, failures, question }) {
  const { how, reason, step } = ended;
  const exitCode =
    how === 'interrupted' ? (SIGNAL_EXIT[reason ?? ''] ?? EXIT.interrupted) : EXIT[how];
  return {
    runId,
    workflow,
    outcome: how,
    ...(reason === undefined ? {} : { reason }),
    ...(step === undefined ? {} : { step }),
    exitCode,
    started: kept.started,
    ended: kept.ended?.at ?? null,
    starts: kept.starts,
    tookMs: Math.round(tookMs),
    elapsedMs: Math.max(0, Date.parse(kept.ended?.at ?? kept.started) - Date.parse(kept.started)),
    workMs: Math.round(kept.workMs),
    steps: steps.map((one) => rowOf(one, done.get(one.step), one.step === step)),
    failures,
    recovery: summaryOf(failures),
    question,
  };
}

/**
 * @param {import('../workflow.js').WorkflowStep} one
 * @param {import('./plan.js').Done | undefined} found
 * @param {boolean} isStopped
 * @returns {SuperviseReport['steps'][number]}
 */
function rowOf({ step, name: text }, found, isStopped) {
  const name = text ?? null;
  if (found === undefined) return { step, name, status: isStopped ? 'stopped' : 'open' };
  const { how, checkpointId, attempts, ms, at, worker, strategy } = found;
  const facts = { checkpointId, attempts, ms, at, worker };
  const status = how === 'checkpoint' ? 'done' : how;
  return { step, name, status, ...facts, ...(strategy === undefined ? {} : { strategy }) };
}

/**
 * The report for people. Markdown.
 * @param {SuperviseReport} report
 * @returns {string}
 */
function reportText(report) {
  const { runId, workflow, outcome, reason, recovery, question } = report;
  const lines = [
    `# Run ${plain(runId)}: ${outcome}`,
    '',
    ...(reason === undefined ? [] : [`${plain(reason)}.`, '']),
    `- workflow: ${plain(workflow)}`,
    `- begun: ${report.started}, ${report.starts === 1 ? 'started once' : `started ${report.starts} times`}`,
    `- work: ${seconds(report.workMs)}, this time: ${seconds(report.tookMs)}`,
    '',
    '| step | name | status | attempts | time | checkpoint |',
    '|---|---|---|---|---|---|',
    ...report.steps.map((one) => {
      const how = one.strategy === undefined ? one.status : `${one.status} (${one.strategy})`;
      const cells = [
        one.step,
        one.name ?? '',
        how,
        one.attempts ?? '',
        one.ms === undefined ? '' : seconds(one.ms),
        one.checkpointId ?? '',
      ];
      return `| ${cells.map((cell) => plain(String(cell)).replaceAll('|', '\\|')).join(' | ')} |`;
    }),
  ];
  if (recovery.failures > 0) {
    const ways = Object.entries(recovery.byStrategy).map(
      ([strategy, of]) =>
        `${strategy} ${of.recovered} of ${of.recovered + of.lost} times, ${seconds(of.ms)}`,
    );
    lines.push(
      '',
      '## Failures',
      '',
      `${recovery.failures}; recovered ${recovery.recovered} times in ${seconds(recovery.ms)}${ways.length > 0 ? `: ${ways.join('; ')}` : ''}.`,
      '',
      ...report.failures.map(
        (one) =>
          `- ${one.at} step ${one.step} ${plain(one.message)} (${one.class}, ${one.worker}); then ${one.chosen?.kind ?? 'nothing'}`,
      ),
    );
  }
  if (question) {
    lines.push('', '## Waits for a decision', '', `Step ${question.step}: see ${question.report}`);
    lines.push('', ...question.options.map((one) => `- \`waymark decide ${runId} ${one}\``));
  }
  return `${lines.join('\n')}\n`;
}

/** @param {number} ms */
function seconds(ms) {
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${(ms / 60_000).toFixed(1)} min`;
}

/** @param {string} text */
function plain(text) {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

module.exports = { reportOf, reportText };
