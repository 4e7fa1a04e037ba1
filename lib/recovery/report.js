// What a person is told of a failure that nothing else could be done about. Markdown. Pure.

const { adviceFor } = require('./failure.js');

/**
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('../../index.js').RecoveryQuestion} RecoveryQuestion
 */

/**
 * @param {{ runId: string, failure: FailureRecord, series: FailureRecord[], question: RecoveryQuestion, suggest?: string, file: string }} about
 * @returns {string}
 */
function reportOf({ runId, failure, series, question, suggest, file }) {
  const { step, context, like, error } = failure;
  const lines = [
    `# Run ${plain(runId)}: step ${plain(String(step))} needs a decision`,
    '',
    `Step ${plain(String(step))} ${plain(failure.message)}.`,
    '',
    '## What happened',
    '',
    `- failure: \`${failure.id}\`, ${failure.at}`,
    `- class: ${failure.class}`,
    `- worker: ${failure.worker}, attempt ${failure.attempt}, ${Math.round(failure.took)} ms`,
    ...(failure.exitCode == null ? [] : [`- exit code: ${failure.exitCode}`]),
    ...(failure.signal == null ? [] : [`- signal: ${failure.signal}`]),
    ...(error?.code === undefined ? [] : [`- error code: ${plain(error.code)}`]),
    ...(context.command === undefined
      ? []
      : [`- command: \`${plain(context.command.join(' '))}\``]),
    `- on: ${plain(context.host)}, Node ${context.node}, Waymark ${context.waymark}`,
    '',
    '## What was tried',
    '',
    ...series.map(
      (one) =>
        `- ${one.at}: ${one.class} on ${one.worker}, ${plain(one.message)}; then ${one.chosen?.kind ?? 'nothing'}`,
    ),
    '',
    '## Failures like this one',
    '',
    likeText(like),
    '',
    '## What is kept',
    '',
    context.checkpointId
      ? `The run can be put back to checkpoint \`${context.checkpointId}\`.`
      : 'The run has no checkpoint yet.',
    '',
    '## What could help',
    '',
    suggest ?? `${adviceFor(failure)}.`,
    '',
    '## How to decide',
    '',
    '```',
    ...question.options.map(
      (one) => `waymark decide ${runId} ${one}${one === 'reassign' ? ' --worker <worker>' : ''}`,
    ),
    '```',
    '',
    `or write \`{ "decision": "retry", "by": "…", "note": "…" }\` to \`${file}\`,`,
    `or call \`manager.recovery(${JSON.stringify(runId)}).decide({ decision: 'retry' })\`.`,
  ];
  if (question.workers.length > 0) lines.push('', `Workers: ${question.workers.join(', ')}.`);
  const text = [error?.stack ?? error?.message, failure.output].filter((one) => one);
  if (text.length > 0) lines.push('', '## Output', '', ...fenced(text.join('\n')));
  return `${lines.join('\n')}\n`;
}

/** @param {FailureRecord['like']} like */
function likeText({ count, sameStep, last, recoveredBy, inProject }) {
  if (count === 0 && !inProject) return 'None is known.';
  const helped = Object.entries(recoveredBy).map(
    ([strategy, times]) => `${strategy} ${times} times`,
  );
  const here =
    count === 0
      ? 'None in this run.'
      : `${count} in this run, ${sameStep} of this step, the last at ${last}; recovered by: ${helped.join(', ') || 'nothing'}.`;
  if (!inProject) return here;
  const by = Object.entries(inProject.recoveredBy).map(
    ([strategy, times]) => `${strategy} ${times} times`,
  );
  return `${here} In the project ${inProject.count} in ${inProject.runs} runs; recovered by: ${by.join(', ') || 'nothing'}.`;
}

/** @param {string} text */
function fenced(text) {
  let fence = '```';
  while (text.includes(fence)) fence += '`';
  return [fence, text.trimEnd(), fence];
}

/** One line that can't steer a terminal or break the page. @param {string} text */
function plain(text) {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

module.exports = { reportOf };
