// What a restore would do, or did, for people and for programs.

const { WaymarkError } = require('./error.js');

/**
 * @typedef {import('../index.js').RestorePlan} RestorePlan
 * @typedef {import('../index.js').RestoreResult} RestoreResult
 * @typedef {import('../index.js').RestoreRow} RestoreRow
 * @typedef {import('../index.js').RestoreReport} Report
 */

/** So many paths of a kind are listed for people. */
const LISTED = 200;

/** @type {Record<string, string>} */
const DONE = {
  create: 'created',
  replace: 'replaced',
  set_mode: 'given their permissions back',
  delete: 'deleted',
  keep_both: 'replaced, with a copy of what was there beside',
  merge: 'merged',
  keep: 'left alone',
  conflict: 'undecided',
};

/**
 * @param {RestorePlan | RestoreResult} of
 * @returns {Report}
 */
function reportOf(of) {
  const { checkpointId, step, timestamp, roots, totals, paths, newer, skipped } = of;
  const planned = 'planId' in of;
  const lost = newer.map(pointOf);
  const latest = lost[0]?.timestamp;
  const between = latest === undefined ? null : Date.parse(latest) - Date.parse(timestamp);
  /** @type {Report} */
  const report = {
    kind: planned ? 'plan' : 'result',
    checkpointId,
    step,
    timestamp,
    roots,
    totals,
    state: planned ? of.state : of.files.map((name) => ({ name, action: 'replace' })),
    paths: paths.filter(({ action }) => action !== 'keep' && action !== 'conflict'),
    kept: paths.filter(({ action }) => action === 'keep'),
    conflicts: paths.filter(({ action }) => action === 'conflict'),
    lost: { checkpoints: lost, ms: between },
    skipped,
  };
  if ('planId' in of) return { ...report, planId: of.planId, expiresAt: of.expiresAt };
  const { rescueId, verifiedBytes, stages } = of;
  const parts = stages?.map(({ name, totals: own }) => ({ name, totals: own }));
  return { ...report, rescueId, verifiedBytes, ...(parts && { stages: parts }) };
}

/**
 * What a checkpoint's id tells.
 * @param {string} checkpointId
 * @returns {Report['lost']['checkpoints'][number]}
 */
function pointOf(checkpointId) {
  const [, step, ms] = /^checkpoint-step-(.+)-(\d{1,15})$/.exec(checkpointId) ?? [];
  if (step === undefined) return { checkpointId };
  return { checkpointId, step, timestamp: new Date(Number(ms)).toISOString() };
}

/**
 * @param {RestorePlan | RestoreResult} of
 * @param {unknown} [format]
 * @returns {string}
 */
function restoreReport(of, format = 'markdown') {
  if (format !== 'markdown' && format !== 'json') {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `restoreReport: the format must be 'markdown' or 'json', not ${JSON.stringify(format)}`,
    );
  }
  const report = reportOf(of);
  return format === 'json' ? `${JSON.stringify(report, null, 2)}\n` : markdown(report);
}

/** @param {string} text as code that stays one line */
function code(text) {
  const plain = text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
  const ticks = '`'.repeat(Math.max(0, ...(plain.match(/`+/g) ?? []).map((run) => run.length)) + 1);
  const space = ticks.length > 1 ? ' ' : '';
  return `${ticks}${space}${plain}${space}${ticks}`;
}

/** @param {RestoreRow} row */
function where({ rootPath, path }) {
  return code(rootPath === '.' ? path : `${rootPath}/${path}`);
}

/** @param {number} ms */
function span(ms) {
  const minutes = Math.max(0, Math.round(ms / 60_000));
  if (minutes < 120) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`;
}

/** @param {Report} report */
function markdown(report) {
  const planned = report.kind === 'plan';
  const { checkpointId, step, timestamp, totals, lost } = report;
  const lines = [
    planned ? '# Restore Plan' : '# Restore Report',
    '',
    `- Checkpoint: ${code(checkpointId)} (step ${step}, taken ${timestamp})`,
  ];
  if (planned) {
    lines.push(`- Plan: ${code(report.planId ?? '')}, can be applied until ${report.expiresAt}`);
  } else {
    const bytes = report.verifiedBytes ?? 0;
    lines.push(
      `- What was there before: ${code(report.rescueId ?? '')}; \`waymark undo\` puts it back`,
      `- Verified: ${bytes} bytes of restored files were read back and held against their hashes`,
    );
  }
  if (lost.checkpoints.length === 0) {
    lines.push('- Work left behind: none; this is the newest checkpoint');
  } else {
    const time = lost.ms === null || Number.isNaN(lost.ms) ? '' : ` within ${span(lost.ms)}`;
    const many = lost.checkpoints.length;
    lines.push(
      `- Work left behind: ${many} newer checkpoint${many === 1 ? '' : 's'}${time}; they stay`,
    );
  }
  lines.push('', '## Summary', '', '| what | paths |', '|---|---|');
  const counts = {
    create: totals.create,
    replace: totals.replace,
    set_mode: totals.setMode,
    delete: totals.delete,
    keep_both: totals.keepBoth,
    merge: totals.merge,
    keep: totals.keep,
    conflict: totals.conflict,
  };
  for (const [action, count] of Object.entries(counts))
    lines.push(`| ${DONE[action]} | ${count} |`);
  lines.push('', `${totals.bytesToWrite} bytes to write, ${totals.bytesReplaced} bytes replaced.`);
  const section = (/** @type {string} */ title, /** @type {string[]} */ rows) => {
    if (rows.length === 0) return;
    lines.push('', `## ${title}`, '', ...rows.slice(0, LISTED).map((row) => `- ${row}`));
    if (rows.length > LISTED) lines.push(`- and ${rows.length - LISTED} more`);
  };
  section(
    'State',
    report.state.map(({ name, action }) => `${DONE[action]}: ${code(name)}`),
  );
  section(
    'Undecided',
    report.conflicts.map((row) => `${where(row)}: ${row.reason}`),
  );
  section('Files', report.paths.map(fileLine));
  section(
    'Left alone',
    report.kept.map((row) => `${where(row)}: ${row.reason}`),
  );
  section(
    'Newer checkpoints',
    lost.checkpoints.map((one) => code(one.checkpointId)),
  );
  section(
    'Passed over',
    report.skipped.map((one) => `${code(one.checkpointId)}: ${one.message}`),
  );
  section(
    'Parts',
    (report.stages ?? []).map(({ name, totals: own }) => `${name}: ${changes(own)} paths changed`),
  );
  return `${lines.join('\n')}\n`;
}

/** @param {RestoreRow} row */
function fileLine(row) {
  const beside = row.beside === undefined ? '' : ` as ${where({ ...row, path: row.beside })}`;
  return `${DONE[row.action]}${beside}: ${where(row)}`;
}

/** @param {import('../index.js').RestoreTotals} totals */
function changes({ create, replace, setMode, delete: gone, keepBoth, merge }) {
  return create + replace + setMode + gone + keepBoth + merge;
}

module.exports = { restoreReport, changes };
