import { lifeFacts } from '../changes.mjs';
import { age, count, factList, plain, size } from '../output.mjs';

/** @typedef {import('../../index.js').Checkpoint} Checkpoint */

const NAMES_SHOWN = 12;

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'show',
  usage: '<run> <checkpoint> [options]',
  summary: 'show what is in a checkpoint',
  about:
    'Shows a summary of a checkpoint. With --json: its whole manifest, described in docs/format.md.',
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', "the checkpoint's id, from waymark list"],
  ],
  options: [],
  examples: [
    ['waymark show demo checkpoint-step-2-1767323045678', ''],
    ['waymark show demo checkpoint-step-2-1767323045678 --json | jq .step_state', 'its state'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args }) {
  const [runId, checkpointId] = /** @type {string[]} */ (args);
  const { checkpoint, ...info } = manager.showSync(runId, checkpointId);
  return {
    data: checkpoint,
    text: (style) => {
      const lines = [style.paint('bold', info.checkpointId), factList(facts(), style)];
      const instructions = checkpoint.recovery_instructions;
      if (Array.isArray(instructions) && instructions.length > 0) {
        lines.push('', ...instructions.map((line) => plain(String(line))));
      }
      return lines.join('\n');

      /** @returns {[string, string][]} */
      function facts() {
        const { run_record: record, validation_summary: validation, metadata } = checkpoint;
        const parent = info.parentCheckpointId ?? 'none';
        const { created_by: by, version } = metadata;
        return [
          ['run', `${checkpoint.run_id} (${record?.status ?? 'no status'})`],
          ['workflow', checkpoint.workflow_id ?? 'none'],
          ['step', String(info.step)],
          ...lifeFacts(info),
          ['taken', `${info.timestamp} (${age(info.timestamp, style)} ago)`],
          ['parent', info.sequence === undefined ? 'not known' : parent],
          ['artifacts', names(checkpoint.artifacts_at_checkpoint ?? [])],
          [
            'validation',
            `${validation?.validated_artifacts ?? '?'} validated, ${validation?.failed_validations ?? '?'} failed, of ${validation?.total_artifacts ?? '?'}`,
          ],
          ['step state', stateText(checkpoint.step_state)],
          ['run files', runFiles(checkpoint.run_files)],
          ...snapshotFacts(checkpoint.snapshot),
          ['manifest', `${size(info.size)}, ${info.path}`],
          ['checksum', `sha256 ${info.checksum}`],
          ['written by', `${by} ${version}`],
        ];
      }
    },
  };
}

/** @param {unknown} list @returns {string} */
function names(list) {
  if (!Array.isArray(list) || list.length === 0) return 'none';
  const shown = list.slice(0, NAMES_SHOWN).join(', ');
  const more = list.length - NAMES_SHOWN;
  return `${list.length}: ${shown}${more > 0 ? ` and ${more} more` : ''}`;
}

/** @param {unknown} state @returns {string} */
function stateText(state) {
  const bytes = size(Buffer.byteLength(JSON.stringify(state) ?? ''));
  if (Array.isArray(state)) return `${count(state.length, 'item')} (${bytes})`;
  if (typeof state !== 'object' || state === null)
    return `${state === null ? 'null' : typeof state} (${bytes})`;
  const keys = Object.keys(state);
  return keys.length === 0 ? 'empty' : `${names(keys)} (${bytes})`;
}

/**
 * What of files is captured with it, what is not and why.
 * @param {Checkpoint['snapshot']} snapshot
 * @returns {[string, string][]}
 */
function snapshotFacts(snapshot) {
  if (!snapshot) return [['captured', 'no files']];
  const { roots, files, bytes, withheld, partial, problems, missing } = snapshot;
  const places = roots.map(({ name, path }) => (name === 'workspace' ? `${name} (${path})` : name));
  const of = places.length === 0 ? '' : `, of ${places.join(', ')}`;
  /** @type {[string, string][]} */
  const facts = [['captured', `${count(files, 'file')} (${size(bytes)})${of}`]];
  if (withheld > 0) {
    facts.push(['secrets', `${count(withheld, 'file')}, without the content`]);
  }
  if (partial) {
    const shown = problems
      .slice(0, NAMES_SHOWN)
      .map((one) => `${one.root}/${one.path} (${one.reason})`);
    const more = snapshot.problems_total - shown.length;
    const rest = more > 0 ? ` and ${more} more` : '';
    facts.push(['partial', `${snapshot.problems_total} left out: ${shown.join(', ')}${rest}`]);
  }
  if (missing.length > 0) facts.push(['missing', names(missing)]);
  return facts;
}

/** @param {Checkpoint['run_files']} files @returns {string} */
function runFiles(files) {
  const entries = Object.entries(files ?? {});
  if (entries.length === 0) return 'none';
  return entries
    .map(([name, file]) => {
      if ('skipped' in file) return `${name} (left out: ${file.skipped}, ${size(file.size)})`;
      const bytes =
        'text' in file ? Buffer.byteLength(file.text) : Buffer.byteLength(file.base64, 'base64');
      return `${name} (${size(bytes)})`;
    })
    .join(', ');
}
