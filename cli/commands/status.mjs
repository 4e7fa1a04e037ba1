import { lib } from '../library.mjs';
import { count, factList, plain, size } from '../output.mjs';
import { lastStep, long, STATE, tableOf } from './runs.mjs';

const { inWords } = lib.lease;
const { stepInWords } = lib.runState;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'status',
  usage: '[run] [options]',
  summary: 'show a run: state, who holds it, what is under way, how it goes on',
  about:
    'Shows the state of a run: since when and why, who holds it, which step is under way or was when it was cut off, how long was worked, and how it goes on. Without a run it shows all, as "waymark runs" does. A run that says it runs while nobody is at work is marked as interrupted.',
  arguments: [['run', "the run's id"]],
  options: [STATE],
  examples: [
    ['waymark status demo', ''],
    ['waymark status --state interrupted', 'runs that were cut off'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options }) {
  const [runId] = args;
  if (runId === undefined) {
    const data = await manager.runs({ states: options.state });
    return { data, text: (style) => tableOf(data, style) };
  }
  const data = await manager.status(runId);
  return {
    data,
    text: (style) =>
      `${style.paint('bold', plain(data.runId))}  ${data.state}\n${factList(facts(data), style)}`,
  };
}

/** @param {import('../../index.js').RunStatus} row @returns {[string, string][]} */
function facts(row) {
  const { since, by, reason, status, progress, underWay, holder, pauseRequest, checkpoint } = row;
  const { problem } = row;
  /** @type {[string, string | undefined][]} */
  const lines = [
    ['since', [since, by && `by ${by}`].filter(Boolean).join(' ')],
    ['why', reason],
    ['status', status ?? undefined],
    ['problem', problem],
    ['held', holder && `${inWords(holder)} until ${holder.until}`],
    ['under way', underWay && `${stepInWords(underWay)} since ${underWay.since}`],
    ['last step', lastStep(row) || undefined],
    ['steps', progress && `${progress.done} of ${progress.total}`],
    [
      'pause',
      pauseRequest &&
        `asked for by ${pauseRequest.by}${pauseRequest.afterStep === undefined ? '' : `, behind step ${pauseRequest.afterStep}`}${pauseRequest.reason ? `: ${pauseRequest.reason}` : ''}`,
    ],
    [
      'counts',
      `${count(row.pauses, 'pause')}, ${count(row.resumes, 'resume')}, ${count(row.interruptions, 'interruption')}`,
    ],
    ['time', `${long(row.workMs)} at work of ${long(row.elapsedMs)}`],
    ['checkpoint', checkpoint && `${checkpoint.checkpointId} (step ${checkpoint.step})`],
    ['size', row.bytes === null ? undefined : size(row.bytes)],
    ['resumable', row.resumable ? 'yes' : `no: ${row.why}`],
    ['go on', row.way],
  ];
  return /** @type {[string, string][]} */ (lines.filter(([, text]) => text));
}
